//! `isolation check` of Redis and RabbitMQ as an operator runs it: flags, variables, files.

use std::fmt::Write as _;

use lerianctl::devstack::redis::Redis as RedisServer;
use lerianctl::devstack::temporary::Temporary;
use serde_json::{Value, json};

use super::isolation_command::url;
use super::isolation_fleet::{Fleet, NAMES};
use super::support::{Output, Rabbit, Redis, Sandbox};

/// Ids as they stand in keys, by tenant of the fleet.
const IDS: [&str; 3] = [
    "7b0e1c5a9f3d4b62a1c8e4d7f0936b21",
    "85b18fdd152f4c1f9d3d0b7a61c2e4a9",
    "e60dcf0b65eb4a2f8c11f27d9b3a5e70",
];

/// A fleet with databases, keys and, where RabbitMQ is installed, virtual hosts.
struct Deployment {
    fleet: Fleet,
    redis: Temporary<RedisServer>,
    rabbit: Option<Rabbit>,
    room: Sandbox,
}

const QUEUE_PASSWORD: &str = "a-password-of-a-queue";

impl Deployment {
    async fn new() -> Self {
        let fleet = Fleet::by_hand(true).await;
        let redis = tokio::task::spawn_blocking(Redis::private).await.unwrap();
        let rabbit = tokio::task::spawn_blocking(Rabbit::private).await.unwrap();
        let endpoint = redis.endpoint();
        let password = endpoint.password.as_ref().unwrap().expose().to_owned();
        let port = endpoint.port.to_string();
        let mut room = Sandbox::new();
        for prefix in ["LERIANCTL_REDIS", "MULTI_TENANT_REDIS"] {
            room.set(format!("{prefix}_HOST"), &endpoint.host);
            room.set(format!("{prefix}_PORT"), &port);
            room.set(format!("{prefix}_PASSWORD"), &password);
        }
        room.write("admin.url", url(&fleet.admin));
        room.write("queue.password", QUEUE_PASSWORD);
        let mut text = "complete = true\n".to_owned();
        for (store, id) in fleet.inventory.stores.iter().zip(IDS) {
            let tenant = &store.tenant;
            room.write(
                format!("{tenant}.password"),
                store.password.as_ref().unwrap().expose(),
            );
            write!(
                text,
                "[[store]]\ntenant = '{tenant}'\ntenant-id = '{id}'\nenvironment = 'staging'\n\
                 host = '127.0.0.1'\nport = {}\ndatabase = '{}'\nlogin = '{}'\n\
                 password-file = '{tenant}.password'\nsslmode = 'disable'\n",
                store.port, store.database, store.login
            )
            .unwrap();
        }
        let mut deployment = Self {
            fleet,
            redis,
            rabbit,
            room,
        };
        for id in IDS {
            deployment
                .key(&format!("SET tenant:{id}:ledger_settings:{{o:l}} 1"))
                .await;
        }
        for (tenant, id) in NAMES.iter().zip(IDS) {
            let user = format!(
                "ACL SETUSER {tenant}_app on >hunter2 ~tenant:{id}:* +@read +@write -@dangerous"
            );
            deployment.key(&user).await;
        }
        let messaging = deployment.hosts().await;
        deployment.room.write("queues.toml", &messaging);
        deployment.room.write("tenants.toml", text + &messaging);
        deployment
    }

    /// Makes a virtual host and a user for each tenant; returns the part of the inventory.
    async fn hosts(&mut self) -> String {
        let mut text = String::new();
        let Some(rabbit) = &self.rabbit else {
            return text;
        };
        rabbit.change("DELETE", "vhosts/%2F", json!({})).await;
        for tenant in NAMES {
            rabbit
                .change("PUT", &format!("vhosts/{tenant}"), json!({}))
                .await;
            let admin = format!("permissions/{tenant}/admin");
            rabbit.change("DELETE", &admin, json!({})).await;
            for limit in ["max-connections", "max-queues"] {
                let path = format!("vhost-limits/{tenant}/{limit}");
                rabbit.change("PUT", &path, json!({ "value": 50 })).await;
            }
            let user = json!({ "password": QUEUE_PASSWORD, "tags": "" });
            rabbit
                .change("PUT", &format!("users/{tenant}_app"), user)
                .await;
            let path = format!("permissions/{tenant}/{tenant}_app");
            rabbit.change("PUT", &path, all(".*")).await;
            write!(
                text,
                "[[rabbitmq]]\ntenant = '{tenant}'\nhost = '127.0.0.1'\nport = {}\nvhost = '{tenant}'\n\
                 username = '{tenant}_app'\npassword-file = 'queue.password'\n",
                rabbit.amqp
            )
            .unwrap();
        }
        self.room.write("broker.url", rabbit.url());
        text
    }

