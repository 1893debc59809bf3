//! Resources: what belongs to one tenant does not exist for the other, whatever a request says.

use std::collections::BTreeSet;

use reqwest::Method;
use uuid::Uuid;

use super::session::{DIRECTIONS, Session};
use super::talk::{Answer, Extra, Talk};
use crate::isolation::model::Severity;

pub(super) const NO_WRITES: &str =
    "it makes a resource in each probe tenant, which was not allowed (--probe-writes)";

pub(super) async fn run(session: &mut Session<'_>) {
    headers(session).await;
    other_places(session).await;
    foreign_ids(session).await;
    lists(session).await;
    idempotency(session).await;
    caching(session).await;
    manager(session).await;
    key_scope(session).await;
    refusals(session).await;
}

/// Concludes a check that was tried in both directions.
pub(super) async fn conclude(
    session: &mut Session<'_>,
    id: &'static str,
    tried: usize,
    unclear: Vec<String>,
) {
    let found = session
        .outcome
        .findings
        .iter()
        .any(|finding| finding.check == id);
    let reason = match session.served().await {
        Err(reason) => Some(reason),
        Ok(_) if !unclear.is_empty() => Some(unclear.join("; ")),
        Ok(_) if tried == 0 => Some("neither tenant has anything to be seen".into()),
        Ok(_) => None,
    };
    match reason {
        Some(reason) if !found => session.outcome.unproven(id, reason),
        _ => session.outcome.tried(id, tried),
    }
}

/// JW-08: a tenant in a header changes nothing.
async fn headers(session: &mut Session<'_>) {
    if !session.wants("JW-08") {
        return;
    }
    let (mut tried, mut unclear) = (0, Vec::new());
    for (me, other) in DIRECTIONS {
        let Some(path) = session.path(me, 0) else {
            continue;
        };
        let theirs = session.only_of(other, 0);
        if theirs.is_empty() {
            continue;
        }
        let (own, id) = (
            session.tenants[me].id.clone(),
            session.tenants[other].id.clone(),
        );
        let names = [
            "X-Tenant-Id",
            "X-Tenant-ID",
            "x-tenant",
            "Tenant-Id",
            "md-tenant-id",
            "X-Forwarded-Tenant",
        ];
        let mut variants: Vec<(String, Vec<String>)> = names
            .iter()
            .map(|name| ((*name).to_owned(), vec![id.clone()]))
            .collect();
        variants.push(("X-Tenant-Id".into(), vec![own, id]));
        let mut leaks = Vec::new();
        for (name, values) in variants {
            let mut extra = session.extra(me);
            let twice = if values.len() > 1 { " twice" } else { "" };
            extra
                .headers
                .extend(values.into_iter().map(|value| (name.clone(), value)));
            match more(session, me, &path, &extra, &theirs).await {
                Ok(true) => leaks.push(format!("{name}{twice}")),
                Ok(false) => tried += 1,
                Err(reason) => unclear.push(format!("{name}{twice}: {reason}")),
            }
        }
        if !leaks.is_empty() {
            let object = format!("GET {}", session.collection(0).list);
            let evidence = format!(
                "the other tenant's resources are shown with {}",
                leaks.join(", ")
            );
            session.find("JW-08", (me, other), &object, evidence, None);
        }
    }
    conclude(session, "JW-08", tried, unclear).await;
}

/// Returns true when a request shows what the same request without anything odd does not.
async fn more(
    session: &Session<'_>,
    me: usize,
    path: &str,
    extra: &Extra,
    theirs: &BTreeSet<String>,
) -> Result<bool, String> {
    let plain = session.list(me, 0).await?;
    let authorization = &session.tenants[me].authorization;
    let answer = session
        .talk
        .send(&Method::GET, path, Some(authorization), extra)
        .await?;
    match answer.status {
        200..300 => {
            let shown = session.ids(0, &answer).ok_or("the answer is no list")?;
            Ok(shown
                .iter()
                .any(|id| theirs.contains(id) && !plain.contains(id)))
        }
        // Refused is as good as ignored.
        400 | 401 | 403 | 404 | 422 => Ok(false),
        _ => Err(format!("answered {}", answer.words())),
    }
}

