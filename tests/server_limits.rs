//! What clients may take of a server: connections, sizes, and time, tried with real sockets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lerianctl::server::Limits;

use crate::server_kit::{Caller, PATIENCE};
use crate::support::Server;

/// Starts a server without events and with limits that `change` has altered.
fn server(change: impl FnOnce(&mut Limits)) -> Server {
    Server::start_with(|settings| {
        settings.event_redis = None;
        change(&mut settings.limits);
    })
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Returns what comes until the server closes the connection; fails when it never does.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the server keeps the connection: {error}"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer that has a length; returns its head.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut one).unwrap();
        bytes.push(one[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head
}

/// Waits until a figure has a value of at least `least`.
async fn figure(caller: &Caller, name: &str, least: f64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = caller.get("/metrics").await.text;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        if value.is_some_and(|value| value >= least) {
            return;
        }
        assert!(Instant::now() < deadline, "{name}: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_although_something_always_moves() {
    let server = server(|limits| limits.head_time = Duration::from_millis(600));
    let caller = Caller::new(&server);
    let mut stream = connect(&server);
    let begun = Instant::now();
    let trickle = std::thread::spawn(move || {
        let head =
            "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Filler: ".to_owned() + &"a".repeat(100_000);
        for byte in head.bytes() {
            // Never silent for as long as the limit.
            if stream.write_all(&[byte]).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    });
    let cut = tokio::task::spawn_blocking(move || trickle.join().unwrap());
    assert!(cut.await.unwrap(), "the whole head was taken");
    assert!(
        begun.elapsed() >= Duration::from_millis(600),
        "cut too early"
    );
    figure(
        &caller,
        "lerianctl_connections_cut_total{reason=\"slow_head\"}",
        1.0,
    )
    .await;
}

#[tokio::test]
async fn a_head_that_takes_its_time_within_the_limit_is_answered() {
    let server = server(|limits| limits.head_time = PATIENCE);
    let mut stream = connect(&server);
    for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(answer(&mut stream).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_without_a_request_are_closed_and_busy_ones_are_not() {
    let server = server(|limits| limits.idle_time = Duration::from_millis(900));
    let caller = Caller::new(&server);
    let mut silent = connect(&server);
    let mut idle = connect(&server);
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    idle.write_all(request).unwrap();
    assert!(answer(&mut idle).starts_with("HTTP/1.1 200"));
    let mut busy = connect(&server);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        busy.write_all(request).unwrap();
        assert!(answer(&mut busy).starts_with("HTTP/1.1 200"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rest(&mut silent), "");
    assert_eq!(rest(&mut idle), "");
    figure(
        &caller,
        "lerianctl_connections_cut_total{reason=\"idle\"}",
        2.0,
    )
    .await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut() {
    let server = server(|limits| limits.send_time = Duration::from_millis(700));
    let caller = Caller::new(&server);
    let mut stream = connect(&server);
    // Far more than the buffers of both ends hold.
    let line = "GET /v1/admin/services HTTP/1.1\r\nHost: x\r\nX-API-Key: ".to_owned()
        + server.api_key().expose()
        + "\r\n\r\n";
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    for _ in 0..20_000 {
        if stream.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    figure(
        &caller,
        "lerianctl_connections_cut_total{reason=\"slow_reader\"}",
        1.0,
    )
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let server = server(|limits| limits.body_time = Duration::from_millis(300));
    let mut stream = connect(&server);
    let head = format!(
        "POST /v1/tenants HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nContent-Length: 100\r\n\r\n{{",
        server.api_key().expose()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let answered = rest(&mut stream);
    assert!(answered.starts_with("HTTP/1.1 408"), "{answered}");
    assert!(answered.contains("\"request.slow\""), "{answered}");
}

#[tokio::test]
async fn heads_and_bodies_have_a_largest_size() {
    let server = server(|limits| {
        limits.head_bytes = 8192;
        limits.body_bytes = 2000;
    });
    let caller = Caller::new(&server);
    let mut stream = connect(&server);
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Filler: {}\r\n\r\n",
        "a".repeat(10_000)
    );
    // The server may hang up before everything is sent.
    let _ = stream.write_all(head.as_bytes());
    let answered = rest(&mut stream);
    assert!(
        answered.is_empty() || answered.starts_with("HTTP/1.1 431"),
        "{answered}"
    );
    let fits = caller.request("POST", "/v1/tenants").body(" ".repeat(2000));
    Caller::send(fits).await.refusal(422, "request.invalid");
    let large = caller.request("POST", "/v1/tenants").body(" ".repeat(2001));
    let refused = Caller::send(large).await.refusal(413, "request.too_large");
    assert!(refused.contains("2000"), "{refused}");
}

#[tokio::test]
async fn a_peer_has_so_many_connections_and_those_that_end_make_room() {
    let server = server(|limits| limits.connections_per_peer = 3);
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    // The one that waited for the server to be ready may still be open.
    let mut held = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let mut stream = connect(&server);
        let sent = stream.write_all(request).is_ok();
        let mut first = [0];
        if sent && matches!(stream.read(&mut first), Ok(1)) {
            held.push(stream);
        } else {
            break held.len();
        }
        assert!(held.len() <= 3, "more than the limit");
    };
    assert!((2..=3).contains(&refused), "{refused}");
    held.pop();
    loop {
        let mut stream = connect(&server);
        let sent = stream.write_all(request).is_ok();
        if sent && matches!(stream.read(&mut [0]), Ok(1)) {
            break;
        }
        assert!(Instant::now() < deadline, "no room again");
    }
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait_for_one() {
    let server = server(|limits| limits.connections = 2);
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = connect(&server);
    first.write_all(request).unwrap();
    assert!(answer(&mut first).starts_with("HTTP/1.1 200"));
    let mut others: Vec<_> = (0..3).map(|_| connect(&server)).collect();
    for other in &mut others {
        other.write_all(request).unwrap();
    }
    // At most one more has a place; the last must wait until others are gone.
    let mut last = others.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let early = last.read(&mut [0]);
    assert!(early.is_err(), "answered without a place: {early:?}");
    drop((first, others));
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(answer(&mut last).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn requests_that_take_too_long_are_answered_so() {
    let server = server(|limits| limits.request_time = Duration::from_millis(200));
    let mut stream = connect(&server);
    let head = format!(
        "POST /v1/tenants HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nContent-Length: 100\r\n\r\n{{",
        server.api_key().expose()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let answered = rest(&mut stream);
    assert!(answered.starts_with("HTTP/1.1 503"), "{answered}");
    assert!(answered.contains("\"request.timeout\""), "{answered}");
}
