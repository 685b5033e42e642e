//! `sfd next`: every state, made for real.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;
use sfd_tests::daemon::{Daemon, program, sfd};
use sfd_tests::llm::free_port;
use sfd_tests::llm_double::{Double, Wire};
use sfd_tests::wait_for;

use crate::Repo;

/// A state directory and something to watch.
struct Place {
    _dir: tempfile::TempDir,
    root: PathBuf,
    state: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let (root, state) = (base.join("root"), base.join("state"));
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("file"), "x\n").unwrap();
        Self { _dir: dir, root, state }
    }

    fn daemon(&self, more: &[&str]) -> Daemon {
        Daemon::live(&[&self.root], &self.state, more)
    }

    /// From a directory without tasks.
    fn next(&self, more: &[&str]) -> Value {
        let output = sfd(&["next", "--json", "--state"])
            .arg(&self.state)
            .args(more)
            .current_dir("/")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn wait(&self, state: &str, more: &[&str]) -> Value {
        wait_for(state, Duration::from_secs(30), || {
            let next = self.next(more);
            ensure!(next["state"] == state, "{next}");
            Ok(next)
        })
    }
}

fn is_root() -> bool {
    let is = rustix::process::geteuid().is_root();
    if !is {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "this test needs root");
        println!("skipped: needs root");
    }
    is
}

/// `setpriv` with the program where others may run it.
fn setpriv(dir: &Path, args: &[&str], command: &[&str]) -> Value {
    let copy = dir.join("sfd");
    if !copy.exists() {
        fs::copy(program(), &copy).unwrap();
    }
    let output =
        Command::new("setpriv").args(args).arg(&copy).args(command).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn no_brick_yet_and_no_daemon() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let next = place.next(&[]);
    assert_eq!(next["state"], "no_brick", "{next}");
    let state = place.state.to_str().unwrap();
    assert_eq!(next["command"], format!("sfd run --watch /etc,/proc --state {state}"));
    // What it says is what one can do.
    drop(place.daemon(&["--llm", "off"]));
    let next = place.next(&[]);
    assert_eq!(next["state"], "not_running", "{next}");
    assert_eq!(next["command"], format!("sfd run --watch {} --state {state}", place.root.display()));
}

#[test]
fn not_root() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let dir = place.root.parent().unwrap();
    let state = dir.join("nobody");
    let next = setpriv(dir, &NOBODY, &["next", "--json", "--state", state.to_str().unwrap()]);
    assert_eq!(next["state"], "not_root", "{next}");
    assert!(next["command"].as_str().unwrap().starts_with("sudo sfd run "), "{next}");
    // A daemon of such a user.
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(NOBODY).arg(dir.join("sfd"));
    let daemon = Daemon::spawn_as(command, &[&place.root], &state.join("own"), &["--llm", "off"]);
    daemon.wait_live();
    let next = setpriv(dir, &NOBODY, &["next", "--json", "--state", state.join("own").to_str().unwrap()]);
    assert_eq!(next["state"], "not_root", "{next}");
    assert!(next["why"].as_str().unwrap().contains("does not run as root"), "{next}");
}

#[test]
fn bpf_is_not_permitted() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let dir = place.root.parent().unwrap();
    let few = ["--bounding-set=-sys_admin,-bpf,-perfmon", "--inh-caps=-sys_admin,-bpf,-perfmon"];
    let next = setpriv(dir, &few, &["next", "--json", "--state", place.state.to_str().unwrap()]);
    assert_eq!(next["state"], "bpf_not_permitted", "{next}");
    assert!(next["command"].as_str().unwrap().starts_with("sfd doctor"), "{next}");
    let mut command = Command::new("setpriv");
    command.args(few).arg(dir.join("sfd"));
    let daemon = Daemon::spawn_as(command, &[&place.root], &place.state, &["--llm", "off"]);
    daemon.wait_live();
    let next = place.next(&[]);
    assert_eq!(next["state"], "bpf_not_permitted", "{next}");
}

#[test]
fn the_language_model_is_not_reachable() {
    let place = Place::new();
    let url = format!("http://127.0.0.1:{}", free_port());
    let _daemon = place.daemon(&["--source", "inotify", "--llm", &url]);
    let next = place.wait("llm_unreachable", &[]);
    assert!(next["why"].as_str().unwrap().contains(&url), "{next}");
}

#[test]
fn the_model_is_missing() {
    let place = Place::new();
    let double = Double::with_models(Wire::Ollama, None, &[("another:1b", 1_000_000)]);
    let _daemon = place.daemon(&["--source", "inotify", "--llm", &double.url()]);
    let next = place.wait("model_missing", &[]);
    assert_eq!(next["command"], "ollama pull qwen2.5-coder:1.5b", "{next}");
}

