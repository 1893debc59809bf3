//! What a report says in words, the same in every form.

use super::model::Finding;
use super::report::{ControlState, Isolation};

impl Isolation {
    /// Returns the servers that were looked at, each with who read it.
    pub fn servers(&self) -> Vec<String> {
        let read_by = |reader: &str| match reader {
            "" => String::new(),
            reader => format!(" (read by {reader})"),
        };
        let clusters = self.fleet.clusters.iter().map(|cluster| {
            let version = match cluster.version.as_str() {
                "" => "that was not reached",
                version => version,
            };
            let reader = read_by(&cluster.reader);
            format!("PostgreSQL {version} at {}{reader}", cluster.address)
        });
        let others = self.fleet.servers.iter().map(|server| {
            let reader = read_by(&server.reader);
            format!(
                "{} {} at {}{reader}",
                server.kind, server.version, server.address
            )
        });
        clusters.chain(others).collect()
    }

    /// Says how much was looked at.
    pub fn covered(&self) -> String {
        let coverage = &self.coverage;
        let live = if coverage.probes == 0 && coverage.logins_tried == 0 {
            "live: nothing was tried".to_owned()
        } else if coverage.exhaustive {
            format!(
                "live: every pair, {} probes by {} of {} logins",
                coverage.probes, coverage.logins_tried, coverage.logins
            )
        } else {
            format!(
                "live: {} derangements, {} probes by {} of {} logins, seed {}; breaches of more than {:.2} % of pairs are missed with less than 5 %",
                coverage.derangements,
                coverage.probes,
                coverage.logins_tried,
                coverage.logins,
                coverage.seed,
                coverage.bound * 100.0
            )
        };
        let catalogues = if coverage.pairs == 0 && coverage.databases_read == 0 {
            "not read".to_owned()
        } else {
            format!(
                "all {} pairs, {} of {} databases",
                coverage.pairs, coverage.databases_read, coverage.databases
            )
        };
        format!("Coverage: catalogues: {catalogues}; {live}")
    }

    /// Says what became of the planted breaches.
    pub fn controlled(&self) -> String {
        let control = &self.control;
        match control.state {
            ControlState::Detected => {
                format!("Control: {} planted breaches, all found", control.planted)
            }
            ControlState::Missed => format!(
                "Control: {} of {} planted breaches found, {} missed",
                control.detected,
                control.planted,
                control.missed.join(", ")
            ),
            ControlState::Impossible => format!("NO CONTROL: {}", control.reason),
            ControlState::Off => {
                "NO CONTROL: nothing was planted, so no silence here proves anything".into()
            }
        }
    }

    /// Says from when each part is, where the run was cut short and went on.
    pub fn sat(&self) -> Option<String> {
        let parts: Vec<String> = self
            .sittings
            .iter()
            .map(|sitting| {
                format!(
                    "{} logins from {} to {}",
                    sitting.logins, sitting.began_at, sitting.last_at
                )
            })
            .collect();
        (!parts.is_empty()).then(|| {
            format!(
                "In {} sittings: {}; everything else is of the last one",
                parts.len(),
                parts.join(", ")
            )
        })
    }

    /// Returns the findings that somebody answers for.
    pub fn waived(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.counts())
    }
}

impl Finding {
    /// Says who answers for it and until when; empty without a waiver.
    pub fn waived_by(&self) -> String {
        match &self.waiver {
            None => String::new(),
            Some(waiver) if waiver.expired => format!(
                "its waiver ended on {} ({}): {}",
                waiver.expires, waiver.owner, waiver.reason
            ),
            Some(waiver) => format!(
                "waived until {} ({}): {}",
                waiver.expires, waiver.owner, waiver.reason
            ),
        }
    }
}
