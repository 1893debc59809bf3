//! Keys at work: sealing credentials, digests of API keys, ids of new tenants, codes that vouch for
//! the audit log.
//!
//! Every key is random, is stored wrapped by the master key, and is unwrapped once at the start.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::master::{KeySourceError, MasterKey};
use super::registry::model::now;
use super::registry::secrets::{
    KeyChange, Purpose, SealedPlace, SealedValue, StoredKey, StoredKeys,
};
use super::registry::{Registry, RegistryError};
use crate::audit::actions;
use crate::audit::{MacKey, draft};
use crate::contract::audit::AuditRecord;
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::secret::{SealError, Sealer, Secret, hex, random_bytes, sealing_key};

/// What the check value of earlier versions was bound to.
const CHECK_CONTEXT: &str = "meta/master-check";
/// Times that the keys are read again because another server changed them.
const ATTEMPTS: usize = 8;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// The master key does not fit.
    #[error("{0}")]
    MasterKey(String),
    /// The registry failed.
    #[error("{0}")]
    Registry(#[from] RegistryError),
}

impl From<KeySourceError> for VaultError {
    fn from(error: KeySourceError) -> Self {
        Self::MasterKey(error.to_string())
    }
}

impl From<SealError> for VaultError {
    fn from(error: SealError) -> Self {
        Self::MasterKey(error.to_string())
    }
}

/// The keys of records.
#[derive(Debug, Default)]
struct Ring {
    active: String,
    sealers: BTreeMap<String, Arc<Sealer>>,
}

/// Every key, ready for use.
pub(crate) struct Vault {
    master: MasterKey,
    ring: RwLock<Arc<Ring>>,
    api_keys: hmac::Key,
    tenant_ids: hmac::Key,
    audit: Arc<MacKey>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.ring().active)
    }
}

/// Derives the key for digests that earlier versions took straight from the master key.
fn derived_digest_key(master: &Secret, purpose: Purpose) -> Secret {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"lerianctl/digest/v1");
    let prk = salt.extract(master.expose().as_bytes());
    let info = [purpose.as_str().as_bytes()];
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    prk.expand(&info, hmac::HMAC_SHA256)
        .and_then(|okm| okm.fill(bytes.as_mut()))
        .expect("one block is within HKDF's limit");
    Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()))
}

/// A key that is not wrapped yet.
struct Fresh {
    id: String,
    purpose: Purpose,
    key: Secret,
    active: bool,
}

impl Fresh {
    fn random(purpose: Purpose) -> Self {
        Self {
            id: hex(&random_bytes::<4>()),
            purpose,
            key: Secret::generate(),
            active: true,
        }
    }

    async fn wrap(&self, master: &MasterKey) -> Result<StoredKey, KeySourceError> {
        let context = wrapping_context(self.purpose, &self.id);
        Ok(StoredKey {
            id: self.id.clone(),
            purpose: self.purpose,
            master: master.id().to_owned(),
            wrapped: master.wrap(&self.key, &context).await?,
            active: self.active,
            created_at: now(),
        })
    }
}

fn wrapping_context(purpose: Purpose, id: &str) -> String {
    format!("data-keys/{}/{id}", purpose.as_str())
}

/// Returns the keys of a registry that has none: random ones, or those that an earlier version
/// derived from the master key together with a random one for what is sealed from now on.
fn first_keys(stored: &StoredKeys, masters: &[&MasterKey]) -> Result<Vec<Fresh>, VaultError> {
    let Some(check) = &stored.check else {
        if stored.sealed {
            return Err(RegistryError::Corrupt(
                "it holds sealed values, but the keys that sealed them are gone".into(),
            )
            .into());
        }
        return Ok(Purpose::ALL.into_iter().map(Fresh::random).collect());
    };
    let mut refusal = None;
    for master in masters {
        let Some(material) = master.material() else {
            continue;
        };
        let (records, id) = Sealer::derive_key(material, "registry");
        let sealer = Sealer::with_key(&records, id.as_str());
        let opened = sealer
            .ok_or(SealError::Malformed)
            .and_then(|sealer| sealer.open(check, CHECK_CONTEXT));
        if let Err(error) = opened {
            refusal.get_or_insert(error);
            continue;
        }
        let old = |purpose: Purpose| Fresh {
            key: derived_digest_key(material, purpose),
            ..Fresh::random(purpose)
        };
        return Ok(vec![
            Fresh {
                id,
                purpose: Purpose::Records,
                key: records,
                active: false,
            },
            Fresh::random(Purpose::Records),
            old(Purpose::ApiKeys),
            old(Purpose::TenantIds),
            Fresh::random(Purpose::Audit),
        ]);
    }
    Err(match refusal {
        Some(error) => error.into(),
        None => VaultError::MasterKey(
            "the registry was sealed with a master key directly; start once with that key as the previous one, from a file, a variable or a command".into(),
        ),
    })
}

