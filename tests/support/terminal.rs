//! The binary on a terminal, with somebody at the keyboard.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Sandbox;

/// A run of the binary on a terminal of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Arc<Mutex<Vec<u8>>>,
    looked_at: usize,
}

impl Terminal {
    /// Runs the binary in `room`.
    pub(crate) fn run(room: &Sandbox, arguments: &[&str]) -> Self {
        Self::run_then(room, arguments, "")
    }

    /// As [`Self::run`], with `then` for the shell after it, also when it was interrupted.
    pub(crate) fn run_then(room: &Sandbox, arguments: &[&str], then: &str) -> Self {
        let plain = room.command(arguments);
        // `script` makes the terminal; its command goes through a shell.
        let words = std::iter::once(plain.get_program()).chain(plain.get_args());
        let line: Vec<String> = words
            .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''")))
            .collect();
        let mut line = line.join(" ");
        if !then.is_empty() {
            line = format!("trap : INT; {line}; {then}");
        }
        let mut command = Command::new("script");
        command
            .args(["-qefc", &line, "/dev/null"])
            .current_dir(room.home())
            .env_clear()
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap());
        }
        let mut child = command.spawn().expect("`script` can be run");
        let keyboard = child.stdin.take();
        let mut output = child.stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            child,
            keyboard,
            screen,
            looked_at: 0,
        }
    }

    /// Returns all that was shown so far.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until `text` is shown, after what was waited for before.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if let Some(at) = screen[self.looked_at..].find(text) {
                self.looked_at += at + text.len();
                return;
            }
            assert!(
                start.elapsed() < Duration::from_mins(1),
                "never shown: {text}\n{screen}",
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types `text`.
    pub(crate) fn type_keys(&mut self, text: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(text.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    /// Waits for the end; returns the exit status and all that was shown.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                start.elapsed() < Duration::from_mins(2),
                "it does not end\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code(), self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of `script` hangs up its terminal, which ends the binary.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
