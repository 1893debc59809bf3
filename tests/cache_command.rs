//! `cache list` and `cache flush` as an operator runs them.

use lerianctl::cache;
use lerianctl::link::redis::RedisEndpoint;
use rustix::process::Signal;

use super::cache_keyspace::{Picture, Sample, fill, picture, samples, tenant, without};
use super::support::{Play, Script};
use super::support::{Redis, RedisCluster, Sandbox, block_on};

/// A room whose Redis is this one.
fn room(redis: &RedisEndpoint) -> Sandbox {
    let password = redis.password.as_ref().unwrap().expose().to_owned();
    Sandbox::new()
        .with("LERIANCTL_REDIS_HOST", "127.0.0.1")
        .with("LERIANCTL_REDIS_PORT", redis.port.to_string())
        .with("LERIANCTL_REDIS_PASSWORD", password)
}

fn filled(redis: &RedisEndpoint, tenants: usize) -> (Vec<Sample>, Picture) {
    let samples = samples(tenants);
    let (endpoint, all) = (redis.clone(), samples.clone());
    let before = block_on(async move {
        fill(&endpoint, &all).await;
        picture(&endpoint).await
    });
    (samples, before)
}

fn now(redis: &RedisEndpoint) -> Picture {
    let endpoint = redis.clone();
    block_on(async move { picture(&endpoint).await })
}

#[test]
fn a_flush_by_id_needs_no_tenant_manager_and_deletes_only_the_tenants_caches() {
    let redis = Redis::private();
    let redis = redis.endpoint();
    let (samples, before) = filled(&redis, 12);
    let room = room(&redis);
    let id = tenant(5);
    let flush = ["cache", "flush", "--tenant", &id, "--no-invalidate"];

    let plan = room.run([&flush[..], &["--dry-run", "-o", "json"]].concat());
    let plan = plan.success().json();
    assert_eq!(
        (&plan["dryRun"], &plan["changed"]),
        (&true.into(), &true.into())
    );
    assert!(now(&redis) == before, "a plan changes nothing");

    let refused = room.run(flush).exits(10);
    assert!(refused.stderr.contains("--yes"), "{refused}");
    assert!(now(&redis) == before, "without consent nothing changes");

    let hash = plan["plan"].as_str().unwrap();
    let wrong = room.run([&flush[..], &["--yes", "--expect-plan", "sha256:0"]].concat());
    assert!(wrong.exits(6).stderr.contains("plan.changed"));
    assert!(now(&redis) == before);

    let done = room.run([&flush[..], &["--yes", "--expect-plan", hash, "-o", "json"]].concat());
    let done = done.success().json();
    let expected = without(&before, &samples, |s| {
        s.tenant == Some(5) && s.cache_of.is_some()
    });
    assert!(now(&redis) == expected);
    assert_eq!(done["kind"], "CacheFlush");
    assert_eq!(done["plan"], plan["plan"]);
    assert_eq!(done["kept"], plan["kept"]);
    let count = (before.len() - expected.len()) as u64;
    assert_eq!(done["servers"][0]["deleted"], count);
    assert_eq!(plan["servers"][0]["found"], count);
    assert_eq!(done["told"], serde_json::json!([]));

    let again = room.run([&flush[..], &["--yes", "-o", "json"]].concat());
    assert_eq!(again.success().json()["changed"], false);
}

#[test]
fn the_view_for_a_person_says_what_goes_what_stays_and_why() {
    let redis = Redis::private();
    let redis = redis.endpoint();
    filled(&redis, 6);
    let room = room(&redis);
    let output = room.run([
        "cache",
        "flush",
        "--tenant-id",
        "acme",
        "--no-invalidate",
        "--yes",
    ]);
    let output = output.success();
    assert!(
        output
            .stderr
            .contains("cache flush tenant acme · Redis 127.0.0.1"),
        "{output}"
    );
    for text in [
        "keys deleted",
        "ledger.settings",
        "ledger.balance ",
        "the live balance, ahead of PostgreSQL until it is synced",
        "its type is hash, and such a cache is a string",
        "its name holds `:lock`",
        "tenant:acme:something:nobody:knows",
    ] {
        assert!(output.stdout.contains(text), "{text}\n{output}");
    }
    let secret = redis.password.unwrap();
    assert!(!format!("{output}").contains(secret.expose()));
}

#[test]
fn a_choice_is_required_and_two_choices_that_contradict_are_refused() {
    let room = Sandbox::new();
    for arguments in [
        &["cache", "flush"][..],
        &["cache", "flush", "--yes"],
        &["cache", "flush", "--all", "--tenant", "acme"],
        &["cache", "flush", "--all", "--service", "ledger"],
        &["cache", "flush", "--tenant-id", "a:b"],
        &["cache", "flush", "--tenant-id", "*"],
        &["cache", "flush", "--tenant-id", ""],
        &["cache", "flush", "--service", "*"],
    ] {
        let output = room.run(arguments).exits(2);
        assert!(!output.stderr.is_empty());
    }
    let output = room.run(["cache", "list"]).exits(2);
    assert!(output.stderr.contains("config.no_redis"), "{output}");
}

