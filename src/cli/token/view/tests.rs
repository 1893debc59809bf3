//! What a person sees of a token, at two widths and without colours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;

use super::super::inspect::InspectReport;
use super::super::resolve::{Resolution, Tier};
use crate::contract::ServiceName;
use crate::contract::catalogue::Catalogue;
use crate::output::{Report as _, View};
use crate::token::{Route, RouteAnswer, inspect, route, tenant_to_ask_for};

const NOW: i64 = 1_772_452_800;

fn report(header: &str, claims: &str) -> InspectReport {
    let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let text = format!("{}.{}.c2ln", b64(header), b64(claims));
    let now = Timestamp::from_second(NOW).unwrap();
    InspectReport {
        token: inspect(&text, now).unwrap(),
        verified: false,
        verification: None,
        resolution: None,
    }
}

fn routed(mut report: InspectReport, service: &str, answer: &RouteAnswer) -> InspectReport {
    let service: ServiceName = service.parse().unwrap();
    let catalogue = Catalogue::default();
    let asked = tenant_to_ask_for(&report.token).is_ok();
    let route: Route = route(&report.token, &service, catalogue.get(&service), answer);
    report.resolution = Some(Resolution {
        service,
        age_seconds: asked.then_some(0),
        tier: if asked {
            Tier::TenantManager
        } else {
            Tier::NotAsked
        },
        cause: None,
        route,
    });
    report
}