/// JW-09: nor in the query, nor in the body.
async fn other_places(session: &mut Session<'_>) {
    if !session.wants("JW-09") {
        return;
    }
    let (mut tried, mut unclear) = (0, Vec::new());
    for (me, other) in DIRECTIONS {
        let Some(path) = session.path(me, 0) else {
            continue;
        };
        let theirs = session.only_of(other, 0);
        if theirs.is_empty() {
            continue;
        }
        let id = session.tenants[other].id.clone();
        let mut leaks = Vec::new();
        for name in ["tenantId", "tenant_id", "tenant"] {
            let path = format!("{path}?{name}={id}");
            let extra = session.extra(me);
            match more(session, me, &path, &extra, &theirs).await {
                Ok(true) => leaks.push(format!("query `{name}`")),
                Ok(false) => tried += 1,
                Err(reason) => unclear.push(format!("query `{name}`: {reason}")),
            }
        }
        if session.target.means.writes && session.collection(0).create.is_some() {
            let marker = format!("lerianctl-probe-{}", Uuid::new_v4().simple());
            let field = Some(("tenantId", id.as_str()));
            if let Ok(answer) = session.post(me, 0, &marker, None, field).await
                && let Ok(made) = session.made_of(me, 0, &marker, &answer)
            {
                let shown = async |side: usize| {
                    let list = session.list(side, 0).await;
                    list.is_ok_and(|ids| ids.contains(&made.id))
                };
                if shown(other).await && !shown(me).await {
                    leaks.push("body field `tenantId`".into());
                }
                tried += 1;
                session.remove(&made).await;
            }
        }
        if !leaks.is_empty() {
            let object = session.collection(0).list.clone();
            let evidence = format!("the tenant is taken from {}", leaks.join(", "));
            session.find("JW-09", (me, other), &object, evidence, None);
        }
    }
    conclude(session, "JW-09", tried, unclear).await;
}

/// JW-10: another's id is answered as one that nobody has.
async fn foreign_ids(session: &mut Session<'_>) {
    if !session.wants("JW-10") {
        return;
    }
    let (mut tried, mut unclear) = (0, Vec::new());
    for at in 0..session.target.recipe.collection.len() {
        for (me, other) in DIRECTIONS {
            let Some(id) = foreign(session, other, at) else {
                continue;
            };
            // Under the owner's parents, and under mine.
            let mut paths: Vec<(String, String)> = Vec::new();
            for parents in [other, me] {
                let random = random_like(&id);
                let of = |id: &str| session.path_of(parents, at, id);
                if let (Some(path), Some(nothing)) = (of(&id), of(&random))
                    && !paths.iter().any(|(known, _)| *known == path)
                {
                    paths.push((path, nothing));
                }
            }
            for (path, nothing) in paths {
                match foreign_id(session, (me, other), at, &path, &nothing).await {
                    Ok(()) => tried += 1,
                    Err(reason) => unclear.push(reason),
                }
            }
            tried += usize::from(delete_foreign(session, (me, other), at).await);
        }
    }
    conclude(session, "JW-10", tried, unclear).await;
}

/// Returns an id that only `side` has, one that was made when there is.
fn foreign(session: &Session<'_>, side: usize, at: usize) -> Option<String> {
    let made = session.made_by(side, at).next().map(|made| made.id.clone());
    made.or_else(|| session.only_of(side, at).into_iter().next_back())
}

/// Returns an id of the same form that nobody has.
fn random_like(id: &str) -> String {
    match Uuid::try_parse(id) {
        Ok(uuid) if uuid.get_version_num() == 7 => Uuid::now_v7().to_string(),
        Ok(_) if id.len() == 36 => Uuid::new_v4().to_string(),
        Ok(_) => Uuid::new_v4().simple().to_string(),
        Err(_) => format!("{}0", &id[..id.len().saturating_sub(1)]),
    }
}

