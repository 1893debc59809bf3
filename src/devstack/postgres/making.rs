//! Making PostgreSQL's data folder and its settings file.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{PostgresSettings, READY_LIMIT, SUPERUSER, failed};
use crate::devstack::guard::{Guard, GuardSettings};
use crate::devstack::{DevstackError, folder};

/// Returns the major version of the PostgreSQL that made the data folder `data`, if there is one.
pub(crate) fn made_by(data: &Path) -> Option<u32> {
    let text = fs::read_to_string(data.join("PG_VERSION")).ok()?;
    text.trim().split('.').next()?.parse().ok()
}

/// Makes the data folder `data` when there is none. One that was half-made is made anew.
pub(super) async fn initialise(
    settings: &PostgresSettings,
    data: &Path,
) -> Result<(), DevstackError> {
    for entry in fs::read_dir(&settings.folder)
        .map_err(DevstackError::io("cannot read", &settings.folder))?
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("new-") {
            folder::remove(&entry.path())?;
        }
    }
    if data.join("PG_VERSION").is_file() {
        return Ok(());
    }
    let account = settings.account.as_ref();
    let new = settings
        .folder
        .join(format!("new-{}", uuid::Uuid::new_v4().simple()));
    folder::ensure(&new, folder::mode_for(account), None)?;
    let password = new.join("password");
    folder::write_private(&password, settings.password.expose().as_bytes(), account)?;
    let made = new.join("data");
    // C.UTF-8 is missing on a few systems; C always exists.
    let mut result = Ok(());
    for locale in ["C.UTF-8", "C"] {
        folder::remove(&made)?;
        folder::ensure(&made, 0o700, account)?;
        result = initdb(settings, &made, &password, locale).await;
        if result.is_ok() {
            break;
        }
    }
    result?;
    fs::rename(&made, data).map_err(DevstackError::io("cannot rename", &made))?;
    folder::remove(&new)
}

async fn initdb(
    settings: &PostgresSettings,
    data: &Path,
    password: &Path,
    locale: &str,
) -> Result<(), DevstackError> {
    let mut arguments = vec![
        format!("--pgdata={}", data.display()),
        format!("--username={SUPERUSER}"),
        format!("--pwfile={}", password.display()),
        "--auth=scram-sha-256".into(),
        "--encoding=UTF8".into(),
        format!("--locale={locale}"),
        "--data-checksums".into(),
    ];
    if !settings.durable {
        arguments.push("--no-sync".into());
    }
    let guard = Guard::start(&GuardSettings {
        program: settings.programs.initdb.clone(),
        arguments,
        folder: data.to_owned(),
        account: settings.account.clone(),
        log: settings.log.clone(),
        signals: "TERM KILL",
    })?;
    if !guard.wait(READY_LIMIT).await {
        return Err(DevstackError::Deadline {
            server: "PostgreSQL's `initdb`",
            what: "did not end",
            seconds: READY_LIMIT.as_secs(),
        });
    }
    if data.join("PG_VERSION").is_file() && data.join("global/pg_control").is_file() {
        Ok(())
    } else {
        Err(failed(guard.last_words()))
    }
}

/// The text of our settings file; a value is quoted at this one place.
fn configuration(settings: &PostgresSettings, port: u16) -> String {
    let quoted = |value: &str| {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n");
        format!("'{}'", value.replace('\'', "''"))
    };
    let yes_no = |yes| if yes { "on" } else { "off" }.to_owned();
    let mut values = vec![
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        // Nobody needs it, and its path has a limit of about 100 bytes.
        ("unix_socket_directories", String::new()),
        ("max_connections", settings.max_connections.to_string()),
        ("shared_buffers", "64MB".into()),
        ("password_encryption", "scram-sha-256".into()),
        ("lc_messages", "C".into()),
        ("timezone", "UTC".into()),
        ("log_timezone", "UTC".into()),
        ("log_destination", "stderr".into()),
        ("logging_collector", "off".into()),
        ("fsync", yes_no(settings.durable)),
    ];
    if !settings.durable {
        values.extend([
            // Commits still reach the system before they are confirmed, so that even then nothing
            // is lost when the server alone is killed.
            ("full_page_writes", "off".to_owned()),
            ("shared_buffers", "32MB".into()),
            ("max_wal_size", "256MB".into()),
        ]);
    }
    let main = settings.folder.join("data/postgresql.conf");
    let mut text = format!(
        "# Written by lerianctl at each start; ALTER SYSTEM outranks it.\ninclude {}\n",
        quoted(&main.display().to_string())
    );
    for (name, value) in values {
        let _ = writeln!(text, "{name} = {}", quoted(&value));
    }
    text
}

/// Writes our settings file next to the data folder and returns its path.
///
/// PostgreSQL's own file stays as it is, and is never read by us: in that folder, root must not
/// trust a file to be what it seems.
pub(super) fn configure(settings: &PostgresSettings, port: u16) -> Result<PathBuf, DevstackError> {
    let file = settings.folder.join("postgresql.conf");
    let text = configuration(settings, port);
    folder::write_private(&file, text.as_bytes(), settings.account.as_ref())?;
    Ok(file)
}
