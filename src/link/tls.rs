//! The one TLS stack: rustls with aws-lc-rs.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::LinkError;
use crate::secret::Secret;

/// How much of the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: encrypted, but to whoever answers.
    Nothing,
    /// It was issued by a trusted authority, for whatever host.
    Authority,
    /// It was issued by a trusted authority for this host.
    Host,
}

/// A certificate that a client shows, with its key.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate, and those that issued it: PEM.
    pub certificate_pem: String,
    /// Its private key: PEM.
    pub key_pem: Secret,
}

/// Installs aws-lc-rs as the process's crypto provider; later calls do nothing.
///
/// Call it on network paths only: commands that stay offline must not pay for it.
pub fn install() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Returns a client configuration that trusts `ca_pem`, or the system's roots when absent.
pub fn client_config(ca_pem: Option<&str>) -> Result<Arc<ClientConfig>, LinkError> {
    client_config_verifying(ca_pem, Verify::Host)
}

/// Returns a client configuration that trusts `ca_pem`, or the system's roots when absent, and
/// shows who we are to a server that asks.
pub fn client_config_as(
    ca_pem: Option<&str>,
    identity: &ClientIdentity,
) -> Result<ClientConfig, LinkError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| failure(&format!("the client certificate is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(failure(&"the client certificate holds no certificate"));
    }
    // What is wrong with a key is not quoted.
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes())
        .map_err(|_| failure(&"the client key holds no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(&error))?
        .with_root_certificates(roots(ca_pem)?)
        .with_client_auth_cert(chain, key)
        .map_err(|error| failure(&format!("the client certificate and key: {error}")))
}

/// Returns what an HTTP client for `base` needs: as [`client_config`] or [`client_config_as`]. For
/// plain `http` nothing is read, since the system's certificates take time.
pub fn http_config(
    base: &url::Url,
    ca_pem: Option<&str>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, LinkError> {
    install();
    if base.scheme() != "https" {
        return Ok(ClientConfig::builder()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth());
    }
    match identity {
        Some(identity) => client_config_as(ca_pem, identity),
        None => client_config(ca_pem).map(Arc::unwrap_or_clone),
    }
}

/// Returns a client configuration that checks as much of the certificate as `verify` says.
pub fn client_config_verifying(
    ca_pem: Option<&str>,
    verify: Verify,
) -> Result<Arc<ClientConfig>, LinkError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(&error))?;
    let config = match verify {
        Verify::Host => builder
            .with_root_certificates(roots(ca_pem)?)
            .with_no_client_auth(),
        Verify::Authority => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(LenientVerifier {
                roots: Some(roots(ca_pem)?),
                algorithms,
            }))
            .with_no_client_auth(),
        Verify::Nothing => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(LenientVerifier {
                roots: None,
                algorithms,
            }))
            .with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(ca_pem: Option<&str>) -> Result<Arc<RootCertStore>, LinkError> {
    match ca_pem {
        Some(pem) => given_roots(pem).map(Arc::new),
        None => system_roots(),
    }
}

fn given_roots(pem: &str) -> Result<RootCertStore, LinkError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate
            .map_err(|error| failure(&format!("the trusted certificates are not PEM: {error}")))?;
        store
            .add(certificate)
            .map_err(|error| failure(&format!("a trusted certificate cannot be used: {error}")))?;
    }
    if store.is_empty() {
        return Err(failure(&"the trusted certificates hold no certificate"));
    }
    Ok(store)
}

/// Returns the roots of the operating system, read once.
fn system_roots() -> Result<Arc<RootCertStore>, LinkError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Systems carry a few roots that no longer parse; the others are worth having.
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found
            .errors
            .first()
            .map_or_else(String::new, |error| format!(": {error}"));
        return Err(failure(&format!(
            "this system has no trusted certificates (install the package ca-certificates, or name a file of them){why}"
        )));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(store))))
}

fn failure(reason: &dyn ToString) -> LinkError {
    LinkError::Tls {
        target: "a server".into(),
        reason: reason.to_string(),
    }
}

/// Checks the authority when there are roots, never the host name.
#[derive(Debug)]
struct LenientVerifier {
    roots: Option<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_certificate_is_refused() {
        for pem in [
            "",
            "rubbish",
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----",
        ] {
            for verify in [Verify::Host, Verify::Authority] {
                let error = client_config_verifying(Some(pem), verify).unwrap_err();
                assert!(matches!(error, LinkError::Tls { .. }), "{pem}");
            }
        }
    }

    #[test]
    fn without_verification_no_roots_are_needed() {
        assert!(client_config_verifying(Some("rubbish"), Verify::Nothing).is_ok());
    }
}
