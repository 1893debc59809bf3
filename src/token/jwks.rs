//! JSON key sets (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, KeyError, Keys};

/// Whether shared secrets (`kty` `oct`) in a key set may check tokens.
///
/// A key set is public, so a secret in it is no secret: whoever fetched it can make tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedSecrets {
    /// They are left out.
    Refuse,
    /// They check HS256, HS384 and HS512; only when the operator says so.
    Accept,
}

/// The members of a key that matter for checking; unknown ones are none of our business.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// Reads a key set, leaving out keys that cannot check tokens ([`Keys::skipped`] says why).
pub fn parse(json: &str, secrets: SharedSecrets) -> Result<Keys, KeyError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set =
        serde_json::from_str(json).map_err(|error| KeyError::NotAKeySet(place_of(&error)))?;
    let mut keys = Vec::new();
    let mut skipped = Vec::new();
    for (index, value) in set.keys.into_iter().enumerate() {
        let name = value.get("kid").and_then(Value::as_str).map_or_else(
            || format!("key {}", index + 1),
            |id| format!("key `{}`", tame(id)),
        );
        match read(value, secrets) {
            Ok(key) => keys.push(Key {
                description: format!("{} ({name})", key.description),
                ..key
            }),
            Err(reason) => skipped.push(format!("{name}: {reason}")),
        }
    }
    if keys.is_empty() {
        return Err(KeyError::NoUsableKey(skipped));
    }
    Ok(Keys { keys, skipped })
}

/// Where the JSON goes wrong, without any of its text.
fn place_of(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "unexpected content",
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
    };
    format!("{what} at line {} column {}", error.line(), error.column())
}

fn tame(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn read(value: Value, secrets: SharedSecrets) -> Result<Key, String> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| "it is not a key".to_owned())?;
    if jwk.r#use.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures (`use`)".to_owned());
    }
    if jwk
        .key_ops
        .as_ref()
        .is_some_and(|uses| !uses.iter().any(|word| word == "verify"))
    {
        return Err("it is not for checking signatures (`key_ops`)".to_owned());
    }
    let mut key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Key::rsa(
            &bytes("n", jwk.n.as_deref())?,
            &bytes("e", jwk.e.as_deref())?,
        ),
        ("EC", Some("P-256")) => Key::elliptic(Algorithm::ES256, &point(&jwk, 32)?),
        ("EC", Some("P-384")) => Key::elliptic(Algorithm::ES384, &point(&jwk, 48)?),
        ("OKP", Some("Ed25519")) => Key::ed25519(&bytes("x", jwk.x.as_deref())?),
        ("EC" | "OKP", curve) => Err(KeyError::UnsupportedKey(format!(
            "a key on the curve `{}`",
            tame(curve.unwrap_or_default())
        ))),
        ("oct", _) => match secrets {
            SharedSecrets::Accept => Key::secret(&bytes("k", jwk.k.as_deref())?),
            SharedSecrets::Refuse => {
                return Err("it is a shared secret, which a key set must not hold".to_owned());
            }
        },
        (kind, _) => Err(KeyError::UnsupportedKey(format!(
            "a key of type `{}`",
            tame(kind)
        ))),
    }
    .map_err(|error| error.to_string())?;
    if jwk.d.is_some() {
        key.description
            .push_str(", published with its private part");
    }
    if let Some(name) = &jwk.alg {
        key.algorithms
            .retain(|algorithm| format!("{algorithm:?}") == *name);
        if key.algorithms.is_empty() {
            return Err(format!(
                "its algorithm `{}` does not fit its type, or is not supported",
                tame(name)
            ));
        }
    }
    key.id = jwk.kid;
    Ok(key)
}

fn bytes(name: &str, text: Option<&str>) -> Result<Vec<u8>, String> {
    let text = text.ok_or_else(|| format!("`{name}` is missing"))?;
    URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_| format!("`{name}` is not base64url"))
}

fn point(jwk: &Jwk, length: usize) -> Result<Vec<u8>, String> {
    let mut point = vec![4];
    for (name, text) in [("x", &jwk.x), ("y", &jwk.y)] {
        let coordinate = bytes(name, text.as_deref())?;
        if coordinate.len() != length {
            return Err(format!(
                "`{name}` has {} bytes, not {length}",
                coordinate.len()
            ));
        }
        point.extend(coordinate);
    }
    Ok(point)
}
