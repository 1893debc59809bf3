//! Tokens as an attacker would make them, from those of the probe tenants.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

use crate::secret::Secret;

/// A token in its parts.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    text: [String; 3],
}

fn encode(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(value)
}

impl Parts {
    /// Takes a token apart.
    pub(super) fn of(token: &Secret) -> Option<Self> {
        let mut parts = token.expose().trim().split('.').map(str::to_owned);
        let text = [parts.next()?, parts.next()?, parts.next()?];
        if parts.next().is_some() {
            return None;
        }
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
            serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
        };
        Some(Self {
            header: object(&text[0])?,
            claims: object(&text[1])?,
            text,
        })
    }

    pub(super) fn claim(&self, name: &str) -> &str {
        self.claims
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the token with nothing that proves anything.
    pub(super) fn unsigned(&self) -> Vec<(String, String)> {
        let [header, claims, _] = &self.text;
        let mut all: Vec<(String, String)> = ["none", "None", "nOnE"]
            .into_iter()
            .map(|word| {
                let header = json!({ "alg": word, "typ": "JWT" }).to_string();
                (
                    format!("alg {word}"),
                    format!("{}.{claims}.", encode(&header)),
                )
            })
            .collect();
        all.push(("empty signature".into(), format!("{header}.{claims}.")));
        all.push(("no signature at all".into(), format!("{header}.{claims}")));
        all
    }

    /// Returns the token with a signature that is broken.
    pub(super) fn broken(&self, other: &Self) -> Vec<(String, String)> {
        let [header, claims, signature] = &self.text;
        let mut all = Vec::new();
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(signature) {
            for (third, name) in ["first", "second", "last"].into_iter().enumerate() {
                let mut bytes = bytes.clone();
                let at = (bytes.len() * (2 * third + 1) / 6).min(bytes.len().saturating_sub(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1;
                }
                let text = URL_SAFE_NO_PAD.encode(bytes);
                all.push((
                    format!("a bit of the {name} third"),
                    format!("{header}.{claims}.{text}"),
                ));
            }
            let cut = URL_SAFE_NO_PAD.encode(&bytes[..bytes.len() / 2]);
            all.push(("cut in half".into(), format!("{header}.{claims}.{cut}")));
        }
        let theirs = &other.text[2];
        all.push((
            "that of another token".into(),
            format!("{header}.{claims}.{theirs}"),
        ));
        all
    }

    /// Returns the token with other claims under its old signature.
    pub(super) fn with_claims(&self, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let mut claims = self.claims.clone();
        change(&mut claims);
        let [header, _, signature] = &self.text;
        format!(
            "{header}.{}.{signature}",
            encode(&Value::from(claims).to_string())
        )
    }

    /// Returns HS256 tokens whose secret is the public key, in the forms that confused libraries
    /// take for one.
    pub(super) fn confused(&self, jwks: &Value) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let keys = jwks["keys"].as_array().cloned().unwrap_or_default();
        for key in keys.iter().filter(|key| key["kty"] == "RSA") {
            let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
            let (Some(modulus), Some(exponent)) = (part("n"), part("e")) else {
                continue;
            };
            let mut header = Map::from_iter([("alg".to_owned(), json!("HS256"))]);
            if let Some(id) = key["kid"].as_str() {
                header.insert("kid".into(), id.into());
            }
            let pkcs1 = rsa_der(&modulus, &exponent);
            let spki = spki_der(&pkcs1);
            let pem = |name: &str, der: &[u8]| {
                pem::encode(&pem::Pem::new(name, der)).replace("\r\n", "\n")
            };
            let public = pem("PUBLIC KEY", &spki);
            let forms: [(&str, Vec<u8>); 5] = [
                ("PEM", public.clone().into_bytes()),
                (
                    "PEM without its last line feed",
                    public.trim_end().as_bytes().to_vec(),
                ),
                ("DER", spki),
                ("PKCS#1 PEM", pem("RSA PUBLIC KEY", &pkcs1).into_bytes()),
                (
                    "base64 of the modulus",
                    STANDARD.encode(&modulus).into_bytes(),
                ),
            ];
            for (name, secret) in forms {
                let token = signed_with_secret(&header, &self.claims, &secret);
                all.push((format!("HS256 with the public key as {name}"), token));
            }
        }
        all
    }

    /// Returns tokens that bring their own key along, or point to one.
    pub(super) fn self_keyed(&self) -> Vec<(String, String)> {
        let secret = b"lerianctl";
        let own = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret), "alg": "HS256" });
        // Port 9 of the product's own machine: nothing is fetched from anybody.
        let nowhere = "http://127.0.0.1:9/jwks.json";
        let headers = [
            ("jwk", json!({ "alg": "HS256", "jwk": own })),
            ("jku", json!({ "alg": "HS256", "jku": nowhere, "kid": "x" })),
            ("x5u", json!({ "alg": "HS256", "x5u": nowhere })),
            (
                "kid with a path",
                json!({ "alg": "HS256", "kid": "../../../../../../dev/null" }),
            ),
            (
                "kid with SQL",
                json!({ "alg": "HS256", "kid": "x' UNION SELECT 'lerianctl' -- " }),
            ),
        ];
        headers
            .into_iter()
            .map(|(name, header)| {
                let header = header.as_object().cloned().unwrap_or_default();
                let secret: &[u8] = if name == "kid with a path" {
                    b""
                } else {
                    secret
                };
                (
                    name.to_owned(),
                    signed_with_secret(&header, &self.claims, secret),
                )
            })
            .collect()
    }
}

