//! Tokens that must be refused, and claims that must not count.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::forge::Parts;
use super::objects::conclude;
use super::session::{DIRECTIONS, Session};
use super::talk::{Answer, Extra, Talk};

const NO_SIGNER: &str = "only a properly signed token gets as far as this: give the key that signs \
                         tokens on a test deployment (--token-key-file)";

/// What only such a token shows.
const SIGNED: [&str; 7] = [
    "CF-15", "JW-06", "JW-07", "JW-14", "JW-15", "JW-16", "JW-19",
];

/// Signs the claims of a token after a change.
type Sign<'a> = dyn Fn(&Parts, &dyn Fn(&mut Map<String, Value>)) -> String + 'a;

fn put(claims: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    claims.insert(name.to_owned(), value.into());
}

/// What an answer to a token says that must be refused.
enum Verdict {
    Refused,
    Accepted(String),
    Unclear(String),
}

/// Judges an answer. A tenant middleware that looks up the tenant of a forged token has believed
/// it, even when it then says no.
fn judge(answer: &Answer) -> Verdict {
    let code = answer.code();
    let believed = matches!(
        code.as_str(),
        "TENANT_NOT_FOUND" | "TENANT_DB_ERROR" | "0131"
    );
    match answer.status {
        200..300 => Verdict::Accepted(format!("answered {}", answer.status)),
        _ if believed => Verdict::Accepted(format!("believed, then answered {}", answer.words())),
        401 | 403 => Verdict::Refused,
        _ => Verdict::Unclear(format!("answered {}", answer.words())),
    }
}

pub(super) async fn run(session: &mut Session<'_>) {
    unsigned_and_forged(session).await;
    without_authorization(session).await;
    if session.target.means.signer.is_some() {
        signed(session).await;
    } else {
        for id in SIGNED {
            session.outcome.skip(id, NO_SIGNER);
        }
    }
    key_sets(session).await;
    suspended(session).await;
    unknown(session).await;
}

async fn unsigned_and_forged(session: &mut Session<'_>) {
    let (a, b) = (&session.tenants[0], &session.tenants[1]);
    let unsigned = b.parts.unsigned();
    let broken = b.parts.broken(&a.parts);
    let id = b.parts.claim("tenantId").to_owned();
    let swapped = a.parts.with_claims(|claims| {
        claims.insert("tenantId".into(), id.clone().into());
    });
    let own_keys = b.parts.self_keyed();
    let parts = b.parts.clone();
    refuse(session, "JW-01", unsigned).await;
    refuse(session, "JW-03", broken).await;
    refuse(
        session,
        "JW-04",
        vec![("`tenantId` exchanged".into(), swapped)],
    )
    .await;
    refuse(session, "JW-17", own_keys).await;
    if session.wants("JW-02") {
        match key_set(session.target.recipe.jwks.as_deref()).await {
            Ok(keys) => {
                let confused = parts.confused(&keys);
                if confused.is_empty() {
                    session.outcome.skip("JW-02", "the key set has no RSA key");
                }
                refuse(session, "JW-02", confused).await;
            }
            Err(reason) => session.outcome.skip("JW-02", reason),
        }
    }
}

/// Sends each token, and expects each to be refused.
async fn refuse(session: &mut Session<'_>, id: &'static str, tokens: Vec<(String, String)>) {
    let values = tokens.into_iter().map(|(name, token)| {
        let value = format!("Bearer {token}");
        (name, Some(value), Vec::new())
    });
    refuse_requests(session, id, values.collect()).await;
}

type Forged = (String, Option<String>, Vec<(String, String)>);

