//! Trace context and request ids: from the caller, through the log, to what comes of a request.

use lerianctl::client::{ClientSettings, TenantManager};
use lerianctl::link::trace::TraceContext;
use lerianctl::secret::Secret;
use serde_json::json;

use crate::server_kit::{Caller, slug};
use crate::support::{Play, Postgres, Sandbox, Script, ServerProcess};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn every_line_of_a_change_and_of_its_operation_names_request_and_trace() {
    let endpoint = Postgres::shared().endpoint();
    let mut server = ServerProcess::start(&endpoint, None);
    let caller = Caller::at(server.url()).with_key(server.api_key().expose());
    let slug = slug("traced");
    let body = json!({ "name": slug, "slug": slug, "environment": "production",
                       "isolationMode": "database", "services": ["tracer"] });
    let request = caller
        .request("POST", "/v1/admin/tenants")
        .header("x-request-id", "request-of-the-test")
        .header("traceparent", PARENT)
        .header("tracestate", "rojo=00f067")
        .json(&body);
    let answer = Caller::send(request).await;
    assert_eq!(answer.headers["x-request-id"], "request-of-the-test");
    let change = answer.expect(201);
    caller.succeeds(&change).await;
    // One without a trace gets one; what is not valid is not taken over.
    let odd = caller
        .request("POST", &format!("/v1/admin/tenants/{slug}/suspend"))
        .header("x-request-id", "not sane\u{e9}")
        .header("traceparent", "00-zz")
        .json(&json!({}));
    let answer = Caller::send(odd).await;
    answer.expect(200);
    let given = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    assert!(uuid::Uuid::parse_str(&given).is_ok(), "{given}");
    assert_eq!(server.terminate(), Some(0));

    let log = std::fs::read_to_string(server.folder().join("log-1.txt")).unwrap();
    let operation = change["operation"]["id"].as_str().unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(operation))
        .collect();
    assert!(lines.len() >= 2, "{log}");
    for line in &lines {
        assert!(line.contains("request-of-the-test"), "{line}");
        assert!(line.contains(TRACE), "{line}");
    }
    let answered = |id: &str| {
        let found = log
            .lines()
            .find(|line| line.contains(id) && line.contains("answered"));
        found.unwrap_or_else(|| panic!("{id} was not answered: {log}"))
    };
    let line = answered("request-of-the-test");
    assert!(line.contains(TRACE), "{line}");
    assert!(!line.contains("00f067aa0ba902b7"), "a new span: {line}");
    let line = answered(&given);
    assert!(line.contains("trace="), "{line}");
    assert!(!line.contains(TRACE), "{line}");
}

#[tokio::test]
async fn the_client_passes_its_trace_on_with_a_new_span_for_every_call() {
    let script = Script::answer(|_, _| Play::json(200, json!([])));
    let mut settings = ClientSettings::new(script.url().parse().unwrap(), Secret::new("key"));
    settings.trace = TraceContext::parse(PARENT).map(|trace| trace.with_state("rojo=1"));
    let client = TenantManager::new(settings).unwrap();
    let service = "ledger".parse().unwrap();
    for _ in 0..2 {
        client.active(&service).await.unwrap();
    }
    let seen = script.seen();
    let spans: Vec<&String> = seen
        .iter()
        .map(|seen| &seen.headers["traceparent"])
        .collect();
    for span in &spans {
        assert_eq!(span.split('-').nth(1), Some(TRACE));
        assert_ne!(span.split('-').nth(2), Some("00f067aa0ba902b7"));
    }
    assert_ne!(spans[0], spans[1]);
    assert_eq!(seen[0].headers["tracestate"], "rojo=1");
}

#[test]
fn the_program_takes_its_trace_from_the_environment() {
    let script = Script::answer(|_, _| Play::json(500, json!({})));
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", script.url())
        .with("LERIANCTL_API_KEY", "key")
        .with("TRACEPARENT", PARENT);
    let _ = room.run(["tenant", "list", "--timeout", "2s"]);
    let seen = script.seen();
    assert!(!seen.is_empty());
    for seen in seen {
        assert_eq!(seen.headers["traceparent"].split('-').nth(1), Some(TRACE));
    }
}
