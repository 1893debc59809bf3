//! What a running stack tells other commands, in a file.

use std::fs;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::Home;
use crate::devstack::process::ProcessId;
use crate::devstack::{DevstackError, folder};

/// The text of the state file. Ports outlive a stop, so that the next start can use them again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// The process that runs the stack.
    pub supervisor: Option<ProcessId>,
    /// Whether everything answered.
    pub ready: bool,
    /// Address of the Tenant Manager.
    pub server: Option<String>,
    /// PostgreSQL.
    pub postgres: Option<ServerState>,
    /// Redis.
    pub redis: Option<ServerState>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerState {
    /// Whether it is a private one, started by us.
    pub managed: bool,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Its process, while a private one runs.
    pub process: Option<ProcessId>,
}

impl State {
    /// Reads the state; that of a stack that never ran is empty.
    pub(super) fn read(home: &Home) -> Result<Self, DevstackError> {
        let path = home.state();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(DevstackError::io("cannot read", &path)(error)),
        };
        // It only saves time: servers are recognised without it.
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Replaces the state file.
    pub(super) fn write(&self, home: &Home) -> Result<(), DevstackError> {
        let mut text = serde_json::to_vec_pretty(self).expect("the state is plain JSON");
        text.push(b'\n');
        folder::write_private(&home.state(), &text, None)
    }

    /// Records that `supervisor` starts.
    pub(super) fn begin(&mut self, supervisor: Option<ProcessId>) {
        self.end();
        self.supervisor = supervisor;
    }

    /// Records that nothing runs any more.
    pub(super) fn end(&mut self) {
        self.supervisor = None;
        self.ready = false;
        for server in [&mut self.postgres, &mut self.redis].into_iter().flatten() {
            server.process = None;
        }
    }
}
