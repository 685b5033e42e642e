//! The open family: what was created, what was emptied. Both are known exactly only from the file that came out.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use sfd_common::{DropReason, Kind, Op, Stream, flag};

use crate::{
    emit::{Claim, What, mark_dirty},
    filter::{count_drop, watched},
    kernel::{self, Object, file_of, follow, offset, read},
    maps::Inflight,
};

/// `O_*` of include/uapi/asm-generic/fcntl.h; x86_64 and aarch64 agree on these.
pub(super) const O_CREAT: u32 = 0o100;
pub(super) const O_TRUNC: u32 = 0o1000;
/// `FMODE_CREATED`: this open created the file (include/linux/fs.h, since 4.19).
const FMODE_CREATED: u32 = 1 << 20;
/// Longest name of one component with its terminating zero.
const NAME_LEN: u32 = 256;

/// Whether an open can change anything. `O_TMPFILE` makes a file without a name: linkat reports it when it gets one.
#[inline(always)]
pub(super) fn is_of_interest(flags: u32) -> bool {
    flags & (O_CREAT | O_TRUNC) != 0
}

/// Reports what an open that returned `fd` did.
#[inline(always)]
pub(super) fn opened(fd: i32, entry: &Inflight) -> Option<()> {
    let file = file_of(fd)?;
    let hook = entry.nr as u16;
    if read::<u32>(file, offset!(file_mode))? & FMODE_CREATED != 0 {
        return created(file, hook);
    }
    if entry.open_flags & O_TRUNC != 0 {
        let inode = follow(file, offset!(file_inode))?;
        mark_dirty(Object::of_inode(inode)?, inode, Op::Truncate as u16, hook, 0);
    }
    None
}

/// Reports a created file by its directory and name, as the kernel has them.
#[inline(always)]
fn created(file: u64, hook: u16) -> Option<()> {
    let dentry = follow(file, offset!(file_dentry))?;
    let parent = follow(follow(dentry, offset!(dentry_parent))?, offset!(dentry_inode))?;
    let object = Object::of_inode(parent)?;
    if !watched(object) {
        return None;
    }
    let name = follow(dentry, offset!(dentry_name))?;
    let claim = Claim::take(Stream::Paths)?;
    // SAFETY: the buffer has room for a name after the header; the helper checks the address.
    let len = unsafe { bpf_probe_read_kernel_str(claim.payload().cast(), NAME_LEN, name as *const _) };
    if len > 1 {
        let what = What {
            kind: Kind::Path,
            op: Op::Create as u16,
            hook,
            stream: Stream::Paths,
            flags: flag::BASE_WATCHED,
            aux: sfd_common::AT_FDCWD as u32,
            object,
        };
        claim.send(&what, kernel::current(), len as u32 - 1);
    } else {
        count_drop(DropReason::PathUnreadable);
    }
    claim.release();
    None
}
