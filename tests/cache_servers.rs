//! Private Redis servers for the tests of caches and events.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lerianctl::link::redis::RedisEndpoint;

/// A Redis server of this test alone, killed when dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Redis {
    /// Starts a server with `settings` added to its configuration file, one a line, and returns
    /// once it answers.
    pub(crate) fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\nsave \"\"\nappendonly no\nloglevel warning\n\
             dir {}\n{settings}\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("redis.conf"), configuration).unwrap();
        let mut redis = Self {
            child: spawn(folder.path()),
            port,
            folder,
        };
        redis.wait();
        redis
    }

    pub(crate) fn endpoint(&self) -> RedisEndpoint {
        RedisEndpoint::parse_url(&format!("redis://127.0.0.1:{}", self.port)).unwrap()
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.child = spawn(self.folder.path());
        self.wait();
    }

    fn wait(&mut self) {
        use std::io::{Read, Write};
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("redis-server ended at once: {status}");
            }
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                let mut answer = [0; 1];
                // Any answer will do: with a password it is an error.
                if stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok() {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not answer");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(folder: &Path) -> Child {
    Command::new("redis-server")
        .arg(folder.join("redis.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