async fn foreign_id(
    session: &mut Session<'_>,
    (me, other): (usize, usize),
    at: usize,
    path: &str,
    nothing: &str,
) -> Result<(), String> {
    let theirs = foreign(session, other, at).unwrap_or_default();
    let own_path = session.path_of(other, at, &theirs).unwrap_or_default();
    let control = session.get(other, &own_path).await?;
    if !control.is_ok() {
        return Err(format!("the owner itself is answered {}", control.words()));
    }
    let answer = session.get(me, path).await?;
    let random = session.get(me, nothing).await?;
    let control = session.get(other, &own_path).await?;
    if !control.is_ok() {
        return Err(format!("the owner itself is answered {}", control.words()));
    }
    let object = format!("GET {}", session.collection(at).one);
    if answer.is_ok() {
        let evidence = format!(
            "an id of {} is answered {}",
            session.tenants[other].name, answer.status
        );
        session.find("JW-10", (me, other), &object, evidence, None);
        return Ok(());
    }
    for answer in [&answer, &random] {
        if answer.status == 429 || answer.status >= 500 {
            return Err(format!("{object}: answered {}", answer.words()));
        }
    }
    let plain = |answer: &Answer, path: &str| {
        let id = path.rsplit('/').next().unwrap_or_default();
        (answer.status, answer.body.replace(id, "ID"))
    };
    if plain(&answer, path) != plain(&random, nothing) {
        let evidence = format!(
            "an id of {} is answered {}, one that nobody has {}: it tells which ids there are",
            session.tenants[other].name,
            answer.words(),
            random.words()
        );
        session.find(
            "JW-10",
            (me, other),
            &object,
            evidence,
            Some(Severity::High),
        );
    }
    Ok(())
}

/// Tries to remove the other tenant's probe resource; true when that was tried.
async fn delete_foreign(session: &mut Session<'_>, (me, other): (usize, usize), at: usize) -> bool {
    let Some(made) = session.made_by(other, at).next().cloned() else {
        return false;
    };
    if !session.collection(at).removable {
        return false;
    }
    let Some(path) = session.path_of(other, at, &made.id) else {
        return false;
    };
    let (authorization, extra) = (session.tenants[me].authorization.clone(), session.extra(me));
    let sent = session
        .talk
        .send(&Method::DELETE, &path, Some(&authorization), &extra)
        .await;
    let still = session.get(other, &path).await;
    if still.is_ok_and(|answer| answer.status == 404) {
        let words = sent.map(|answer| answer.words()).unwrap_or_default();
        let object = format!("DELETE {}", session.collection(at).one);
        let evidence = format!("it is answered {words}, and the resource is gone");
        session.find("JW-10", (me, other), &object, evidence, None);
    }
    true
}

