//! Ways that messages take in a virtual host that tenants share: bindings, dead letters, alternate
//! exchanges. A way from one tenant's name to another's is a breach, also over exchanges that are
//! nobody's, as far as a message can have a key that fits every binding on it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::facts::{Broker, Context, Resource};
use super::judge::fits;
use crate::isolation::catalogue::known;
use crate::isolation::model::Finding;
use crate::isolation::part::Part;

const ID: &str = "RQ-08";
/// Steps over exchanges that are nobody's; what is beyond is not followed, and said.
const STEPS: usize = 1_000_000;

/// A queue or an exchange of a virtual host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Node<'a> {
    Queue(&'a str),
    Exchange(&'a str),
}

impl<'a> Node<'a> {
    fn name(&self) -> &'a str {
        match self {
            Self::Queue(name) | Self::Exchange(name) => name,
        }
    }
}

/// A word of a routing key, as a binding asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word<'a> {
    Text(&'a str),
    One,
    Many,
}

/// What a way asks of the key of a message.
#[derive(Debug, Clone)]
enum Key<'a> {
    /// It has to fit this; anything where there is nothing.
    Fits(Option<Vec<Word<'a>>>),
    /// It is this from here on.
    Becomes(&'a str),
}

/// A step from one place to the next.
#[derive(Debug, Clone)]
struct Step<'a> {
    to: Node<'a>,
    key: Key<'a>,
    what: String,
}

type Steps<'a> = BTreeMap<Node<'a>, Vec<Step<'a>>>;

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

/// Returns what an exchange of this kind asks of a key.
fn asked<'a>(kind: &str, key: &'a str) -> Option<Vec<Word<'a>>> {
    let words = key.split('.');
    match kind {
        "direct" | "" => Some(words.map(Word::Text).collect()),
        "topic" => Some(
            words
                .map(|word| match word {
                    "*" => Word::One,
                    "#" => Word::Many,
                    text => Word::Text(text),
                })
                .collect(),
        ),
        _ => None,
    }
}

/// Returns true when a key can fit both.
fn overlap(a: &[Word<'_>], b: &[Word<'_>]) -> bool {
    // Whether the rests of both from here on fit, for every place in `b`; from the end.
    let mut next: Vec<bool> = vec![false; b.len() + 1];
    next[b.len()] = true;
    for at in (0..b.len()).rev() {
        next[at] = next[at + 1] && b[at] == Word::Many;
    }
    for one in a.iter().rev() {
        let mut row = vec![false; b.len() + 1];
        row[b.len()] = *one == Word::Many && next[b.len()];
        for at in (0..b.len()).rev() {
            let other = &b[at];
            row[at] = match (one, other) {
                (Word::Many, _) => next[at] || row[at + 1],
                (_, Word::Many) => row[at + 1] || next[at],
                (Word::One, _) | (_, Word::One) => next[at + 1],
                (one, other) => one == other && next[at + 1],
            };
        }
        next = row;
    }
    next[0]
}

/// Where the letters of a queue go, or what an exchange cannot route.
fn aside<'a>(
    from: &Node<'a>,
    dead: Option<&'a str>,
    key: Option<&'a str>,
    alternate: Option<&'a str>,
    what: &dyn Fn(&str) -> String,
) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    match (from, dead, key) {
        // Every queue is bound to the exchange without a name, by its own.
        (Node::Queue(_), Some(""), Some(queue)) => steps.push(Step {
            to: Node::Queue(queue),
            key: Key::Becomes(queue),
            what: what("dead-letter-routing-key"),
        }),
        (Node::Queue(_), Some(exchange), key) if !exchange.is_empty() => steps.push(Step {
            to: Node::Exchange(exchange),
            key: key.map_or(Key::Fits(None), Key::Becomes),
            what: what("dead-letter-exchange"),
        }),
        _ => {}
    }
    if let (Node::Exchange(_), Some(exchange)) = (from, alternate) {
        steps.push(Step {
            to: Node::Exchange(exchange),
            key: Key::Fits(None),
            what: what("alternate-exchange"),
        });
    }
    steps
}

fn steps<'a>(broker: &'a Broker, vhost: &str) -> Steps<'a> {
    let here = |resource: &&Resource| resource.vhost == vhost && !resource.name.is_empty();
    let mut steps = Steps::new();
    let mut nodes: Vec<(Node<'a>, &'a Resource)> = Vec::new();
    nodes.extend(
        broker
            .queues
            .iter()
            .filter(here)
            .map(|q| (Node::Queue(&q.name), q)),
    );
    nodes.extend(
        broker
            .exchanges
            .iter()
            .filter(here)
            .map(|x| (Node::Exchange(&x.name), x)),
    );
    let kinds: BTreeMap<&str, &str> = nodes
        .iter()
        .filter(|(node, _)| matches!(node, Node::Exchange(_)))
        .map(|(node, exchange)| (node.name(), exchange.kind.as_str()))
        .collect();
    for one in broker.bindings.iter().filter(|one| one.vhost == vhost) {
        if one.source.is_empty() {
            continue;
        }
        let to = match one.destination_type.as_str() {
            "exchange" => Node::Exchange(&one.destination),
            _ => Node::Queue(&one.destination),
        };
        let kind = kinds.get(one.source.as_str()).copied().unwrap_or_default();
        steps
            .entry(Node::Exchange(&one.source))
            .or_default()
            .push(Step {
                to,
                key: Key::Fits(asked(kind, &one.routing_key)),
                what: format!("binding {} -> {}", one.source, one.destination),
            });
    }
    let policies: Vec<_> = broker
        .policies
        .iter()
        .filter(|one| one.vhost == vhost)
        .collect();
    for (node, resource) in nodes {
        let name = &resource.name;
        let argument = |key: &str| text(resource.arguments.get(key));
        let mut own = aside(
            &node,
            argument("x-dead-letter-exchange"),
            argument("x-dead-letter-routing-key"),
            argument("alternate-exchange"),
            &|what| match what {
                "alternate-exchange" => format!("{what} of {name}"),
                _ => format!("x-{what} of {name}"),
            },
        );
        for policy in &policies {
            if fits(&policy.pattern, name) != Some(true) {
                continue;
            }
            let defined = |key: &str| text(policy.definition.get(key));
            own.extend(aside(
                &node,
                defined("dead-letter-exchange"),
                defined("dead-letter-routing-key"),
                defined("alternate-exchange"),
                &|_| format!("policy {} on {name}", policy.name),
            ));
        }
        if !own.is_empty() {
            steps.entry(node).or_default().extend(own);
        }
    }
    steps
}

