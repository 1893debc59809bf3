//! The config file on disk: the only file that configuration reads or writes by itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::file::ConfigText;
use super::problem::Problem;

/// Longest config file that is read.
const LIMIT: u64 = 1024 * 1024;

/// Reads the config file; `None` when there is none.
pub fn read(path: &Path) -> Result<Option<ConfigText>, Problem> {
    let failed = |reason: String| {
        Problem::new(
            "config.unreadable",
            format!(
                "the config file {} cannot be read: {reason}",
                path.display()
            ),
        )
    };
    let file = match File::open(path) {
        Ok(file) => file,
        // A home that is no folder, as services have it, holds no file either.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let meta = file.metadata().map_err(|error| failed(error.to_string()))?;
    if !meta.is_file() {
        return Err(failed("it is not a regular file".to_owned()));
    }
    let (writable, readable) = exposure(&meta);
    let mut text = String::new();
    file.take(LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > LIMIT {
        return Err(failed(format!("it is longer than {LIMIT} bytes")));
    }
    Ok(Some(ConfigText {
        path: path.to_owned(),
        text,
        writable,
        readable,
    }))
}

/// Says why others could write or read the open file, if they could.
#[cfg(unix)]
fn exposure(meta: &std::fs::Metadata) -> (Option<String>, Option<String>) {
    use std::os::unix::fs::MetadataExt as _;
    let mode = meta.mode() & 0o777;
    let me = rustix::process::geteuid().as_raw();
    let foreign =
        (meta.uid() != me && meta.uid() != 0).then(|| format!("it belongs to user {}", meta.uid()));
    let writable = (mode & 0o022 != 0).then(|| format!("its mode is {mode:o}"));
    let readable = (mode & 0o077 != 0).then(|| format!("its mode is {mode:o}"));
    (foreign.clone().or(writable), foreign.or(readable))
}

#[cfg(not(unix))]
fn exposure(_meta: &std::fs::Metadata) -> (Option<String>, Option<String>) {
    (None, None)
}

/// Changes the text of the config file, which need not exist; returns whether it changed.
///
/// Two changes at once are made one after the other.
pub fn edit(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, Problem>,
) -> Result<bool, Problem> {
    let failed = |error: io::Error| {
        Problem::new(
            "config.unwritable",
            format!(
                "the config file {} cannot be written: {error}",
                path.display()
            ),
        )
    };
    let target = resolved(path).map_err(failed)?;
    let folder = folder_of(&target);
    create_private_folder(&folder).map_err(failed)?;
    let mut lock = fd_lock::RwLock::new(File::open(&folder).map_err(failed)?);
    let _held = lock.write().map_err(failed)?;
    let old = read(&target)?.map(|found| found.text).unwrap_or_default();
    let new = change(&old)?;
    if new == old {
        return Ok(false);
    }
    write_private(&target, &new).map_err(failed)?;
    Ok(true)
}

/// Replaces a file in one step, readable by its owner alone: whoever reads it sees the old text or
/// the new one, and after a power cut too.
///
/// A symbolic link is followed, so that a linked dotfile stays a link.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let target = resolved(path)?;
    let folder = folder_of(&target);
    create_private_folder(&folder)?;
    // The temporary file is made with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(".lerianctl-")
        .tempfile_in(&folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    // The rename itself must be on disk as well.
    OpenOptions::new().read(true).open(&folder)?.sync_all()
}

/// Follows symbolic links, as far as there is something.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        other => other,
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(unix)]
fn create_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(not(unix))]
fn create_private_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path)
            .expect("the file is there")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn files_are_private_replaced_whole_and_links_stay_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.toml");
        write_private(&path, "one").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let link = folder.path().join("link.toml");
        symlink(&path, &link).unwrap();
        write_private(&link, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(mode(&path), 0o600);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        let left = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "no temporary file is left behind");
    }

    #[test]
    fn reading_tells_who_else_can_touch_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert!(read(&path).unwrap().is_none());
        write_private(&path, "version = 1").unwrap();
        let text = read(&path).unwrap().unwrap();
        assert_eq!((text.writable, text.readable), (None, None));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
        let text = read(&path).unwrap().unwrap();
        assert!(text.writable.is_some() && text.readable.is_some());
        assert!(
            read(folder.path()).is_err(),
            "a folder is not a config file"
        );
    }
}