/// JW-11: lists, filters and pages hold only what is one's own.
async fn lists(session: &mut Session<'_>) {
    if !session.wants("JW-11") {
        return;
    }
    let (mut tried, mut unclear) = (0, Vec::new());
    for at in 0..session.target.recipe.collection.len() {
        let list = |side: usize| session.tenants[side].lists.get(at).cloned().flatten();
        let (Some(first), Some(second)) = (list(0), list(1)) else {
            continue;
        };
        if !first.is_empty() && !second.is_empty() {
            tried += 1;
        }
        let both = first.intersection(&second).count();
        let object = format!("GET {}", session.collection(at).list);
        if both > 0 {
            for direction in DIRECTIONS {
                let evidence = format!("{both} resources stand in the lists of both tenants");
                session.find("JW-11", direction, &object, evidence, None);
            }
            continue;
        }
        for (me, other) in DIRECTIONS {
            let theirs = session.only_of(other, at);
            if theirs.is_empty() {
                continue;
            }
            for (what, query) in queries(session, other, at).await {
                let Some(path) = session.path(me, at) else {
                    continue;
                };
                match session.get(me, &format!("{path}?{query}")).await {
                    Ok(answer) if answer.is_ok() => {
                        let shown = session.ids(at, &answer).unwrap_or_default();
                        let leaked = shown.intersection(&theirs).count();
                        tried += 1;
                        if leaked > 0 {
                            let evidence = format!("{what} shows {leaked} of the other tenant's");
                            session.find("JW-11", (me, other), &object, evidence, None);
                        }
                    }
                    Ok(answer) if (400..500).contains(&answer.status) && answer.status != 429 => {
                        tried += 1;
                    }
                    Ok(answer) => unclear.push(format!("{what}: answered {}", answer.words())),
                    Err(reason) => unclear.push(format!("{what}: {reason}")),
                }
            }
        }
    }
    conclude(session, "JW-11", tried, unclear).await;
}

/// Queries that would show `other`'s resources to whoever is not kept apart.
async fn queries(session: &Session<'_>, other: usize, at: usize) -> Vec<(&'static str, String)> {
    let collection = session.collection(at);
    let mut queries = vec![("sorted the other way", "sort_order=asc&sort=asc".to_owned())];
    if let (Some(filter), Some(made)) = (&collection.filter, session.made_by(other, at).next()) {
        queries.push(("the filter", filter.replace("{marker}", &made.marker)));
    }
    if let (Some(page), Some(key), Some(path)) = (
        &collection.page,
        &collection.cursor,
        session.path(other, at),
    ) && let Ok(answer) = session.get(other, &format!("{path}?{page}")).await
        && let Some(cursor) = answer.json()[key.as_str()].as_str()
    {
        queries.push(("the other's cursor", format!("cursor={cursor}")));
    }
    queries
}

/// JW-12: an idempotency key of one tenant means nothing to the other.
async fn idempotency(session: &mut Session<'_>) {
    if !session.wants("JW-12") {
        return;
    }
    if session.target.recipe.idempotency_header.is_none() {
        return session
            .outcome
            .skip("JW-12", "the recipe names no idempotency header");
    }
    if session.collection(0).create.is_none() {
        return session
            .outcome
            .skip("JW-12", "the recipe makes no resource");
    }
    if !session.target.means.writes {
        return session.outcome.skip("JW-12", NO_WRITES);
    }
    let (mut tried, mut unclear) = (0, Vec::new());
    for (me, other) in DIRECTIONS {
        match one_key(session, me, other).await {
            Ok(()) => tried += 1,
            Err(reason) => unclear.push(reason),
        }
    }
    conclude(session, "JW-12", tried, unclear).await;
}

async fn one_key(session: &mut Session<'_>, me: usize, other: usize) -> Result<(), String> {
    let key = format!("lerianctl-probe-{}", Uuid::new_v4().simple());
    let marker = |who: &str| format!("lerianctl-probe-{who}-{}", Uuid::new_v4().simple());
    let (mine, theirs) = (marker("a"), marker("b"));
    let first = session.post(me, 0, &mine, Some(&key), None).await?;
    let made = session.made_of(me, 0, &mine, &first)?;
    let foreign = session.post(other, 0, &theirs, Some(&key), None).await;
    let again = session.post(me, 0, &mine, Some(&key), None).await;
    let object = format!("POST {}", session.collection(0).list);
    let mut result = Ok(());
    if let Ok(answer) = &foreign {
        if answer.body.contains(&mine) || answer.body.contains(&made.id) {
            let evidence =
                "the answer to the first tenant is given to the second, which used the same key";
            session.find("JW-12", (other, me), &object, evidence.into(), None);
        } else if answer.status == 409 {
            let evidence = "the key is taken: the other tenant used it (409)";
            session.find(
                "JW-12",
                (other, me),
                &object,
                evidence.into(),
                Some(Severity::High),
            );
        } else if let Ok(of_other) = session.made_of(other, 0, &theirs, answer) {
            session.remove(&of_other).await;
        } else {
            result = Err(format!("the second tenant is answered {}", answer.words()));
        }
    }
    match again {
        // The positive control: the key does what it is for.
        Ok(answer) if answer.body.contains(&made.id) => {}
        Ok(answer) => {
            if let Ok(twice) = session.made_of(me, 0, &mine, &answer) {
                session.remove(&twice).await;
            }
            result =
                Err("the product does not heed the key here: the same request made two".into());
        }
        Err(reason) => result = Err(reason),
    }
    session.remove(&made).await;
    foreign?;
    result
}

