//! A root on a scratch directory.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_OMIT};

use super::check::Pixels;
use super::kernel::{Kernel, Tricked, Tricks};
use crate::agent::RootKind;
use crate::agent::resolve::Ancestors;
use crate::agent::root::{Opening, Root, Work};
use crate::agent::versions::VersionConfig;
use crate::agent::worker::{carry_out, work_of};
use crate::artifact::look::{LookOptions, Looker};
use crate::artifact::redact::Redactor;
use crate::artifact::view::{DiskView, ProcView, View};
use crate::batch::{Batcher, ENTRIES_MAX};
use crate::brick::{HistoryQuery, Row, Verb, VersionLimits};
use crate::collect::{Base, Change, Event, InodeId, LossReason, Op};
use crate::enrich::Enricher;
use crate::fold::Block;
use crate::map::feed::Feed;

/// Name of the brick.
pub(super) const NAME: &str = "tree";

/// A root under test.
#[expect(clippy::struct_excessive_bools, reason = "each is a way in which a test differs from the next")]
pub(super) struct Rig {
    top: tempfile::TempDir,
    /// The watched directory.
    pub(super) tree: PathBuf,
    /// In memory where that can be had: the disk has to wait for every baseline otherwise.
    bricks: tempfile::TempDir,
    root: Option<Root>,
    pub(super) kernel: Kernel,
    pub(super) tricks: Arc<Mutex<Tricks>>,
    batcher: Batcher,
    /// Bound of the batch stage, from the next opening on.
    pub(super) entries_max: usize,
    /// Events that happened and were not delivered yet.
    pub(super) queue: Vec<Event>,
    /// Time stamps are made unique, and the looker is told that they lie back, so that nothing is looked at twice.
    settled: bool,
    stamps: i64,
    pub(super) redactor: Redactor,
    /// Names in events are relative to their directory's inode.
    pub(super) relative: bool,
    /// Names are not reported: a change of one is a change of its directory, and of what it names.
    pub(super) nameless: bool,
    /// Every delivery compares the pixels before and after.
    pub(super) strict: bool,
    /// Tells the root to break off.
    pub(super) stop: Arc<AtomicBool>,
    /// Files that the daemon itself writes.
    pub(super) own: Vec<InodeId>,
    /// How much of earlier contents is kept, from the next opening on.
    pub(super) versions: VersionConfig,
    /// The tree is one of projections, as `/proc` is.
    pub(super) is_proc: bool,
    /// Reaches a language model, from the next opening on.
    pub(super) enricher: Option<Enricher>,
}

impl Rig {
    /// An empty tree whose time stamps always tell.
    pub(super) fn new() -> Self {
        Self::with(true)
    }

    /// An empty tree with the time stamps that the kernel gives.
    pub(super) fn with_real_stamps() -> Self {
        Self::with(false)
    }

    fn with(settled: bool) -> Self {
        let top = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(top.path()).unwrap();
        let tree = real.join("watched/tree");
        let bricks = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(real.join("elsewhere")).unwrap();
        Self {
            top,
            tree,
            bricks,
            root: None,
            kernel: Kernel::default(),
            tricks: Arc::default(),
            batcher: Batcher::new(0),
            entries_max: ENTRIES_MAX,
            queue: Vec::new(),
            settled,
            stamps: 0,
            redactor: Redactor::ephemeral(&[]).unwrap(),
            relative: false,
            nameless: false,
            strict: true,
            stop: Arc::default(),
            own: Vec::new(),
            enricher: None,
            versions: VersionConfig {
                // Events of a rig are from the beginning of time.
                limits: VersionLimits { age_ns: i64::MAX, ..VersionConfig::default().limits },
                ..VersionConfig::default()
            },
            is_proc: false,
        }
    }

