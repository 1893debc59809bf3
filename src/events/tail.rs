//! Listens to events as a product does, and says when it could not.

use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use redis::Msg;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::received::{Filter, Malformed, Received, read};
use crate::contract::Environment;
use crate::contract::event::channel;
use crate::link::LinkError;
use crate::link::redis::RedisEndpoint;

/// Pattern that products with an old library subscribe to: every environment's events.
pub const OLD_PATTERN: &str = "tenant-events:*";

/// How often a silent connection is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Longest time that it may take to answer.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(5);
/// Pauses between attempts to reconnect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What to listen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// The channel of one environment, as products do today.
    Environment(Environment),
    /// Every channel, as products with an old library do; also what nobody else hears.
    OldPattern,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// The subscription is confirmed: from now on nothing is missed.
    Listening {
        /// Channel or pattern.
        to: String,
        /// Time without a subscription, when there was one before: events in it are lost.
        gap: Option<Duration>,
    },
    /// The connection broke; events are lost until the next [`Item::Listening`].
    Lost {
        /// Why.
        reason: String,
    },
    /// An event that the filter accepts.
    Event(Box<Received>),
    /// A message that products drop.
    Malformed(Malformed),
}

/// Why listening is not possible.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// Products of this environment do not listen.
    #[error(
        "there are no events for environment `{0}`: products listen to staging and production only"
    )]
    NoChannel(Environment),
    /// The Redis failed at the first attempt, or refused at a later one.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Listens until `each` breaks or `until` comes, and reconnects as often as needed.
///
/// Nothing is kept for a listener that is away, so each gap is told.
pub async fn tail(
    endpoint: &RedisEndpoint,
    subscription: &Subscription,
    filter: &Filter,
    until: Option<Instant>,
    mut each: impl FnMut(Item) -> ControlFlow<()>,
) -> Result<(), TailError> {
    let to = match subscription {
        Subscription::OldPattern => OLD_PATTERN.to_owned(),
        Subscription::Environment(environment) => {
            channel(environment).ok_or_else(|| TailError::NoChannel(environment.clone()))?
        }
    };
    let is_pattern = *subscription == Subscription::OldPattern;
    let mut connection = Some(subscribe(endpoint, &to, is_pattern).await?);
    let mut lost_at = None;
    let mut pause = PAUSES.0;
    let end = async {
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        let listening = async {
            match connection.take() {
                Some(connection) => Ok(connection),
                None => subscribe(endpoint, &to, is_pattern).await,
            }
        };
        let reason = tokio::select! {
            () = &mut end => return Ok(()),
            listening = listening => match listening {
                Ok(connection) => {
                    pause = PAUSES.0;
                    let gap = lost_at.take().map(|at: Instant| at.elapsed());
                    if each(Item::Listening { to: to.clone(), gap }).is_break() {
                        return Ok(());
                    }
                    let (mut sink, stream) = connection.split();
                    let mut heard = |message: &Msg| hear(message, filter, &mut each);
                    tokio::select! {
                        () = &mut end => return Ok(()),
                        stop = listen(stream, &mut heard) => match stop {
                            ControlFlow::Break(()) => return Ok(()),
                            ControlFlow::Continue(()) => "the server closed the connection".to_owned(),
                        },
                        reason = silence(&mut sink) => reason,
                    }
                }
                Err(LinkError::Unreachable { .. }) => {
                    tokio::select! {
                        () = &mut end => return Ok(()),
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSES.1);
                    continue;
                }
                Err(error) => return Err(error.into()),
            },
        };
        lost_at = Some(Instant::now());
        if each(Item::Lost { reason }).is_break() {
            return Ok(());
        }
    }
}

async fn subscribe(
    endpoint: &RedisEndpoint,
    to: &str,
    is_pattern: bool,
) -> Result<PubSub, LinkError> {
    let mut connection = endpoint.subscriber().await?;
    let confirmed = async {
        if is_pattern {
            connection.psubscribe(to).await
        } else {
            connection.subscribe(to).await
        }
    };
    match timeout(HEARTBEAT_DEADLINE, confirmed).await {
        Ok(Ok(())) => Ok(connection),
        Ok(Err(error)) => Err(endpoint.failure(&error)),
        Err(_) => Err(endpoint.unreachable("it does not confirm the subscription")),
    }
}

async fn listen(
    mut stream: PubSubStream,
    heard: &mut impl FnMut(&Msg) -> ControlFlow<()>,
) -> ControlFlow<()> {
    while let Some(message) = stream.next().await {
        heard(&message)?;
    }
    ControlFlow::Continue(())
}

fn hear(
    message: &Msg,
    filter: &Filter,
    each: &mut impl FnMut(Item) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let channel = message.get_channel_name();
    match read(channel, message.get_payload_bytes(), Timestamp::now()) {
        Ok(event) if filter.accepts(&event) => each(Item::Event(event)),
        Ok(_) => ControlFlow::Continue(()),
        Err(malformed) => each(Item::Malformed(malformed)),
    }
}

/// Ends when the server does not answer any more: a dead network does not close a connection,
/// and a listener could wait for ever.
async fn silence(sink: &mut PubSubSink) -> String {
    let mut beats = interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats.tick().await;
    loop {
        beats.tick().await;
        match timeout(HEARTBEAT_DEADLINE, sink.ping::<redis::Value>()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return crate::link::redis::printable(&error.to_string()),
            Err(_) => return "the server does not answer any more".to_owned(),
        }
    }
}
