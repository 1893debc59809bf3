//! Keys that check signatures: from a key set, a PEM file or a shared secret.

use std::fmt;

use aws_lc_rs::rsa::{PublicKey, PublicKeyComponents};
use jsonwebtoken::{Algorithm, DecodingKey};
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::secret::Secret;

/// RSA keys below this size are refused: they can be broken.
const SMALLEST_RSA_BITS: usize = 2048;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const RSA_ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const SECRET_ALGORITHMS: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// Why keys cannot be used. Never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a JSON key set.
    #[error("the key set is not a JSON document with an array `keys`: {0}")]
    NotAKeySet(String),
    /// A key set without a key that can check a token.
    #[error("the key set holds no key that can check a token{}", listed(.0))]
    NoUsableKey(Vec<String>),
    /// No PEM block with a public key.
    #[error("the file holds no public key or certificate in PEM")]
    NotPem,
    /// A private key where a public one belongs.
    #[error("the file holds a private key; give its public part")]
    PrivateKey,
    /// A public key or certificate that cannot be read.
    #[error("the {what} cannot be read: {reason}")]
    Unreadable {
        /// `public key` or `certificate`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A kind of key that no token of the platform is signed with.
    #[error("{0} cannot check tokens; RSA, P-256, P-384 and Ed25519 keys can")]
    UnsupportedKey(String),
    /// An RSA key that can be broken.
    #[error("the RSA key has {0} bits; fewer than 2048 are not accepted")]
    WeakRsa(usize),
    /// A shared secret without characters.
    #[error("the shared secret is empty")]
    EmptySecret,
}

fn listed(reasons: &[String]) -> String {
    if reasons.is_empty() {
        return String::new();
    }
    format!(": {}", reasons.join("; "))
}

/// A key, and the algorithms that it may be used with; none other is ever tried.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) description: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl Key {
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let significant = modulus
            .iter()
            .position(|&byte| byte != 0)
            .map_or(&[][..], |first| &modulus[first..]);
        let bits = significant.first().map_or(0, |top| {
            significant.len() * 8 - top.leading_zeros() as usize
        });
        if bits < SMALLEST_RSA_BITS {
            return Err(KeyError::WeakRsa(bits));
        }
        Ok(Self {
            id: None,
            description: format!("RSA key of {bits} bits"),
            algorithms: RSA_ALGORITHMS.to_vec(),
            decoding: DecodingKey::from_rsa_raw_components(significant, exponent),
        })
    }

    /// A point in uncompressed form: `4`, x, y.
    pub(super) fn elliptic(algorithm: Algorithm, point: &[u8]) -> Result<Self, KeyError> {
        let (curve, length) = match algorithm {
            Algorithm::ES384 => ("P-384", 97),
            _ => ("P-256", 65),
        };
        if point.len() != length || point.first() != Some(&4) {
            return Err(KeyError::Unreadable {
                what: "public key",
                reason: format!("not an uncompressed point of {curve}"),
            });
        }
        Ok(Self {
            id: None,
            description: format!("{curve} key"),
            algorithms: vec![algorithm],
            decoding: DecodingKey::from_ec_der(point),
        })
    }

    pub(super) fn ed25519(point: &[u8]) -> Result<Self, KeyError> {
        if point.len() != 32 {
            return Err(KeyError::Unreadable {
                what: "public key",
                reason: "an Ed25519 key has 32 bytes".to_owned(),
            });
        }
        Ok(Self {
            id: None,
            description: "Ed25519 key".to_owned(),
            algorithms: vec![Algorithm::EdDSA],
            decoding: DecodingKey::from_ed_der(point),
        })
    }

    pub(super) fn secret(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.is_empty() {
            return Err(KeyError::EmptySecret);
        }
        Ok(Self {
            id: None,
            description: "shared secret".to_owned(),
            algorithms: SECRET_ALGORITHMS.to_vec(),
            decoding: DecodingKey::from_secret(bytes),
        })
    }

    fn from_spki(info: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, KeyError> {
        let bits = info
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| KeyError::Unreadable {
                what: "public key",
                reason: "its bits do not fill bytes".to_owned(),
            })?;
        match info.algorithm.oid {
            RSA => Self::from_rsa_der(bits),
            ED25519 => Self::ed25519(bits),
            ELLIPTIC => match info
                .algorithm
                .parameters
                .and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok())
            {
                Some(P256) => Self::elliptic(Algorithm::ES256, bits),
                Some(P384) => Self::elliptic(Algorithm::ES384, bits),
                Some(curve) => Err(KeyError::UnsupportedKey(format!(
                    "a key on the curve {curve}"
                ))),
                None => Err(KeyError::UnsupportedKey(
                    "a key on an unnamed curve".to_owned(),
                )),
            },
            other => Err(KeyError::UnsupportedKey(format!("a key of type {other}"))),
        }
    }

    /// `RSAPublicKey` of PKCS#1.
    fn from_rsa_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = PublicKey::from_der(der).map_err(|error| KeyError::Unreadable {
            what: "public key",
            reason: error.to_string(),
        })?;
        let parts = PublicKeyComponents::<Vec<u8>>::from(&key);
        Self::rsa(&parts.n, &parts.e)
    }
}

