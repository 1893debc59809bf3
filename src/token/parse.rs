//! Reads the text of a token into its parts, the way products read it, and says what is wrong.
//!
//! Products parse with golang-jwt into a map: names are exact, the last of several equal names
//! wins, text that is not UTF-8 is replaced. Where this reader is more careful than they are, the
//! difference becomes a warning, not a refusal.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The largest text that is read as a token, in bytes.
pub const LARGEST_TOKEN: usize = 64 * 1024;

/// base64url as golang-jwt reads it: no padding, loose last bits.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Levels of nesting at which Go stops reading, the outer object included.
const DEEPEST: usize = 10_000;

/// A part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// The first part: how the token is signed.
    Header,
    /// The second part: what the token says.
    Claims,
    /// The third part.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// Why a text is not a token. Never holds any of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing but white space.
    #[error("there is no token: the input is empty")]
    Empty,
    /// More than [`LARGEST_TOKEN`] bytes.
    #[error("the input has {bytes} bytes, a token has at most {LARGEST_TOKEN}")]
    TooLarge {
        /// Size of the input.
        bytes: usize,
    },
    /// A JSON document, such as the answer of the token endpoint.
    #[error("the input is a JSON document, not a token{}", field.map(|name| format!("; the token is the value of its field `{name}`")).unwrap_or_default())]
    Document {
        /// The field that holds the token.
        field: Option<&'static str>,
    },
    /// Not three parts separated by dots.
    #[error("a token has 3 parts separated by dots, the input has {found}")]
    Parts {
        /// Number of parts found.
        found: usize,
    },
    /// Five parts: an encrypted token.
    #[error("this is an encrypted token (JWE, 5 parts), which no product of the platform reads")]
    Encrypted,
    /// A part is not base64url.
    #[error("the {part} part is not base64url: {reason}")]
    Base64 {
        /// Which part.
        part: Part,
        /// What is wrong with it.
        reason: String,
    },
    /// A part is not JSON.
    #[error("the {part} part is not JSON: {reason}")]
    Json {
        /// Which part.
        part: Part,
        /// What is wrong with it.
        reason: String,
    },
    /// A part is JSON, but not an object.
    #[error("the {part} part is {found}, not a JSON object")]
    NotAnObject {
        /// Which part.
        part: Part,
        /// What it is instead.
        found: &'static str,
    },
}

impl TokenError {
    /// Returns the stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "token.empty",
            Self::TooLarge { .. } => "token.too_large",
            Self::Document { .. }
            | Self::Parts { .. }
            | Self::Base64 { .. }
            | Self::Json { .. }
            | Self::NotAnObject { .. } => "token.malformed",
            Self::Encrypted => "token.encrypted",
        }
    }
}

/// Names and values of a JSON object in their original order.
///
/// Of equal names the last value counts, as for the products; the others are in `repeated`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Members {
    entries: Vec<(String, Value)>,
    repeated: Vec<String>,
    out_of_range: Vec<String>,
    too_deep: Vec<String>,
}

impl Members {
    /// Returns the value of exactly this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// Returns the value of exactly this name when it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Returns names and values in their original order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Returns the names that stand there more than once.
    pub fn repeated(&self) -> &[String] {
        &self.repeated
    }

    /// Returns the names whose value holds a number that products cannot read; it reads as null.
    pub fn out_of_range(&self) -> &[String] {
        &self.out_of_range
    }

    /// Returns the names whose value is nested too deeply to be shown; it reads as null.
    pub fn too_deep(&self) -> &[String] {
        &self.too_deep
    }

