//! Running products, probed over HTTP.

use std::collections::BTreeSet;

use super::{Progress, Settings};
use crate::isolation::http::{self, Behind};
use crate::isolation::inventory::Inventory;
use crate::isolation::model::{Check, Family};
use crate::isolation::report::{Control, ControlState, NotTested};
use crate::isolation::run::tally::Tallies;
use crate::link::postgres::Gate;

/// The check that looks into the databases behind a product.
const WRITES: &str = "PG-207";

/// Probes every product, and the one of glass that makes every mistake.
pub(super) async fn probe(
    inventory: &Inventory,
    settings: &Settings,
    gate: &Gate,
    tallies: &mut Tallies,
    control: &mut Control,
    not_tested: &mut BTreeSet<NotTested>,
    progress: Progress<'_>,
) {
    let wanted = settings.wanted(Family::Http);
    if settings.http.is_empty() || wanted.is_empty() {
        for check in &wanted {
            match check.id {
                WRITES => tallies.skip(
                    WRITES,
                    "it writes through a product, which takes --recipe and --probe-writes",
                ),
                id => tallies.not_asked(id),
            }
        }
        return;
    }
    if settings.control {
        progress("probing a product that makes every mistake", 0, 0);
        absorb(control, http::run_control(&wanted).await, settings);
    }
    let behind = Behind {
        stores: &inventory.stores,
        auditors: &settings.auditors,
        gate,
    };
    for target in &settings.http {
        progress(&format!("probing {}", target.recipe.product), 0, 0);
        let outcome = http::run(target, &wanted, &behind).await;
        for (place, why) in &outcome.not_searched {
            not_tested.insert(NotTested {
                what: format!("{WRITES} · {place}"),
                why: (*why).to_owned(),
            });
        }
        for place in &outcome.left_behind {
            not_tested.insert(NotTested {
                what: "a probe resource was not removed".into(),
                why: format!("{place} at {}: remove it by hand", target.recipe.product),
            });
        }
        if !target.means.writes {
            not_tested.insert(NotTested {
                what: format!(
                    "what {} does with resources that are made",
                    target.recipe.product
                ),
                why: "making some in the probe tenants was not allowed (--probe-writes)".into(),
            });
        }
        tallies.probed(outcome, &target.recipe.product);
    }
}

/// The control of these checks counts for the whole run when it fails, and when they are all there
/// is.
fn absorb(control: &mut Control, own: Control, settings: &Settings) {
    let alone = settings
        .wanted_all()
        .iter()
        .all(|check: &&Check| check.family == Family::Http);
    if alone {
        *control = own;
        return;
    }
    control.planted += own.planted;
    control.detected += own.detected;
    control.uncontrolled.extend(own.uncontrolled);
    if own.state == ControlState::Missed {
        control.missed.extend(own.missed);
        control.state = ControlState::Missed;
    }
}

/// Returns the names of all tenants: those with databases, and those that were probed.
pub(super) fn tenants(inventory: &Inventory, settings: &Settings) -> Vec<String> {
    let mut names: BTreeSet<String> = inventory.tenants().into_iter().collect();
    for target in &settings.http {
        names.extend(target.means.sides.iter().map(|side| side.name.clone()));
    }
    names.into_iter().collect()
}
