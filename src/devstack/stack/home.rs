//! The data folder: recognised, private, and used by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::State;
use crate::devstack::{DevstackError, folder};

/// Says that a folder is ours, in its first line the layout.
pub(super) const MARKER: &str = ".lerianctl-dev";

/// The layout of the data folder; a newer one is refused.
pub(super) const LAYOUT: u32 = 1;

/// The data folder of a development stack.
#[derive(Debug, Clone)]
pub struct Home {
    data: PathBuf,
}

/// Exclusive use of a data folder, given back when dropped or when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Home {
    /// Makes the data folder, or takes an existing one that is empty or ours.
    pub(super) fn prepare(data: &Path) -> Result<Self, DevstackError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(DevstackError::io("cannot make the folder", data))?;
        let home = Self::resolve(data)?;
        let marker = home.data.join(MARKER);
        if !marker.exists() {
            let mut entries =
                fs::read_dir(&home.data).map_err(DevstackError::io("cannot read", &home.data))?;
            if entries.next().is_some() {
                return Err(home.refuse("it holds files that are not a development stack's"));
            }
            home.check_owner()?;
            folder::set_mode(&home.data, 0o700)?;
            write_new(&marker, &format!("layout {LAYOUT}\n"))?;
        }
        home.check()?;
        for folder in ["keys", "log", "registry"] {
            folder::ensure(&home.data.join(folder), 0o700, None)?;
        }
        Ok(home)
    }

    /// Returns the existing data folder `data`: `None` when there is none, an error when it is
    /// not ours.
    pub fn existing(data: &Path) -> Result<Option<Self>, DevstackError> {
        if !data.exists() {
            return Ok(None);
        }
        let home = Self::resolve(data)?;
        if !home.data.join(MARKER).exists() {
            let empty = fs::read_dir(&home.data).is_ok_and(|mut entries| entries.next().is_none());
            if empty {
                return Ok(None);
            }
            return Err(home.refuse("it is not the data folder of a development stack"));
        }
        home.check()?;
        Ok(Some(home))
    }

    fn resolve(data: &Path) -> Result<Self, DevstackError> {
        let data = data
            .canonicalize()
            .map_err(DevstackError::io("cannot read", data))?;
        let home = Self { data };
        if home.data.to_str().is_none() {
            return Err(home.refuse("its name is not UTF-8, which the servers cannot use"));
        }
        Ok(home)
    }

    fn check(&self) -> Result<(), DevstackError> {
        folder::check(&self.data, None)?;
        let marker = self.data.join(MARKER);
        let text =
            fs::read_to_string(&marker).map_err(DevstackError::io("cannot read", &marker))?;
        let layout = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("layout "));
        match layout.map(str::parse::<u32>) {
            // Killed while it was written.
            None if text.is_empty() => Ok(()),
            Some(Ok(LAYOUT)) => Ok(()),
            _ => Err(self.refuse("it was made by another version of lerianctl")),
        }
    }

    fn check_owner(&self) -> Result<(), DevstackError> {
        let meta =
            fs::metadata(&self.data).map_err(DevstackError::io("cannot read", &self.data))?;
        if meta.uid() == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        Err(self.refuse("it belongs to another user"))
    }

    pub(super) fn refuse(&self, reason: impl Into<String>) -> DevstackError {
        DevstackError::Folder {
            path: self.data.clone(),
            reason: reason.into(),
        }
    }

    /// Returns the path of the data folder.
    pub fn path(&self) -> &Path {
        &self.data
    }

    /// Returns the folder for the Tenant Manager's registry.
    pub fn registry(&self) -> PathBuf {
        self.data.join("registry")
    }

    /// Returns the log of `server`: `postgres`, `redis`, or what the caller writes.
    pub fn log(&self, server: &str) -> PathBuf {
        self.data.join("log").join(format!("{server}.log"))
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.data.join("keys")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.data.join("state.json")
    }

    pub(super) fn pointer(&self) -> PathBuf {
        self.data.join("servers.path")
    }

    /// Takes the folder for this process; `None` when another one has it.
    pub(super) fn lock(&self) -> Result<Option<Lock>, DevstackError> {
        let path = self.data.join("lock");
        let failed = || DevstackError::io("cannot lock", &path);
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed())?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed()(error)),
            }
            // A reset may have removed the file between its opening and its locking.
            let opened = file.metadata().map_err(failed())?;
            if fs::metadata(&path).is_ok_and(|now| now.ino() == opened.ino()) {
                return Ok(Some(Lock { _file: file }));
            }
        }
    }

    /// Returns the error that says who uses the folder.
    pub(super) fn busy(&self) -> DevstackError {
        let supervisor = State::read(self)
            .ok()
            .and_then(|state| state.supervisor)
            .filter(crate::devstack::process::ProcessId::is_alive)
            .map(|process| process.pid);
        DevstackError::Busy {
            data: self.data.clone(),
            supervisor,
        }
    }

    /// Removes what a killed run of ours was about to write.
    pub(super) fn sweep(&self) -> Result<(), DevstackError> {
        for place in [self.data.clone(), self.keys()] {
            for entry in fs::read_dir(&place)
                .map_err(DevstackError::io("cannot read", &place))?
                .flatten()
            {
                let name = entry.file_name();
                if name.to_string_lossy().starts_with(folder::UNFINISHED) {
                    let path = entry.path();
                    fs::remove_file(&path).map_err(DevstackError::io("cannot remove", &path))?;
                }
            }
        }
        Ok(())
    }

    /// Removes everything that is ours, and the folder itself when nothing else is in it.
    pub(super) fn remove(self, lock: Lock) -> Result<(), DevstackError> {
        if let Some(servers) = self.known_servers()? {
            folder::remove(&servers)?;
            if !servers.starts_with(&self.data)
                && let Some(place) = servers.parent()
                && place.ends_with("lerianctl")
            {
                // Others' servers may lie there too.
                let _ = fs::remove_dir(place);
            }
        }
        for name in ["keys", "log", "registry"] {
            folder::remove(&self.data.join(name))?;
        }
        for name in ["servers.path", "state.json", "lock", MARKER] {
            let path = self.data.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(DevstackError::io("cannot remove", &path)(error));
                }
                _ => {}
            }
        }
        drop(lock);
        match fs::remove_dir(&self.data) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(DevstackError::io("cannot remove", &self.data)),
        }
    }
}