    async fn key(&self, line: &str) {
        let mut session = self.redis.endpoint().connect().await.unwrap();
        let mut command = redis::Cmd::new();
        command.arg(shlex::split(line).unwrap());
        session.query::<redis::Value>(&command).await.unwrap();
    }

    /// Runs the check of a file with further flags; no secret may show.
    fn check_of(&self, inventory: &str, more: &[&str]) -> Output {
        let words = ["isolation", "check", "--inventory", inventory];
        let output = self.room.run([&words[..], more].concat());
        self.assert_discreet(&output);
        output
    }

    /// Runs the whole check.
    fn check(&self, more: &[&str]) -> Output {
        let mut words = vec!["--postgres-url-file", "admin.url"];
        if self.rabbit.is_some() {
            words.extend(["--rabbitmq-url-file", "broker.url"]);
        }
        words.extend(more);
        self.check_of("tenants.toml", &words)
    }

    fn assert_discreet(&self, output: &Output) {
        let redis = self.redis.endpoint();
        let stores = self.fleet.inventory.stores.iter();
        let passwords = stores
            .filter_map(|store| store.password.as_ref())
            .chain(&self.fleet.admin.password)
            .chain(&redis.password)
            .chain(self.rabbit.as_ref().map(|rabbit| &rabbit.password));
        for secret in passwords
            .map(lerianctl::secret::Secret::expose)
            .chain([QUEUE_PASSWORD, "hunter2"])
        {
            for text in [&output.stdout, &output.stderr] {
                assert!(!text.contains(secret), "a secret shows: {output}");
            }
        }
    }
}

fn all(pattern: &str) -> Value {
    json!({ "configure": pattern, "write": pattern, "read": pattern })
}

fn found(report: &Value) -> Vec<(&str, Vec<&str>, Vec<&str>)> {
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let names = |key: &str| {
                let list = finding[key].as_array().unwrap().iter();
                list.map(|name| name.as_str().unwrap()).collect()
            };
            (
                finding["check"].as_str().unwrap(),
                names("from"),
                names("to"),
            )
        })
        .collect()
}

