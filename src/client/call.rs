//! One request, described: the only place where text becomes part of a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Serialize;
use url::Url;

use super::error::{ClientError, ErrorKind};

/// Everything but the characters that never mean anything in a URL (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Which part of the interface an endpoint belongs to; decides what its answers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    /// `…/connections`, where only 403 and 404 prove that the server is healthy.
    Connections,
    /// The rest of the upstream contract.
    Contract,
    /// Ours, which another Tenant Manager may lack.
    Extension,
}

/// A request, ready to be sent any number of times.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) surface: Surface,
    /// Path, encoded, with its leading slash.
    pub(super) path: String,
    query: Vec<(&'static str, String)>,
    pub(super) body: Option<Vec<u8>>,
    /// Same for every attempt; present on writes.
    pub(super) idempotency_key: Option<String>,
}

impl Call {
    /// Describes a request whose path is made of `segments`, each encoded for itself.
    pub(super) fn new(
        method: Method,
        surface: Surface,
        segments: &[&str],
    ) -> Result<Self, ClientError> {
        let mut path = String::new();
        for segment in segments {
            // A server or a proxy would resolve these, encoded or not.
            if matches!(*segment, "" | "." | "..") {
                return Err(ClientError::new(
                    ErrorKind::Usage,
                    method.as_str(),
                    format!("cannot name `{segment}` in a path"),
                ));
            }
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let idempotency_key =
            (method != Method::GET).then(|| uuid::Uuid::new_v4().simple().to_string());
        Ok(Self {
            method,
            surface,
            path,
            query: Vec::new(),
            body: None,
            idempotency_key,
        })
    }

    pub(super) fn get(surface: Surface, segments: &[&str]) -> Result<Self, ClientError> {
        Self::new(Method::GET, surface, segments)
    }

    /// Adds a query pair, when there is a value.
    pub(super) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Sets a JSON body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body = Some(bytes),
            Err(error) => {
                let reason = format!("cannot write its body: {error}");
                return Err(ClientError::new(ErrorKind::Usage, &self.line(), reason));
            }
        }
        Ok(self)
    }

    /// Returns method and path, for messages.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Returns the whole URL.
    pub(super) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        url.set_path(&format!(
            "{}{}",
            base.path().trim_end_matches('/'),
            self.path
        ));
        if self.query.is_empty() {
            url.set_query(None);
        } else {
            url.query_pairs_mut()
                .clear()
                .extend_pairs(self.query.iter().map(|(name, value)| (name, value)));
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(base: &str, segments: &[&str]) -> Url {
        let call = Call::get(Surface::Contract, segments).unwrap();
        call.url(&base.parse().unwrap())
    }

    #[test]
    fn a_base_path_stays_and_no_slash_is_doubled() {
        for base in ["https://tm.example", "https://tm.example/"] {
            assert_eq!(url(base, &["v1", "x"]).as_str(), "https://tm.example/v1/x");
        }
        assert_eq!(
            url("https://tm.example/a/", &["v1"]).as_str(),
            "https://tm.example/a/v1"
        );
    }

    #[test]
    fn queries_are_form_encoded() {
        let call = Call::get(Surface::Contract, &["v1"])
            .unwrap()
            .query("service", Some("a b&c"))
            .query("none", None::<&str>);
        assert_eq!(
            call.url(&"https://tm.example".parse().unwrap()).as_str(),
            "https://tm.example/v1?service=a+b%26c"
        );
    }

    proptest! {
        #[test]
        fn hostile_text_stays_one_segment_of_one_path(text in any::<String>()) {
            prop_assume!(!matches!(text.as_str(), "" | "." | ".."));
            let url = url("https://tm.example/a", &["v1", &text, "end"]);
            prop_assert_eq!(url.host_str(), Some("tm.example"));
            prop_assert!(url.query().is_none() && url.fragment().is_none());
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            prop_assert_eq!(segments.len(), 4);
            let decoded = percent_encoding::percent_decode_str(segments[2]).decode_utf8().unwrap();
            prop_assert_eq!(decoded, text);
        }
    }

    #[test]
    fn dots_are_refused() {
        for text in ["", ".", ".."] {
            assert!(Call::get(Surface::Contract, &["v1", text]).is_err());
        }
    }
}
