//! A full disk under the registry: changes are refused whole, reads go on, and all is well once
//! there is room again. Needs the right to mount; without it the same is tried with a limit on
//! the file in the registry's own tests.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::server_kit::{Caller, path, slug};
use crate::support::{Postgres, Server, cluster};

/// A small file system in memory.
struct SmallDisk {
    folder: PathBuf,
    _parent: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("disk");
        fs::create_dir(&folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(&folder)
            .stderr(Stdio::null())
            .status();
        mounted.ok()?.success().then_some(Self {
            folder,
            _parent: parent,
        })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        let block = [0; 4096];
        while file.write_all(&block).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

fn spec(slug: &str) -> serde_json::Value {
    json!({ "name": "x".repeat(200), "slug": slug, "environment": "production",
            "isolationMode": "database", "services": ["reporter"] })
}

async fn run(disk: &SmallDisk) {
    let clusters = vec![cluster("main", Postgres::shared())];
    let server = Server::serve(Server::settings(Path::new(&disk.folder), clusters, None));
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["reporter"], "database").await;
    disk.fill();
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..2000 {
        let slug = slug("full");
        let answer = caller.post("/v1/admin/tenants", &spec(&slug)).await;
        if answer.status == 201 {
            accepted.push(slug);
            continue;
        }
        answer.refusal(503, "registry.unavailable");
        refused.push(slug);
        if refused.len() == 5 {
            break;
        }
    }
    assert_eq!(refused.len(), 5, "the disk is full");
    for slug in &refused {
        caller
            .get(&format!("/v1/admin/tenants/{slug}"))
            .await
            .refusal(404, "tenant.not_found");
    }
    let answer = caller.connections(&tenant, "reporter").await;
    assert_eq!(answer.status, 200);
    let suspend = path(&tenant, "/suspend");
    caller
        .post(&suspend, &json!({}))
        .await
        .refusal(503, "registry.unavailable");
    assert_eq!(caller.connections(&tenant, "reporter").await.status, 200);
    caller.readiness_becomes(503).await;
    assert_eq!(caller.get("/healthz").await.status, 200);

    fs::remove_file(disk.ballast()).unwrap();
    let change = caller.post(&suspend, &json!({})).await.expect(200);
    assert_eq!(change["changed"], true);
    for slug in accepted.iter().chain(&refused) {
        let answer = caller.post("/v1/admin/tenants", &spec(slug)).await;
        let change = answer.expect(if accepted.contains(slug) { 200 } else { 201 });
        if change.get("operation").is_some() {
            caller.succeeds(&change).await;
        }
        let record = caller
            .get(&format!("/v1/admin/tenants/{slug}"))
            .await
            .expect(200);
        assert_eq!(record["services"][0]["status"], "active");
    }
    caller.readiness_becomes(200).await;
    server.stop();
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_forgets_nothing() {
    if let Some(disk) = SmallDisk::mount() {
        run(&disk).await;
    }
}
