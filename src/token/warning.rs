//! What is odd about a token.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::inspect::{TenantClaim, TenantState};
use super::mint::TokenType;
use super::parse::{Members, Parsed};
use super::validity::{Time, Validity, ValidityState, distance};
use crate::contract::TenantId;

/// How grave a warning is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The token is refused, or endangers isolation.
    Error,
    /// Works today and should not be so.
    Warning,
    /// Worth knowing.
    Info,
}

/// Something odd about a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// Stable name.
    pub id: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// What was found, and what it leads to.
    pub text: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Algorithms that golang-jwt, the parser of the products, has registered; exact spelling.
const KNOWN_ALGORITHMS: [&str; 14] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
    "PS384", "PS512", "EdDSA", "none",
];

/// Claims that decide who the bearer is and what the token is good for.
const DECIDING_CLAIMS: [&str; 10] = [
    "tenantId",
    "tenant_id",
    "tenantSlug",
    "tenant_slug",
    "owner",
    "sub",
    "type",
    "exp",
    "nbf",
    "iat",
];

/// The Access Manager's tokens live one hour; a day leaves room for other settings.
const LONG_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

const ASK_ISSUER: &str =
    "have the Access Manager issue the token anew, and look into what made this one";
const NEW_TOKEN: &str = "request a new token from the Access Manager";
const FIX_TENANT: &str =
    "have the issuer write the tenant id as 32 lower-case hex digits without dashes";
const DO_NOT_TRUST: &str = "do not accept this token; find out who made it";

/// Returns true for an `alg` that the products' parser knows.
pub(super) fn is_known_algorithm(name: &str) -> bool {
    KNOWN_ALGORITHMS.contains(&name)
}

struct Findings(Vec<Warning>);

impl Findings {
    fn add(
        &mut self,
        id: &'static str,
        severity: Severity,
        text: impl Into<String>,
        remedy: &'static str,
    ) {
        self.0.push(Warning {
            id,
            severity,
            text: text.into(),
            remedy,
        });
    }
}

/// Returns everything that is odd about a token, the gravest first.
pub(super) fn all(
    parsed: &Parsed,
    tenant: &TenantClaim,
    validity: &Validity,
    now: Timestamp,
) -> Vec<Warning> {
    let mut findings = Findings(Vec::new());
    about_tenant(&mut findings, &parsed.claims, tenant);
    about_names(&mut findings, parsed);
    about_algorithm(&mut findings, parsed);
    about_header(&mut findings, &parsed.header);
    about_time(&mut findings, &parsed.claims, validity, now);
    about_bearer(&mut findings, &parsed.claims);
    findings.0.sort_by_key(|warning| warning.severity);
    findings.0
}

fn about_tenant(findings: &mut Findings, claims: &Members, tenant: &TenantClaim) {
    use Severity::{Error, Warning};
    let claim = tenant.claim.as_deref().unwrap_or_default();
    match tenant.state {
        TenantState::Canonical => {}
        TenantState::Missing => findings.add(
            "tenant-missing",
            Error,
            "there is no `tenantId`: every multi-tenant product answers 401 `MISSING_TENANT`",
            "have the issuer add the claim `tenantId` (32 lower-case hex digits)",
        ),
        TenantState::NotText => findings.add(
            "tenant-not-text",
            Error,
            "`tenantId` is not a text: products take it for absent and answer 401 `MISSING_TENANT`",
            FIX_TENANT,
        ),
        TenantState::Refused => findings.add(
            "tenant-refused",
            Error,
            format!(
                "products refuse this `tenantId` with 401 `INVALID_TENANT`: {}",
                if claim.len() > 256 {
                    format!("it has {} bytes, 256 are allowed", claim.len())
                } else {
                    "only letters, digits, `-` and `_` are allowed, with a letter or digit first".to_owned()
                }
            ),
            FIX_TENANT,
        ),
        TenantState::NotCanonical if claim.contains('-') => findings.add(
            "tenant-not-canonical",
            Error,
            "`tenantId` has dashes: products on lib-commons before 6.3 use it verbatim, and Midaz's \
             balance sync then takes the tenant for an organization and loses updates silently",
            FIX_TENANT,
        ),
        TenantState::NotCanonical => findings.add(
            "tenant-not-canonical",
            Error,
            "`tenantId` has upper-case digits: products on lib-commons before 6.3 use it verbatim, so \
             pools, caches and Redis keys are not those of the canonical id",
            FIX_TENANT,
        ),
        TenantState::NotUuid => findings.add(
            "tenant-not-uuid",
            Warning,
            if claim.bytes().any(|byte| byte.is_ascii_uppercase()) {
                "`tenantId` is not a UUID and mixes cases: `Acme` and `acme` are two tenants for products, \
                 and one for whatever folds case; Matcher refuses it"
            } else {
                "`tenantId` is not a UUID: Matcher refuses it, and this Tenant Manager knows no such tenant"
            },
            FIX_TENANT,
        ),
    }
    about_second_tenant(findings, claims);
}

