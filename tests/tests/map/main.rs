//! The map's server against the real daemon on a real tree, through a client that uses none of SFD's own code.
//!
//! Needs root and BPF; fails where it has neither. Every wait is for a condition.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sfd_tests::daemon::Daemon;

use client::{Answer, Client};

mod artifacts;
mod client;
mod contract;
mod events;
mod load;
mod picture;
mod public;
mod refused;
mod service;
mod tiles;

/// The promise: a change is right within one second.
const PROMISE: Duration = Duration::from_secs(1);
/// For what has no promise of its own, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What no answer may ever hold.
const SECRET: &str = "correct-horse-battery-staple";

/// A watched tree and a daemon that serves its map.
struct Map {
    daemon: Daemon,
    client: Client,
    root: PathBuf,
    state: PathBuf,
    brick: String,
    _dir: tempfile::TempDir,
}

/// A tree on a real file system, beside a state directory.
struct Tree {
    dir: tempfile::TempDir,
    root: PathBuf,
    state: PathBuf,
}

impl Tree {
    /// An empty one.
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sfd-map-").tempdir_in("/var/tmp").unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let (root, state) = (base.join("root"), base.join("state"));
        fs::create_dir(&root).unwrap();
        Self { dir, root, state }
    }

    /// One with a bit of everything: configuration, a program, a link, something secret, and enough for several levels of
    /// tiles.
    fn filled() -> Self {
        let tree = Self::new();
        tree.write("app.conf", "# settings\nport = 80\nname = value\n");
        tree.write("notes.txt", "Some words about this and that.\n".repeat(40));
        tree.write("bin/tool", fs::read("/bin/true").unwrap());
        tree.write("secret/.netrc", format!("machine example login me password {SECRET}\n"));
        std::os::unix::fs::symlink("app.conf", tree.root.join("link")).unwrap();
        for n in 0..200_u32 {
            let text = format!("line {n} of a file\n").repeat(60 * (n as usize % 7 + 1));
            tree.write(&format!("many/{}/file-{n}", n % 8), text);
        }
        tree
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    fn serve(self) -> Map {
        self.serve_with(&[])
    }

    fn serve_with(self, more: &[&str]) -> Map {
        let args = [&["--source", "bpf", "--listen", "127.0.0.1:0", "--llm", "off"], more].concat();
        let daemon = Daemon::spawn(&[&self.root], &self.state, &args);
        let url = daemon.wait_event("map")["url"].as_str().unwrap().to_owned();
        daemon.wait_live();
        let brick = self.root.to_string_lossy().trim_start_matches('/').replace('/', "-");
        let client = Client::of_url(&url);
        Map { daemon, client, root: self.root, state: self.state, brick, _dir: self.dir }
    }
}

impl Map {
    fn path(&self, name: &str) -> String {
        self.root.join(name).to_str().unwrap().to_owned()
    }

    /// An answer about the brick.
    fn ask(&self, what: &str) -> Answer {
        self.client.get(&format!("/api/bricks/{}/{what}", self.brick))
    }

    /// The same as JSON; it must be a success.
    fn json(&self, what: &str) -> Value {
        let answer = self.ask(what);
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        answer.json()
    }

    /// The brick as `/api/bricks` tells of it.
    fn about(&self) -> Value {
        let bricks = self.client.get("/api/bricks").json();
        let found =
            bricks["bricks"].as_array().unwrap().iter().find(|brick| brick["name"] == self.brick.as_str());
        found.unwrap_or_else(|| panic!("{bricks:#}")).clone()
    }

    fn brick_file(&self) -> PathBuf {
        self.state.join("bricks").join(format!("{}.brick", self.brick))
    }

    fn rect_of(&self, name: &str) -> [u64; 4] {
        let artifact = self.json(&format!("artifact?path={}", self.path(name)));
        ["x", "y", "w", "h"].map(|key| artifact[key].as_u64().unwrap())
    }
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
