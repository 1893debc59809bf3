//! Files of this program: whether a password that is in use stands in one of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::secret::Secret;

/// Shorter passwords stand in any file by chance.
const SHORTEST: usize = 8;
/// So much of a file is read.
const LONGEST: u64 = 32 << 20;
/// So many files are read, and no more.
const MOST: u64 = 20_000;
/// So many bytes in all.
const BYTES: u64 = 512 << 20;

/// What came of looking.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names of those whose password stands in a file, by file.
    pub found: BTreeMap<PathBuf, BTreeSet<String>>,
    /// Files that were read.
    pub files: u64,
    /// Why some were not, or not whole.
    pub gaps: BTreeSet<String>,
}

/// Passwords by the eight bytes that they begin with.
struct Needles<'a>(HashMap<[u8; SHORTEST], Vec<(Vec<u8>, &'a str)>>);

impl<'a> Needles<'a> {
    fn of(secrets: &'a [(String, Secret)]) -> Self {
        let mut needles: HashMap<_, Vec<_>> = HashMap::new();
        for (whose, secret) in secrets {
            let plain = secret.expose();
            let json = serde_json::Value::from(plain).to_string();
            let forms = BTreeSet::from([
                plain.to_owned(),
                json.trim_matches('"').to_owned(),
                utf8_percent_encode(plain, NON_ALPHANUMERIC).to_string(),
            ]);
            for form in forms {
                if let Some(first) = form.as_bytes().first_chunk::<SHORTEST>() {
                    let of = needles.entry(*first).or_default();
                    of.push((form.into_bytes(), whose.as_str()));
                }
            }
        }
        Self(needles)
    }

    fn within(&self, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, window) in bytes.windows(SHORTEST).enumerate() {
            for (needle, whose) in self.0.get(window).into_iter().flatten() {
                if bytes[at..].starts_with(needle) {
                    found.insert((*whose).to_owned());
                }
            }
        }
        found
    }
}

/// Reads every file below `folders`, except those in `left_out`, for the passwords of `secrets`, each
/// with the name of whose it is.
pub fn look(
    folders: &[PathBuf],
    left_out: &BTreeSet<PathBuf>,
    secrets: &[(String, Secret)],
) -> Seen {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let left_out: BTreeSet<PathBuf> = left_out.iter().map(|path| real(path)).collect();
    let needles = Needles::of(secrets);
    let mut seen = Seen::default();
    let mut bytes = 0;
    let mut next: Vec<PathBuf> = folders.to_vec();
    let mut known = BTreeSet::new();
    while let Some(path) = next.pop() {
        let Ok(kind) = path.symlink_metadata() else {
            continue;
        };
        if !known.insert(path.clone()) || left_out.contains(&real(&path)) {
            continue;
        }
        if kind.is_dir() {
            // A server's data holds verifiers, and is as long as it is.
            if path.join("PG_VERSION").exists() {
                seen.gaps
                    .insert(format!("{} is a server's data", path.display()));
                continue;
            }
            match std::fs::read_dir(&path) {
                Ok(entries) => next.extend(entries.filter_map(|entry| Some(entry.ok()?.path()))),
                Err(error) => {
                    seen.gaps.insert(format!("{}: {error}", path.display()));
                }
            }
        } else if kind.is_file() {
            if seen.files >= MOST || bytes >= BYTES {
                seen.gaps
                    .insert("there are more files than are read".into());
                break;
            }
            match read(&path) {
                Ok(content) => {
                    seen.files += 1;
                    bytes += content.len() as u64;
                    if content.len() as u64 == LONGEST {
                        seen.gaps
                            .insert(format!("{} was read in part", path.display()));
                    }
                    let found = needles.within(&content);
                    if !found.is_empty() {
                        seen.found.insert(path, found);
                    }
                }
                Err(error) => {
                    seen.gaps.insert(format!("{}: {error}", path.display()));
                }
            }
        }
    }
    seen
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?
        .take(LONGEST)
        .read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_in_each_form_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let secrets = [
            ("acme".to_owned(), Secret::new("hunter2/\"&%word")),
            ("short".to_owned(), Secret::new("abc")),
        ];
        let found = [
            write("state/report.json", "{\"x\":\"hunter2/\\\"&%word\"}"),
            write("log", "postgres://a:hunter2%2F%22%26%25word@h/"),
            write("plain", "hunter2/\"&%word"),
        ];
        write("clean", "hunter2 abc hunter2/word");
        let named = write("password", "hunter2/\"&%word");
        write("pg/PG_VERSION", "15");
        write("pg/base", "hunter2/\"&%word");
        let seen = look(
            &[folder.path().to_owned()],
            &BTreeSet::from([named]),
            &secrets,
        );
        let paths: BTreeSet<&PathBuf> = seen.found.keys().collect();
        assert_eq!(paths, found.iter().collect());
        assert!(seen.found.values().all(|whose| whose.contains("acme")));
        assert_eq!((seen.files, seen.gaps.len()), (4, 1));
    }
}
