//! The one place where a value becomes text of a format.

/// Writes a value for a `.env` file: bare when nothing in it means anything, else quoted.
pub(super) fn dotenv(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    if !value.contains(['\'', '\n']) {
        return format!("'{value}'");
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '"' | '\\' | '$' | '`' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Writes a value as a double-quoted scalar: JSON's strings are YAML's.
pub(super) fn yaml(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// Like [`yaml`], with dollar signs that compose takes as they are.
pub(super) fn compose(value: &str) -> String {
    yaml(&value.replace('$', "$$"))
}
