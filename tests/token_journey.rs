//! A token from its making to the database, on real servers: minted, checked, routed, refused.

use lerianctl::devstack::stack::{Stack, StackSettings};
use lerianctl::token::SigningKey;
use serde_json::json;

use crate::support::{Sandbox, Server, unique};

#[test]
fn a_token_leads_to_the_tenants_own_database_until_the_tenant_is_suspended() {
    let mut room = Sandbox::new();
    let data = room.home().join(".local/share/lerianctl/dev");
    let stack = Stack::open(&data, StackSettings::default()).unwrap();
    let pem = stack
        .keys()
        .signing_key(|| SigningKey::generate().unwrap().to_pem().clone())
        .unwrap();
    let key = SigningKey::from_pem(&pem).unwrap();
    let server = Server::start_with(|settings| settings.development_jwks = Some(key.jwks()));
    room.set("MULTI_TENANT_URL", server.url());
    room.set("MULTI_TENANT_SERVICE_API_KEY", server.api_key().expose());

    let slug = unique("journey").replace('_', "-");
    let created = room
        .run([
            "tenant",
            "create",
            &slug,
            "--service",
            "tracer",
            "-o",
            "json",
        ])
        .success();
    assert_eq!(created.json()["changed"], true, "{created}");
    let tenant = room
        .run(["tenant", "show", &slug, "-o", "json"])
        .success()
        .json();

    let minted = room.run(["token", "mint", "--tenant", &slug]).success();
    let token = minted.stdout.trim_end();
    let address = format!("{}/.well-known/jwks.json", server.url());
    let fetched = room
        .run_with_input(["token", "inspect", "--jwks", &address], token)
        .success();
    assert!(fetched.stdout.contains("signature verified"), "{fetched}");
    room.write("jwks.json", key.jwks().to_string());
    let inspect = |service: &str, token: &str| {
        let flags = ["--resolve", "--service", service, "-o", "json"];
        let arguments = ["token", "inspect", "-", "--jwks", "jwks.json"];
        room.run_with_input([&arguments[..], &flags].concat(), token)
    };

    let document = inspect("tracer", token).success().json();
    assert_eq!(document["verified"], true);
    assert_eq!(document["tenant"]["canonical"], tenant["id"]);
    let to = &document["resolution"]["route"]["connections"][0];
    let database = &tenant["services"][0]["databases"][0];
    assert_eq!(to["module"], "tracer");
    assert_eq!(to["database"], database["database"]);
    assert_eq!(to["user"], database["login"]);

    // Not associated, forged, and in the end suspended.
    let refusal = |service: &str, token: &str| {
        let document = inspect(service, token).exits(3).json();
        let answer = &document["resolution"]["route"]["answer"];
        (answer["status"].clone(), answer["code"].clone())
    };
    assert_eq!(
        refusal("ledger", token),
        (json!(404), json!("TENANT_NOT_FOUND"))
    );
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let document = inspect("tracer", &forged).exits(3).json();
    assert_eq!(document["verified"], false);
    let suspended = room.run(["tenant", "suspend", &slug, "--yes"]).success();
    assert!(suspended.stdout.contains("suspended"), "{suspended}");
    assert_eq!(refusal("tracer", token), (json!(403), json!("0131")));
    server.stop();
    assert_eq!(
        refusal("tracer", token),
        (json!(500), json!("TENANT_DB_ERROR"))
    );
}
