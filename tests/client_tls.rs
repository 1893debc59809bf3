//! The command line and a Tenant Manager that speaks TLS: whom it trusts, what it shows.

use std::os::unix::fs::PermissionsExt as _;

use lerianctl::server::{ClientCertificate, ServerTls};
use serde_json::Value;

use crate::server_tls::{Authority, Files, Identity, Secured};
use crate::support::{Output, Sandbox};

/// A server with TLS, and a room whose calls name it.
struct Scene {
    server: Secured,
    room: Sandbox,
    url: String,
}

impl Scene {
    async fn new(tls: ServerTls) -> Self {
        let server = Secured::start(tls).await;
        let url = format!("https://localhost:{}", server.address.port());
        let mut room = Sandbox::new();
        room.set("LERIANCTL_API_KEY", server.api_key.expose());
        Self { server, room, url }
    }

    fn list(&self, flags: &[&str]) -> Output {
        let call = [
            &["tenant", "list", "--server", &self.url, "-o", "json"],
            flags,
        ]
        .concat();
        self.room.run(call)
    }

    /// Writes a certificate and its key; returns the flags that name them.
    fn put(&self, name: &str, identity: &Identity) -> [String; 4] {
        let certificate = self
            .room
            .write(format!("{name}.crt"), &identity.certificate);
        let key = self.room.write(format!("{name}.key"), &identity.key);
        [
            "--client-certificate-file".to_owned(),
            certificate.display().to_string(),
            "--client-key-file".to_owned(),
            key.display().to_string(),
        ]
    }
}

fn refused(output: Output, status: i32, code: &str) -> String {
    let document = output.exits(status).json();
    assert_eq!(document["error"]["code"], code, "{document:#}");
    document.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_when_it_is_named_and_no_other() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::new(&authority.issue("localhost"));
    let mut scene = Scene::new(files.settings()).await;
    scene.room.write("ours.pem", authority.pem());
    scene.room.write("theirs.pem", other.pem());
    scene.room.write("rubbish.pem", "rubbish");

    let said = refused(scene.list(&[]), 7, "manager.unavailable");
    assert!(said.contains("UnknownIssuer"), "{said}");
    refused(
        scene.list(&["--ca-file", "theirs.pem"]),
        7,
        "manager.unavailable",
    );
    scene.list(&["--ca-file", "ours.pem"]).success().json();
    let said = refused(
        scene.list(&["--ca-file", "rubbish.pem"]),
        2,
        "request.invalid",
    );
    assert!(said.contains("certificate"), "{said}");
    let said = refused(
        scene.list(&["--ca-file", "gone.pem"]),
        2,
        "config.unreadable",
    );
    assert!(said.contains("gone.pem"), "{said}");

    scene.room.set("LERIANCTL_CA_FILE", "ours.pem");
    scene.list(&[]).success().json();
    // The flag wins.
    refused(
        scene.list(&["--ca-file", "theirs.pem"]),
        7,
        "manager.unavailable",
    );
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_is_shown_a_certificate() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new(&authority.issue("localhost"));
    std::fs::write(files.path("clients.crt"), clients.pem()).unwrap();
    let mut settings = files.settings();
    settings.clients = Some((files.path("clients.crt"), ClientCertificate::Required));
    let mut scene = Scene::new(settings).await;
    let ca = scene.room.write("ca.pem", authority.pem());
    scene.room.set("LERIANCTL_CA_FILE", ca);
    let good = scene.put("good", &clients.issue("operator"));
    let foreign = scene.put("foreign", &authority.issue("operator"));
    let flags = |flags: &[String; 4]| -> Vec<String> { flags.to_vec() };
    let list = |scene: &Scene, flags: &[String]| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        scene.list(&flags)
    };

    list(&scene, &flags(&good)).success().json();
    for without in [Vec::new(), flags(&foreign)] {
        list(&scene, &without).exits(7);
    }
    // One without the other, and one that belongs to another.
    let said = refused(list(&scene, &good[..2]), 2, "config.invalid_value");
    assert!(said.contains("client-key-file"), "{said}");
    refused(list(&scene, &good[2..]), 2, "config.invalid_value");
    let mixed = [
        good[0].clone(),
        good[1].clone(),
        foreign[2].clone(),
        foreign[3].clone(),
    ];
    let said = refused(list(&scene, &mixed), 2, "request.invalid");
    assert!(!said.contains("PRIVATE"), "{said}");
    // What is no key is not repeated.
    scene.room.write("no.key", "hunter2-is-no-key");
    let no_key = [
        good[0].clone(),
        good[1].clone(),
        "--client-key-file".into(),
        "no.key".into(),
    ];
    let said = refused(list(&scene, &no_key), 2, "request.invalid");
    assert!(
        said.contains("client key") && !said.contains("hunter2"),
        "{said}"
    );

    scene
        .room
        .set("LERIANCTL_CLIENT_CERTIFICATE_FILE", &good[1]);
    scene.room.set("LERIANCTL_CLIENT_KEY_FILE", &good[3]);
    list(&scene, &[]).success().json();
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_holds_its_certificates_for_its_own_server() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new(&authority.issue("localhost"));
    std::fs::write(files.path("clients.crt"), clients.pem()).unwrap();
    let mut settings = files.settings();
    settings.clients = Some((files.path("clients.crt"), ClientCertificate::Required));
    let mut scene = Scene::new(settings).await;
    let identity = clients.issue("operator");
    let folder = ".config/lerianctl";
    for (name, text) in [
        ("ca.pem", &authority.pem()),
        ("me.crt", &identity.certificate),
        ("me.key", &identity.key),
        (
            "config.toml",
            &format!(
                "version = 1\ncurrent-context = \"bank\"\n[context.bank]\nserver = \"{}\"\n\
                 ca-file = \"ca.pem\"\nclient-certificate-file = \"me.crt\"\nclient-key-file = \"me.key\"\n",
                scene.url
            ),
        ),
    ] {
        let path = scene.room.write(format!("{folder}/{name}"), text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let list = ["tenant", "list", "-o", "json"];
    scene.room.run(list).success().json();

    let explain = |room: &Sandbox, key: &str| -> Value {
        let call = ["config", "explain", key, "-o", "json"];
        room.run(call).success().json()["items"][0].clone()
    };
    for (key, line) in [
        ("ca-file", 5),
        ("client-certificate-file", 6),
        ("client-key-file", 7),
    ] {
        let entry = explain(&scene.room, key);
        assert_eq!(entry["origin"]["kind"], "context", "{entry}");
        assert_eq!(entry["origin"]["line"], line, "{entry}");
        let value = entry["value"].as_str().unwrap();
        assert!(value.contains(folder), "{value}");
    }
    // Elsewhere they say nothing.
    scene.room.set("LERIANCTL_SERVER", "https://stray.example");
    for key in ["ca-file", "client-certificate-file", "client-key-file"] {
        assert!(explain(&scene.room, key).get("value").is_none(), "{key}");
    }
    scene.server.stop().await;
}