/// Keys that may have signed a token.
#[derive(Clone)]
pub struct Keys {
    pub(super) keys: Vec<Key>,
    pub(super) skipped: Vec<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

impl Keys {
    /// Reads public keys and certificates in PEM: RSA, P-256, P-384 or Ed25519.
    ///
    /// Of several certificates the first one counts: the others of a chain signed certificates,
    /// not tokens.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(text).map_err(|_| KeyError::NotPem)?;
        let mut keys = Vec::new();
        let mut certificate = false;
        for block in &blocks {
            let der = block.contents();
            match block.tag() {
                tag if tag.ends_with("PRIVATE KEY") => return Err(KeyError::PrivateKey),
                "PUBLIC KEY" => {
                    let info = SubjectPublicKeyInfoRef::from_der(der)
                        .map_err(|error| unreadable("public key", &error))?;
                    keys.push(Key::from_spki(&info)?);
                }
                "RSA PUBLIC KEY" => keys.push(Key::from_rsa_der(der)?),
                "CERTIFICATE" if !certificate => {
                    certificate = true;
                    keys.push(certificate_key(der)?);
                }
                _ => {}
            }
        }
        if keys.is_empty() {
            return Err(KeyError::NotPem);
        }
        Ok(Self {
            keys,
            skipped: Vec::new(),
        })
    }

    /// Takes the bytes of a secret that issuer and checker share, for HS256, HS384 and HS512 only.
    pub fn from_secret(secret: &Secret) -> Result<Self, KeyError> {
        Ok(Self {
            keys: vec![Key::secret(secret.expose().as_bytes())?],
            skipped: Vec::new(),
        })
    }

    /// Returns what each key is, without any key material.
    pub fn descriptions(&self) -> Vec<String> {
        self.keys
            .iter()
            .map(|key| key.description.clone())
            .collect()
    }

    /// Returns why keys of a key set were left out.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }
}

fn unreadable(what: &'static str, error: &x509_cert::der::Error) -> KeyError {
    KeyError::Unreadable {
        what,
        reason: error.to_string(),
    }
}

fn certificate_key(der: &[u8]) -> Result<Key, KeyError> {
    let certificate =
        Certificate::from_der(der).map_err(|error| unreadable("certificate", &error))?;
    let info = certificate
        .tbs_certificate
        .subject_public_key_info
        .to_der()
        .map_err(|error| unreadable("certificate", &error))?;
    let info = SubjectPublicKeyInfoRef::from_der(&info)
        .map_err(|error| unreadable("certificate", &error))?;
    Key::from_spki(&info)
}
