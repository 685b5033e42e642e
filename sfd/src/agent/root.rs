//! One watched root: what is believed to be there, and how that is made true again.
//!
//! Everything that can happen to a root is one of two things: *work* (some paths may have changed: [`Root::apply`])
//! or a *scan* (everything may have changed: [`Root::start_scan`], [`Root::scan_step`]). The baseline, a restart, a
//! loss and the timed verification are all scans. Both end in the same few steps: list a directory, look at an
//! artifact, adopt a new one, remove a gone one. So there is one way for the truth to get into the brick.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::draft::Draft;
use super::lanes::{Lane, Lanes};
use super::latecomers::Latecomers;
use super::later::Later;
use super::reconcile::Tasks;
use super::scan::{Pace, Scan};
use super::survey::{Survey, survey};
use super::versions::VersionConfig;
use super::{AgentError, RootKind};
use crate::artifact::inventory::Inventory;
use crate::artifact::look::Looker;
use crate::artifact::view::View;
use crate::batch::Dirty;
use crate::brick::catalog::HISTORY_ROWS_MAX;
use crate::brick::{ArtifactId, BrickError, Compacted, Compaction, LiveBrick, Recovery, Row};
use crate::collect::{InodeId, Watch};
use crate::enrich::Enricher;
use crate::fold::{Block, FoldPlan, Layout, k_for_len};
use crate::map::feed::Feed;

/// Why everything is unverified after a loss.
pub(super) const EVENTS_LOST: &str = "events were lost; waiting for the rescan";

/// Why everything is unverified after a restart.
pub(super) const RESTARTED: &str = "not compared since the restart";

/// Why everything is unverified after a start with other rules of redaction. No reason to believe what was read before:
/// it may be readable where it must not be.
const OTHER_RULES: &str = "not read since the rules of redaction changed";

/// How often what was committed is written to disk, so that little has to be read again after a loss of power. Twice
/// the 30 s after which the kernel writes dirty pages by itself: nearly everything is on disk by then, so it is quick.
const SYNC_EVERY: Duration = Duration::from_mins(1);
/// How often it is looked whether the brick's files are still there: a quiet root has no commits that would notice. The
/// worker is up as often anyway, and four `stat`s are nothing.
const CHECK_FILES_EVERY: Duration = Duration::from_secs(1);
/// Lines of history after which the old ones are dropped even between two full verifications: 5 % of what is kept.
const PRUNE_AFTER_LINES: u64 = HISTORY_ROWS_MAX / 20;
/// How long after a change the words of what has changed are indexed, if there is nothing else to do then: many changes
/// of one file cost it once. What is not indexed is found all the same.
const INDEX_AFTER: Duration = Duration::from_secs(2);
/// Artifacts indexed in one go, about 5 ms: the most that a change which is reported meanwhile has to wait.
const INDEX_AT_ONCE: u32 = 128;
/// How long after a failure it is tried again.
const INDEX_AGAIN_AFTER: Duration = Duration::from_mins(1);
/// Up to one artifact in so many is marked unverified by itself; more are marked by one pass over the whole brick.
const FEW: u64 = 16;
/// Latencies kept until they are handed over; a batch may hold any number.
const LATENCIES_MAX: usize = 4096;

/// What a root is told to do by one batch.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Artifacts whose inode was reported.
    pub artifacts: Vec<(ArtifactId, Dirty)>,
    /// Absolute paths that were reported by name. They may exist, be new, or be gone.
    pub paths: Vec<(PathBuf, Dirty)>,
}

impl Work {
    /// Nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.artifacts.is_empty() && self.paths.is_empty()
    }
}

/// Figures of one root, for `sfd status`.
#[derive(Clone, Debug, Default)]
pub(super) struct RootCounters {
    /// Batches committed to the brick.
    pub commits: u64,
    /// Cells written.
    pub cells_written: u64,
    /// Artifacts looked at.
    pub looks: u64,
    /// Scans started because of a loss.
    pub rescans: u64,
    /// Artifacts folded as a digest because the brick had no room for them.
    pub no_room: u64,
    /// When the last scan of everything ended, nanoseconds since the Unix epoch.
    pub last_full_verification_ns: Option<i64>,
}