/// Unwraps a key with the master key that wrapped it.
async fn unwrap(key: &StoredKey, masters: &[&MasterKey]) -> Result<Secret, VaultError> {
    let Some(master) = masters.iter().find(|master| master.id() == key.master) else {
        return Err(SealError::OtherKey {
            found: key.master.clone(),
            expected: masters
                .first()
                .map_or_else(String::new, |master| master.id().to_owned()),
        }
        .into());
    };
    let context = wrapping_context(key.purpose, &key.id);
    Ok(master.unwrap(&key.wrapped, &context).await?)
}

fn damaged(key: &StoredKey) -> VaultError {
    VaultError::MasterKey(format!("key `{}` of the registry is not a key", key.id))
}

impl Vault {
    /// Opens the keys of a registry; makes them when it is new, brings over those of an earlier
    /// version, and wraps with `master` what `previous` had wrapped.
    pub(crate) async fn open(
        registry: &dyn Registry,
        master: &MasterKey,
        previous: Option<&MasterKey>,
    ) -> Result<Self, VaultError> {
        let masters: Vec<&MasterKey> = std::iter::once(master).chain(previous).collect();
        for _ in 0..ATTEMPTS {
            let stored = registry.data_keys().await?;
            if stored.keys.is_empty() {
                let mut first = Vec::new();
                for key in first_keys(&stored, &masters)? {
                    if key.purpose == Purpose::Audit {
                        registry.audit_with(Arc::new(mac_key(&key.id, &key.key)?));
                    }
                    first.push(key.wrap(master).await?);
                }
                let mut record = draft(actions::KEYS_CREATE, now());
                if stored.check.is_some() {
                    record.detail = Some("brought over from the master key".to_owned());
                }
                let change = KeyChange::First(first);
                match registry.change_data_keys(change, vec![record]).await {
                    Ok(()) if stored.check.is_some() => {
                        tracing::info!("keys derived from the master key were brought over");
                    }
                    // Read what was written, or what another server was faster to write.
                    Ok(()) | Err(RegistryError::Stale) => {}
                    Err(error) => return Err(error.into()),
                }
                continue;
            }
            let mut rewrapped = Vec::new();
            for key in stored.keys.iter().filter(|key| key.master != master.id()) {
                let again = Fresh {
                    id: key.id.clone(),
                    purpose: key.purpose,
                    key: unwrap(key, &masters).await?,
                    active: key.active,
                };
                if key.purpose == Purpose::Audit {
                    registry.audit_with(Arc::new(mac_key(&again.id, &again.key)?));
                }
                rewrapped.push(again.wrap(master).await?);
            }
            if !rewrapped.is_empty() {
                let count = rewrapped.len();
                let mut record = draft(actions::KEYS_REWRAP, now());
                record.detail = Some(format!(
                    "{count} keys are wrapped with master key {}",
                    master.id()
                ));
                let change = KeyChange::Rewrapped(rewrapped);
                match registry.change_data_keys(change, vec![record]).await {
                    Ok(()) => tracing::info!(
                        count,
                        master = master.id(),
                        "keys are wrapped with the new master key"
                    ),
                    Err(RegistryError::Stale) => {}
                    Err(error) => return Err(error.into()),
                }
                continue;
            }
            let vault = Self::assemble(&stored.keys, master.clone()).await?;
            registry.audit_with(Arc::clone(&vault.audit));
            return Ok(vault);
        }
        Err(RegistryError::Unavailable("its keys keep changing".into()).into())
    }

