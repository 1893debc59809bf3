//! A login by hand: start-up parameters that the driver does not know, and what the server says of
//! itself before it is ready, which the driver keeps to itself.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::gate::{Line, Place};
use super::{APPLICATION_NAME, CONNECT_DEADLINE, ConnectError, PostgresEndpoint};
use crate::link::LinkError;
use crate::link::redis::printable;

/// The protocol's version 3.0, and the number that asks for TLS instead.
const VERSION: i32 = 196_608;
const TLS: i32 = 80_877_103;
/// Longest message that is taken; those of a login are short.
const LONGEST: usize = 64 * 1024;

/// What a server says to a login that it lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Greeting {
    /// What it reports, and reports again when it changes.
    pub parameters: BTreeMap<String, String>,
    /// Number of the process behind it, as it is told for cancelling; a pooler invents one.
    pub process: i32,
    /// Number of the process that the session runs in, where it was asked.
    pub backend: Option<i32>,
}

impl Greeting {
    /// Returns true when something that shares sessions answered in the server's place.
    pub fn is_pooled(&self) -> bool {
        self.backend.is_some_and(|backend| backend != self.process)
    }
}

/// Why it did not come to a greeting.
enum Trouble {
    Io(io::Error),
    Refused { sqlstate: String, message: String },
    Other(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Trouble {
    fn other(text: impl fmt::Display) -> Self {
        Self::Other(text.to_string())
    }

    fn of(self, endpoint: &PostgresEndpoint) -> ConnectError {
        let unreachable = |reason: String| ConnectError {
            link: LinkError::Unreachable {
                target: endpoint.address(),
                reason: printable(&reason),
            },
            sqlstate: None,
        };
        match self {
            Self::Io(error) => unreachable(error.to_string()),
            Self::Other(reason) => unreachable(reason),
            Self::Refused { sqlstate, message } => ConnectError {
                link: LinkError::Refused {
                    target: endpoint.describe(),
                    reason: printable(&format!("{message} ({sqlstate})")),
                },
                sqlstate: Some(sqlstate),
            },
        }
    }
}

/// Logs in with `more` start-up parameters, and leaves.
pub(super) async fn greet(
    endpoint: &PostgresEndpoint,
    more: &[(&str, &str)],
    place: Place,
) -> Result<Greeting, ConnectError> {
    let greeting = async {
        let mut line = Line::open(endpoint, place).await?;
        let encryption = endpoint.encryption().map_err(Trouble::other)?.mode;
        if encryption != SslMode::Disable {
            line.write_all(&framed(None, &TLS.to_be_bytes())).await?;
            if line.read_u8().await? == b'S' {
                let mut tls = endpoint
                    .connector()
                    .map_err(Trouble::other)?
                    .ok_or_else(|| Trouble::other("TLS is not set up"))?;
                let tls = <MakeRustlsConnect as MakeTlsConnect<Line>>::make_tls_connect(
                    &mut tls,
                    &endpoint.host,
                );
                let tls = tls.map_err(Trouble::other)?;
                let mut line = tls.connect(line).await.map_err(Trouble::other)?;
                return talk(&mut line, endpoint, more).await;
            }
            if encryption == SslMode::Require {
                return Err(Trouble::other("the server does not support TLS"));
            }
        }
        talk(&mut line, endpoint, more).await
    };
    match tokio::time::timeout(CONNECT_DEADLINE, Box::pin(greeting)).await {
        Ok(greeting) => greeting.map_err(|trouble| trouble.of(endpoint)),
        Err(_) => Err(Trouble::other("no answer in time").of(endpoint)),
    }
}

/// Puts a length, and the kind where there is one, before a message.
fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).unwrap_or(i32::MAX);
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

async fn talk<S>(
    line: &mut S,
    endpoint: &PostgresEndpoint,
    more: &[(&str, &str)],
) -> Result<Greeting, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut hello = VERSION.to_be_bytes().to_vec();
    let own = [
        ("user", endpoint.user.as_str()),
        ("database", &endpoint.database),
        ("application_name", APPLICATION_NAME),
    ];
    for word in own
        .iter()
        .chain(more)
        .flat_map(|(name, value)| [name, value])
    {
        if word.contains('\0') {
            return Err(Trouble::other("a name holds a zero"));
        }
        hello.extend(word.as_bytes());
        hello.push(0);
    }
    hello.push(0);
    line.write_all(&framed(None, &hello)).await?;
    line.flush().await?;
    let password = endpoint.password.as_ref().map_or("", |p| p.expose());
    let mut greeting = Greeting::default();
    let mut asked = false;
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    loop {
        let (kind, body) = message(line).await?;
        match kind {
            b'R' => {
                if let Some(answer) = authenticate(&body, endpoint, password, &mut scram)? {
                    line.write_all(&framed(Some(b'p'), &answer)).await?;
                    line.flush().await?;
                }
            }
            b'S' => {
                let mut words = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                if let (Some(name), Some(value)) = (words.next(), words.next()) {
                    greeting
                        .parameters
                        .insert(name.into_owned(), value.into_owned());
                }
            }
            b'K' => greeting.process = number(&body),
            b'E' => return Err(refused(&body)),
            // Asked for replication, the session is left as soon as it is there.
            b'Z' if more.is_empty() && !asked => {
                asked = true;
                let query = b"SELECT pg_catalog.pg_backend_pid()\0";
                line.write_all(&framed(Some(b'Q'), query)).await?;
                line.flush().await?;
            }
            b'D' => {
                // Number of columns, length of the first, and the first.
                let text = body.get(6..).map(String::from_utf8_lossy);
                greeting.backend = text.and_then(|text| text.parse().ok());
            }
            b'Z' => {
                line.write_all(&framed(Some(b'X'), &[])).await?;
                line.flush().await?;
                return Ok(greeting);
            }
            _ => {}
        }
    }
}

