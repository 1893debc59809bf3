//! `event tail` as an operator runs it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use lerianctl::events::Publisher;
use lerianctl::link::redis::RedisEndpoint;
use rustix::process::{Pid, Signal, kill_process};

use super::support::{Redis, Sandbox, block_on};

const CHANNEL: &str = "tenant-events:production:";
const ID: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

fn room(redis: &RedisEndpoint) -> Sandbox {
    let password = redis.password.as_ref().unwrap().expose().to_owned();
    Sandbox::new()
        .with("MULTI_TENANT_REDIS_HOST", "127.0.0.1")
        .with("MULTI_TENANT_REDIS_PORT", redis.port.to_string())
        .with("MULTI_TENANT_REDIS_PASSWORD", password)
}

/// Starts the command and returns once it says that it listens.
fn listening(room: &Sandbox, arguments: &[&str]) -> Child {
    let mut child = room
        .command([&["event", "tail"], arguments].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("listening to tenant-events:"), "{line}");
    child.stderr = Some(stderr.into_inner());
    child
}

fn publish(redis: &RedisEndpoint, channel: &str, messages: &[String]) {
    let mut publisher = Publisher::new(redis.clone());
    let messages: Vec<_> = messages
        .iter()
        .map(|message| (channel.to_owned(), message.clone()))
        .collect();
    let heard = block_on(async move { publisher.publish(&messages).await }).unwrap();
    assert!(heard.iter().all(|count| *count > 0), "{heard:?}");
}

fn event(kind: &str, service: &str) -> String {
    let payload = serde_json::json!({ "service_name": service });
    serde_json::json!({
        "event_id": "e-1", "event_type": kind, "tenant_id": ID, "tenant_slug": "banco-aurora",
        "environment": "production", "timestamp": "2026-06-20T14:03:11Z", "payload": payload,
    })
    .to_string()
}

fn end(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    (child.wait().unwrap().code(), text)
}

#[test]
fn a_stream_of_lines_shows_events_in_order_and_ends_at_the_limit() {
    let redis = Redis::private();
    let redis = redis.endpoint();
    let room = room(&redis);
    let arguments = ["--environment", "production", "--explain", "--limit", "2"];
    let child = listening(&room, &arguments);
    publish(
        &redis,
        CHANNEL,
        &[
            event("tenant.credentials.rotated", "tracer"),
            "\u{1b}[2J not json".to_owned(),
            event("tenant.service.purged", "ledger"),
            event("tenant.service.purged", "too-late"),
        ],
    );
    let (status, text) = end(child);
    assert_eq!(status, Some(0));
    assert!(
        !text.contains('\u{1b}') && !text.contains("too-late"),
        "{text}"
    );
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}\n{text}"));
    assert!(at("tenant.credentials.rotated") < at("malformed, products drop it"));
    assert!(at("malformed, products drop it") < at("tenant.service.purged"));
    assert!(text.contains("banco-aurora  tracer"), "{text}");
    assert!(
        text.contains("products: drops the tenant, waits up to 5 s"),
        "{text}"
    );
    assert!(text.contains("tracer: closes the pool"), "{text}");
}

#[test]
fn lines_of_json_tell_events_from_malformed_messages_and_end_in_a_summary() {
    let redis = Redis::private();
    let redis = redis.endpoint();
    let room = room(&redis).with("ENV_NAME", "production");
    let arguments = [
        "-o",
        "jsonl",
        "--tenant",
        ID,
        "--service",
        "tracer",
        "--limit",
        "1",
    ];
    let child = listening(&room, &arguments);
    publish(
        &redis,
        CHANNEL,
        &[
            event("tenant.cache.invalidate", "ledger"),
            "{}".to_owned(),
            event("tenant.cache.invalidate", "tracer"),
        ],
    );
    let (status, text) = end(child);
    assert_eq!(status, Some(0), "{text}");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let [malformed, event, summary] = &lines[..] else {
        panic!("{text}");
    };
    assert_eq!(malformed["item"], "malformed");
    assert_eq!(malformed["reason"], "`event_type` is missing or empty");
    assert_eq!(
        (&event["item"], &event["service"]),
        (&"event".into(), &"tracer".into())
    );
    assert_eq!(event["effect"]["asksTenantManager"], true);
    assert_eq!(summary["kind"], "Summary");
    assert_eq!(
        (&summary["events"], &summary["malformed"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn one_document_needs_an_end_and_has_everything_in_it() {
    let redis = Redis::private();
    let redis = redis.endpoint();
    let room = room(&redis);
    let unbounded = room
        .run(["event", "tail", "--every-channel", "-o", "json"])
        .exits(2);
    assert!(unbounded.stderr.contains("event.unbounded"), "{unbounded}");
    let child = listening(&room, &["--every-channel", "-o", "json", "--limit", "1"]);
    publish(
        &redis,
        "tenant-events:production",
        &[event("tenant.created", "")],
    );
    let (status, text) = end(child);
    assert_eq!(status, Some(0), "{text}");
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["kind"], "EventList");
    let warnings = document["items"][0]["warnings"].to_string();
    assert!(warnings.contains("old pattern"), "{warnings}");
    let quiet = room.run([
        "event",
        "tail",
        "--every-channel",
        "--for",
        "0.1s",
        "-o",
        "json",
    ]);
    assert_eq!(quiet.success().json()["events"], 0);
}

#[test]
fn a_closed_reader_ends_the_command() {
    let redis = Redis::private();
    let redis = redis.endpoint();
    let room = room(&redis);
    let mut child = listening(&room, &["--every-channel"]);
    drop(child.stdout.take());
    publish(&redis, CHANNEL, &[event("tenant.service.purged", "ledger")]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_ends_it_with_the_status_of_an_interrupt() {
    let redis = Redis::shared();
    let room = room(&redis.endpoint());
    let child = listening(&room, &["--every-channel"]);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let (status, _) = end(child);
    assert_eq!(status, Some(130));
}

#[test]
fn what_cannot_be_listened_to_is_a_usage_error() {
    let redis = Redis::shared();
    let room = room(&redis.endpoint());
    let output = room
        .run(["event", "tail", "--environment", "development"])
        .exits(2);
    assert!(output.stderr.contains("event.no_channel"), "{output}");
    let output = room.run(["event", "tail"]).exits(2);
    assert!(output.stderr.contains("event.no_environment"), "{output}");
    let output = room
        .run(["event", "tail", "--type", "tenant.renamed"])
        .exits(2);
    assert!(output.stderr.contains("tenant.renamed"), "{output}");
    let output = Sandbox::new()
        .run(["event", "tail", "--every-channel"])
        .exits(2);
    assert!(output.stderr.contains("config.no_redis"), "{output}");
}