async fn refuse_requests(session: &mut Session<'_>, id: &'static str, forged: Vec<Forged>) {
    if !session.wants(id) || forged.is_empty() {
        return;
    }
    let Some(path) = session.path(1, 0) else {
        return;
    };
    let (mut accepted, mut unclear) = (Vec::new(), Vec::new());
    let before = session.served().await.err();
    let count = forged.len();
    for (name, authorization, headers) in forged {
        let mut extra = session.extra(1);
        extra.headers.extend(headers);
        let method = reqwest::Method::GET;
        let sent = session
            .talk
            .send(&method, &path, authorization.as_deref(), &extra)
            .await;
        match sent.as_ref().map(judge) {
            Ok(Verdict::Refused) => {}
            Ok(Verdict::Accepted(how)) => accepted.push(format!("{name}: {how}")),
            Ok(Verdict::Unclear(how)) => unclear.push(format!("{name}: {how}")),
            Err(reason) => unclear.push(format!("{name}: {reason}")),
        }
    }
    let after = session.served().await.err();
    if !accepted.is_empty() {
        let object = format!("GET {}", session.collection(0).list);
        session.outcome.tried(id, count);
        session.find(id, (0, 1), &object, accepted.join("; "), None);
    } else if let Some(reason) = before.or(after) {
        session.outcome.unproven(id, reason);
    } else if unclear.is_empty() {
        session.outcome.tried(id, count);
    } else {
        session.outcome.unproven(
            id,
            format!("neither served nor refused: {}", unclear.join("; ")),
        );
    }
}

async fn without_authorization(session: &mut Session<'_>) {
    let b = &session.tenants[1];
    let token = b.authorization.trim_start_matches("Bearer ").to_owned();
    let headers = vec![("X-Tenant-Id".to_owned(), b.id.clone())];
    let with = |name: &str, value: Option<String>| (name.to_owned(), value, Vec::new());
    let forged = vec![
        with("no header", None),
        with("empty bearer", Some("Bearer ".into())),
        with("Basic", Some("Basic YTpi".into())),
        with(
            "the token under another scheme",
            Some(format!("Token {token}")),
        ),
        ("only X-Tenant-Id".to_owned(), None, headers),
    ];
    refuse_requests(session, "JW-05", forged).await;
}

/// Probes with tokens that are signed as the good ones are.
async fn signed(session: &mut Session<'_>) {
    let signer = session.target.means.signer.clone();
    let Some(signer) = signer else { return };
    let (a, b) = (
        session.tenants[0].parts.clone(),
        session.tenants[1].parts.clone(),
    );
    let (id_a, id_b) = (session.tenants[0].id.clone(), session.tenants[1].id.clone());
    let now = jiff::Timestamp::now().as_second();
    let sign = |like: &Parts, change: &dyn Fn(&mut Map<String, Value>)| {
        let mut claims = like.claims.clone();
        claims.insert("exp".into(), (now + 600).into());
        change(&mut claims);
        signer
            .sign(like, &Value::from(claims).to_string())
            .unwrap_or_default()
    };
    let unchanged = format!("Bearer {}", sign(&b, &|_| ()));
    let path = session.path(1, 0).unwrap_or_default();
    let control = session.get_as(Some(&unchanged), 1, &path).await;
    if !control.as_ref().is_ok_and(Answer::is_ok) {
        for id in SIGNED {
            session.outcome.unproven(
                id,
                "the product does not accept what this signing key signs",
            );
        }
        return;
    }
    let with = |name: &str, value: Value| {
        let claim = value.clone();
        let token = sign(&b, &move |claims| {
            claims.insert("tenantId".into(), claim.clone());
        });
        (format!("{name}: `tenantId` {value}"), token)
    };
    let mut odd = vec![
        (
            "absent".to_owned(),
            sign(&b, &|claims| drop(claims.remove("tenantId"))),
        ),
        with("empty", json!("")),
        with("number", json!(7)),
        with("array", json!([id_b])),
        with("object", json!({ "id": id_b })),
        with("null", Value::Null),
    ];
    for (first, last) in [(&id_a, &id_b), (&id_b, &id_a)] {
        let mut claims = b.claims.clone();
        claims.insert("exp".into(), (now + 600).into());
        claims.remove("tenantId");
        let rest = Value::from(claims).to_string();
        let text = format!(
            r#"{{"tenantId":"{first}","tenantId":"{last}",{}"#,
            &rest[1..]
        );
        odd.push(("twice".into(), signer.sign(&b, &text).unwrap_or_default()));
    }
    let odd = odd
        .into_iter()
        .map(|(name, token)| (name.replace(&id_b, "B"), token))
        .collect();
    refuse(session, "JW-06", odd).await;
    let other_names = ["tenant_id", "TenantId", "tenantid", "tenant", "owner"].map(|name| {
        let id = id_b.clone();
        let token = sign(&a, &move |claims| {
            claims.remove("tenantId");
            claims.insert(name.into(), id.clone().into());
        });
        (format!("only `{name}`"), token)
    });
    refuse(session, "JW-07", other_names.to_vec()).await;
    let other_issuer = vec![
        (
            "another issuer".to_owned(),
            sign(&b, &|claims| put(claims, "iss", "https://staging.invalid")),
        ),
        (
            "another audience".to_owned(),
            sign(&b, &|claims| {
                put(claims, "aud", json!(["https://other.invalid"]));
            }),
        ),
    ];
    refuse(session, "JW-16", other_issuer).await;
    let time = |name: &str, claim: &'static str, value: Value| {
        let token = sign(&b, &move |claims| put(claims, claim, value.clone()));
        (name.to_owned(), token)
    };
    let times = vec![
        time("over for 90 s", "exp", json!(now - 90)),
        time("over since 1970", "exp", json!(1)),
        time("begins in an hour", "nbf", json!(now + 3600)),
        time("`exp` is text", "exp", json!("tomorrow")),
        time("`exp` is null", "exp", Value::Null),
    ];
    refuse(session, "JW-19", times).await;
    nobody(session, &sign).await;
    spellings(session, &sign).await;
}

