//! The server's end of TLS: certificates from files, taken again when the files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::der::Decode as _;

use super::metrics::Metrics;
use super::registry::model::now;
use super::service::Tenancy;
use crate::secret::sha256_hex;

/// Largest file with certificates or a key.
const LARGEST: u64 = 1024 * 1024;

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Without one there is no connection.
    Required,
    /// One that is shown must be good.
    Optional,
}

/// Files that TLS needs. They are read again when they change and when `changed` is notified.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// Certificate and those that issued it, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities whose certificates clients may show, PEM, and whether they must.
    pub clients: Option<(PathBuf, ClientCertificate)>,
    /// Time between two looks at the files.
    pub look_every: Duration,
    /// Makes the server look at once.
    pub changed: Arc<Notify>,
}

/// What one reading of the files gave.
struct Loaded {
    config: Arc<ServerConfig>,
    expires: jiff::Timestamp,
}

/// What the files held.
struct Contents {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
    clients: Option<Vec<u8>>,
}

impl Contents {
    fn digest(&self) -> String {
        let mut text = sha256_hex(&self.certificate);
        text.push_str(&sha256_hex(&self.key));
        text.push_str(&sha256_hex(self.clients.as_deref().unwrap_or_default()));
        text
    }
}

/// The certificate in use.
pub(super) struct Tls {
    files: ServerTls,
    current: RwLock<Arc<ServerConfig>>,
    first: String,
    expires: jiff::Timestamp,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files for the first time.
    pub(super) fn open(files: ServerTls) -> Result<Self, (PathBuf, String)> {
        let contents = read(&files)?;
        let loaded = load(&files, &contents)?;
        if loaded.expires <= now() {
            tracing::warn!(expired = %loaded.expires, "the certificate has expired; clients will refuse it");
        }
        Ok(Self {
            current: RwLock::new(loaded.config),
            first: contents.digest(),
            expires: loaded.expires,
            files,
        })
    }

    /// Returns when the certificate that was read first expires.
    pub(super) fn expires(&self) -> jiff::Timestamp {
        self.expires
    }

    /// Returns an acceptor with the certificate in use.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Takes up changed files until the server stops. What cannot be used changes nothing.
    pub(super) async fn watch(
        self: Arc<Self>,
        tenancy: Arc<Tenancy>,
        mut closing: watch::Receiver<bool>,
    ) {
        let metrics = &tenancy.metrics;
        let mut seen = self.first.clone();
        let mut amiss = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.files.look_every) => {}
                () = self.files.changed.notified() => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
            let this = Arc::clone(&self);
            let known = seen.clone();
            let looked = tokio::task::spawn_blocking(move || this.look(&known)).await;
            let Ok(looked) = looked else { continue };
            match looked {
                Ok(None) => {}
                Ok(Some((digest, Ok(loaded)))) => {
                    seen = digest;
                    amiss = None;
                    tracing::info!(expires = %loaded.expires, "a new certificate is in use");
                    metrics.tls_loaded(loaded.expires);
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded.config;
                }
                Ok(Some((digest, Err((path, reason))))) => {
                    seen = digest;
                    refused(metrics, &path, reason, &mut amiss);
                }
                Err((path, reason)) => refused(metrics, &path, reason, &mut amiss),
            }
        }
    }

    /// Reads the files, and loads them unless they are as they were.
    #[expect(clippy::type_complexity, reason = "read by one caller")]
    fn look(
        &self,
        seen: &str,
    ) -> Result<Option<(String, Result<Loaded, (PathBuf, String)>)>, (PathBuf, String)> {
        let contents = read(&self.files)?;
        let digest = contents.digest();
        if digest == seen {
            return Ok(None);
        }
        let loaded = load(&self.files, &contents).and_then(|loaded| {
            if loaded.expires <= now() {
                return Err((
                    self.files.certificate.clone(),
                    format!("it expired at {}", loaded.expires),
                ));
            }
            Ok(loaded)
        });
        Ok(Some((digest, loaded)))
    }
}

/// Says once what is wrong with new files.
fn refused(metrics: &Metrics, path: &Path, reason: String, amiss: &mut Option<String>) {
    if amiss.as_ref() != Some(&reason) {
        tracing::error!(
            path = %path.display(),
            %reason,
            "the new certificate cannot be used; the one before stays in use"
        );
        metrics.tls_refused();
        *amiss = Some(reason);
    }
}

/// Returns true when the client chose HTTP/2.
pub(super) fn speaks_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn read(files: &ServerTls) -> Result<Contents, (PathBuf, String)> {
    let one = |path: &Path| {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
            .map_err(|error| (path.to_owned(), error.to_string()))?;
        Ok(bytes)
    };
    Ok(Contents {
        certificate: one(&files.certificate)?,
        key: zeroize::Zeroizing::new(one(&files.key)?),
        clients: files
            .clients
            .as_ref()
            .map(|(path, _)| one(path))
            .transpose()?,
    })
}

fn load(files: &ServerTls, contents: &Contents) -> Result<Loaded, (PathBuf, String)> {
    let of_certificate = |reason: String| (files.certificate.clone(), reason);
    let chain = certificates(&contents.certificate).map_err(of_certificate)?;
    let expires = chain
        .first()
        .ok_or_else(|| of_certificate("it holds no certificate".to_owned()))
        .and_then(|leaf| expiry(leaf).map_err(of_certificate))?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| {
        (
            files.key.clone(),
            format!("it holds no private key: {error}"),
        )
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| of_certificate(error.to_string()))?;
    let builder = match (&files.clients, &contents.clients) {
        (Some((path, demand)), Some(pem)) => {
            let of_clients = |reason: String| (path.clone(), reason);
            let mut roots = RootCertStore::empty();
            for authority in certificates(pem).map_err(of_clients)? {
                roots
                    .add(authority)
                    .map_err(|error| of_clients(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match demand {
                ClientCertificate::Required => verifier,
                ClientCertificate::Optional => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(
                verifier
                    .build()
                    .map_err(|error| of_clients(error.to_string()))?,
            )
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| of_certificate(error.to_string()))?;
    // In this order: Lerian's client before 4.6.3 offers `h2` and cannot speak it, once its process
    // has used Go's default transport.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    Ok(Loaded {
        config: Arc::new(config),
        expires,
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("it is not PEM: {error}"))
        .and_then(|found| {
            if found.is_empty() {
                Err("it holds no certificate".to_owned())
            } else {
                Ok(found)
            }
        })
}

fn expiry(certificate: &CertificateDer<'_>) -> Result<jiff::Timestamp, String> {
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|error| format!("its certificate cannot be read: {error}"))?;
    let end = parsed.tbs_certificate.validity.not_after.to_unix_duration();
    i64::try_from(end.as_secs())
        .ok()
        .and_then(|second| jiff::Timestamp::from_second(second).ok())
        .ok_or_else(|| "its certificate has no sensible end".to_owned())
}