    fn parse(part: Part, json: &str) -> Result<Self, TokenError> {
        let found = match json.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes() {
            [b'[', ..] => Some("an array"),
            [b'"', ..] => Some("a text"),
            [b'n', ..] if json.trim() == "null" => Some("null"),
            [b't', ..] if json.trim() == "true" => Some("a truth value"),
            [b'f', ..] if json.trim() == "false" => Some("a truth value"),
            [b'-' | b'0'..=b'9', ..] => Some("a number"),
            _ => None,
        };
        if let Some(found) = found {
            return Err(TokenError::NotAnObject { part, found });
        }
        let failed = |error: &serde_json::Error| TokenError::Json {
            part,
            reason: error.to_string(),
        };
        let raw: RawMembers = serde_json::from_str(json).map_err(|error| failed(&error))?;
        let mut members = Self::default();
        let mut places: HashMap<String, usize> = HashMap::with_capacity(raw.0.len());
        for (name, raw) in raw.0 {
            let value = match serde_json::from_str(raw.get()) {
                Ok(value) => value,
                // Syntax was checked already. Null, so that it is never taken for a text.
                Err(error) if error.to_string().starts_with("number out of range") => {
                    members.out_of_range.push(name.clone());
                    Value::Null
                }
                Err(error) if error.to_string().starts_with("recursion limit") => {
                    if depth(raw.get()) >= DEEPEST {
                        return Err(failed(&error));
                    }
                    members.too_deep.push(name.clone());
                    Value::Null
                }
                Err(error) => return Err(failed(&error)),
            };
            if let Some(&place) = places.get(&name) {
                members.entries[place].1 = value;
                if !members.repeated.contains(&name) {
                    members.repeated.push(name);
                }
            } else {
                places.insert(name.clone(), members.entries.len());
                members.entries.push((name, value));
            }
        }
        Ok(members)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Returns how deeply arrays and objects are nested in valid JSON.
fn depth(json: &str) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Names and unparsed values, repeats included.
struct RawMembers(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for RawMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = RawMembers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawMembers, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(RawMembers(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A token taken apart; nothing of it has been checked.
#[cfg_attr(test, derive(Debug))]
pub(super) struct Parsed {
    /// The text that the signature covers.
    pub(super) signed: String,
    /// The signature as it stands in the token.
    pub(super) signature: String,
    pub(super) header: Members,
    pub(super) claims: Members,
    /// Some text in header or claims was not UTF-8.
    pub(super) repaired: bool,
}

impl Parsed {
    pub(super) fn read(text: &str) -> Result<Self, TokenError> {
        let token = clean(text)?;
        let parts: Vec<&str> = token.splitn(7, '.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(match parts.len() {
                5 => TokenError::Encrypted,
                _ => TokenError::Parts {
                    found: token.split('.').count(),
                },
            });
        };
        let (header_json, header_repaired) = decode(Part::Header, header)?;
        let (claims_json, claims_repaired) = decode(Part::Claims, claims)?;
        Ok(Self {
            header: Members::parse(Part::Header, &header_json)?,
            claims: Members::parse(Part::Claims, &claims_json)?,
            signed: format!("{header}.{claims}"),
            signature: signature.to_owned(),
            repaired: header_repaired || claims_repaired,
        })
    }
}

/// Takes away what comes along when a token is copied: scheme, header name, quotes, line breaks.
fn clean(text: &str) -> Result<Cow<'_, str>, TokenError> {
    let mut rest = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if rest.is_empty() {
        return Err(TokenError::Empty);
    }
    if rest.len() > LARGEST_TOKEN {
        return Err(TokenError::TooLarge { bytes: rest.len() });
    }
    if rest.starts_with('{') {
        return Err(TokenError::Document {
            field: document_field(rest),
        });
    }
    loop {
        let before = rest.len();
        rest = rest
            .trim()
            .trim_matches(['"', '\'', '`'])
            .trim_end_matches([',', ';']);
        for prefix in ["authorization:", "bearer "] {
            if rest
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            {
                rest = &rest[prefix.len()..];
            }
        }
        if rest.len() == before {
            break;
        }
    }
    if rest.is_empty() || rest.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Empty);
    }
    if rest.contains(|c: char| c.is_ascii_whitespace()) {
        return Ok(rest
            .chars()
            .filter(|c| !c.is_ascii_whitespace())
            .collect::<String>()
            .into());
    }
    Ok(rest.into())
}

/// Returns the field of a token endpoint's answer that holds the token.
fn document_field(text: &str) -> Option<&'static str> {
    let document: Value = serde_json::from_str(text).ok()?;
    ["accessToken", "access_token", "token"]
        .into_iter()
        .find(|name| document.get(name).is_some_and(Value::is_string))
}

/// Decodes a part as golang-jwt does; says whether its text had to be repaired.
fn decode(part: Part, text: &str) -> Result<(String, bool), TokenError> {
    let bytes = LENIENT.decode(text).map_err(|_| TokenError::Base64 {
        part,
        reason: base64_problem(text),
    })?;
    let (json, broken) = match String::from_utf8(bytes) {
        Ok(json) => (json, false),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
    };
    let repaired = repair_surrogates(&json);
    let broken = broken || matches!(repaired, Cow::Owned(_));
    Ok((repaired.into_owned(), broken))
}