fn shown(report: &InspectReport, width: u16) -> String {
    let mut view = View::new(Some(width), false);
    report.human(&mut view).unwrap();
    let text = view.into_text();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn ordinary() -> InspectReport {
    let answer: RouteAnswer = RouteAnswer::Connections(Box::new(
        serde_json::from_value(json!({
            "id": "7b0e1c5a9f3d4b62a1c8e4d7f0936b21",
            "isolationMode": "isolated",
            "databases": {
                "onboarding": {"postgresql": {"host": "pg-rw.data.svc", "port": 5432, "database": "ledger_onboarding_7b0e1c5a",
                    "username": "u_7b0e1c5a_a", "password": "s3cr3t", "sslmode": "require"}},
                "transaction": {"postgresql": {"host": "pg-rw.data.svc", "port": 5432, "database": "ledger_transaction_7b0e1c5a",
                    "username": "u_7b0e1c5a_a", "password": "s3cr3t", "sslmode": "require"}}
            }
        }))
        .unwrap(),
    ));
    let claims = format!(
        r#"{{"iss":"https://auth.example","sub":"5f0c","owner":"banco-aurora","type":"normal-user","tenantId":"7b0e1c5a9f3d4b62a1c8e4d7f0936b21","tenantSlug":"banco-aurora","iat":{NOW},"exp":{},"scope":"{}"}}"#,
        NOW + 720,
        "openid profile email ".repeat(12)
    );
    let report = report(
        r#"{"alg":"RS256","typ":"JWT","kid":"cert-built-in"}"#,
        &claims,
    );
    routed(report, "ledger", &answer)
}

fn hostile() -> InspectReport {
    let claims = format!(
        r#"{{"tenantId":"7b0e1c5a9f3d4b62a1c8e4d7f0936b21","tenantId":"\u001b[31m../x","TenantID":7,"tenant_id":"0c4d2e6b8a1f4c7390ab5de1f2c3b4a5","exp":{}}}"#,
        NOW - 3 * 86_400
    );
    let report = report(
        r#"{"alg":"none","jku":"https://evil.example/keys"}"#,
        &claims,
    );
    routed(report, "tracer", &RouteAnswer::NotFound)
}

#[test]
fn an_ordinary_token_at_100_columns() {
    insta::assert_snapshot!(shown(&ordinary(), 100), @r#"
tenant: 7b0e1c5a9f3d4b62a1c8e4d7f0936b21
slug:   banco-aurora
bearer: a person, type normal-user, subject 5f0c, owner banco-aurora
issuer: https://auth.example
valid, expires in 12 minutes
signature NOT verified: no key was given (RS256, key cert-built-in)

header
  alg  RS256
  typ  JWT
  kid  cert-built-in

claims
  iss         https://auth.example
  sub         5f0c
  owner       banco-aurora
  type        normal-user
  tenantId    7b0e1c5a9f3d4b62a1c8e4d7f0936b21
  tenantSlug  banco-aurora
  iat         1772452800 (2026-03-02 12:00:00 UTC)
  exp         1772453520 (2026-03-02 12:12:00 UTC)
  scope       openid profile email openid profile email openid profile email openid profile email o…

route to ledger
  served: a product would serve this request
  asked: the Tenant Manager
  onboarding: pg-rw.data.svc:5432/ledger_onboarding_7b0e1c5a, user u_7b0e1c5a_a, sslmode require
  transaction: pg-rw.data.svc:5432/ledger_transaction_7b0e1c5a, user u_7b0e1c5a_a, sslmode require
  warning  store-missing
           the answer has no MongoDB for `crm-api`, `onboarding`, `plugin-fees`, `transaction` and
           no RabbitMQ for `ledger`: a product that uses one of them answers 503
           `SERVICE_UNAVAILABLE`
           → configure these stores for the tenant before real traffic
"#);
}

#[test]
fn an_ordinary_token_at_60_columns() {
    insta::assert_snapshot!(shown(&ordinary(), 60), @r#"
tenant: 7b0e1c5a9f3d4b62a1c8e4d7f0936b21
slug:   banco-aurora
bearer: a person, type normal-user, subject 5f0c, owner banco-aurora
issuer: https://auth.example
valid, expires in 12 minutes
signature NOT verified: no key was given (RS256, key cert-built-in)

header
  alg  RS256
  typ  JWT
  kid  cert-built-in

claims
  iss         https://auth.example
  sub         5f0c
  owner       banco-aurora
  type        normal-user
  tenantId    7b0e1c5a9f3d4b62a1c8e4d7f0936b21
  tenantSlug  banco-aurora
  iat         1772452800 (2026-03-02 12:00:00 UTC)
  exp         1772453520 (2026-03-02 12:12:00 UTC)
  scope       openid profile email openid profile email ope…

route to ledger
  served: a product would serve this request
  asked: the Tenant Manager
  onboarding:
  pg-rw.data.svc:5432/ledger_onboarding_7b0e1c5a, user
  u_7b0e1c5a_a, sslmode require
  transaction:
  pg-rw.data.svc:5432/ledger_transaction_7b0e1c5a, user
  u_7b0e1c5a_a, sslmode require
  warning  store-missing
           the answer has no MongoDB for `crm-api`,
           `onboarding`, `plugin-fees`, `transaction` and no
           RabbitMQ for `ledger`: a product that uses one of
           them answers 503 `SERVICE_UNAVAILABLE`
           → configure these stores for the tenant before
           real traffic
"#);
}

#[test]
fn a_hostile_token_at_100_columns() {
    insta::assert_snapshot!(shown(&hostile(), 100), @r#"
tenant: none: [31m../x is refused
bearer: a machine
expired 3 days ago
signature NOT verified: no key was given (none)

header
  alg  none
  jku  https://evil.example/keys

claims
  tenantId   [31m../x
  TenantID   7
  tenant_id  0c4d2e6b8a1f4c7390ab5de1f2c3b4a5
  exp        1772193600 (2026-02-27 12:00:00 UTC)

warnings
  error    tenant-refused
           products refuse this `tenantId` with 401 `INVALID_TENANT`: only letters, digits, `-` and
           `_` are allowed, with a letter or digit first
           → have the issuer write the tenant id as 32 lower-case hex digits without dashes
  error    tenant-conflict
           `tenant_id` differs from `tenantId`: Matcher serves the tenant of `tenant_id`, every
           other product that of `tenantId`
           → have the issuer drop `tenant_id`
  error    claim-repeated
           the claim `tenantId` stands there more than once: products take the last one, another
           reader may take the first
           → do not accept this token; find out who made it
  error    claim-case
           the claim `TenantID` is not `tenantId`: products read exact names and ignore it, a reader
           that folds case (Go structures do) takes it for `tenantId`
           → have the Access Manager issue the token anew, and look into what made this one
  error    algorithm-none
           `alg` is `none`: nobody signed this token, and a product whose authorization is off
           serves it all the same
           → do not accept this token; find out who made it
  error    key-in-header
           the header brings its own key (`jku`): whoever made the token chose that key; it must be
           ignored
           → do not accept this token; find out who made it
  error    expired
           expired 3 days ago; the Access Manager and Matcher refuse it, the tenant middleware alone
           would not
           → request a new token from the Access Manager
  info     key-id-missing
           the header names no key (`kid`): a checker has to try every key, and rotation is harder
           to follow
           → have the issuer name its key
  info     type-missing
           there is no `type`: products take the bearer for a machine, with the product's editor
           role
           → have the issuer set `type`; a person's is `normal-user`

route to tracer
  refused: products refuse this `tenantId`
  the caller sees: 401 INVALID_TENANT "Unauthorized" (tenant middleware)
  asked: nobody
"#);
}

#[test]
fn a_hostile_token_at_60_columns() {
    insta::assert_snapshot!(shown(&hostile(), 60), @r#"
tenant: none: [31m../x is refused
bearer: a machine
expired 3 days ago
signature NOT verified: no key was given (none)

header
  alg  none
  jku  https://evil.example/keys

claims
  tenantId   [31m../x
  TenantID   7
  tenant_id  0c4d2e6b8a1f4c7390ab5de1f2c3b4a5
  exp        1772193600 (2026-02-27 12:00:00 UTC)

warnings
  error    tenant-refused
           products refuse this `tenantId` with 401
           `INVALID_TENANT`: only letters, digits, `-` and
           `_` are allowed, with a letter or digit first
           → have the issuer write the tenant id as 32
           lower-case hex digits without dashes
  error    tenant-conflict
           `tenant_id` differs from `tenantId`: Matcher
           serves the tenant of `tenant_id`, every other
           product that of `tenantId`
           → have the issuer drop `tenant_id`
  error    claim-repeated
           the claim `tenantId` stands there more than once:
           products take the last one, another reader may
           take the first
           → do not accept this token; find out who made it
  error    claim-case
           the claim `TenantID` is not `tenantId`: products
           read exact names and ignore it, a reader that
           folds case (Go structures do) takes it for
           `tenantId`
           → have the Access Manager issue the token anew,
           and look into what made this one
  error    algorithm-none
           `alg` is `none`: nobody signed this token, and a
           product whose authorization is off serves it all
           the same
           → do not accept this token; find out who made it
  error    key-in-header
           the header brings its own key (`jku`): whoever
           made the token chose that key; it must be ignored
           → do not accept this token; find out who made it
  error    expired
           expired 3 days ago; the Access Manager and
           Matcher refuse it, the tenant middleware alone
           would not
           → request a new token from the Access Manager
  info     key-id-missing
           the header names no key (`kid`): a checker has to
           try every key, and rotation is harder to follow
           → have the issuer name its key
  info     type-missing
           there is no `type`: products take the bearer for
           a machine, with the product's editor role
           → have the issuer set `type`; a person's is
           `normal-user`

route to tracer
  refused: products refuse this `tenantId`
  the caller sees: 401 INVALID_TENANT "Unauthorized" (tenant middleware)
  asked: nobody
"#);
}
