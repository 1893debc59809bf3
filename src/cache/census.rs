//! Counts keys by tenant and class. Reads names, never values.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::try_join_all;

use super::classes::{KeyClass, Verdict};
use super::keyspace::{KeyTenant, Refusal, classify};
use super::scope::Scope;
use super::tally::{SAMPLES, printable};
use super::{COUNT, Progress};
use crate::link::LinkError;
use crate::link::redis::{Deployment, Node};

/// Combinations of tenant and class that are counted apart: bounds the memory that a strange
/// keyspace can take.
const ROWS: usize = 200_000;

/// What a deployment's keys are.
#[derive(Debug)]
pub struct Census {
    /// Keys of all servers, in scope or not.
    pub keys: u64,
    /// Counts by tenant and class, tenants in order, keys without a tenant first.
    pub rows: Vec<CensusRow>,
    /// Names of some unclassified keys, safe to print.
    pub samples: Vec<String>,
    /// Keys of UUID tenants spelled other than with 32 lower-case digits.
    ///
    /// A dashed id makes Midaz's balance sync take the tenant for an organization.
    pub misspelled: BTreeMap<KeyTenant, u64>,
    /// Keys that were not counted apart, because there were too many combinations.
    pub beyond: u64,
}

/// Keys of one tenant and class.
#[derive(Debug, Clone)]
pub struct CensusRow {
    /// Tenant; absent for keys of the deployment.
    pub tenant: Option<KeyTenant>,
    /// Class.
    pub class: &'static KeyClass,
    /// Service that the keys are about, where it is known.
    pub service: Option<String>,
    /// Why they are kept although their class is a cache.
    pub refusal: Option<Refusal>,
    /// How many there are.
    pub keys: u64,
}

impl CensusRow {
    /// Returns true when a flush would delete these keys.
    pub fn is_deletable(&self) -> bool {
        self.class.verdict == Verdict::Safe && self.refusal.is_none() && self.tenant.is_some()
    }
}

type Group = (
    Option<KeyTenant>,
    &'static str,
    Option<String>,
    Option<Refusal>,
);

#[derive(Default)]
struct Counted {
    keys: u64,
    rows: HashMap<Group, (&'static KeyClass, u64)>,
    samples: Vec<String>,
    misspelled: BTreeMap<KeyTenant, u64>,
    beyond: u64,
}

/// Counts the keys of `scope` on every server that owns keys.
pub async fn census(
    deployment: &mut Deployment,
    scope: &Scope,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Census, LinkError> {
    let glob = scope.glob(|_| true);
    let counts = deployment
        .nodes_mut()
        .iter_mut()
        .map(|node| count(node, scope, glob.as_deref(), progress));
    let mut all = Counted::default();
    for one in try_join_all(counts).await? {
        all.absorb(one);
    }
    let mut rows: Vec<_> = all
        .rows
        .into_iter()
        .map(|((tenant, _, service, refusal), (class, keys))| CensusRow {
            tenant,
            class,
            service,
            refusal,
            keys,
        })
        .collect();
    rows.sort_by(|a, b| {
        let order = |row: &CensusRow| (row.class.id, row.service.clone(), row.refusal);
        a.tenant
            .cmp(&b.tenant)
            .then_with(|| order(a).cmp(&order(b)))
    });
    Ok(Census {
        keys: all.keys,
        rows,
        samples: all.samples,
        misspelled: all.misspelled,
        beyond: all.beyond,
    })
}

async fn count(
    node: &mut Node,
    scope: &Scope,
    glob: Option<&[u8]>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Counted, LinkError> {
    let session = &mut node.session;
    let mut counted = Counted {
        keys: session.query(&redis::cmd("DBSIZE")).await?,
        ..Counted::default()
    };
    let mut cursor = (!scope.is_empty()).then(|| b"0".to_vec());
    let (mut steps, mut found) = (0, 0);
    while let Some(at) = cursor {
        let answer = session.query(&super::scan_command(&at, glob)).await?;
        let (next, keys) = super::scan_answer(answer, session.endpoint())?;
        cursor = next;
        for key in &keys {
            found += u64::from(counted.add(key, scope));
        }
        steps += 1;
        progress(Progress {
            node: node.name.clone(),
            scanned: (steps * COUNT).min(counted.keys),
            keys: counted.keys,
            found,
            deleted: 0,
        });
    }
    Ok(counted)
}

impl Counted {
    fn add(&mut self, key: &[u8], scope: &Scope) -> bool {
        let known = classify(key);
        if !scope.includes(&known) {
            return false;
        }
        if known.class.verdict == Verdict::Unclassified && self.samples.len() < SAMPLES {
            self.samples.push(printable(key));
        }
        let tenant = known.tenant();
        if let (Some(tenant @ KeyTenant::Uuid(_)), Some(spelling)) = (&tenant, known.spelling)
            && spelling != tenant.to_string()
        {
            *self.misspelled.entry(tenant.clone()).or_default() += 1;
        }
        let service = known.service.map(str::to_owned);
        let group = (tenant, known.class.id, service, known.refusal);
        self.put(group, known.class, 1);
        true
    }

    fn put(&mut self, group: Group, class: &'static KeyClass, keys: u64) {
        if self.rows.len() >= ROWS && !self.rows.contains_key(&group) {
            self.beyond += keys;
        } else {
            self.rows.entry(group).or_insert((class, 0)).1 += keys;
        }
    }

    fn absorb(&mut self, other: Self) {
        self.keys += other.keys;
        self.beyond += other.beyond;
        for (group, (class, keys)) in other.rows {
            self.put(group, class, keys);
        }
        let room = SAMPLES - self.samples.len().min(SAMPLES);
        self.samples.extend(other.samples.into_iter().take(room));
        for (tenant, keys) in other.misspelled {
            *self.misspelled.entry(tenant).or_default() += keys;
        }
    }
}
