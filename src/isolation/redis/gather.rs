//! Reads a server. Nothing here writes: every command is one that answers and changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Cmd, Value};

use super::acl::User;
use super::census::{Census, places, readable};
use super::facts::{About, Ask, Client, Context, Node, Place};
use super::{Options, Target};
use crate::cache::{KeyTenant, classify};
use crate::link::LinkError;
use crate::link::redis::{self as link, RedisEndpoint, Session};
use crate::secret::{hex, random_bytes};

/// Keys that the server looks at in one step.
const STEP: u64 = 10_000;
/// Keys that are looked at in each further database.
const FURTHER: u64 = 20_000;
/// Questions in one round trip.
const BATCH: usize = 2_000;
/// Tenants that are put to the server for one user; the patterns are compared with all.
const CONFIRMED: usize = 50;
/// Fields of a hash that are looked at.
const FIELDS: u64 = 1_000;
/// Bytes of a value that are looked at.
const VALUE_BYTES: usize = 65_535;

/// Commands that only an administrator needs.
const DANGEROUS: &[(&str, &[&str])] = &[
    ("MONITOR", &["MONITOR"]),
    ("KEYS", &["KEYS", "*"]),
    ("FLUSHALL", &["FLUSHALL"]),
    ("FLUSHDB", &["FLUSHDB"]),
    ("CONFIG", &["CONFIG", "GET", "requirepass"]),
    (
        "CONFIG SET",
        &["CONFIG", "SET", "maxmemory-policy", "noeviction"],
    ),
    ("DEBUG", &["DEBUG", "SLEEP", "0"]),
    (
        "MIGRATE",
        &["MIGRATE", "h", "1", "lerianctl-probe", "0", "1"],
    ),
    ("ACL", &["ACL", "LIST"]),
    ("ACL SETUSER", &["ACL", "SETUSER", "lerianctl-probe"]),
    ("SHUTDOWN", &["SHUTDOWN"]),
    ("REPLICAOF", &["REPLICAOF", "NO", "ONE"]),
    ("SLAVEOF", &["SLAVEOF", "NO", "ONE"]),
    ("FAILOVER", &["FAILOVER"]),
    ("SYNC", &["SYNC"]),
    ("PSYNC", &["PSYNC", "?", "-1"]),
    ("SLOWLOG", &["SLOWLOG", "GET"]),
    ("SWAPDB", &["SWAPDB", "0", "1"]),
    ("MODULE", &["MODULE", "LIST"]),
    ("MODULE LOAD", &["MODULE", "LOAD", "lerianctl-probe"]),
    ("CLIENT LIST", &["CLIENT", "LIST"]),
    ("CLIENT KILL", &["CLIENT", "KILL", "ID", "0"]),
];

