//! Choosing a rung and starting it.

use std::{path::PathBuf, sync::Arc};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::artifact::redact::Redactor;

use super::{Counters, Event, HookStatus, NameHooks, Rung, Watch, bpf, inotify, scan};

/// Which rung to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The best that works.
    #[default]
    Auto,
    /// eBPF or an error.
    Bpf,
    /// inotify or an error.
    Inotify,
    /// Timed rescans only.
    Scan,
}

/// Which hooks for names and attributes on the eBPF rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// The cheapest that works.
    #[default]
    Auto,
    /// As [`NameHooks::ChangeTime`], or an error.
    ChangeTime,
    /// As [`NameHooks::Function`], or an error.
    Function,
    /// As [`NameHooks::Syscall`], or an error.
    Syscall,
}

/// How to collect.
#[derive(Clone, Debug)]
pub struct CollectConfig {
    /// Which rung.
    pub source: Source,
    /// Which hooks for names and attributes.
    pub name_hooks: NameSource,
    /// Bound of the map of watched inodes. An entry costs about 80 bytes of kernel memory once used.
    pub watched_max: u32,
    /// Size of the ring of file events; rounded up to a power of two of at least a page.
    pub file_ring_bytes: u32,
    /// Size of the ring of process and module events; likewise.
    pub process_ring_bytes: u32,
    /// Chunks that may wait in [`Collector::events`]. When it is full the rings absorb, then the kernel counts.
    pub channel_chunks_max: usize,
    /// Directory in which the self-test makes and removes its files; `None` leaves the self-test out.
    pub state_dir: Option<PathBuf>,
    /// Masks secrets in the arguments of writers.
    pub redactor: Redactor,
    /// Whether changes of this process are reported too. Only tests want that.
    pub report_own_changes: bool,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self {
            source: Source::Auto,
            name_hooks: NameSource::Auto,
            watched_max: 1 << 20,
            // 4 MiB held 2.5 M events/s of 64 bytes without loss when read every 10 ms; ours are 120 and read
            // every 2 to 5 ms.
            file_ring_bytes: 4 << 20,
            process_ring_bytes: 1 << 20,
            channel_chunks_max: 64,
            state_dir: None,
            redactor: Redactor::disabled(),
            report_own_changes: false,
        }
    }
}

/// Why a rung could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The kernel shows no type information.
    #[error(
        "the kernel's type information (/sys/kernel/btf/vmlinux) cannot be read: {0}; use a kernel built with CONFIG_DEBUG_INFO_BTF"
    )]
    NoBtf(#[source] std::io::Error),
    /// The type information is malformed.
    #[error("the kernel's type information cannot be understood: {0}")]
    Btf(#[source] bpf::BtfError),
    /// Members without which nothing can be reported.
    #[error("this kernel lacks structure members SFD reads: {}", .0.join(", "))]
    Offsets(Vec<String>),
    /// The object or its maps were refused.
    #[error("the kernel refused the eBPF object: {0}; run as root, or with CAP_BPF and CAP_PERFMON")]
    Load(String),
    /// No hook could be attached.
    #[error("no hook could be attached, the first said: {0}; run as root, or with CAP_BPF and CAP_PERFMON")]
    NothingAttached(String),
    /// inotify could not be started.
    #[error("inotify cannot be used: {0}; see fs.inotify.max_user_instances")]
    Inotify(#[source] notify::Error),
    /// The reading thread could not be started.
    #[error("no thread for reading events could be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// A running collector. Take it apart: the parts go to different stages, and [`Guard`] keeps it running.
pub struct Collector {
    /// Events in chunks, in the order they were read.
    pub events: mpsc::Receiver<Vec<Event>>,
    /// Where the engine registers what it watches.
    pub watcher: Box<dyn Watch + Send>,
    /// The rung taken.
    pub rung: Rung,
    /// How names and attributes are seen on the eBPF rung.
    pub name_hooks: Option<NameHooks>,
    /// Why not a higher one and how to get it, one line each; empty on the highest.
    pub why: Vec<String>,
    /// Every hook and its state.
    pub hooks: Vec<HookStatus>,
    /// Counters, shared with the collector's thread.
    pub counters: Arc<Counters>,
    /// Stops the collector when dropped: detaches the programs and joins the thread.
    pub guard: Guard,
}

/// Keeps a collector running.
#[derive(Default)]
pub struct Guard {
    /// Dropped first to last: thread, then programs.
    #[expect(dead_code, reason = "kept for what its drop does")]
    pub(super) bpf: Option<bpf::Running>,
}

/// The rung below eBPF that this machine has, and why not inotify if that is not it.
pub fn below_bpf() -> (Rung, Option<String>) {
    match inotify::start(&CollectConfig::default()) {
        Ok(_) => (Rung::Inotify, None),
        Err(error) => (Rung::Scan, Some(error.to_string())),
    }
}

/// Starts collecting on the best rung the configuration and the machine allow.
///
/// # Errors
/// When the configuration asks for one rung and that cannot be had. [`Source::Auto`] always gives a collector.
pub fn start(config: &CollectConfig) -> Result<Collector, CollectError> {
    let mut why = Vec::new();
    if matches!(config.source, Source::Auto | Source::Bpf) {
        match bpf::start(config) {
            Ok(collector) => return Ok(collector),
            Err(error) if config.source == Source::Bpf => return Err(error),
            Err(error) => why.push(format!("eBPF: {error}")),
        }
    }
    if config.source == Source::Scan {
        why.push(
            "eBPF and inotify: not tried, scanning only was asked for; --source auto takes the best"
                .to_owned(),
        );
        return Ok(scan::start(why));
    }
    match inotify::start(config) {
        Ok(collector) => {
            if config.source == Source::Inotify {
                why.push("eBPF: not tried, inotify was asked for; --source auto takes the best".to_owned());
            }
            return Ok(Collector { why, ..collector });
        }
        Err(error) if config.source == Source::Inotify => return Err(error),
        Err(error) => why.push(format!("inotify: {error}")),
    }
    Ok(scan::start(why))
}

impl Source {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bpf => "bpf",
            Self::Inotify => "inotify",
            Self::Scan => "scan",
        }
    }
}

impl CollectError {
    /// Whether permissions are what is missing.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::NoBtf(source) | Self::Thread(source) => {
                source.kind() == std::io::ErrorKind::PermissionDenied
            }
            Self::Load(_) | Self::NothingAttached(_) => !rustix::process::geteuid().is_root(),
            Self::Btf(_) | Self::Offsets(_) | Self::Inotify(_) => false,
        }
    }
}
