//! OpenSpec tasks end to end: both front doors with the real program, and OpenSpec's own command line as the oracle.
//!
//! Needs Node and npm (`apt-get install nodejs npm`, Node 20.19 or newer): OpenSpec 1.13.2 is installed below `target/`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use sfd_tests::daemon::sfd;

mod files;
mod hostile;
mod kills;
mod malformed;
mod modules;
mod next;
mod oracle;
mod watching;

const TASKS: &str = "openspec/tasks/system_foundry";

/// A repository of its own.
struct Repo {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Repo {
    /// With the schema, and something to fold in `src`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap().join("repo");
        fs::create_dir_all(root.join("src/sub")).unwrap();
        fs::write(root.join("src/a.conf"), "a = 1\n").unwrap();
        fs::write(root.join("src/sub/b.txt"), "some text\n").unwrap();
        let repo = Self { _dir: dir, root };
        let output = sfd(&["tasks", "init", "--openspec"]).arg(&repo.root).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        repo
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.read(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Puts a task file there as a program would: whole, in one step.
    fn task(&self, name: &str, text: impl AsRef<[u8]>) {
        let aside = self.path("aside.tmp");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.path(&format!("{TASKS}/{name}.task.json"))).unwrap();
    }

    /// `sfd tasks run --json`: exit code, its lines, what it has said.
    fn run(&self, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
        read_lines(
            &sfd(&["tasks", "run", "--json", "--llm", "off", "--openspec"])
                .arg(&self.root)
                .args(more)
                .output()
                .unwrap(),
        )
    }

    /// `sfd tasks list --json`: state by name.
    fn states(&self) -> Vec<(String, String)> {
        let output = sfd(&["tasks", "list", "--json", "--openspec"]).arg(&self.root).output().unwrap();
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| (text(&task["name"]), text(&task["state"])))
            .collect()
    }

    /// A change with a foundry.yaml and a tasks.md.
    fn change(&self, name: &str, foundry: &str, tasks: &str) {
        let dir = self.path(&format!("openspec/changes/{name}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(".openspec.yaml"), "schema: foundry-v2\nskip_specs: true\n").unwrap();
        fs::write(dir.join("foundry.yaml"), foundry).unwrap();
        fs::write(dir.join("tasks.md"), tasks).unwrap();
    }
}

fn read_lines(output: &Output) -> (Option<i32>, Vec<Value>, String) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON lines only")).collect();
    (output.status.code(), lines, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// How many tasks of a name have ended so.
fn ended(lines: &[Value], name: &str, state: &str) -> usize {
    lines.iter().filter(|line| line["name"] == name && line["state"] == state).count()
}

fn verify(brick: &Path) {
    let output = sfd(&["verify"]).arg(brick).output().unwrap();
    assert!(output.status.success(), "{}: {}", brick.display(), String::from_utf8_lossy(&output.stdout));
}

/// Every file below a directory with its contents, to see that nothing was touched.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            }
            let contents = if kind.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
            found.push((entry.path(), contents));
        }
    }
    found.sort();
    found
}
