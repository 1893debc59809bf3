//! Figures of the process, under the names that every exporter uses.

use std::fs;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry as Figures, Unit};

/// Figures that Linux tells in `/proc`; elsewhere only the start is known.
#[derive(Debug)]
pub(super) struct Process {
    figures: Figures,
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    open_files: Gauge,
    most_files: Gauge,
    threads: Gauge,
}

impl Process {
    pub(super) fn new() -> Self {
        let mut process = Self {
            figures: Figures::default(),
            cpu: Counter::default(),
            resident: Gauge::default(),
            open_files: Gauge::default(),
            most_files: Gauge::default(),
            threads: Gauge::default(),
        };
        let started: Gauge = Gauge::default();
        started.set(jiff::Timestamp::now().as_second());
        let figures = &mut process.figures;
        figures.register_with_unit(
            "process_start_time",
            "When the server started, since 1970",
            Unit::Seconds,
            started,
        );
        if fs::metadata("/proc/self/stat").is_ok() {
            figures.register_with_unit(
                "process_cpu",
                "Time of processors that was used",
                Unit::Seconds,
                process.cpu.clone(),
            );
            figures.register_with_unit(
                "process_resident_memory",
                "Memory in use",
                Unit::Bytes,
                process.resident.clone(),
            );
            figures.register(
                "process_open_fds",
                "Files that are open",
                process.open_files.clone(),
            );
            figures.register(
                "process_max_fds",
                "Files that may be open",
                process.most_files.clone(),
            );
            figures.register("process_threads", "Threads", process.threads.clone());
        }
        process
    }

    /// Returns the figures as of now.
    pub(super) fn figures(&self) -> &Figures {
        if let Some(used) = cpu_seconds() {
            let more = used - self.cpu.get();
            if more > 0.0 {
                self.cpu.inc_by(more);
            }
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<i64>().ok()
        };
        if let Some(kilobytes) = number("VmRSS:") {
            self.resident.set(kilobytes.saturating_mul(1024));
        }
        if let Some(threads) = number("Threads:") {
            self.threads.set(threads);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder itself.
            let open = open.count().saturating_sub(1);
            self.open_files.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        self.most_files.set(
            most.and_then(|most| i64::try_from(most).ok())
                .unwrap_or(i64::MAX),
        );
        &self.figures
    }
}

/// Returns the time of processors that this process has used, in user and system mode.
fn cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    #[expect(clippy::cast_precision_loss, reason = "hundredths of a second")]
    let seconds = user.saturating_add(system) as f64 / ticks.max(1) as f64;
    Some(seconds)
}
