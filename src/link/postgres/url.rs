//! Reads `postgres://` URLs.

use percent_encoding::percent_decode_str;

use super::{PostgresEndpoint, SSLMODE_WORDS, is_plain_schema};
use crate::secret::Secret;

const ENCODE_HINT: &str =
    "write special characters of the user and the password percent-encoded (`#` as `%23`)";

pub(super) fn parse(text: &str) -> Result<PostgresEndpoint, String> {
    let text = text.trim();
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
    {
        return Err("it starts with `postgres://`".into());
    }
    // The parser's own messages are fixed sentences, without any of the input.
    let url = url::Url::parse(text).map_err(|error| format!("{error}; {ENCODE_HINT}"))?;
    if url.fragment().is_some() {
        return Err(format!("it has a `#`; {ENCODE_HINT}"));
    }
    let mut parts = Parts {
        host: decoded(url.host_str().unwrap_or_default(), "host")?,
        port: url.port(),
        user: decoded(url.username(), "user")?,
        password: match url.password() {
            Some(password) => Some(Secret::new(decoded(password, "password")?)),
            None => None,
        },
        database: decoded(url.path().trim_start_matches('/'), "database")?,
        ..Parts::default()
    };
    for pair in url.query().unwrap_or_default().split('&') {
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name, "parameter")?, decoded(value, "parameter")?);
        parts.set(&name, value)?;
    }
    parts.finish()
}

#[derive(Default)]
struct Parts {
    host: String,
    port: Option<u16>,
    user: String,
    password: Option<Secret>,
    database: String,
    sslmode: Option<String>,
    ca_pem: Option<String>,
    search_path: Option<String>,
}

impl Parts {
    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "host" => self.host = value,
            "port" => {
                self.port = Some(value.parse().map_err(|_| "`port` is a number to 65535")?);
            }
            "user" => self.user = value,
            "password" => self.password = Some(Secret::new(value)),
            "dbname" => self.database = value,
            "sslmode" => self.sslmode = Some(value),
            "sslrootcert" if value == "system" => self.ca_pem = None,
            "sslrootcert" => {
                let pem = std::fs::read_to_string(&value).map_err(|error| {
                    format!("the file in `sslrootcert` cannot be read: {error}")
                })?;
                self.ca_pem = Some(pem);
            }
            "options" => {
                let schema = value
                    .strip_prefix("-c")
                    .map(str::trim_start)
                    .and_then(|setting| setting.strip_prefix("search_path="))
                    .filter(|schema| is_plain_schema(schema))
                    .ok_or("of `options`, only `-csearch_path=SCHEMA` is supported")?;
                self.search_path = Some(schema.to_owned());
            }
            _ => {
                let shown: String = name
                    .chars()
                    .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .take(40)
                    .collect();
                return Err(format!("the parameter `{shown}` is not supported"));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<PostgresEndpoint, String> {
        let host = self
            .host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
            .to_owned();
        if host.is_empty() {
            return Err(format!("the host is missing; {ENCODE_HINT}"));
        }
        if host.contains(',') {
            return Err("it names several hosts, and one is supported".into());
        }
        if self.user.is_empty() {
            return Err("the user is missing".into());
        }
        let sslmode = self.sslmode.unwrap_or_else(|| "prefer".into());
        let endpoint = PostgresEndpoint {
            port: self.port.unwrap_or(5432),
            database: if self.database.is_empty() {
                self.user.clone()
            } else {
                self.database
            },
            host,
            user: self.user,
            password: self.password,
            sslmode,
            ca_pem: self.ca_pem,
            search_path: self.search_path,
        };
        endpoint
            .encryption()
            .map_err(|_| format!("of `sslmode`, {SSLMODE_WORDS}"))?;
        Ok(endpoint)
    }
}

fn decoded(text: &str, what: &str) -> Result<String, String> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| format!("the {what} is not UTF-8"))?;
    if text.contains('\0') {
        return Err(format!("the {what} holds a NUL character"));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use crate::link::LinkError;
    use crate::link::postgres::PostgresEndpoint;
    use crate::link::tls::Verify;

    fn parse(text: &str) -> PostgresEndpoint {
        PostgresEndpoint::parse_url(text).unwrap()
    }

    #[test]
    fn a_url_gives_every_part() {
        let full = parse(
            "postgres://app%40x:p%40ss%2Fw%3Ard%23@db.example:6432/my%20db?sslmode=verify-full&options=-csearch_path%3Dt_a",
        );
        assert_eq!(full.address(), "db.example:6432");
        assert_eq!(full.user, "app@x");
        assert_eq!(full.password.as_ref().unwrap().expose(), "p@ss/w:rd#");
        assert_eq!(full.database, "my db");
        assert_eq!(full.sslmode, "verify-full");
        assert_eq!(full.search_path.as_deref(), Some("t_a"));
        assert_eq!(
            full.describe(),
            "db.example:6432, database my db, user app@x"
        );

        let bare = parse("postgresql://me@[::1]");
        assert_eq!(bare.address(), "[::1]:5432");
        assert_eq!((bare.database.as_str(), bare.password), ("me", None));
        assert_eq!(bare.sslmode, "prefer");
    }

    #[test]
    fn a_folder_is_a_unix_socket() {
        for text in [
            "postgres://me@%2Frun%2Fpostgresql/db",
            "postgres:///db?host=%2Frun%2Fpostgresql&user=me",
        ] {
            let endpoint = parse(text);
            assert_eq!(endpoint.host, "/run/postgresql", "{text}");
            assert_eq!(endpoint.address(), "/run/postgresql:5432");
            assert_eq!(endpoint.database, "db");
        }
    }

    #[test]
    fn an_authority_that_is_named_is_checked() {
        let mut endpoint = parse("postgres://me@h/db?sslmode=require");
        assert_eq!(endpoint.encryption().unwrap().verify, Verify::Nothing);
        endpoint.ca_pem = Some(String::new());
        assert_eq!(endpoint.encryption().unwrap().verify, Verify::Authority);
    }

    #[test]
    fn an_error_never_repeats_the_password() {
        for text in [
            "mysql://me:hunter2@h/db",
            "postgres://me:hunter2#@h/db",
            "postgres://me:hunter2@h:port/db",
            "postgres://me:hunter2@/db",
            "postgres://me:hunter2@h/db?sslmode=hunter2",
            "postgres://me@h/db?password=hunter2&sslrootcert=/nowhere/at/all",
            "postgres://me@h/db?options=-cpassword=hunter2",
            "postgres://me:hunter2@a,b/db",
            "postgres://:hunter2@h/db",
            "hunter2",
        ] {
            let error = PostgresEndpoint::parse_url(text).unwrap_err();
            assert!(matches!(error, LinkError::Address { .. }), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_parameter_that_would_do_nothing_is_refused() {
        let error =
            PostgresEndpoint::parse_url("postgres://me@h/db?target_session_attrs=any").unwrap_err();
        assert!(error.to_string().contains("`target_session_attrs`"));
    }
}