/// Says what keeps a text from being base64url.
fn base64_problem(text: &str) -> String {
    let odd = text
        .chars()
        .enumerate()
        .find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
    match odd {
        Some((_, '=')) => {
            "it is padded with `=`, and base64url in a token has no padding".to_owned()
        }
        Some((_, '+' | '/')) => {
            "it holds `+` or `/`: this is standard base64, a token uses base64url".to_owned()
        }
        Some((place, '…')) => {
            format!("it was shortened (`…` at character {})", place + 1)
        }
        Some((place, odd)) => format!("character {} is U+{:04X}", place + 1, u32::from(odd)),
        None => format!(
            "{} characters cannot be the whole of it: the token was cut",
            text.len()
        ),
    }
}

/// Replaces escapes of halves of surrogate pairs, as Go does, where serde_json refuses them.
fn repair_surrogates(json: &str) -> Cow<'_, str> {
    let unit = |text: &str| {
        text.strip_prefix("\\u")
            .and_then(|rest| rest.get(..4))
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    if !json.contains("\\ud") && !json.contains("\\uD") {
        return Cow::Borrowed(json);
    }
    let mut fixed = String::with_capacity(json.len());
    let mut changed = false;
    let mut rest = json;
    while let Some(place) = rest.find('\\') {
        fixed.push_str(&rest[..place]);
        rest = &rest[place..];
        let taken = match unit(rest) {
            Some(0xD800..=0xDBFF)
                if matches!(rest.get(6..).and_then(unit), Some(0xDC00..=0xDFFF)) =>
            {
                12
            }
            Some(0xD800..=0xDFFF) => {
                fixed.push_str("\\ufffd");
                changed = true;
                rest = &rest[6..];
                continue;
            }
            Some(_) => 6,
            None => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        fixed.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    fixed.push_str(rest);
    if changed {
        Cow::Owned(fixed)
    } else {
        Cow::Borrowed(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    fn token(header: &str, claims: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        )
    }

    fn error(text: &str) -> TokenError {
        Parsed::read(text).expect_err("the text is no token")
    }

    #[test]
    fn copied_decoration_is_taken_away() {
        let plain = token(r#"{"alg":"RS256"}"#, r#"{"tenantId":"x"}"#);
        let wrapped: String = plain
            .char_indices()
            .map(|(i, c)| {
                if i % 20 == 19 {
                    format!("\n  {c}")
                } else {
                    c.to_string()
                }
            })
            .collect();
        for text in [
            format!("Bearer {plain}"),
            format!("  bearer   {plain}\r\n"),
            format!("\"{plain}\","),
            format!("Authorization: Bearer {plain}"),
            format!("'Bearer \"{plain}\"'"),
            format!("\u{feff}{plain}"),
            wrapped,
        ] {
            let parsed = Parsed::read(&text).unwrap();
            assert_eq!(format!("{}.c2ln", parsed.signed), plain, "{text}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong_and_never_hold_the_text() {
        let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let good = b64(r#"{"alg":"none"}"#);
        let secret = "c2VjcmV0LXNlY3JldA";
        let cases: Vec<(String, &str)> = vec![
            (String::new(), "empty"),
            (" \n\t".to_owned(), "empty"),
            ("Bearer ".to_owned(), "empty"),
            ("\"\"".to_owned(), "empty"),
            (
                secret.to_owned(),
                "3 parts separated by dots, the input has 1",
            ),
            (format!("{secret}.{secret}"), "the input has 2"),
            (".".repeat(100), "the input has 101"),
            ("a.b.c.d.e".to_owned(), "encrypted token"),
            ("..".to_owned(), "the header part is not JSON"),
            (format!("{secret}.{good}.x"), "the header part is not JSON"),
            (format!("{good}.{secret}.x"), "the claims part is not JSON"),
            (
                format!("{good}.{}A=.x", b64("{}")),
                "the claims part is not base64url: it is padded",
            ),
            (format!("{good}.a+b/.x"), "standard base64"),
            (format!("{good}.abcde.x"), "the token was cut"),
            (format!("{good}.eyJ….x"), "shortened"),
            (format!("{good}.ey😀J.x"), "character 3 is U+1F600"),
            (format!("{good}.ey\0J.x"), "character 3 is U+0000"),
            (token("[]", "{}"), "the header part is an array"),
            (token("{}", "[1]"), "the claims part is an array"),
            (token("{}", "null"), "the claims part is null"),
            (token("{}", "\"secret\""), "the claims part is a text"),
            (token("{}", "17"), "the claims part is a number"),
            (token("{}", "true"), "the claims part is a truth value"),
            (token("{}", "{} {}"), "trailing characters"),
            (token("{}", "{\"a\":1,}"), "trailing comma"),
            (
                token("{}", &format!("{{\"a\":{}", "[".repeat(30_000))),
                "not JSON",
            ),
            (
                token(
                    "{}",
                    &format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
                ),
                "recursion limit",
            ),
            ("x".repeat(1024 * 1024), "1048576 bytes"),
            (
                r#"{"accessToken":"secret"}"#.to_owned(),
                "its field `accessToken`",
            ),
            (
                r#"{"error":"secret"}"#.to_owned(),
                "JSON document, not a token",
            ),
        ];
        for (text, expected) in cases {
            let message = error(&text).to_string();
            assert!(message.contains(expected), "{message} / {expected}");
            assert!(
                !message.contains("secret") && !message.contains(secret),
                "{message}"
            );
        }
    }

    #[test]
    fn the_last_of_equal_names_counts_and_order_is_kept() {
        let parsed = Parsed::read(&token(
            r#"{"alg":"none"}"#,
            r#"{"z":1,"tenantId":"a","A":2,"tenantId":"b","z":3,"tenantId":"c"}"#,
        ))
        .unwrap();
        assert_eq!(parsed.claims.text("tenantId"), Some("c"));
        assert_eq!(parsed.claims.repeated(), ["tenantId", "z"]);
        assert_eq!(
            serde_json::to_string(&parsed.claims).unwrap(),
            r#"{"z":3,"tenantId":"c","A":2}"#
        );
    }

    #[test]
    fn what_go_reads_is_read() {
        let parsed = Parsed::read(&token(
            r#"{"alg":"none"}"#,
            r#"{"a":"\ud800","b":"\\ud800","c":"\ud83d\ude00","d":1e400,"e":{"f":[1E999]}}"#,
        ))
        .unwrap();
        assert_eq!(parsed.claims.text("a"), Some("\u{fffd}"));
        assert_eq!(parsed.claims.text("b"), Some("\\ud800"));
        assert_eq!(parsed.claims.text("c"), Some("😀"));
        assert_eq!(parsed.claims.out_of_range(), ["d", "e"]);
        assert_eq!(parsed.claims.get("d"), Some(&Value::Null));
        assert!(parsed.repaired);

        let deep = format!(
            r#"{{"a":{}"]\\"{},"tenantId":"x"}}"#,
            "[".repeat(9_999),
            "]".repeat(9_999)
        );
        let parsed = Parsed::read(&token("{}", &deep)).unwrap();
        assert_eq!(parsed.claims.too_deep(), ["a"]);
        assert_eq!(parsed.claims.text("tenantId"), Some("x"));

        let mut broken = br#"{"tenantId":"ab"}"#.to_vec();
        broken[14] = 0xff;
        let text = format!("e30.{}.", URL_SAFE_NO_PAD.encode(&broken));
        let parsed = Parsed::read(&text).unwrap();
        assert_eq!(parsed.claims.text("tenantId"), Some("a\u{fffd}"));
        assert!(parsed.repaired);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = Parsed::read(&text);
        }

        #[test]
        fn no_bytes_in_the_parts_make_it_panic(header: Vec<u8>, claims: Vec<u8>) {
            let text = format!(
                "{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)
            );
            let _ = Parsed::read(&text);
        }

        #[test]
        fn no_json_makes_it_panic(claims in r#"\{("[a-zA-Z0-9é]{0,8}":(-?[0-9]{1,400}|"\\u[dD][0-9a-f]{3}[^"]{0,8}"|\[\]),?){0,5}\}"#) {
            let _ = Parsed::read(&token("{}", &claims));
        }

        #[test]
        fn a_cut_token_is_never_taken_for_another(cut in 1usize..60) {
            let whole = token(r#"{"alg":"RS256"}"#, r#"{"tenantId":"7b0e1c5a9f3d4b62a1c8e4d7f0936b21"}"#);
            let short = &whole[..whole.len() - cut];
            if let Ok(parsed) = Parsed::read(short) {
                prop_assert_eq!(
                    parsed.claims.text("tenantId"),
                    Some("7b0e1c5a9f3d4b62a1c8e4d7f0936b21")
                );
            }
        }
    }
}
