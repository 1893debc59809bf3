//! Where the servers' programs are on this machine, and how to install what is missing.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names under which a Redis server is installed; Valkey speaks the same protocol.
pub(crate) const REDIS_NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// Folders that hold programs and may be missing from PATH.
const USUAL_FOLDERS: [&str; 8] = [
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/bin",
    "/sbin",
    "/opt/homebrew/bin",
    "/home/linuxbrew/.linuxbrew/bin",
];

/// Folders with one folder per PostgreSQL version, and what leads from there to the programs.
const VERSIONED: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/usr/lib64", "pgsql", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The two programs of one PostgreSQL installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresPrograms {
    /// Makes a data folder.
    pub initdb: PathBuf,
    /// The server.
    pub postgres: PathBuf,
}

impl PostgresPrograms {
    /// Asks the server's program for its major version.
    pub fn major_version(&self) -> Option<u32> {
        let output = Command::new(&self.postgres)
            .arg("--version")
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .ok()?;
        // For example `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.split_whitespace().nth(2)?;
        Some(major_version(version)).filter(|major| *major > 0)
    }
}

/// The programs of both servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// PostgreSQL, when it is installed or needed.
    pub postgres: PostgresPrograms,
    /// `redis-server` or `valkey-server`.
    pub redis: PathBuf,
}

impl Programs {
    /// Finds both servers on `path` (the value of PATH) and then in the usual folders.
    ///
    /// `postgres_bin` names the folder of PostgreSQL's programs and is then the only place where
    /// they are looked for.
    pub fn find(path: &OsStr, postgres_bin: Option<&Path>) -> Result<Self, MissingPrograms> {
        match (find_postgres(path, postgres_bin), find_redis(path)) {
            (Some(postgres), Some(redis)) => Ok(Self { postgres, redis }),
            (postgres, redis) => Err(MissingPrograms::new(
                postgres.is_none(),
                redis.is_none(),
                postgres_bin.map(Path::to_owned),
            )),
        }
    }
}

/// Finds PostgreSQL's programs: on `path` first, then in the usual folders, newest version first.
pub fn find_postgres(path: &OsStr, postgres_bin: Option<&Path>) -> Option<PostgresPrograms> {
    installations(path, postgres_bin).into_iter().next()
}

/// As [`find_postgres`], for the programs of one major version: a data folder can only be used by
/// the version that made it.
pub fn find_postgres_version(
    path: &OsStr,
    postgres_bin: Option<&Path>,
    major: u32,
) -> Option<PostgresPrograms> {
    installations(path, postgres_bin)
        .into_iter()
        .find(|programs| programs.major_version() == Some(major))
}

/// Returns every installation of PostgreSQL, the preferred one first.
fn installations(path: &OsStr, postgres_bin: Option<&Path>) -> Vec<PostgresPrograms> {
    if let Some(folder) = postgres_bin {
        return postgres_in(folder).into_iter().collect();
    }
    let on_path = std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .filter_map(|folder| postgres_on_path(&folder));
    let versioned = versioned_folders();
    let versioned = versioned.iter().filter_map(|folder| postgres_in(folder));
    let usual = ["/usr/local/pgsql/bin"].iter().chain(&USUAL_FOLDERS);
    on_path
        .chain(versioned)
        .chain(usual.filter_map(|folder| postgres_on_path(Path::new(folder))))
        .collect()
}

/// Finds `redis-server` or `valkey-server` on `path` and then in the usual folders.
pub fn find_redis(path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .chain(USUAL_FOLDERS.iter().map(PathBuf::from))
        .find_map(|folder| {
            REDIS_NAMES
                .iter()
                .map(|name| folder.join(name))
                .find(|file| is_program(file))
        })
}

/// Returns both programs when `folder` itself holds them.
fn postgres_in(folder: &Path) -> Option<PostgresPrograms> {
    let programs = PostgresPrograms {
        initdb: folder.join("initdb"),
        postgres: folder.join("postgres"),
    };
    (is_program(&programs.initdb) && is_program(&programs.postgres)).then_some(programs)
}

