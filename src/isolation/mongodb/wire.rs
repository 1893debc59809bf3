//! A session of MongoDB: log in, send a command, read its answer.
//!
//! Documents are read and written by the `bson` crate; around them stands one kind of message. A
//! whole driver would add forty crates, a second generation of `rand`, and for each login
//! connections of its own that watch the deployment, which nobody could count.

use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::address::Address;
use crate::link::tls;
use crate::secret::random_bytes;

const DEADLINE: Duration = Duration::from_secs(10);
/// Largest message that a server may send, as it says itself: 48,000,000 bytes.
const LARGEST: usize = 48_000_000;
/// The kind of message that is spoken since MongoDB 3.6.
const OP_MSG: u32 = 2013;
/// Iterations of a password's hash: what the standard asks for at least, and a bound for a server
/// that would have us count for ever.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// Codes of errors, from the server's table of them.
pub(super) const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server says no, with this code.
    Server(i32, String),
    /// It could not be asked.
    Unclear(String),
}

impl Refusal {
    /// Returns true when a right is missing.
    pub(super) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Server(UNAUTHORIZED, _))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(AUTHENTICATION_FAILED, _) => write!(f, "the login was refused"),
            Self::Server(code, text) => write!(f, "{text} (code {code})"),
            Self::Unclear(reason) => write!(f, "{reason}"),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unclear(error.to_string())
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection to one member of a deployment.
pub(super) struct Session {
    stream: Box<dyn Stream>,
    request: u32,
    /// What the member says of itself.
    pub(super) hello: Document,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Connects to the member that takes writes, or else to the first that answers, and logs in
    /// where `address` has a user.
    pub(super) async fn open(address: &Address) -> Result<Self, Refusal> {
        let mut first = None;
        let mut reason = Refusal::Unclear("no host is named".into());
        for (host, port) in &address.hosts {
            match Self::to(address, host, *port).await {
                Ok(session) if session.takes_writes() => {
                    first = Some(session);
                    break;
                }
                Ok(session) => first = first.or(Some(session)),
                Err(error) => reason = error,
            }
        }
        let mut session = first.ok_or(reason)?;
        if !address.username.is_empty() {
            session.log_in(address).await?;
        }
        Ok(session)
    }

    fn takes_writes(&self) -> bool {
        self.hello.get_bool("isWritablePrimary").unwrap_or(false)
    }

    async fn to(address: &Address, host: &str, port: u16) -> Result<Self, Refusal> {
        let connected = tokio::time::timeout(DEADLINE, connect(address, host, port)).await;
        let stream = connected.map_err(|_| late())??;
        let mut session = Self {
            stream,
            request: 0,
            hello: Document::new(),
        };
        let mut hello = doc! {
            "hello": 1,
            "client": {
                "application": { "name": "lerianctl" },
                "driver": { "name": "lerianctl", "version": env!("CARGO_PKG_VERSION") },
                "os": { "type": std::env::consts::OS },
            },
            "compression": ["snappy", "zstd", "zlib"],
        };
        // The member is taken at its word for what it could do; nothing is ever compressed here.
        hello.insert("$db", "admin");
        session.hello = session.send(&hello).await?;
        Ok(session)
    }

    /// Sends `command` to `database` and returns its answer.
    pub(super) async fn ask(
        &mut self,
        database: &str,
        mut command: Document,
    ) -> Result<Document, Refusal> {
        command.insert("$db", database);
        if !self.takes_writes() {
            command.insert("$readPreference", doc! { "mode": "primaryPreferred" });
        }
        self.send(&command).await
    }

    /// Returns the documents of the first batch of a cursor.
    pub(super) async fn list(
        &mut self,
        database: &str,
        command: Document,
    ) -> Result<Vec<Document>, Refusal> {
        let answer = self.ask(database, command).await?;
        let cursor = answer.get_document("cursor").ok();
        let batch = cursor.and_then(|cursor| cursor.get_array("firstBatch").ok());
        Ok(documents(batch))
    }

