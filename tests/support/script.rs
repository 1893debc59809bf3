//! An HTTP server that misbehaves on purpose.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{RUNTIME, block_on};

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Play {
    /// Answers with these bytes and keeps the connection.
    Answer(Vec<u8>),
    /// Answers with these bytes and closes the connection in good order.
    Close(Vec<u8>),
    /// Answers byte by byte, with a wait after each.
    Drip(Vec<u8>, Duration),
    /// Answers with a head and then chunks without end.
    Endless,
    /// Resets the connection without an answer.
    Reset,
    /// Says nothing and keeps the connection.
    Hang,
}

impl Play {
    /// Answers with a JSON body.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "tests give literals and values alike"
    )]
    pub(crate) fn json(status: u16, body: impl ToString) -> Self {
        let headers = "content-type: application/json\r\n";
        Self::with(status, headers, &body.to_string())
    }

    /// Answers with a body and these header lines.
    pub(crate) fn with(status: u16, headers: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status} Some Reason\r\nx-request-id: scripted\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        Self::Answer([head.as_bytes(), body.as_bytes()].concat())
    }
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Method and target.
    pub(crate) line: String,
    /// Headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Body.
    pub(crate) body: String,
}

/// A server that plays a script; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Script {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    sent: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    /// Starts a server that plays one piece per request, the last one for ever.
    #[must_use]
    pub(crate) fn play(plays: impl IntoIterator<Item = Play>) -> Self {
        let plays: Vec<Play> = plays.into_iter().collect();
        Self::answer(move |_, number| plays[number.min(plays.len() - 1)].clone())
    }

    /// Starts a server that decides by the request and its number, from 0.
    #[must_use]
    pub(crate) fn answer(decide: impl Fn(&Seen, usize) -> Play + Send + Sync + 'static) -> Self {
        let listener = block_on(async { TcpListener::bind("127.0.0.1:0").await.unwrap() });
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(AtomicUsize::new(0));
        let (decide, log, count) = (Arc::new(decide), Arc::clone(&seen), Arc::clone(&sent));
        let task = RUNTIME.spawn(async move {
            // Dropped with this task, and with them the connections.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (decide, log) = (Arc::clone(&decide), Arc::clone(&log));
                let count = Arc::clone(&count);
                connections.spawn(async move {
                    let _ = converse(stream, &*decide, &log, &count).await;
                });
            }
        });
        Self {
            address,
            seen,
            sent,
            task,
        }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns how many bytes of endless answers were written.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

async fn converse(
    mut stream: TcpStream,
    decide: &(dyn Fn(&Seen, usize) -> Play + Send + Sync),
    log: &Mutex<Vec<Seen>>,
    sent: &AtomicUsize,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        match decide(&request, number) {
            Play::Answer(bytes) => stream.write_all(&bytes).await?,
            Play::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Play::Drip(bytes, wait) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(wait).await;
                }
            }
            Play::Endless => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                let chunk = [b"10000\r\n".as_slice(), &b"[".repeat(0x10000), b"\r\n"].concat();
                loop {
                    stream.write_all(&chunk).await?;
                    sent.fetch_add(chunk.len(), Ordering::Relaxed);
                }
            }
            Play::Reset => {
                // Closing with unread or unsent data pending and no linger sends a reset.
                return stream.set_zero_linger();
            }
            Play::Hang => std::future::pending().await,
        }
    }
    Ok(())
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Seen>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while buffer.len() < end + 4 + length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = String::from_utf8_lossy(&buffer[end + 4..end + 4 + length]).into_owned();
    buffer.drain(..end + 4 + length);
    Ok(Some(Seen {
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body,
    }))
}