/// Commands that read or change a value, one for each that a user may have alone; `K` is the key.
const ON_KEY: &[&str] = &[
    "GETRANGE K 0 0",
    "GETEX K",
    "GETDEL K",
    "GETSET K x",
    "MGET K",
    "STRLEN K",
    "LCS K K",
    "GETBIT K 0",
    "SETBIT K 0 1",
    "BITCOUNT K",
    "BITFIELD K GET u8 0",
    "BITFIELD_RO K GET u8 0",
    "MSET K x",
    "SETEX K 1 x",
    "SETNX K x",
    "SETRANGE K 0 x",
    "APPEND K x",
    "INCR K",
    "INCRBY K 1",
    "INCRBYFLOAT K 1",
    "DECR K",
    "DECRBY K 1",
    "HGET K f",
    "HMGET K f",
    "HVALS K",
    "HSCAN K 0",
    "HRANDFIELD K",
    "HSETNX K f x",
    "HINCRBY K f 1",
    "HDEL K f",
    "LRANGE K 0 0",
    "LINDEX K 0",
    "LPOS K x",
    "LPOP K",
    "RPOP K",
    "LMPOP 1 K LEFT",
    "LMOVE K K LEFT RIGHT",
    "BLPOP K 1",
    "LPUSH K x",
    "RPUSH K x",
    "LSET K 0 x",
    "LREM K 0 x",
    "LTRIM K 0 0",
    "SMEMBERS K",
    "SISMEMBER K x",
    "SRANDMEMBER K",
    "SSCAN K 0",
    "SINTER K",
    "SUNION K",
    "SDIFF K",
    "SPOP K",
    "SADD K x",
    "SREM K x",
    "ZRANGEBYSCORE K 0 1",
    "ZRANGEBYLEX K - +",
    "ZREVRANGE K 0 0",
    "ZSCORE K x",
    "ZSCAN K 0",
    "ZRANDMEMBER K",
    "ZPOPMIN K",
    "ZPOPMAX K",
    "ZADD K 1 x",
    "ZINCRBY K 1 x",
    "ZREM K x",
    "XRANGE K - +",
    "XREVRANGE K + -",
    "XREAD STREAMS K 0",
    "XADD K * f x",
    "XDEL K 1-1",
    "XTRIM K MAXLEN 0",
    "GEOPOS K x",
    "GEOSEARCH K FROMLONLAT 0 0 BYRADIUS 1 m",
    "GEOADD K 0 0 x",
    "PFCOUNT K",
    "PFADD K x",
    "SORT K",
    "SORT_RO K",
    "DUMP K",
    "RESTORE K 0 x",
    "COPY K K",
    "RENAME K K",
    "EXPIRE K 1",
    "PEXPIRE K 1",
    "EXPIREAT K 1",
    "PERSIST K",
    "DEL K",
];

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word);
    }
    command
}

/// Shortens an error to what the server said.
fn said(error: &LinkError) -> String {
    error.to_string()
}

/// Reads one server through a session on it.
pub(super) async fn node(
    session: &mut Session,
    name: &str,
    target: &Target,
    options: &Options,
    context: &Context,
    progress: &dyn Fn(u64, u64),
) -> Node {
    let endpoint = session.endpoint().clone();
    let me: String = match session.query(&command(&["ACL", "WHOAMI"])).await {
        Ok(me) => me,
        Err(_) => endpoint
            .username
            .clone()
            .unwrap_or_else(|| "default".into()),
    };
    let mut node = Node {
        name: name.to_owned(),
        events: target.events,
        local: is_local(&endpoint.host),
        tls: endpoint.tls,
        info: info(session).await,
        open: open(&endpoint).await,
        users: users(session).await,
        dry: Err("the users are not known".into()),
        config: config(session).await,
        clients: clients(session).await,
        patterns: numpat(session).await,
        listeners: listeners(session, context).await,
        census: Err("it was not asked for".into()),
        others: BTreeMap::new(),
        readable: BTreeMap::new(),
        values: 0,
        kept: BTreeMap::new(),
        me,
    };
    if let Ok(users) = &node.users {
        let asks = asks(users, context, &node.me);
        node.dry = dry(session, &node.me, &asks).await;
    }
    node.census = census(session, options, progress)
        .await
        .map_err(|error| said(&error));
    if let Ok(census) = &mut node.census {
        ttl(session, census).await;
        if let Err(error) = credentials(
            session,
            census,
            &mut node.readable,
            &mut node.values,
            &mut node.kept,
        )
        .await
        {
            tracing::debug!(%error, "values of credentials are not known");
        }
    }
    let home = endpoint.database;
    for database in node
        .databases()
        .into_iter()
        .filter(|number| *number != home)
    {
        let there = RedisEndpoint {
            database,
            ..endpoint.clone()
        };
        if let Ok(tenants) = tenants_there(&there, options).await {
            node.others.insert(database, tenants);
        }
    }
    node
}

pub(super) fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

async fn info(session: &mut Session) -> String {
    let mut text = String::new();
    for section in ["server", "memory", "keyspace"] {
        if let Ok(part) = session.query::<String>(&command(&["INFO", section])).await {
            text.push_str(&part);
            text.push('\n');
        }
    }
    text
}

