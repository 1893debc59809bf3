//! The one TLS stack: rustls with aws-lc-rs.

use std::sync::Arc;

use super::LinkError;

/// Installs aws-lc-rs as the process's crypto provider; later calls do nothing.
///
/// Call it on network paths only: commands that stay offline must not pay for it.
pub fn install() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Returns a client configuration that trusts `ca_pem`, or the system's roots when absent.
pub fn client_config(_ca_pem: Option<&str>) -> Result<Arc<rustls::ClientConfig>, LinkError> {
    Err(LinkError::Tls {
        target: String::new(),
        reason: "not built yet".into(),
    })
}
