//! Names and attributes: two generic programs, attached to the entry and exit of many system calls.
//!
//! Entry keeps values and addresses; exit acts, and only on success. Paths are read at exit, when the kernel itself
//! has read them and they are in memory. A path that another thread changes meanwhile costs a wasted look: the
//! agent reads the directory, not the string.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_kernel, bpf_probe_read_user,
        generated::bpf_probe_read_user_str,
    },
    macros::tracepoint,
    programs::TracePointContext,
};
use sfd_common::{
    AT_FDCWD, DropReason, Kind, Op, PATH_MAX, SYSCALL_SLOTS, Shape, Stream, SyscallDescriptor, bit, flag,
};

use super::open;
use crate::{
    emit::{Claim, What, mark_dirty},
    filter::{count_drop, excluded, watched},
    kernel::{self, Object, base_inode, inode_of},
    maps::{INFLIGHT, Inflight, SYSCALLS},
};

/// `AT_*` of include/uapi/linux/fcntl.h.
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_REMOVEDIR: u64 = 0x200;
/// ioctl commands that change a file: FICLONE, FICLONERANGE, FS_IOC_SETFLAGS (64 and 32 bit), FS_IOC_FSSETXATTR.
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC32_SETFLAGS: u32 = 0x4004_6602;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
const AF_UNIX: u16 = 1;

/// Entry of a listed system call: `struct { u64 common; int nr; unsigned long args[6]; }`.
#[tracepoint]
pub(crate) fn syscall_enter(ctx: TracePointContext) -> u32 {
    let _ = enter(&ctx);
    0
}

/// Exit of a listed system call: `struct { u64 common; int nr; long ret; }`.
#[tracepoint]
pub(crate) fn syscall_exit(ctx: TracePointContext) -> u32 {
    let _ = exit(&ctx);
    0
}

/// Number and descriptor of the call.
#[inline(always)]
fn descriptor(ctx: &TracePointContext) -> Option<(u32, SyscallDescriptor)> {
    // SAFETY: inside the record of every system call tracepoint.
    let nr = unsafe { ctx.read_at::<u32>(8) }.ok()?;
    if nr >= SYSCALL_SLOTS {
        return None;
    }
    let descriptor = *SYSCALLS.get(nr)?;
    (descriptor.shape != Shape::None as u8).then_some((nr, descriptor))
}

/// Argument `index`; 0 for "has none".
#[inline(always)]
fn argument(ctx: &TracePointContext, index: i8) -> u64 {
    if index < 0 {
        return 0;
    }
    let address = ctx.as_ptr() as u64 + 16 + (u64::from(index as u8) & 7) * 8;
    // SAFETY: the helper checks; the kernel keeps six arguments here whatever the call takes.
    unsafe { bpf_probe_read_kernel(address as *const u64) }.unwrap_or(0)
}

/// A directory descriptor argument; [`AT_FDCWD`] for a call that has none.
#[inline(always)]
fn directory(ctx: &TracePointContext, index: i8) -> i32 {
    if index < 0 { AT_FDCWD } else { argument(ctx, index) as i32 }
}

#[inline(always)]
fn enter(ctx: &TracePointContext) -> Option<()> {
    let (nr, call) = descriptor(ctx)?;
    if excluded() {
        return None;
    }
    let flags = argument(ctx, call.flags);
    let mut entry = Inflight {
        nr,
        flags: 0,
        path: argument(ctx, call.path),
        path2: argument(ctx, call.path2),
        ino: 0,
        dfd: directory(ctx, call.dfd),
        dfd2: directory(ctx, call.dfd2),
        dev: 0,
        generation: 0,
        open_flags: 0,
        op: u32::from(call.op),
    };
    let shape = call.shape;
    if shape == Shape::Descriptor as u8 || shape == Shape::Ioctl as u8 {
        if shape == Shape::Ioctl as u8 {
            entry.op = u32::from(ioctl_op(flags as u32)? as u16);
        }
        let object = Object::of_inode(inode_of(argument(ctx, call.fd) as i32)?)?;
        if !watched(object) {
            return None;
        }
        (entry.ino, entry.dev, entry.generation) = (object.ino, object.dev, object.generation);
    } else if shape == Shape::Open as u8 || shape == Shape::Openat2 as u8 {
        entry.open_flags = if call.bits & bit::CREAT != 0 {
            open::O_CREAT | open::O_TRUNC
        } else if shape == Shape::Openat2 as u8 {
            // SAFETY: the helper checks. Memory that is not there yet: let exit decide by what the file says.
            unsafe { bpf_probe_read_user::<u64>(flags as *const u64) }
                .map_or(open::O_CREAT | open::O_TRUNC, |f| f as u32)
        } else {
            flags as u32
        };
        if !open::is_of_interest(entry.open_flags) {
            return None;
        }
    } else if shape == Shape::Bind as u8 {
        // SAFETY: the helper checks.
        if unsafe { bpf_probe_read_user::<u16>(entry.path as *const u16) } != Ok(AF_UNIX) {
            return None;
        }
        entry.path += 2;
    } else {
        if call.bits & bit::FOLLOWS != 0 && flags & AT_SYMLINK_NOFOLLOW == 0 {
            entry.flags |= flag::FOLLOWS;
        }
        if call.bits & bit::REMOVEDIR != 0 && flags & AT_REMOVEDIR != 0 {
            entry.op = u32::from(call.op2);
        }
    }
    if INFLIGHT.insert(bpf_get_current_pid_tgid(), entry, 0).is_err() {
        count_drop(DropReason::Inflight);
    }
    None
}

