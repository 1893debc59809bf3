//! What the client makes of servers and networks that misbehave.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use lerianctl::client::{
    BreakerSettings, BreakerState, ClientError, ClientSettings, ErrorKind, RetryPolicy,
    TenantManager,
};
use lerianctl::contract::admin::ChangeRequest;
use lerianctl::secret::Secret;

use crate::support::{Play, Script};

const KEY: &str = "key-that-nobody-must-see";

/// Settings that do not keep a test waiting.
fn settings(url: &str) -> ClientSettings {
    let mut settings = ClientSettings::new(url.parse().unwrap(), Secret::new(KEY));
    settings.timeout = Duration::from_secs(20);
    settings.retry = RetryPolicy {
        times: 2,
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_secs(5),
        patience: Duration::from_millis(50),
        ..RetryPolicy::default()
    };
    settings
}

fn client(script: &Script) -> TenantManager {
    TenantManager::new(settings(&script.url())).unwrap()
}

async fn read(client: &TenantManager) -> Result<(), ClientError> {
    client.info().await.map(drop)
}

async fn write(client: &TenantManager) -> Result<(), ClientError> {
    let request = ChangeRequest::default();
    let action = lerianctl::client::TenantAction::Suspend;
    client.change("acme", action, &request).await.map(drop)
}

