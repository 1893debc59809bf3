//! Following an operation over streams that break, and without any.

use std::time::Duration;

use lerianctl::client::{ClientError, ClientSettings, ErrorKind, RetryPolicy, TenantManager};
use lerianctl::contract::admin::{OperationRecord, OperationState};
use lerianctl::secret::Secret;
use serde_json::json;

use crate::support::{Play, Script};

fn settings(script: &Script) -> ClientSettings {
    let url = script.url().parse().unwrap();
    let mut settings = ClientSettings::new(url, Secret::new("key"));
    settings.retry = RetryPolicy {
        times: 1,
        first_wait: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    settings
}

async fn watch(settings: ClientSettings) -> (Result<OperationRecord, ClientError>, Vec<u32>) {
    let client = TenantManager::new(settings).unwrap();
    let mut seen = Vec::new();
    let result = client
        .watch("op-1", |operation| seen.push(operation.attempts))
        .await;
    (result, seen)
}

/// An operation; `attempts` stands for its progress.
fn operation(attempts: u32, state: &str) -> String {
    json!({
        "id": "op-1", "kind": "provision", "tenantId": "7b0e1c5a9f3d4b62a1c8e4d7f0936b21",
        "tenantSlug": "acme", "state": state, "attempts": attempts,
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z",
    })
    .to_string()
}

/// A stream of these lines, ended in good order or cut off.
fn stream(lines: &[String], whole: bool) -> Play {
    let mut text = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    for line in lines {
        // A line may arrive in pieces, and pieces may hold the end of one and the begin of the next.
        let (a, b) = line.split_at(line.len() / 2);
        for part in [a, &format!("{b}\n\n")] {
            text.push_str(&format!("{:x}\r\n{part}\r\n", part.len()).replace("0\r\n\r\n", ""));
        }
    }
    if whole {
        text.push_str("0\r\n\r\n");
    }
    Play::Close(text.into_bytes())
}

#[tokio::test]
async fn every_change_is_seen_once_and_the_end_is_returned() {
    let lines = [
        operation(1, "pending"),
        operation(1, "pending"),
        String::new(),
        operation(2, "running"),
        operation(3, "succeeded"),
    ];
    let script = Script::play([stream(&lines, true)]);
    let (result, seen) = watch(settings(&script)).await;
    assert_eq!(result.unwrap().state, OperationState::Succeeded);
    assert_eq!(seen, [1, 2, 3]);
    assert_eq!(script.seen().len(), 1);
    assert_eq!(
        script.seen()[0].line,
        "GET /v1/admin/operations/op-1/progress"
    );
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_again() {
    let script = Script::play([
        stream(&[operation(1, "running")], false),
        Play::Reset,
        Play::json(503, "{}"),
        stream(&[operation(1, "running"), operation(2, "running")], true),
        stream(&[operation(3, "failed")], true),
    ]);
    let (result, seen) = watch(settings(&script)).await;
    assert_eq!(result.unwrap().state, OperationState::Failed);
    assert_eq!(seen, [1, 2, 3]);
    assert_eq!(script.seen().len(), 5);
}

#[tokio::test]
async fn without_a_stream_the_operation_is_asked_for() {
    for no_stream in [
        Play::with(404, "", "404 page not found"),
        Play::json(200, operation(1, "running")),
    ] {
        let script = Script::answer(move |seen, number| match seen.line.as_str() {
            "GET /v1/admin/operations/op-1" if number == 2 => Play::Reset,
            "GET /v1/admin/operations/op-1" if number < 4 => {
                Play::json(200, operation(1, "running"))
            }
            "GET /v1/admin/operations/op-1" => Play::json(200, operation(2, "succeeded")),
            _ => no_stream.clone(),
        });
        let (result, seen) = watch(settings(&script)).await;
        assert_eq!(result.unwrap().state, OperationState::Succeeded);
        assert_eq!(seen, [1, 2]);
    }
}

#[tokio::test]
async fn what_cannot_get_better_ends_the_wait() {
    let missing = json!({"code": "operation.not_found", "error": "x"});
    for (play, expected) in [
        (Play::json(404, &missing), ErrorKind::NotFound),
        (Play::json(401, "{}"), ErrorKind::Auth),
        (
            stream(&["{\"rubbish\":1}".to_owned()], true),
            ErrorKind::Protocol,
        ),
        (Play::with(404, "", ""), ErrorKind::Unsupported),
    ] {
        let script = Script::play([play]);
        let (result, _) = watch(settings(&script)).await;
        assert_eq!(result.unwrap_err().kind, expected);
    }
}

#[tokio::test]
async fn patience_and_the_deadline_end_the_wait_too() {
    let script = Script::play([Play::json(503, "{}")]);
    let mut impatient = settings(&script);
    impatient.retry.patience = Duration::from_millis(50);
    let (result, _) = watch(impatient).await;
    assert_eq!(result.unwrap_err().kind, ErrorKind::Unavailable);

    for play in [
        Play::Hang,
        stream(&[operation(1, "running")], true),
        Play::Answer(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n"
                .to_vec(),
        ),
    ] {
        let script = Script::play([play]);
        let mut late = settings(&script);
        late.deadline = Some(Duration::from_millis(300));
        let (result, _) = watch(late).await;
        assert_eq!(result.unwrap_err().kind, ErrorKind::Deadline);
    }
}

#[tokio::test]
async fn a_line_without_an_end_fails_early() {
    let script = Script::answer(|seen, _| {
        assert!(seen.line.ends_with("/progress"));
        let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..4 {
            bytes.extend_from_slice(b"10000\r\n");
            bytes.extend_from_slice(&b"[".repeat(0x10000));
            bytes.extend_from_slice(b"\r\n");
        }
        Play::Answer(bytes)
    });
    let mut small = settings(&script);
    small.max_body = 100_000;
    let (result, _) = watch(small).await;
    assert_eq!(result.unwrap_err().kind, ErrorKind::Protocol);
}
