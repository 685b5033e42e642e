//! A file system with a daemon that watches two directories on it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::reader::compare;
use sfd_tests::{slowness, wait_for};

use crate::cells::{Done, Operation};
use crate::report::Cell;

/// The file systems, in the order of the table.
pub(crate) const FILE_SYSTEMS: [&str; 5] = ["ext4", "xfs", "btrfs", "tmpfs", "overlay"];

/// Size of the images: xfs takes no less than 300 MiB.
const IMAGE_LEN: u64 = 400 << 20;
/// For what has no bound of its own, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted file system, unmounted when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Two watched directories on one file system, and one beside them that is not.
pub(crate) struct Place {
    daemon: Option<Daemon>,
    events: Child,
    lines: Receiver<serde_json::Value>,
    top: PathBuf,
    state: PathBuf,
    /// How names are seen.
    pub(crate) rung: String,
    // Dropped last to first of what they hold: the mount before the directory it is in.
    _mounted: Vec<Mounted>,
    _dir: tempfile::TempDir,
}

impl Place {
    /// Makes the file system, mounts it and starts the daemon.
    pub(crate) fn new(file_system: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sfd-matrix-").tempdir_in("/var/tmp").unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let top = base.join("on");
        fs::create_dir(&top).unwrap();
        let mounted = mount(file_system, &base, &top);
        for name in ["root", "second", "beside"] {
            fs::create_dir(top.join(name)).unwrap();
        }
        let state = base.join("state");
        let config = base.join("sfd.toml");
        let hooks = std::env::var("SFD_NAME_HOOKS").unwrap_or_else(|_| "auto".to_owned());
        fs::write(&config, format!("name_hooks = {hooks:?}\nsource = \"bpf\"\n")).unwrap();
        let roots = [top.join("root"), top.join("second")];
        let config = ["--config", config.to_str().unwrap()];
        let daemon = Daemon::live(&[&roots[0], &roots[1]], &state, &config);
        let status = daemon.status().unwrap();
        assert_eq!(status["rung"], "bpf", "the matrix needs root and BPF");
        let rung = status["name_hooks"].as_str().unwrap().replace('_', " ");
        let (events, lines) = listen(&state);
        let daemon = Some(daemon);
        Self { daemon, events, lines, top, state, rung, _mounted: mounted, _dir: dir }
    }

