//! PG-207: what is made through a product lies in its own tenant's databases and nowhere else.
//!
//! The server searches its rows for markers that nobody else has; none of them is sent here. Rows
//! become text by their types' own output alone (`format`): a cast could be a tenant's function.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::objects::{NO_WRITES, conclude};
use super::session::{Made, Session};
use crate::isolation::audit::{READ_ONLY, Refusal};
use crate::isolation::inventory::{Store, operator_of};
use crate::link::postgres::{Gate, PostgresEndpoint};
use crate::secret::hex;

pub(super) const ID: &str = "PG-207";

/// How long to wait between two looks.
const STEP: Duration = Duration::from_millis(500);

/// Policies that would hide rows are errors, and so is a table that takes too long.
const CAREFULLY: &str = "BEGIN READ ONLY; SET LOCAL search_path = pg_catalog; \
                         SET LOCAL row_security = off; SET LOCAL statement_timeout = '30s'; \
                         SET LOCAL lock_timeout = '5s'";

/// The databases behind the products.
#[derive(Debug, Clone, Copy)]
pub struct Behind<'a> {
    /// What every tenant has.
    pub stores: &'a [Store],
    /// Logins of the operator, one per cluster.
    pub auditors: &'a [PostgresEndpoint],
    /// Bounds the sessions.
    pub gate: &'a Gate,
}

/// Where markers are searched.
struct Place {
    /// Whose it is, where it is one of the two tenants'.
    side: Option<usize>,
    name: String,
    endpoint: PostgresEndpoint,
    options: &'static str,
    /// The one schema that is searched; all when absent.
    only: Option<String>,
    /// Schemas that are left out.
    without: Vec<String>,
}

pub(super) async fn run(session: &mut Session<'_>, behind: &Behind<'_>) {
    if !session.wants(ID) {
        return;
    }
    let collections: Vec<usize> = (0..session.target.recipe.collection.len())
        .filter(|at| {
            let collection = session.collection(*at);
            // What has its marker from another is told from that by none of its rows.
            collection.create.is_some() && collection.marked_by.is_none()
        })
        .collect();
    if collections.is_empty() {
        return session.outcome.skip(ID, "the recipe makes no resource");
    }
    if !session.target.means.writes {
        return session.outcome.skip(ID, NO_WRITES);
    }
    let (mut places, mut unclear) = (Vec::new(), Vec::new());
    for side in 0..2 {
        let own = of_side(session, behind, side, &mut unclear);
        if own.is_empty() && unclear.is_empty() {
            let name = &session.tenants[side].name;
            let reason = format!("the databases of {name} are not known here");
            return session.outcome.skip(ID, reason);
        }
        places.extend(own);
    }
    let (nobodys, missing) = of_nobody(session, behind);
    let mut made = Vec::new();
    for at in collections {
        for side in 0..2 {
            match session.make(side, at, None).await {
                Ok(one) => made.push(one),
                Err(reason) => unclear.push(reason),
            }
        }
    }
    let tried = search(session, behind, (&places, &nobodys), &made, &mut unclear).await;
    for one in made.iter().rev() {
        session.remove(one).await;
    }
    conclude(session, ID, tried, unclear).await;
    // It is proved only where all of it was searched.
    let out_of = (tried + made.len() * missing.len()) as u64;
    session.outcome.out_of.insert(ID, out_of);
    session.outcome.not_searched.extend(missing);
}