fn info() -> Play {
    Play::json(200, r#"{"version":"1","development":false}"#)
}

fn change() -> Play {
    Play::json(
        200,
        r#"{"changed":true,"plan":{"steps":[],"hash":"sha256:x"}}"#,
    )
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_at_the_time_limit() {
    let script = Script::play([Play::Hang]);
    let mut settings = settings(&script.url());
    settings.timeout = Duration::from_millis(400);
    let error = read(&TenantManager::new(settings).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.to_string().contains("no whole answer"), "{error}");
    assert_eq!(script.seen().len(), 3, "it was tried again");
}

#[tokio::test]
async fn headers_that_drip_and_bodies_that_drip_meet_the_same_limit() {
    let Play::Answer(bytes) = info() else {
        unreachable!()
    };
    let head_end = bytes.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let slow_body = [&bytes[..head_end + 4], &b" ".repeat(1000)[..]].concat();
    let slow_body = String::from_utf8(slow_body)
        .unwrap()
        .replace("length: 35", "length: 1000");
    for slow in [bytes.clone(), slow_body.into_bytes()] {
        let script = Script::play([Play::Drip(slow, Duration::from_millis(20))]);
        let mut settings = settings(&script.url());
        settings.timeout = Duration::from_millis(200);
        settings.retry.times = 0;
        let error = read(&TenantManager::new(settings).unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn the_deadline_of_the_command_ends_everything() {
    let script = Script::play([Play::Hang]);
    let mut settings = settings(&script.url());
    settings.deadline = Some(Duration::from_secs(1));
    let client = TenantManager::new(settings).unwrap();
    assert_eq!(read(&client).await.unwrap_err().kind, ErrorKind::Deadline);
    let error = write(&client).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Deadline);
    assert_eq!(error.outcome_unknown, None, "it was not even sent");
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test]
async fn answers_that_break_off_are_noticed() {
    for head in ["content-length: 1000", "transfer-encoding: chunked"] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n23\r\n{{\"version\":\"1\"");
        let script = Script::play([Play::Close(bytes.into_bytes())]);
        let error = read(&client(&script)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("breaks off"), "{error}");
        assert_eq!(script.seen().len(), 3, "reading again is safe");
    }
    // Without a length only the JSON can tell.
    let bytes = b"HTTP/1.0 200 OK\r\n\r\n{\"version\":\"1\"".to_vec();
    let error = read(&client(&Script::play([Play::Close(bytes)])))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(error.to_string().contains("breaks off"), "{error}");
}

#[tokio::test]
async fn answers_without_end_fail_early() {
    let script = Script::play([Play::Endless]);
    let error = read(&client(&script)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(
        error.to_string().contains("more than 10485760 bytes"),
        "{error}"
    );
    // The limit, and what fits into the buffers of two sockets.
    assert!(script.sent() < 32 * 1024 * 1024, "{}", script.sent());

    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n".to_vec();
    let script = Script::play([Play::Answer(head)]);
    let error = read(&client(&script)).await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Protocol,
        "an announced length is enough"
    );
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test]
async fn something_else_than_a_tenant_manager_is_named() {
    let html = Play::with(200, "content-type: text/html\r\n", "<html>hunter2</html>");
    let error = read(&client(&Script::play([html]))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(error.to_string().contains("`text/html`"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");

    // A server that forgets its content type is still understood.
    let plain = Play::with(
        200,
        "content-type: text/plain\r\n",
        r#"{"version":"1","development":false}"#,
    );
    read(&client(&Script::play([plain]))).await.unwrap();

    let rubbish = Play::Close(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec());
    let error = read(&client(&Script::play([rubbish]))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn redirects_are_not_followed_and_carry_no_key_anywhere() {
    let elsewhere = Script::play([info()]);
    let headers = format!("location: {}/v1/admin/info\r\n", elsewhere.url());
    for status in [301, 302, 307, 308] {
        let script = Script::play([Play::with(status, &headers, "")]);
        let error = read(&client(&script)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol);
        assert!(error.to_string().contains(&elsewhere.url()), "{error}");
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_busy_server_is_given_the_time_that_it_asks_for() {
    let script = Script::play([Play::with(429, "retry-after: 1\r\n", ""), info()]);
    let begun = Instant::now();
    read(&client(&script)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(script.seen().len(), 2);

    let script = Script::play([Play::with(503, "retry-after: 3600\r\n", ""), info()]);
    let error = read(&client(&script)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.retry_after, Some(Duration::from_hours(1)));
    assert_eq!(script.seen().len(), 1, "an hour is too long to wait");
}

#[tokio::test]
async fn only_answers_that_may_change_are_asked_for_again() {
    for (status, attempts) in [
        (429, 3),
        (502, 3),
        (503, 3),
        (504, 3),
        (500, 1),
        (400, 1),
        (401, 1),
        (404, 1),
        (409, 1),
    ] {
        let script = Script::play([Play::json(status, "{}")]);
        read(&client(&script)).await.unwrap_err();
        assert_eq!(script.seen().len(), attempts, "{status}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_asked_for_again_under_its_key() {
    let script = Script::play([Play::Reset, Play::json(504, ""), change()]);
    write(&client(&script)).await.unwrap();
    let keys: Vec<_> = script
        .seen()
        .iter()
        .map(|seen| (seen.headers["idempotency-key"].clone(), seen.body.clone()))
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(
        keys[0].0.len() >= 32,
        "a key that nobody guesses or repeats"
    );

    // Another write has another key; a read has none.
    let script = Script::play([change(), change(), info()]);
    let client = client(&script);
    write(&client).await.unwrap();
    write(&client).await.unwrap();
    read(&client).await.unwrap();
    let seen = script.seen();
    assert_ne!(
        seen[0].headers["idempotency-key"],
        seen[1].headers["idempotency-key"]
    );
    assert!(!seen[2].headers.contains_key("idempotency-key"));
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_reported_as_such() {
    let script = Script::play([Play::Reset]);
    let error = write(&client(&script)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let key = script.seen()[0].headers["idempotency-key"].clone();
    assert_eq!(error.outcome_unknown, Some(key));

    // The server's word about the same key settles it.
    let script = Script::play([
        Play::Reset,
        Play::json(409, r#"{"code":"tenant.conflict","error":"no"}"#),
    ]);
    let error = write(&client(&script)).await.unwrap_err();
    assert_eq!(
        (error.kind.clone(), error.code()),
        (ErrorKind::Conflict, "tenant.conflict")
    );
    assert_eq!(error.outcome_unknown, None);

    // What never reached a server is not unknown, and reading never is.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = TenantManager::new(settings(&format!("http://{closed}"))).unwrap();
    let error = write(&client).await.unwrap_err();
    assert_eq!(
        (error.kind.clone(), error.outcome_unknown.clone()),
        (ErrorKind::Unavailable, None)
    );
    let script = Script::play([Play::Reset]);
    let client = self::client(&script);
    assert_eq!(read(&client).await.unwrap_err().outcome_unknown, None);
}

#[tokio::test]
async fn an_unknown_outcome_is_looked_up_before_it_is_reported() {
    let patient = |url: &str| {
        let mut settings = settings(url);
        settings.retry.patience = Duration::from_mins(1);
        settings
    };
    // Later than any retry: the server was being restarted.
    let script = Script::play([
        Play::Reset,
        Play::Reset,
        Play::Reset,
        Play::json(503, "{}"),
        Play::Reset,
        Play::json(401, "{}"),
        change(),
    ]);
    let mut settings = patient(&script.url());
    settings.breaker.threshold = 0;
    let error = write(&TenantManager::new(settings.clone()).unwrap()).await;
    let error = error.unwrap_err();
    let key = script.seen()[0].headers["idempotency-key"].clone();
    assert_eq!(
        (script.seen().len(), error.outcome_unknown.clone()),
        (6, Some(key)),
        "a refused key says nothing about the write, and asking again does not help"
    );

    let script = Script::play([
        Play::Reset,
        Play::Reset,
        Play::Reset,
        Play::json(503, "{}"),
        change(),
    ]);
    settings.base = script.url().parse().unwrap();
    write(&TenantManager::new(settings).unwrap()).await.unwrap();
    let seen = script.seen();
    let first = (&seen[0].headers["idempotency-key"], &seen[0].body);
    for seen in &seen {
        assert_eq!((&seen.headers["idempotency-key"], &seen.body), first);
    }
    assert_eq!(seen.len(), 5);

    // It waits for the breaker, and its look is the probe.
    let script = Script::play([Play::Reset, change()]);
    let mut settings = patient(&script.url());
    settings.breaker = BreakerSettings {
        threshold: 1,
        open_for: Duration::from_millis(200),
    };
    let client = TenantManager::new(settings).unwrap();
    write(&client).await.unwrap();
    assert_eq!(client.breaker(), BreakerState::Closed);
    assert_eq!(script.seen().len(), 2);

    // A server that is merely busy has judged nothing.
    let script = Script::play([Play::Reset, Play::json(503, "{}")]);
    let error = write(&self::client(&script)).await.unwrap_err();
    assert!(error.outcome_unknown.is_some());

    // Looks count as repetitions: many lost writes do not multiply the load either.
    let script = Script::play([Play::Reset]);
    let mut settings = patient(&script.url());
    settings.retry.budget = 4;
    settings.breaker.threshold = 0;
    let client = TenantManager::new(settings).unwrap();
    let calls = (0..10).map(|_| write(&client));
    let results = futures_util::future::join_all(calls).await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(script.seen().len(), 10 + 4);
}

#[tokio::test]
async fn many_calls_do_not_multiply_the_load_on_a_failing_server() {
    let script = Script::play([Play::json(503, "{}")]);
    let mut settings = settings(&script.url());
    settings.retry.budget = 5;
    settings.breaker.threshold = 0;
    let client = TenantManager::new(settings).unwrap();
    let calls = (0..20).map(|_| read(&client));
    let results = futures_util::future::join_all(calls).await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(script.seen().len(), 20 + 5);
}

#[tokio::test]
async fn the_breaker_leaves_a_failing_server_alone_and_tries_once_later() {
    let script = Script::answer(|_, number| {
        if number < 3 {
            Play::json(500, "{}")
        } else {
            info()
        }
    });
    let mut settings = settings(&script.url());
    settings.breaker = BreakerSettings {
        threshold: 3,
        open_for: Duration::from_millis(300),
    };
    let client = TenantManager::new(settings).unwrap();
    for _ in 0..3 {
        assert_eq!(
            read(&client).await.unwrap_err().kind,
            ErrorKind::Unavailable
        );
    }
    assert_eq!(client.breaker(), BreakerState::Open);
    let error = read(&client).await.unwrap_err();
    let ErrorKind::BreakerOpen { retry_in } = error.kind else {
        panic!("{error}");
    };
    assert_eq!(script.seen().len(), 3, "nothing was sent");
    tokio::time::sleep(retry_in).await;
    read(&client).await.unwrap();
    assert_eq!(client.breaker(), BreakerState::Closed);
}

#[tokio::test]
async fn refusals_do_not_open_the_breaker() {
    for status in [400, 401, 403, 404, 409, 429] {
        let script = Script::play([Play::json(status, "{}")]);
        let mut settings = settings(&script.url());
        settings.breaker.threshold = 1;
        settings.retry.times = 0;
        let client = TenantManager::new(settings).unwrap();
        read(&client).await.unwrap_err();
        let tenant = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21".parse().unwrap();
        client
            .connections(&tenant, &"ledger".parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(client.breaker(), BreakerState::Closed, "{status}");
    }
}

#[tokio::test]
async fn a_wrong_key_neither_opens_nor_closes_the_breaker_for_connections() {
    let script = Script::play([
        Play::json(500, "{}"),
        Play::json(401, "{}"),
        Play::json(500, "{}"),
        Play::json(404, "{}"),
        Play::json(500, "{}"),
    ]);
    let mut settings = settings(&script.url());
    settings.breaker.threshold = 2;
    let client = TenantManager::new(settings).unwrap();
    let tenant = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21".parse().unwrap();
    let service = "ledger".parse().unwrap();
    for expected in [
        BreakerState::Closed,
        BreakerState::Closed,
        BreakerState::Open,
    ] {
        client.connections(&tenant, &service).await.unwrap_err();
        assert_eq!(client.breaker(), expected);
    }
}

#[tokio::test]
async fn no_error_tells_the_key() {
    let plays = [
        Play::Reset,
        Play::json(401, r#"{"code":"auth.invalid_key","error":"no"}"#),
        Play::with(302, "location: /\r\n", ""),
        Play::Endless,
    ];
    for play in plays {
        let script = Script::play([play]);
        let client = client(&script);
        let error = read(&client).await.unwrap_err();
        let said = format!("{error} {error:?} {client:?}");
        assert!(!said.contains(KEY), "{said}");
        assert_eq!(script.seen()[0].headers["x-api-key"], KEY);
    }
    let bad = ClientSettings::new("http://127.0.0.1".parse().unwrap(), Secret::new("a\nb"));
    assert_eq!(TenantManager::new(bad).unwrap_err().kind, ErrorKind::Usage);
    let none = ClientSettings::new("http://127.0.0.1".parse().unwrap(), Secret::new(""));
    assert_eq!(TenantManager::new(none).unwrap_err().kind, ErrorKind::Auth);
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_over_tls() {
    let script = Script::play([info()]);
    let url = script.url().replace("http://", "https://");
    let mut settings = settings(&url);
    settings.connect_timeout = Duration::from_millis(200);
    let error = read(&TenantManager::new(settings).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(script.seen().is_empty());
}
