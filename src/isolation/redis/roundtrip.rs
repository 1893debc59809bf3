//! RD-15: publishes one event that means nothing, and waits for it. Only when asked to.

use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use crate::contract::event::{Envelope, EventType, channel};
use crate::contract::ids::{Environment, Slug, TenantId};
use crate::isolation::catalogue::known;
use crate::isolation::model::Finding;
use crate::isolation::part::Part;
use crate::link::redis::RedisEndpoint;

/// Longest time for an event to come back.
const DEADLINE: Duration = Duration::from_secs(5);

/// What became of the event.
pub(super) struct Trip {
    /// Clients that received it, as the server says.
    pub(super) receivers: u64,
    /// Clients that listened, with us.
    pub(super) expected: u64,
    /// Whether it came back as it was sent; absent when it did not come back.
    pub(super) came_back: Option<bool>,
}

impl Trip {
    /// Returns what went wrong.
    pub(super) fn problem(&self) -> Option<String> {
        match self.came_back {
            None => Some("it did not come back".into()),
            Some(false) => Some("something else came back than was sent".into()),
            Some(true) if self.receivers < self.expected => Some(format!(
                "{} received it, and {} listen",
                self.receivers, self.expected
            )),
            Some(true) => None,
        }
    }
}

/// Publishes on the channel of `environment` and judges what comes back.
pub(super) async fn run(endpoint: &RedisEndpoint, environment: &str, part: &mut Part) {
    let Some(channel) = environment
        .parse::<Environment>()
        .ok()
        .and_then(|environment| channel(&environment))
    else {
        part.skip("RD-15", format!("{environment} has no events"));
        return;
    };
    match trip(endpoint, environment, &channel).await {
        Ok(trip) => {
            part.looked("RD-15", 1, 1);
            if let Some(problem) = trip.problem() {
                let mut finding = Finding::new(
                    known("RD-15"),
                    endpoint.address(),
                    format!("channel {channel}"),
                );
                finding.to = vec![crate::isolation::model::EVERYONE.into()];
                finding.evidence = problem;
                part.findings.push(finding);
            }
        }
        Err(reason) => part.failed("RD-15", format!("{}: {reason}", endpoint.address())),
    }
}

async fn trip(endpoint: &RedisEndpoint, environment: &str, channel: &str) -> Result<Trip, String> {
    let said = |error: crate::link::LinkError| error.to_string();
    let mut subscriber = endpoint.subscriber().await.map_err(said)?;
    subscriber
        .subscribe(channel)
        .await
        .map_err(|error| said(endpoint.failure(&error)))?;
    let mut session = endpoint.connect().await.map_err(said)?;
    let mut ask = redis::cmd("PUBSUB");
    ask.arg("NUMSUB").arg(channel);
    let (_, expected): (String, u64) = session.query(&ask).await.map_err(said)?;
    let nobody = TenantId::generate();
    let slug: Slug = "lerianctl-probe".parse().map_err(|_| "a slug")?;
    let environment: Environment = environment.parse().map_err(|_| "an environment")?;
    let payload =
        serde_json::json!({ "service_name": "lerianctl-probe", "reason": "isolation check" });
    let event = Envelope::new(
        EventType::CacheInvalidate,
        Timestamp::now(),
        (&nobody, &slug, &environment),
        Some(payload),
    );
    let text = serde_json::to_string(&event).map_err(|error| error.to_string())?;
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(channel).arg(&text);
    let receivers: u64 = session.query(&publish).await.map_err(said)?;
    let back = async {
        let mut messages = subscriber.on_message();
        // Events of products may come in between.
        while let Some(message) = messages.next().await {
            let got = message.get_payload::<String>().unwrap_or_default();
            if got == text {
                return Some(true);
            }
            if got.contains(&event.event_id) {
                return Some(false);
            }
        }
        None
    };
    let came_back = tokio::time::timeout(DEADLINE, back).await.unwrap_or(None);
    Ok(Trip {
        receivers,
        expected,
        came_back,
    })
}
