//! Checks the signature of a token.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::keys::{Key, Keys};
use super::parse::{Members, Parsed};
use super::validity::Validity;

/// Why a signature counts, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// One of the keys signed the token.
    Signed,
    /// The text is no token.
    Malformed,
    /// The header says `none`.
    AlgorithmNone,
    /// The header names no algorithm, or one that is not supported here.
    AlgorithmUnknown,
    /// The header names an algorithm that the key is not for.
    AlgorithmMismatch,
    /// No key has the id that the header names.
    KeyUnknown,
    /// There is no signature.
    SignatureMissing,
    /// The signature is not base64url.
    SignatureMalformed,
    /// No key signed the token.
    SignatureWrong,
    /// The header demands something that must be understood and is not, or contradicts itself.
    HeaderRefused,
}

/// Whether a signature was checked and counts. Time is told apart: see `validity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// True only when one of the given keys signed exactly this token.
    pub verified: bool,
    /// Why.
    pub reason: Reason,
    /// The same in a sentence.
    pub words: String,
    /// Header `alg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Header `kid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The key that signed the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When the token is valid, signed or not; absent for a text that is no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity: Option<Validity>,
    /// Keys of the key set that were left out, and why.
    pub skipped_keys: Vec<String>,
}

impl Verification {
    /// Returns true when the token is signed and may be used now.
    pub fn holds(&self) -> bool {
        self.verified && self.validity.as_ref().is_some_and(Validity::holds)
    }
}

/// Checks the signature of a token against `keys`, and its time against `now`.
///
/// A key is only ever used with the algorithms of its own kind, whatever the header says, and
/// keys that the header brings along are ignored.
pub fn verify(text: &str, keys: &Keys, now: Timestamp) -> Verification {
    let parsed = match Parsed::read(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            return Verification {
                verified: false,
                reason: Reason::Malformed,
                words: error.to_string(),
                algorithm: None,
                key_id: None,
                key: None,
                validity: None,
                skipped_keys: Vec::new(),
            };
        }
    };
    let outcome = check(&parsed, keys);
    let (reason, words, key) = match outcome {
        Ok(key) => (
            Reason::Signed,
            format!("signed by the {}", key.description),
            Some(key.description.clone()),
        ),
        Err((reason, words)) => (reason, words, None),
    };
    Verification {
        verified: reason == Reason::Signed,
        reason,
        words,
        algorithm: parsed.header.text("alg").map(str::to_owned),
        key_id: parsed.header.text("kid").map(str::to_owned),
        key,
        validity: Some(Validity::of(&parsed.claims, now)),
        skipped_keys: keys.skipped.clone(),
    }
}

/// Returns the key that signed, or why none counts.
pub(super) fn check<'a>(parsed: &Parsed, keys: &'a Keys) -> Result<&'a Key, (Reason, String)> {
    let no = |reason, words: &str| Err((reason, words.to_owned()));
    let algorithm = algorithm(&parsed.header)?;
    if parsed.signature.is_empty() {
        return no(Reason::SignatureMissing, "the signature is empty");
    }
    if URL_SAFE_NO_PAD.decode(&parsed.signature).is_err() {
        return no(
            Reason::SignatureMalformed,
            "the signature is not base64url: the token was cut or changed",
        );
    }
    let candidates = candidates(&parsed.header, algorithm, keys)?;
    for key in candidates {
        // An error means that key and algorithm do not go together: no signature of this key.
        let signed = jsonwebtoken::crypto::verify(
            &parsed.signature,
            parsed.signed.as_bytes(),
            &key.decoding,
            algorithm,
        );
        if matches!(signed, Ok(true)) {
            return Ok(key);
        }
    }
    no(
        Reason::SignatureWrong,
        "the signature is wrong: another key signed the token, or it was changed afterwards",
    )
}

/// Returns the algorithm of a header that may be believed.
fn algorithm(header: &Members) -> Result<Algorithm, (Reason, String)> {
    let refused = |words: &str| Err((Reason::HeaderRefused, words.to_owned()));
    if !header.repeated().is_empty() {
        return refused("the header holds a name more than once, so it says two things");
    }
    if header.get("crit").is_some() {
        return refused("the header demands extensions (`crit`) that are not understood here");
    }
    if header.get("b64") == Some(&Value::Bool(false)) {
        return refused("the header says that the claims are not base64url (`b64`: false)");
    }
    match header.text("alg") {
        Some(name) if name.eq_ignore_ascii_case("none") => Err((
            Reason::AlgorithmNone,
            "the header says `none`: nobody signed this token".to_owned(),
        )),
        name => name
            .and_then(|name| Algorithm::from_str(name).ok())
            .ok_or_else(|| {
                (
                    Reason::AlgorithmUnknown,
                    "the header names no algorithm that can be checked here".to_owned(),
                )
            }),
    }
}

/// Returns the keys that may have signed: those of the header's key id, when keys have ids, and
/// of the algorithm's kind.
fn candidates<'a>(
    header: &Members,
    algorithm: Algorithm,
    keys: &'a Keys,
) -> Result<Vec<&'a Key>, (Reason, String)> {
    let named: Vec<&Key> = match header.get("kid") {
        None => keys.keys.iter().collect(),
        Some(id) => keys
            .keys
            .iter()
            .filter(|key| key.id.is_none() || key.id.as_deref() == id.as_str())
            .collect(),
    };
    if named.is_empty() {
        return Err((
            Reason::KeyUnknown,
            "no key has the id that the header names (`kid`): the key set is of another issuer, or out of date"
                .to_owned(),
        ));
    }
    let fitting: Vec<&Key> = named
        .iter()
        .copied()
        .filter(|key| key.algorithms.contains(&algorithm))
        .collect();
    if fitting.is_empty() {
        let kinds: Vec<&str> = named.iter().map(|key| key.description.as_str()).collect();
        return Err((
            Reason::AlgorithmMismatch,
            format!(
                "the header says {algorithm:?}, which is not an algorithm of the {}: never checked with it",
                kinds.join(", ")
            ),
        ));
    }
    Ok(fitting)
}

#[cfg(test)]
mod tests;
