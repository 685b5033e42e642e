//! Loading the object and attaching every program; each hook succeeds or fails on its own.

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, TracePoint},
};
use sfd_common::{DropReason, Hook, InodeKey, KernelOffsets, SyscallDescriptor, WatchedValue, map};

use super::{
    btf::{self, Btf},
    calls, offsets,
};
use crate::collect::{CollectConfig, CollectError, HookState, HookStatus};

/// The kernel side, built by `cargo xtask build-ebpf --log`.
#[cfg(feature = "ebpf-log")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../target/ebpf/sfd-log.bpf.o");
/// The kernel side, built by `cargo xtask build-ebpf`.
#[cfg(not(feature = "ebpf-log"))]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../sfd-ebpf/prebuilt/sfd.bpf.o");

/// Where the kernel shows its tracepoints; aya looks here too.
const TRACEFS: &str = "/sys/kernel/tracing";
const TRACEFS_OLD: &str = "/sys/kernel/debug/tracing";

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

pod!(Key: InodeKey, Value: WatchedValue, Offsets: KernelOffsets, Descriptor: SyscallDescriptor);

/// Everything that is loaded: programs stay attached while this lives.
pub(super) struct Loaded {
    /// Holds programs and links.
    pub(super) ebpf: Ebpf,
    pub(super) files: RingBuf<MapData>,
    pub(super) processes: RingBuf<MapData>,
    pub(super) watched: HashMap<MapData, Key, Value>,
    pub(super) excluded: HashMap<MapData, u32, u8>,
    pub(super) drops: PerCpuArray<MapData, u64>,
    /// Hands on what the programs have logged; only in builds for debugging.
    pub(super) log: Option<Flush>,
    /// One for each hook, with what the self-test needs to recognise it.
    pub(super) hooks: Vec<(u16, HookStatus)>,
}

/// Hands on what the programs have logged.
pub(super) type Flush = Box<dyn FnMut() + Send>;

/// A tracepoint program: name of the function in the object, tracepoints to try, and what it is for.
struct Program {
    function: &'static str,
    tracepoints: &'static [&'static str],
    hook: Hook,
    lost_without: &'static str,
}

const FILE_PROGRAMS: &[Program] = &[
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
        function: "uring_submit",
        // Named after the entry until 6.3, with more arguments before 6.0.
        tracepoints: &["io_uring_submit_req", "io_uring_submit_sqe"],
        hook: Hook::UringSubmit,
        lost_without: "names changed through io_uring (rename, unlink, mkdir, links); needs Linux 6.0",
    },
    Program {
        function: "uring_complete",
        tracepoints: &["io_uring_complete"],
        hook: Hook::UringComplete,
        lost_without: "names, sizes and attributes changed through io_uring; writes are seen all the same",
    },
];

