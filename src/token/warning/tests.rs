//! What is odd about a token, case by case.

use super::*;
use crate::token::{Inspection, inspect};
use proptest::prelude::*;

const TENANT: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";
const NOW: i64 = 1_772_452_800;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn look(header: &str, claims: &str, signature: &str) -> Inspection {
    let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    inspect(
        &format!("{}.{}.{signature}", b64(header), b64(claims)),
        now(),
    )
    .unwrap()
}

fn ids(inspection: &Inspection) -> Vec<&'static str> {
    inspection
        .warnings
        .iter()
        .map(|warning| warning.id)
        .collect()
}

const HEADER: &str = r#"{"alg":"RS256","kid":"cert-built-in","typ":"JWT"}"#;

fn claims(more: &str) -> String {
    let end = NOW + 720;
    format!(
        r#"{{"tenantId":"{TENANT}","owner":"acme","sub":"u1","type":"normal-user","iat":{NOW},"exp":{end}{more}}}"#
    )
}

#[test]
fn an_ordinary_token_has_no_warnings() {
    let inspection = look(HEADER, &claims(""), "c2ln");
    assert_eq!(inspection.warnings, []);
    assert_eq!(inspection.validity.words, "valid, expires in 12 minutes");
    assert_eq!(inspection.tenant.canonical.as_deref(), Some(TENANT));
}

