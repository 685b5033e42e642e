//! The thread that owns the roots: orders, scans and failures side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::agent::resolve::Ancestors;
use crate::agent::root::{Opening, Root};
use crate::agent::status::Shared;
use crate::agent::versions::VersionConfig;
use crate::agent::worker::{Opener, Order, Report, Worker};
use crate::agent::{AgentError, Lane, RootKind};
use crate::artifact::look::{LookOptions, Looker};
use crate::artifact::redact::Redactor;
use crate::artifact::view::DiskView;
use crate::batch::Batcher;
use crate::brick::Brick;
use crate::collect::{Base, Change, Event, Op, Unwatched};
use crate::map::feed::Feed;

/// Longest wait of a test that is going to fail.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    top: tempfile::TempDir,
    tree: PathBuf,
    orders: SyncSender<Order>,
    reports: UnboundedReceiver<Report>,
    shared: Arc<Shared>,
    halt: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), AgentError>>,
    live: bool,
}

impl Running {
    fn new(files: usize, halted: bool) -> Self {
        let top = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(top.path()).unwrap();
        let (tree, bricks) = (real.join("tree"), real.join("bricks"));
        fs::create_dir_all(&tree).unwrap();
        for n in 0..files {
            fs::write(tree.join(format!("file{n}")), format!("{n}")).unwrap();
        }
        let halt = Arc::new(AtomicBool::new(halted));
        let (path, stop) = (tree.clone(), Arc::clone(&halt));
        let open: Opener = Box::new(move |watch, progress| {
            let lane = || -> Result<Lane, AgentError> {
                let looker = Looker::new(LookOptions::default(), Redactor::disabled());
                Ok((Box::new(DiskView::new(&path)), looker))
            };
            let (view, looker) = lane()?;
            let opening = Opening {
                bricks: &bricks,
                name: "tree",
                path: &path,
                kind: RootKind::Tree,
                view,
                looker,
                lane: Some(&lane),
                stop: Arc::clone(&stop),
                own: Vec::new(),
                versions: VersionConfig::default(),
                enricher: None,
                feed: Feed::default(),
            };
            Root::open(opening, watch, progress)
        });
        let (orders, inbox) = sync_channel(1);
        let (outbox, reports) = unbounded_channel();
        let shared = Shared::new();
        let openers = vec![(tree.clone(), RootKind::Tree, open)];
        let worker = Worker::new(
            openers,
            Ancestors::default(),
            None,
            Box::new(Unwatched),
            Arc::clone(&shared),
            outbox,
        );
        let thread = std::thread::spawn(move || worker.run(&inbox));
        Self { top, tree, orders, reports, shared, halt, thread, live: false }
    }

    /// Waits until the worker is ready for an order.
    fn ready(&mut self) {
        loop {
            let report = self.reports.blocking_recv().expect("the worker goes on");
            self.live |= report.baseline_done;
            if report.ready {
                return;
            }
        }
    }

    /// Orders a look at some names, and waits until that is done.
    fn look(&mut self, names: &[&str]) {
        let mut batcher = Batcher::new(0);
        for name in names {
            let name = self.tree.join(name).into_os_string();
            let change = Change::Name { base: Base::Absolute, name, base_path: None, op: Op::Any };
            batcher.push(Event { at_ns: 1, change, writer: None }, 0);
        }
        self.orders.send(Order::Batch(Box::new(batcher.take(0)))).unwrap();
        self.ready();
    }

    fn brick(&self) -> PathBuf {
        self.top.path().join("bricks/tree.brick")
    }

    fn extract(&self, path: &Path) -> Option<Vec<u8>> {
        Brick::open(&self.brick()).ok()?.extract(path.as_os_str().as_encoded_bytes()).ok()
    }

    /// Stops it as the agent does.
    fn stop(self) {
        self.halt.store(true, Ordering::Relaxed);
        let _ = self.orders.try_send(Order::Stop);
        drop(self.orders);
        self.thread.join().unwrap().unwrap();
    }
}

#[test]
fn a_baseline_comes_to_its_end_whatever_the_number_of_orders() {
    let mut worker = Running::new(2000, false);
    worker.ready();
    let started = Instant::now();
    while !worker.live {
        worker.look(&["file1"]);
        assert!(started.elapsed() < PATIENCE, "orders kept the scan from going on");
    }
    assert_eq!(worker.shared.roots()[0].unverified, 0);
    worker.stop();
}

#[test]
fn told_to_stop_before_the_tree_was_walked() {
    let worker = Running::new(600, true);
    let brick = worker.brick();
    worker.stop();
    assert!(!brick.exists());
}

#[test]
fn a_root_that_failed_is_opened_again_and_what_happened_meanwhile_is_found() {
    let mut worker = Running::new(20, false);
    worker.ready();
    let (file, other) = (worker.tree.join("file7"), worker.tree.join("file8"));
    worker.look(&["file7"]);
    // Somebody truncates the brick under the daemon.
    fs::File::options().write(true).open(worker.brick()).unwrap().set_len(1000).unwrap();
    fs::write(&file, "changed").unwrap();
    worker.look(&["file7"]);
    let problem = worker.shared.roots()[0].error.clone();
    assert!(problem.is_some_and(|problem| problem.contains("tree.brick")), "it says so");
    fs::write(&other, "changed while it was closed").unwrap();
    worker.look(&["file8"]);
    let started = Instant::now();
    while worker.extract(&other).as_deref() != Some(b"changed while it was closed") {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(worker.extract(&file).as_deref(), Some(&b"changed"[..]));
    assert!(worker.shared.roots()[0].error.is_none());
    let brick = worker.brick();
    let top = worker.top.path().to_path_buf();
    assert!(Brick::open(&brick).unwrap().verify().unwrap().is_ok());
    worker.stop();
    assert!(!top.exists());
}

#[test]
fn what_asks_to_be_looked_at_again_is_without_an_order() {
    let mut worker = Running::new(1, false);
    worker.ready();
    while !worker.live {
        worker.look(&[]);
    }
    let file = worker.tree.join("file0");
    // Most likely the second one is within the tick of the first, so the time stamps do not tell.
    for n in 0..10 {
        fs::write(&file, format!("{n} a")).unwrap();
        worker.look(&["file0"]);
        fs::write(&file, format!("{n} b")).unwrap();
        let started = Instant::now();
        while worker.extract(&file) != Some(format!("{n} b").into_bytes()) {
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    worker.stop();
}
