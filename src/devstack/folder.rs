//! Private folders and files: made private, checked before they are trusted, replaced by rename.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::DevstackError;
use super::account::Account;
use crate::secret::Secret;

/// How names of files begin that were not finished when their writer was killed.
pub(crate) const UNFINISHED: &str = ".unfinished-";

/// Makes the folder `path` with `mode`, or checks that the existing one is ours alone.
///
/// It belongs to `account` then, or to us. An existing folder must be a real one, not a link, and
/// be writable by nobody else.
pub fn ensure(path: &Path, mode: u32, account: Option<&Account>) -> Result<(), DevstackError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            // The umask may have taken bits that were asked for.
            set_mode(path, mode)?;
            if let Some(account) = account {
                account.own_folder(path)?;
            }
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check(path, account)?,
        Err(error) => return Err(DevstackError::io("cannot make the folder", path)(error)),
    }
    Ok(())
}

/// Returns the mode of a folder of ours that `account` must pass through, or nobody but us.
pub fn mode_for(account: Option<&Account>) -> u32 {
    if account.is_some() { 0o711 } else { 0o700 }
}

/// Checks that `path` is a real folder which only `account`, or we, can change.
pub fn check(path: &Path, account: Option<&Account>) -> Result<(), DevstackError> {
    let meta = fs::symlink_metadata(path).map_err(DevstackError::io("cannot read", path))?;
    let refuse = |reason: String| {
        Err(DevstackError::Folder {
            path: path.to_owned(),
            reason,
        })
    };
    if !meta.is_dir() {
        return refuse("it is not a folder".into());
    }
    let owner = account.map_or(rustix::process::geteuid().as_raw(), |account| account.uid);
    if meta.uid() != owner {
        return refuse(format!("it belongs to another user (id {})", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return refuse("others can write to it".into());
    }
    Ok(())
}

/// Sets the permission bits of `path`.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), DevstackError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(DevstackError::io("cannot set the permissions of", path))
}

/// Replaces the file `path` by one that only its owner can read: it is never seen half-written,
/// and is on the disk when this returns.
pub fn write_private(
    path: &Path,
    text: &[u8],
    account: Option<&Account>,
) -> Result<(), DevstackError> {
    let failed = || DevstackError::io("cannot write", path);
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file is made with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder)
        .map_err(failed())?;
    file.write_all(text).map_err(failed())?;
    if let Some(account) = account {
        account.own_file(file.as_file()).map_err(failed())?;
    }
    file.as_file().sync_all().map_err(failed())?;
    file.persist(path).map_err(|error| failed()(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed())
}

/// Returns the secret in the file `path`, or makes, keeps and returns a new one.
pub fn keep_secret(path: &Path, make: impl FnOnce() -> Secret) -> Result<Secret, DevstackError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Secret::new(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = make();
            write_private(path, secret.expose().as_bytes(), None)?;
            Ok(secret)
        }
        Err(error) => Err(DevstackError::io("cannot read", path)(error)),
    }
}

/// Removes a folder with everything in it; links in it are removed, not followed.
pub fn remove(path: &Path) -> Result<(), DevstackError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DevstackError::io("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_and_a_folder_open_to_others_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().join("real");
        ensure(&real, 0o700, None).unwrap();
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o700);
        ensure(&real, 0o700, None).unwrap();

        let link = home.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(
            ensure(&link, 0o700, None),
            Err(DevstackError::Folder { .. })
        ));

        set_mode(&real, 0o777).unwrap();
        assert!(matches!(
            ensure(&real, 0o700, None),
            Err(DevstackError::Folder { .. })
        ));
    }

    #[test]
    fn a_kept_secret_is_private_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("key");
        let first = keep_secret(&file, Secret::generate).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(keep_secret(&file, Secret::generate).unwrap(), first);
        assert!(!first.is_empty());
    }
}
