//! A private Redis Cluster of primaries, for tests.

use std::path::Path;
use std::time::{Duration, Instant};

use super::redis::{BUS_DISTANCE, Redis, RedisSettings, info_value};
use super::{DevstackError, folder};
use crate::link::redis::RedisEndpoint;

/// Number of hash slots of every cluster.
const SLOTS: usize = 16_384;

/// How long the nodes may take to agree.
const AGREE_LIMIT: Duration = Duration::from_mins(1);

/// A running cluster. Dropping it stops every node.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts `primaries` nodes (at least three), gives each its share of the slots and returns
    /// when every node says that the cluster is complete.
    ///
    /// `settings` describes every node, except that each works in a folder of its own below
    /// `settings.folder`.
    pub async fn start(settings: &RedisSettings, primaries: usize) -> Result<Self, DevstackError> {
        let mut nodes = Vec::with_capacity(primaries);
        for number in 0..primaries {
            let folder = settings.folder.join(format!("node-{number}"));
            folder::ensure(&folder, folder::mode_for(settings.account.as_ref()), None)?;
            let node = Redis::start(RedisSettings {
                folder,
                port: None,
                cluster: true,
                log: log_of(&settings.log, number),
                ..settings.clone()
            });
            nodes.push(node.await?);
        }
        let cluster = Self { nodes };
        cluster.form().await?;
        cluster.agree().await?;
        Ok(cluster)
    }

    /// Gives slots to the nodes and lets them meet.
    async fn form(&self) -> Result<(), DevstackError> {
        let count = self.nodes.len();
        for (number, node) in self.nodes.iter().enumerate() {
            let mut session = node.endpoint().connect().await?;
            // Different epochs keep the nodes from having to settle a conflict.
            let mut epoch = redis::cmd("CLUSTER");
            epoch.arg("SET-CONFIG-EPOCH").arg(number + 1);
            session.query::<()>(&epoch).await?;
            let share = SLOTS * number / count..SLOTS * (number + 1) / count;
            let mut slots = redis::cmd("CLUSTER");
            slots.arg("ADDSLOTS").arg(share.collect::<Vec<_>>());
            session.query::<()>(&slots).await?;
            for other in &self.nodes[..number] {
                let mut meet = redis::cmd("CLUSTER");
                meet.arg("MEET").arg("127.0.0.1");
                meet.arg(other.port()).arg(other.port() + BUS_DISTANCE);
                session.query::<()>(&meet).await?;
            }
        }
        Ok(())
    }

    /// Waits until every node knows every other and every slot.
    async fn agree(&self) -> Result<(), DevstackError> {
        let start = Instant::now();
        let count = self.nodes.len().to_string();
        for node in &self.nodes {
            loop {
                let info = async {
                    let mut session = node.endpoint().connect().await?;
                    session
                        .query::<String>(redis::cmd("CLUSTER").arg("INFO"))
                        .await
                };
                if let Ok(info) = info.await
                    && info_value(&info, "cluster_state") == Some("ok")
                    && info_value(&info, "cluster_known_nodes") == Some(&count)
                    && info_value(&info, "cluster_size") == Some(&count)
                {
                    break;
                }
                if start.elapsed() > AGREE_LIMIT {
                    return Err(DevstackError::Deadline {
                        server: "Redis Cluster",
                        what: "was not complete",
                        seconds: AGREE_LIMIT.as_secs(),
                    });
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Returns the nodes.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Returns how each node is reached.
    pub fn endpoints(&self) -> Vec<RedisEndpoint> {
        self.nodes.iter().map(Redis::endpoint).collect()
    }
}

/// Returns the log of one node: `redis.log` becomes `redis-0.log`.
fn log_of(log: &Path, number: usize) -> std::path::PathBuf {
    let stem = log.file_stem().unwrap_or_default().to_string_lossy();
    log.with_file_name(format!("{stem}-{number}.log"))
}