fn check<'a>(report: &'a Value, id: &str) -> (&'a str, &'a str) {
    let check = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["check"] == id)
        .unwrap();
    (
        check["verdict"].as_str().unwrap(),
        check["reason"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn redis_and_rabbitmq_are_checked_next_to_the_databases() {
    let deployment = Deployment::new().await;
    let text = deployment.check(&[]).success();
    assert!(
        text.stdout.starts_with("ISOLATION HOLDS: no findings\n"),
        "{text}"
    );
    let json = deployment.check(&["-o", "json", "-vv"]).success().json();
    let kinds: Vec<_> = json["fleet"]["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"Redis") || kinds.contains(&"Valkey"),
        "{kinds:?}"
    );
    assert_eq!(check(&json, "RD-02").0, "holds");
    assert_eq!(check(&json, "RD-15").0, "skipped");
    if deployment.rabbit.is_some() {
        assert!(kinds.contains(&"RabbitMQ"), "{kinds:?}");
        assert_eq!(check(&json, "RQ-02").0, "holds");
        assert_eq!(check(&json, "RQ-10").0, "holds");
    }
    redis_flags(&deployment).await;
    redis_could_not_look(&deployment);
    if deployment.rabbit.is_some() {
        rabbitmq_flags(&deployment).await;
        rabbitmq_could_not_look(&deployment);
    }
    let _ = deployment.check(&[]).success();
}

async fn redis_flags(deployment: &Deployment) {
    deployment.key("SET session:maria 1 EX 600").await;
    let json = deployment.check(&["-o", "json"]).exits(3).json();
    assert_eq!(found(&json), [("RD-04", vec!["*"], vec!["*"])]);
    let _ = deployment.check(&["--redis-allow", "session:"]).success();
    deployment.key("DEL session:maria").await;

    deployment
        .key("ACL SETUSER ops on >hunter2 ~* &* +@all")
        .await;
    let json = deployment.check(&["-o", "json"]).exits(3).json();
    let ids: Vec<_> = found(&json).into_iter().map(|(id, ..)| id).collect();
    assert!(
        ids.contains(&"RD-02") && ids.iter().all(|id| id.starts_with("RD-")),
        "{ids:?}"
    );
    let _ = deployment.check(&["--redis-trusted", "ops"]).success();
    deployment.key("ACL DELUSER ops").await;

    // Two products should listen, and nobody does; the event that means nothing comes back.
    let json = deployment
        .check(&["--redis-listeners", "2", "--redis-publish", "-o", "json"])
        .exits(3)
        .json();
    let ids: Vec<_> = found(&json).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["RD-07"]);
    assert_eq!(check(&json, "RD-15").0, "holds");
    // A part of the keys proves a part.
    let json = deployment
        .check(&["--redis-keys", "1", "-o", "json"])
        .json();
    let (verdict, reason) = check(&json, "RD-04");
    assert_eq!(verdict, "unproven", "{reason}");
    let _ = deployment.check(&["--redis-keys", "0"]).exits(2);
}

/// Runs the check as long as a variable says otherwise.
fn with(deployment: &Deployment, variables: &[(&str, &str)], more: &[&str]) -> Output {
    let words = [
        "isolation",
        "check",
        "--inventory",
        "tenants.toml",
        "--postgres-url-file",
        "admin.url",
    ];
    let mut command = deployment.room.command([&words[..], more].concat());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    for text in [&stdout, &stderr] {
        assert!(!text.contains("hunter2"), "a secret shows: {text}");
    }
    assert_eq!(output.status.code(), Some(3), "{stdout}\n{stderr}");
    let mut room = deployment.room.run(["version"]);
    room.stdout = stdout;
    room.stderr = stderr;
    room
}

/// A server that cannot be looked at is never green, whoever else holds.
fn redis_could_not_look(deployment: &Deployment) {
    let wrong = [
        ("LERIANCTL_REDIS_PASSWORD", "hunter2"),
        ("MULTI_TENANT_REDIS_PASSWORD", "hunter2"),
    ];
    let nobody = [
        ("LERIANCTL_REDIS_PORT", "1"),
        ("MULTI_TENANT_REDIS_PORT", "1"),
    ];
    for variables in [wrong, nobody] {
        let json = with(deployment, &variables, &["-o", "json"]).json();
        assert_eq!(json["verdict"], "error", "{json:#}");
        assert_eq!(found(&json), []);
        assert_eq!(check(&json, "RD-02").0, "error");
        let gaps = json["notTested"].to_string();
        assert!(gaps.contains("RD-02"), "{gaps}");
        let text = with(deployment, &variables, &[]);
        assert!(
            text.stdout
                .starts_with("ISOLATION NOT PROVED: THE CHECK WENT WRONG"),
            "{text}"
        );
        // "unproven" may be accepted, what went wrong may not.
        let _ = with(deployment, &variables, &["--accept-unproven"]);
    }
}

async fn rabbitmq_flags(deployment: &Deployment) {
    let rabbit = deployment.rabbit.as_ref().unwrap();
    let leak = "permissions/borealis/aurora_app";
    rabbit.change("PUT", leak, all(".*")).await;
    let json = deployment.check(&["-o", "json"]).exits(3).json();
    for id in ["RQ-02", "RQ-10"] {
        let wanted = (id, vec!["aurora"], vec!["borealis"]);
        assert!(found(&json).contains(&wanted), "{id}: {:?}", found(&json));
    }
    let text = deployment.check(&[]).exits(3);
    assert!(text.stdout.contains("aurora -> borealis"), "{text}");
    rabbit.change("DELETE", leak, json!({})).await;

    let user = json!({ "password": "hunter2", "tags": "administrator" });
    rabbit.change("PUT", "users/ops", user).await;
    let json = deployment.check(&["-o", "json"]).exits(3).json();
    assert!(!found(&json).is_empty());
    let _ = deployment.check(&["--rabbitmq-trusted", "ops"]).success();
    rabbit.change("DELETE", "users/ops", json!({})).await;

    // Queues alone can be checked, with nothing known of databases.
    let queues = [
        "--rabbitmq-url-file",
        "broker.url",
        "--check",
        "RQ-02",
        "--check",
        "RQ-10",
    ];
    let queues = deployment.check_of("queues.toml", &queues).success();
    assert!(queues.stdout.starts_with("ISOLATION HOLDS"), "{queues}");
    // Without the management interface, that is said.
    let json = deployment
        .check_of(
            "tenants.toml",
            &["--postgres-url-file", "admin.url", "-o", "json"],
        )
        .success()
        .json();
    assert_eq!(check(&json, "RQ-02").0, "skipped");
    assert_eq!(check(&json, "RQ-10").0, "holds");
    assert!(
        json["notTested"]
            .to_string()
            .contains("--rabbitmq-url-file")
    );
}

fn rabbitmq_could_not_look(deployment: &Deployment) {
    let rabbit = deployment.rabbit.as_ref().unwrap();
    let room = &deployment.room;
    let address = format!("127.0.0.1:{}", rabbit.http);
    room.write("wrong.url", format!("http://admin:hunter2@{address}"));
    room.write("nobody.url", "http://admin:hunter2@127.0.0.1:1");
    // A user of a tenant may not read everything.
    room.write(
        "little.url",
        format!("http://aurora_app:{QUEUE_PASSWORD}@{address}"),
    );
    for file in ["wrong.url", "nobody.url", "little.url"] {
        let more = [
            "--postgres-url-file",
            "admin.url",
            "--rabbitmq-url-file",
            file,
        ];
        let text = deployment.check_of("tenants.toml", &more).exits(3);
        assert!(
            text.stdout
                .starts_with("ISOLATION NOT PROVED: THE CHECK WENT WRONG"),
            "{file}: {text}"
        );
        let json = [&more[..], &["-o", "json", "--accept-unproven"]].concat();
        let json = deployment.check_of("tenants.toml", &json).exits(3).json();
        assert_eq!(json["verdict"], "error", "{file}");
        assert_eq!(check(&json, "RQ-02").0, "error", "{file}");
        assert_eq!(check(&json, "PG-001").0, "holds", "{file}");
    }
    // What cannot be used at all is told before anything is looked at.
    room.write("strange.url", "amqp://admin:hunter2@127.0.0.1:5672");
    let strange = ["--rabbitmq-url-file", "strange.url"];
    let strange = deployment.check_of("tenants.toml", &strange).exits(2);
    assert!(strange.stdout.is_empty(), "{strange}");
    let missing = ["--rabbitmq-url-file", "missing.url"];
    let _ = deployment.check_of("tenants.toml", &missing).exits(2);
    room.write("secure.url", "https://admin:hunter2@127.0.0.1:1");
    let ca = [
        "--rabbitmq-url-file",
        "secure.url",
        "--rabbitmq-ca-file",
        "queue.password",
    ];
    let _ = deployment.check_of("tenants.toml", &ca).exits(2);
    // A wrong password of a tenant leaves the tenant unlooked at.
    let queues = room.read("queues.toml");
    room.write("other.password", "hunter2");
    room.write(
        "other.toml",
        queues.replacen("queue.password", "other.password", 1),
    );
    let more = [
        "--rabbitmq-url-file",
        "broker.url",
        "--check",
        "RQ-10",
        "-o",
        "json",
    ];
    let json = deployment.check_of("other.toml", &more).exits(3).json();
    assert_eq!(check(&json, "RQ-10").0, "error");
    // A file that is not there, a key that is misspelled, a password where none belongs.
    for (from, to) in [
        ("queue.password", "gone.password"),
        ("vhost =", "v-host ="),
        ("password-file = 'queue.password'", "password = 'hunter2'"),
    ] {
        room.write("broken.toml", queues.replacen(from, to, 1));
        let broken = deployment.check_of("broken.toml", &[]).exits(2);
        assert!(broken.stderr.contains("error["), "{broken}");
    }
    room.write("empty.toml", "complete = true\n");
    let empty = deployment.check_of("empty.toml", &[]).exits(2);
    assert!(empty.stderr.contains("isolation.inventory"), "{empty}");
}
