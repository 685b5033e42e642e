//! Loading the object and attaching every program; each hook succeeds or fails on its own.

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf},
    programs::BtfTracePoint,
};
use sfd_common::{
    DropReason, FUNCTION_SLOTS, FunctionDescriptor, Hook, InodeKey, KernelOffsets, SyscallDescriptor,
    WatchedValue, map,
};

use super::{
    btf::{self, Btf},
    functions, names, offsets,
};
use crate::collect::{CollectConfig, CollectError, HookState, HookStatus, NameHooks};

/// The kernel side, built by `cargo xtask build-ebpf --log`.
#[cfg(feature = "ebpf-log")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../target/ebpf/sfd-log.bpf.o");
/// The kernel side, built by `cargo xtask build-ebpf`.
#[cfg(not(feature = "ebpf-log"))]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../sfd-ebpf/prebuilt/sfd.bpf.o");

/// Gives a type of `sfd-common` the marker that aya wants of map keys, values and globals.
macro_rules! pod {
    ($($name:ident: $inner:ty),* $(,)?) => {$(
        #[doc = concat!("`", stringify!($inner), "` as aya wants it.")]
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(super) struct $name(pub(super) $inner);
        // SAFETY: `repr(C)` of integers with explicit padding only: any bytes are a value, and no byte is
        // uninitialised.
        unsafe impl Pod for $name {}
    )*};
}

pod!(
    Key: InodeKey,
    Value: WatchedValue,
    Offsets: KernelOffsets,
    Descriptor: SyscallDescriptor,
    Functions: [FunctionDescriptor; FUNCTION_SLOTS],
);

/// Everything that is loaded: programs stay attached while this lives.
pub(super) struct Loaded {
    /// Holds programs and links.
    pub(super) ebpf: Ebpf,
    pub(super) files: RingBuf<MapData>,
    pub(super) processes: RingBuf<MapData>,
    pub(super) watched: HashMap<MapData, Key, Value>,
    pub(super) devices: Array<MapData, u64>,
    pub(super) excluded: HashMap<MapData, u32, u8>,
    pub(super) drops: PerCpuArray<MapData, u64>,
    pub(super) sequences: PerCpuArray<MapData, u64>,
    pub(super) asleep: Array<MapData, u32>,
    /// Hands on what the programs have logged; only in builds for debugging.
    pub(super) log: Option<Flush>,
    /// One for each hook, with what the self-test needs to recognise it.
    pub(super) hooks: Vec<Hooked>,
    /// How names and attributes are seen.
    pub(super) name_hooks: NameHooks,
}

/// Number of a hook in records, and its state.
pub(super) type Hooked = (u16, HookStatus);

/// Hands on what the programs have logged.
pub(super) type Flush = Box<dyn FnMut() + Send>;

/// A tracepoint program: name of the function in the object, tracepoints to try, and what it is for.
pub(super) struct Program {
    pub(super) function: &'static str,
    pub(super) tracepoints: &'static [&'static str],
    pub(super) hook: Hook,
    pub(super) lost_without: &'static str,
}

const CONTENT_PROGRAMS: &[Program] = &[
    Program {
        function: "inode_dirty",
        tracepoints: &["writeback_mark_inode_dirty"],
        hook: Hook::InodeDirty,
        lost_without: "writes of every kind, and attribute changes on ext4; the only hook that sees writes on tmpfs",
    },
    Program {
        function: "folio_dirty",
        tracepoints: &["writeback_dirty_folio", "writeback_dirty_page"],
        hook: Hook::FolioDirty,
        lost_without: "writes and stores through mmap into clean pages that change no field of the inode",
    },
    Program {
        function: "iomap",
        tracepoints: &["iomap_iter"],
        hook: Hook::Iomap,
        lost_without: "writes past the page cache (O_DIRECT) and into dirty pages on xfs; needs Linux 5.15",
    },
    Program {
        function: "map_pages",
        tracepoints: &["mm_filemap_map_pages"],
        hook: Hook::MapPages,
        lost_without: "stores through mmap on tmpfs by processes that end before they are seen; needs Linux 6.12",
    },
];

