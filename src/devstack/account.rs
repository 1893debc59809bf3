//! The unprivileged account that the servers run under when we are root.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, fchown, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::DevstackError;

/// Accounts in the order of preference; each is made by a package or by the system itself.
const CANDIDATES: [&str; 5] = ["postgres", "_postgres", "nobody", "daemon", "bin"];

/// An unprivileged account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

impl Account {
    /// Returns the account for the servers: `None` when we are not root and they run as ourselves.
    pub fn for_servers() -> Result<Option<Self>, DevstackError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        Self::choose(&passwd()?)
            .map(Some)
            .ok_or_else(|| DevstackError::NoAccount {
                reason: format!("`/etc/passwd` has none of {}", CANDIDATES.join(", ")),
            })
    }

    /// As [`Account::for_servers`], but the account that owns `data` already when that exists: a
    /// later installation may have brought a better candidate.
    pub fn for_data(data: &Path) -> Result<Option<Self>, DevstackError> {
        let owner = match fs::symlink_metadata(data) {
            Ok(meta) if rustix::process::geteuid().is_root() => meta.uid(),
            _ => return Self::for_servers(),
        };
        let text = passwd()?;
        let known = text.lines().filter_map(Self::parse);
        match known.into_iter().find(|account| account.uid == owner) {
            Some(account) => Ok(Some(account)),
            None => Self::for_servers(),
        }
    }

    /// Reads one line of a `passwd` file. Root is never an answer.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let (uid, gid) = (id(fields.nth(1)?)?, id(fields.next()?)?);
        Some(Self { name, uid, gid })
    }

    /// Picks the best candidate from the text of a `passwd` file.
    fn choose(passwd: &str) -> Option<Self> {
        let known: Vec<Self> = passwd.lines().filter_map(Self::parse).collect();
        CANDIDATES
            .iter()
            .find_map(|name| known.iter().find(|account| account.name == *name))
            .cloned()
    }

    /// Makes `command` run under this account; its supplementary groups are dropped as well.
    pub fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives the folder `path` itself, not what is in it, to this account; a link is not followed.
    pub fn own_folder(&self, path: &Path) -> Result<(), DevstackError> {
        lchown(path, Some(self.uid), Some(self.gid))
            .map_err(DevstackError::io("cannot give away", path))
    }

    /// Gives an open file to this account.
    pub fn own_file(&self, file: &File) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))
    }

    /// Returns true when this account can enter `folder`. It is tried, not computed.
    pub fn can_enter(&self, folder: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", ":"])
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.apply(&mut command);
        command.status().is_ok_and(|status| status.success())
    }
}

fn passwd() -> Result<String, DevstackError> {
    let file = Path::new("/etc/passwd");
    let bytes = fs::read(file).map_err(DevstackError::io("cannot read", file))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a user or group id; macOS writes that of `nobody` as -2. Root is never an answer.
fn id(text: &str) -> Option<u32> {
    let id = match text.parse::<u32>() {
        Ok(id) => id,
        Err(_) => text.parse::<i32>().ok()?.cast_unsigned(),
    };
    (id != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_is_preferred_and_root_never_chosen() {
        let text =
            "root:x:0:0::/root:/bin/sh\nnobody:*:-2:-2::/:/usr/bin/false\npostgresql:x:5:5::/:\n";
        let nobody = Account::choose(text).unwrap();
        assert_eq!((nobody.name.as_str(), nobody.uid), ("nobody", u32::MAX - 1));
        let with = format!("{text}postgres:x:101:104::/:\n");
        assert_eq!(Account::choose(&with).unwrap().uid, 101);
        assert_eq!(Account::choose("postgres:x:0:0::/:\n"), None);
    }
}