/// Knocks without a login.
async fn open(endpoint: &RedisEndpoint) -> Result<bool, String> {
    let stranger = RedisEndpoint {
        username: None,
        password: None,
        database: 0,
        ..endpoint.clone()
    };
    match stranger.connect().await {
        Ok(mut session) => Ok(session.query::<String>(&command(&["PING"])).await.is_ok()),
        Err(LinkError::Refused { .. } | LinkError::Rejected { .. }) => Ok(false),
        Err(error) => Err(said(&error)),
    }
}

async fn users(session: &mut Session) -> Result<Vec<User>, String> {
    let lines: Vec<String> = session
        .query(&command(&["ACL", "LIST"]))
        .await
        .map_err(|error| said(&error))?;
    Ok(lines.iter().filter_map(|line| User::parse(line)).collect())
}

async fn config(session: &mut Session) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for name in ["port", "tls-port", "bind", "protected-mode"] {
        let pair: Vec<String> = session
            .query(&command(&["CONFIG", "GET", name]))
            .await
            .map_err(|error| said(&error))?;
        if let [name, value] = pair.as_slice() {
            values.insert(name.clone(), value.clone());
        }
    }
    Ok(values)
}

async fn clients(session: &mut Session) -> Result<Vec<Client>, String> {
    let text: String = session
        .query(&command(&["CLIENT", "LIST"]))
        .await
        .map_err(|error| said(&error))?;
    Ok(Client::parse(&text))
}

async fn numpat(session: &mut Session) -> Result<u64, String> {
    session
        .query(&command(&["PUBSUB", "NUMPAT"]))
        .await
        .map_err(|error| said(&error))
}

async fn listeners(
    session: &mut Session,
    context: &Context,
) -> Result<BTreeMap<String, u64>, String> {
    let mut counts = BTreeMap::new();
    for environment in &context.environments {
        let channel = format!("tenant-events:{environment}:");
        let answer: (String, u64) = session
            .query(&command(&["PUBSUB", "NUMSUB", &channel]))
            .await
            .map_err(|error| said(&error))?;
        counts.insert(environment.clone(), answer.1);
    }
    Ok(counts)
}

