//! io_uring: system call hooks never see what a ring does.
//!
//! Writes are seen by the content hooks. For the rest, what a request names is kept when it is submitted (prepared,
//! not yet run) and reported when it completes without error: at completion the kernel has already freed the names.
//! A request that asks for no completion on success (`IOSQE_CQE_SKIP_SUCCESS`) never passes the completion
//! tracepoint, so it is reported at submission: early, but after it has passed preparation.

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use sfd_common::{ABSENT, AT_FDCWD, DropReason, Hook, Kind, Op, Stream, flag};

use super::open::{O_CREAT, O_TRUNC};
use crate::{
    emit::{Claim, What, mark_dirty},
    filter::{count_drop, excluded, watched},
    kernel::{self, Address, Object, base_inode, follow, offset, read},
    maps::{URING, URING_NAME_LEN, UringName, UringNames},
};

/// `enum io_uring_op`, include/uapi/linux/io_uring.h.
mod opcode {
    pub(super) const FALLOCATE: u8 = 17;
    pub(super) const OPENAT: u8 = 18;
    pub(super) const OPENAT2: u8 = 28;
    pub(super) const RENAMEAT: u8 = 35;
    pub(super) const UNLINKAT: u8 = 36;
    pub(super) const MKDIRAT: u8 = 37;
    pub(super) const SYMLINKAT: u8 = 38;
    pub(super) const LINKAT: u8 = 39;
    pub(super) const FSETXATTR: u8 = 41;
    pub(super) const SETXATTR: u8 = 42;
    pub(super) const FTRUNCATE: u8 = 55;
}

/// `REQ_F_CQE_SKIP`: bit 6 in all versions, it mirrors the flag of the submission entry.
const REQ_F_CQE_SKIP: u32 = 1 << 6;
const AT_REMOVEDIR: u32 = 0x200;

/// `io_uring_submit_req(req)`, since 6.0.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub(crate) fn uring_submit(ctx: BtfTracePointContext) -> i32 {
    submit(ctx.arg(0));
    0
}

/// `io_uring_complete`, in one of the forms of `KernelOffsets::uring_complete_form`.
#[btf_tracepoint(function = "io_uring_complete")]
pub(crate) fn uring_complete(ctx: BtfTracePointContext) -> i32 {
    let req: Address = ctx.arg(1);
    // Both are constants to the verifier: the other branch is not checked against this kernel's arguments.
    let result = match offset!(uring_complete_form) {
        1 => ctx.arg::<i32>(3),
        2 => {
            let cqe: Address = ctx.arg(2);
            if cqe == 0 {
                return 0;
            }
            read(cqe, offset!(cqe_res)).unwrap_or(-1)
        }
        _ => return 0,
    };
    if req != 0 {
        complete(req, result);
    }
    0
}

/// One name of a request, as its structure has it. Plain numbers throughout: options of structures make code whose
/// unused halves the verifier takes for uninitialised.
#[derive(Clone, Copy)]
struct Named {
    dfd: i32,
    /// Address of the name; 0 for none.
    name: Address,
    op: u16,
    flags: u32,
}

impl Named {
    const NONE: Self = Self { dfd: AT_FDCWD, name: 0, op: 0, flags: 0 };
}

/// Reads (directory descriptor, name) of a request structure; the latter is a `struct filename`.
#[inline(always)]
fn named(base: Address, dfd: u32, filename: u32, op: Op, flags: u32) -> Named {
    let filename = follow(base, filename).unwrap_or(0);
    let name = if filename == 0 { 0 } else { follow(filename, offset!(filename_name)).unwrap_or(0) };
    Named { dfd: read(base, dfd).unwrap_or(AT_FDCWD), name, op: op as u16, flags }
}

#[inline(always)]
fn submit(req: Address) {
    let base = req + u64::from(offset!(req_file));
    let mut second = Named::NONE;
    let first = match read::<u8>(req, offset!(req_opcode)).unwrap_or(0) {
        opcode::RENAMEAT => {
            second = named(base, offset!(rename_new_dfd), offset!(rename_newpath), Op::RenameTo, 0);
            named(base, offset!(rename_old_dfd), offset!(rename_oldpath), Op::RenameFrom, 0)
        }
        opcode::UNLINKAT => {
            let flags: u32 = read(base, offset!(unlink_flags)).unwrap_or(0);
            let op = if flags & AT_REMOVEDIR != 0 { Op::Rmdir } else { Op::Unlink };
            named(base, offset!(unlink_dfd), offset!(unlink_filename), op, 0)
        }
        opcode::MKDIRAT => named(base, offset!(mkdir_dfd), offset!(mkdir_filename), Op::Mkdir, 0),
        opcode::SYMLINKAT => named(base, offset!(link_new_dfd), offset!(link_newpath), Op::Symlink, 0),
        opcode::LINKAT => named(base, offset!(link_new_dfd), offset!(link_newpath), Op::Link, 0),
        opcode::SETXATTR => named(base, ABSENT, offset!(xattr_filename), Op::Xattr, flag::FOLLOWS),
        opcode::OPENAT | opcode::OPENAT2 => {
            let flags = read::<u64>(base, offset!(open_flags)).unwrap_or(0) as u32;
            if flags & (O_CREAT | O_TRUNC) == 0 {
                return;
            }
            // The descriptor may be one of the ring's own table, so the file is not looked at: reported by name,
            // whether or not the file was there before.
            let op = if flags & O_CREAT != 0 { Op::Create } else { Op::Truncate };
            named(base, offset!(open_dfd), offset!(open_filename), op, flag::FOLLOWS)
        }
        _ => return,
    };
    if excluded() {
        return;
    }
    if let Some(claim) = Claim::take(Stream::Uring) {
        keep(&claim, req, &first, &second);
        claim.release();
    }
}