/// JW-13: nothing between may keep an answer.
async fn caching(session: &mut Session<'_>) {
    if !session.wants("JW-13") {
        return;
    }
    let path = session.path(0, 0).unwrap_or_default();
    match session.get(0, &path).await {
        Ok(answer) if answer.is_ok() => {
            session.outcome.tried("JW-13", 1);
            let all = answer.headers.get_all("cache-control").iter();
            let said: Vec<&str> = all.filter_map(|value| value.to_str().ok()).collect();
            let said = said.join(", ").to_ascii_lowercase();
            let kept_back = said.contains("no-store") || said.contains("private");
            if !kept_back || said.contains("public") || said.contains("s-maxage") {
                let evidence = match said.as_str() {
                    "" => "there is no Cache-Control".to_owned(),
                    said => format!("Cache-Control: {said}"),
                };
                let object = format!("GET {}", session.collection(0).list);
                session.find("JW-13", (1, 0), &object, evidence, None);
            }
        }
        Ok(answer) => session
            .outcome
            .unproven("JW-13", format!("answered {}", answer.words())),
        Err(reason) => session.outcome.unproven("JW-13", reason),
    }
}

/// JW-24: passwords are told to nobody without a key.
async fn manager(session: &mut Session<'_>) {
    if !session.wants("JW-24") {
        return;
    }
    let Some(manager) = session.target.means.manager.clone() else {
        return session
            .outcome
            .skip("JW-24", "no Tenant Manager is known here (--server)");
    };
    let tenant = &session.tenants[1].id;
    let service = &session.target.recipe.service;
    let path = format!("/v1/tenants/{tenant}/associations/{service}/connections");
    let outcome = async {
        let talk = Talk::new(&manager.base)?;
        let ask = async |key: Option<&str>| {
            let mut extra = Extra::default();
            extra
                .headers
                .extend(key.map(|key| ("X-API-Key".to_owned(), key.to_owned())));
            talk.send(&Method::GET, &path, None, &extra).await
        };
        let control = async || match ask(Some(manager.key.expose())).await {
            Ok(answer) if answer.is_ok() => Ok(()),
            Ok(answer) => Err(format!(
                "with its own key the Tenant Manager answers {}",
                answer.words()
            )),
            Err(reason) => Err(reason),
        };
        control().await?;
        let wrong = "0".repeat(64);
        let mut open = Vec::new();
        for (name, key) in [
            ("no key", None),
            ("an empty key", Some("")),
            ("a wrong key", Some(wrong.as_str())),
        ] {
            let answer = ask(key).await?;
            match answer.status {
                401 | 403 => {}
                200..300 => open.push(format!("{name}: {}", answer.status)),
                _ => return Err(format!("{name}: answered {}", answer.words())),
            }
        }
        control().await?;
        Ok::<_, String>(open)
    };
    match outcome.await {
        Ok(open) => {
            session.outcome.tried("JW-24", 3);
            if !open.is_empty() {
                let object = "GET /v1/tenants/{id}/associations/{service}/connections";
                session.find("JW-24", (0, 1), object, open.join("; "), None);
            }
        }
        Err(reason) => session.outcome.unproven("JW-24", reason),
    }
}