#[test]
fn every_odd_header_is_named() {
    for (header, signature, expected) in [
        (r#"{"alg":"none","kid":"a"}"#, "", vec!["algorithm-none"]),
        (
            r#"{"alg":"nOnE","kid":"a"}"#,
            "c2ln",
            vec!["algorithm-none"],
        ),
        (r#"{"kid":"a"}"#, "c2ln", vec!["algorithm-missing"]),
        (r#"{"alg":1,"kid":"a"}"#, "c2ln", vec!["algorithm-missing"]),
        (
            r#"{"alg":"rs256","kid":"a"}"#,
            "c2ln",
            vec!["algorithm-unknown"],
        ),
        (
            r#"{"alg":"HS256","kid":"a"}"#,
            "c2ln",
            vec!["algorithm-symmetric"],
        ),
        (
            r#"{"alg":"RS256","kid":"a"}"#,
            "",
            vec!["signature-missing"],
        ),
        (
            r#"{"alg":"RS256","kid":"a"}"#,
            "c2l=",
            vec!["signature-malformed"],
        ),
        (r#"{"alg":"RS256"}"#, "c2ln", vec!["key-id-missing"]),
        (
            r#"{"alg":"RS256","kid":"../../dev/null"}"#,
            "c2ln",
            vec!["key-id-odd"],
        ),
        (
            r#"{"alg":"RS256","kid":"x' OR 1=1--"}"#,
            "c2ln",
            vec!["key-id-odd"],
        ),
        (r#"{"alg":"RS256","kid":["a"]}"#, "c2ln", vec!["key-id-odd"]),
        (
            r#"{"alg":"RS256","kid":"a","jku":"https://x"}"#,
            "c2ln",
            vec!["key-in-header"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","jwk":{}}"#,
            "c2ln",
            vec!["key-in-header"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","x5u":"https://x"}"#,
            "c2ln",
            vec!["key-in-header"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","x5c":[]}"#,
            "c2ln",
            vec!["key-in-header"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","crit":["b64"],"b64":false}"#,
            "c2ln",
            vec!["critical-header", "payload-not-encoded"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","zip":"DEF"}"#,
            "c2ln",
            vec!["claims-compressed"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","typ":"dpop+jwt"}"#,
            "c2ln",
            vec!["type-odd"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","typ":7}"#,
            "c2ln",
            vec!["type-odd"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","typ":"application/at+jwt"}"#,
            "c2ln",
            vec![],
        ),
        (
            r#"{"alg":"none","alg":"RS256","kid":"a"}"#,
            "c2ln",
            vec!["header-repeated"],
        ),
        (
            r#"{"alg":"RS256","kid":"a","x":1e400}"#,
            "c2ln",
            vec!["number-out-of-range"],
        ),
    ] {
        let inspection = look(header, &claims(""), signature);
        assert_eq!(ids(&inspection), expected, "{header}");
    }
}

#[test]
fn every_odd_claim_is_named() {
    let end = NOW + 720;
    let past = NOW - 1;
    for (more, expected) in [
        (
            r#","tenantId":"7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21""#.to_owned(),
            vec!["tenant-not-canonical", "claim-repeated"],
        ),
        (format!(r#","tenant_id":"{TENANT}""#), vec![]),
        (
            r#","tenant_id":" 7B0E1C5A-9F3D-4B62-A1C8-E4D7F0936B21 ""#.to_owned(),
            vec![],
        ),
        (
            r#","tenant_id":"0c4d2e6b8a1f4c7390ab5de1f2c3b4a5""#.to_owned(),
            vec!["tenant-conflict"],
        ),
        (r#","tenant_id":7"#.to_owned(), vec!["tenant-conflict"]),
        (r#","TenantID":"x""#.to_owned(), vec!["claim-case"]),
        (
            r#","tenantid":"x","Sub":"x""#.to_owned(),
            vec!["claim-case", "claim-case"],
        ),
        (r#","ſub":"x""#.to_owned(), vec!["claim-case"]),
        (r#","x":1,"x":2"#.to_owned(), vec!["claim-repeated"]),
        (r#","nbf":"soon""#.to_owned(), vec!["time-unreadable"]),
        (r#","x":[1e400]"#.to_owned(), vec!["number-out-of-range"]),
        (r#","x":"\udc00""#.to_owned(), vec!["text-broken"]),
        (
            format!(r#","x":{}{}"#, "[".repeat(200), "]".repeat(200)),
            vec!["nested-deeply"],
        ),
        (format!(r#","nbf":{}"#, NOW + 60), vec!["not-yet-valid"]),
        (
            format!(r#","nbf":{}"#, NOW + 7200),
            vec!["not-yet-valid", "never-valid"],
        ),
    ] {
        let inspection = look(HEADER, &claims(&more), "c2ln");
        assert_eq!(ids(&inspection), expected, "{more}");
    }
    for (claims, expected) in [
        (
            format!(r#"{{"tenantId":"{TENANT}","type":"m","exp":{past}}}"#),
            vec!["expired"],
        ),
        (
            format!(r#"{{"tenantId":"{TENANT}","type":"m"}}"#),
            vec!["no-expiry"],
        ),
        (
            format!(
                r#"{{"tenantId":"{TENANT}","type":"m","exp":{}}}"#,
                NOW + 90_000
            ),
            vec!["long-lifetime"],
        ),
        (
            format!(r#"{{"tenantId":"{TENANT}","type":"m","exp":1e99}}"#),
            vec!["long-lifetime"],
        ),
        (
            format!(
                r#"{{"tenantId":"{TENANT}","type":"m","exp":{end},"iat":{}}}"#,
                NOW + 5
            ),
            vec!["issued-in-future"],
        ),
        (
            format!(r#"{{"tenantId":"{TENANT}","exp":{end}}}"#),
            vec!["type-missing"],
        ),
        (
            format!(r#"{{"tenantId":"{TENANT}","exp":{end},"type":1}}"#),
            vec!["type-missing"],
        ),
        (
            format!(r#"{{"tenantId":"{TENANT}","exp":{end},"type":"Normal-User"}}"#),
            vec!["type-lookalike"],
        ),
        (
            format!(r#"{{"tenantId":"{TENANT}","exp":{end},"type":"normal-user","owner":""}}"#),
            vec!["owner-missing", "subject-missing"],
        ),
        (
            format!(r#"{{"exp":{end},"type":"m"}}"#),
            vec!["tenant-missing"],
        ),
        (
            format!(r#"{{"exp":{end},"type":"m","tenantId":""}}"#),
            vec!["tenant-missing"],
        ),
        (
            format!(r#"{{"exp":{end},"type":"m","tenantId":null}}"#),
            vec!["tenant-not-text"],
        ),
        (
            format!(r#"{{"exp":{end},"type":"m","tenantId":["{TENANT}"]}}"#),
            vec!["tenant-not-text"],
        ),
        (
            format!(r#"{{"exp":{end},"type":"m","tenantId":1e400}}"#),
            vec!["tenant-not-text", "number-out-of-range"],
        ),
        (
            format!(r#"{{"exp":{end},"type":"m","tenant_id":"{TENANT}"}}"#),
            vec!["tenant-missing", "tenant-id-only-matcher"],
        ),
    ] {
        let inspection = look(HEADER, &claims, "c2ln");
        assert_eq!(ids(&inspection), expected, "{claims}");
    }
}

#[test]
fn every_spelling_of_a_tenant_is_judged() {
    let long = "a".repeat(257);
    for (claim, before, from, expected) in [
        (TENANT, Some(TENANT), Some(TENANT), None),
        (
            "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21",
            Some("7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21"),
            Some(TENANT),
            Some("tenant-not-canonical"),
        ),
        (
            "7B0E1C5A9F3D4B62A1C8E4D7F0936B21",
            Some("7B0E1C5A9F3D4B62A1C8E4D7F0936B21"),
            Some(TENANT),
            Some("tenant-not-canonical"),
        ),
        ("acme", Some("acme"), Some("acme"), Some("tenant-not-uuid")),
        ("Acme", Some("Acme"), Some("Acme"), Some("tenant-not-uuid")),
        (
            "urn:uuid:7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21",
            None,
            None,
            Some("tenant-refused"),
        ),
        (
            "{7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21}",
            None,
            None,
            Some("tenant-refused"),
        ),
        (
            "7b0e1c5a9f3d4b62a1c8e4d7f0936b21 ",
            None,
            None,
            Some("tenant-refused"),
        ),
        (
            "7b0e1c5a9f3d4b62a1c8e4d7f0936b21\\n",
            None,
            None,
            Some("tenant-refused"),
        ),
        ("..", None, None, Some("tenant-refused")),
        ("_a", None, None, Some("tenant-refused")),
        ("асme", None, None, Some("tenant-refused")),
        ("%61cme", None, None, Some("tenant-refused")),
        (long.as_str(), None, None, Some("tenant-refused")),
    ] {
        let json = format!(r#"{{"tenantId":"{claim}","type":"m","exp":{}}}"#, NOW + 720);
        let inspection = look(HEADER, &json, "c2ln");
        assert_eq!(inspection.tenant.verbatim.as_deref(), before, "{claim}");
        assert_eq!(inspection.tenant.canonical.as_deref(), from, "{claim}");
        assert_eq!(ids(&inspection), Vec::from_iter(expected), "{claim}");
    }
}

#[test]
fn names_of_the_maker_move_no_cursor() {
    let long = "ä".repeat(5000);
    let inspection = look(
        HEADER,
        &claims(&format!(
            r#","a\u001b[2J\u202e":1,"a\u001b[2J\u202e":2,"{long}":1,"{long}":2"#
        )),
        "c2ln",
    );
    for warning in &inspection.warnings {
        assert!(warning.text.len() < 400, "{}", warning.text);
        assert!(
            !warning.text.contains(['\u{1b}', '\u{202e}']),
            "{}",
            warning.text
        );
    }
    assert_eq!(ids(&inspection), ["claim-repeated", "claim-repeated"]);
}

proptest! {
    #[test]
    fn no_claims_make_it_panic(
        name in "(tenantId|tenant_id|exp|nbf|iat|type|sub|alg|kid|typ|crit)",
        value in r#"(-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?|"[^"\\[:cntrl:]]{0,300}"|null|true|\[\]|\{\})"#,
        seconds in -377_705_023_201_i64..253_402_207_200,
    ) {
        let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let object = format!(r#"{{"{name}":{value}}}"#);
        let text = format!("{}.{}.", b64(&object), b64(&object));
        let found = inspect(&text, Timestamp::from_second(seconds).unwrap()).unwrap();
        prop_assert!(serde_json::to_value(&found).is_ok());
        prop_assert!(found.warnings.is_sorted_by_key(|warning| warning.severity));
    }
}