/// Matcher reads `tenant_id` before `tenantId`; every other product reads `tenantId` only.
fn about_second_tenant(findings: &mut Findings, claims: &Members) {
    let Some(second) = claims.get("tenant_id") else {
        return;
    };
    let canonical = |value: &Value| {
        value.as_str().map(|text| {
            let text = text.trim();
            TenantId::canonical(text).map_or_else(|| text.to_owned(), String::from)
        })
    };
    match claims.get("tenantId") {
        None => findings.add(
            "tenant-id-only-matcher",
            Severity::Warning,
            "the tenant stands in `tenant_id`, which only Matcher reads",
            "have the issuer write `tenantId`",
        ),
        Some(first) if second.is_string() && canonical(first) == canonical(second) => {}
        Some(_) => findings.add(
            "tenant-conflict",
            Severity::Error,
            "`tenant_id` differs from `tenantId`: Matcher serves the tenant of `tenant_id`, every other \
             product that of `tenantId`",
            "have the issuer drop `tenant_id`",
        ),
    }
}

fn about_names(findings: &mut Findings, parsed: &Parsed) {
    for name in parsed.claims.repeated() {
        let severity = if DECIDING_CLAIMS.contains(&name.as_str()) {
            Severity::Error
        } else {
            Severity::Warning
        };
        findings.add(
            "claim-repeated",
            severity,
            format!(
                "the claim `{}` stands there more than once: products take the last one, another reader may take the first",
                shown(name)
            ),
            DO_NOT_TRUST,
        );
    }
    for name in parsed.header.repeated() {
        findings.add(
            "header-repeated",
            Severity::Error,
            format!("the header holds `{}` more than once", shown(name)),
            DO_NOT_TRUST,
        );
    }
    for (name, _) in parsed.claims.iter() {
        let twin = DECIDING_CLAIMS
            .iter()
            .find(|known| name != **known && folds_to(name, known));
        if let Some(known) = twin {
            let severity = if known.starts_with("tenant") {
                Severity::Error
            } else {
                Severity::Warning
            };
            findings.add(
                "claim-case",
                severity,
                format!(
                    "the claim `{}` is not `{known}`: products read exact names and ignore it, a reader \
                     that folds case (Go structures do) takes it for `{known}`",
                    shown(name)
                ),
                ASK_ISSUER,
            );
        }
    }
    for name in parsed
        .claims
        .out_of_range()
        .iter()
        .chain(parsed.header.out_of_range())
    {
        findings.add(
            "number-out-of-range",
            Severity::Error,
            format!(
                "`{}` holds a number that no product can read: they answer 401 `INVALID_TOKEN` (shown as null)",
                shown(name)
            ),
            DO_NOT_TRUST,
        );
    }
    for name in parsed
        .claims
        .too_deep()
        .iter()
        .chain(parsed.header.too_deep())
    {
        findings.add(
            "nested-deeply",
            Severity::Warning,
            format!(
                "`{}` is nested more than 128 levels deep (shown as null)",
                shown(name)
            ),
            DO_NOT_TRUST,
        );
    }
    if parsed.repaired {
        findings.add(
            "text-broken",
            Severity::Warning,
            "some text is not valid Unicode; products replace the broken characters, and so does this view",
            ASK_ISSUER,
        );
    }
}

