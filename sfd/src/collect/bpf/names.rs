//! Hooks for names and attributes: three ways to see them, of which the cheapest that works is taken.
//!
//! 1. *Change times*: every file system sets the change time of a file whose contents, attributes or links change, and of
//!    a directory whose names change, through one function that has tracepoints since Linux 6.13. Nobody pays but who
//!    changes something.
//! 2. *Functions* ([`super::functions`]): as cheap, where the kernel lets programs run there.
//! 3. *System calls*: tracepoints of some fifty calls. As soon as there is one, every system call on the host takes the
//!    kernel's slow way (measured: `docs/performance.md`).

use std::path::Path;

use aya::{
    Ebpf,
    maps::Array,
    programs::{FExit, TracePoint},
};
use sfd_common::{FunctionDescriptor, Hook, KernelOffsets, map};

use super::{
    btf::Btf,
    calls,
    functions::{self, FUNCTIONS},
    load::{Descriptor, Hooked, Program, attach_btf, chain, state_of},
    offsets,
};
use crate::collect::{CollectError, HookState, HookStatus, NameHooks, NameSource};

/// Where the kernel shows its tracepoints; aya looks here too.
const TRACEFS: &str = "/sys/kernel/tracing";
const TRACEFS_OLD: &str = "/sys/kernel/debug/tracing";

const CHANGE_TIME_PROGRAMS: &[Program] = &[
    Program {
        function: "change_time",
        tracepoints: &["ctime_ns_xchg"],
        hook: Hook::ChangeTime,
        lost_without: "names, attributes and sizes changed, and writes into dirty pages",
    },
    Program {
        function: "change_time_copied",
        tracepoints: &["inode_set_ctime_to_ts"],
        hook: Hook::ChangeTimeCopied,
        lost_without: "the same on file systems without multigrain time stamps, and some names on tmpfs",
    },
];

const URING_PROGRAMS: &[Program] = &[
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

/// Attaches one of the three; gives which, and its hooks.
///
/// # Errors
/// When the one asked for cannot be attached as a whole, or none can.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    source: NameSource,
    btf: &Btf<'_>,
    types: &aya::Btf,
) -> Result<(NameHooks, Vec<Hooked>), CollectError> {
    if matches!(source, NameSource::Auto | NameSource::ChangeTime) {
        let hooks: Vec<Hooked> = CHANGE_TIME_PROGRAMS
            .iter()
            .map(|program| (program.hook as u16, attach_btf(ebpf, program, btf, types)))
            .collect();
        if hooks.iter().all(|(_, hook)| hook.state == HookState::Attached) {
            return Ok((NameHooks::ChangeTime, hooks));
        }
        if source == NameSource::ChangeTime {
            return Err(refused(NameHooks::ChangeTime, &hooks));
        }
        detach_btf(ebpf, CHANGE_TIME_PROGRAMS);
    }
    if matches!(source, NameSource::Auto | NameSource::Function) {
        let hooks = attach_functions(ebpf, btf, types);
        let complete = FUNCTIONS
            .iter()
            .zip(&hooks)
            .all(|(function, (_, hook))| !function.required || hook.state == HookState::Attached);
        if complete {
            return Ok((NameHooks::Function, hooks));
        }
        if source == NameSource::Function {
            return Err(refused(NameHooks::Function, &hooks));
        }
        detach_functions(ebpf);
    }
    let mut hooks = Vec::new();
    fill_descriptors(ebpf)?;
    for program in URING_PROGRAMS {
        hooks.push((program.hook as u16, attach_btf(ebpf, program, btf, types)));
    }
    attach_calls(ebpf, btf, &mut hooks);
    if !hooks.iter().any(|(_, hook)| hook.state == HookState::Attached) {
        return Err(refused(NameHooks::Syscall, &hooks));
    }
    Ok((NameHooks::Syscall, hooks))
}

/// What the first hook that failed said.
fn refused(wanted: NameHooks, hooks: &[Hooked]) -> CollectError {
    let why = hooks.iter().find_map(|(_, hook)| match &hook.state {
        HookState::Failed(why) => Some(format!("{}: {why}", hook.name)),
        HookState::Absent => Some(format!("{}: this kernel does not have it", hook.name)),
        _ => None,
    });
    let why = why.unwrap_or_else(|| "no tracepoint is there".to_owned());
    CollectError::NothingAttached(format!("{}: {why}", wanted.text()))
}

/// Takes down what was attached of a set that is not complete.
fn detach_btf(ebpf: &mut Ebpf, programs: &[Program]) {
    for program in programs {
        if let Some(aya::programs::Program::BtfTracePoint(loaded)) = ebpf.program_mut(program.function) {
            // Fails when it was never loaded.
            let _ = loaded.unload();
        }
    }
}

fn detach_functions(ebpf: &mut Ebpf) {
    for slot in 0..FUNCTIONS.len() {
        if let Some(aya::programs::Program::FExit(loaded)) = ebpf.program_mut(&functions::program(slot)) {
            // As above.
            let _ = loaded.unload();
        }
    }
}

/// Attaches a program to the return of each function that this kernel has. Ends at the first that is refused: then all
/// are, and each try costs a pass of the verifier.
fn attach_functions(ebpf: &mut Ebpf, btf: &Btf<'_>, types: &aya::Btf) -> Vec<Hooked> {
    let mut hooks = Vec::new();
    let mut refused = None;
    for (slot, (function, descriptor)) in FUNCTIONS.iter().zip(functions::descriptors(btf)).enumerate() {
        let name = functions::name(function, btf);
        let state = match (name, &refused) {
            (None, _) => HookState::Absent,
            (Some(_), _) if descriptor == FunctionDescriptor::NONE => {
                HookState::Failed("its arguments are not those that are known".to_owned())
            }
            (Some(_), Some(why)) => HookState::Failed(String::clone(why)),
            (Some(name), None) => state_of(|| attach_function(ebpf, slot, name, types)),
        };
        if let HookState::Failed(why) = &state
            && refused.is_none()
        {
            refused = Some(why.clone());
        }
        let name = format!("fexit/{}", name.or(function.names.first().copied()).unwrap_or_default());
        let status = HookStatus { name, state, lost_without: function.lost_without.to_owned() };
        // Slots are few: the sum stays far below the next number in use.
        hooks.push((Hook::FirstFunction as u16 + slot as u16, status));
    }
    hooks
}

fn attach_function(ebpf: &mut Ebpf, slot: usize, function: &str, types: &aya::Btf) -> Result<(), String> {
    let name = functions::program(slot);
    let program = ebpf.program_mut(&name).ok_or_else(|| format!("the object has no program {name}"))?;
    let program: &mut FExit = program.try_into().map_err(|error| chain(&error))?;
    program.load(function, types).map_err(|error| chain(&error))?;
    program.attach().map_err(|error| chain(&error))?;
    Ok(())
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
            Ok(()) if !tracepoint_exists(call.name) => HookState::Absent,
            Ok(()) => state_of(|| {
                // Exit first: an entry without an exit would leave entries in the map.
                attach_tracepoint(ebpf, "syscall_exit", &format!("sys_exit_{}", call.name))?;
                attach_tracepoint(ebpf, "syscall_enter", &format!("sys_enter_{}", call.name))
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
