//! The checks of RabbitMQ: virtual hosts, users, permissions, bridges.
//!
//! [`check`] reads the management interface (`api`), judges what it answers (`judge`), and has
//! tenants' users try the others' virtual hosts (`live`). A control puts planted answers through
//! the same judgement (`control`). Nothing is declared, published or consumed.

mod amqp;
mod api;
mod control;
mod facts;
mod judge;
mod live;
mod ways;

use std::collections::BTreeSet;

pub use api::Management;
pub use live::Trials;

use super::inventory::Inventory;
use super::model::Check;
use super::part::Part;
use super::report::ServerFacts;
use facts::Context;

/// How RabbitMQ is looked at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Management interfaces, one per broker.
    pub brokers: Vec<Management>,
    /// Users that may do everything, besides those that log in here.
    pub trusted: Vec<String>,
    /// Certificates to trust where products use TLS, PEM; the system's roots when absent.
    pub ca_pem: Option<String>,
}

/// Returns the ids that a breach is planted for in each run.
pub fn planted() -> BTreeSet<&'static str> {
    control::planted().collect()
}

/// Looks at every broker; `checks` are those that were asked for. Without `trials` nobody's login
/// is tried.
pub async fn check(
    inventory: &Inventory,
    options: &Options,
    checks: &[&'static Check],
    trials: Option<Trials>,
) -> Part {
    let mut part = Part::default();
    if checks.is_empty() {
        return part;
    }
    if options.brokers.is_empty() && inventory.messaging.is_empty() {
        part.skip_all(
            checks,
            "no RabbitMQ is configured, and no tenant is led to one",
        );
        return part;
    }
    let asked: BTreeSet<&str> = checks.iter().map(|check| check.id).collect();
    let mut trusted: BTreeSet<String> = options.trusted.iter().cloned().collect();
    trusted.extend(options.brokers.iter().map(|broker| broker.username.clone()));
    let context = |store: &str| Context::new(inventory, store, trusted.clone());
    if inventory.messaging.is_empty() {
        for id in ["RQ-01", "RQ-10"] {
            part.skip(id, "no tenant is led to a RabbitMQ");
        }
    } else {
        judge::handed(&context("inventory"), &mut part);
        match trials {
            Some(trials) if asked.contains("RQ-10") => {
                let mut messaging = inventory.messaging.clone();
                for one in &mut messaging {
                    one.ca_pem = one.ca_pem.take().or_else(|| options.ca_pem.clone());
                }
                live::run(&messaging, trials, &mut part).await;
            }
            Some(_) => {}
            None => part.skip("RQ-10", "it was switched off (--static)"),
        }
    }
    let of_broker: Vec<&'static Check> = checks
        .iter()
        .copied()
        .filter(|check| !matches!(check.id, "RQ-01" | "RQ-10"))
        .collect();
    if options.brokers.is_empty() {
        part.skip_all(
            &of_broker,
            "no management interface was given (--rabbitmq-url-file)",
        );
    }
    for management in &options.brokers {
        match management.read().await {
            Ok(broker) => {
                let context = context(&management.address());
                judge::broker(&broker, &context, management.is_in_clear(), &mut part);
                part.servers.push(ServerFacts {
                    kind: "RabbitMQ".into(),
                    address: management.address(),
                    version: broker.overview.rabbitmq_version.clone(),
                    reader: management.username.clone(),
                });
            }
            Err(reason) => part.fail_all(&of_broker, &reason),
        }
    }
    part.planted = control::run();
    part.findings
        .retain(|finding| asked.contains(finding.check.as_str()));
    part.looked.retain(|id, _| asked.contains(id));
    part.planted.retain(|id, _| asked.contains(id));
    part
}