    /// A path in the watched directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.top.join("root").join(name)
    }

    /// A path beside it: `second/..` is watched, `beside/..` is not.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// Runs the helper in the watched directory.
    pub(crate) fn ops(&self, args: &[&str]) -> Result<Done> {
        let output = Command::new(env!("CARGO_BIN_EXE_ops"))
            .env("RUST_BACKTRACE", "0")
            .current_dir(self.top.join("root"))
            .args(args)
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        // EOPNOTSUPP and ENOTTY: not on this file system. For some it is EINVAL: O_DIRECT on tmpfs before 6.6, an io_uring
        // operation before the kernel that has it.
        let invalid = ["direct", "uring_ftruncate"].iter().any(|name| args.contains(name));
        let codes = if invalid { &["os error 22"][..] } else { &["os error 95", "os error 25"] };
        if codes.iter().any(|code| error.contains(code)) {
            return Ok(Done::Refused);
        }
        ensure!(output.status.success(), "ops {args:?}: {error}");
        Ok(Done::Done)
    }

    /// Starts the helper, which waits for lines.
    pub(crate) fn start(&self, args: &[&str]) -> Result<Child> {
        Command::new(env!("CARGO_BIN_EXE_ops"))
            .current_dir(self.top.join("root"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("ops")
    }

    /// Whether both bricks are what is on disk, attributes and change times included.
    pub(crate) fn right(&self) -> Result<()> {
        for name in ["root", "second"] {
            let root = self.top.join(name);
            let brick = root.to_string_lossy().trim_start_matches('/').replace('/', "-");
            let bricks = self.state.join("bricks");
            compare(&root, &bricks.join(format!("{brick}.brick")))?;
            attributes(&root, &bricks.join(format!("{brick}.catalog.sqlite")))?;
        }
        Ok(())
    }

    /// Waits until the bricks are right and nothing is going on.
    pub(crate) fn settle(&self, what: &str) {
        wait_for(what, PATIENCE, || self.right());
    }

    /// Does one operation, and sees what comes of it.
    pub(crate) fn check(&mut self, operation: &Operation) -> Cell {
        // The tracepoints of system calls leave 32-bit programs out (docs/decisions/0003-hooks.md).
        if self.rung == "syscall" && operation.name.starts_with("32-bit") {
            return Cell::Late;
        }
        if let Err(error) = (operation.before)(self) {
            return Cell::Wrong(format!("could not be prepared: {error:#}"));
        }
        self.settle(operation.name);
        while self.lines.try_recv().is_ok() {}
        match (operation.act)(self) {
            Ok(Done::Refused) => return Cell::Refused,
            Ok(Done::Done) => {}
            Err(error) => return Cell::Wrong(format!("could not be done: {error:#}")),
        }
        let ended = Instant::now();
        let bound = operation.bound * slowness();
        let cell = loop {
            match self.right() {
                Ok(()) => break Cell::Right { after: ended.elapsed(), reported: self.reported() },
                Err(error) if ended.elapsed() > bound => break Cell::Wrong(format!("{error:#}")),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        if let Err(error) = (operation.after)(self) {
            return Cell::Wrong(format!("could not be undone: {error:#}"));
        }
        cell
    }

    /// What was reported of the helper's doings, or without a writer, since it was last asked.
    fn reported(&self) -> BTreeSet<String> {
        let mut reported = BTreeSet::new();
        while let Ok(line) = self.lines.try_recv() {
            let ours = line["writer"].is_null()
                || line["writer"]["comm"]
                    .as_str()
                    .is_some_and(|comm| comm == "ops" || comm.starts_with("iou-"));
            if ours && matches!(line["what"].as_str(), Some("inode" | "name" | "mounts" | "lost")) {
                let what = line["op"].as_str().or(line["what"].as_str());
                reported.extend(what.map(str::to_owned));
            }
        }
        reported
    }

    /// Ends the daemon as it should end.
    pub(crate) fn finish(mut self) {
        let _ = self.events.kill();
        let _ = self.events.wait();
        assert_eq!(self.daemon.take().unwrap().terminate(), Some(0));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.events.kill();
        let _ = self.events.wait();
        // Before the mounts, which it holds open.
        self.daemon = None;
    }
}

/// Follows `sfd events`; waits until the daemon serves it.
fn listen(state: &Path) -> (Child, Receiver<serde_json::Value>) {
    let mut events = sfd(&["events", "--json", "--state"])
        .arg(state)
        .stdout(Stdio::piped())
        .spawn()
        .expect("sfd events starts");
    let stdout = events.stdout.take().unwrap();
    let (tell, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or_default();
            if tell.send(value).is_err() {
                return;
            }
        }
    });
    (events, lines)
}

fn run(args: &[&str]) {
    let output = Command::new(args[0]).args(&args[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; install it", args[0]));
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Mounts a fresh file system at `at`, with what it needs in `base`.
fn mount(file_system: &str, base: &Path, at: &Path) -> Vec<Mounted> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let at_text = text(at);
    match file_system {
        "tmpfs" => run(&["mount", "-t", "tmpfs", "sfd-matrix", &at_text]),
        "overlay" => {
            let layers = base.join("layers");
            fs::create_dir(&layers).unwrap();
            run(&["mount", "-t", "tmpfs", "sfd-matrix", layers.to_str().unwrap()]);
            let below = Mounted(layers.clone());
            let [lower, upper, work] = ["lower", "upper", "work"].map(|name| {
                let path = layers.join(name);
                fs::create_dir(&path).unwrap();
                text(&path)
            });
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
            run(&["mount", "-t", "overlay", "overlay", "-o", &options, &at_text]);
            // The upper one first: it lies on the other.
            return vec![Mounted(at.to_owned()), below];
        }
        disk => {
            let image = base.join("image");
            fs::File::create(&image).unwrap().set_len(IMAGE_LEN).unwrap();
            let quiet = if disk == "ext4" { "-F" } else { "-f" };
            run(&[&format!("mkfs.{disk}"), "-q", quiet, &text(&image)]);
            run(&["mount", "-o", "loop", &text(&image), &at_text]);
        }
    }
    vec![Mounted(at.to_owned())]
}

/// Compares what `sfd inspect` does not show: owner, modification time, links, and the change time, which every change
/// of an extended attribute moves.
fn attributes(root: &Path, catalog: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let catalog = rusqlite::Connection::open_with_flags(catalog, flags)?;
    let mut query = catalog.prepare("SELECT uid, gid, mtime_ns, ctime_ns, nlink, ino FROM artifact")?;
    let rows = query.query_map([], |row| {
        let number = |at| row.get::<_, i64>(at);
        Ok((number(5)?, [number(0)?, number(1)?, number(2)?, number(3)?, number(4)?]))
    })?;
    let rows: Vec<(i64, [i64; 5])> = rows.collect::<Result<_, _>>()?;
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path)?;
        let nanoseconds = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
        let links = if meta.is_dir() { None } else { i64::try_from(meta.nlink()).ok() };
        let expected = [
            i64::from(meta.uid()),
            i64::from(meta.gid()),
            nanoseconds(meta.mtime(), meta.mtime_nsec()),
            nanoseconds(meta.ctime(), meta.ctime_nsec()),
        ];
        let same = |[uid, gid, mtime, ctime, nlink]: &[i64; 5]| {
            [*uid, *gid, *mtime, *ctime] == expected && links.is_none_or(|links| links == *nlink)
        };
        let believed: Vec<_> = rows.iter().filter(|(ino, _)| *ino == meta.ino().cast_signed()).collect();
        ensure!(
            believed.iter().any(|(_, row)| same(row)),
            "{}: {expected:?} and {links:?} links, the catalog has {believed:?}",
            path.display()
        );
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                todo.push(entry?.path());
            }
        }
    }
    Ok(())
}
