//! The agent: the only file that knows every stage.
//!
//! | channel | bound | when it is full |
//! |---|---|---|
//! | collector -> agent | a few chunks of events | the collector waits; the kernel ring absorbs; when that is full the kernel side counts the loss and the root is rescanned |
//! | batch stage | [`crate::batch::ENTRIES_MAX`] entries | forgotten, counted as `batch_full`, rescanned |
//! | agent -> worker | one order | the batch stage goes on collecting |
//! | worker -> agent | unbounded, but one report an order, and one at the end of the baseline | - |
//! | contents from before changes | per file, in all, by age ([`VersionConfig`]) | the oldest are dropped; the row says so, and `sfd status` counts them |
//! | artifacts that a language model is to describe | [`crate::enrich::queue::QUEUE_MAX`] | the least interesting are forgotten and counted, and found again by a sweep |
//! | clients' orders -> agent | [`ERRANDS_MAX`], and as many in the agent | the clients wait |
//! | notes of commits to the map ([`crate::map::feed`]) | 256 | the map reads the brick again; counted |
//! | raw events to `sfd events` | [`TAP_LINES`] lines a client | the oldest are dropped and the client is told how many |
//!
//! One task selects and hands over; one thread (the [`worker`]) owns the roots and does all reading and folding, so
//! a slow disk never keeps the collector waiting and a flood of events never keeps a shutdown waiting.

#![forbid(unsafe_code)]

mod alarm;
mod alarms;
mod asking;
mod clock;
mod compare;
mod control;
mod describe;
mod draft;
mod labels;
mod lanes;
mod latecomers;
mod later;
mod mapped;
mod names;
mod notes;
mod observe;
mod reconcile;
mod resolve;
mod root;
mod scan;
mod sealing;
mod setup;
mod state_dir;
mod status;
mod survey;
mod versions;
mod worker;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::{error, info, warn};

pub use asking::{Asking, answered_by, question_of, why_not_asked};
pub use clock::now_ns;
pub use control::Request;
pub use describe::describe_change;
pub use lanes::{Lane, Lanes};
pub(crate) use latecomers::DETAIL as LATECOMER;
pub use sealing::{Describer, MakeView, SealProgress, Sealed, Sealing, fold_roots};
pub use setup::{AgentConfig, Prepared, disk_view, merge_roots};
pub use state_dir::{StateDir, brick_names};
pub use status::{Latency, RootStatus, Shared};
pub use survey::{Survey, row_of, survey};
pub use versions::VersionConfig;

use crate::batch::Batcher;
use crate::brick::BrickError;
use crate::collect::mounts::MountTable;
use crate::collect::{
    Change, CollectError, Collector, Counters, CountersSnapshot, Event, Guard, HookStatus, LossReason,
    NameHooks, Rung,
};
use crate::enrich::{Enricher, LlmStatus, Service};
use crate::map::{Bound, MapStatus, Served};
use labels::{Labeller, LaneMaker};
use worker::{Order, Report, Worker};

/// Longest rest of the worker after a batch. It rests as long as it worked: a flood that never ends costs half a core, and
/// each path in it is looked at all the more rarely. Together with the work itself it must stay below a second.
const REST_MAX: Duration = Duration::from_millis(300);
/// Raw events kept for a client of `sfd events` that reads slowly.
const TAP_LINES: usize = 4096;
/// Orders by clients of the control socket that wait for the worker. Further clients wait for these.
const ERRANDS_MAX: usize = 8;
/// Longest time from the stop order to the end: the contract of `sfd run` is 5 s from the signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// What sort of thing is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    /// A directory tree.
    Tree,
    /// `/proc`, as projections.
    Proc,
}