fn signed_with_secret(
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
    secret: &[u8],
) -> String {
    let text = |part: &Map<String, Value>| encode(&Value::from(part.clone()).to_string());
    let signed = format!("{}.{}", text(header), text(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// What really signs tokens: development servers have such a key at hand.
pub struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads an RSA private key, PEM.
    pub fn from_pem(pem: &Secret) -> Result<Self, String> {
        let key = EncodingKey::from_rsa_pem(pem.expose().as_bytes());
        Ok(Self {
            key: key.map_err(|_| "it is not an RSA private key in PEM".to_owned())?,
            algorithm: Algorithm::RS256,
        })
    }

    pub(super) fn of_secret(secret: &[u8]) -> Self {
        Self {
            key: EncodingKey::from_secret(secret),
            algorithm: Algorithm::HS256,
        }
    }

    /// Signs claims, given as text so that they may say a name twice, under the header of a good
    /// token.
    pub(super) fn sign(&self, like: &Parts, claims: &str) -> Option<String> {
        let mut header = like.header.clone();
        header.insert("alg".into(), json!(format!("{:?}", self.algorithm)));
        let header = Value::from(header).to_string();
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm);
        Some(format!("{signed}.{}", signature.ok()?))
    }
}

/// One value of DER: tag, length, content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let first = length
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(length.len() - 1);
    if content.len() < 128 {
        out.push(length[length.len() - 1]);
    } else {
        out.push(0x80 | u8::try_from(length.len() - first).unwrap_or(8));
        out.extend_from_slice(&length[first..]);
    }
    out.extend_from_slice(content);
    out
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
    let mut content = bytes[start..].to_vec();
    if content.first().is_none_or(|byte| byte & 0x80 != 0) {
        content.insert(0, 0);
    }
    der(0x02, &content)
}

fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    der(0x30, &[integer(modulus), integer(exponent)].concat())
}

fn spki_der(pkcs1: &[u8]) -> Vec<u8> {
    // rsaEncryption, with its NULL.
    const RSA: [u8; 15] = [
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let bits = der(0x03, &[&[0], pkcs1].concat());
    der(0x30, &[&RSA[..], &bits].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        let header = json!({ "alg": "RS256" });
        let claims = json!({ "tenantId": "a" });
        let text = format!(
            "{}.{}.AAAA",
            encode(&header.to_string()),
            encode(&claims.to_string())
        );
        Parts::of(&Secret::new(text)).unwrap()
    }

    #[test]
    fn no_forgery_is_the_token_itself() {
        let parts = parts();
        let own = parts.text.join(".");
        let other = Parts {
            text: [String::new(), String::new(), "BBBB".into()],
            ..parts.clone()
        };
        let mut all = parts.unsigned();
        all.extend(parts.broken(&other));
        all.extend(parts.self_keyed());
        assert!(all.len() > 12);
        for (name, token) in all {
            assert_ne!(token, own, "{name}");
        }
        assert!(Parts::of(&Secret::new("a.b")).is_none());
    }

    #[test]
    fn the_public_key_is_written_as_others_read_it() {
        let spki = spki_der(&rsa_der(&[0xc1; 256], &[1, 0, 1]));
        let key = x509_cert::spki::SubjectPublicKeyInfoRef::try_from(spki.as_slice()).unwrap();
        assert!(
            aws_lc_rs::rsa::PublicKey::from_der(&spki).is_ok()
                || key.algorithm.oid.to_string() == "1.2.840.113549.1.1.1"
        );
    }
}
