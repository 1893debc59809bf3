//! Text to values, strictly.

use std::time::Duration;

use url::Url;

/// Reads a boolean: the words of Go's `ParseBool`, which is what products use.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("it must be `true` or `false` (or 1, t, 0, f)".to_owned()),
    }
}

/// Reads a whole number from `min` to `max`.
pub(super) fn whole(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let number = (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse::<u64>().ok())
        .flatten();
    number
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| format!("it must be a whole number from {min} to {max}, without a unit"))
}

/// Reads a duration such as `90s`, `5m` or `1h30m`; at least one millisecond, at most 30 days.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|d| (Duration::from_millis(1)..=Duration::from_hours(720)).contains(d))
        .ok_or_else(|| "it must be a duration such as `90s`, `5m` or `1h30m`".to_owned())
}

/// Reads the base URL of a Tenant Manager.
///
/// The result has no trailing slash beyond the root's, no user, no query and no fragment.
pub fn server(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text)
        .map_err(|_| "it must be an absolute http:// or https:// URL".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("it must be an absolute http:// or https:// URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user or a password: the API key identifies us".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must not hold a query or a fragment".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Returns true when `url` stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost")
                || name.to_ascii_lowercase().ends_with(".localhost")
        }
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        assert_eq!(whole("120", 0, 1000), Ok(120));
        assert_eq!(whole("+5", 0, 1000), Ok(5));
        for text in [
            "30s",
            "",
            "-1",
            "1e3",
            "0x10",
            "1_000",
            " 5",
            "1001",
            "99999999999999999999",
        ] {
            assert!(whole(text, 0, 1000).is_err(), "{text}");
        }
    }

    #[test]
    fn booleans_are_gos() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(text), Ok(true));
        }
        for text in ["yes", "on", "tRUE", ""] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        for text in ["90", "-5s", "0s", "400d", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_lose_their_trailing_slash_and_keep_no_user() {
        assert_eq!(
            server("https://tm.example/").unwrap().as_str(),
            "https://tm.example/"
        );
        assert_eq!(server("https://tm.example/a//").unwrap().path(), "/a");
        for text in [
            "tm.example",
            "ftp://tm.example",
            "https://u:p@tm.example",
            "https://tm.example/?a=b",
            "https://",
            "file:///etc/passwd",
        ] {
            let rule = server(text).unwrap_err();
            assert!(!rule.contains("u:p"), "{rule}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        for text in [
            "http://localhost:1",
            "http://127.0.0.2",
            "http://[::1]:80",
            "http://tm.localhost",
        ] {
            assert!(is_loopback(&server(text).unwrap()), "{text}");
        }
        for text in [
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://10.0.0.1",
            "http://notlocalhost",
        ] {
            assert!(!is_loopback(&server(text).unwrap()), "{text}");
        }
    }
}
