//! Where the servers' own folders lie, so that the account they run under can reach them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Home;
use super::home::{LAYOUT, MARKER, write_new};
use crate::devstack::account::Account;
use crate::devstack::programs::REDIS_NAMES;
use crate::devstack::{DevstackError, folder, postgres, process, redis};
use crate::secret::sha256_hex;

/// Where root's servers lie when their account cannot enter the data folder. The second is for
/// systems where the first cannot be written.
const ELSEWHERE: [&str; 2] = ["/var/lib/lerianctl", "/var/tmp"];

impl Home {
    /// Returns the folder of the servers, which `account` can enter, and makes it when needed.
    ///
    /// It lies in the data folder, except when we are root and the account cannot pass through
    /// some folder above; then it lies elsewhere, and the data folder remembers where.
    pub(super) async fn servers(
        &self,
        account: Option<&Account>,
    ) -> Result<PathBuf, DevstackError> {
        if let Some(known) = self.known_servers()? {
            if known.starts_with(self.path()) {
                folder::set_mode(self.path(), folder::mode_for(account))?;
            }
            match account {
                Some(account) if !account.can_enter(&known) => {
                    let reason = format!("the servers' account `{}` cannot enter it", account.name);
                    return Err(DevstackError::Folder {
                        path: known,
                        reason,
                    });
                }
                _ => return Ok(known),
            }
        }
        let inside = self.path().join("servers");
        let mode = folder::mode_for(account);
        let Some(account) = account else {
            folder::ensure(&inside, mode, None)?;
            return Ok(inside);
        };
        folder::set_mode(self.path(), mode)?;
        folder::ensure(&inside, mode, None)?;
        if account.can_enter(&inside) {
            return Ok(inside);
        }
        folder::remove(&inside)?;
        folder::set_mode(self.path(), 0o700)?;
        let outside = self.outside(account).await?;
        folder::write_private(&self.pointer(), outside.to_string_lossy().as_bytes(), None)?;
        Ok(outside)
    }

    /// Returns the folder of the servers when there is one.
    pub(super) fn known_servers(&self) -> Result<Option<PathBuf>, DevstackError> {
        let inside = self.path().join("servers");
        if inside.exists() {
            folder::check(&inside, None)?;
            return Ok(Some(inside));
        }
        let pointer = self.pointer();
        let outside = match fs::read_to_string(&pointer) {
            Ok(text) => PathBuf::from(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DevstackError::io("cannot read", &pointer)(error)),
        };
        if !outside.exists() {
            return Ok(None);
        }
        self.check_outside(&outside)?;
        Ok(Some(outside))
    }

    /// Makes the folder of the servers outside of the data folder.
    async fn outside(&self, account: &Account) -> Result<PathBuf, DevstackError> {
        // The same data folder always leads to the same place, so one that was removed by hand
        // leaves at most one behind, which is of no use without its keys.
        let name = format!(
            "lerianctl-dev-{}",
            &sha256_hex(self.path().as_os_str().as_encoded_bytes())[..16]
        );
        let mut last = self.refuse("no folder was found that the servers' account can enter");
        for place in ELSEWHERE {
            let place = Path::new(place);
            let path = place.join(&name);
            if path.join(MARKER).exists() {
                self.check_outside(&path)?;
                stop_strays_in(&path).await?;
                folder::remove(&path)?;
            }
            let made = (|| {
                if place.ends_with("lerianctl") {
                    folder::ensure(place, 0o711, None)?;
                }
                folder::ensure(&path, 0o711, None)?;
                write_new(&path.join(MARKER), &self.outside_marker())
            })();
            match made {
                Ok(()) if account.can_enter(&path) => return Ok(path),
                Ok(()) => folder::remove(&path)?,
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn outside_marker(&self) -> String {
        format!("layout {LAYOUT}\n{}\n", self.path().display())
    }

    /// Checks that the folder `path`, outside of the data folder, belongs to this data folder.
    fn check_outside(&self, path: &Path) -> Result<(), DevstackError> {
        folder::check(path, None)?;
        let marker = path.join(MARKER);
        let text =
            fs::read_to_string(&marker).map_err(DevstackError::io("cannot read", &marker))?;
        if text.is_empty() || text == self.outside_marker() {
            return Ok(());
        }
        let owner = text.lines().nth(1).map(PathBuf::from).unwrap_or_default();
        if owner.join(MARKER).exists() {
            return Err(DevstackError::Folder {
                path: path.to_owned(),
                reason: format!("it belongs to the data folder `{}`", owner.display()),
            });
        }
        // The data folder was moved.
        folder::write_private(&marker, self.outside_marker().as_bytes(), None)
    }
}

/// Stops the servers in the folder `servers` that a killed run left behind. Returns whether there
/// were some.
pub(super) async fn stop_strays_in(servers: &Path) -> Result<bool, DevstackError> {
    let postgres = servers.join("postgres/data");
    let redis = servers.join("redis/data");
    let found = !process::all_in(&["postgres"], &postgres).is_empty()
        || !process::all_in(&REDIS_NAMES, &redis).is_empty();
    postgres::recover(&postgres).await?;
    redis::recover(&redis).await?;
    Ok(found)
}
