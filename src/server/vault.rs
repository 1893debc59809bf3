//! What the master key is for: sealing credentials, digests of API keys, ids of new tenants.

use aws_lc_rs::{hkdf, hmac};

use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::secret::{SealError, Sealer, Secret};

/// What the check value says once it is opened.
const CHECK: &str = "this registry is sealed with the right master key";
/// What the check value is bound to.
const CHECK_CONTEXT: &str = "meta/master-check";
/// Fewest characters that can hold 128 bits, at six bits each.
const SHORTEST_KEY: usize = 16;

/// Keys derived from the master key, one per purpose.
pub(crate) struct Vault {
    sealer: Sealer,
    api_keys: hmac::Key,
    tenant_ids: hmac::Key,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.sealer.key_id())
    }
}

/// Derives a key for keyed digests; one-way, so no purpose's key tells another's.
fn digest_key(master: &Secret, purpose: &str) -> hmac::Key {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"lerianctl/digest/v1");
    let prk = salt.extract(master.expose().as_bytes());
    let info = [purpose.as_bytes()];
    let okm = prk
        .expand(&info, hmac::HMAC_SHA256)
        .expect("one block is within HKDF's limit");
    hmac::Key::from(okm)
}

impl Vault {
    /// Derives the keys; refuses a master key that is too short to be one.
    pub(crate) fn new(master: &Secret) -> Result<Self, String> {
        if master.expose().len() < SHORTEST_KEY {
            return Err(format!("it has fewer than {SHORTEST_KEY} characters"));
        }
        Ok(Self {
            sealer: Sealer::derive(master, "registry"),
            api_keys: digest_key(master, "api-keys"),
            tenant_ids: digest_key(master, "tenant-ids"),
        })
    }

    /// Returns a value that only this master key opens.
    pub(crate) fn check_value(&self) -> String {
        self.sealer.seal(CHECK, CHECK_CONTEXT)
    }

    /// Tells why a check value does not open.
    pub(crate) fn check(&self, value: &str) -> Result<(), SealError> {
        self.sealer.open(value, CHECK_CONTEXT).map(drop)
    }

    /// Returns the digest of an API key, as hex. Short keys cannot be searched for in the
    /// registry without the master key.
    pub(crate) fn api_key_digest(&self, key: &[u8]) -> hmac::Tag {
        hmac::sign(&self.api_keys, key)
    }

    /// Returns the id of a new tenant: always the same for a slug in an environment, so that a
    /// plan can name it, and not to be guessed without the master key.
    pub(crate) fn tenant_id(&self, environment: &Environment, slug: &Slug) -> TenantId {
        let tag = hmac::sign(&self.tenant_ids, format!("{environment}/{slug}").as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        TenantId::canonical(&id.simple().to_string()).expect("a UUID is a tenant id")
    }

    /// Seals the password of a module, bound to its place.
    pub(crate) fn seal_password(&self, place: &Place<'_>, password: &Secret) -> String {
        self.sealer.seal(password.expose(), &place.context())
    }

    /// Opens a sealed password in its place.
    pub(crate) fn open_password(
        &self,
        place: &Place<'_>,
        sealed: &str,
    ) -> Result<Secret, SealError> {
        self.sealer.open(sealed, &place.context())
    }

    /// Seals an answer that is kept for a repeated request.
    pub(crate) fn seal_answer(&self, replay: &str, body: &str) -> String {
        self.sealer.seal(body, &format!("replays/{replay}"))
    }

    /// Opens an answer that was kept for a repeated request.
    pub(crate) fn open_answer(&self, replay: &str, sealed: &str) -> Result<Secret, SealError> {
        self.sealer.open(sealed, &format!("replays/{replay}"))
    }

    /// Seals the password hash of a tenant's owner.
    pub(crate) fn seal_owner(&self, tenant: &TenantId, hash: &str) -> String {
        self.sealer.seal(hash, &format!("tenants/{tenant}/owner"))
    }
}

/// Where a password belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Tenant.
    pub(crate) tenant: &'a TenantId,
    /// Service.
    pub(crate) service: &'a ServiceName,
    /// Module.
    pub(crate) module: &'a str,
    /// Version of the credentials.
    pub(crate) version: u32,
}

impl Place<'_> {
    fn context(&self) -> String {
        format!(
            "credentials/{}/{}/{}/{}",
            self.tenant, self.service, self.module, self.version
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_opens_only_in_its_place() {
        let vault = Vault::new(&Secret::new("0123456789abcdef")).unwrap();
        let (tenant, service) = (TenantId::generate(), "tracer".parse().unwrap());
        let place = Place {
            tenant: &tenant,
            service: &service,
            module: "tracer",
            version: 1,
        };
        let sealed = vault.seal_password(&place, &Secret::new("hunter2"));
        assert_eq!(
            vault.open_password(&place, &sealed).unwrap().expose(),
            "hunter2"
        );
        let next = Place {
            version: 2,
            ..place
        };
        assert!(vault.open_password(&next, &sealed).is_err());
    }

    #[test]
    fn ids_are_stable_and_differ_by_environment() {
        let vault = Vault::new(&Secret::new("0123456789abcdef")).unwrap();
        let slug = "aurora".parse().unwrap();
        let id = |environment: &str| vault.tenant_id(&environment.parse().unwrap(), &slug);
        assert_eq!(id("staging"), id("staging"));
        assert_ne!(id("staging"), id("production"));
        let other = Vault::new(&Secret::new("another master key")).unwrap();
        assert_ne!(
            other.tenant_id(&"staging".parse().unwrap(), &slug),
            id("staging")
        );
    }

    #[test]
    fn another_master_key_does_not_open_the_check_value() {
        let a = Vault::new(&Secret::new("0123456789abcdef")).unwrap();
        let b = Vault::new(&Secret::new("fedcba9876543210")).unwrap();
        assert_eq!(a.check(&a.check_value()), Ok(()));
        assert!(b.check(&a.check_value()).is_err());
        assert!(Vault::new(&Secret::new("short")).is_err());
    }
}
