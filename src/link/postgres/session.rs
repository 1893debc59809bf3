//! Sessions: a client with the task that moves its bytes.

use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::gate::{Line, Place};
use super::{CONNECT_DEADLINE, PostgresEndpoint};
use crate::link::redis::printable;
use crate::link::{LinkError, tls};

/// A logged-in session; ends when dropped.
pub struct Session {
    client: Client,
    task: JoinHandle<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("closed", &self.client.is_closed())
            .finish_non_exhaustive()
    }
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Why a session could not be opened, with the server's SQLSTATE when it answered with one.
#[derive(Debug, thiserror::Error)]
#[error("{link}")]
pub struct ConnectError {
    /// The reason for a caller that need not tell refusals apart.
    pub link: LinkError,
    /// SQLSTATE, such as `42501` (no CONNECT) or `28P01` (wrong password).
    pub sqlstate: Option<String>,
}

impl From<LinkError> for ConnectError {
    fn from(link: LinkError) -> Self {
        Self {
            link,
            sqlstate: None,
        }
    }
}

impl From<ConnectError> for LinkError {
    fn from(error: ConnectError) -> Self {
        error.link
    }
}

impl Session {
    pub(super) async fn open(
        endpoint: &PostgresEndpoint,
        options: &str,
        notifications: Option<UnboundedSender<String>>,
        place: Option<Place>,
    ) -> Result<Self, ConnectError> {
        let config = endpoint.config(options)?;
        let opened = tokio::time::timeout(CONNECT_DEADLINE, async {
            match (endpoint.connector()?, place) {
                (Some(tls), None) => Self::start(endpoint, &config, tls, notifications).await,
                (None, None) => Self::start(endpoint, &config, NoTls, notifications).await,
                (Some(tls), Some(place)) => {
                    Self::guarded(endpoint, &config, tls, notifications, place).await
                }
                (None, Some(place)) => {
                    Self::guarded(endpoint, &config, NoTls, notifications, place).await
                }
            }
        });
        opened.await.unwrap_or_else(|_| {
            Err(LinkError::Unreachable {
                target: endpoint.address(),
                reason: format!("no answer within {} s", CONNECT_DEADLINE.as_secs()),
            }
            .into())
        })
    }

    async fn start<T>(
        endpoint: &PostgresEndpoint,
        config: &tokio_postgres::Config,
        tls: T,
        notifications: Option<UnboundedSender<String>>,
    ) -> Result<Self, ConnectError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (client, connection) = config
            .connect(tls)
            .await
            .map_err(|error| endpoint.connect_error(&error))?;
        Ok(Self::serve(client, connection, notifications))
    }

    /// Connects over a socket that holds `place` until the server has closed it.
    async fn guarded<T>(
        endpoint: &PostgresEndpoint,
        config: &tokio_postgres::Config,
        mut tls: T,
        notifications: Option<UnboundedSender<String>>,
        place: Place,
    ) -> Result<Self, ConnectError>
    where
        T: MakeTlsConnect<Line>,
        T::Error: fmt::Display,
        T::Stream: Send + 'static,
    {
        let unreachable = |reason: String| LinkError::Unreachable {
            target: endpoint.address(),
            reason: printable(&reason),
        };
        let tls = tls
            .make_tls_connect(&endpoint.host)
            .map_err(|error| unreachable(error.to_string()))?;
        let line = Line::open(endpoint, place)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let (client, connection) = config
            .connect_raw(line, tls)
            .await
            .map_err(|error| endpoint.connect_error(&error))?;
        Ok(Self::serve(client, connection, notifications))
    }

    fn serve<S, T>(
        client: Client,
        mut connection: Connection<S, T>,
        notifications: Option<UnboundedSender<String>>,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let task = tokio::spawn(async move {
            if let Some(notifications) = notifications {
                loop {
                    match poll_fn(|context| connection.poll_message(context)).await {
                        Some(Ok(AsyncMessage::Notification(message))) => {
                            // Whoever listened may have gone; the session goes with it.
                            let _ = notifications.send(message.payload().to_owned());
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            tracing::debug!(%error, "a listening PostgreSQL session ended");
                            return;
                        }
                        None => return,
                    }
                }
            }
            // What went wrong reaches whoever waits for an answer; here it is only noted.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a PostgreSQL session ended");
            }
        });
        Self { client, task }
    }

    /// Says good-bye to the server and waits until the connection is closed.
    pub async fn close(self) {
        drop(self.client);
        let _ = self.task.await;
    }
}

impl PostgresEndpoint {
    pub(super) fn connector(&self) -> Result<Option<MakeRustlsConnect>, LinkError> {
        let encryption = self.encryption()?;
        if encryption.mode == tokio_postgres::config::SslMode::Disable {
            return Ok(None);
        }
        let config = tls::client_config_verifying(self.ca_pem.as_deref(), encryption.verify)
            .map_err(|error| match error {
                LinkError::Tls { reason, .. } => LinkError::Tls {
                    target: self.address(),
                    reason,
                },
                other => other,
            })?;
        Ok(Some(MakeRustlsConnect::new((*config).clone())))
    }

    /// Sorts what the driver reports into what a caller can act on.
    pub(super) fn connect_error(&self, error: &tokio_postgres::Error) -> ConnectError {
        if let Some(db) = error.as_db_error() {
            let busy = matches!(
                *db.code(),
                SqlState::TOO_MANY_CONNECTIONS
                    | SqlState::CANNOT_CONNECT_NOW
                    | SqlState::ADMIN_SHUTDOWN
                    | SqlState::CRASH_SHUTDOWN
                    | SqlState::OUT_OF_MEMORY
            );
            let reason = printable(&format!("{} ({})", db.message(), db.code().code()));
            let link = if busy {
                LinkError::Unreachable {
                    target: self.address(),
                    reason,
                }
            } else {
                LinkError::Refused {
                    target: self.describe(),
                    reason,
                }
            };
            return ConnectError {
                link,
                sqlstate: Some(db.code().code().to_owned()),
            };
        }
        let target = self.address();
        let causes = chain(error);
        let link = match error.to_string().as_str() {
            "error performing TLS handshake" => LinkError::Tls {
                target,
                reason: causes,
            },
            "authentication error" | "invalid configuration" => LinkError::Refused {
                target: self.describe(),
                reason: causes,
            },
            _ => LinkError::Unreachable {
                target,
                reason: causes,
            },
        };
        link.into()
    }
}

/// Returns the causes below an error of the driver, which itself says little.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // An I/O error repeats what it wraps.
        if !text.ends_with(&cause_text) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    if text.is_empty() {
        text = error.to_string();
    }
    printable(&text)
}
