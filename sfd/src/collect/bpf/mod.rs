//! The highest rung: eBPF tracepoint programs.
//!
//! [`load`] puts the programs into the kernel, [`ring`] reads what they write, [`translate`] makes events of it,
//! [`watch`] tells them what to look at. `docs/event-abi.md` describes the records.

mod btf;
mod calls;
mod detach;
pub mod faults;
mod functions;
mod gaps;
mod load;
mod names;
mod offsets;
pub mod replay;
mod ring;
mod translate;
mod watch;

use std::{
    os::fd::AsRawFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, PerCpuArray, RingBuf},
};
use sfd_common::DropReason;
use tokio::sync::mpsc;

pub use btf::BtfError;

use super::{CollectConfig, CollectError, Collector, Counters, Guard, HookStatus, Rung, selftest};
use load::Loaded;
use watch::WatchedMap;

/// Programs that are attached and the thread that reads them.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    excluded: HashMap<MapData, u32, u8>,
    /// Programs and links; `None` once they are being detached.
    ebpf: Option<Ebpf>,
}

impl Running {
    /// Leaves out the changes of this process from now on.
    fn exclude(&mut self, pid: u32) -> Result<(), String> {
        self.excluded.insert(pid, 1, 0).map_err(|error| format!("process {pid} cannot be left out: {error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads events had panicked");
        }
        if let Some(ebpf) = self.ebpf.take() {
            detach::detach(ebpf);
        }
    }
}

/// Loads, attaches, tests and starts reading.
///
/// # Errors
/// When nothing useful can be attached on this machine.
pub(super) fn start(config: &CollectConfig) -> Result<Collector, CollectError> {
    let Loaded {
        ebpf,
        mut files,
        mut processes,
        watched,
        devices,
        excluded,
        drops,
        sequences,
        asleep,
        log,
        hooks,
        name_hooks,
    } = load::load(config)?;
    let counters = Arc::new(Counters::default());
    let mut watcher = WatchedMap::new(watched, devices, Arc::clone(&counters));
    let hooks = match &config.state_dir {
        Some(dir) => test_hooks(dir, hooks, &mut watcher, &mut files, &mut processes, &drops),
        None => hooks.into_iter().map(|(_, status)| status).collect(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = Running { stop: Arc::clone(&stop), thread: None, excluded, ebpf: Some(ebpf) };
    // After the self-test, which is seen because this process is not yet left out.
    if !config.report_own_changes {
        running.exclude(std::process::id()).map_err(CollectError::Load)?;
    }
    let (sender, events) = mpsc::channel(config.channel_chunks_max.max(1));
    let waker = ring::Waker::new([files.as_raw_fd(), processes.as_raw_fd()]).map_err(CollectError::Thread)?;
    let reader = ring::Reader {
        files,
        processes,
        drops,
        sequences: Some(sequences),
        asleep: Some(asleep),
        sender,
        counters: Arc::clone(&counters),
        stop,
        waker,
        log,
        redactor: config.redactor.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("sfd-collect".to_owned())
        .spawn(move || reader.run())
        .map_err(CollectError::Thread)?;
    running.thread = Some(thread);
    Ok(Collector {
        events,
        watcher: Box::new(watcher),
        rung: Rung::Bpf,
        name_hooks: Some(name_hooks),
        why: Vec::new(),
        hooks,
        counters,
        guard: Guard { bpf: Some(running) },
    })
}

/// Loads and attaches a set of programs of its own, tests them, and takes them down again.
pub(super) fn probe(state_dir: &Path) -> Result<Vec<HookStatus>, CollectError> {
    let config = CollectConfig {
        watched_max: 1024,
        file_ring_bytes: 1 << 20,
        process_ring_bytes: 1 << 20,
        ..CollectConfig::default()
    };
    let Loaded { ebpf, mut files, mut processes, watched, devices, drops, log: _log, hooks, .. } =
        load::load(&config)?;
    let mut watcher = WatchedMap::new(watched, devices, Arc::new(Counters::default()));
    let hooks = test_hooks(state_dir, hooks, &mut watcher, &mut files, &mut processes, &drops);
    detach::detach(ebpf);
    Ok(hooks)
}

/// Runs the self-test over freshly attached programs.
fn test_hooks(
    dir: &Path,
    hooks: Vec<(u16, HookStatus)>,
    watcher: &mut WatchedMap,
    files: &mut RingBuf<MapData>,
    processes: &mut RingBuf<MapData>,
    drops: &PerCpuArray<MapData, u64>,
) -> Vec<HookStatus> {
    let read = |seen: &mut dyn FnMut(u16)| {
        for ring in [&mut *files, &mut *processes] {
            while let Some(item) = ring.next() {
                if let Ok(record) = sfd_common::decode(&item) {
                    seen(record.header.hook);
                }
            }
        }
    };
    let mut watch = |id, on| watcher.watch_every(id, on);
    let number = |name: &str| calls::all().find(|call| call.name == name).map(|call| call.number);
    let drops = || DropReason::ALL.map(|reason| load::drop_count(drops, reason)).iter().sum();
    selftest::run(dir, hooks, &mut watch, read, &number, &functions::hook_of_call, &drops)
}