/// CF-15: whoever has no pool of its own gets no other.
async fn nobody(session: &mut Session<'_>, sign: &Sign<'_>) {
    const ID: &str = "CF-15";
    if !session.wants(ID) {
        return;
    }
    let b = session.tenants[1].parts.clone();
    let before = session.served().await.err();
    let (mut tried, mut unclear) = (0, before.into_iter().collect::<Vec<_>>());
    for at in 0..session.target.recipe.collection.len() {
        let listed = session.tenants[1]
            .lists
            .get(at)
            .is_some_and(Option::is_some);
        let Some(path) = session.path(1, at).filter(|_| listed) else {
            continue;
        };
        let object = format!("GET {}", session.collection(at).list);
        for _ in 0..2 {
            let id = Uuid::new_v4().simple().to_string();
            let token = sign(&b, &|claims| {
                put(claims, "tenantId", id.clone());
                claims.remove("tenantSlug");
            });
            let value = format!("Bearer {token}");
            match session.get_as(Some(&value), 1, &path).await {
                Ok(answer) if answer.is_ok() => {
                    let evidence =
                        format!("a tenant that there is not is answered {}", answer.status);
                    session.find(ID, (0, 1), &object, evidence, None);
                    tried += 1;
                }
                // Whichever way it refuses: the second tenant is served before and after.
                Ok(answer) if answer.status >= 400 && ![408, 429].contains(&answer.status) => {
                    tried += 1;
                }
                Ok(answer) => unclear.push(format!("{object}: answered {}", answer.words())),
                Err(reason) => unclear.push(format!("{object}: {reason}")),
            }
        }
    }
    conclude(session, ID, tried, unclear).await;
}

