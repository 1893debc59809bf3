//! Signatures: every kind of key, and every way to cheat.

use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, json};
use x509_cert::certificate::{CertificateInner, TbsCertificateInner};
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode, Encode};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity as CertificateValidity};

use super::*;
use crate::secret::Secret;
use crate::token::jwks::{self, SharedSecrets};
use crate::token::{Claims, KeyError, SigningKey, TokenType, mint};

const TENANT: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

fn now() -> Timestamp {
    Timestamp::from_second(1_772_452_800).unwrap()
}

/// A key pair of one kind, in every form that a checker may be given.
struct Pair {
    algorithm: Algorithm,
    signing: EncodingKey,
    /// `SubjectPublicKeyInfo`.
    public: Vec<u8>,
    /// Only for RSA.
    pkcs1: Option<Vec<u8>>,
}

impl Pair {
    fn rsa() -> Self {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa_pem = pem::encode(&pem::Pem::new(
            "PRIVATE KEY",
            AsDer::as_der(&rsa).unwrap().as_ref(),
        ));
        Self {
            algorithm: Algorithm::RS256,
            signing: EncodingKey::from_rsa_pem(rsa_pem.as_bytes()).unwrap(),
            public: rsa.public_key().as_der().unwrap().as_ref().to_vec(),
            pkcs1: Some(rsa.public_key().as_ref().to_vec()),
        }
    }

    fn all() -> Vec<Self> {
        let elliptic = |algorithm, signing_algorithm| {
            let private = EcdsaKeyPair::generate(signing_algorithm).unwrap();
            Self {
                algorithm,
                signing: EncodingKey::from_ec_der(private.to_pkcs8v1().unwrap().as_ref()),
                public: private.public_key().as_der().unwrap().as_ref().to_vec(),
                pkcs1: None,
            }
        };
        let edwards = Ed25519KeyPair::generate().unwrap();
        vec![
            Self::rsa(),
            elliptic(Algorithm::ES256, &ECDSA_P256_SHA256_FIXED_SIGNING),
            elliptic(Algorithm::ES384, &ECDSA_P384_SHA384_FIXED_SIGNING),
            Self {
                algorithm: Algorithm::EdDSA,
                signing: EncodingKey::from_ed_der(edwards.to_pkcs8v1().unwrap().as_ref()),
                public: edwards.public_key().as_der().unwrap().as_ref().to_vec(),
                pkcs1: None,
            },
        ]
    }

    fn pem(&self) -> String {
        pem::encode(&pem::Pem::new("PUBLIC KEY", self.public.clone()))
    }

    fn jwk(&self, id: &str) -> Value {
        let mut key =
            serde_json::to_value(Jwk::from_encoding_key(&self.signing, self.algorithm).unwrap())
                .unwrap();
        key["kid"] = id.into();
        key
    }

    fn token(&self, id: Option<&str>) -> String {
        sign(self.algorithm, &self.signing, id)
    }

    /// A version 1 certificate, signed by nobody: nobody's signature is what matters here.
    fn certificate(&self, signature_algorithm: &str) -> String {
        let signature = AlgorithmIdentifierOwned {
            oid: ObjectIdentifier::new_unwrap(signature_algorithm),
            parameters: None,
        };
        let moment = Time::INFINITY;
        let certificate: CertificateInner = CertificateInner {
            tbs_certificate: TbsCertificateInner {
                version: x509_cert::Version::V1,
                serial_number: SerialNumber::new(&[1]).unwrap(),
                signature: signature.clone(),
                issuer: x509_cert::name::Name::default(),
                validity: CertificateValidity {
                    not_before: moment,
                    not_after: moment,
                },
                subject: x509_cert::name::Name::default(),
                subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(&self.public).unwrap(),
                issuer_unique_id: None,
                subject_unique_id: None,
                extensions: None,
            },
            signature_algorithm: signature,
            signature: BitString::from_bytes(&[0]).unwrap(),
        };
        pem::encode(&pem::Pem::new("CERTIFICATE", certificate.to_der().unwrap()))
    }
}

