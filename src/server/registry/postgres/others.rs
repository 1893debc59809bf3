//! The other servers on the same registry: what they do, what they changed, who publishes.

use std::future::Future;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_postgres::Statement;

use super::PostgresRegistry;
use super::session::{OPTIONS, Parameters};
use crate::link::postgres::{PostgresEndpoint, Session};
use crate::server::registry::stored::parse;
use crate::server::registry::{Changes, RegistryError, Signal};

/// Longest time for a question on a session of its own.
const DEADLINE: Duration = Duration::from_secs(3);
/// Pauses between two tries to listen: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Time between two signs of life of the listening session.
const PULSE: Duration = Duration::from_secs(10);

/// What is said by who waits for the read leases.
const LEASES: &str = "leases";
/// Pauses between two looks whether they were given back, in milliseconds.
const LOOKS: [u64; 9] = [1, 1, 2, 4, 8, 16, 32, 64, 128];

fn unavailable(error: impl std::fmt::Display) -> RegistryError {
    RegistryError::Unavailable(error.to_string())
}

async fn within<T>(
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| {
            Err(unavailable(format!(
                "PostgreSQL did not answer within {} s",
                DEADLINE.as_secs()
            )))
        })
}

/// Passes on what other servers say, and that word may have been lost, until nobody listens.
pub(super) async fn listen(
    endpoint: PostgresEndpoint,
    channel: String,
    signals: mpsc::UnboundedSender<Signal>,
) {
    let mut pause = PAUSE.0;
    while !signals.is_closed() {
        match heard(&endpoint, &channel, &signals).await {
            Ok(()) => pause = PAUSE.0,
            Err(error) => {
                tracing::debug!(%error, "what other servers do is not heard for a moment");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = signals.closed() => return,
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Listens on one session until it ends; fails when it could not be opened.
async fn heard(
    endpoint: &PostgresEndpoint,
    channel: &str,
    signals: &mpsc::UnboundedSender<Signal>,
) -> Result<(), RegistryError> {
    let (sender, mut messages) = mpsc::unbounded_channel();
    let session = endpoint
        .connect_listening(OPTIONS, sender)
        .await
        .map_err(unavailable)?;
    within(async {
        // The name is made of letters, digits and underscores.
        Ok(session.batch_execute(&format!("LISTEN {channel}")).await?)
    })
    .await?;
    let _ = signals.send(Signal::Anything);
    loop {
        let payload = tokio::select! {
            payload = messages.recv() => payload,
            () = signals.closed() => return Ok(()),
            () = tokio::time::sleep(PULSE) => {
                // A session that died without a word is noticed here.
                let alive = within(async { Ok(session.simple_query("").await?) }).await;
                if alive.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        let Some(payload) = payload else {
            return Ok(());
        };
        let signal = match payload.as_str() {
            "work" => Signal::Work,
            "mail" => Signal::Mail,
            LEASES => Signal::Leases,
            other => match other.strip_prefix("operation ") {
                Some(id) => Signal::Operation(id.to_owned()),
                // Of a newer version: whatever it means, a look does no harm.
                None => Signal::Anything,
            },
        };
        if signals.send(signal).is_err() {
            return Ok(());
        }
    }
}

/// A session of its own for one question that is asked very often.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) session: Session,
    since: Statement,
    last: Statement,
    take: Statement,
    give: Statement,
}

impl Feed {
    async fn open(endpoint: &PostgresEndpoint) -> Result<Self, RegistryError> {
        let session = endpoint.try_connect(OPTIONS).await.map_err(unavailable)?;
        // A standby may be behind: what was acknowledged is seen on the primary alone.
        let row = session.query_one("SELECT pg_is_in_recovery()", &[]).await?;
        if row.try_get(0)? {
            return Err(unavailable("its PostgreSQL is a standby"));
        }
        let since = session
            .prepare(
                "SELECT revision, NULL FROM access_keys_revision
                 UNION ALL SELECT change, id FROM tenants WHERE change > $1",
            )
            .await?;
        let last = session
            .prepare(
                "SELECT coalesce(max(change), 0), (SELECT revision FROM access_keys_revision)
                 FROM tenants",
            )
            .await?;
        let take = session.prepare("SELECT take_read_lease($1, $2)").await?;
        let give = session
            .prepare("DELETE FROM read_leases WHERE server = $1")
            .await?;
        Ok(Self {
            session,
            since,
            last,
            take,
            give,
        })
    }

    async fn ask(&self, after: Option<i64>) -> Result<Changes, RegistryError> {
        let Some(after) = after else {
            let row = self.session.query_one(&self.last, &[]).await?;
            return Ok(Changes {
                last: row.try_get(0)?,
                keys: row.try_get(1)?,
                tenants: Vec::new(),
            });
        };
        let rows = self.session.query(&self.since, &[&after]).await?;
        let mut changes = Changes {
            last: after,
            keys: 0,
            tenants: Vec::new(),
        };
        for row in rows {
            let number = row.try_get(0)?;
            match row.try_get::<_, Option<&str>>(1)? {
                Some(tenant) => {
                    changes.last = changes.last.max(number);
                    changes.tenants.push(parse(tenant)?);
                }
                None => changes.keys = number,
            }
        }
        Ok(changes)
    }
}

/// Returns who was changed after `after`. A new session begins anew: it fails when `after` is
/// given, because that number may be of a server that was replaced.
pub(super) async fn changes(
    registry: &PostgresRegistry,
    after: Option<i64>,
) -> Result<Changes, RegistryError> {
    registry.open_still()?;
    let mut feed = registry.feed.lock().await;
    // Taken out, and put back only when it is sound.
    let outcome = within(async {
        let open = match feed.take() {
            Some(open) => open,
            None if after.is_some() => {
                return Err(unavailable("the session was lost"));
            }
            None => Feed::open(&registry.endpoint).await?,
        };
        let changes = open.ask(after).await?;
        Ok((open, changes))
    })
    .await;
    let (open, changes) = outcome?;
    *feed = Some(open);
    Ok(changes)
}

/// Takes or prolongs this server's read lease, see `0008_read_leases.sql`.
pub(super) async fn take_read_lease(
    registry: &PostgresRegistry,
    time: Duration,
) -> Result<bool, RegistryError> {
    registry.open_still()?;
    let mut feed = registry.feed.lock().await;
    // Taken out, and put back only when it is sound.
    let Some(open) = feed.take() else {
        return Err(unavailable("the session was lost"));
    };
    let taken = within(async {
        let values: Parameters<'_> = &[&registry.instance, &time.as_secs_f64()];
        let row = open.session.query_one(&open.take, values).await?;
        Ok(row.try_get(0)?)
    })
    .await?;
    *feed = Some(open);
    Ok(taken)
}

/// Ends this server's read lease; without a session it ends by itself.
pub(super) async fn give_back_read_lease(registry: &PostgresRegistry) -> Result<(), RegistryError> {
    let mut feed = registry.feed.lock().await;
    let Some(open) = feed.take() else {
        return Ok(());
    };
    within(async {
        open.session
            .execute(&open.give, &[&registry.instance])
            .await?;
        Ok(())
    })
    .await?;
    *feed = Some(open);
    Ok(())
}

/// Asks the servers that hold read leases to give them back, and waits for it for a moment.
///
/// Only for speed: the database lets no change pass beside a lease, but there it has to end by
/// itself when its server does not hear that it is waited for.
pub(super) async fn call_in_read_leases(
    registry: &PostgresRegistry,
    session: &ClientWrapper,
) -> Result<(), RegistryError> {
    let asked = session
        .prepare_cached(
            "SELECT pg_notify($1, $2)
             WHERE EXISTS (SELECT FROM read_leases WHERE until > clock_timestamp())",
        )
        .await?;
    for pause in LOOKS {
        let left = session.query(&asked, &[&registry.channel, &LEASES]).await?;
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(())
}

/// The session that holds the lock of the one that publishes.
#[derive(Debug)]
pub(super) struct Leadership {
    pub(super) session: Session,
    /// Whether the lock is held, and since when publishing is safe.
    led_from: Option<Instant>,
}

/// Name of the lock, per schema.
const LOCK: &str = "hashtextextended('lerianctl publisher ' || current_schema(), 0)";

/// Returns true while this server is the one that publishes.
pub(super) async fn leads(
    registry: &PostgresRegistry,
    grace: Duration,
) -> Result<bool, RegistryError> {
    registry.open_still()?;
    let mut leadership = registry.leadership.lock().await;
    let outcome = within(async {
        let mut mine = match leadership.take() {
            Some(mine) => mine,
            None => Leadership {
                session: registry
                    .endpoint
                    .try_connect(OPTIONS)
                    .await
                    .map_err(unavailable)?,
                led_from: None,
            },
        };
        if mine.led_from.is_some() {
            // The lock lives exactly as long as the session does.
            mine.session.simple_query("").await?;
        } else {
            mine.led_from = elect(registry, &mine.session, grace).await?;
        }
        Ok(mine)
    })
    .await;
    let mine = outcome?;
    let leads = mine.led_from.is_some_and(|from| Instant::now() >= from);
    *leadership = Some(mine);
    Ok(leads)
}

/// Tries to take the lock; returns from when on it is safe to publish.
async fn elect(
    registry: &PostgresRegistry,
    session: &Session,
    grace: Duration,
) -> Result<Option<Instant>, RegistryError> {
    let row = session
        .query_one(&format!("SELECT pg_try_advisory_lock({LOCK})"), &[])
        .await?;
    if !row.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    // The one before may be cut off from PostgreSQL, and not know it yet: what it has begun to
    // publish is waited out.
    let before = session
        .query_opt(
            "SELECT let_go OR holder = $1 FROM publisher",
            &[&registry.instance],
        )
        .await?;
    let safe = match before {
        Some(row) => row.try_get(0)?,
        None => true,
    };
    session
        .execute(
            "INSERT INTO publisher (holder, let_go) VALUES ($1, FALSE)
             ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, let_go = FALSE",
            &[&registry.instance],
        )
        .await?;
    tracing::info!("this server publishes events");
    let now = Instant::now();
    Ok(Some(if safe { now } else { now + grace }))
}

/// Lets another server publish at once.
pub(super) async fn let_go(registry: &PostgresRegistry) {
    let Some(mine) = registry.leadership.lock().await.take() else {
        return;
    };
    if mine.led_from.is_none() {
        return;
    }
    let told = within(async {
        mine.session
            .execute(
                "UPDATE publisher SET let_go = TRUE WHERE holder = $1",
                &[&registry.instance],
            )
            .await?;
        mine.session
            .execute(&format!("SELECT pg_advisory_unlock({LOCK})"), &[])
            .await?;
        mine.session
            .execute("SELECT pg_notify($1, 'mail')", &[&registry.channel])
            .await?;
        Ok(())
    });
    if let Err(error) = told.await {
        tracing::debug!(%error, "the next one to publish waits a moment");
    }
}

/// Starts to listen; returns what is heard.
pub(super) fn signals(registry: &PostgresRegistry) -> mpsc::UnboundedReceiver<Signal> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(listen(
        registry.endpoint.clone(),
        registry.channel.clone(),
        sender,
    ));
    receiver
}