/// Returns what is asked about every user that is judged.
pub(super) fn asks(users: &[User], context: &Context, me: &str) -> Vec<Ask> {
    let mut asks = Vec::new();
    let nobody = format!("lerianctl-probe:{}", hex(&random_bytes::<8>()));
    for user in context.judged(users, me) {
        let mut ask = |about: About, commands: Vec<Vec<String>>| {
            asks.push(Ask {
                user: user.name.clone(),
                about,
                commands,
            });
        };
        ask(About::Outside, every_way(&nobody));
        let own = context.tenants_of(user);
        if !own.is_empty() {
            let mut open = 0;
            let mut closed = 0;
            for (at, tenant) in context.tenants.iter().enumerate() {
                let prefixes = tenant.prefixes();
                let opened = prefixes.iter().find_map(|prefix| user.key_below(prefix));
                // What no pattern opens is put to the server for some, so that it can disagree.
                let (count, ways) = if let Some(key) = opened {
                    (&mut open, every_way(&key))
                } else {
                    let key = format!("{}lerianctl-probe", prefixes[0]);
                    (&mut closed, on_key(&key))
                };
                *count += 1;
                if *count <= CONFIRMED || own.contains(&at) {
                    ask(About::Tenant(at), ways);
                }
            }
        }
        for environment in &context.environments {
            let channel = format!("tenant-events:{environment}:");
            ask(
                About::Publish(environment.clone()),
                vec![owned(&["PUBLISH", &channel, "x"])],
            );
        }
        for (name, words) in DANGEROUS {
            ask(About::Command(name), vec![owned(words)]);
        }
        ask(
            About::Script,
            vec![
                owned(&["EVAL", "return 1", "0"]),
                owned(&["FCALL", "lerianctl_probe", "0"]),
            ],
        );
        ask(
            About::FlushScripts,
            vec![owned(&["SCRIPT", "FLUSH"]), owned(&["FUNCTION", "FLUSH"])],
        );
    }
    asks
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Returns the ways to reach a key: a user that may not GET may still HGETALL.
fn on_key(key: &str) -> Vec<Vec<String>> {
    [
        &["GET", key][..],
        &["SET", key, "x"],
        &["HGETALL", key],
        &["HSET", key, "f", "x"],
        &["ZRANGE", key, "0", "0"],
        &["UNLINK", key],
    ]
    .into_iter()
    .map(owned)
    .collect()
}

/// Returns every way to reach a key: one command that a user has alone is enough.
fn every_way(key: &str) -> Vec<Vec<String>> {
    let filled = |way: &&str| {
        let word = |word: &str| if word == "K" { key } else { word }.to_owned();
        way.split(' ').map(word).collect()
    };
    let mut ways = on_key(key);
    ways.extend(ON_KEY.iter().map(filled));
    ways
}

/// Puts questions to the server; nothing of what they name is run.
async fn dry(
    session: &mut Session,
    me: &str,
    asks: &[Ask],
) -> Result<BTreeMap<(String, About), bool>, String> {
    let sanity = Ask {
        user: me.to_owned(),
        about: About::Sanity,
        commands: vec![owned(&["PING"])],
    };
    let words: Vec<(&Ask, &Vec<String>)> = std::iter::once(&sanity)
        .chain(asks)
        .flat_map(|ask| ask.commands.iter().map(move |words| (ask, words)))
        .collect();
    let mut answers = BTreeMap::new();
    for batch in words.chunks(BATCH) {
        let mut pipeline = redis::pipe();
        for (ask, words) in batch {
            pipeline.cmd("ACL").arg("DRYRUN").arg(&ask.user).arg(words);
        }
        let said = session
            .pipeline(&pipeline)
            .await
            .map_err(|error| error.to_string())?;
        for ((ask, _), answer) in batch.iter().zip(said) {
            let allowed = match answer {
                Value::Okay => true,
                Value::SimpleString(text) => text == "OK",
                Value::ServerError(error) if ask.about == About::Sanity => {
                    return Err(no_dry_run(&link::printable(&error.to_string())));
                }
                // A command that this version does not have opens nothing.
                _ => false,
            };
            *answers
                .entry((ask.user.clone(), ask.about.clone()))
                .or_insert(false) |= allowed;
        }
    }
    if answers.get(&(me.to_owned(), About::Sanity)) != Some(&true) {
        return Err(no_dry_run("it refused what our own user just did"));
    }
    Ok(answers)
}

fn no_dry_run(reason: &str) -> String {
    format!("ACL DRYRUN cannot be asked, which Redis has since 7.0: {reason}")
}

async fn census(
    session: &mut Session,
    options: &Options,
    progress: &dyn Fn(u64, u64),
) -> Result<Census, LinkError> {
    let keys: u64 = session.query(&command(&["DBSIZE"])).await?;
    let mut census = Census {
        keys,
        ..Census::default()
    };
    walk(session, options.keys, |key| {
        census.add(key, &options.allowed);
        progress(census.seen.min(keys), keys);
    })
    .await?;
    // A walk may meet a key twice while the server grows.
    census.keys = census.keys.max(census.seen.min(keys));
    Ok(census)
}

/// Walks over keys until `most` of them were met.
async fn walk(
    session: &mut Session,
    most: Option<u64>,
    mut see: impl FnMut(&[u8]),
) -> Result<(), LinkError> {
    let mut cursor = "0".to_owned();
    let mut seen = 0;
    loop {
        let mut scan = command(&["SCAN", &cursor, "COUNT"]);
        scan.arg(STEP.min(most.unwrap_or(STEP).max(1)));
        let (next, keys): (String, Vec<Vec<u8>>) = session.query(&scan).await?;
        for key in &keys {
            if most.is_some_and(|most| seen >= most) {
                return Ok(());
            }
            seen += 1;
            see(key);
        }
        if next == "0" {
            return Ok(());
        }
        cursor = next;
    }
}

/// Asks for the time to live of one key of each group.
async fn ttl(session: &mut Session, census: &mut Census) {
    for group in census.groups.values_mut() {
        let mut ask = command(&["TTL"]);
        ask.arg(&group.sample);
        group.ttl = match session.query::<i64>(&ask).await {
            Ok(-1) => "never expires".into(),
            Ok(seconds) if seconds >= 0 => format!("expires in {seconds} s"),
            _ => String::new(),
        };
    }
}

/// Looks for readable passwords in values that hold credentials. Only names of fields are kept.
async fn credentials(
    session: &mut Session,
    census: &Census,
    found: &mut BTreeMap<(&'static str, KeyTenant), BTreeSet<&'static str>>,
    values: &mut u64,
    kept: &mut BTreeMap<(KeyTenant, String), BTreeSet<Place>>,
) -> Result<(), LinkError> {
    let mut hashes = Vec::new();
    for batch in census.credentials.chunks(100) {
        let mut pipeline = redis::pipe();
        for key in batch {
            pipeline.cmd("GETRANGE").arg(key).arg(0).arg(VALUE_BYTES);
        }
        let answers = session.pipeline(&pipeline).await?;
        for (key, answer) in batch.iter().zip(answers) {
            let value = match answer {
                Value::BulkString(value) => value,
                // Of another type than what is written with SET.
                Value::ServerError(_) => {
                    hashes.push(key);
                    continue;
                }
                _ => continue,
            };
            // What is longer was not read whole.
            *values += u64::from(value.len() <= VALUE_BYTES);
            let known = classify(key);
            let (fields, Some(tenant)) = (readable(&value), known.tenant()) else {
                continue;
            };
            let service = key.rsplit(|byte| *byte == b':').next().unwrap_or_default();
            let service = String::from_utf8_lossy(service).into_owned();
            let places = places(&value);
            if known.class.id == "resolver.connections" && !places.is_empty() {
                kept.entry((tenant.clone(), service))
                    .or_default()
                    .extend(places);
            }
            if !fields.is_empty() {
                found
                    .entry((known.class.id, tenant))
                    .or_default()
                    .extend(fields);
            }
        }
    }
    for key in hashes {
        let known = classify(key);
        let (Some((document, whole)), Some(tenant)) =
            (fields_of(session, key).await?, known.tenant())
        else {
            continue;
        };
        *values += u64::from(whole);
        let fields = readable(&document);
        if !fields.is_empty() {
            found
                .entry((known.class.id, tenant))
                .or_default()
                .extend(fields);
        }
    }
    Ok(())
}

/// Returns the fields of a hash as a document, and whether these are all; nothing of another type.
async fn fields_of(
    session: &mut Session,
    key: &[u8],
) -> Result<Option<(Vec<u8>, bool)>, LinkError> {
    let mut ask = command(&["TYPE"]);
    ask.arg(key);
    if session.query::<String>(&ask).await? != "hash" {
        return Ok(None);
    }
    let mut ask = command(&["HSCAN"]);
    ask.arg(key).arg(0).arg("COUNT").arg(FIELDS);
    let (next, pairs): (String, Vec<Vec<u8>>) = session.query(&ask).await?;
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let fields: BTreeMap<String, String> = pairs
        .chunks_exact(2)
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .collect();
    let document = serde_json::to_vec(&fields).unwrap_or_default();
    Ok(Some((document, next == "0")))
}

/// Returns the tenants with keys in another database of the server.
async fn tenants_there(
    endpoint: &RedisEndpoint,
    options: &Options,
) -> Result<BTreeSet<KeyTenant>, LinkError> {
    let mut session = endpoint.connect().await?;
    let mut census = Census::default();
    walk(&mut session, Some(FURTHER), |key| {
        census.add(key, &options.allowed);
    })
    .await?;
    Ok(census.tenants.into_keys().collect())
}
