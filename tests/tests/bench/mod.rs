//! A collector on a real kernel, a directory it watches, and a helper that changes things there.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use sfd::collect::{
    Base, Change, CollectConfig, Collector, DeviceMap, Event, InodeId, NameSource, Op, Rung, Source, start,
};
use tokio::runtime::{Builder, Runtime};

/// How long an event may take before a test fails. Events arrive within milliseconds; the rest is a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

/// One test at a time: they share the kernel's tracepoints, and floods of one would drown another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A collector and a directory it watches.
pub(crate) struct Bench {
    runtime: Runtime,
    pub(crate) collector: Collector,
    pub(crate) devices: DeviceMap,
    pub(crate) dir: tempfile::TempDir,
    /// Events that arrived and were not what was waited for.
    pub(crate) passed: Vec<Event>,
}

impl Bench {
    pub(crate) fn new(under: &Path, config: CollectConfig) -> Self {
        // The rung with most hooks, unless the test is about another one.
        let name_hooks = match config.name_hooks {
            NameSource::Auto => NameSource::Syscall,
            asked => asked,
        };
        let collector = start(&CollectConfig { source: Source::Bpf, name_hooks, ..config })
            .expect("the BPF rung is required here");
        assert_eq!(collector.rung, Rung::Bpf);
        let dir = tempfile::tempdir_in(under).unwrap();
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let mut bench = Self { runtime, collector, devices: DeviceMap::new(), dir, passed: Vec::new() };
        let path = bench.dir.path().to_owned();
        bench.watch(&path);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn id(&mut self, path: &Path) -> InodeId {
        self.devices.inode_id(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn watch(&mut self, path: &Path) -> InodeId {
        let id = self.id(path);
        let is_dir = path.symlink_metadata().unwrap().is_dir();
        self.collector.watcher.watch(id, path, is_dir).unwrap();
        id
    }

    /// Makes a watched file with something in it.
    pub(crate) fn file(&mut self, name: &str) -> (PathBuf, InodeId) {
        let path = self.path(name);
        std::fs::write(&path, vec![b'.'; 8192]).unwrap();
        // On disk and clean, so that late writeback of this is not taken for what a test does.
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        let id = self.watch(&path);
        (path, id)
    }

    /// Waits for an event for which `wanted` holds.
    pub(crate) fn wait(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.passed.iter().position(&wanted) {
                return self.passed.swap_remove(at);
            }
            let events = &mut self.collector.events;
            let received =
                self.runtime.block_on(async { tokio::time::timeout_at(deadline, events.recv()).await });
            match received {
                Ok(Some(chunk)) => self.passed.extend(chunk),
                Ok(None) => panic!("{what}: the collector has ended"),
                Err(_) => {
                    // Other programs of the machine rename things too.
                    let ours =
                        |event: &&Event| event.writer.as_ref().is_none_or(|writer| writer.comm == "ops");
                    let ours: Vec<_> = self.passed.iter().filter(ours).map(|event| &event.change).collect();
                    panic!("{what}: no such event among {ours:?}");
                }
            }
        }
    }

    /// Waits until everything done so far has arrived, and forgets it: a marker file is the last of it.
    pub(crate) fn settle(&mut self) {
        let marker = format!("marker-{:?}", Instant::now()).replace(|c: char| !c.is_alphanumeric(), "");
        ops(&["openat", self.path(&marker).to_str().unwrap()]);
        self.wait(
            "the marker",
            |event| matches!(&event.change, Change::Name { name, .. } if *name == *marker),
        );
        self.passed.clear();
    }

    /// Looks at a file as the engine does: rearm, stat, read. The stat is what makes the kernel give the next
    /// change a time of its own, without which a second change in one clock tick touches no field of the inode.
    pub(crate) fn look(&mut self, id: InodeId) {
        self.collector.watcher.rearm(id);
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let path = entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.symlink_metadata().unwrap().ino() == id.ino);
        std::fs::read(path.unwrap()).unwrap();
    }

    /// Does `args` and waits for a change of this inode.
    pub(crate) fn expect_inode(&mut self, args: &[&str], id: InodeId, ops_allowed: &[Op]) {
        if !is_in_this_kernel(args[0]) {
            return;
        }
        self.settle();
        self.look(id);
        ops(args);
        let event = self.wait(
            &args.join(" "),
            |event| matches!(event.change, Change::Inode { id: of, op, .. } if of == id && ops_allowed.contains(&op)),
        );
        let writer = event.writer.unwrap_or_else(|| panic!("{args:?} has no writer"));
        assert_eq!((writer.comm.as_str(), writer.uid), ("ops", 0), "{args:?}");
        let now_ns = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let age_ns = i128::try_from(now_ns).unwrap() - i128::from(event.at_ns);
        assert!((0..20_000_000_000).contains(&age_ns), "{args:?}: the event is {age_ns} ns old");
    }

    /// Does `args` with absolute paths below the directory (those that begin with `@`), then relative to the
    /// directory, and waits for the names each time.
    pub(crate) fn expect_names(&mut self, args: &[&str], expected: &[(Op, &str)]) {
        if !is_in_this_kernel(args[0]) {
            return;
        }
        let dir = self.dir.path().to_owned();
        let dir_id = self.id(&dir);
        let absolute: Vec<_> = args
            .iter()
            .map(|arg| {
                arg.strip_prefix('@').map_or((*arg).to_owned(), |name| format!("{}/{name}a", dir.display()))
            })
            .collect();
        ops(&absolute.iter().map(String::as_str).collect::<Vec<_>>());
        let by_kernel =
            args.first().is_some_and(|name| matches!(*name, "open" | "creat" | "openat" | "openat2"));
        for (op, name) in expected {
            let full = dir.join(format!("{name}a"));
            self.wait(&format!("{absolute:?}: {op:?} {name}"), |event| match &event.change {
                // An open that creates is reported as the kernel has it: directory and name.
                Change::Name { base: Base::Dir(id), name, op: of, .. } if by_kernel => {
                    of == op && *id == dir_id && dir.join(name) == full
                }
                Change::Name { base: Base::Absolute, name, op: of, .. } => {
                    of == op && Path::new(name) == full
                }
                _ => false,
            });
        }
        let relative: Vec<_> = args
            .iter()
            .map(|arg| arg.strip_prefix('@').map_or((*arg).to_owned(), |name| format!("{name}r")))
            .collect();
        let mut with_dir = vec!["--in", dir.to_str().unwrap()];
        with_dir.extend(relative.iter().map(String::as_str));
        ops(&with_dir);
        for (op, name) in expected {
            let short = format!("{name}r");
            self.wait(&format!("{with_dir:?}: {op:?} {name}"), |event| {
                matches!(&event.change, Change::Name { base: Base::Dir(id), name, op: of, base_path: None }
                    if of == op && *id == dir_id && *name == *short)
            });
        }
    }
}

/// Operations that older kernels do not have, and the release that brought them.
const SINCE: &[(&str, (u32, u32))] = &[
    ("fchmodat2", (6, 6)),
    ("fchmodat2_empty", (6, 6)),
    ("user attributes on tmpfs", (6, 6)),
    ("uring_ftruncate", (6, 9)),
    ("setxattrat", (6, 13)),
    ("removexattrat", (6, 13)),
];

/// Whether the running kernel has an operation; said aloud when it has not.
pub(crate) fn is_in_this_kernel(operation: &str) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let running = (numbers.next().unwrap(), numbers.next().unwrap());
    let since = SINCE.iter().find(|(name, _)| *name == operation).map_or((0, 0), |(_, since)| *since);
    if running < since {
        println!("{operation} came with Linux {}.{}, this is {}", since.0, since.1, release.trim());
    }
    running >= since
}