const PROCESS_PROGRAMS: &[Program] = &[
    Program {
        function: "exec",
        tracepoints: &["sched_process_exec"],
        hook: Hook::Exec,
        lost_without: "programs started; /proc is sampled instead",
    },
    Program {
        function: "fork",
        tracepoints: &["sched_process_fork"],
        hook: Hook::Fork,
        lost_without: "processes created; /proc is sampled instead",
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
    let types = aya::Btf::from_sys_fs().map_err(|error| CollectError::Load(error.to_string()))?;
    let file_ring = ring_bytes(config.file_ring_bytes);
    let process_ring = ring_bytes(config.process_ring_bytes);
    let (file_wake, process_wake) = (u64::from(file_ring) / 4, u64::from(process_ring) / 4);
    raise_memlock();
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&types))
        .override_global(map::OFFSETS, &offsets, true)
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
    fill_descriptors(&mut ebpf)?;
    for program in FILE_PROGRAMS {
        hooks.push((program.hook as u16, attach_btf(&mut ebpf, program, &btf, &types)));
    }
    attach_calls(&mut ebpf, &btf, &mut hooks);
    if config.want_process_events {
        for program in PROCESS_PROGRAMS {
            hooks.push((program.hook as u16, attach_btf(&mut ebpf, program, &btf, &types)));
        }
    }
    let attached = |wanted: fn(u16) -> bool| {
        hooks.iter().any(|(id, status)| wanted(*id) && status.state == HookState::Attached)
    };
    let content = attached(|id| id == Hook::InodeDirty as u16 || id == Hook::FolioDirty as u16);
    if !content && !attached(|id| id < Hook::InodeDirty as u16) {
        let first = hooks.iter().find_map(|(_, status)| match &status.state {
            HookState::Failed(why) => Some(format!("{}: {why}", status.name)),
            _ => None,
        });
        return Err(CollectError::NothingAttached(
            first.unwrap_or_else(|| "no tracepoint is there".to_owned()),
        ));
    }
    Ok(Loaded {
        files: take(&mut ebpf, map::FILES)?,
        processes: take(&mut ebpf, map::PROCESSES)?,
        watched: take(&mut ebpf, map::WATCHED)?,
        excluded: take(&mut ebpf, map::EXCLUDED)?,
        drops: take(&mut ebpf, map::DROPS)?,
        ebpf,
        log,
        hooks,
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

/// Writes one descriptor for each system call of this architecture.
fn fill_descriptors(ebpf: &mut Ebpf) -> Result<(), CollectError> {
    let fail = |error: &dyn std::error::Error| CollectError::Load(format!("map {}: {error}", map::SYSCALLS));
    let map = ebpf
        .map_mut(map::SYSCALLS)
        .ok_or_else(|| CollectError::Load(format!("the object has no map {}", map::SYSCALLS)))?;
    let mut table = Array::<_, Descriptor>::try_from(map).map_err(|error| fail(&error))?;
    for call in calls::all() {
        table.set(call.number, Descriptor(call.descriptor), 0).map_err(|error| fail(&error))?;
    }
    Ok(())
}

/// Attaches a typed tracepoint program.
fn attach_btf(ebpf: &mut Ebpf, program: &Program, btf: &Btf<'_>, types: &aya::Btf) -> HookStatus {
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

/// Attaches the two generic programs to every listed system call.
fn attach_calls(ebpf: &mut Ebpf, btf: &Btf<'_>, hooks: &mut Vec<(u16, HookStatus)>) {
    let missing = offsets::missing(btf, KernelOffsets::REQUIRED_FOR_CALLS);
    let ready = if missing.is_empty() {
        mount_tracefs().and_then(|()| load_call_programs(ebpf))
    } else {
        Err(format!("this kernel's BTF lacks {}", missing.join(", ")))
    };
    for call in calls::all() {
        let state = match &ready {
            Err(why) => HookState::Failed(why.clone()),
            Ok(()) if !tracepoint_exists(call.tracepoint) => HookState::Absent,
            Ok(()) => state_of(|| {
                // Exit first: an entry without an exit would leave entries in the map.
                attach_tracepoint(ebpf, "syscall_exit", &format!("sys_exit_{}", call.tracepoint))?;
                attach_tracepoint(ebpf, "syscall_enter", &format!("sys_enter_{}", call.tracepoint))
            }),
        };
        let status = HookStatus {
            name: format!("syscalls/{}", call.name),
            state,
            lost_without: calls::lost_without(call),
        };
        hooks.push((call.number as u16, status));
    }
}

fn load_call_programs(ebpf: &mut Ebpf) -> Result<(), String> {
    for name in ["syscall_exit", "syscall_enter"] {
        tracepoint_program(ebpf, name)?.load().map_err(|error| chain(&error))?;
    }
    Ok(())
}

fn attach_tracepoint(ebpf: &mut Ebpf, program: &str, tracepoint: &str) -> Result<(), String> {
    tracepoint_program(ebpf, program)?.attach("syscalls", tracepoint).map_err(|error| chain(&error))?;
    Ok(())
}

fn tracepoint_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut TracePoint, String> {
    let program = ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
    program.try_into().map_err(|error| chain(&error))
}

fn tracepoint_exists(name: &str) -> bool {
    [TRACEFS, TRACEFS_OLD]
        .iter()
        .any(|root| Path::new(root).join(format!("events/syscalls/sys_enter_{name}")).is_dir())
}

fn state_of(attach: impl FnOnce() -> Result<(), String>) -> HookState {
    match attach() {
        Ok(()) => HookState::Attached,
        Err(why) => HookState::Failed(why),
    }
}

/// Mounts tracefs where it belongs if it is nowhere (`trace-cmd` does so too): classic tracepoints get their
/// numbers from it.
fn mount_tracefs() -> Result<(), String> {
    if [TRACEFS, TRACEFS_OLD].iter().any(|root| Path::new(root).join("events/syscalls").is_dir()) {
        return Ok(());
    }
    rustix::mount::mount("tracefs", TRACEFS, "tracefs", rustix::mount::MountFlags::empty(), None)
        .map_err(|error| format!("tracefs is not mounted at {TRACEFS} and mounting it failed: {error}"))?;
    if Path::new(TRACEFS).join("events/syscalls").is_dir() {
        Ok(())
    } else {
        Err("this kernel has no system call tracepoints (CONFIG_FTRACE_SYSCALLS)".to_owned())
    }
}

/// An error with its causes on one line, and only the last lines of a verifier's log.
fn chain(error: &dyn std::error::Error) -> String {
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
