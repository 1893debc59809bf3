//! Signed reports: an in-toto statement about a file, in a DSSE envelope, signed with Ed25519.
//!
//! Both are open formats that other tools read and check (<https://in-toto.io/Statement/v1>,
//! <https://github.com/secure-systems-lab/dsse>), so that an auditor does not depend on this one.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::model::Verdict;
use super::report::{ControlState, Isolation};
use crate::secret::{Secret, sha256_hex};

/// Media type of the signed text.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Form of the statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What the statement says about the file.
pub const PREDICATE_TYPE: &str = "urn:lerianctl:isolation-report:v1";

/// Why a key, or an attestation, is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AttestError {
    /// No Ed25519 private key in PKCS#8.
    #[error("it is no Ed25519 private key in PEM (PKCS#8)")]
    PrivateKey,
    /// No Ed25519 public key.
    #[error("it is no Ed25519 public key in PEM")]
    PublicKey,
    /// Not a DSSE envelope with a statement of ours; the text says where.
    #[error("it is not the attestation of a report: {0}")]
    Form(String),
    /// No signature of any of the keys.
    #[error("no signature in it was made with any of the given keys")]
    Signature,
    /// The file is not the one that was signed.
    #[error("the file has the digest {found}, and {signed} was signed")]
    Digest {
        /// SHA-256 of the file.
        found: String,
        /// SHA-256 in the statement.
        signed: String,
    },
}

/// A key that signs reports.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

impl SigningKey {
    /// Reads a private key as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(text: &Secret) -> Result<Self, AttestError> {
        let block = pem::parse(text.expose()).map_err(|_| AttestError::PrivateKey)?;
        if block.tag() != "PRIVATE KEY" {
            return Err(AttestError::PrivateKey);
        }
        let contents = zeroize::Zeroizing::new(block.into_contents());
        let pair = Ed25519KeyPair::from_pkcs8(&contents).map_err(|_| AttestError::PrivateKey)?;
        let public: PublicKeyX509Der<'_> = pair
            .public_key()
            .as_der()
            .map_err(|_| AttestError::PrivateKey)?;
        let id = sha256_hex(public.as_ref());
        Ok(Self { pair, id })
    }

    /// Returns the id of the key: the SHA-256 of its public half in DER.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// A key that reports are verified with.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    der: Vec<u8>,
    id: String,
}

impl VerifyingKey {
    /// Reads a public key as `openssl pkey -pubout` writes it.
    pub fn from_pem(text: &str) -> Result<Self, AttestError> {
        let block = pem::parse(text).map_err(|_| AttestError::PublicKey)?;
        let der = block.into_contents();
        ParsedPublicKey::new(&ED25519, &der).map_err(|_| AttestError::PublicKey)?;
        let id = sha256_hex(&der);
        Ok(Self { der, id })
    }

    /// Returns the id of the key: the SHA-256 of it in DER.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// A DSSE envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Media type of the payload.
    pub payload_type: String,
    /// The statement, in base64.
    pub payload: String,
    /// Signatures over type and payload.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Id of the key; a hint only, which proves nothing.
    #[serde(default)]
    pub keyid: String,
    /// The signature, in base64.
    pub sig: String,
}

/// An in-toto statement about one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    form: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: Digest,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Digest {
    sha256: String,
}

/// What the signer says that the run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// Id of the run.
    pub run: String,
    /// When the run began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When it was signed.
    #[schemars(with = "String")]
    pub signed_at: Timestamp,
    /// Version of the program that signed.
    pub tool_version: String,
    /// Conclusion.
    pub verdict: Verdict,
    /// Whether planted breaches were found.
    pub control: ControlState,
    /// Findings that count.
    pub findings: usize,
    /// Tenants of the fleet.
    pub tenants: usize,
    /// Digest of who has what.
    pub inventory: String,
}

impl Predicate {
    fn of(report: &Isolation, now: Timestamp) -> Self {
        Self {
            run: report.run.clone(),
            started_at: report.started_at,
            signed_at: now,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: report.verdict,
            control: report.control.state,
            findings: report.findings.iter().filter(|f| f.counts()).count(),
            tenants: report.fleet.tenants.len(),
            inventory: report.fleet.inventory.clone(),
        }
    }

    /// Returns what a report says otherwise than the signer did; empty when nothing.
    pub fn differs(&self, report: &Isolation) -> Vec<&'static str> {
        let said = Self::of(report, self.signed_at);
        [
            ("run", said.run != self.run),
            ("startedAt", said.started_at != self.started_at),
            ("verdict", said.verdict != self.verdict),
            ("control", said.control != self.control),
            ("findings", said.findings != self.findings),
            ("tenants", said.tenants != self.tenants),
            ("inventory", said.inventory != self.inventory),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

/// An attestation that was verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Attested {
    /// Id of the key that signed.
    pub key: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// What the signer said.
    pub predicate: Predicate,
}

/// Text that is signed, as DSSE lays it down.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    )
    .into_bytes();
    text.extend_from_slice(payload);
    text
}

/// Signs the bytes of a file called `name` that holds `report`.
pub fn sign(
    key: &SigningKey,
    name: &str,
    file: &[u8],
    report: &Isolation,
    now: Timestamp,
) -> Envelope {
    let statement = Statement {
        form: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject {
            name: name.to_owned(),
            digest: Digest {
                sha256: sha256_hex(file),
            },
        }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate::of(report, now),
    };
    let payload = serde_json::to_vec(&statement).expect("a statement has no key that is not text");
    Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![Signature {
            keyid: key.id.clone(),
            sig: STANDARD.encode(key.pair.sign(&pre_authentication(&payload))),
        }],
        payload: STANDARD.encode(payload),
    }
}

