//! The first steps of AMQP 0-9-1: log in, open a virtual host, hang up.
//!
//! This is all that a probe needs, and it declares and reads nothing. A whole client would add some
//! forty crates to a program that never sends a message.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::isolation::inventory::Messaging;
use crate::link::tls;

const DEADLINE: Duration = Duration::from_secs(10);
/// Largest frame that is read: none of a handshake is near it.
const FRAME: u32 = 1 << 20;
const END: u8 = 0xCE;

/// What opening a virtual host came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opened {
    /// It was opened.
    Yes,
    /// It was refused with this code and text.
    Refused(u16, String),
    /// Something else, which proves nothing.
    Unclear(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Logs in as `login` and opens `vhost`.
pub(super) async fn open(login: &Messaging, vhost: &str) -> Opened {
    match tokio::time::timeout(DEADLINE, attempt(login, vhost)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => Opened::Unclear(error.to_string()),
        Err(_) => Opened::Unclear(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn attempt(login: &Messaging, vhost: &str) -> io::Result<Opened> {
    let Some(password) = &login.password else {
        return Err(io::Error::other("its password is not known"));
    };
    let tcp = TcpStream::connect((login.host.as_str(), login.port)).await?;
    tcp.set_nodelay(true)?;
    let mut stream: Box<dyn Stream> = if login.tls {
        let config = tls::client_config(login.ca_pem.as_deref()).map_err(io::Error::other)?;
        let name =
            rustls_pki_types::ServerName::try_from(login.host.clone()).map_err(io::Error::other)?;
        Box::new(
            tokio_rustls::TlsConnector::from(config)
                .connect(name, tcp)
                .await?,
        )
    } else {
        Box::new(tcp)
    };
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    expect(&mut stream, (10, 10)).await?;
    // StartOk: an empty table, PLAIN, the login, a locale. The field that tells what we can makes
    // a refused login an answer instead of a broken connection.
    let mut start = Vec::new();
    let mut table = Vec::new();
    short(&mut table, "capabilities");
    table.push(b'F');
    let mut inner = Vec::new();
    short(&mut inner, "authentication_failure_close");
    inner.extend([b't', 1]);
    long(&mut table, &inner);
    long(&mut start, &table);
    short(&mut start, "PLAIN");
    let secret = format!("\0{}\0{}", login.username, password.expose());
    long(&mut start, secret.as_bytes());
    short(&mut start, "en_US");
    send(&mut stream, (10, 11), &start).await?;
    let (method, tune) = receive(&mut stream).await?;
    if method == (10, 50) {
        let (code, text) = close(&tune);
        return Ok(Opened::Unclear(format!(
            "the login was refused: {code} {text}"
        )));
    }
    if method != (10, 30) || tune.len() < 8 {
        return Err(io::Error::other(
            "the login was not answered as AMQP has it",
        ));
    }
    // The broker's own limits, and no heartbeat: this ends at once.
    let mut limits = tune[..6].to_vec();
    limits.extend([0, 0]);
    send(&mut stream, (10, 31), &limits).await?;
    let mut wanted = Vec::new();
    short(&mut wanted, vhost);
    wanted.extend([0, 0]);
    send(&mut stream, (10, 40), &wanted).await?;
    match receive(&mut stream).await? {
        ((10, 41), _) => {
            let mut bye = 200_u16.to_be_bytes().to_vec();
            short(&mut bye, "bye");
            bye.extend([0; 4]);
            send(&mut stream, (10, 50), &bye).await?;
            let _ = receive(&mut stream).await;
            Ok(Opened::Yes)
        }
        ((10, 50), arguments) => {
            send(&mut stream, (10, 51), &[]).await?;
            let (code, text) = close(&arguments);
            Ok(Opened::Refused(code, text))
        }
        _ => Err(io::Error::other("opening was not answered as AMQP has it")),
    }
}

type Method = (u16, u16);

async fn expect(stream: &mut Box<dyn Stream>, wanted: Method) -> io::Result<Vec<u8>> {
    let (method, arguments) = receive(stream).await?;
    if method == wanted {
        Ok(arguments)
    } else {
        Err(io::Error::other("it does not speak AMQP 0-9-1"))
    }
}

/// Reads frames until one is a method of the connection.
async fn receive(stream: &mut Box<dyn Stream>) -> io::Result<(Method, Vec<u8>)> {
    loop {
        let kind = stream.read_u8().await?;
        let _channel = stream.read_u16().await?;
        let length = stream.read_u32().await?;
        if length > FRAME {
            return Err(io::Error::other("it does not speak AMQP 0-9-1"));
        }
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if stream.read_u8().await? != END {
            return Err(io::Error::other("a frame does not end where it should"));
        }
        if kind != 1 || payload.len() < 4 {
            continue;
        }
        let arguments = payload.split_off(4);
        let class = u16::from_be_bytes([payload[0], payload[1]]);
        let method = u16::from_be_bytes([payload[2], payload[3]]);
        return Ok(((class, method), arguments));
    }
}

async fn send(stream: &mut Box<dyn Stream>, method: Method, arguments: &[u8]) -> io::Result<()> {
    let length = u32::try_from(arguments.len() + 4).map_err(io::Error::other)?;
    let mut frame = vec![1, 0, 0];
    frame.extend(length.to_be_bytes());
    frame.extend(method.0.to_be_bytes());
    frame.extend(method.1.to_be_bytes());
    frame.extend(arguments);
    frame.push(END);
    stream.write_all(&frame).await
}

fn short(to: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    to.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    to.extend(bytes);
}

fn long(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    to.extend(bytes);
}

/// Reads the code and the text of a Close.
fn close(arguments: &[u8]) -> (u16, String) {
    let [a, b, length, rest @ ..] = arguments else {
        return (0, String::new());
    };
    let text = &rest[..rest.len().min(usize::from(*length))];
    let text = String::from_utf8_lossy(text).replace(char::is_control, " ");
    (u16::from_be_bytes([*a, *b]), text)
}