fn sign(algorithm: Algorithm, key: &EncodingKey, id: Option<&str>) -> String {
    let header = Header {
        kid: id.map(str::to_owned),
        ..Header::new(algorithm)
    };
    let claims = json!({"tenantId": TENANT, "exp": now().as_second() + 60});
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

fn reason(token: &str, keys: &Keys) -> Reason {
    let verification = verify(token, keys, now());
    assert_eq!(
        verification.verified,
        verification.reason == Reason::Signed,
        "{verification:?}"
    );
    verification.reason
}

#[test]
fn every_kind_of_key_in_every_form_checks_its_own_tokens_only() {
    let pairs = Pair::all();
    let set = |pair: &Pair| {
        jwks::parse(
            &json!({"keys": [pair.jwk("k")]}).to_string(),
            SharedSecrets::Refuse,
        )
        .unwrap()
    };
    for (index, pair) in pairs.iter().enumerate() {
        let mut forms = vec![
            Keys::from_pem(&pair.pem()).unwrap(),
            Keys::from_pem(&pair.certificate("1.2.840.113549.1.1.11")).unwrap(),
            // The issuer's key is of another kind than the key of the certificate.
            Keys::from_pem(&pair.certificate("1.3.101.112")).unwrap(),
            Keys::from_pem(&pair.certificate("1.2.840.10045.4.3.2")).unwrap(),
            set(pair),
        ];
        if let Some(pkcs1) = &pair.pkcs1 {
            let text = pem::encode(&pem::Pem::new("RSA PUBLIC KEY", pkcs1.clone()));
            forms.push(Keys::from_pem(&text).unwrap());
        }
        for keys in &forms {
            for id in [None, Some("k")] {
                assert_eq!(reason(&pair.token(id), keys), Reason::Signed, "{keys:?}");
            }
            for (other, stranger) in pairs.iter().enumerate() {
                if other != index {
                    assert_eq!(
                        reason(&stranger.token(None), keys),
                        Reason::AlgorithmMismatch
                    );
                }
            }
        }
    }
    for (pair, twin) in pairs.iter().zip(Pair::all()) {
        assert_eq!(
            reason(&twin.token(None), &set(pair)),
            Reason::SignatureWrong
        );
    }
}

#[test]
fn a_key_is_chosen_by_its_id_and_all_are_tried_without_one() {
    let [a, b, c] = [0, 1, 2].map(|_| Pair::rsa());
    let all = json!({"keys": [a.jwk("a"), b.jwk("b"), {"kty": "mystery"}, {"kty": "EC", "crv": "P-521"}]});
    let keys = jwks::parse(&all.to_string(), SharedSecrets::Refuse).unwrap();
    assert_eq!(keys.skipped().len(), 2, "{:?}", keys.skipped());
    assert_eq!(reason(&b.token(Some("b")), &keys), Reason::Signed);
    assert_eq!(reason(&b.token(None), &keys), Reason::Signed);
    assert_eq!(reason(&b.token(Some("a")), &keys), Reason::SignatureWrong);
    assert_eq!(reason(&b.token(Some("c")), &keys), Reason::KeyUnknown);
    assert_eq!(reason(&c.token(None), &keys), Reason::SignatureWrong);
    assert_eq!(
        verify(&b.token(None), &keys, now()).key.as_deref(),
        Some("RSA key of 2048 bits (key `b`)")
    );
}

#[test]
fn no_changed_bit_goes_unnoticed() {
    for pair in Pair::all() {
        let keys = Keys::from_pem(&pair.pem()).unwrap();
        let token = pair.token(None);
        let [header, claims, signature] = token
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let join = |header: &[u8], claims: &[u8], signature: &[u8]| {
            [header, claims, signature]
                .map(|part| URL_SAFE_NO_PAD.encode(part))
                .join(".")
        };
        assert_eq!(
            reason(&join(&header, &claims, &signature), &keys),
            Reason::Signed
        );
        for bit in (0..signature.len() * 8).step_by(7) {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                reason(&join(&header, &claims, &changed), &keys),
                Reason::SignatureWrong
            );
        }
        for length in [1, signature.len() / 2, signature.len() - 1] {
            assert_eq!(
                reason(&join(&header, &claims, &signature[..length]), &keys),
                Reason::SignatureWrong
            );
        }
        let mut longer = signature.clone();
        longer.push(0);
        assert_eq!(
            reason(&join(&header, &claims, &longer), &keys),
            Reason::SignatureWrong
        );
        assert_eq!(
            reason(&join(&header, &claims, &[]), &keys),
            Reason::SignatureMissing
        );
        let other = String::from_utf8(claims)
            .unwrap()
            .replace(TENANT, "0c4d2e6b8a1f4c7390ab5de1f2c3b4a5");
        assert_eq!(
            reason(&join(&header, other.as_bytes(), &signature), &keys),
            Reason::SignatureWrong
        );
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_shared_secret() {
    for pair in Pair::all() {
        let keys = Keys::from_pem(&pair.pem()).unwrap();
        let set = json!({"keys": [pair.jwk("k")]}).to_string();
        let set = jwks::parse(&set, SharedSecrets::Accept).unwrap();
        let text = pair.pem();
        for secret in [
            text.as_bytes(),
            text.trim_end().as_bytes(),
            pair.public.as_slice(),
            pair.pkcs1.as_deref().unwrap_or_default(),
        ] {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                for id in [None, Some("k")] {
                    let token = sign(algorithm, &EncodingKey::from_secret(secret), id);
                    assert_eq!(reason(&token, &keys), Reason::AlgorithmMismatch);
                    assert_eq!(reason(&token, &set), Reason::AlgorithmMismatch);
                }
            }
        }
    }
}

#[test]
fn a_shared_secret_checks_only_its_own_family() {
    let keys = Keys::from_secret(&Secret::new("matcher secret")).unwrap();
    let with = |text: &str| EncodingKey::from_secret(text.as_bytes());
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(
            reason(&sign(algorithm, &with("matcher secret"), None), &keys),
            Reason::Signed
        );
        assert_eq!(
            reason(&sign(algorithm, &with("another"), None), &keys),
            Reason::SignatureWrong
        );
    }
    for pair in Pair::all() {
        assert_eq!(reason(&pair.token(None), &keys), Reason::AlgorithmMismatch);
    }
    assert_eq!(
        Keys::from_secret(&Secret::default()).map(|_| ()),
        Err(KeyError::EmptySecret)
    );
    assert!(!format!("{keys:?}").contains("matcher secret"));
}

