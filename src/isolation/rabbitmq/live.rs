//! RQ-10: tenants' own users try to open the others' virtual hosts.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};

use super::amqp::{self, Opened};
use crate::isolation::catalogue::known;
use crate::isolation::derange::{bound, derangement};
use crate::isolation::inventory::Messaging;
use crate::isolation::model::{Finding, Severity};
use crate::isolation::part::Part;
use crate::secret::{hex, random_bytes};

/// Pairs up to which all of them are tried without being asked to.
const FEW: usize = 400;
/// What the broker answers to who has no permission.
const NOT_ALLOWED: u16 = 530;

/// How many are tried.
#[derive(Debug, Clone, Copy)]
pub struct Trials {
    /// Derangements.
    pub derangements: u32,
    /// Whether every pair is tried.
    pub exhaustive: bool,
    /// Seed of the derangements.
    pub seed: u64,
    /// Connections at the same time.
    pub jobs: usize,
}

fn place(one: &Messaging) -> String {
    format!("{}:{}", one.host, one.port)
}

/// Returns true for the refusal of a host that exists, and for which a permission is missing.
pub(super) fn is_refusal(opened: &Opened) -> bool {
    matches!(opened, Opened::Refused(NOT_ALLOWED, text) if !text.contains("not found"))
}

/// Tries.
pub(super) async fn run(messaging: &[Messaging], trials: Trials, part: &mut Part) {
    let mut brokers: BTreeMap<String, Vec<&Messaging>> = BTreeMap::new();
    for one in messaging {
        brokers.entry(place(one)).or_default().push(one);
    }
    for (broker, logins) in brokers {
        let tenants: Vec<&str> = {
            let mut names: Vec<&str> = logins.iter().map(|one| one.tenant.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let all = trials.exhaustive || logins.len() * logins.len() <= FEW;
        let rounds: Vec<Vec<usize>> = if all || tenants.len() < 2 {
            Vec::new()
        } else {
            (0..trials.derangements)
                .map(|round| derangement(tenants.len(), trials.seed.wrapping_add(u64::from(round))))
                .collect()
        };
        let other = |one: &Messaging, victim: &Messaging| {
            if one.tenant == victim.tenant || one.vhost == victim.vhost {
                return false;
            }
            let at = |name: &str| tenants.binary_search(&name).unwrap_or(0);
            all || rounds
                .iter()
                .any(|round| round[at(&one.tenant)] == at(&victim.tenant))
        };
        let pairs: usize = logins
            .iter()
            .map(|one| {
                let victims = logins.iter();
                victims
                    .filter(|v| one.tenant != v.tenant && one.vhost != v.vhost)
                    .count()
            })
            .sum();
        let work: Vec<(&Messaging, Vec<&Messaging>)> = logins
            .iter()
            .map(|one| {
                let victims = logins.iter().copied();
                (*one, victims.filter(|victim| other(one, victim)).collect())
            })
            .collect();
        let mut tried = 0;
        let mut results = stream::iter(work)
            .map(|(one, victims)| async move {
                let own = amqp::open(one, &one.vhost).await;
                let mut answers = Vec::new();
                if own == Opened::Yes {
                    for victim in victims {
                        answers.push((victim, amqp::open(one, &victim.vhost).await));
                    }
                }
                (one, own, answers)
            })
            .buffer_unordered(trials.jobs.max(1));
        while let Some((one, own, answers)) = results.next().await {
            // What is refused to it counts only for a user that may enter its own.
            match own {
                Opened::Yes => {}
                Opened::Refused(_, reason) | Opened::Unclear(reason) => {
                    part.failed(
                        "RQ-10",
                        format!(
                            "{} cannot open its own vhost {}: {reason}",
                            one.username, one.vhost
                        ),
                    );
                    continue;
                }
            }
            for (victim, opened) in answers {
                match opened {
                    Opened::Yes => {
                        tried += 1;
                        let mut finding = Finding::new(
                            known("RQ-10"),
                            &broker,
                            format!("vhost {} for {}", victim.vhost, one.username),
                        );
                        finding.from = vec![one.tenant.clone()];
                        finding.to = vec![victim.tenant.clone()];
                        finding.roles = vec![one.username.clone()];
                        finding.evidence = format!("{} opened {}", one.username, victim.vhost);
                        part.findings.push(finding);
                    }
                    refused if is_refusal(&refused) => tried += 1,
                    Opened::Refused(code, text) => part.failed("RQ-10", format!("{code} {text}")),
                    Opened::Unclear(reason) => part.failed("RQ-10", reason),
                }
            }
        }
        drop(results);
        part.looked("RQ-10", tried, pairs as u64);
        if !all && tried > 0 {
            part.gap(
                format!("virtual hosts of {broker}"),
                format!(
                    "{tried} of {pairs} pairs were tried (seed {}); breaches of more than {:.2} % of pairs are missed with less than 5 %; --exhaustive tries all",
                    trials.seed,
                    bound(tried) * 100.0
                ),
            );
        }
        oracle(&broker, &logins, part).await;
    }
}

/// Notes whether the broker tells a host that is not there from one that is closed.
async fn oracle(broker: &str, logins: &[&Messaging], part: &mut Part) {
    let Some(one) = logins.iter().find(|one| one.password.is_some()) else {
        return;
    };
    let nowhere = format!("lerianctl-probe-{}", hex(&random_bytes::<8>()));
    if let Opened::Refused(_, text) = amqp::open(one, &nowhere).await
        && text.contains("not found")
    {
        let mut remark = Finding::new(known("RQ-10"), broker, "text of the refusal");
        remark.severity = Severity::Info;
        remark.from = vec![one.tenant.clone()];
        remark.evidence =
            "a vhost that does not exist is \"not found\": names of tenants can be guessed".into();
        part.findings.push(remark);
    }
}
