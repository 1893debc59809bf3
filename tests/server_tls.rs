//! TLS of the server: certificates that change, certificates of clients, HTTP/1.1 and HTTP/2.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo};
use lerianctl::secret::Secret;
use lerianctl::server::{ClientCertificate, ServerError, ServerTls, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::server_kit::PATIENCE;
use crate::support::{Postgres, Server, cluster};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue_until(&self, name: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn issue(&self, name: &str) -> Identity {
        self.issue_until(name, 2090)
    }
}

/// Files of a server.
pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new(identity: &Identity) -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        files.put(identity);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, identity: &Identity) {
        std::fs::write(self.path("tls.crt"), &identity.certificate).unwrap();
        std::fs::write(self.path("tls.key"), &identity.key).unwrap();
    }

    pub(crate) fn settings(&self) -> ServerTls {
        ServerTls {
            certificate: self.path("tls.crt"),
            key: self.path("tls.key"),
            clients: None,
            look_every: Duration::from_millis(50),
            changed: Arc::default(),
        }
    }
}

/// A server with TLS. Plain calls to `/readyz` do not reach it, so readiness comes from inside.
pub(crate) struct Secured {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) api_key: Secret,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), ServerError>>,
    _folder: tempfile::TempDir,
}

impl Secured {
    pub(crate) async fn start(tls: ServerTls) -> Self {
        lerianctl::link::tls::install();
        let folder = tempfile::tempdir().unwrap();
        let clusters = vec![cluster("main", Postgres::shared())];
        let mut settings = Server::settings(folder.path(), clusters, None);
        settings.tls = Some(tls);
        let api_key = settings.api_keys[0].clone();
        let ready = Arc::clone(&settings.ready);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, settings, async {
            let _ = stopped.await;
        }));
        tokio::time::timeout(PATIENCE, ready.notified())
            .await
            .expect("the server becomes ready");
        Self {
            address,
            api_key,
            stop: Some(stop),
            task,
            _folder: folder,
        }
    }

    async fn connect(
        &self,
        authority: &Authority,
        identity: Option<&Identity>,
        protocol: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let pem = authority.pem();
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// Asks over a new connection.
    async fn asked(
        &self,
        authority: &Authority,
        identity: Option<&Identity>,
    ) -> std::io::Result<String> {
        let mut stream = self.connect(authority, identity, b"http/1.1").await?;
        ask(&mut stream).await
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap().unwrap();
    }
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..count]);
        if bytes.ends_with(b"# EOF\n") {
            return Ok(String::from_utf8(bytes).unwrap());
        }
    }
}

