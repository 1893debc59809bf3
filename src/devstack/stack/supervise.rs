//! Restarting a server that ended although nobody asked it to.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{ServerState, Stack, State};
use crate::devstack::DevstackError;
use crate::devstack::postgres::Postgres;
use crate::devstack::process::ProcessId;
use crate::devstack::redis::Redis;

/// First pause before a failed restart is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A server that ran this long is healthy again, and its next restart is not delayed.
const HEALTHY: Duration = Duration::from_secs(30);

/// Something that happened to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incident {
    /// It ended although nobody asked it to.
    Ended {
        /// Which one.
        server: &'static str,
        /// How, as the system says it.
        how: String,
    },
    /// It runs and answers again, on the same port, with its data.
    Restarted {
        /// Which one.
        server: &'static str,
    },
    /// It could not be started; it is tried again after a pause.
    Failed {
        /// Which one.
        server: &'static str,
        /// Why.
        reason: String,
        /// The pause.
        pause: Duration,
    },
}

/// A server that can be watched and started again.
trait Restartable {
    const NAME: &'static str;
    fn watch(&self) -> watch::Receiver<Option<String>>;
    fn process(&self) -> &ProcessId;
    async fn restart(&mut self) -> Result<(), DevstackError>;
    fn state(state: &mut State) -> &mut Option<ServerState>;
}

impl Restartable for Postgres {
    const NAME: &'static str = "PostgreSQL";

    fn watch(&self) -> watch::Receiver<Option<String>> {
        self.watch()
    }

    fn process(&self) -> &ProcessId {
        self.process()
    }

    async fn restart(&mut self) -> Result<(), DevstackError> {
        self.restart().await
    }

    fn state(state: &mut State) -> &mut Option<ServerState> {
        &mut state.postgres
    }
}

impl Restartable for Redis {
    const NAME: &'static str = "Redis";

    fn watch(&self) -> watch::Receiver<Option<String>> {
        self.watch()
    }

    fn process(&self) -> &ProcessId {
        self.process()
    }

    async fn restart(&mut self) -> Result<(), DevstackError> {
        self.restart().await
    }

    fn state(state: &mut State) -> &mut Option<ServerState> {
        &mut state.redis
    }
}

impl Stack {
    /// Starts a private server again whenever it ends, and reports what happened. Never returns;
    /// dropping the future ends the supervision and leaves the servers running.
    pub async fn supervise(&mut self, report: impl Fn(Incident)) {
        let Self {
            postgres,
            redis,
            state,
            home,
            ..
        } = self;
        let state = &*state;
        let record = |change: &dyn Fn(&mut State)| {
            let mut state = state
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            change(&mut state);
            // The state only informs; a full disk must not keep a server from running.
            let _ = state.write(home);
        };
        tokio::join!(
            keep(postgres.as_mut(), &report, &record),
            keep(redis.as_mut(), &report, &record),
        );
    }
}

async fn keep<S: Restartable>(
    server: Option<&mut S>,
    report: &impl Fn(Incident),
    record: &impl Fn(&dyn Fn(&mut State)),
) {
    let Some(server) = server else {
        return std::future::pending().await;
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let mut ended = server.watch();
        let since = Instant::now();
        let how = match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "it is not watched any more".to_owned(),
        };
        report(Incident::Ended {
            server: S::NAME,
            how,
        });
        if since.elapsed() > HEALTHY {
            pause = FIRST_PAUSE;
        }
        while let Err(error) = server.restart().await {
            report(Incident::Failed {
                server: S::NAME,
                reason: error.to_string(),
                pause,
            });
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let process = server.process().clone();
        record(&|state| {
            if let Some(server) = S::state(state) {
                server.process = Some(process.clone());
            }
        });
        report(Incident::Restarted { server: S::NAME });
    }
}