#[test]
fn a_secret_in_a_key_set_counts_only_when_the_operator_says_so() {
    let set = json!({"keys": [{"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode("secret")}]})
        .to_string();
    let error = jwks::parse(&set, SharedSecrets::Refuse)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("shared secret") && !error.contains("c2VjcmV0"),
        "{error}"
    );
    let keys = jwks::parse(&set, SharedSecrets::Accept).unwrap();
    let token = sign(
        Algorithm::HS256,
        &EncodingKey::from_secret(b"secret"),
        Some("s"),
    );
    assert_eq!(reason(&token, &keys), Reason::Signed);
}

#[test]
fn headers_that_cheat_are_refused() {
    let pair = Pair::rsa();
    let keys = Keys::from_pem(&pair.pem()).unwrap();
    let token = pair.token(None);
    let (_, rest) = token.split_once('.').unwrap();
    let with = |header: &str| format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
    for (header, expected) in [
        (r#"{"alg":"none"}"#, Reason::AlgorithmNone),
        (r#"{"alg":"NoNe"}"#, Reason::AlgorithmNone),
        (r#"{"alg":"rs256"}"#, Reason::AlgorithmUnknown),
        (r#"{"alg":["RS256"]}"#, Reason::AlgorithmUnknown),
        (r#"{"alg":"RS256 "}"#, Reason::AlgorithmUnknown),
        ("{}", Reason::AlgorithmUnknown),
        (r#"{"alg":"RS256","alg":"none"}"#, Reason::HeaderRefused),
        (r#"{"alg":"none","alg":"RS256"}"#, Reason::HeaderRefused),
        (
            r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
            Reason::HeaderRefused,
        ),
        (r#"{"alg":"RS256","b64":false}"#, Reason::HeaderRefused),
        (r#"{"alg":"RS384"}"#, Reason::SignatureWrong),
        (r#"{"alg":"PS256"}"#, Reason::SignatureWrong),
        (r#"{"alg":"ES256"}"#, Reason::AlgorithmMismatch),
        ("[]", Reason::Malformed),
    ] {
        assert_eq!(reason(&with(header), &keys), expected, "{header}");
    }

    // A key in the header is ignored, even when it did sign the token.
    let thief = Pair::rsa();
    let mut header = Header::new(Algorithm::RS256);
    header.jwk = Some(Jwk::from_encoding_key(&thief.signing, Algorithm::RS256).unwrap());
    let token =
        jsonwebtoken::encode(&header, &json!({"tenantId": TENANT}), &thief.signing).unwrap();
    assert_eq!(reason(&token, &keys), Reason::SignatureWrong);
}

#[test]
fn a_key_set_pins_algorithm_and_use() {
    let pair = Pair::rsa();
    let set = |name: &str, value: Value| {
        let mut key = pair.jwk("k");
        key[name] = value;
        jwks::parse(&json!({"keys": [key]}).to_string(), SharedSecrets::Refuse)
    };
    assert_eq!(
        reason(&pair.token(None), &set("alg", "RS512".into()).unwrap()),
        Reason::AlgorithmMismatch
    );
    assert_eq!(
        reason(&pair.token(None), &set("alg", Value::Null).unwrap()),
        Reason::Signed
    );
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("kty", json!("oct")),
        ("n", json!("AQAB")),
        ("n", json!("not base64!")),
        ("n", Value::Null),
    ] {
        assert!(
            matches!(set(name, value.clone()), Err(KeyError::NoUsableKey(_))),
            "{name} {value}"
        );
    }
    let described = set("d", "c2VjcmV0".into()).unwrap().descriptions().join("");
    assert!(
        described.contains("published with its private part"),
        "{described}"
    );
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys":7}"#,
        "not json",
        r#"{"keys":["secret"]}"#,
        r#"{"keys":[]}"#,
    ] {
        let error = jwks::parse(text, SharedSecrets::Refuse)
            .unwrap_err()
            .to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn wrong_files_are_named() {
    let key = SigningKey::generate().unwrap();
    assert_eq!(
        Keys::from_pem(key.to_pem().expose()).map(|_| ()),
        Err(KeyError::PrivateKey)
    );
    for text in [
        "",
        "rubbish",
        "-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n",
    ] {
        assert_eq!(
            Keys::from_pem(text).map(|_| ()),
            Err(KeyError::NotPem),
            "{text}"
        );
    }
    for tag in ["PUBLIC KEY", "CERTIFICATE", "RSA PUBLIC KEY"] {
        let text = pem::encode(&pem::Pem::new(tag, b"rubbish".to_vec()));
        assert!(
            matches!(Keys::from_pem(&text), Err(KeyError::Unreadable { .. })),
            "{tag}"
        );
    }
}

#[test]
fn a_minted_token_is_signed_and_time_is_told_apart() {
    let key = SigningKey::generate().unwrap();
    let keys = jwks::parse(&key.jwks().to_string(), SharedSecrets::Refuse).unwrap();
    let claims = Claims {
        tenant_id: TENANT.parse().unwrap(),
        tenant_slug: Some("acme".parse().unwrap()),
        owner: Some("acme".to_owned()),
        subject: Some("u1".to_owned()),
        token_type: TokenType::Human,
        extra: Map::from_iter([("scope".to_owned(), json!("openid"))]),
    };
    let token = mint(&key, &claims, Duration::from_hours(1), now()).unwrap();
    let fresh = verify(token.expose(), &keys, now());
    assert!(fresh.holds(), "{fresh:?}");
    assert_eq!(fresh.key_id.as_deref(), Some(key.id()));
    let inspection = crate::token::inspect(token.expose(), now()).unwrap();
    assert_eq!(inspection.warnings, []);
    assert_eq!(inspection.claims.text("tenantId"), Some(TENANT));
    assert_eq!(inspection.claims.text("scope"), Some("openid"));

    let later = Timestamp::from_second(now().as_second() + 3600).unwrap();
    let stale = verify(token.expose(), &keys, later);
    assert!(stale.verified && !stale.holds(), "{stale:?}");
    assert_eq!(stale.validity.unwrap().words, "expired just now");
    let early = Timestamp::from_second(now().as_second() - 1).unwrap();
    assert!(!verify(token.expose(), &keys, early).holds());
}
