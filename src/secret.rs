//! The type of a secret, and the sealing of secrets at rest.
//!
//! A secret has no `Display`, a redacted `Debug`, a constant-time comparison and is wiped when
//! dropped. The only way to its text is [`Secret::expose`], so that every use can be found.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, digest, hkdf};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, Zeroizing};

/// What is printed in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Text that must never be shown by accident.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text of a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Returns a new random secret of 256 bits as 43 URL-safe characters.
    pub fn generate() -> Self {
        Self::new(URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
    }

    /// Returns the text of the secret.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the 256 bits of a secret as [`Secret::generate`] makes them.
    pub fn bytes(&self) -> Option<Zeroizing<[u8; 32]>> {
        // The decoder wants room for its own estimate of the length.
        let mut room = Zeroizing::new([0; 36]);
        let length = URL_SAFE_NO_PAD
            .decode_slice(self.expose(), room.as_mut())
            .ok()?;
        let mut bytes = Zeroizing::new([0; 32]);
        (length == bytes.len()).then(|| bytes.copy_from_slice(&room[..32]))?;
        Some(bytes)
    }

    /// Returns true when the secret has no characters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Returns `N` bytes of the operating system's randomness.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Returns `bytes` as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns the bytes that [`hex`] wrote; `None` when that is not what it wrote.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

/// Returns the SHA-256 of `data` as lower-case hex.
pub fn sha256_hex(data: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, data).as_ref())
}

/// Why sealed text could not be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// The text is not in the form that [`Sealer::seal`] writes.
    #[error("the sealed value is malformed")]
    Malformed,
    /// The text was sealed with another key.
    #[error("the value was sealed with key `{found}`, and the key at hand is `{expected}`")]
    OtherKey {
        /// Id of the key that sealed the value.
        found: String,
        /// Id of the key at hand.
        expected: String,
    },
    /// The text was changed, or belongs to another place.
    #[error("the sealed value was altered or belongs to another record")]
    Altered,
}

/// Seals text with AES-256-GCM-SIV under a key derived with HKDF-SHA-256.
///
/// The sealed form is `v1.<key id>.<nonce and ciphertext, base64url>`. The context (for example
/// the record's own key) is authenticated, so a sealed value cannot be moved to another record.
pub struct Sealer {
    key: LessSafeKey,
    id: String,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.id)
    }
}

impl Sealer {
    /// Derives a sealing key for `purpose` from key material of at least 128 bits of entropy.
    pub fn derive(material: &Secret, purpose: &str) -> Self {
        let (key, id) = Self::derive_key(material, purpose);
        Self::with_key(&key, id).expect("a derived key is a key")
    }

    /// Returns the key that [`Sealer::derive`] seals with, as text, and its id.
    pub fn derive_key(material: &Secret, purpose: &str) -> (Secret, String) {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"lerianctl/seal/v1");
        let prk = salt.extract(material.expose().as_bytes());
        let mut bytes = Zeroizing::new([0_u8; 40]);
        let info = [purpose.as_bytes()];
        prk.expand(&info, Length(40))
            .and_then(|okm| okm.fill(bytes.as_mut()))
            .expect("40 bytes are within HKDF's limit");
        let id = sha256_hex(&bytes[32..])[..8].to_owned();
        (Secret::new(URL_SAFE_NO_PAD.encode(&bytes[..32])), id)
    }

    /// Takes a random key of 256 bits, as [`Secret::generate`] makes them; `None` when it is not
    /// one. The id stands in what is sealed and must not tell anything about the key.
    pub fn with_key(key: &Secret, id: impl Into<String>) -> Option<Self> {
        let bytes = key.bytes()?;
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes[..]).ok()?;
        Some(Self {
            key: LessSafeKey::new(key),
            id: id.into(),
        })
    }

    /// Returns the id of the key, which says nothing about the key itself.
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// Seals `plain`, bound to `context`.
    pub fn seal(&self, plain: &str, context: &str) -> String {
        let nonce = random_bytes::<12>();
        let mut body = plain.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut body,
            )
            .expect("sealing text of ordinary size succeeds");
        let mut out = nonce.to_vec();
        out.append(&mut body);
        format!("v1.{}.{}", self.id, URL_SAFE_NO_PAD.encode(out))
    }

    /// Opens what [`Sealer::seal`] made with the same key and the same `context`.
    pub fn open(&self, sealed: &str, context: &str) -> Result<Secret, SealError> {
        let mut parts = sealed.splitn(3, '.');
        let (Some("v1"), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SealError::Malformed);
        };
        if id != self.id {
            return Err(SealError::OtherKey {
                found: id.to_owned(),
                expected: self.id.clone(),
            });
        }
        let mut body = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| SealError::Malformed)?;
        if body.len() < 12 {
            return Err(SealError::Malformed);
        }
        let mut text = body.split_off(12);
        let nonce = Nonce::try_assume_unique_for_key(&body).map_err(|_| SealError::Malformed)?;
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut text)
            .map_err(|_| SealError::Altered)?;
        let opened = String::from_utf8(plain.to_vec()).map_err(|_| SealError::Altered);
        text.zeroize();
        opened.map(Secret::new)
    }
}

/// Returns the id of the key that sealed a value.
pub fn sealing_key(sealed: &str) -> Option<&str> {
    let mut parts = sealed.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("v1"), Some(id), Some(_)) => Some(id),
        _ => None,
    }
}

/// Length of HKDF output in bytes.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_text() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), REDACTED);
    }

    #[test]
    fn sealed_text_opens_only_with_its_key_and_context() {
        let a = Sealer::derive(&Secret::new("key a"), "test");
        let b = Sealer::derive(&Secret::new("key b"), "test");
        let sealed = a.seal("hunter2", "row 1");
        assert!(!sealed.contains("hunter2"));
        assert_eq!(a.open(&sealed, "row 1").unwrap().expose(), "hunter2");
        assert_eq!(a.open(&sealed, "row 2"), Err(SealError::Altered));
        assert!(matches!(
            b.open(&sealed, "row 1"),
            Err(SealError::OtherKey { .. })
        ));
        assert_eq!(a.open("rubbish", "row 1"), Err(SealError::Malformed));
    }

    #[test]
    fn hex_comes_back_and_nothing_else_does() {
        let bytes = [0, 1, 0x7f, 0x80, 0xff];
        assert_eq!(hex(&bytes), "00017f80ff");
        assert_eq!(from_hex("00017f80ff").unwrap(), bytes);
        for wrong in ["0", "0g", "é", "00 1"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
