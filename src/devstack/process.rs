//! Processes: recognising one for certain, and signalling nothing else.

use std::path::Path;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// A process that cannot be taken for a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in a form that is only good for comparing.
    pub started: String,
}

impl ProcessId {
    /// Returns the identity of the running process `pid`; `None` when it does not run (any more).
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self {
            pid,
            started: platform::started(pid)?,
        })
    }

    /// Returns the identity of this process.
    pub fn current() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Returns true while exactly this process runs.
    pub fn is_alive(&self) -> bool {
        platform::started(self.pid).as_ref() == Some(&self.started)
    }

    /// Sends `signal` to exactly this process; returns false when it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return false;
        };
        platform::signal(self, pid, signal)
    }
}

/// Returns true when `pid` runs one of `programs` (file names) with `folder` as its working
/// folder, as our servers do.
pub fn works_in(pid: u32, programs: &[&str], folder: &Path) -> bool {
    platform::works_in(pid, programs, folder)
}

/// Returns every process that runs one of `programs` with `folder` as its working folder.
pub fn all_in(programs: &[&str], folder: &Path) -> Vec<ProcessId> {
    platform::all()
        .into_iter()
        .filter(|pid| platform::works_in(*pid, programs, folder))
        .filter_map(ProcessId::of)
        .collect()
}

#[cfg(target_os = "linux")]
mod platform {
    use std::path::Path;

    use rustix::process::{Pid, PidfdFlags, Signal};

    use super::ProcessId;

    /// Field 22 of `/proc/<pid>/stat` (ticks since boot), with the boot it counts from.
    pub(super) fn started(pid: u32) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, so the fields are counted after it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let ticks = fields.nth(18)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Some(format!("{}/{ticks}", boot.trim()))
    }

    pub(super) fn signal(process: &ProcessId, pid: Pid, signal: Signal) -> bool {
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // The descriptor stays with the process, so the check cannot be overtaken.
            Ok(fd) => process.is_alive() && rustix::process::pidfd_send_signal(fd, signal).is_ok(),
            Err(rustix::io::Errno::SRCH) => false,
            // Old kernels and sandboxes do not have process descriptors.
            Err(_) => process.is_alive() && rustix::process::kill_process(pid, signal).is_ok(),
        }
    }

    pub(super) fn works_in(pid: u32, programs: &[&str], folder: &Path) -> bool {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let link = std::fs::read_link(format!("/proc/{pid}/cwd"));
        programs.contains(&name.trim_end())
            && link.is_ok_and(|cwd| folder.canonicalize().is_ok_and(|folder| cwd == folder))
    }

    pub(super) fn all() -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::path::Path;
    use std::process::Command;

    use rustix::process::{Pid, Signal};

    use super::ProcessId;

    fn ps(pid: u32, column: &str) -> Option<String> {
        let output = Command::new("/bin/ps")
            .args(["-o", column, "-p", &pid.to_string()])
            .env("LC_ALL", "C")
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    }

    pub(super) fn started(pid: u32) -> Option<String> {
        if ps(pid, "stat=")?.starts_with('Z') {
            return None;
        }
        ps(pid, "lstart=")
    }

    pub(super) fn signal(process: &ProcessId, pid: Pid, signal: Signal) -> bool {
        process.is_alive() && rustix::process::kill_process(pid, signal).is_ok()
    }

    /// Without `/proc`, the command line tells: our servers are given a path in or next to the
    /// folder that they work in.
    pub(super) fn works_in(pid: u32, programs: &[&str], folder: &Path) -> bool {
        let home = folder.parent().unwrap_or(folder).display().to_string();
        ps(pid, "command=").is_some_and(|line| {
            line.contains(&home) && programs.iter().any(|program| line.contains(program))
        })
    }

    pub(super) fn all() -> Vec<u32> {
        let Ok(output) = Command::new("/bin/ps").args(["-axo", "pid="]).output() else {
            return Vec::new();
        };
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .filter(|pid| *pid != std::process::id())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ended_and_no_other_is_taken_for_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        assert!(id.is_alive());
        let other = ProcessId {
            started: "another time".into(),
            ..id.clone()
        };
        assert!(!other.is_alive());
        assert!(!other.signal(Signal::KILL), "another process was signalled");
        assert!(id.is_alive());
        assert!(id.signal(Signal::KILL));
        child.wait().unwrap();
        assert!(!id.is_alive());
        assert!(!id.signal(Signal::KILL));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_found_by_its_program_and_working_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        // The name of a new process changes a moment after its program was loaded.
        let start = std::time::Instant::now();
        let mut found = Vec::new();
        while found.is_empty() && start.elapsed().as_secs() < 60 {
            found = all_in(&["sleep"], folder.path());
        }
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pid, child.id());
        assert_eq!(all_in(&["postgres"], folder.path()), []);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(all_in(&["sleep"], folder.path()), []);
    }
}