const PROCESS_PROGRAMS: &[Program] = &[
    Program {
        function: "exec",
        tracepoints: &["sched_process_exec"],
        hook: Hook::Exec,
        lost_without: "programs and arguments of those who change things; programs started (/proc is sampled instead)",
    },
    Program {
        function: "fork",
        tracepoints: &["sched_process_fork"],
        hook: Hook::Fork,
        lost_without: "who started those who change things; processes created (/proc is sampled instead)",
    },
    Program {
        function: "exit",
        tracepoints: &["sched_process_exit"],
        hook: Hook::Exit,
        lost_without: "processes ended; /proc is sampled instead",
    },
    Program {
        function: "task_rename",
        tracepoints: &["task_rename"],
        hook: Hook::TaskRename,
        lost_without: "processes that change their name",
    },
    Program {
        function: "module_load",
        tracepoints: &["module_load"],
        hook: Hook::ModuleLoad,
        lost_without: "kernel modules loaded; /proc/modules is sampled instead",
    },
    Program {
        function: "module_free",
        tracepoints: &["module_free"],
        hook: Hook::ModuleFree,
        lost_without: "kernel modules unloaded; /proc/modules is sampled instead",
    },
    Program {
        function: "module_request",
        tracepoints: &["module_request"],
        hook: Hook::ModuleRequest,
        lost_without: "modules the kernel asked for",
    },
];

/// Loads the object and attaches what this kernel allows.
///
/// # Errors
/// When nothing useful could be attached, with the reason and what to do about it.
pub(super) fn load(config: &CollectConfig) -> Result<Loaded, CollectError> {
    let bytes = std::fs::read(btf::VMLINUX).map_err(CollectError::NoBtf)?;
    let btf = Btf::parse(&bytes).map_err(CollectError::Btf)?;
    let missing = offsets::missing(&btf, KernelOffsets::REQUIRED);
    if !missing.is_empty() {
        return Err(CollectError::Offsets(missing));
    }
    let offsets = Offsets(offsets::from_btf(&btf));
    let functions = Functions(functions::descriptors(&btf));
    let types = aya::Btf::from_sys_fs().map_err(|error| CollectError::Load(error.to_string()))?;
    let file_ring = ring_bytes(config.file_ring_bytes);
    let process_ring = ring_bytes(config.process_ring_bytes);
    let (file_wake, process_wake) = (u64::from(file_ring) / 4, u64::from(process_ring) / 4);
    raise_memlock();
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&types))
        .override_global(map::OFFSETS, &offsets, true)
        .override_global(map::FUNCTIONS, &functions, true)
        .override_global(map::FILES_WAKE_BYTES, &file_wake, true)
        .override_global(map::PROCESSES_WAKE_BYTES, &process_wake, true)
        .map_max_entries(map::WATCHED, config.watched_max.max(1))
        .map_max_entries(map::FILES, file_ring)
        .map_max_entries(map::PROCESSES, process_ring)
        .load(OBJECT)
        .map_err(|error| CollectError::Load(chain(&error)))?;

    // Before any program is loaded: it owns the map they log to.
    let log = logger(&mut ebpf)?;
    let mut hooks = Vec::new();
    for program in CONTENT_PROGRAMS {
        // A write through iomap is told from a read by members that only kernels with that tracepoint have.
        hooks.push((program.hook as u16, attach_btf(&mut ebpf, program, &btf, &types)));
    }
    let (name_hooks, of_names) = names::attach(&mut ebpf, config.name_hooks, &btf, &types)?;
    hooks.extend(of_names);
    for program in PROCESS_PROGRAMS {
        hooks.push((program.hook as u16, attach_btf(&mut ebpf, program, &btf, &types)));
    }
    Ok(Loaded {
        files: take(&mut ebpf, map::FILES)?,
        processes: take(&mut ebpf, map::PROCESSES)?,
        watched: take(&mut ebpf, map::WATCHED)?,
        devices: take(&mut ebpf, map::DEVICES)?,
        excluded: take(&mut ebpf, map::EXCLUDED)?,
        drops: take(&mut ebpf, map::DROPS)?,
        sequences: take(&mut ebpf, map::SEQUENCES)?,
        asleep: take(&mut ebpf, map::ASLEEP)?,
        ebpf,
        log,
        hooks,
        name_hooks,
    })
}