/// Searches for what was made; returns how many times something was looked for and had to be absent.
async fn search(
    session: &mut Session<'_>,
    behind: &Behind<'_>,
    (places, nobodys): (&[Place], &[Place]),
    made: &[Made],
    unclear: &mut Vec<String>,
) -> usize {
    let patience = made
        .iter()
        .map(|made| session.collection(made.collection).later_seconds);
    let patience = Duration::from_secs(patience.max().unwrap_or_default().into());
    let begun = Instant::now();
    // What goes through a queue takes its time; its own place shows when it has arrived.
    let found = loop {
        let mut trouble = Vec::new();
        let found = look(behind, places, made, &mut trouble).await;
        let home = |at: usize| {
            let mut hits = found.iter();
            hits.any(|hit| hit.marker == at && places[hit.place].side == Some(made[at].side))
        };
        let missing: Vec<usize> = (0..made.len()).filter(|at| !home(*at)).collect();
        if missing.is_empty() || begun.elapsed() >= patience || !trouble.is_empty() {
            unclear.extend(trouble);
            unclear.extend(missing.into_iter().map(|at| {
                format!(
                    "a {} that {} made is not found in its own databases",
                    session.collection(made[at].collection).name,
                    session.tenants[made[at].side].name
                )
            }));
            break found;
        }
        tokio::time::sleep(STEP).await;
    };
    let astray = look(behind, nobodys, made, unclear).await;
    let of = |places: &[Place], hits: Vec<Hit>| -> Vec<(usize, usize, String)> {
        let foreign = hits.into_iter().filter_map(|hit| {
            let (place, from) = (&places[hit.place], made[hit.marker].side);
            let to = place.side.unwrap_or(from);
            let object = format!("{}, table {}", place.name, hit.table);
            (place.side != Some(from)).then_some((from, to, object))
        });
        foreign.collect()
    };
    for (from, to, object) in of(places, found).into_iter().chain(of(nobodys, astray)) {
        let whose = if from == to {
            "nobody's"
        } else {
            "the other tenant's"
        };
        let evidence = format!(
            "what {} made through the product lies there, and the place is {whose}",
            session.tenants[from].name
        );
        session.find(ID, (from, to), &object, evidence, None);
    }
    made.len() * (places.len() / 2 + nobodys.len())
}

/// A marker that stands in a table.
struct Hit {
    place: usize,
    marker: usize,
    table: String,
}

async fn look(
    behind: &Behind<'_>,
    places: &[Place],
    made: &[Made],
    unclear: &mut Vec<String>,
) -> Vec<Hit> {
    let markers: Vec<&str> = made.iter().map(|made| made.marker.as_str()).collect();
    let mut hits = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let session = match behind.gate.connect(&place.endpoint, place.options).await {
            Ok(session) => session,
            Err(error) => {
                unclear.push(format!("{}: {}", place.name, error.link));
                continue;
            }
        };
        match in_place(&session, place, &markers).await {
            Ok((found, closed)) => {
                hits.extend(found.into_iter().map(|(marker, table)| Hit {
                    place: at,
                    marker,
                    table,
                }));
                if closed > 0 {
                    let words = "tables cannot be read by the login that searches";
                    unclear.push(format!("{}: {closed} {words}", place.name));
                }
            }
            Err(error) => {
                let message = Refusal::of(&error).message;
                unclear.push(format!("{}: {message}", place.name));
            }
        }
        session.close().await;
    }
    hits
}

