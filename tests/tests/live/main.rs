//! The daemon end to end against the real kernel: change the disk, look at the brick with an independent reader.
//!
//! Needs root and BPF; fails where it has neither. Every wait is for a condition.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use sfd_tests::daemon::Daemon;
use sfd_tests::reader::compare;
use sfd_tests::wait_for;

/// The promise: a change is right in the brick within one second.
const PROMISE: Duration = Duration::from_secs(1);
/// For what has no promise of its own, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bound on a rescan for a root of at most 100 000 files, and so on the time from the end of a fault to a brick that
/// is true: what was lost is known 200 ms after the loss, the scan may have to rest, and it runs.
const RESCAN: Duration = Duration::from_secs(10);

mod changes;
mod faults;
mod hosts;
mod meaning;
mod patches;
mod quiet;
mod rungs;
mod safety;
mod service;
mod snapshot;
mod storage;
mod who;

/// A watched tree on a real file system, beside its state directory.
struct Bench {
    _dir: tempfile::TempDir,
    root: PathBuf,
    state: PathBuf,
}

impl Bench {
    fn new() -> Self {
        // Not /tmp: that may be a tmpfs, and the first file system to be right on is the one of /etc.
        let dir = tempfile::Builder::new().prefix("sfd-live-").tempdir_in("/var/tmp").unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let (root, state) = (base.join("root"), base.join("state"));
        fs::create_dir(&root).unwrap();
        Self { _dir: dir, root, state }
    }

    fn name(&self) -> String {
        self.root.to_string_lossy().trim_start_matches('/').replace('/', "-")
    }

    fn live(&self) -> Daemon {
        let daemon = Daemon::live(&[&self.root], &self.state, &["--source", "bpf"]);
        assert_eq!(daemon.status().unwrap()["rung"], "bpf", "these tests need root and BPF");
        daemon
    }

    fn brick(&self) -> PathBuf {
        self.state.join("bricks").join(format!("{}.brick", self.name()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    fn wait_equal(&self, what: &str, limit: Duration) {
        wait_for(what, limit, || compare(&self.root, &self.brick()).map(drop));
    }
}