/// What a root is opened with.
pub(super) struct Opening<'a> {
    /// Directory of bricks.
    pub(super) bricks: &'a Path,
    /// Name of the brick.
    pub(super) name: &'a str,
    /// Watched path.
    pub(super) path: &'a Path,
    /// Tree or `/proc`.
    pub(super) kind: RootKind,
    /// Where its bytes come from.
    pub(super) view: Box<dyn View>,
    /// What turns paths into artifacts.
    pub(super) looker: Looker,
    /// Makes more of both, for threads that read ahead during the baseline.
    pub(super) lane: Option<&'a dyn Fn() -> Result<Lane, AgentError>>,
    /// Set when the daemon is told to stop: long work is then broken off.
    pub(super) stop: Arc<AtomicBool>,
    /// Files that the daemon itself writes to and that may be in the root: its output. Nobody reports those.
    pub(super) own: Vec<InodeId>,
    /// How much of earlier contents is kept.
    pub(super) versions: VersionConfig,
    /// Asks a language model; `None`: rules are all there is.
    pub(super) enricher: Option<Enricher>,
    /// Tells the map of commits.
    pub(super) feed: Feed,
}

/// One watched root.
pub(super) struct Root {
    pub(super) name: String,
    pub(super) kind: RootKind,
    pub(super) inventory: Inventory,
    pub(super) view: Box<dyn View>,
    pub(super) looker: Looker,
    pub(super) layout: Layout,
    pub(super) brick: LiveBrick,
    pub(super) draft: Draft,
    pub(super) scan: Option<Scan>,
    /// During the first scan of a tree: threads that read ahead of it.
    pub(super) ahead: Option<Lanes<ArtifactId>>,
    pub(super) pace: Pace,
    /// Objects whose changes nobody reports; they are compared every few seconds.
    pub(super) unwatched: HashSet<InodeId>,
    pub(super) own: Vec<InodeId>,
    pub(super) counters: RootCounters,
    pub(super) later: Later,
    pub(super) latecomers: Latecomers,
    /// Directories of which not everything is known, and why. Looking at the directory itself cannot tell.
    pub(super) unlisted: HashMap<ArtifactId, String>,
    /// Other inodes whose changes are those of an artifact's, with that artifact's own: upper layers of overlays.
    pub(super) others: HashMap<InodeId, InodeId>,
    /// The same the other way round.
    pub(super) others_of: HashMap<InodeId, InodeId>,
    /// Files that somebody has mapped for writing.
    pub(super) mapped: HashSet<InodeId>,
    /// Whether a write into a page that is dirty already may be reported by nobody.
    pub(super) polls: bool,
    /// Most lines of history.
    pub(super) history_max: u64,
    /// How much of earlier contents is kept.
    pub(super) versions: VersionConfig,
    /// Asks a language model; `None`: rules are all there is.
    pub(super) enricher: Option<Enricher>,
    /// Tells the map of commits.
    pub(super) feed: Feed,
    /// Which reading of the package database the artifacts were judged by.
    packages_seen: u64,
    stop: Arc<AtomicBool>,
    /// Change-to-brick times of the changes committed, in nanoseconds, the last ones.
    latencies_ns: Vec<u64>,
    /// Lines of history written since old ones were dropped.
    history_lines: u64,
    /// Since when there is something committed that was not synced.
    unsynced: Option<Instant>,
    /// When the brick's files were last looked for.
    files_checked: Instant,
    /// When what is not indexed for the search is.
    index_at: Option<Instant>,
}