/// Judges the ways in hosts that tenants share.
pub(super) fn judge(broker: &Broker, context: &Context, part: &mut Part) {
    let vhosts: BTreeSet<&str> = broker
        .vhosts
        .iter()
        .map(|vhost| vhost.name.as_str())
        .filter(|vhost| context.of_vhost(vhost).len() > 1)
        .collect();
    let mut left = STEPS;
    let mut count = 0;
    for vhost in vhosts {
        let steps = steps(broker, vhost);
        let owners: BTreeMap<&str, Option<&str>> = steps
            .iter()
            .flat_map(|(from, ways)| ways.iter().map(|way| &way.to).chain([from]))
            .map(|node| (node.name(), context.owner(node.name())))
            .collect();
        for (source, first) in &steps {
            count += first.len() as u64;
            let Some(from) = owners[source.name()] else {
                continue;
            };
            for step in first {
                for (to, through) in reached(&steps, step, &owners, &mut left) {
                    let Some(owner) = owners[to].filter(|owner| *owner != from) else {
                        continue;
                    };
                    part.findings.push(finding(
                        context,
                        vhost,
                        (from, source.name()),
                        (owner, to),
                        &step.what,
                        &through,
                    ));
                }
            }
        }
    }
    part.looked(ID, count, count);
    if left == 0 {
        let reason = "there are too many ways over exchanges that are nobody's to follow them all";
        part.unclear(ID, reason.to_owned());
    }
}

fn finding(
    context: &Context,
    vhost: &str,
    (from, source): (&str, &str),
    (to, destination): (&str, &str),
    what: &str,
    through: &[&str],
) -> Finding {
    let mut object = format!("{what} in vhost {vhost}");
    let mut evidence = format!("what {from} sends through {source} arrives in {destination}");
    if !through.is_empty() {
        object = format!("{what}, on to {destination}, in vhost {vhost}");
        evidence = format!("{evidence}, by way of {}", through.join(", "));
    }
    let mut finding = Finding::new(known(ID), &context.store, object);
    // Messages go along the way: the destination's tenant reads them.
    finding.from = vec![to.to_owned()];
    finding.to = vec![from.to_owned()];
    finding.evidence = evidence;
    finding
}

/// Returns the first places with an owner that a message comes to, each with what it went through.
fn reached<'a>(
    steps: &Steps<'a>,
    first: &Step<'a>,
    owners: &BTreeMap<&str, Option<&str>>,
    left: &mut usize,
) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut found = Vec::new();
    let mut open = vec![(first, Vec::new(), Vec::new())];
    while let Some((step, keys, through)) = open.pop() {
        let mut keys: Vec<Vec<Word<'_>>> = keys;
        match &step.key {
            Key::Becomes(key) => keys = vec![key.split('.').map(Word::Text).collect()],
            Key::Fits(None) => {}
            Key::Fits(Some(wanted)) => {
                if !keys.iter().all(|key| overlap(key, wanted)) {
                    continue;
                }
                keys.push(wanted.clone());
            }
        }
        let name = step.to.name();
        if owners[name].is_some() {
            if !found.iter().any(|(known, _)| *known == name) {
                found.push((name, through));
            }
            continue;
        }
        if through.contains(&name) {
            continue;
        }
        let mut through = through;
        through.push(name);
        for next in steps.get(&step.to).into_iter().flatten() {
            if *left == 0 {
                return found;
            }
            *left -= 1;
            open.push((next, keys.clone(), through.clone()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_meet_where_a_message_can_fit_both() {
        let topic = |key| asked("topic", key).unwrap();
        for (a, b) in [
            ("tenant1.#", "#"),
            ("tenant1.#", "*.tx"),
            ("#.tx", "tenant1.#"),
            ("a", "#.a.#"),
            ("#", "#"),
            ("a.*", "*.b"),
        ] {
            assert!(overlap(&topic(a), &topic(b)), "{a} {b}");
            assert!(overlap(&topic(b), &topic(a)), "{b} {a}");
        }
        for (a, b) in [
            ("tenant1.#", "tenant10.#"),
            ("a.*", "a"),
            ("*.b.#", "a.c"),
            ("a.b", "a.c"),
        ] {
            assert!(!overlap(&topic(a), &topic(b)), "{a} {b}");
            assert!(!overlap(&topic(b), &topic(a)), "{b} {a}");
        }
        assert!(!overlap(&asked("direct", "#").unwrap(), &topic("a")));
    }
}
