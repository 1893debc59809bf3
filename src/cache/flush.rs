//! Deletes caches: counts first, walks every server that owns keys, one round trip a step.
//!
//! Each round trip carries three things at once: the next `SCAN` step, `TYPE` of the caches that
//! the last step found, and `UNLINK` of those whose type is known. So a flush takes little more
//! time than the bare scan, whatever the distance to the server.
//!
//! What a key is follows from its name, and the name of a key never changes: nothing that
//! happens between the look and the deletion can turn a cache into something else. The type is a
//! second look at keys that no known product writes; only for these does it matter that a
//! moment lies between `TYPE` and `UNLINK`.
//!
//! A dropped future leaves at most the step under way behind, whose deletions are as right as
//! any other's.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use redis::{Pipeline, Value};

use super::classes::KeyClass;
use super::keyspace::{KeyTenant, classify, denied};
use super::scope::{Scope, is_cache};
use super::tally::{Kept, NodeTally, Tally, printable};
use super::{COUNT, CacheError, Progress};
use crate::link::LinkError;
use crate::link::redis::{Deployment, Node, RedisEndpoint, Session};

/// Keys of one `UNLINK`: a server that frees them does nothing else meanwhile.
const BATCH: usize = 500;
/// Walks over a cluster whose slots move while they are walked.
const PASSES: usize = 3;

/// What a flush found, deleted and kept, by server.
#[derive(Debug)]
pub struct Flush {
    /// Servers in a stable order.
    pub nodes: Vec<NodeTally>,
    /// True when slots of a cluster were still moving at the end, so that keys may be left.
    pub moving: bool,
}

impl Flush {
    /// Returns the counts of all servers together.
    pub fn total(self) -> Tally {
        self.nodes
            .into_iter()
            .fold(Tally::default(), |mut total, node| {
                total.absorb(node.tally);
                total
            })
    }
}

/// Counts what [`flush`] would delete and keep. Changes nothing.
pub async fn plan_flush(
    deployment: &mut Deployment,
    scope: &Scope,
    progress: &(dyn Fn(Progress) + Sync),
) -> Flush {
    let walk = Walk::new(deployment, scope, false, progress);
    let nodes = walk.all(deployment.nodes_mut()).await;
    Flush {
        nodes: nodes.into_iter().map(|(node, _)| node).collect(),
        moving: false,
    }
}

/// Deletes the caches of `scope`, and nothing else, on every server that owns keys.
///
/// A server that fails ends the walk over that server alone; its error is in its tally.
pub async fn flush(
    deployment: &mut Deployment,
    scope: &Scope,
    progress: &(dyn Fn(Progress) + Sync),
) -> Flush {
    let mut flush = Flush {
        nodes: Vec::new(),
        moving: false,
    };
    for _ in 0..PASSES {
        let walk = Walk::new(deployment, scope, true, progress);
        let mut moved = false;
        for (node, astray) in walk.all(deployment.nodes_mut()).await {
            moved |= astray;
            flush.add(node);
        }
        let failed = flush.nodes.iter().any(|node| node.error.is_some());
        // A slot that moved from a server not walked yet to one already walked was missed.
        flush.moving = moved || (!failed && deployment.has_moved().await.unwrap_or(true));
        if failed || !flush.moving {
            break;
        }
        match deployment.seed().clone().primaries().await {
            Ok(fresh) => *deployment = fresh,
            Err(_) => break,
        }
    }
    flush
}

impl Flush {
    /// Adds a later pass: deletions add up, what is kept is what the last pass saw.
    fn add(&mut self, node: NodeTally) {
        match self.nodes.iter_mut().find(|known| known.name == node.name) {
            None => self.nodes.push(node),
            Some(known) => {
                let before = std::mem::replace(known, node);
                known.tally.absorb(Tally {
                    found: before.tally.found,
                    deleted: before.tally.deleted,
                    ..Tally::default()
                });
            }
        }
    }
}

struct Walk<'a> {
    scope: &'a Scope,
    glob: Option<Vec<u8>>,
    delete: bool,
    /// Keys per `UNLINK`: one in a cluster, where a command may name one slot only.
    batch: usize,
    progress: &'a (dyn Fn(Progress) + Sync),
}

/// A cache on its way out.
struct Cache {
    key: Vec<u8>,
    class: &'static KeyClass,
    tenant: KeyTenant,
}

