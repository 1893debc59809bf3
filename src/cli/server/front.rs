//! Flags of `server start` about TLS and about what clients may take.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::sync::Notify;

use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::server::{ClientCertificate, Limits, ServerTls};

/// Time between two looks at the files with certificates.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Demand {
    /// Without one there is no connection, not even for probes.
    Required,
    /// One that is shown must be good.
    Optional,
}

/// TLS.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// File with the certificate and those that issued it, PEM; read again when it changes and on
    /// HUP
    #[arg(long, value_name = "FILE", requires = "tls_key_file")]
    tls_certificate_file: Option<PathBuf>,

    /// File with the certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate_file")]
    tls_key_file: Option<PathBuf>,

    /// File with the authorities whose certificates clients show, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate_file")]
    tls_client_ca_file: Option<PathBuf>,

    /// Whether clients must show a certificate
    #[arg(
        long,
        value_name = "WHETHER",
        default_value = "required",
        requires = "tls_client_ca_file"
    )]
    tls_client_certificate: Demand,

    /// Accept plain HTTP on an address that other machines can reach, for a TLS proxy in front
    #[arg(long, conflicts_with = "tls_certificate_file")]
    allow_insecure_http: bool,
}

impl TlsArgs {
    /// Returns true when plain HTTP beyond this machine is accepted.
    pub(super) fn allows_insecure_http(&self) -> bool {
        self.allow_insecure_http
    }

    /// Returns the files, or nothing when the server is to speak plain HTTP and may.
    pub fn settings(&self, listen: SocketAddr) -> Result<Option<ServerTls>, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate_file, &self.tls_key_file)
        else {
            if listen.ip().is_loopback() || self.allow_insecure_http {
                return Ok(None);
            }
            return Err(Failure::new(
                Kind::Usage,
                "server.insecure_http",
                format!(
                    "{listen} can be reached from other machines, and API keys and passwords would travel unencrypted"
                ),
            )
            .hint("give a certificate with `--tls-certificate-file FILE --tls-key-file FILE`")
            .hint("or put a TLS proxy in front and say so with `--allow-insecure-http`, or listen on 127.0.0.1"));
        };
        let demand = match self.tls_client_certificate {
            Demand::Required => ClientCertificate::Required,
            Demand::Optional => ClientCertificate::Optional,
        };
        Ok(Some(ServerTls {
            certificate: certificate.clone(),
            key: key.clone(),
            clients: self
                .tls_client_ca_file
                .clone()
                .map(|authorities| (authorities, demand)),
            look_every: LOOK_EVERY,
            changed: Arc::new(Notify::new()),
        }))
    }
}

/// What clients may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Connections that are open at once; more wait
    #[arg(long, value_name = "N", default_value = "8192", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,

    /// Connections of one address (IPv6: of one /64); more are closed
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections_per_peer: u32,

    /// Requests that are worked on at once; more wait
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_requests: u32,

    /// Largest head of a request, in bytes
    #[arg(long, value_name = "BYTES", default_value = "65536", value_parser = clap::value_parser!(u32).range(8192..=1_048_576))]
    max_head_bytes: u32,

    /// Largest body of a request, in bytes
    #[arg(long, value_name = "BYTES", default_value = "1048576", value_parser = clap::value_parser!(u32).range(1024..=104_857_600))]
    max_body_bytes: u32,

    /// Longest time for the head of a request, or a TLS handshake, to arrive
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    head_timeout: Duration,

    /// Longest time for the body of a request to arrive
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    body_timeout: Duration,

    /// Longest time from the head of a request to the head of its answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    request_timeout: Duration,

    /// Longest time that a connection is kept without a request
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    idle_timeout: Duration,

    /// Longest time in which a client takes nothing of its answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    send_timeout: Duration,
}

impl LimitArgs {
    /// Returns the limits.
    pub fn limits(&self) -> Limits {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Limits {
            connections: count(self.max_connections),
            connections_per_peer: count(self.max_connections_per_peer),
            requests: count(self.max_requests),
            head_bytes: count(self.max_head_bytes),
            head_time: self.head_timeout,
            body_bytes: count(self.max_body_bytes),
            body_time: self.body_timeout,
            request_time: self.request_timeout,
            idle_time: self.idle_timeout,
            send_time: self.send_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        tls: TlsArgs,
        #[command(flatten)]
        limits: LimitArgs,
    }

    #[test]
    fn the_documented_defaults_are_those_of_the_server() {
        let line = Line::parse_from(["x"]);
        assert_eq!(line.limits.limits(), Limits::default());
    }

    #[test]
    fn plain_http_for_other_machines_is_said_aloud() {
        let open: SocketAddr = "0.0.0.0:4003".parse().expect("an address");
        let own: SocketAddr = "[::1]:4003".parse().expect("an address");
        let settings = |words: &[&str], listen| Line::parse_from(words).tls.settings(listen);
        assert!(settings(&["x"], open).is_err());
        assert!(matches!(settings(&["x"], own), Ok(None)));
        let insecure = ["x", "--allow-insecure-http"];
        assert!(matches!(settings(&insecure, open), Ok(None)));
        let words = ["x", "--tls-certificate-file", "a", "--tls-key-file", "b"];
        let tls = settings(&words, open).ok().flatten().expect("TLS");
        assert!(tls.clients.is_none());
        let mut words = words.to_vec();
        words.extend(["--tls-client-ca-file", "c"]);
        let tls = settings(&words, open).ok().flatten().expect("TLS");
        assert_eq!(tls.clients, Some(("c".into(), ClientCertificate::Required)));
        assert!(Line::try_parse_from(["x", "--tls-key-file", "b"]).is_err());
        assert!(
            Line::try_parse_from(["x", "--tls-client-certificate", "optional"]).is_err(),
            "says nothing without authorities"
        );
    }
}