    async fn assemble(keys: &[StoredKey], master: MasterKey) -> Result<Self, VaultError> {
        let single = async |purpose: Purpose| {
            let key = keys
                .iter()
                .find(|key| key.purpose == purpose && key.active)
                .ok_or_else(|| {
                    VaultError::MasterKey(format!(
                        "the registry has no key for {}",
                        purpose.as_str()
                    ))
                })?;
            Ok::<_, VaultError>((key, unwrap(key, &[&master]).await?))
        };
        let digests = async |purpose: Purpose| {
            let (key, text) = single(purpose).await?;
            let bytes = text.bytes().ok_or_else(|| damaged(key))?;
            Ok::<_, VaultError>(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref()))
        };
        let (api_keys, tenant_ids) = (
            digests(Purpose::ApiKeys).await?,
            digests(Purpose::TenantIds).await?,
        );
        let (key, text) = single(Purpose::Audit).await?;
        let audit = Arc::new(mac_key(&key.id, &text)?);
        let vault = Self {
            master,
            ring: RwLock::default(),
            api_keys,
            tenant_ids,
            audit,
        };
        vault.take(keys).await?;
        Ok(vault)
    }

    /// Takes over the keys of records that are not known yet, and which one is active.
    async fn take(&self, keys: &[StoredKey]) -> Result<(), VaultError> {
        let before = self.ring();
        let mut ring = Ring::default();
        for key in keys.iter().filter(|key| key.purpose == Purpose::Records) {
            let sealer = if let Some(known) = before.sealers.get(&key.id) {
                Arc::clone(known)
            } else {
                let bytes = unwrap(key, &[&self.master]).await?;
                Arc::new(Sealer::with_key(&bytes, key.id.as_str()).ok_or_else(|| damaged(key))?)
            };
            ring.sealers.insert(key.id.clone(), sealer);
            if key.active {
                ring.active.clone_from(&key.id);
            }
        }
        if !ring.sealers.contains_key(&ring.active) {
            return Err(VaultError::MasterKey(
                "the registry has no active key for records".into(),
            ));
        }
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the keys again: another server may have made one.
    pub(crate) async fn refresh(&self, registry: &dyn Registry) -> Result<(), VaultError> {
        let stored = registry.data_keys().await?;
        self.take(&stored.keys).await
    }

    /// Makes a new key for records and seals with it from now on; what older ones have sealed can
    /// still be opened. Stale when another server was faster.
    pub(crate) async fn replace(
        &self,
        registry: &dyn Registry,
        audit: Vec<AuditRecord>,
    ) -> Result<(), VaultError> {
        let active = self.active();
        let fresh = Fresh::random(Purpose::Records).wrap(&self.master).await?;
        let change = KeyChange::Replaced(active, fresh);
        registry.change_data_keys(change, audit).await?;
        self.refresh(registry).await
    }

    /// Returns the key that vouches for the audit log.
    pub(crate) fn audit(&self) -> &MacKey {
        &self.audit
    }

    /// Returns the id of the master key.
    pub(crate) fn master(&self) -> &str {
        self.master.id()
    }

    /// Returns the id of the key that records are sealed with now.
    pub(crate) fn active(&self) -> String {
        self.ring().active.clone()
    }

    /// Returns true when the key of a sealed value is known here.
    pub(crate) fn knows(&self, sealed: &str) -> bool {
        sealing_key(sealed).is_none_or(|id| self.ring().sealers.contains_key(id))
    }

    fn seal(&self, plain: &str, context: &str) -> String {
        let ring = self.ring();
        ring.sealers[&ring.active].seal(plain, context)
    }

    fn open_sealed(&self, sealed: &str, context: &str) -> Result<Secret, SealError> {
        let ring = self.ring();
        let id = sealing_key(sealed).ok_or(SealError::Malformed)?;
        match ring.sealers.get(id) {
            Some(key) => key.open(sealed, context),
            None => Err(SealError::OtherKey {
                found: id.to_owned(),
                expected: ring.active.clone(),
            }),
        }
    }

    /// Seals a value anew with the active key.
    pub(crate) fn reseal(&self, value: &SealedValue) -> Result<String, SealError> {
        let context = match &value.place {
            SealedPlace::Credential {
                tenant,
                service,
                version,
                module,
            } => Place {
                tenant,
                service,
                module,
                version: *version,
            }
            .context(),
            SealedPlace::Owner(tenant) => owner_context(tenant),
        };
        let plain = self.open_sealed(&value.sealed, &context)?;
        Ok(self.seal(plain.expose(), &context))
    }

    /// Returns the digest of an API key. Short keys cannot be searched for in the registry
    /// without the master key.
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
        self.seal(password.expose(), &place.context())
    }

    /// Opens a sealed password in its place.
    pub(crate) fn open_password(
        &self,
        place: &Place<'_>,
        sealed: &str,
    ) -> Result<Secret, SealError> {
        self.open_sealed(sealed, &place.context())
    }

    /// Seals an answer that is kept for a repeated request.
    pub(crate) fn seal_answer(&self, replay: &str, body: &str) -> String {
        self.seal(body, &format!("replays/{replay}"))
    }

    /// Opens an answer that was kept for a repeated request.
    pub(crate) fn open_answer(&self, replay: &str, sealed: &str) -> Result<Secret, SealError> {
        self.open_sealed(sealed, &format!("replays/{replay}"))
    }

    /// Seals the password hash of a tenant's owner.
    pub(crate) fn seal_owner(&self, tenant: &TenantId, hash: &str) -> String {
        self.seal(hash, &owner_context(tenant))
    }

    /// Returns keys that a master key stands for directly, for tests without a registry.
    #[cfg(test)]
    pub(crate) fn new(master: &Secret) -> Result<Self, String> {
        let (records, id) = Sealer::derive_key(master, "registry");
        let sealer = Sealer::with_key(&records, id.as_str()).ok_or("no key")?;
        let digests = |purpose| {
            let bytes = derived_digest_key(master, purpose).bytes().expect("a key");
            hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref())
        };
        Ok(Self {
            master: master.clone().into(),
            ring: RwLock::new(Arc::new(Ring {
                active: id.clone(),
                sealers: BTreeMap::from([(id, Arc::new(sealer))]),
            })),
            api_keys: digests(Purpose::ApiKeys),
            tenant_ids: digests(Purpose::TenantIds),
            audit: Arc::new(mac_key("00000000", &Secret::generate()).expect("a key")),
        })
    }
}

fn mac_key(id: &str, key: &Secret) -> Result<MacKey, VaultError> {
    MacKey::new(id, key)
        .ok_or_else(|| VaultError::MasterKey(format!("key `{id}` of the registry is not a key")))
}

fn owner_context(tenant: &TenantId) -> String {
    format!("tenants/{tenant}/owner")
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
mod tests;