    /// Opens the root with a collector that knows nothing, as a start of the daemon does.
    pub(super) fn open(&mut self) -> &mut Self {
        self.root = None;
        self.kernel = Kernel { room: self.kernel.room, ..Kernel::default() };
        self.queue.clear();
        self.batcher = Batcher::with_bound(0, self.entries_max);
        let looker = Looker::new(LookOptions::default(), self.redactor.clone());
        let ahead = if self.settled { 1_000_000_000 } else { 0 };
        let looker = looker.with_clock(Box::new(move || {
            i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap() + ahead
        }));
        let view: Box<dyn View> = if self.is_proc {
            Box::new(ProcView::new(&self.tree))
        } else {
            Box::new(Tricked { view: DiskView::new(&self.tree), tricks: Arc::clone(&self.tricks) })
        };
        let opening = Opening {
            bricks: self.bricks.path(),
            name: NAME,
            path: &self.tree,
            kind: if self.is_proc { RootKind::Proc } else { RootKind::Tree },
            view,
            looker,
            lane: None,
            stop: Arc::clone(&self.stop),
            own: self.own.clone(),
            versions: self.versions,
            enricher: self.enricher.clone(),
            feed: Feed::default(),
        };
        self.root = Some(Root::open(opening, &mut self.kernel, &|_| ()).unwrap());
        self
    }

    /// Opens it and compares everything, as a start does when nothing disturbs it.
    pub(super) fn start(&mut self) -> &mut Self {
        self.open().scan().settle()
    }

    /// As a kill does: nothing is flushed, nothing is told.
    pub(super) fn kill(&mut self) -> &mut Self {
        self.root = None;
        self
    }

    pub(super) fn opened(&self) -> &Root {
        self.root.as_ref().unwrap()
    }

    pub(super) fn root(&mut self) -> &mut Root {
        self.root.as_mut().unwrap()
    }