#[test]
fn every_node_of_a_cluster_is_flushed_and_listed() {
    let cluster = RedisCluster::private();
    let seed = &cluster.endpoints()[2];
    let (samples, before) = filled(seed, 30);
    let room = room(seed);
    let output = room.run([
        "cache",
        "flush",
        "--service",
        "ledger",
        "--no-invalidate",
        "--yes",
        "-o",
        "json",
    ]);
    let report = output.success().json();
    assert_eq!(report["servers"].as_array().unwrap().len(), 3);
    let expected = without(&before, &samples, |s| s.cache_of == Some("ledger"));
    assert!(now(seed) == expected);
    let listed = room
        .run(["cache", "list", "--all", "-o", "json"])
        .success()
        .json();
    let keys = listed["items"].as_array().unwrap().iter();
    let keys: u64 = keys.map(|item| item["keys"].as_u64().unwrap()).sum();
    assert_eq!(keys, expected.len() as u64);
}

#[test]
fn a_list_counts_caches_and_on_request_everything_else() {
    let redis = Redis::private();
    let redis = redis.endpoint();
    let (_, before) = filled(&redis, 10);
    let room = room(&redis);
    let caches = room.run(["cache", "list", "-o", "json"]).success().json();
    let items = caches["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["flushable"] == true));
    let sum: u64 = items
        .iter()
        .map(|item| item["keys"].as_u64().unwrap())
        .sum();
    assert_eq!(
        sum + caches["others"].as_u64().unwrap(),
        before.len() as u64
    );

    let all = room.run(["cache", "list", "--all"]).success();
    for text in [
        "ledger.backup-queue",
        "never",
        "unclassified, for example:",
        "dashed id",
    ] {
        assert!(all.stdout.contains(text), "{text}\n{all}");
    }
    assert!(!all.stdout.contains('\u{1b}'));

    let one = room.run([
        "cache",
        "list",
        "--tenant-id",
        "acme",
        "--by-tenant",
        "-o",
        "csv",
    ]);
    let one = one.success().stdout;
    assert!(
        one.starts_with("kind,service,verdict,keys,id,what"),
        "{one}"
    );
    assert!(
        one.lines().skip(1).all(|line| line.contains(",acme,")),
        "{one}"
    );
    assert!(now(&redis) == before, "a list changes nothing");
}

#[test]
fn a_tenant_manager_that_cannot_tell_products_stops_the_flush_before_it_begins() {
    let redis = Redis::private();
    let redis = redis.endpoint();
    let (_, before) = filled(&redis, 8);
    let id = tenant(7);
    let flush = ["cache", "flush", "--tenant", id.as_str(), "--yes"];
    let no_server = room(&redis).run(flush).exits(2);
    assert!(no_server.stderr.contains("--no-invalidate"), "{no_server}");

    let foreign = Play::with(404, "content-type: text/plain\r\n", "404 page not found\n");
    let script = Script::play([foreign]);
    let room = room(&redis)
        .with("LERIANCTL_SERVER", script.url())
        .with("LERIANCTL_API_KEY", "key");
    let output = room.run(flush).exits(11);
    assert!(output.stderr.contains("--no-invalidate"), "{output}");
    assert!(now(&redis) == before);
}

#[test]
fn a_redis_that_is_gone_or_refuses_is_a_clear_error() {
    let redis = Redis::private();
    let endpoint = redis.endpoint();
    let flush = ["cache", "flush", "--all", "--yes", "--no-invalidate"];
    let wrong = room(&endpoint).with("LERIANCTL_REDIS_PASSWORD", "hunter2");
    let output = wrong.run(flush).exits(4);
    assert!(output.stderr.contains("link.refused"), "{output}");
    assert!(!output.stderr.contains("hunter2"));

    redis.process().signal(Signal::KILL);
    let output = room(&endpoint).run(flush).exits(7);
    assert!(output.stderr.contains("link.unreachable"), "{output}");
    let document = room(&endpoint).run([&flush[..], &["-o", "json"]].concat());
    let document = document.exits(7).json();
    assert_eq!(document["error"]["code"], "link.unreachable");
    assert_eq!(document["error"]["retryable"], true);
}

#[test]
fn every_key_class_has_an_id_that_can_be_looked_up() {
    for class in cache::CLASSES {
        assert_eq!(cache::class(class.id).unwrap().id, class.id);
    }
    assert!(cache::class("nonsense").is_none());
}