/// JW-25: a product's key is for that product.
async fn key_scope(session: &mut Session<'_>) {
    const ID: &str = "JW-25";
    if !session.wants(ID) {
        return;
    }
    let manager = session.target.means.manager.clone();
    let Some((manager, key)) = manager.and_then(|m| Some((m.clone(), m.service_key?))) else {
        let reason = "no key of the product itself was given (--service-key-file)";
        return session.outcome.skip(ID, reason);
    };
    if manager.other_services.is_empty() {
        let reason = "the second tenant has no other service that is known here";
        return session.outcome.skip(ID, reason);
    }
    let tenant = session.tenants[1].id.clone();
    let own = session.target.recipe.service.clone();
    let outcome = async {
        let talk = Talk::new(&manager.base)?;
        let ask = async |service: &str| {
            let path = format!("/v1/tenants/{tenant}/associations/{service}/connections");
            let mut extra = Extra::default();
            let header = ("X-API-Key".to_owned(), key.expose().to_owned());
            extra.headers.push(header);
            talk.send(&Method::GET, &path, None, &extra).await
        };
        let control = async || {
            let answer = ask(&own).await?;
            let words = answer.words();
            answer.is_ok().then_some(()).ok_or_else(|| {
                format!("with the product's key its own connections are answered {words}")
            })
        };
        control().await?;
        let mut open = Vec::new();
        for service in &manager.other_services {
            let answer = ask(service).await?;
            match answer.status {
                401 | 403 | 404 => {}
                200..300 => open.push(service.clone()),
                _ => return Err(format!("{service}: answered {}", answer.words())),
            }
        }
        control().await?;
        Ok::<_, String>(open)
    };
    match outcome.await {
        Ok(open) => {
            session.outcome.tried(ID, manager.other_services.len());
            if !open.is_empty() {
                let object = format!("key of {own}");
                let evidence = format!("it is told the connections of {}", open.join(", "));
                session.find(ID, (1, 1), &object, evidence, None);
            }
        }
        Err(reason) => session.outcome.unproven(ID, reason),
    }
}

/// What a refusal must not hold: addresses of databases, and the words of their drivers.
const GIVE_AWAY: [&str; 10] = [
    "postgres://",
    "postgresql://",
    "mongodb://",
    "amqp://",
    "redis://",
    "password=",
    "SQLSTATE",
    "dial tcp",
    "pq: ",
    "search_path",
];

/// JW-23: refusals say nothing about what is behind. Reads those of the whole run.
async fn refusals(session: &mut Session<'_>) {
    if !session.wants("JW-23") {
        return;
    }
    // A few more, of the kinds that reach a database.
    let path = session.path(0, 0).unwrap_or_default();
    for odd in ["'", "%00", "00000000-0000-0000-0000-000000000000"] {
        let one = session.collection(0).one.replace("{id}", odd);
        let _ = session.get(0, &one).await;
    }
    for query in ["limit=x'", "limit=-1", "cursor=x'", "sort_order=x'"] {
        let _ = session.get(0, &format!("{path}?{query}")).await;
    }
    let refusals = session.talk.refusals();
    if refusals.is_empty() {
        return session
            .outcome
            .unproven("JW-23", "nothing was refused, so there is nothing to read");
    }
    session.outcome.tried("JW-23", refusals.len());
    let mut told = BTreeSet::new();
    for (what, body) in &refusals {
        let names = session.target.inner_names.iter().map(String::as_str);
        let names = names.filter(|name| name.len() > 5);
        for word in GIVE_AWAY.into_iter().chain(names) {
            if body.contains(word) {
                let asked = what.split('?').next().unwrap_or(what);
                told.insert(format!("{word} ({asked})"));
            }
        }
    }
    if !told.is_empty() {
        let evidence: Vec<String> = told.into_iter().take(5).collect();
        session.find("JW-23", (0, 0), "error bodies", evidence.join("; "), None);
    }
}