/// Keeps the names until completion, or reports them now when there will be none.
#[inline(always)]
fn keep(claim: &Claim, req: Address, first: &Named, second: &Named) {
    // The value is too large for the stack, so it is built in the buffer.
    let names = claim.bytes().cast::<UringNames>();
    // SAFETY: the buffer is larger than the value (8192 against about 1100 bytes) and aligned to 8; bytes after a
    // name are what an earlier record left in this CPU's buffer, and nobody reads past `len`.
    let names = unsafe {
        fill(&raw mut (*names).first, first);
        fill(&raw mut (*names).second, second);
        &*names
    };
    if names.first.op | names.second.op == 0 {
        return;
    }
    if URING.insert(req, names, 0).is_err() {
        count_drop(DropReason::Inflight);
        return;
    }
    if read::<u32>(req, offset!(req_flags)).unwrap_or(0) & REQ_F_CQE_SKIP != 0 {
        report(claim, req, Hook::UringSubmit);
    }
}

/// Fills one name; its operation is 0 when there is none, or nothing that is watched can be meant.
///
/// # Safety
/// `into` points to writable memory of that size.
#[inline(always)]
unsafe fn fill(into: *mut UringName, from: &Named) {
    // SAFETY: by contract; the helper checks the source and terminates what it copies.
    unsafe {
        (*into).op = 0;
        if from.name == 0 {
            return;
        }
        let bytes = (&raw mut (*into).bytes).cast::<u8>();
        let read = bpf_probe_read_kernel_str(bytes.cast(), URING_NAME_LEN as u32, from.name as *const _);
        if read <= 1 {
            return;
        }
        let mut flags = from.flags | flag::IO_URING;
        let absolute = *bytes == b'/';
        if absolute {
            flags |= flag::ABSOLUTE;
        }
        if read as usize >= URING_NAME_LEN {
            flags |= flag::TRUNCATED;
        }
        let Some(base) = base_inode(from.dfd, absolute).and_then(Object::of_inode) else { return };
        if watched(base) {
            flags |= flag::BASE_WATCHED;
        }
        (*into).ino = base.ino;
        (*into).dev = base.dev;
        (*into).generation = base.generation;
        (*into).flags = flags;
        (*into).dfd = from.dfd;
        (*into).len = read as u32 - 1;
        (*into).op = u32::from(from.op);
    }
}

#[inline(always)]
fn complete(req: Address, result: i32) {
    let Some(op) = read::<u8>(req, offset!(req_opcode)) else { return };
    if matches!(op, opcode::FALLOCATE | opcode::FTRUNCATE | opcode::FSETXATTR) {
        if result >= 0
            && let Some(object) = follow(req, offset!(req_file))
                .and_then(|file| follow(file, offset!(file_inode)))
                .and_then(Object::of_inode)
        {
            let done = match op {
                opcode::FALLOCATE => Op::Allocate,
                opcode::FTRUNCATE => Op::Truncate,
                _ => Op::Xattr,
            };
            mark_dirty(object, 0, done as u16, Hook::UringComplete as u16, flag::IO_URING);
        }
        return;
    }
    if !matches!(
        op,
        opcode::RENAMEAT
            | opcode::UNLINKAT
            | opcode::MKDIRAT
            | opcode::SYMLINKAT
            | opcode::LINKAT
            | opcode::SETXATTR
            | opcode::OPENAT
            | opcode::OPENAT2
    ) {
        return;
    }
    if result < 0 {
        let _ = URING.remove(req);
        return;
    }
    if let Some(claim) = Claim::take(Stream::Uring) {
        report(&claim, req, Hook::UringComplete);
        claim.release();
    }
}

/// Reports what was kept of a request and forgets it.
#[inline(always)]
fn report(claim: &Claim, req: Address, hook: Hook) {
    if let Some(names) = URING.get_ptr(req) {
        // SAFETY: a live map value, removed only below.
        unsafe {
            send(claim, &raw const (*names).first, hook);
            send(claim, &raw const (*names).second, hook);
        }
        let _ = URING.remove(req);
    }
}

/// Sends one kept name.
///
/// # Safety
/// `name` points into a live map value.
#[inline(always)]
unsafe fn send(claim: &Claim, name: *const UringName, hook: Hook) {
    // SAFETY: by contract; the buffer has room for the name after the header.
    unsafe {
        let len = (*name).len & (URING_NAME_LEN as u32 - 1);
        if (*name).op == 0 || len == 0 {
            return;
        }
        bpf_probe_read_kernel(
            claim.payload().cast(),
            URING_NAME_LEN as u32,
            (&raw const (*name).bytes).cast(),
        );
        let object = Object { ino: (*name).ino, dev: (*name).dev, generation: (*name).generation };
        let what = What {
            kind: Kind::Path,
            op: (*name).op as u16,
            hook: hook as u16,
            stream: Stream::Uring,
            flags: (*name).flags,
            aux: (*name).dfd as u32,
            object,
        };
        claim.send(&what, kernel::current(), len);
    }
}