/// What an ioctl command does to a file; `None` for all others.
#[inline(always)]
fn ioctl_op(command: u32) -> Option<Op> {
    match command {
        FICLONE | FICLONERANGE => Some(Op::Clone),
        FS_IOC_SETFLAGS | FS_IOC32_SETFLAGS | FS_IOC_FSSETXATTR => Some(Op::Flags),
        _ => None,
    }
}

#[inline(always)]
fn exit(ctx: &TracePointContext) -> Option<()> {
    let (nr, call) = descriptor(ctx)?;
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread writes or removes its entry.
    let entry = *unsafe { INFLIGHT.get(thread) }?;
    let _ = INFLIGHT.remove(thread);
    // SAFETY: inside the record of every exit tracepoint.
    let returned = unsafe { ctx.read_at::<i64>(16) }.ok()?;
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "syscall {} returned {}", nr, returned);
    if entry.nr != nr || returned < 0 {
        return None;
    }
    let shape = call.shape;
    if shape == Shape::Open as u8 || shape == Shape::Openat2 as u8 {
        return open::opened(returned as i32, &entry);
    }
    if shape == Shape::Descriptor as u8 || shape == Shape::Ioctl as u8 {
        let object = Object { ino: entry.ino, dev: entry.dev, generation: entry.generation };
        mark_dirty(object, 0, entry.op as u16, nr as u16, 0);
        return None;
    }
    let claim = Claim::take(Stream::Paths)?;
    path(&claim, entry.path, entry.dfd, entry.op as u16, nr as u16, entry.flags);
    if shape == Shape::TwoPaths as u8 {
        path(&claim, entry.path2, entry.dfd2, call.op2, nr as u16, entry.flags);
    }
    claim.release();
    None
}

/// Reports one path, unless nothing that is watched can be meant.
#[inline(always)]
fn path(claim: &Claim, user_path: u64, dfd: i32, op: u16, hook: u16, flags: u32) {
    let mut flags = flags;
    let mut len = 0;
    if user_path != 0 {
        // SAFETY: the buffer has room for PATH_MAX bytes after the header; the helper checks the address.
        let read = unsafe {
            bpf_probe_read_user_str(claim.payload().cast(), PATH_MAX as u32, user_path as *const _)
        };
        if read < 0 {
            count_drop(DropReason::PathUnreadable);
            return;
        }
        // The length with its zero byte; older kernels (6.1) give 0 for an empty string.
        len = (read as u32).saturating_sub(1);
    }
    if len == 0 {
        // A null or empty path: the call was about the descriptor itself.
        if let Some(object) = base_inode(dfd, false).and_then(Object::of_inode) {
            mark_dirty(object, 0, op, hook, flag::EMPTY_PATH);
        }
        return;
    }
    // SAFETY: the first payload byte was just written.
    let absolute = unsafe { *claim.payload() } == b'/';
    let Some(base) = base_inode(dfd, absolute).and_then(Object::of_inode) else { return };
    if absolute {
        flags |= flag::ABSOLUTE;
    }
    if watched(base) {
        flags |= flag::BASE_WATCHED;
    } else if !absolute && flags & flag::FOLLOWS == 0 && is_single_component(claim, len) {
        // The name is in a directory that is not watched, and no link leads elsewhere.
        return;
    }
    let what =
        What { kind: Kind::Path, op, hook, stream: Stream::Paths, flags, aux: dfd as u32, object: base };
    claim.send(&what, kernel::current(), len);
}

/// Longest name of one component (`NAME_MAX`), and so how far to look for a slash.
const NAME_MAX: u32 = 255;

/// Whether the path in the buffer has no slash and is not `..`.
#[inline(always)]
fn is_single_component(claim: &Claim, len: u32) -> bool {
    if len > NAME_MAX {
        return false;
    }
    let bytes = claim.payload();
    let mut at = 0;
    while at < NAME_MAX {
        if at >= len {
            break;
        }
        // SAFETY: below NAME_MAX, inside the buffer.
        if unsafe { *bytes.add(at as usize) } == b'/' {
            return false;
        }
        at += 1;
    }
    // SAFETY: the first two bytes of the buffer's payload.
    !(len == 2 && unsafe { *bytes == b'.' && *bytes.add(1) == b'.' })
}