fn number(body: &[u8]) -> i32 {
    body.first_chunk()
        .map_or(-1, |bytes| i32::from_be_bytes(*bytes))
}

async fn message<S: AsyncRead + Unpin>(line: &mut S) -> Result<(u8, Vec<u8>), Trouble> {
    let kind = line.read_u8().await?;
    let length = usize::try_from(line.read_i32().await?).unwrap_or_default();
    if !(4..=LONGEST).contains(&length) {
        return Err(Trouble::other("this is not PostgreSQL's protocol"));
    }
    let mut body = vec![0; length - 4];
    line.read_exact(&mut body).await?;
    Ok((kind, body))
}

fn refused(body: &[u8]) -> Trouble {
    let mut fields = BTreeMap::new();
    for field in body.split(|byte| *byte == 0) {
        if let Some((kind, text)) = field.split_first() {
            fields.insert(*kind, String::from_utf8_lossy(text).into_owned());
        }
    }
    Trouble::Refused {
        sqlstate: fields.remove(&b'C').unwrap_or_default(),
        message: fields.remove(&b'M').unwrap_or_default(),
    }
}

/// Returns what to answer, if anything.
fn authenticate(
    body: &[u8],
    endpoint: &PostgresEndpoint,
    password: &str,
    scram: &mut ScramSha256,
) -> Result<Option<Vec<u8>>, Trouble> {
    let rest = body.get(4..).unwrap_or_default();
    let terminated = |text: &str| Some([text.as_bytes(), &[0]].concat());
    Ok(match number(body) {
        0 => None,
        3 => terminated(password),
        5 => {
            let salt = *rest
                .first_chunk()
                .ok_or_else(|| Trouble::other("there is no salt"))?;
            terminated(&md5_hash(
                endpoint.user.as_bytes(),
                password.as_bytes(),
                salt,
            ))
        }
        10 if rest
            .split(|byte| *byte == 0)
            .any(|name| name == SCRAM_SHA_256.as_bytes()) =>
        {
            let first = scram.message();
            let length = i32::try_from(first.len()).unwrap_or(i32::MAX);
            let name = [SCRAM_SHA_256.as_bytes(), &[0]].concat();
            Some([&name, &length.to_be_bytes()[..], first].concat())
        }
        11 => {
            scram.update(rest)?;
            Some(scram.message().to_vec())
        }
        12 => {
            scram.finish(rest)?;
            None
        }
        _ => return Err(Trouble::other("this way to log in is not known")),
    })
}