    /// An absolute path in the tree.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.tree.clone() } else { self.tree.join(path) }
    }

    /// A place on the same file system that is not watched.
    pub(super) fn elsewhere(&self, path: &str) -> PathBuf {
        fs::canonicalize(self.top.path()).unwrap().join("elsewhere").join(path)
    }

    pub(super) fn brick_path(&self) -> PathBuf {
        self.bricks.path().join(format!("{NAME}.brick"))
    }

    pub(super) fn catalog_path(&self) -> PathBuf {
        self.bricks.path().join(format!("{NAME}.catalog.sqlite"))
    }

    // What happens in the tree.

    /// Identity of what is at a path.
    pub(super) fn inode(&self, path: &Path) -> Option<InodeId> {
        let mut view = DiskView::new(&self.tree);
        let meta = view.meta(path).ok()?;
        Some(view.id(path, &meta))
    }

    fn stamp(&mut self, path: &Path) {
        if self.settled {
            self.stamps += 1;
            let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let to = Timespec { tv_sec: 1_000_000_000 + self.stamps, tv_nsec: 0 };
            let times = Timestamps { last_access: omit, last_modification: to };
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }

    /// An inode changed.
    pub(super) fn report_inode(&mut self, path: &Path) {
        if let Some(id) = self.inode(path)
            && self.kernel.touch(id)
        {
            self.queue.push(event(Change::Inode { id, op: Op::InodeDirty, mapped: false, crowded: false }));
        }
    }

    /// A name changed.
    pub(super) fn report_name(&mut self, path: &Path, op: Op) {
        let parent = path.parent().unwrap();
        if self.nameless {
            self.report_inode(parent);
            return self.report_inode(path);
        }
        let change = match self.inode(parent).filter(|_| self.relative && path != self.tree) {
            Some(id) => Change::Name {
                base: Base::Dir(id),
                name: path.file_name().unwrap().into(),
                // The collector looks up what the kernel side does not know.
                base_path: (!self.kernel.watches(id)).then(|| parent.to_path_buf()),
                op,
            },
            None => Change::Name { base: Base::Absolute, name: path.as_os_str().into(), base_path: None, op },
        };
        self.queue.push(event(change));
    }

    /// Creates a file, or writes over it.
    pub(super) fn write(&mut self, path: &Path, bytes: &[u8]) {
        let fresh = !path.exists();
        fs::write(path, bytes).unwrap();
        self.stamp(path);
        if fresh {
            self.report_name(path, Op::Create);
        }
        self.report_inode(path);
    }

    pub(super) fn append(&mut self, path: &Path, bytes: &[u8]) {
        use std::io::Write;
        fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
        self.stamp(path);
        self.report_inode(path);
    }

    /// Removes anything, with what is in it.
    pub(super) fn remove(&mut self, path: &Path) {
        let meta = fs::symlink_metadata(path).unwrap();
        if !meta.is_dir() {
            self.report_inode(path);
            fs::remove_file(path).unwrap();
            return self.report_name(path, Op::Unlink);
        }
        for entry in fs::read_dir(path).unwrap() {
            self.remove(&entry.unwrap().path());
        }
        fs::remove_dir(path).unwrap();
        self.report_name(path, Op::Rmdir);
    }

    pub(super) fn try_rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        self.report_name(from, Op::RenameFrom);
        self.report_name(to, Op::RenameTo);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        self.try_rename(from, to).unwrap();
    }

    pub(super) fn try_exchange(&mut self, a: &Path, b: &Path) -> io::Result<()> {
        rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?;
        self.report_name(a, Op::RenameFrom);
        self.report_name(b, Op::RenameTo);
        Ok(())
    }

    pub(super) fn mkdir(&mut self, path: &Path) {
        fs::create_dir(path).unwrap();
        self.report_name(path, Op::Mkdir);
    }

    /// With the directories above it.
    pub(super) fn mkdir_all(&mut self, path: &Path) {
        if !path.exists() {
            self.mkdir_all(path.parent().unwrap());
            self.mkdir(path);
        }
    }

    pub(super) fn symlink(&mut self, target: &Path, path: &Path) {
        std::os::unix::fs::symlink(target, path).unwrap();
        self.stamp(path);
        self.report_name(path, Op::Symlink);
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) {
        fs::hard_link(from, to).unwrap();
        self.report_name(to, Op::Link);
        self.report_inode(from);
    }

    pub(super) fn chmod(&mut self, path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        self.report_name(path, Op::Chmod);
        // xfs and btrfs report it by name alone. Through a link that is known to nobody and gone when the event arrives,
        // that says nothing about the other links: a limit, until the timed comparison.
        if fs::metadata(path).unwrap().nlink() > 1 {
            self.report_inode(path);
        }
    }

    /// The kernel side had no room for an event. It leaves the inode clean and counts the loss.
    pub(super) fn lose(&mut self, index: usize) {
        let lost = self.queue.remove(index);
        match lost.change {
            Change::Inode { id, .. } => self.kernel.clean(id),
            Change::Lost { .. } => return self.queue.push(lost),
            _ => {}
        }
        self.queue.push(event(Change::Lost { reason: LossReason::FileRingFull, count: 1 }));
    }

    /// A record vanished between the ring and the agent: nobody counted it, the inode stays marked, so that further
    /// changes of it are silent, and the hole in the numbers is told some time later.
    pub(super) fn vanish(&mut self, index: usize) {
        if matches!(self.queue[index].change, Change::Lost { .. }) {
            return;
        }
        self.queue.remove(index);
        self.queue.push(event(Change::Lost { reason: LossReason::SequenceGap, count: 1 }));
    }

    // What the agent is told.

    /// Everything that happened, as one batch.
    pub(super) fn deliver(&mut self) -> &mut Self {
        let events = std::mem::take(&mut self.queue);
        self.deliver_these(&events)
    }

    /// Everything that happened, a batch an event.
    pub(super) fn deliver_singly(&mut self) -> &mut Self {
        for event in std::mem::take(&mut self.queue) {
            self.deliver_these(&[event]);
        }
        self
    }

    /// Some events as one batch.
    pub(super) fn deliver_these(&mut self, events: &[Event]) -> &mut Self {
        for event in events {
            println!("told {:?}", event.change);
            self.batcher.push(event.clone(), 0);
        }
        // The end of time: nothing is held back.
        let batch = self.batcher.take(u64::MAX);
        let root = self.root.as_mut().unwrap();
        let before = Pixels::of(root, self.strict);
        let mut works: Vec<Work> = work_of(&batch, &[root], &Ancestors::default());
        carry_out(root, works.remove(0), &batch, &mut self.kernel).unwrap();
        before.compare(root);
        self
    }

    /// One step of the scan; returns whether there is more.
    pub(super) fn scan_step(&mut self, budget: Duration) -> bool {
        let root = self.root.as_mut().unwrap();
        let before = Pixels::of(root, self.strict);
        // No rest: what is waited for is not the clock.
        root.pace.rest_until = None;
        root.start_due_scan(Instant::now());
        let more = root.scan_step(budget, &mut self.kernel).unwrap() || root.pace.wanted;
        before.compare(root);
        more
    }

    /// The scan that is pending, to its end.
    pub(super) fn scan(&mut self) -> &mut Self {
        while self.scan_step(Duration::from_secs(1)) {}
        self
    }

    /// A loss: heal, and scan to the end.
    pub(super) fn heal(&mut self) -> &mut Self {
        self.root().heal().unwrap();
        self.scan()
    }

    /// Gives everything the place of a first fold.
    pub(super) fn compact(&mut self) -> &mut Self {
        self.root.as_mut().unwrap().compact(&mut self.kernel).unwrap();
        self
    }

    /// As somebody does who removes the bricks.
    pub(super) fn forget(&mut self) -> &mut Self {
        self.kill();
        fs::remove_file(self.brick_path()).unwrap();
        fs::remove_file(self.catalog_path()).unwrap();
        self
    }

    /// Looks at what was put off and is due at `now`.
    pub(super) fn look_later(&mut self, now: Instant) -> &mut Self {
        let root = self.root.as_mut().unwrap();
        let before = Pixels::of(root, self.strict);
        root.apply_later(now, &mut self.kernel).unwrap();
        before.compare(root);
        self
    }

    /// Delivers everything, scans what is to be scanned, and looks again at what asked for it, until nothing does.
    pub(super) fn settle(&mut self) -> &mut Self {
        self.deliver().scan();
        for _ in 0..100 {
            let Some(at) = self.root().later.next() else { return self };
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            self.look_later(Instant::now());
        }
        panic!("something asks to be looked at again for ever");
    }

    // What the agent believes.

    pub(super) fn row(&mut self, path: &str) -> Row {
        let path = self.at(path);
        let root = self.root();
        let id = root.inventory().by_path(&path).unwrap_or_else(|| panic!("{} is not known", path.display()));
        root.inventory().get(id).unwrap().clone()
    }

    pub(super) fn knows(&mut self, path: &str) -> bool {
        let path = self.at(path);
        self.root().inventory().by_path(&path).is_some()
    }

    pub(super) fn block(&mut self, path: &str) -> Block {
        self.row(path).block
    }

    /// History as `verb path` or `renamed from -> path`, paths relative to the tree.
    pub(super) fn history(&mut self) -> Vec<String> {
        let tree = self.tree.clone();
        let short = |path: &[u8]| {
            let path = Path::new(OsStr::from_bytes(path));
            path.strip_prefix(&tree).unwrap_or(path).display().to_string()
        };
        let lines = self.root().brick.history(&HistoryQuery::default()).unwrap();
        lines
            .into_iter()
            .map(|(_, line)| match (line.verb, &line.from) {
                (Verb::Renamed, Some(from)) => format!("renamed {} -> {}", short(from), short(&line.path)),
                (verb, _) => format!("{verb:?} {}", short(&line.path)).to_lowercase(),
            })
            .collect()
    }
}

fn event(change: Change) -> Event {
    Event { at_ns: 1, change, writer: None }
}