/// Waits until asking gives what `enough` wants.
async fn until(
    server: &Secured,
    authority: &Authority,
    enough: impl Fn(&std::io::Result<String>) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = server.asked(authority, None).await;
        if enough(&asked) {
            return;
        }
        assert!(Instant::now() < deadline, "{asked:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_changed_certificate_is_taken_up_while_connections_go_on() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let files = Files::new(&first.issue("localhost"));
    let server = Secured::start(files.settings()).await;
    let mut kept = server.connect(&first, None, b"http/1.1").await.unwrap();
    let figures = ask(&mut kept).await.unwrap();
    assert!(figures.starts_with("HTTP/1.1 200"), "{figures}");
    assert!(server.asked(&second, None).await.is_err());

    files.put(&second.issue("localhost"));
    until(&server, &second, Result::is_ok).await;
    assert!(server.asked(&first, None).await.is_err());
    let figures = ask(&mut kept).await.expect("the old connection goes on");
    assert!(
        figures.contains("lerianctl_tls_certificate_reloads_total{result=\"loaded\"} 1"),
        "{figures}"
    );
    let expiry: i64 = figures
        .lines()
        .find_map(|line| line.strip_prefix("lerianctl_tls_certificate_expiry_seconds "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(expiry > 365 * 24 * 3600, "{expiry}");
    drop(kept);
    server.stop().await;
}

#[tokio::test]
async fn a_signal_makes_the_server_look_at_once() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let files = Files::new(&first.issue("localhost"));
    let mut settings = files.settings();
    settings.look_every = Duration::from_hours(1);
    let changed = Arc::clone(&settings.changed);
    let server = Secured::start(settings).await;
    files.put(&second.issue("localhost"));
    assert!(server.asked(&first, None).await.is_ok());
    changed.notify_one();
    until(&server, &second, Result::is_ok).await;
    server.stop().await;
}

#[tokio::test]
async fn a_broken_certificate_changes_nothing_and_is_counted() {
    let authority = Authority::new("authority");
    let good = authority.issue("localhost");
    let files = Files::new(&good);
    let server = Secured::start(files.settings()).await;
    let refused = |count: u32| {
        let figure =
            format!("lerianctl_tls_certificate_reloads_total{{result=\"refused\"}} {count}");
        move |asked: &std::io::Result<String>| {
            let text = asked.as_ref().expect("the certificate before stays in use");
            text.lines().any(|line| line == figure)
        }
    };
    std::fs::write(files.path("tls.crt"), "rubbish").unwrap();
    until(&server, &authority, refused(1)).await;
    // A certificate without its key.
    let other = authority.issue("localhost");
    std::fs::write(files.path("tls.crt"), &other.certificate).unwrap();
    until(&server, &authority, refused(2)).await;
    files.put(&authority.issue_until("localhost", 2021));
    until(&server, &authority, |asked| {
        let text = asked.as_ref().expect("the certificate before stays in use");
        text.contains("result=\"refused\"} 3") || text.contains("result=\"refused\"} 4")
    })
    .await;
    std::fs::remove_file(files.path("tls.key")).unwrap();
    until(&server, &authority, |asked| {
        let text = asked.as_ref().expect("the certificate before stays in use");
        text.contains("result=\"refused\"} 4") || text.contains("result=\"refused\"} 5")
    })
    .await;
    files.put(&other);
    until(&server, &authority, |asked| {
        let text = asked.as_ref().expect("something good is in use");
        text.contains("result=\"loaded\"} 1")
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn clients_show_a_certificate_where_that_is_wanted() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new(&authority.issue("localhost"));
    std::fs::write(files.path("clients.crt"), clients.pem()).unwrap();
    let (good, foreign) = (clients.issue("product"), authority.issue("product"));
    for (demand, without) in [
        (ClientCertificate::Required, false),
        (ClientCertificate::Optional, true),
    ] {
        let mut settings = files.settings();
        settings.clients = Some((files.path("clients.crt"), demand));
        let server = Secured::start(settings).await;
        assert!(server.asked(&authority, Some(&good)).await.is_ok());
        assert!(server.asked(&authority, Some(&foreign)).await.is_err());
        assert_eq!(server.asked(&authority, None).await.is_ok(), without);
        server.stop().await;
    }
}

#[tokio::test]
async fn http_2_is_spoken_with_those_who_ask_for_it() {
    let authority = Authority::new("authority");
    let files = Files::new(&authority.issue("localhost"));
    let server = Secured::start(files.settings()).await;
    let stream = server.connect(&authority, None, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for path in ["/healthz", "/v1/admin/info"] {
        let request = axum::http::Request::get(format!("https://localhost{path}"))
            .body(axum::body::Body::empty())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), axum::http::Version::HTTP_2);
        let expected = if path == "/healthz" { 200 } else { 401 };
        assert_eq!(response.status(), expected);
    }
    // The end of the server ends the connection in good order.
    server.stop().await;
    tokio::time::timeout(PATIENCE, connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_server_does_not_start_with_files_that_it_cannot_use() {
    let authority = Authority::new("authority");
    let files = Files::new(&authority.issue("localhost"));
    std::fs::write(files.path("tls.key"), authority.issue("localhost").key).unwrap();
    refused(files.settings(), &files.path("tls.crt")).await;
    std::fs::remove_file(files.path("tls.key")).unwrap();
    refused(files.settings(), &files.path("tls.key")).await;
    files.put(&authority.issue("localhost"));
    let mut settings = files.settings();
    settings.clients = Some((files.path("clients.crt"), ClientCertificate::Required));
    std::fs::write(files.path("clients.crt"), "").unwrap();
    refused(settings, &files.path("clients.crt")).await;
}

/// Starts a server that must not start because of a file.
async fn refused(tls: ServerTls, culprit: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let clusters = vec![cluster("main", Postgres::shared())];
    let mut settings = Server::settings(folder.path(), clusters, None);
    settings.tls = Some(tls);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = serve(listener, settings, std::future::pending())
        .await
        .unwrap_err();
    match &error {
        ServerError::Tls { path, .. } => assert_eq!(path, culprit, "{error}"),
        other => panic!("{other}"),
    }
    assert!(!error.to_string().contains("PRIVATE"), "{error}");
}