/// Reads the programs' log into the `log` crate, and through it into tracing.
#[cfg(feature = "ebpf-log")]
fn logger(ebpf: &mut Ebpf) -> Result<Option<Flush>, CollectError> {
    let mut logger = aya_log::EbpfLogger::init(ebpf).map_err(|error| CollectError::Load(chain(&error)))?;
    Ok(Some(Box::new(move || logger.flush())))
}

/// The programs log nothing.
#[cfg(not(feature = "ebpf-log"))]
#[expect(clippy::unnecessary_wraps, reason = "the shape of the debugging build")]
fn logger(_: &mut Ebpf) -> Result<Option<Flush>, CollectError> {
    Ok(None)
}

/// Ring sizes are powers of two of at least a page.
fn ring_bytes(wanted: u32) -> u32 {
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    wanted.clamp(4096, 1 << 30).max(u32::try_from(page).unwrap_or(4096)).next_power_of_two()
}

/// Kernels before 5.11 count BPF memory against this limit. Not being allowed to raise it is no error: if it
/// matters, loading says so.
fn raise_memlock() {
    let limit = rustix::process::Rlimit { current: None, maximum: None };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Memlock, limit) {
        tracing::debug!(%error, "RLIMIT_MEMLOCK stays as it is");
    }
}

/// Takes a map out of the object.
fn take<M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, CollectError> {
    let map =
        ebpf.take_map(name).ok_or_else(|| CollectError::Load(format!("the object has no map {name}")))?;
    M::try_from(map).map_err(|error| CollectError::Load(format!("map {name}: {error}")))
}

/// Attaches a typed tracepoint program.
pub(super) fn attach_btf(ebpf: &mut Ebpf, program: &Program, btf: &Btf<'_>, types: &aya::Btf) -> HookStatus {
    let known = program.tracepoints.iter().find(|name| match (**name, btf.tracepoint_arguments(name)) {
        // (req, force_nonblock); before 6.0 the first of seven was the context.
        ("io_uring_submit_sqe", arguments) => arguments == Some(2),
        (_, arguments) => arguments.is_some(),
    });
    let name = format!("tp_btf/{}", known.or(program.tracepoints.first()).unwrap_or(&program.function));
    let state = match known {
        None => HookState::Absent,
        Some(tracepoint) => {
            let attach = || -> Result<(), String> {
                let loaded = ebpf
                    .program_mut(program.function)
                    .ok_or_else(|| format!("the object has no program {}", program.function))?;
                let loaded: &mut BtfTracePoint = loaded.try_into().map_err(|error| chain(&error))?;
                loaded.load(tracepoint, types).map_err(|error| chain(&error))?;
                loaded.attach().map_err(|error| chain(&error))?;
                Ok(())
            };
            state_of(attach)
        }
    };
    HookStatus { name, state, lost_without: program.lost_without.to_owned() }
}

pub(super) fn state_of(attach: impl FnOnce() -> Result<(), String>) -> HookState {
    match attach() {
        Ok(()) => HookState::Attached,
        Err(why) => HookState::Failed(why),
    }
}

/// An error with its causes on one line, and only the last lines of a verifier's log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines.len().saturating_sub(6);
    if tail > 1 {
        format!("{} ... {}", lines.first().unwrap_or(&""), lines.get(tail..).unwrap_or_default().join(" | "))
    } else {
        lines.join(" | ")
    }
}

/// Sum of a drop counter over all CPUs.
pub(super) fn drop_count(drops: &PerCpuArray<MapData, u64>, reason: DropReason) -> u64 {
    drops.get(&(reason as u32), 0).map_or(0, |values| values.iter().sum())
}