    async fn send(&mut self, command: &Document) -> Result<Document, Refusal> {
        let answer = tokio::time::timeout(DEADLINE, self.exchange(command)).await;
        let answer = answer.map_err(|_| late())??;
        if answer.get("ok").and_then(number).is_some_and(|ok| ok > 0.5) {
            return Ok(answer);
        }
        let code = answer.get("code").and_then(number).unwrap_or(0.0);
        let text = answer.get_str("errmsg").unwrap_or("no reason given");
        #[expect(
            clippy::cast_possible_truncation,
            reason = "codes are small whole numbers"
        )]
        Err(Refusal::Server(
            code as i32,
            text.replace(char::is_control, " "),
        ))
    }

    async fn exchange(&mut self, command: &Document) -> io::Result<Document> {
        self.request = self.request.wrapping_add(1);
        let body = command.to_vec().map_err(io::Error::other)?;
        let length = u32::try_from(body.len() + 21).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(body.len() + 21);
        // Length, number, answer to nothing, kind; no flags, and one section with a document.
        for word in [length, self.request, 0, OP_MSG, 0] {
            message.extend(word.to_le_bytes());
        }
        message.push(0);
        message.extend(body);
        self.stream.write_all(&message).await?;
        let strange = || io::Error::other("it does not speak MongoDB's protocol");
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).await?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = word(0) as usize;
        if !(21..=LARGEST).contains(&length) || word(8) != self.request || word(12) != OP_MSG {
            return Err(strange());
        }
        let mut rest = vec![0; length - 16];
        self.stream.read_exact(&mut rest).await?;
        // After the flags, the kind of the section: 0 is one document.
        if rest[4] != 0 {
            return Err(strange());
        }
        Document::from_reader(&mut &rest[5..]).map_err(|_| strange())
    }

    /// SCRAM-SHA-256, of RFC 7677, as MongoDB's [authentication specification][spec] has it.
    ///
    /// [spec]: https://github.com/mongodb/specifications/blob/master/source/auth/auth.md
    async fn log_in(&mut self, address: &Address) -> Result<(), Refusal> {
        let unclear = |text: &str| Refusal::Unclear(text.to_owned());
        let Some(password) = &address.password else {
            return Err(unclear("its password is not known"));
        };
        let scram = Scram::new(&address.username, &BASE64.encode(random_bytes::<24>()));
        let start = doc! {
            "saslStart": 1,
            "mechanism": "SCRAM-SHA-256",
            "payload": binary(format!("n,,{}", scram.first)),
            "options": { "skipEmptyExchange": true },
        };
        let answer = self.ask(&address.auth_source, start).await?;
        let conversation = answer
            .get("conversationId")
            .cloned()
            .unwrap_or(Bson::Int32(1));
        let challenge = payload(&answer).ok_or_else(|| unclear("the login has no challenge"))?;
        let password = stringprep::saslprep(password.expose())
            .map_err(|_| unclear("its password has characters that SCRAM does not allow"))?;
        // It takes milliseconds of computing.
        let (proof, signature) = {
            let password = zeroize::Zeroizing::new(password.into_owned());
            tokio::task::spawn_blocking(move || scram.answer(&password, &challenge))
                .await
                .map_err(|_| unclear("the login was given up"))?
                .map_err(|reason| unclear(&reason))?
        };
        let go_on = doc! {
            "saslContinue": 1,
            "conversationId": conversation.clone(),
            "payload": binary(proof),
        };
        let answer = self.ask(&address.auth_source, go_on).await?;
        if payload(&answer).is_none_or(|last| last != format!("v={signature}")) {
            return Err(unclear("the server does not prove that it knows the login"));
        }
        if !answer.get_bool("done").unwrap_or(false) {
            let end = doc! {
                "saslContinue": 1,
                "conversationId": conversation,
                "payload": binary(String::new()),
            };
            self.ask(&address.auth_source, end).await?;
        }
        Ok(())
    }
}