fn about_algorithm(findings: &mut Findings, parsed: &Parsed) {
    use Severity::{Error, Warning};
    let none = match parsed.header.get("alg") {
        Some(Value::String(name)) if name.eq_ignore_ascii_case("none") => {
            findings.add(
                "algorithm-none",
                Error,
                if name == "none" {
                    "`alg` is `none`: nobody signed this token, and a product whose authorization is off \
                     serves it all the same"
                } else {
                    "`alg` is a spelling of `none`: nobody signed this token; products answer 401 `INVALID_TOKEN`"
                },
                DO_NOT_TRUST,
            );
            true
        }
        Some(Value::String(name)) if !is_known_algorithm(name) => {
            findings.add(
                "algorithm-unknown",
                Error,
                format!(
                    "products do not know the algorithm `{}`: they answer 401 `INVALID_TOKEN`",
                    shown(name)
                ),
                ASK_ISSUER,
            );
            false
        }
        Some(Value::String(name)) if name.starts_with("HS") => {
            findings.add(
                "algorithm-symmetric",
                Warning,
                format!(
                    "`alg` is `{name}`: whoever can check this token can also make one; the Access Manager \
                     signs with RS256, only Matcher checks with a shared secret"
                ),
                "use tokens of the Access Manager; where Matcher is meant, guard its secret like a signing key",
            );
            false
        }
        Some(Value::String(_)) => false,
        _ => {
            findings.add(
                "algorithm-missing",
                Error,
                "the header names no algorithm: products answer 401 `INVALID_TOKEN`",
                ASK_ISSUER,
            );
            false
        }
    };
    if parsed.signature.is_empty() {
        if !none {
            findings.add(
                "signature-missing",
                Error,
                "the signature is empty, so anybody can have written this token",
                DO_NOT_TRUST,
            );
        }
    } else if URL_SAFE_NO_PAD.decode(&parsed.signature).is_err() {
        findings.add(
            "signature-malformed",
            Error,
            "the signature is not base64url: the token was cut or changed",
            NEW_TOKEN,
        );
    }
}

fn about_header(findings: &mut Findings, header: &Members) {
    use Severity::{Error, Info, Warning};
    match header.get("kid") {
        None => findings.add(
            "key-id-missing",
            Info,
            "the header names no key (`kid`): a checker has to try every key, and rotation is harder to follow",
            "have the issuer name its key",
        ),
        Some(Value::String(id)) if is_plain_key_id(id) => {}
        Some(_) => findings.add(
            "key-id-odd",
            Warning,
            "`kid` holds characters of paths, queries or SQL, or is not a text: a checker that looks keys \
             up by it can be misled",
            DO_NOT_TRUST,
        ),
    }
    for name in ["jku", "jwk", "x5u"] {
        if header.get(name).is_some() {
            findings.add(
                "key-in-header",
                Error,
                format!(
                    "the header brings its own key (`{name}`): whoever made the token chose that key; it must be ignored"
                ),
                DO_NOT_TRUST,
            );
        }
    }
    if header.get("x5c").is_some() {
        findings.add(
            "key-in-header",
            Warning,
            "the header brings a certificate chain (`x5c`), which must be ignored unless its root is trusted",
            DO_NOT_TRUST,
        );
    }
    if header.get("crit").is_some() {
        findings.add(
            "critical-header",
            Error,
            "the header demands extensions (`crit`): a checker must refuse the token, the products' parser ignores it",
            ASK_ISSUER,
        );
    }
    if header.get("b64") == Some(&Value::Bool(false)) {
        findings.add(
            "payload-not-encoded",
            Error,
            "the header says that the claims are not base64url (`b64`: false); the products' parser ignores that",
            ASK_ISSUER,
        );
    }
    if header.get("zip").is_some() {
        findings.add(
            "claims-compressed",
            Warning,
            "the header says that the claims are compressed (`zip`), which signed tokens do not have",
            ASK_ISSUER,
        );
    }
    let usual = |text: &str| {
        let text = text.to_ascii_lowercase();
        matches!(text.trim_start_matches("application/"), "jwt" | "at+jwt")
    };
    if let Some(found) = header.get("typ")
        && !found.as_str().is_some_and(usual)
    {
        findings.add(
            "type-odd",
            Warning,
            format!(
                "`typ` is {}, not `JWT`: this may be a token for another purpose",
                found.as_str().map_or_else(
                    || "not a text".to_owned(),
                    |text| format!("`{}`", shown(text))
                )
            ),
            "make sure that this is an access token",
        );
    }
}