/// Runs the helper, which is not left out of the reports as this process is.
pub(crate) fn ops(args: &[&str]) {
    let args: Vec<&str> = args.iter().map(|arg| modern(arg)).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_ops")).args(&args).output().unwrap();
    assert!(output.status.success(), "ops {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Calls that only older architectures have, as the ones that do the same elsewhere.
fn modern(operation: &str) -> &str {
    if cfg!(target_arch = "x86_64") {
        return operation;
    }
    match operation {
        "open" | "creat" => "openat",
        "rename" => "renameat",
        "link" => "linkat",
        "symlink" => "symlinkat",
        "unlink" => "unlinkat",
        "rmdir" => "removedir",
        "mkdir" => "mkdirat",
        "mknod" => "mknodat",
        "chmod" => "fchmodat",
        "chown" | "lchown" => "fchownat",
        "utime" | "utimes" | "futimesat" => "utimensat",
        other => other,
    }
}

/// A directory on tmpfs and one on the root file system.
fn places() -> [(&'static str, PathBuf); 2] {
    ["/dev/shm", "/var/tmp"].map(|path| {
        let kind = rustix::fs::statfs(path).unwrap().f_type;
        (if kind == 0x0102_1994 { "tmpfs" } else { "disk" }, PathBuf::from(path))
    })
}

pub(crate) fn both(test: impl Fn(&mut Bench, bool)) {
    let _alone = alone();
    for (kind, place) in places() {
        println!("on {kind} ({})", place.display());
        test(&mut Bench::new(&place, CollectConfig::default()), kind == "tmpfs");
    }
}