/// Writes a file that must not exist yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), DevstackError> {
    let failed = || DevstackError::io("cannot write", path);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())?;
    file.sync_all().map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_files_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("thesis.txt");
        fs::write(&file, "years of work").unwrap();
        assert!(matches!(
            Home::prepare(home.path()),
            Err(DevstackError::Folder { .. })
        ));
        assert!(matches!(
            Home::existing(home.path()),
            Err(DevstackError::Folder { .. })
        ));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_another_layout_is_refused() {
        let home = tempfile::tempdir().unwrap();
        Home::prepare(home.path()).unwrap();
        fs::write(home.path().join(MARKER), "layout 2\n").unwrap();
        let error = Home::prepare(home.path()).unwrap_err();
        assert!(error.to_string().contains("another version"), "{error}");
    }

    #[test]
    fn one_lock_at_a_time_and_reset_leaves_foreign_files() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let prepared = Home::prepare(&data).unwrap();
        let lock = prepared.lock().unwrap().unwrap();
        assert!(prepared.lock().unwrap().is_none());
        fs::write(data.join("note"), "mine").unwrap();
        prepared.clone().remove(lock).unwrap();
        let left: Vec<_> = fs::read_dir(&data).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].file_name(), "note");

        fs::remove_file(data.join("note")).unwrap();
        let again = Home::prepare(&data).unwrap();
        let lock = again.lock().unwrap().unwrap();
        again.remove(lock).unwrap();
        assert!(!data.exists());
    }

    #[test]
    fn nothing_there_is_not_an_error() {
        let home = tempfile::tempdir().unwrap();
        assert!(Home::existing(&home.path().join("none")).unwrap().is_none());
        assert!(Home::existing(home.path()).unwrap().is_none());
    }
}