fn about_time(findings: &mut Findings, claims: &Members, validity: &Validity, now: Timestamp) {
    use Severity::{Error, Warning};
    let [expires, begins, issued] = ["exp", "nbf", "iat"].map(|name| Time::of(claims, name));
    for (name, time) in [("exp", expires), ("nbf", begins), ("iat", issued)] {
        if time == Time::Unreadable {
            findings.add(
                "time-unreadable",
                Error,
                format!("`{name}` is not a number of seconds, so it cannot be read as a time"),
                ASK_ISSUER,
            );
        }
    }
    match validity.state {
        ValidityState::Expired => findings.add(
            "expired",
            Error,
            format!(
                "{}; the Access Manager and Matcher refuse it, the tenant middleware alone would not",
                validity.words
            ),
            NEW_TOKEN,
        ),
        ValidityState::NotYetValid => findings.add(
            "not-yet-valid",
            Error,
            validity.words.clone(),
            "wait, or set the clocks of issuer and checker right",
        ),
        _ => {}
    }
    if expires == Time::Absent {
        findings.add(
            "no-expiry",
            Warning,
            "there is no `exp`: a stolen token is good forever; Matcher refuses it",
            "have the issuer set a short lifetime; the Access Manager's is one hour",
        );
    }
    let start = issued.at().or(begins.at()).unwrap_or(now);
    let long = match expires {
        Time::At(end) if end.duration_since(start) > LONG_LIFETIME => Some(distance(start, end)),
        Time::BeyondCalendar { past: false } => Some("longer than the calendar".to_owned()),
        _ => None,
    };
    if let Some(long) = long {
        findings.add(
            "long-lifetime",
            Warning,
            format!("the token lives {long}: nothing but the Tenant Manager's 403 stops it before"),
            "have the issuer set a short lifetime; the Access Manager's is one hour",
        );
    }
    if issued.at().is_some_and(|issued| issued > now) {
        findings.add(
            "issued-in-future",
            Warning,
            format!("`iat` lies in the future ({} ahead)", distance(now, start)),
            "set the clocks of issuer and checker right",
        );
    }
    if let (Time::At(end), Time::At(begin)) = (expires, begins)
        && end <= begin
    {
        findings.add(
            "never-valid",
            Warning,
            "`exp` is not after `nbf`: the token is valid at no time",
            ASK_ISSUER,
        );
    }
}

fn about_bearer(findings: &mut Findings, claims: &Members) {
    use Severity::{Error, Info, Warning};
    match claims.get("type") {
        Some(Value::String(word)) if word == TokenType::NORMAL_USER => {
            for (claim, id) in [("owner", "owner-missing"), ("sub", "subject-missing")] {
                if claims.text(claim).is_none_or(str::is_empty) {
                    findings.add(
                        id,
                        Error,
                        format!("a person's token needs `{claim}`: lib-auth answers 401 without it"),
                        ASK_ISSUER,
                    );
                }
            }
        }
        Some(Value::String(word)) if word.trim().eq_ignore_ascii_case(TokenType::NORMAL_USER) => findings.add(
            "type-lookalike",
            Warning,
            "`type` resembles `normal-user` but is not: products take the bearer for a machine, with the \
             product's editor role",
            ASK_ISSUER,
        ),
        Some(Value::String(_)) => {}
        None => findings.add(
            "type-missing",
            Info,
            "there is no `type`: products take the bearer for a machine, with the product's editor role",
            "have the issuer set `type`; a person's is `normal-user`",
        ),
        Some(_) => findings.add(
            "type-missing",
            Warning,
            "`type` is not a text: products take the bearer for a machine, with the product's editor role",
            ASK_ISSUER,
        ),
    }
}

/// Returns true when two names are one for Go's reader of structures: simple case folding, which
/// also takes U+017F for `s` and U+212A for `k`.
fn folds_to(name: &str, known: &str) -> bool {
    name.chars()
        .map(|c| match c {
            'ſ' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .eq(known.chars().map(|c| c.to_ascii_lowercase()))
}

fn is_plain_key_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 256
        && !id.contains("..")
        && id.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'=' | b'+' | b'@')
        })
}

/// Returns a name of the token's maker, shortened and without anything that moves a cursor.
fn shown(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '`' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out: String = text
        .chars()
        .map(|c| if odd(c) { '\u{fffd}' } else { c })
        .take(40)
        .collect();
    if text.chars().nth(40).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests;