/// Why the agent could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A watched root cannot be read.
    #[error("{}: {source}", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A watched root is not one that can be watched.
    #[error("{}: {what}", path.display())]
    Refused {
        /// The root.
        path: PathBuf,
        /// Why, and the way out.
        what: String,
    },
    /// The state directory cannot be used.
    #[error("state directory {}: {source}", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A brick or catalog cannot be read or written.
    #[error(transparent)]
    Brick(BrickError),
    /// A catalog does not describe a tree.
    #[error("{0}")]
    Catalog(String),
    /// The tree does not fit a brick.
    #[error("layout: {0}")]
    Layout(String),
    /// The threads that read files cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
    /// More artifacts than a catalog can number.
    #[error("more than 4 294 967 295 artifacts")]
    TooMany,
    /// The collector asked for cannot be had.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The redaction key cannot be used.
    #[error(transparent)]
    Redact(#[from] crate::artifact::redact::RedactError),
    /// The daemon was told to stop before it had begun.
    #[error("told to stop")]
    Stopped,
    /// A thread or task ended that should not have.
    #[error("{0} ended unexpectedly")]
    Died(&'static str),
    /// An operating-system service failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl AgentError {
    /// Whether permissions are what is missing (exit code 3).
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Root { source, .. } | Self::State { source, .. } | Self::System { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            Self::Collect(error) => error.is_permission(),
            Self::Brick(BrickError::Io { source, .. }) => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

/// Everything `sfd status` shows.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: &'static str,
    /// Its process id.
    pub pid: u32,
    /// When it started, nanoseconds since the Unix epoch.
    pub started_ns: i64,
    /// How it learns of changes.
    pub rung: Rung,
    /// How it learns of changes of names and attributes, on the eBPF rung.
    pub name_hooks: Option<NameHooks>,
    /// What is not seen that way; `None` on the highest rung.
    pub lost_here: Option<&'static str>,
    /// Why not better, and how to get it.
    pub why: Vec<String>,
    /// Each hook.
    pub hooks: Vec<HookStatus>,
    /// Events and losses, by reason.
    pub events: CountersSnapshot,
    /// The watched roots.
    pub roots: Vec<RootStatus>,
    /// Change-to-brick times.
    pub latency: Latency,
    /// The language model.
    pub llm: LlmStatus,
    /// The map; `None`: none is served.
    pub map: Option<MapStatus>,
    /// Resident memory, bytes.
    pub rss_bytes: Option<u64>,
    /// Whether the first comparison of every root is over.
    pub baseline_done: bool,
}

/// A running agent.
pub struct Agent {
    config: AgentConfig,
    /// One of the roots is `/proc`.
    watches_proc: bool,
    events: mpsc::Receiver<Vec<Event>>,
    rung: Rung,
    counters: Arc<Counters>,
    /// Detaches the hooks when dropped.
    guard: Guard,
    orders: std::sync::mpsc::SyncSender<Order>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// How the worker ended.
    worker: oneshot::Receiver<Result<(), AgentError>>,
    /// Tells the worker to break off whatever it is doing.
    halt: Arc<AtomicBool>,
    shared: Arc<Shared>,
    baseline_done: Arc<AtomicBool>,
    tap: broadcast::Sender<Arc<str>>,
    status: StatusSource,
    /// Tells of mounts; `None` where there is no `/proc`.
    mounts: Option<MountTable>,
    /// Reaches the language model's service.
    enricher: Enricher,
    /// What looks at files for it.
    lanes: HashMap<Arc<str>, LaneMaker>,
    /// The map, bound and not served yet.
    map: Option<Bound>,
}

impl Agent {
    /// Attaches the collector, *then* starts reading the roots: what happens meanwhile is replayed.
    ///
    /// # Errors
    /// When a root or the state directory cannot be used, or the collector asked for cannot be had.
    pub fn start(config: AgentConfig) -> Result<Self, AgentError> {
        let halt = Arc::new(AtomicBool::new(false));
        let enricher = Enricher::new();
        let Prepared { openers, ancestors, lock, redactor, lanes } =
            setup::prepare(&config, &halt, config.llm.as_ref().map(|_| &enricher))?;
        let Collector { events, watcher, rung, name_hooks, why, hooks, counters, guard } =
            crate::collect::start(&config.collect(redactor))?;
        let (orders, inbox) = std::sync::mpsc::sync_channel(1);
        let (outbox, reports) = mpsc::unbounded_channel();
        let shared = Shared::new();
        let worker = Worker::new(openers, ancestors, name_hooks, watcher, Arc::clone(&shared), outbox);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("sfd-worker".into())
            .spawn(move || {
                let result = worker.run(&inbox);
                drop(lock);
                // Nobody listens when the stop took too long.
                let _ = end.send(result);
            })
            .map_err(|source| AgentError::System { what: "start a thread", source })?;
        let baseline_done = Arc::new(AtomicBool::new(false));
        let names: Vec<String> = config.roots.iter().map(|root| root.display().to_string()).collect();
        info!(?rung, roots = %names.join(","), state = %config.state.display(), "watching");
        let map = config.map.clone().and_then(|map| {
            let roots = config.roots.iter().cloned().zip(brick_names(&config.roots));
            let roots = roots.map(|(root, name)| (name, root.clone(), setup::kind_of(&root))).collect();
            Bound::new(Served { config: map, state: config.state.clone(), roots, feed: config.feed.clone() })
        });
        let status = status_source(
            (rung, name_hooks),
            why,
            hooks,
            &counters,
            &shared,
            &baseline_done,
            enricher.clone(),
            map.as_ref().map(Bound::status),
        );
        let (tap, _) = broadcast::channel(TAP_LINES);
        let watches_proc = config.roots.iter().any(|root| setup::kind_of(root) == RootKind::Proc);
        Ok(Self {
            config,
            watches_proc,
            events,
            rung,
            counters,
            guard,
            orders,
            reports,
            worker: ended,
            halt,
            shared,
            baseline_done,
            tap,
            status,
            mounts: None,
            enricher,
            lanes,
            map,
        })
    }

    /// The address of the map, with its token; `None`: there is no map.
    pub fn map_url(&self) -> Option<String> {
        self.map.as_ref().map(Bound::url)
    }

    /// What `sfd status` shows, now or whenever called later.
    pub fn status(&self) -> StatusSource {
        Arc::clone(&self.status)
    }

    /// What the worker publishes.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Works until `shutdown` is ready, or, with `once`, until the baseline is done.
    ///
    /// # Errors
    /// When a root cannot be opened at the start, or a brick cannot be flushed at the end.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>, once: bool) -> Result<(), AgentError> {
        let status = self.status();
        let (errands, asked) = mpsc::channel(ERRANDS_MAX);
        let server = Arc::new(control::Server {
            status: Arc::new(move || serde_json::to_string(&status()).unwrap_or_default()),
            events: self.tap.clone(),
            errands: errands.clone(),
            enricher: self.config.llm.as_ref().map(|_| self.enricher.clone()),
        });
        let service = self.config.llm.take().filter(|_| !once).map(|config| {
            let host = Labeller::new(errands, std::mem::take(&mut self.lanes));
            tokio::spawn(Service::new(config, self.enricher.clone(), Arc::new(host)).run())
        });
        let socket = StateDir::socket(&self.config.state);
        let control = match control::Server::bind(&socket) {
            Ok(listener) => Some(tokio::spawn(server.serve(listener))),
            Err(error) => {
                warn!(socket = %socket.display(), %error, "no control socket; `sfd status` will not reach this daemon");
                None
            }
        };
        let map = self.map.take().and_then(|map| {
            let running = map.serve(self.status());
            running.inspect_err(|error| warn!(%error, "no map; `sfd map` will not work")).ok()
        });
        // A baseline that is done is kept whole, however long the disk takes; nobody is waiting for a signal's effect.
        let mut patience = None;
        let result = self.select(shutdown, once, asked, &mut patience).await;
        drop(map);
        if let Some(service) = service {
            service.abort();
        }
        if let Some(control) = control {
            control.abort();
            let _ = std::fs::remove_file(&socket);
        }
        let stopped = self.stop(patience).await;
        // The worker's own error first: when it ends, the collector does.
        stopped.and(result)
    }

    /// The one loop: events into the batch stage, due batches to the worker, reports back.
    /// Sets `patience` to the time that the end may take, if there is a limit.
    async fn select(
        &mut self,
        shutdown: impl Future<Output = ()>,
        once: bool,
        mut asked: mpsc::Receiver<Order>,
        patience: &mut Option<Duration>,
    ) -> Result<(), AgentError> {
        tokio::pin!(shutdown);
        // Here and not in `start`: it needs the runtime.
        self.mounts = MountTable::open()
            .inspect_err(|error| warn!(%error, "mounts are seen by the timed comparison only"))
            .ok();
        let mut batcher = Batcher::new(u64::try_from(self.config.window.as_nanos()).unwrap_or(u64::MAX));
        let mut ready = false;
        // Wanted from the worker as soon as it is ready, beside batches.
        let mut errands: Vec<Order> = Vec::new();
        // Batches and errands take turns when both wait: neither may keep the other waiting for ever.
        let mut errand_is_next = false;
        let mut sample = interval(self.config.sample_every);
        let mut verify_tree = interval(self.config.verify_every);
        let mut verify_proc = interval(self.config.verify_proc_every);
        let mut collecting = true;
        // When the worker got its last batch, and until when it rests.
        let (mut ordered_ns, mut rested_ns) = (None::<u64>, 0_u64);
        loop {
            let due = batcher.due_ns().filter(|_| ready).map(|due| due.max(rested_ns));
            tokio::select! {
                biased;
                () = &mut shutdown => {
                    *patience = Some(STOP_TIMEOUT);
                    return Ok(());
                }
                report = self.reports.recv() => match report {
                    Some(report) => {
                        ready |= report.ready;
                        if let Some(ordered_ns) = ordered_ns.take_if(|_| report.ready) {
                            let now = clock::monotonic_ns();
                            let rest_max = u64::try_from(REST_MAX.as_nanos()).unwrap_or(u64::MAX);
                            rested_ns = now.saturating_add(now.saturating_sub(ordered_ns).min(rest_max));
                        }
                        if report.baseline_done {
                            self.baseline_done.store(true, Ordering::Relaxed);
                            self.enricher.sweep();
                            info!("every root was compared with its source; the picture is live");
                            if once {
                                return Ok(());
                            }
                        }
                    }
                    // The worker's own result says why; `stop` returns it.
                    None => return Ok(()),
                },
                () = sleep_until(due), if due.is_some() => {
                    let batch = batcher.take(clock::monotonic_ns());
                    if let Some(count) = batch.lost.get(&LossReason::BatchFull) {
                        self.counters.lost(LossReason::BatchFull, *count);
                    }
                    if !batch.is_empty() {
                        ready = false;
                        errand_is_next = true;
                        ordered_ns = Some(clock::monotonic_ns());
                        self.order(Order::Batch(Box::new(batch)))?;
                    }
                },
                // Before the events: a flood of those must not keep the clock from being read.
                _ = sample.tick() => want(&mut errands, Order::Sample),
                _ = verify_tree.tick() => want(&mut errands, Order::Scan(RootKind::Tree)),
                _ = verify_proc.tick() => want(&mut errands, Order::Scan(RootKind::Proc)),
                Some(order) = asked.recv(), if errands.len() < ERRANDS_MAX => errands.push(order),
                // One that is lost with the runtime is found by the timed comparison.
                Ok(()) = mounts_changed(self.mounts.as_ref()) => {
                    let event = Event { at_ns: now_ns(), change: Change::Mounts, writer: None };
                    self.tell_tap(std::slice::from_ref(&event));
                    batcher.push(event, clock::monotonic_ns());
                },
                chunk = self.events.recv(), if collecting => if let Some(chunk) = chunk {
                    let now = clock::monotonic_ns();
                    self.tell_tap(&chunk);
                    for event in chunk {
                        if !self.is_wanted(&event) {
                            continue;
                        }
                        batcher.push(event, now);
                    }
                } else {
                    collecting = false;
                    if self.rung != Rung::Scan {
                        // Nobody reports any more and everything would look verified: better to end, and be started again.
                        return Err(AgentError::Died("the collector"));
                    }
                },
            }
            let no_batch = batcher.due_ns().is_none_or(|due| due > clock::monotonic_ns());
            if ready && !errands.is_empty() && (errand_is_next || no_batch) {
                ready = false;
                errand_is_next = false;
                self.order(errands.remove(0))?;
            }
        }
    }

    /// Whether an event can mean work. Those of processes and modules tell the collector who makes changes; here they
    /// matter only to `/proc`.
    fn is_wanted(&self, event: &Event) -> bool {
        match event.change {
            Change::Process { .. }
            | Change::Module { .. }
            | Change::Lost { reason: LossReason::ProcessRingFull, .. } => self.watches_proc,
            _ => true,
        }
    }

    fn order(&self, order: Order) -> Result<(), AgentError> {
        self.orders.send(order).map_err(|_| AgentError::Died("the worker"))
    }

    fn tell_tap(&self, chunk: &[Event]) {
        if self.tap.receiver_count() == 0 {
            return;
        }
        for event in chunk {
            if let Ok(line) = serde_json::to_string(&control::EventLine::from(event)) {
                let _ = self.tap.send(line.into());
            }
        }
    }

    async fn stop(self, patience: Option<Duration>) -> Result<(), AgentError> {
        let Self { orders, worker, halt, guard, .. } = self;
        info!("stopping");
        halt.store(true, Ordering::Relaxed);
        // Fails when the worker is gone already, or has an order before it: then it stops because the channel closes.
        let _ = orders.try_send(Order::Stop);
        drop(orders);
        drop(guard);
        // Not by joining the thread: a runtime that ends waits for a join, and so would the process.
        let ended = match patience {
            Some(patience) => tokio::time::timeout(patience, worker).await,
            None => Ok(worker.await),
        };
        match ended {
            Ok(Ok(result)) => result,
            // It panicked.
            Ok(Err(_)) => Err(AgentError::Died("the worker")),
            Err(_) => {
                error!("the worker did not end in time; what it was doing is redone at the next start");
                Ok(())
            }
        }
    }
}

/// Gives the status whenever it is called.
pub type StatusSource = Arc<dyn Fn() -> Status + Send + Sync>;

#[expect(clippy::too_many_arguments, reason = "the one place where a status is put together")]
fn status_source(
    (rung, name_hooks): (Rung, Option<NameHooks>),
    why: Vec<String>,
    hooks: Vec<HookStatus>,
    counters: &Arc<Counters>,
    shared: &Arc<Shared>,
    baseline_done: &Arc<AtomicBool>,
    enricher: Enricher,
    map: Option<Arc<dyn Fn() -> MapStatus + Send + Sync>>,
) -> StatusSource {
    let started_ns = now_ns();
    let (counters, shared, baseline_done) =
        (Arc::clone(counters), Arc::clone(shared), Arc::clone(baseline_done));
    Arc::new(move || Status {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        started_ns,
        rung,
        name_hooks,
        lost_here: rung.lost(),
        why: why.clone(),
        hooks: hooks.clone(),
        events: counters.snapshot(),
        roots: shared.roots(),
        latency: shared.latency(),
        llm: enricher.status(),
        map: map.as_ref().map(|map| map()),
        rss_bytes: rss_bytes(),
        baseline_done: baseline_done.load(Ordering::Relaxed),
    })
}

/// Waits for a change of the mount table; for ever where there is none.
async fn mounts_changed(table: Option<&MountTable>) -> io::Result<()> {
    match table {
        Some(table) => table.changed().await,
        None => std::future::pending().await,
    }
}

/// Adds an errand unless the same one waits already.
fn want(errands: &mut Vec<Order>, order: Order) {
    let same = |other: &Order| match (other, &order) {
        (Order::Scan(a), Order::Scan(b)) => a == b,
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    };
    if !errands.iter().any(same) {
        errands.push(order);
    }
}

/// Ticks every `period`, first after one period; a zero period never ticks.
fn interval(period: Duration) -> tokio::time::Interval {
    // Tokio refuses a zero period; a century stands for never.
    let never = Duration::from_hours(876_000);
    let period = if period.is_zero() { never } else { period };
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

async fn sleep_until(due_ns: Option<u64>) {
    let wait = due_ns.unwrap_or(0).saturating_sub(clock::monotonic_ns());
    tokio::time::sleep(Duration::from_nanos(wait)).await;
}

/// Resident memory of this process, in bytes (the `VmRSS` line of `/proc/self/status`, in KiB).
fn rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests;