/// Verifies that `envelope` was signed with one of `keys`, and that it is about `file`.
///
/// Nothing of the statement is read before a signature over it was verified.
pub fn verify(
    keys: &[VerifyingKey],
    envelope: &[u8],
    file: &[u8],
) -> Result<Attested, AttestError> {
    let form = |error: &dyn std::fmt::Display| AttestError::Form(error.to_string());
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|error| form(&error))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(form(&"its payload is no in-toto statement"));
    }
    let payload = STANDARD
        .decode(&envelope.payload)
        .map_err(|error| form(&error))?;
    let text = pre_authentication(&payload);
    let key = envelope
        .signatures
        .iter()
        .filter_map(|signature| STANDARD.decode(&signature.sig).ok())
        .find_map(|signature| {
            keys.iter().find(|key| {
                UnparsedPublicKey::new(&ED25519, &key.der)
                    .verify(&text, &signature)
                    .is_ok()
            })
        })
        .ok_or(AttestError::Signature)?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(|error| form(&error))?;
    if statement.form != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
        return Err(form(&"it states something else"));
    }
    let [subject] = &statement.subject[..] else {
        return Err(form(&"it is not about one file"));
    };
    let sha256 = sha256_hex(file);
    if subject.digest.sha256 != sha256 {
        return Err(AttestError::Digest {
            found: sha256,
            signed: subject.digest.sha256.clone(),
        });
    }
    Ok(Attested {
        key: key.id.clone(),
        sha256,
        predicate: statement.predicate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::render::tests::report;

    // The key pair of RFC 8410, section 10.3.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    const OTHER: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
        -----END PUBLIC KEY-----\n";

    fn now() -> Timestamp {
        "2026-11-25T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_signed_report_verifies_and_a_changed_one_does_not() {
        let key = SigningKey::from_pem(&Secret::new(PRIVATE)).unwrap();
        let public = VerifyingKey::from_pem(PUBLIC).unwrap();
        let other = VerifyingKey::from_pem(OTHER).unwrap();
        assert_eq!(key.id(), public.id());
        let report = report(3);
        let file = serde_json::to_vec(&report).unwrap();
        let envelope = sign(&key, "report.json", &file, &report, now());
        let bytes = serde_json::to_vec(&envelope).unwrap();
        let keys = [other.clone(), public.clone()];
        let attested = verify(&keys, &bytes, &file).unwrap();
        assert_eq!(attested.key, public.id());
        assert_eq!(attested.predicate.tenants, 3);
        assert!(attested.predicate.differs(&report).is_empty());
        assert_eq!(verify(&[other], &bytes, &file), Err(AttestError::Signature));
        assert_eq!(verify(&[], &bytes, &file), Err(AttestError::Signature));
        let mut changed = file.clone();
        changed[10] ^= 1;
        assert!(matches!(
            verify(&keys, &bytes, &changed),
            Err(AttestError::Digest { .. })
        ));
        // Every single bit of the payload and of the signature counts.
        let payload = STANDARD.decode(&envelope.payload).unwrap();
        for at in (0..payload.len()).step_by(7) {
            let mut payload = payload.clone();
            payload[at] ^= 1;
            let mut forged = envelope.clone();
            forged.payload = STANDARD.encode(payload);
            let forged = serde_json::to_vec(&forged).unwrap();
            assert_eq!(verify(&keys, &forged, &file), Err(AttestError::Signature));
        }
        let signature = STANDARD.decode(&envelope.signatures[0].sig).unwrap();
        for at in 0..signature.len() {
            let mut signature = signature.clone();
            signature[at] ^= 1;
            let mut forged = envelope.clone();
            forged.signatures[0].sig = STANDARD.encode(signature);
            let forged = serde_json::to_vec(&forged).unwrap();
            assert_eq!(verify(&keys, &forged, &file), Err(AttestError::Signature));
        }
    }

    #[test]
    fn what_a_signed_text_says_must_be_a_statement_of_ours() {
        let key = SigningKey::from_pem(&Secret::new(PRIVATE)).unwrap();
        let keys = [VerifyingKey::from_pem(PUBLIC).unwrap()];
        for payload in [
            "{}",
            "null",
            r#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":{}}"#,
        ] {
            let envelope = Envelope {
                payload_type: PAYLOAD_TYPE.into(),
                payload: STANDARD.encode(payload),
                signatures: vec![Signature {
                    keyid: String::new(),
                    sig: STANDARD.encode(key.pair.sign(&pre_authentication(payload.as_bytes()))),
                }],
            };
            let bytes = serde_json::to_vec(&envelope).unwrap();
            assert!(
                matches!(verify(&keys, &bytes, b"x"), Err(AttestError::Form(_))),
                "{payload}"
            );
        }
        assert!(matches!(
            verify(&keys, b"no json", b"x"),
            Err(AttestError::Form(_))
        ));
    }

    #[test]
    fn only_ed25519_keys_are_read_and_never_shown() {
        assert!(SigningKey::from_pem(&Secret::new(PUBLIC)).is_err());
        assert!(SigningKey::from_pem(&Secret::new("no key")).is_err());
        assert!(VerifyingKey::from_pem(PRIVATE).is_err());
        assert!(VerifyingKey::from_pem("").is_err());
        let key = SigningKey::from_pem(&Secret::new(PRIVATE)).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.id()));
    }
}