/// One tenant in every spelling of its id, and no other in any.
async fn spellings(session: &mut Session<'_>, sign: &Sign<'_>) {
    session.outcome.skip(
        "JW-15",
        "both ids are UUIDs, whose spellings are those of JW-14",
    );
    let id = session.tenants[1].id.clone();
    let Ok(uuid) = Uuid::try_parse(&id) else {
        session
            .outcome
            .skip("JW-14", "the ids of these tenants are no UUIDs");
        let swapped: String = id.chars().map(swap_case).collect();
        if swapped == id {
            return;
        }
        session.outcome.skipped.remove("JW-15");
        let b = session.tenants[1].parts.clone();
        let token = sign(&b, &|claims| put(claims, "tenantId", swapped.clone()));
        return refuse_elsewhere(session, "JW-15", vec![("other case".into(), token)]).await;
    };
    let b = session.tenants[1].parts.clone();
    let spelled = |text: String| sign(&b, &|claims| put(claims, "tenantId", text.clone()));
    let dashed = uuid.hyphenated().to_string();
    if session.wants("JW-14") {
        let own = session.served().await.map(|[_, own]| own);
        let path = session.path(1, 0).unwrap_or_default();
        for (name, text) in [
            ("dashed", dashed.clone()),
            ("upper case", id.to_uppercase()),
        ] {
            let value = format!("Bearer {}", spelled(text));
            let answer = session.get_as(Some(&value), 1, &path).await;
            let ids = answer
                .as_ref()
                .ok()
                .filter(|a| a.is_ok())
                .and_then(|a| session.ids(0, a));
            if let (Some(ids), Ok(own)) = (ids, &own)
                && ids != *own
            {
                let object = format!("GET {}", session.collection(0).list);
                let evidence = format!("the id spelled {name} leads to other data");
                session.find("JW-14", (1, 1), &object, evidence, None);
            }
        }
    }
    let odd = vec![
        ("urn", format!("urn:uuid:{dashed}")),
        ("braces", format!("{{{dashed}}}")),
        ("space at the end", format!("{id} ")),
        ("line feed at the end", format!("{id}\n")),
        ("NUL", format!("{id}\0")),
        ("dots", format!("../{id}")),
        ("257 characters", "a".repeat(257)),
        (
            "another alphabet",
            id.replacen(|c: char| c.is_ascii_digit(), "\u{ff11}", 1),
        ),
        ("percent", format!("%{:02x}{}", id.as_bytes()[0], &id[1..])),
    ];
    let odd = odd
        .into_iter()
        .map(|(name, text)| (name.to_owned(), spelled(text)))
        .collect();
    refuse_elsewhere(session, "JW-14", odd).await;
}

fn swap_case(c: char) -> char {
    if c.is_ascii_uppercase() {
        c.to_ascii_lowercase()
    } else {
        c.to_ascii_uppercase()
    }
}

/// As [`refuse`], for tokens that are rightly believed: a tenant that there is not is a refusal.
async fn refuse_elsewhere(
    session: &mut Session<'_>,
    id: &'static str,
    tokens: Vec<(String, String)>,
) {
    if !session.wants(id) {
        return;
    }
    let path = session.path(1, 0).unwrap_or_default();
    let before = session.served().await.err();
    let (mut accepted, mut unclear) = (Vec::new(), Vec::new());
    let count = tokens.len();
    for (name, token) in tokens {
        match session
            .get_as(Some(&format!("Bearer {token}")), 1, &path)
            .await
        {
            Ok(answer) if answer.is_ok() => accepted.push(name),
            Ok(answer) if matches!(answer.status, 400 | 401 | 403 | 404) => {}
            Ok(answer) => unclear.push(format!("{name}: answered {}", answer.words())),
            Err(reason) => unclear.push(format!("{name}: {reason}")),
        }
    }
    let after = session.served().await.err();
    if !accepted.is_empty() {
        session.outcome.tried(id, count);
        let object = format!("GET {}", session.collection(0).list);
        let evidence = format!("served: {}", accepted.join(", "));
        session.find(id, (0, 1), &object, evidence, None);
    } else if let Some(reason) = before.or(after) {
        session.outcome.unproven(id, reason);
    } else if unclear.is_empty() {
        session.outcome.tried(id, count);
    } else {
        session.outcome.unproven(
            id,
            format!("neither served nor refused: {}", unclear.join("; ")),
        );
    }
}

/// Fetches a key set.
async fn key_set(address: Option<&str>) -> Result<Value, String> {
    let address = address.ok_or("the recipe names no key set (jwks)")?;
    let url: url::Url = address
        .parse()
        .map_err(|_| "`jwks` is not a URL".to_owned())?;
    let mut base = url.clone();
    base.set_path("");
    base.set_query(None);
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let answer = Talk::new(&base)?
        .send(&reqwest::Method::GET, path, None, &Extra::default())
        .await?;
    let keys = answer.json();
    if !answer.is_ok() || !keys["keys"].is_array() {
        return Err(format!(
            "{address} is answered {} and holds no keys",
            answer.status
        ));
    }
    Ok(keys)
}