/// As [`postgres_in`], but a link to `initdb` alone also leads to the installation behind it.
fn postgres_on_path(folder: &Path) -> Option<PostgresPrograms> {
    postgres_in(folder).or_else(|| {
        let initdb = folder.join("initdb");
        if !is_program(&initdb) {
            return None;
        }
        postgres_in(initdb.canonicalize().ok()?.parent()?)
    })
}

/// Returns the existing versioned folders, newest version first.
fn versioned_folders() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = VERSIONED
        .iter()
        .flat_map(|(parent, prefix, rest)| {
            let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
            entries.filter_map(move |entry| {
                let name = entry.file_name().into_string().ok()?;
                let version = name.strip_prefix(prefix)?;
                let folder = entry.path();
                let folder = if rest.is_empty() {
                    folder
                } else {
                    folder.join(rest)
                };
                Some((major_version(version), folder))
            })
        })
        .filter(|(_, folder)| folder.is_dir())
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// Reads the major version from a folder's name such as `15`, `@16` or `9.6`; 0 when it has none.
fn major_version(text: &str) -> u32 {
    text.trim_start_matches(|c: char| !c.is_ascii_digit())
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

fn is_program(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Programs that are needed and were not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPrograms {
    /// PostgreSQL (`initdb` and `postgres`) is missing.
    pub postgres: bool,
    /// Redis (`redis-server`, or `valkey-server`) is missing.
    pub redis: bool,
    /// The only folder where PostgreSQL was looked for, when the caller named one.
    pub searched: Option<PathBuf>,
    /// The operating system, which decides the command.
    pub system: System,
    /// Whether we are root, who needs no `sudo`.
    pub root: bool,
}

impl MissingPrograms {
    /// Says what is missing on this system; `searched` is the folder that the caller named for
    /// PostgreSQL.
    pub fn new(postgres: bool, redis: bool, searched: Option<PathBuf>) -> Self {
        Self {
            postgres,
            redis,
            searched,
            system: System::detect(),
            root: rustix::process::geteuid().is_root(),
        }
    }

    /// Returns the command that installs what is missing, when the system is known.
    pub fn install_command(&self) -> Option<String> {
        self.system
            .install_command(self.postgres, self.redis, self.root)
    }
}

impl fmt::Display for MissingPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.postgres, self.redis) {
            (true, true) => f.write_str(
                "PostgreSQL (`initdb` and `postgres`) and Redis (`redis-server`) are not installed",
            )?,
            (_, true) => {
                f.write_str("Redis (`redis-server` or `valkey-server`) is not installed")?;
            }
            _ => f.write_str("PostgreSQL (`initdb` and `postgres`) is not installed")?,
        }
        match (&self.searched, self.postgres) {
            (Some(folder), true) => write!(f, " in `{}`", folder.display()),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for MissingPrograms {}

/// Kinds of operating systems, as far as installing packages is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Debian, Ubuntu and what descends from them.
    Debian,
    /// Fedora, RHEL and what descends from them.
    Fedora,
    /// Alpine.
    Alpine,
    /// Arch and what descends from it.
    Arch,
    /// openSUSE.
    Suse,
    /// macOS, through Homebrew.
    MacOs,
    /// Something else.
    Other,
}

impl System {
    /// Recognises the running system.
    pub fn detect() -> Self {
        if cfg!(target_os = "macos") {
            return Self::MacOs;
        }
        let text = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|file| std::fs::read_to_string(file).ok())
            .unwrap_or_default();
        Self::from_os_release(&text)
    }

    /// Recognises a Linux distribution by the text of its `os-release` file.
    pub fn from_os_release(text: &str) -> Self {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
                .unwrap_or_default()
        };
        let ids = format!("{} {}", value("ID"), value("ID_LIKE"));
        ids.split_whitespace()
            .find_map(|id| match id {
                "debian" | "ubuntu" => Some(Self::Debian),
                "fedora" | "rhel" | "centos" => Some(Self::Fedora),
                "alpine" => Some(Self::Alpine),
                "arch" => Some(Self::Arch),
                "suse" | "opensuse" => Some(Self::Suse),
                _ => None,
            })
            .unwrap_or(Self::Other)
    }

    /// Returns the command that installs the chosen servers; root needs no `sudo`.
    pub fn install_command(self, postgres: bool, redis: bool, root: bool) -> Option<String> {
        let (steps, postgres_package, redis_package): (&[&str], _, _) = match self {
            Self::Debian => (
                &["apt-get update", "apt-get install -y"],
                "postgresql",
                "redis-server",
            ),
            Self::Fedora => (&["dnf install -y"], "postgresql-server", "valkey"),
            Self::Alpine => (&["apk add"], "postgresql", "valkey"),
            Self::Arch => (&["pacman -S --needed"], "postgresql", "valkey"),
            Self::Suse => (&["zypper install -y"], "postgresql-server", "redis"),
            Self::MacOs => (&["brew install"], "postgresql@17", "redis"),
            Self::Other => return None,
        };
        // Homebrew refuses root.
        let prefix = match self {
            Self::MacOs => "",
            _ if root => "",
            _ => "sudo ",
        };
        let steps: Vec<String> = steps.iter().map(|step| format!("{prefix}{step}")).collect();
        let packages: Vec<&str> = [(postgres, postgres_package), (redis, redis_package)]
            .into_iter()
            .filter_map(|(wanted, package)| wanted.then_some(package))
            .collect();
        Some(format!("{} {}", steps.join(" && "), packages.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, name: &str) {
        std::fs::create_dir_all(folder).unwrap();
        let file = folder.join(name);
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn path_wins_and_a_link_to_initdb_leads_to_its_installation() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().join("pg/bin");
        program(&real, "initdb");
        program(&real, "postgres");
        let links = home.path().join("links");
        std::fs::create_dir(&links).unwrap();
        std::os::unix::fs::symlink(real.join("initdb"), links.join("initdb")).unwrap();
        program(&links, "valkey-server");

        let found = Programs::find(links.as_os_str(), None).unwrap();
        assert_eq!(
            found.postgres.postgres,
            real.canonicalize().unwrap().join("postgres")
        );
        assert_eq!(found.redis, links.join("valkey-server"));
    }

    #[test]
    fn a_named_folder_is_the_only_place_for_postgres() {
        let home = tempfile::tempdir().unwrap();
        program(home.path(), "redis-server");
        let missing = Programs::find(home.path().as_os_str(), Some(home.path())).unwrap_err();
        assert!(missing.postgres && !missing.redis);
        assert!(
            missing
                .to_string()
                .contains(&home.path().display().to_string())
        );
    }

    #[test]
    fn a_file_that_cannot_be_run_is_not_a_program() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("initdb"), "").unwrap();
        program(home.path(), "postgres");
        assert_eq!(find_postgres(OsStr::new(""), Some(home.path())), None);
    }

    #[test]
    fn the_command_fits_the_system_and_what_is_missing() {
        for (text, both, redis) in [
            (
                "ID=ubuntu\nID_LIKE=debian\n",
                "sudo apt-get update && sudo apt-get install -y postgresql redis-server",
                "sudo apt-get update && sudo apt-get install -y redis-server",
            ),
            (
                "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                "sudo dnf install -y postgresql-server valkey",
                "sudo dnf install -y valkey",
            ),
            (
                "ID=alpine\n",
                "sudo apk add postgresql valkey",
                "sudo apk add valkey",
            ),
            (
                "ID=manjaro\nID_LIKE=arch\n",
                "sudo pacman -S --needed postgresql valkey",
                "sudo pacman -S --needed valkey",
            ),
        ] {
            let system = System::from_os_release(text);
            let command = |postgres, root| system.install_command(postgres, true, root);
            assert_eq!(command(true, false).as_deref(), Some(both));
            assert_eq!(command(false, false).as_deref(), Some(redis));
            assert_eq!(command(true, true), Some(both.replace("sudo ", "")));
        }
        let unknown = System::from_os_release("ID=plan9\n");
        assert_eq!(unknown.install_command(true, true, false), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(major_version("16") > major_version("9.6"));
        assert_eq!(major_version("@17"), 17);
        assert_eq!(major_version(""), 0);
    }
}