impl<'a> Walk<'a> {
    fn new(
        deployment: &Deployment,
        scope: &'a Scope,
        delete: bool,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> Self {
        Self {
            scope,
            glob: scope.glob(is_cache),
            delete,
            batch: if deployment.is_cluster() { 1 } else { BATCH },
            progress,
        }
    }

    /// Walks all servers at once. Each result says whether keys turned out to live elsewhere.
    async fn all(&self, nodes: &mut [Node]) -> Vec<(NodeTally, bool)> {
        join_all(nodes.iter_mut().map(async |node| {
            let mut result = NodeTally {
                name: node.name.clone(),
                keys: 0,
                tally: Tally::default(),
                error: None,
            };
            let moved = self.one(&mut node.session, &mut result).await;
            let moved = moved.unwrap_or_else(|error| {
                result.error = Some(error);
                false
            });
            (result, moved)
        }))
        .await
    }

    async fn one(&self, session: &mut Session, result: &mut NodeTally) -> Result<bool, CacheError> {
        if self.scope.is_empty() {
            return Ok(false);
        }
        result.keys = session.query(&redis::cmd("DBSIZE")).await?;
        let mut step = Step::default();
        let mut steps = 0;
        while !step.is_last() {
            step = self.step(session, step, &mut result.tally).await?;
            steps += 1;
            (self.progress)(Progress {
                node: result.name.clone(),
                scanned: (steps * COUNT).min(result.keys),
                keys: result.keys,
                found: result.tally.found.values().sum(),
                deleted: result.tally.deleted.values().sum(),
            });
        }
        Ok(step.moved)
    }

    /// One round trip; returns what is left to do.
    async fn step(
        &self,
        session: &mut Session,
        step: Step,
        tally: &mut Tally,
    ) -> Result<Step, CacheError> {
        let batches = self.batches(step.typed)?;
        let mut commands = Pipeline::with_capacity(1 + step.untyped.len() + batches.len());
        if let Some(cursor) = &step.cursor {
            commands.add_command(super::scan_command(cursor, self.glob.as_deref()));
        }
        for cache in &step.untyped {
            commands.cmd("TYPE").arg(&cache.key);
        }
        for (_, keys) in &batches {
            commands.cmd("UNLINK").arg(keys);
        }
        let mut next = Step {
            cursor: None,
            moved: step.moved,
            ..Step::default()
        };
        let mut answers = session.pipeline(&commands).await?.into_iter();
        let endpoint = session.endpoint();
        let mut failure = None;
        if step.cursor.is_some() {
            let answer = answers.next().unwrap_or_default();
            match super::scan_answer(answer, endpoint) {
                Ok((cursor, keys)) => {
                    next.cursor = cursor;
                    next.untyped = self.caches(keys, tally);
                }
                Err(error) => failure = Some(error),
            }
        }
        // Every answer counts, also after one that failed: what is deleted must be reported.
        for cache in step.untyped {
            match answers.next().unwrap_or_default() {
                Value::SimpleString(kind) if kind == "string" => next.typed.push(cache),
                // Expired since.
                Value::SimpleString(kind) if kind == "none" => {}
                Value::SimpleString(kind) => {
                    tally.keep(cache.class, Kept::Type(kind), &cache.key);
                }
                other => next.moved |= astray(other, endpoint, &mut failure),
            }
        }
        for (group, _) in batches {
            match answers.next().unwrap_or_default() {
                Value::Int(count) => {
                    *tally.deleted.entry(group).or_default() += count.unsigned_abs();
                }
                other => next.moved |= astray(other, endpoint, &mut failure),
            }
        }
        if let Some(error) = failure {
            return Err(error.into());
        }
        for cache in &next.typed {
            let group = (cache.tenant.clone(), cache.class.id);
            *tally.found.entry(group).or_default() += 1;
        }
        if !self.delete {
            next.typed.clear();
        }
        Ok(next)
    }

    /// Picks the scope's caches out of what a scan returned, and counts what else is in scope.
    fn caches(&self, keys: Vec<Vec<u8>>, tally: &mut Tally) -> Vec<Cache> {
        let mut caches = Vec::new();
        for key in keys {
            let known = classify(&key);
            if !self.scope.includes(&known) {
                continue;
            }
            match known.tenant() {
                Some(tenant) if known.is_deletable() => {
                    let class = known.class;
                    caches.push(Cache { key, class, tenant });
                }
                _ => tally.keep(known.class, Kept::of(&known), &key),
            }
        }
        caches
    }

    /// Groups keys for `UNLINK`, so that its answer counts keys of one tenant and class.
    ///
    /// The last look before deletion, from the name alone and independent of how a key came here:
    /// one key that must not be deleted refuses them all.
    fn batches(&self, caches: Vec<Cache>) -> Result<Vec<Batch>, CacheError> {
        let mut groups = BTreeMap::<(KeyTenant, &'static str), Vec<Vec<u8>>>::new();
        for cache in caches {
            let known = classify(&cache.key);
            if denied(&cache.key).is_some() || !known.is_deletable() || !self.scope.includes(&known)
            {
                return Err(CacheError::Denied(printable(&cache.key)));
            }
            groups
                .entry((cache.tenant, cache.class.id))
                .or_default()
                .push(cache.key);
        }
        let batches = groups.into_iter().flat_map(|(group, mut keys)| {
            std::iter::from_fn(move || {
                let rest = keys.split_off(keys.len().min(self.batch));
                let batch = std::mem::replace(&mut keys, rest);
                (!batch.is_empty()).then(|| (group.clone(), batch))
            })
        });
        Ok(batches.collect())
    }
}

type Batch = ((KeyTenant, &'static str), Vec<Vec<u8>>);

/// What the next round trip does.
struct Step {
    /// Where the scan stands; `None` when it is through.
    cursor: Option<Vec<u8>>,
    /// Caches by name, whose type is not known.
    untyped: Vec<Cache>,
    /// Caches to delete.
    typed: Vec<Cache>,
    /// Whether a key turned out to live on another server.
    moved: bool,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            cursor: Some(b"0".to_vec()),
            untyped: Vec::new(),
            typed: Vec::new(),
            moved: false,
        }
    }
}

impl Step {
    fn is_last(&self) -> bool {
        self.cursor.is_none() && self.untyped.is_empty() && self.typed.is_empty()
    }
}

/// Returns true when a cluster says that a key lives elsewhere; notes any other failure.
fn astray(answer: Value, endpoint: &RedisEndpoint, failure: &mut Option<LinkError>) -> bool {
    match answer.extract_error() {
        Err(error) if matches!(error.code(), Some("MOVED" | "ASK" | "TRYAGAIN")) => return true,
        Err(error) => failure.get_or_insert_with(|| endpoint.failure(&error)),
        Ok(_) => failure.get_or_insert_with(|| endpoint.rejected("its answer is not readable")),
    };
    false
}
