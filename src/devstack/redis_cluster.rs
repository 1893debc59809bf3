//! A private Redis Cluster of primaries, for tests.

use std::path::Path;
use std::time::{Duration, Instant};

use super::redis::{BUS_DISTANCE, Redis, RedisSettings, connect, info_value};
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
            folder::ensure(&folder, 0o700, settings.account.as_ref())?;
            if let Some(account) = &settings.account {
                account.own(&folder)?;
            }
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
        cluster
            .form(settings)
            .await
            .map_err(|error| DevstackError::Failed {
                server: "Redis Cluster",
                reason: error.to_string(),
            })?;
        cluster.agree(settings).await?;
        Ok(cluster)
    }

    /// Gives slots to the nodes and lets them meet.
    async fn form(&self, settings: &RedisSettings) -> redis::RedisResult<()> {
        let count = self.nodes.len();
        for (number, node) in self.nodes.iter().enumerate() {
            let mut connection = connect(node.port(), &settings.password).await?;
            // Different epochs keep the nodes from having to settle a conflict.
            redis::cmd("CLUSTER")
                .arg("SET-CONFIG-EPOCH")
                .arg(number + 1)
                .query_async::<()>(&mut connection)
                .await?;
            let slots: Vec<usize> =
                (SLOTS * number / count..SLOTS * (number + 1) / count).collect();
            redis::cmd("CLUSTER")
                .arg("ADDSLOTS")
                .arg(slots)
                .query_async::<()>(&mut connection)
                .await?;
            for other in &self.nodes[..number] {
                redis::cmd("CLUSTER")
                    .arg("MEET")
                    .arg("127.0.0.1")
                    .arg(other.port())
                    .arg(other.port() + BUS_DISTANCE)
                    .query_async::<()>(&mut connection)
                    .await?;
            }
        }
        Ok(())
    }

    /// Waits until every node knows every other and every slot.
    async fn agree(&self, settings: &RedisSettings) -> Result<(), DevstackError> {
        let start = Instant::now();
        let count = self.nodes.len().to_string();
        for node in &self.nodes {
            loop {
                let info = async {
                    let mut connection = connect(node.port(), &settings.password).await?;
                    redis::cmd("CLUSTER")
                        .arg("INFO")
                        .query_async::<String>(&mut connection)
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