fn late() -> Refusal {
    Refusal::Unclear(format!("no answer within {} s", DEADLINE.as_secs()))
}

async fn connect(address: &Address, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    if !address.tls {
        return Ok(Box::new(tcp));
    }
    let config = tls::client_config(address.ca_pem.as_deref()).map_err(io::Error::other)?;
    let name = rustls_pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp);
    Ok(Box::new(stream.await?))
}

fn binary(text: String) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: text.into_bytes(),
    }
}

fn payload(answer: &Document) -> Option<String> {
    match answer.get("payload")? {
        Bson::Binary(binary) => String::from_utf8(binary.bytes.clone()).ok(),
        Bson::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// Returns a number of whatever kind.
pub(super) fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Double(number) => Some(*number),
        Bson::Int32(number) => Some(f64::from(*number)),
        #[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
        Bson::Int64(number) => Some(*number as f64),
        Bson::Boolean(true) => Some(1.0),
        _ => None,
    }
}

/// Returns the documents of an array.
pub(super) fn documents(list: Option<&Vec<Bson>>) -> Vec<Document> {
    let list = list.into_iter().flatten();
    list.filter_map(|one| one.as_document().cloned()).collect()
}

/// What a login says first.
struct Scram {
    nonce: String,
    first: String,
}

impl Scram {
    fn new(username: &str, nonce: &str) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            nonce: nonce.to_owned(),
            first: format!("n={username},r={nonce}"),
        }
    }

    /// Returns the proof, and what the server has to answer to it.
    fn answer(&self, password: &str, challenge: &str) -> Result<(String, String), String> {
        let field = |name: &str| {
            let mut fields = challenge.split(',');
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let (Some(nonce), Some(salt), Some(iterations)) = (field("r"), field("s"), field("i"))
        else {
            return Err("the challenge of the login is incomplete".into());
        };
        let longer = nonce.strip_prefix(self.nonce.as_str());
        if longer.is_none_or(str::is_empty) {
            return Err("the challenge of the login is not for this login".into());
        }
        let salt = BASE64
            .decode(salt)
            .map_err(|_| "the salt of the login is not Base64")?;
        let iterations = iterations
            .parse()
            .ok()
            .filter(|count| ITERATIONS.contains(count))
            .and_then(NonZeroU32::new)
            .ok_or("the login asks for fewer than 4,096 iterations, or more than a million")?;
        let mut salted = zeroize::Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            password.as_bytes(),
            &mut *salted,
        );
        let sign = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        };
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{without_proof}", self.first);
        let client_key = sign(&*salted, "Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        let signature = sign(stored.as_ref(), &signed);
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(key, signature)| key ^ signature)
            .collect();
        let server_key = sign(&*salted, "Server Key");
        let answer = sign(server_key.as_ref(), &signed);
        Ok((
            format!("{without_proof},p={}", BASE64.encode(proof)),
            BASE64.encode(answer),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scram_gives_what_rfc_7677_has() {
        let scram = Scram::new("user", "rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (proof, answer) = scram.answer("pencil", challenge).unwrap();
        assert_eq!(
            proof,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(answer, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_challenge_of_somebody_else_is_not_answered() {
        let scram = Scram::new("a,b=c", "nonce");
        assert_eq!(scram.first, "n=a=2Cb=3Dc,r=nonce");
        for challenge in [
            "",
            "r=nonce,s=W22Z,i=4096",
            "r=other1,s=W22Z,i=4096",
            "r=nonce1,s=!,i=4096",
            "r=nonce1,s=W22Z,i=1",
            "r=nonce1,s=W22Z,i=4000000000",
            "r=nonce1,s=W22Z",
        ] {
            assert!(scram.answer("p", challenge).is_err(), "{challenge}");
        }
    }
}