/// Returns the tables of a place that hold a marker, and how many tables could not be read.
async fn in_place(
    session: &Client,
    place: &Place,
    markers: &[&str],
) -> Result<(Vec<(usize, String)>, usize), tokio_postgres::Error> {
    session.batch_execute(CAREFULLY).await?;
    let tables = "SELECT format('%I.%I', n.nspname, c.relname),
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname NOT LIKE 'pg\\_%'
           AND n.nspname <> 'information_schema'
           AND ($1::text IS NULL OR n.nspname = $1) AND n.nspname <> ALL ($2::text[])
         ORDER BY 1";
    let rows = session
        .query_typed(
            tables,
            &[
                (&place.only, Type::TEXT),
                (&place.without, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    // Bytes are shown in hex.
    let hidden: Vec<String> = markers.iter().map(|m| hex(m.as_bytes())).collect();
    let (mut found, mut closed) = (Vec::new(), 0);
    for row in rows {
        let (table, open): (String, bool) = (row.get(0), row.get(1));
        if !open {
            closed += 1;
            continue;
        }
        // Not `t` alone, which could be the name of a column.
        let query = format!(
            "SELECT DISTINCT m.n FROM {table} t
             CROSS JOIN LATERAL (SELECT format('%s', t.*) AS words OFFSET 0) r
             CROSS JOIN ROWS FROM (unnest($1::text[]), unnest($2::text[])) WITH ORDINALITY m(a, b, n)
             WHERE strpos(r.words, m.a) > 0 OR strpos(r.words, m.b) > 0"
        );
        let hits = session
            .query_typed(
                &query,
                &[(&markers, Type::TEXT_ARRAY), (&hidden, Type::TEXT_ARRAY)],
            )
            .await?;
        found.extend(hits.iter().filter_map(|hit| {
            let at = usize::try_from(hit.get::<_, i64>(0)).ok()?;
            Some((at.checked_sub(1)?, table.clone()))
        }));
    }
    session.batch_execute("ROLLBACK").await?;
    Ok((found, closed))
}

/// Returns where a tenant's own things lie, searched with its own login.
fn of_side(
    session: &Session<'_>,
    behind: &Behind<'_>,
    side: usize,
    unclear: &mut Vec<String>,
) -> Vec<Place> {
    let (tenant, service) = (&session.tenants[side], &session.target.recipe.service);
    let mut places = BTreeMap::new();
    let theirs = |store: &&Store| {
        let named = [&tenant.id, &tenant.name];
        (named.contains(&&store.tenant_id) || named.contains(&&store.tenant))
            && serves(store, service)
    };
    for store in behind.stores.iter().filter(theirs) {
        let name = format!("{} at {}", store.place(), store.cluster());
        match store.endpoint() {
            Some(endpoint) => {
                places.entry(name.clone()).or_insert(Place {
                    side: Some(side),
                    name,
                    endpoint,
                    options: "",
                    only: store.schema.clone(),
                    without: Vec::new(),
                });
            }
            None => unclear.push(format!("{name}: the password of its login is not known")),
        }
    }
    places.into_values().collect()
}

fn serves(store: &Store, service: &str) -> bool {
    store.service.is_empty() || store.service == service
}

/// Returns what is no tenant's: the product's own database, the one where the auditor logs in, and
/// the schemas of nobody in databases that tenants share. With it, what of that cannot be searched.
fn of_nobody(
    session: &Session<'_>,
    behind: &Behind<'_>,
) -> (Vec<Place>, Vec<(String, &'static str)>) {
    let mut missing = Vec::new();
    if session.target.means.databases.is_empty() {
        let product = &session.target.recipe.product;
        missing.push((
            format!("the database of {product} itself"),
            "nobody said where it is (--product-database-url-file)",
        ));
    }
    let mut wanted: Vec<(String, PostgresEndpoint)> = Vec::new();
    let own = session.target.means.databases.iter().cloned();
    wanted.extend(own.map(|endpoint| (endpoint.address(), endpoint)));
    let service = &session.target.recipe.service;
    let of_service = || behind.stores.iter().filter(|s| serves(s, service));
    let clusters: BTreeSet<String> = of_service().map(Store::cluster).collect();
    for cluster in &clusters {
        let Some(auditor) = operator_of(behind.auditors, cluster, clusters.len()) else {
            missing.push((
                format!("what is no tenant's at {cluster}"),
                "no login was given that reads it (--postgres-url-file)",
            ));
            continue;
        };
        let there = of_service().filter(|s| s.cluster() == *cluster);
        let shared: BTreeSet<&String> = there
            .filter(|store| store.schema.is_some())
            .map(|store| &store.database)
            .collect();
        wanted.push((cluster.clone(), auditor.clone()));
        wanted.extend(shared.into_iter().map(|database| {
            let endpoint = auditor.with_database(database);
            (cluster.clone(), endpoint)
        }));
    }
    let mut places = BTreeMap::new();
    for (cluster, endpoint) in wanted {
        let here =
            |store: &&Store| store.cluster() == cluster && store.database == endpoint.database;
        // A database of one tenant alone is somebody's.
        if behind
            .stores
            .iter()
            .filter(here)
            .any(|s| s.schema.is_none())
        {
            continue;
        }
        let schemas = behind.stores.iter().filter(here);
        let without = schemas.filter_map(|store| store.schema.clone()).collect();
        let name = format!("{} at {cluster}", endpoint.database);
        places.entry(name.clone()).or_insert(Place {
            side: None,
            name,
            endpoint,
            options: READ_ONLY,
            only: None,
            without,
        });
    }
    (places.into_values().collect(), missing)
}