impl Root {
    /// Opens the brick that an earlier run left, or makes the first fold of the tree as it is now.
    ///
    /// Either way the root is then *unverified as a whole* and a scan is pending: step it with
    /// [`Self::scan_step`] until it is done.
    ///
    /// # Errors
    /// When the state directory cannot be used. A brick that is damaged beyond repair is replaced, with a warning.
    pub(super) fn open(
        opening: Opening<'_>,
        watch: &mut dyn Watch,
        progress: &dyn Fn(u64),
    ) -> Result<Self, AgentError> {
        let Opening {
            bricks,
            name,
            path,
            kind,
            mut view,
            mut looker,
            lane,
            stop,
            own,
            versions,
            enricher,
            feed,
        } = opening;
        match LiveBrick::open(bricks, name) {
            Ok((brick, rows, recovery)) => {
                // The brick has marked what it lost: no reason but a loss or a restart lets a look trust what was
                // read before.
                match recovery {
                    Recovery::Clean => {}
                    Recovery::Refold { artifacts, reason } => {
                        warn!(root = %path.display(), artifacts = artifacts.len(), %reason, "refolding");
                    }
                    Recovery::RebuildAll { reason } => {
                        warn!(root = %path.display(), %reason, "refolding everything");
                    }
                }
                match Self::resume(path, brick, rows) {
                    Ok((inventory, layout, brick)) => {
                        looker.set_cap(layout.cap());
                        info!(root = %path.display(), artifacts = inventory.len(), "brick of an earlier run opened");
                        let mut root =
                            Self::assemble(name, kind, inventory, view, looker, layout, brick, stop, own);
                        root.set_versions(versions);
                        root.enricher = enricher;
                        root.feed = feed;
                        root.apply_rules()?;
                        root.distrust(RESTARTED)?;
                        root.tell_all();
                        root.start_scan(false);
                        return Ok(root);
                    }
                    Err(reason) => {
                        warn!(root = %path.display(), %reason, "cannot go on with it; folding anew");
                    }
                }
            }
            Err(error @ BrickError::CatalogMissing { .. }) => debug!(%error, "first fold"),
            Err(error) if error.needs_baseline() => warn!(%error, "folding anew"),
            Err(error) => return Err(AgentError::Brick(error)),
        }
        let progress = |found| {
            progress(found);
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let Survey { rows, layout, unwatched, unlisted } =
            survey(&[path.to_path_buf()], false, view.as_mut(), watch, &progress)?;
        let plan = FoldPlan { ops: rows.iter().map(Row::blank).collect() };
        let size = (layout.order(), layout.cap());
        let brick = LiveBrick::create(bricks, name, path.as_os_str().as_bytes(), size, &rows, &plan)
            .map_err(AgentError::Brick)?;
        let inventory =
            Inventory::from_rows(path, rows).map_err(|error| AgentError::Catalog(error.to_string()))?;
        let cap = layout.cap();
        looker.set_cap(cap);
        let mut root = Self::assemble(name, kind, inventory, view, looker, layout, brick, stop, own);
        root.ahead = lane.and_then(|lane| {
            let capped = || {
                lane().map(|(view, mut looker)| {
                    (view, {
                        looker.set_cap(cap);
                        looker
                    })
                })
            };
            Lanes::start(capped).inspect_err(|error| warn!(%error, "reading with one thread")).ok()
        });
        root.set_versions(versions);
        root.enricher = enricher;
        root.feed = feed;
        root.tell_all();
        root.brick.note_redaction(&root.looker.redactor().fingerprint()).map_err(AgentError::Brick)?;
        root.unwatched = unwatched;
        root.unlisted = unlisted;
        root.start_scan(true);
        Ok(root)
    }

    fn resume(
        path: &Path,
        brick: LiveBrick,
        rows: Vec<Row>,
    ) -> Result<(Inventory, Layout, LiveBrick), String> {
        if brick.root_path() != path.as_os_str().as_bytes() {
            return Err(format!("it is of {}", String::from_utf8_lossy(brick.root_path())));
        }
        let blocks = rows.iter().map(|row| (row.block, row.id));
        let layout =
            Layout::from_blocks(brick.order(), brick.cap(), blocks).map_err(|error| error.to_string())?;
        let inventory = Inventory::from_rows(path, rows).map_err(|error| error.to_string())?;
        if inventory.root_id().is_none() {
            return Err("it has no root".into());
        }
        Ok((inventory, layout, brick))
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a root is put together")]
    fn assemble(
        name: &str,
        kind: RootKind,
        inventory: Inventory,
        view: Box<dyn View>,
        looker: Looker,
        layout: Layout,
        brick: LiveBrick,
        stop: Arc<AtomicBool>,
        own: Vec<InodeId>,
    ) -> Self {
        let packages_seen = looker.packages_generation();
        Self {
            name: name.to_owned(),
            kind,
            inventory,
            view,
            looker,
            layout,
            brick,
            draft: Draft::default(),
            scan: None,
            ahead: None,
            pace: Pace::default(),
            unwatched: HashSet::new(),
            own,
            counters: RootCounters::default(),
            later: Later::default(),
            latecomers: Latecomers::default(),
            unlisted: HashMap::new(),
            others: HashMap::new(),
            others_of: HashMap::new(),
            mapped: HashSet::new(),
            polls: false,
            history_max: HISTORY_ROWS_MAX,
            versions: VersionConfig::default(),
            enricher: None,
            feed: Feed::default(),
            packages_seen,
            stop,
            latencies_ns: Vec::new(),
            history_lines: 0,
            // What the opening wrote is not synced either.
            unsynced: Some(Instant::now()),
            files_checked: Instant::now(),
            // What an earlier run has left, and everything in a new brick.
            index_at: Some(Instant::now()),
        }
    }

    /// The watched path.
    pub(super) fn path(&self) -> &Path {
        self.inventory.root_path()
    }

    /// Whether changes of an inode are changes of something here.
    pub(super) fn uses(&self, inode: InodeId) -> bool {
        self.others.contains_key(&inode) || !self.inventory.by_inode(inode).is_empty()
    }

    /// What is believed to be there.
    pub(super) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Figures for `sfd status`.
    pub(super) fn counters(&self) -> &RootCounters {
        &self.counters
    }

    /// Whether the daemon has been told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Shows every artifact as unverified, on the brick, in the catalog and in the inventory.
    pub(super) fn distrust(&mut self, why: &str) -> Result<(), AgentError> {
        self.flush()?;
        let all = self.inventory.len() as u64;
        if (all - self.inventory.unverified()).saturating_mul(FEW) <= all {
            // Losses that follow one another find little to mark, and must not repaint a large brick each time.
            let verified = self.inventory.rows().filter(|row| row.unverified.is_none());
            let ids: Vec<ArtifactId> = verified.map(|row| row.id).collect();
            for id in ids {
                self.doubt(id, why);
                self.flush_if_large()?;
            }
            return self.flush();
        }
        self.brick.set_unverified_all(why).map_err(AgentError::Brick)?;
        self.inventory.unverify_all(why);
        self.tell_all();
        Ok(())
    }

    /// Sees to it that everything is read by the rules of redaction that are in force.
    fn apply_rules(&mut self) -> Result<(), AgentError> {
        let rules = self.looker.redactor().fingerprint();
        let before = self.brick.redaction().map_err(AgentError::Brick)?;
        if before.as_deref() == Some(&rules[..]) {
            return Ok(());
        }
        if before.is_some() {
            warn!(root = %self.path().display(), "the rules of redaction have changed; reading everything again");
        }
        self.brick.set_redaction(&rules, OTHER_RULES).map_err(AgentError::Brick)?;
        self.inventory.unverify_all_anew(OTHER_RULES);
        Ok(())
    }

    /// Records a row in the inventory and in the commit being drafted.
    pub(super) fn keep(&mut self, row: Row) {
        self.draft.upsert(row.clone());
        self.inventory.put(row);
    }

    /// Commits the draft once it holds enough that a crash would lose more than a blink of work.
    pub(super) fn flush_if_large(&mut self) -> Result<(), AgentError> {
        if self.draft.is_large() { self.flush() } else { Ok(()) }
    }

    /// Writes what was drafted to the brick and the catalog as one crash-safe step.
    pub(super) fn flush(&mut self) -> Result<(), AgentError> {
        if self.draft.is_empty() {
            return Ok(());
        }
        let (commit, born_ns) = self.draft.take();
        let stats = self.brick.commit(&commit).map_err(AgentError::Brick)?;
        self.tell_commit(&commit);
        self.unsynced.get_or_insert_with(Instant::now);
        self.index_at.get_or_insert_with(|| Instant::now() + INDEX_AFTER);
        self.history_lines += commit.history.len() as u64;
        self.counters.commits += 1;
        self.counters.cells_written += stats.cells;
        let now = super::clock::now_ns();
        self.latencies_ns
            .extend(born_ns.into_iter().map(|at| u64::try_from(now.saturating_sub(at)).unwrap_or(0)));
        let excess = self.latencies_ns.len().saturating_sub(LATENCIES_MAX);
        self.latencies_ns.drain(..excess);
        Ok(())
    }

    /// Hands over the latencies since the last call.
    pub(super) fn take_latencies(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.latencies_ns)
    }

    /// Looks at what was put off and is due now.
    ///
    /// # Errors
    /// When the brick or catalog cannot be written.
    pub(super) fn apply_later(&mut self, now: Instant, watch: &mut dyn Watch) -> Result<(), AgentError> {
        let packages = self.looker.packages_generation();
        if std::mem::replace(&mut self.packages_seen, packages) != packages {
            let mut tasks = Tasks::default();
            self.judge_by_packages(&mut tasks);
            self.work_off(tasks, watch)?;
            self.flush()?;
        }
        let polls = self.later.due_polls(now);
        if !polls.is_empty() {
            let mut tasks = Tasks::default();
            for id in polls {
                tasks.check(id);
            }
            self.work_off(tasks, watch)?;
            self.flush()?;
        }
        let work = self.later.due(now);
        if work.is_empty() { Ok(()) } else { self.apply(work, watch) }
    }

    /// What is mapped for writing by anyone, as just found out. What no longer is has one more look before it, which was
    /// put off when it was last looked at.
    pub(super) fn set_mapped(&mut self, mapped: &HashSet<InodeId>, now: Instant) {
        let own = |inode: &InodeId| self.others.get(inode).copied().unwrap_or(*inode);
        let mapped: HashSet<InodeId> =
            mapped.iter().map(own).filter(|inode| !self.inventory.by_inode(*inode).is_empty()).collect();
        for inode in mapped.difference(&self.mapped) {
            for id in self.inventory.by_inode(*inode) {
                self.later.look(*id, now, &Dirty::default());
            }
        }
        self.mapped = mapped;
    }

    /// Housekeeping: writes to disk what was committed, looks whether that is still there, and drops old history. Syncing waits for the disk, so it is done
    /// when there is nothing else to do, and on a busy root when it is overdue.
    ///
    /// # Errors
    /// When the brick or catalog cannot be written, or are gone.
    pub(super) fn tidy(&mut self, idle: bool) -> Result<(), AgentError> {
        if self.files_checked.elapsed() >= CHECK_FILES_EVERY {
            self.brick.check_files().map_err(AgentError::Brick)?;
            self.files_checked = Instant::now();
        }
        self.brick.drop_unwanted();
        if self.history_lines > PRUNE_AFTER_LINES {
            self.prune_history()?;
        }
        if idle {
            self.index_due(Instant::now());
        }
        let every = if idle { SYNC_EVERY } else { 2 * SYNC_EVERY };
        if self.unsynced.is_some_and(|since| since.elapsed() >= every) {
            self.brick.sync().map_err(AgentError::Brick)?;
            self.unsynced = None;
        }
        Ok(())
    }

    /// Goes on with the index of words, if that is due. It is only an index: a failure is told and tried again later, and
    /// what goes on is the picture.
    pub(super) fn index_due(&mut self, now: Instant) {
        if self.scan.is_some() || self.index_at.is_none_or(|at| at > now) {
            return;
        }
        self.index_at = match self.brick.index_some(INDEX_AT_ONCE) {
            Ok(true) => Some(now),
            Ok(false) => None,
            Err(error) => {
                warn!(root = %self.path().display(), %error, "cannot index for the search; trying again in a minute");
                Some(now + INDEX_AGAIN_AFTER)
            }
        };
    }

    /// When [`Self::index_due`] will have something to do.
    pub(super) fn next_index(&self) -> Option<Instant> {
        self.index_at
    }

    /// Drops the oldest history beyond the bound, and earlier contents beyond their age.
    pub(super) fn prune_history(&mut self) -> Result<(), AgentError> {
        self.history_lines = 0;
        self.brick.prune_history(self.history_max, None).map_err(AgentError::Brick)?;
        self.brick.drop_old_versions(super::clock::now_ns()).map_err(AgentError::Brick)?;
        Ok(())
    }

    /// Gives everything the place of a first fold of the present tree, and reads what has to be read again for that.
    ///
    /// # Errors
    /// When the brick or catalog cannot be written. The root must then be opened again.
    pub(super) fn compact(&mut self, watch: &mut dyn Watch) -> Result<Compaction, AgentError> {
        self.flush()?;
        let Compacted { rows, layout, unread, compaction } =
            self.brick.compact().map_err(AgentError::Brick)?;
        self.looker.set_cap(layout.cap());
        self.layout = layout;
        for row in rows {
            if self.inventory.get(row.id) != Some(&row) {
                self.inventory.put(row);
            }
        }
        self.tell_all();
        let artifacts = unread.into_iter().map(|id| (id, Dirty::default())).collect();
        self.apply(Work { artifacts, paths: Vec::new() }, watch)?;
        Ok(compaction)
    }

    /// Finds room for an artifact of `cells` cells near its directory, growing the brick if it must.
    ///
    /// Returns the block, which is smaller than asked for when a brick at its largest order has no such room left, or
    /// nothing when it is full.
    pub(super) fn place(&mut self, id: ArtifactId, parent: ArtifactId, cells: u64) -> Option<Block> {
        let goal = self.inventory.get(parent).map_or(0, |row| row.block.end());
        let wanted = k_for_len(cells, self.layout.cap());
        loop {
            if let Some(block) = self.layout.alloc(wanted, goal, id) {
                return Some(block);
            }
            if !self.grow() {
                break;
            }
        }
        self.counters.no_room += 1;
        (crate::fold::K_MIN..wanted).rev().find_map(|k| self.layout.alloc(k, goal, id))
    }

    /// Makes the curve larger; `false` when it is as large as it may be.
    pub(super) fn grow(&mut self) -> bool {
        let grown = self.layout.grow().is_ok();
        if grown {
            self.draft.grow_to(self.layout.order());
        }
        grown
    }
}