async fn key_sets(session: &mut Session<'_>) {
    if !session.wants("JW-18") {
        return;
    }
    let recipe = &session.target.recipe;
    let Some(other) = recipe.other_environment_jwks.as_deref() else {
        let reason = "the recipe names no key set of another environment (other-environment-jwks)";
        return session.outcome.skip("JW-18", reason);
    };
    let material = |keys: &Value| -> std::collections::BTreeSet<String> {
        let keys = keys["keys"].as_array().cloned().unwrap_or_default();
        let of = |key: &Value| Some(key.get("n").or_else(|| key.get("x"))?.as_str()?.to_owned());
        keys.iter().filter_map(of).collect()
    };
    match (
        key_set(recipe.jwks.as_deref()).await,
        key_set(Some(other)).await,
    ) {
        (Ok(own), Ok(theirs)) => {
            session.outcome.tried("JW-18", 1);
            let shared = material(&own).intersection(&material(&theirs)).count();
            if shared > 0 {
                let evidence = format!("{shared} keys stand in both key sets");
                session.find("JW-18", (0, 1), "key set", evidence, None);
            }
        }
        (Err(reason), _) | (_, Err(reason)) => session.outcome.unproven("JW-18", reason),
    }
}

async fn suspended(session: &mut Session<'_>) {
    if !session.wants("JW-20") {
        return;
    }
    let Some(token) = &session.target.means.suspended else {
        let reason = "no token of a suspended tenant was given (--suspended-token-file)";
        return session.outcome.skip("JW-20", reason);
    };
    let value = format!("Bearer {}", token.expose().trim());
    let path = session.collection(0).list.clone();
    let before = session.served().await.err();
    let answer = session.get_as(Some(&value), 1, &path).await;
    match answer {
        Ok(answer) if answer.is_ok() => {
            session.outcome.tried("JW-20", 1);
            let evidence = format!("a suspended tenant is answered {}", answer.status);
            session.find("JW-20", (0, 0), &format!("GET {path}"), evidence, None);
        }
        Ok(answer) if answer.status == 403 && before.is_none() => session.outcome.tried("JW-20", 1),
        Ok(answer) => {
            let words = answer.words();
            session.outcome.unproven(
                "JW-20",
                format!("the suspended tenant is answered {words}, not 403"),
            );
        }
        Err(reason) => session.outcome.unproven("JW-20", reason),
    }
}

/// To a stranger, a tenant that there is and one that there is not are the same.
async fn unknown(session: &mut Session<'_>) {
    if !session.wants("JW-21") {
        return;
    }
    let (id, parts) = (
        session.tenants[1].id.clone(),
        session.tenants[1].parts.clone(),
    );
    let path = session.path(1, 0).unwrap_or_default();
    let random = Uuid::new_v4().simple().to_string();
    let before = session.served().await.err();
    let mut answers = Vec::new();
    for tenant in [&id, &random] {
        let token = parts.with_claims(|claims| {
            claims.insert("tenantId".into(), tenant.clone().into());
            // Another claim too, so that the signature is wrong for both.
            claims.insert("jti".into(), "stranger".into());
        });
        let answer = session
            .get_as(Some(&format!("Bearer {token}")), 1, &path)
            .await;
        answers.push(answer.map(|answer| {
            let body = answer.body.replace(tenant.as_str(), "ID");
            (answer.status, body, answer.words())
        }));
    }
    let after = session.served().await.err();
    match (&answers[0], &answers[1]) {
        (Ok(known), Ok(unknown)) if (known.0, &known.1) != (unknown.0, &unknown.1) => {
            session.outcome.tried("JW-21", 2);
            let evidence = format!(
                "without a good signature a tenant that there is gets {}, one that there is not {}",
                known.2, unknown.2
            );
            session.find(
                "JW-21",
                DIRECTIONS[0],
                &format!("GET {path}"),
                evidence,
                None,
            );
        }
        (Ok(_), Ok(_)) => match before.or(after) {
            Some(reason) => session.outcome.unproven("JW-21", reason),
            None => session.outcome.tried("JW-21", 2),
        },
        (Err(reason), _) | (_, Err(reason)) => session.outcome.unproven("JW-21", reason.clone()),
    }
}
