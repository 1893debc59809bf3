//! Connection strings of MongoDB, as far as a check needs them.

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// Port where a connection string names none.
const PORT: u16 = 27017;

/// Who logs in where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Members that are named, of one deployment.
    pub hosts: Vec<(String, u16)>,
    /// Database; empty when none is named.
    pub database: String,
    /// User; empty when none is named.
    pub username: String,
    /// Password, when it is known.
    pub password: Option<Secret>,
    /// Database that the user belongs to.
    pub auth_source: String,
    /// Whether TLS is used.
    pub tls: bool,
    /// Whether certificates or names of hosts are not looked at.
    pub skips_verification: bool,
    /// Certificates to trust, PEM.
    pub ca_pem: Option<String>,
}

impl Address {
    /// Returns the first member, as it stands in reports.
    pub fn place(&self) -> String {
        self.hosts.first().map_or_else(String::new, |(host, port)| {
            if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            }
        })
    }

    /// Reads a `mongodb://` URL. The reason never repeats a part of it.
    ///
    /// The form is that of the [connection string specification][spec]; options that say nothing
    /// about who connects where, and how, are passed over.
    ///
    /// [spec]: https://www.mongodb.com/docs/manual/reference/connection-string/
    pub fn parse(url: &str) -> Result<Self, String> {
        let url = url.trim();
        if url.starts_with("mongodb+srv://") {
            return Err(
                "`mongodb+srv://` asks the DNS for the hosts, which is not done here: name \
                        the hosts with `mongodb://`"
                    .into(),
            );
        }
        let Some(rest) = url.strip_prefix("mongodb://") else {
            return Err("it does not begin with `mongodb://`".into());
        };
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = before.split_once('/').unwrap_or((before, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let mut address = Self {
            database: decoded(database)?,
            ..Self::default()
        };
        if let Some(login) = login {
            let (username, password) = login.split_once(':').unwrap_or((login, ""));
            if password.contains(['@', '/', ':']) {
                return Err(
                    "`@`, `:` and `/` in a password are written as %40, %3A and %2F".into(),
                );
            }
            address.username = decoded(username)?;
            let password = decoded(password)?;
            address.password = (!password.is_empty()).then(|| Secret::new(password));
        }
        address.hosts = self::hosts(hosts, None)?;
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let is_on = value.eq_ignore_ascii_case("true");
            match name.to_ascii_lowercase().as_str() {
                "authsource" => address.auth_source = decoded(value)?,
                "tls" | "ssl" => address.tls = is_on,
                "tlsinsecure" | "tlsallowinvalidcertificates" | "tlsallowinvalidhostnames" => {
                    address.skips_verification |= is_on;
                }
                "authmechanism" if !matches!(value, "" | "DEFAULT" | "SCRAM-SHA-256") => {
                    return Err(
                        "its authMechanism is not SCRAM-SHA-256, the one that is spoken here"
                            .into(),
                    );
                }
                _ => {}
            }
        }
        if address.auth_source.is_empty() {
            address.auth_source = if address.database.is_empty() {
                "admin".into()
            } else {
                address.database.clone()
            };
        }
        Ok(address)
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "a part of it is not UTF-8".into())
}

/// Reads hosts with commas between; `port` is that of those which name none.
pub fn hosts(text: &str, port: Option<u16>) -> Result<Vec<(String, u16)>, String> {
    let hosts = text.split(',');
    hosts
        .map(|host| host_and_port(host.trim(), port.unwrap_or(PORT)))
        .collect()
}

fn host_and_port(text: &str, otherwise: u16) -> Result<(String, u16), String> {
    let wrong = || Err("a host in it is not `host` or `host:port`".to_owned());
    let text = decoded(text)?;
    if text.contains('/') {
        return Err("it names a socket in the file system, which is not spoken here".into());
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host.to_owned(), port.strip_prefix(':')),
            None => return wrong(),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.clone(), None),
        },
    };
    let port = match port {
        Some(port) => match port.parse() {
            Ok(port) => port,
            Err(_) => return wrong(),
        },
        None => otherwise,
    };
    if host.is_empty() {
        return wrong();
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_are_read_as_drivers_do() {
        let one = Address::parse(
            "mongodb://a%40b:p%2Fw@one.example,[::1]:27018/acme?replicaSet=rs&tls=true&authSource=admin",
        )
        .unwrap();
        assert_eq!(
            one.hosts,
            [("one.example".to_owned(), 27017), ("::1".to_owned(), 27018)]
        );
        assert_eq!(
            (one.username.as_str(), one.database.as_str()),
            ("a@b", "acme")
        );
        assert_eq!(one.password.as_ref().unwrap().expose(), "p/w");
        assert_eq!(one.auth_source, "admin");
        assert!(one.tls && !one.skips_verification);
        let source = |url| Address::parse(url).unwrap().auth_source;
        assert_eq!(source("mongodb://u:p@h/acme"), "acme");
        assert_eq!(source("mongodb://u:p@h"), "admin");
        assert_eq!(source("mongodb://u:p@h/?x=y"), "admin");
    }

    #[test]
    fn a_wrong_one_is_refused_without_being_repeated() {
        for wrong in [
            "",
            "postgres://hunter2@h/",
            "mongodb://u:hunter2@",
            "mongodb://u:hunter2@h:port/",
            "mongodb://u:hunter2@h:99999/",
            "mongodb://u:hun/ter2@h/",
            "mongodb://u:hunter2@[::1/",
            "mongodb://u:hunter2@%2Ftmp%2Fmongodb-27017.sock/",
            "mongodb+srv://u:hunter2@h/",
            "mongodb://u:hunter2@h/?authMechanism=MONGODB-X509",
        ] {
            let reason = Address::parse(wrong).unwrap_err();
            assert!(
                !reason.contains("hunter2") && !reason.contains("ter2"),
                "{reason}"
            );
            assert!(reason.len() > 15, "{wrong}: {reason}");
        }
    }
}
