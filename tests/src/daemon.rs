//! A real daemon in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Longest wait for a baseline: /etc and /proc take a second; this is for a loaded machine.
const LIVE_WITHIN: Duration = Duration::from_mins(1);

/// The program under test.
pub fn program() -> PathBuf {
    // Next to the test binaries' folder: target/<profile>/deps/NAME -> target/<profile>/.
    let mut path = std::env::current_exe().expect("the test binary has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("sfd-under-test")
}

/// A call of it.
pub fn sfd(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).env_remove("SFD_LOG").env_remove("SFD_STATE").env_remove("SFD_CONFIG");
    command
}

/// A running `sfd run`, killed when dropped.
pub struct Daemon {
    child: Child,
    /// Behind a lock so that threads of a test can share the daemon.
    lines: Mutex<std::sync::mpsc::Receiver<String>>,
    state: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts it on `roots` with its state in `state`; does not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(roots: &[&Path], state: &Path, more: &[&str]) -> Self {
        Self::spawn_as(sfd(&[]), roots, state, more)
    }

    /// As [`Self::spawn`] with a prepared command (another user, say).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn_as(mut command: Command, roots: &[&Path], state: &Path, more: &[&str]) -> Self {
        let watch: Vec<String> = roots.iter().map(|root| root.to_string_lossy().into_owned()).collect();
        let log = state.with_extension("log");
        let stderr = std::fs::File::options().create(true).append(true).open(&log).expect("log file");
        let mut child = command
            .args(["run", "--json", "--log", "info", "--watch", &watch.join(","), "--state"])
            .arg(state)
            // The suites run side by side; those that want a map say where.
            .args(if more.contains(&"--listen") { &[][..] } else { &["--listen", "off"] })
            .args(more)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the daemon starts");
        let stdout = child.stdout.take().expect("piped");
        let (tell, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines: Mutex::new(lines), state: state.to_path_buf(), log }
    }

    /// Starts it and waits until the baseline is done.
    ///
    /// # Panics
    /// When it does not get that far.
    pub fn live(roots: &[&Path], state: &Path, more: &[&str]) -> Self {
        let daemon = Self::spawn(roots, state, more);
        daemon.wait_live();
        daemon
    }

    /// Waits for one event of the daemon's own output.
    ///
    /// # Panics
    /// When it ends or takes too long.
    pub fn wait_event(&self, event: &str) -> Value {
        loop {
            let line =
                self.lines.lock().expect("nobody panicked with it").recv_timeout(LIVE_WITHIN).unwrap_or_else(
                    |_| {
                        panic!("no {event:?} from the daemon; its log:\n{}", self.log());
                    },
                );
            let value: Value = serde_json::from_str(&line).expect("JSON lines only");
            if value["event"] == event {
                return value;
            }
        }
    }

    /// Waits until the baseline is done.
    ///
    /// # Panics
    /// When it ends or takes too long.
    pub fn wait_live(&self) -> Value {
        self.wait_event("live")
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The live brick of that name.
    pub fn brick(&self, name: &str) -> PathBuf {
        self.state.join("bricks").join(format!("{name}.brick"))
    }

    /// `sfd status --json`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn status(&self) -> Result<Value> {
        let output = sfd(&["status", "--json", "--state"]).arg(&self.state).output()?;
        ensure!(output.status.success(), "sfd status: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("status")
    }

    /// The same straight from the control socket: a thousand times cheaper, for whoever looks all the time.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn glance(&self) -> Result<Value> {
        let mut stream = UnixStream::connect(self.state.join("sfd.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"{\"op\":\"status\"}\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        serde_json::from_str(&text).context("status")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the daemon is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a signal can be sent");
    }

    /// SIGKILL, as a crash.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; returns the exit code.
    ///
    /// # Panics
    /// When it does not end within the contract's 5 s.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal can be sent");
        let status = crate::wait_for("the daemon to end", Duration::from_secs(5), || {
            self.child.try_wait()?.context("still running")
        });
        status.code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Politely first: after a SIGKILL the kernel takes down a hundred hooks one after the other, which is seconds.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
