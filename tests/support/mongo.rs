//! A server that speaks MongoDB's protocol, for the tests, when `scripts/mongodb` has brought one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lerianctl::devstack::temporary::TemporaryFolder;
use lerianctl::secret::Secret;
use serde_json::Value;

/// Starts the server, waits for the end of stdin, and ends it by its id, so that it keeps what it has. `$1` is the folder, the rest
/// is the command.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
exec 9<&0
out="$1/out"
shift
"$@" >"$out" 2>&1 </dev/null 9<&- &
server=$!
read -r line <&9
kill -TERM "$server" 2>/dev/null
wait "$server" 2>/dev/null
"#;

/// Runs commands, one `[database, command]` a line, and prints the answers; `dump` prints everything
/// that there is.
const CLIENT: &str = r#"
import json, os, sys
from bson import json_util
from pymongo import MongoClient
client = MongoClient(os.environ["URL"], serverSelectionTimeoutMS=20000)
# JSON has no order, and the name of a command comes first.
names = ["createUser", "createRole", "grantRolesToUser", "revokeRolesFromUser", "dropRole", "dropUser", "dropDatabase", "insert", "ping"]
for line in sys.stdin:
    database, command = json.loads(line)
    if command == "dump":
        answer = {}
        for name in sorted(client.list_database_names()):
            answer[name] = {c: list(client[name][c].find().sort("_id")) for c in sorted(client[name].list_collection_names())} if name != "local" else None
            answer[name + " users"] = client[name].command("usersInfo", 1)["users"]
            answer[name + " roles"] = client[name].command("rolesInfo", 1, showPrivileges=True)["roles"]
        answer["admin users"] = client.admin.command("usersInfo", 1)["users"]
    else:
        name = next(name for name in names if name in command)
        answer = client[database].command({name: command.pop(name), **command})
    print(json_util.dumps(answer), flush=True)
"#;

/// A server on loopback, with a folder and a port of its own, gone with this process.
pub(crate) struct Mongo {
    pub(crate) port: u16,
    /// Password of `root`.
    pub(crate) password: Secret,
    programs: PathBuf,
    tls: bool,
    /// Closed with this process, which ends the server.
    guardian: Child,
    /// The administrator's client, once there is one.
    client: Mutex<Option<Client>>,
    folder: TemporaryFolder,
}

impl Mongo {
    /// Starts a server for one test; says loudly when there is none.
    #[expect(
        clippy::disallowed_methods,
        reason = "where the tests find a server is not the program's configuration"
    )]
    pub(crate) fn private(tls: bool) -> Option<Self> {
        const NAME: &str = "LERIANCTL_TEST_MONGODB";
        let Some(programs) = std::env::var_os(NAME).map(PathBuf::from) else {
            super::skip(&format!(
                "nothing was asked of a MongoDB, {NAME} is not set (scripts/mongodb)"
            ));
            return None;
        };
        let folder = TemporaryFolder::new(&std::env::temp_dir(), None).expect("a folder");
        for (name, text) in [
            ("server.pem", include_str!("../certificates/server.pem")),
            (
                "server-key.pem",
                include_str!("../certificates/server-key.pem"),
            ),
            ("authority.pem", crate::postgres_link::AUTHORITY),
        ] {
            std::fs::write(folder.path().join(name), text).expect("the folder is ours");
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        // Users can only be made while nobody has to log in.
        let guardian = start(&programs, &folder, port, &[]);
        let mut mongo = Self {
            port,
            password: Secret::generate(),
            programs,
            tls: false,
            guardian,
            client: Mutex::new(None),
            folder,
        };
        let root = serde_json::json!({
            "createUser": "root", "pwd": mongo.password.expose(),
            "roles": [{ "role": "root", "db": "admin" }],
        });
        mongo.client(&mongo.open_url()).ask(&[("admin", root)]);
        mongo.end();
        let at = |name: &str| mongo.folder.path().join(name).display().to_string();
        let (certificate, key) = (at("server.pem"), at("server-key.pem"));
        let mut more = vec!["--auth"];
        if tls {
            more.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
        }
        mongo.guardian = start(&mongo.programs, &mongo.folder, port, &more);
        mongo.tls = tls;
        mongo.ask(&[("admin", serde_json::json!({ "ping": 1 }))]);
        Some(mongo)
    }

    /// Ends the server.
    pub(crate) fn end(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }

    fn open_url(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }

    /// Returns the administrator's address.
    pub(crate) fn url(&self) -> String {
        let login = format!("root:{}", self.password.expose());
        if self.tls {
            format!("mongodb://{login}@localhost:{}/?tls=true", self.port)
        } else {
            format!("mongodb://{login}@127.0.0.1:{}/", self.port)
        }
    }

    /// Runs commands as the administrator, each in its database, and returns the answers.
    pub(crate) fn ask(&self, commands: &[(&str, Value)]) -> Vec<Value> {
        let mut url = self.url();
        let more = if self.tls {
            let authority = self.folder.path().join("authority.pem");
            format!("&tlsCAFile={}&directConnection=true", authority.display())
        } else {
            "?directConnection=true".into()
        };
        url.push_str(&more);
        let mut client = self.client.lock().expect("no test failed with it");
        client
            .get_or_insert_with(|| self.client(&url))
            .ask(commands)
    }

    /// Returns all documents, users and roles.
    pub(crate) fn dump(&self) -> Value {
        self.ask(&[("", "dump".into())]).remove(0)
    }

    fn client(&self, url: &str) -> Client {
        let mut process = python(&self.programs)
            .args(["-c", CLIENT])
            .env("URL", url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        Client {
            commands: process.stdin.take().expect("it is piped"),
            answers: BufReader::new(process.stdout.take().expect("it is piped")),
            _process: process,
        }
    }
}

/// A client that goes on until its standard input ends.
struct Client {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Child,
}

impl Client {
    fn ask(&mut self, commands: &[(&str, Value)]) -> Vec<Value> {
        let mut answers = Vec::new();
        for command in commands {
            let line = serde_json::to_string(command).expect("it is JSON");
            writeln!(self.commands, "{line}").expect("the client reads");
            let mut answer = String::new();
            self.answers.read_line(&mut answer).expect("it is text");
            let answer = serde_json::from_str(&answer);
            answers.push(answer.unwrap_or_else(|_| panic!("{command:?} was refused, see above")));
        }
        answers
    }
}

fn python(programs: &Path) -> Command {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", programs)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn start(programs: &Path, folder: &TemporaryFolder, port: u16, more: &[&str]) -> Child {
    let guardian = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "lerianctl-mongo"])
        .arg(folder.path())
        .args(["python3", "-m", "secantus", "--host", "127.0.0.1", "--port"])
        .arg(port.to_string())
        .arg("--storage-path")
        .arg(folder.path().join("data"))
        .args(["--log-level", "ERROR", "--cache-size", "64M"])
        .args(more)
        .env("PYTHONPATH", programs)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    let limit = Instant::now() + Duration::from_mins(1);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        let out = std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
        assert!(Instant::now() < limit, "the server does not start: {out}");
        std::thread::sleep(Duration::from_millis(50));
    }
    guardian
}
