//! The servers that own a deployment's keys.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use redis::Value;

use super::{LinkError, Mode, RedisEndpoint, Role, Session};

/// Number of hash slots of every cluster.
const SLOTS: u32 = 16_384;

/// Every server that owns keys, with a session on each.
#[derive(Debug)]
pub struct Deployment {
    seed: RedisEndpoint,
    nodes: Vec<Node>,
    map: Option<SlotMap>,
}

/// One server that owns keys.
#[derive(Debug)]
pub struct Node {
    /// `host:port` as the deployment announces it.
    pub name: String,
    /// A session on it.
    pub session: Session,
}

/// Which primary owns which slots; equal when nothing moved between two readings.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SlotMap {
    owners: BTreeMap<String, Owner>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    port: u16,
    /// Ways to reach it as announced, best first; may be empty.
    hosts: Vec<String>,
    ranges: Vec<(u32, u32)>,
}

impl Deployment {
    pub(super) async fn open(seed: &RedisEndpoint) -> Result<Self, LinkError> {
        let mut session = seed.connect().await?;
        if session.mode() != Mode::Cluster {
            session.require_primary()?;
            return Ok(Self {
                seed: seed.clone(),
                nodes: vec![Node {
                    name: seed.address(),
                    session,
                }],
                map: None,
            });
        }
        if seed.database != 0 {
            return Err(seed.rejected("a cluster has database 0 alone"));
        }
        let map = SlotMap::read(&mut session).await?;
        let nodes = map.owners.iter().map(|(id, owner)| owner.connect(id, seed));
        Ok(Self {
            seed: seed.clone(),
            nodes: try_join_all(nodes).await?,
            map: Some(map),
        })
    }

    /// Returns the endpoint that the deployment was found through.
    pub fn seed(&self) -> &RedisEndpoint {
        &self.seed
    }

    /// Returns true for a cluster, where a command may name keys of one slot only.
    pub fn is_cluster(&self) -> bool {
        self.map.is_some()
    }

    /// Returns the servers, in a stable order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the servers for use.
    pub fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Returns true when slots changed hands since the sessions were made.
    pub async fn has_moved(&mut self) -> Result<bool, LinkError> {
        match (&self.map, self.nodes.first_mut()) {
            (Some(map), Some(node)) => Ok(*map != SlotMap::read(&mut node.session).await?),
            _ => Ok(false),
        }
    }
}

impl SlotMap {
    async fn read(session: &mut Session) -> Result<Self, LinkError> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let answer: Value = session.query(&command).await?;
        let map = Self::parse(&answer)
            .ok_or_else(|| session.endpoint().rejected("CLUSTER SLOTS is not readable"))?;
        let served: u32 = map
            .owners
            .values()
            .flat_map(|owner| &owner.ranges)
            .map(|(first, last)| last.saturating_sub(*first) + 1)
            .sum();
        if served != SLOTS {
            return Err(session.endpoint().unreachable(format!(
                "the cluster serves {served} of its {SLOTS} slots, so part of the keys is out of reach"
            )));
        }
        Ok(map)
    }

    /// Reads `[[first, last, [host, port, id, [name, value, …]], replica, …], …]`.
    fn parse(answer: &Value) -> Option<Self> {
        let mut owners = BTreeMap::<String, Owner>::new();
        for range in array(answer)? {
            let range = array(range)?;
            let primary = array(range.get(2)?)?;
            let hosts = hosts(primary);
            let port = u16::try_from(integer(primary.get(1)?)?).ok()?;
            let id = text(primary.get(2)?)?;
            let owner = owners.entry(id).or_insert_with(|| Owner {
                port,
                hosts,
                ranges: Vec::new(),
            });
            let bound = |at: usize| u32::try_from(integer(range.get(at)?)?).ok();
            owner.ranges.push((bound(0)?, bound(1)?));
        }
        Some(Self { owners })
    }
}

/// Returns the ways to reach a node: preferred endpoint, then what else is announced.
///
/// The preferred endpoint is null, empty or `?` when the server does not know its own address.
fn hosts(node: &[Value]) -> Vec<String> {
    let announced = node.get(3).and_then(array).unwrap_or_default();
    let others = announced
        .chunks_exact(2)
        .filter(|pair| matches!(text(&pair[0]).as_deref(), Some("hostname" | "ip")))
        .filter_map(|pair| text(&pair[1]));
    let mut hosts = Vec::new();
    for host in node.first().and_then(text).into_iter().chain(others) {
        if !host.is_empty() && host != "?" && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

impl Owner {
    /// Connects to this node, by its announced addresses or through the seed's host: containers
    /// and tunnels often announce addresses that only the cluster itself can reach.
    ///
    /// Whoever answers must say that it is this node. Otherwise two names of one server would be
    /// taken for two servers, and the keys of another left out.
    async fn connect(&self, id: &str, seed: &RedisEndpoint) -> Result<Node, LinkError> {
        let at = |host: &str| RedisEndpoint {
            host: host.to_owned(),
            port: self.port,
            ..seed.clone()
        };
        let announced = self
            .hosts
            .first()
            .map_or(seed.host.as_str(), String::as_str);
        let name = at(announced).address();
        let mut failures = Vec::new();
        let mut tried = Vec::new();
        for host in self
            .hosts
            .iter()
            .map(String::as_str)
            .chain([seed.host.as_str()])
        {
            if tried.contains(&host) {
                continue;
            }
            tried.push(host);
            match confirmed(&at(host), id).await {
                Ok(session) => return Ok(Node { name, session }),
                Err(error @ (LinkError::Refused { .. } | LinkError::Rejected { .. })) => {
                    return Err(error);
                }
                Err(error) => failures.push(error.to_string()),
            }
        }
        Err(LinkError::Unreachable {
            target: format!("the cluster's node {name}"),
            reason: failures.join("; "),
        })
    }
}

async fn confirmed(endpoint: &RedisEndpoint, id: &str) -> Result<Session, LinkError> {
    let mut session = endpoint.connect().await?;
    let mut command = redis::cmd("CLUSTER");
    command.arg("MYID");
    let found: String = session.query(&command).await?;
    if found != id {
        return Err(endpoint.unreachable("another node of the cluster answers there"));
    }
    if session.role() == Role::Replica {
        return Err(endpoint.unreachable("it has just become a replica"));
    }
    Ok(session)
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, node: Vec<Value>) -> Value {
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            Value::Array(node),
        ])
    }

    #[test]
    fn a_slot_map_names_each_primary_once_with_every_way_to_reach_it() {
        let metadata = Value::Array(vec![bulk("hostname"), bulk("a.example")]);
        let a = vec![bulk("10.0.0.1"), Value::Int(7000), bulk("aa"), metadata];
        let b = vec![Value::Nil, Value::Int(7001), bulk("bb")];
        let answer = Value::Array(vec![
            range(0, 99, a.clone()),
            range(100, 16_000, b),
            range(16_001, 16_383, a),
        ]);
        let map = SlotMap::parse(&answer).unwrap();
        assert_eq!(map.owners.len(), 2);
        assert_eq!(map.owners["aa"].hosts, ["10.0.0.1", "a.example"]);
        assert_eq!(map.owners["aa"].ranges, [(0, 99), (16_001, 16_383)]);
        assert!(map.owners["bb"].hosts.is_empty());
        assert_eq!(SlotMap::parse(&bulk("nonsense")), None);
    }
}