#[test]
fn tasks_are_pending_and_then_failed() {
    let place = Place::new();
    let repo = Repo::new();
    let _daemon = place.daemon(&["--source", "inotify", "--llm", "off"]);
    repo.task("one", r#"{"task_id":"1","type":"convert_binary","source":"src/a.conf"}"#);
    repo.task("two", r#"{"task_id":"2","type":"convert_binary","source":"nowhere"}"#);
    let root = repo.root.to_str().unwrap();
    let next = place.wait("tasks_pending", &["--openspec", root]);
    assert_eq!(next["command"], format!("sfd tasks run --openspec {root}"));
    assert!(next["why"].as_str().unwrap().starts_with("2 tasks"), "{next}");
    repo.run(&[]);
    let next = place.wait("tasks_failed", &["--openspec", root]);
    assert_eq!(next["command"], format!("sfd tasks list --openspec {root}"));
    fs::remove_file(repo.path(&format!("{}/two.task.json", crate::TASKS))).unwrap();
    place.wait("live", &["--openspec", root]);
}

/// The beginning of what a server says.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_map_is_not_open() {
    let place = Place::new();
    let listen = format!("127.0.0.1:{}", free_port());
    let daemon = place.daemon(&["--source", "inotify", "--llm", "off", "--listen", &listen]);
    let next = place.wait("map_not_open", &[]);
    assert!(next["command"].as_str().unwrap().starts_with("sfd map"), "{next}");
    assert!(!next.to_string().contains("token"), "{next}");
    // Whoever has not the token has not been there.
    let url = fs::read_to_string(place.state.join("map-url")).unwrap();
    let (address, token) = url.trim().split_once("/?token=").unwrap();
    let address = address.strip_prefix("http://").unwrap();
    assert!(get(address, "/?token=x").starts_with("HTTP/1.1 401"));
    assert_eq!(place.next(&[])["state"], "map_not_open");
    assert!(get(address, &format!("/?token={token}")).starts_with("HTTP/1.1 303"));
    place.wait("live", &[]);
    // And is not told again after a restart.
    assert_eq!(daemon.terminate(), Some(0));
    let _daemon = place.daemon(&["--source", "inotify", "--llm", "off", "--listen", &listen]);
    place.wait("live", &[]);
}

#[test]
fn regions_are_unverified() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let dir = place.root.parent().unwrap();
    // Somebody who may not read all of it, and has asked for no more than inotify.
    fs::write(place.root.join("secret-file"), "x").unwrap();
    fs::set_permissions(place.root.join("secret-file"), fs::Permissions::from_mode(0o600)).unwrap();
    let state = dir.join("nobody");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
    fs::copy(program(), dir.join("sfd")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(NOBODY).arg(dir.join("sfd"));
    let own = state.join("own");
    let daemon = Daemon::spawn_as(command, &[&place.root], &own, &["--llm", "off", "--source", "inotify"]);
    daemon.wait_live();
    wait_for("unverified", Duration::from_secs(30), || {
        let next = setpriv(dir, &NOBODY, &["next", "--json", "--state", own.to_str().unwrap()]);
        ensure!(
            next["state"] == "unverified" && next["why"].as_str().unwrap().starts_with("1 artifacts"),
            "{next}"
        );
        Ok(())
    });
}

#[test]
fn all_is_well() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let daemon = place.daemon(&["--llm", "off"]);
    let next = place.wait("live", &[]);
    assert!(next["command"].as_str().unwrap().starts_with("sfd log -f"), "{next}");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn commands_end_with_the_line_on_a_terminal_only() {
    let place = Place::new();
    let brick = place.root.with_file_name("x.brick");
    let run = |flags: &str| -> String {
        let line =
            format!("{} fold {} -o {} {flags}", program().display(), place.root.display(), brick.display());
        // script(1) gives it a terminal.
        let output =
            Command::new("script").args(["-qec", &line, "/dev/null"]).current_dir("/").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = run("");
    assert!(text.trim_end().lines().last().unwrap().starts_with("Next: "), "{text}");
    assert!(!run("--quiet").contains("Next:"));
    assert!(!run("--json").contains("Next:"));
    let piped = sfd(&["fold"]).arg(&place.root).arg("-o").arg(&brick).output().unwrap();
    assert!(!String::from_utf8_lossy(&piped.stdout).contains("Next:"));
}
