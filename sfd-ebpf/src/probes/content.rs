//! Contents: the kernel says which inode becomes dirty, whoever writes (write, mmap, splice, aio, io_uring).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sfd_common::{Hook, Op};

use crate::{
    emit::mark_dirty,
    kernel::{Address, Object, load_typed, offset},
};

/// `IOMAP_WRITE` of include/linux/iomap.h.
const IOMAP_WRITE: u32 = 1;

/// `writeback_mark_inode_dirty(inode, flags)`: at the top of `__mark_inode_dirty`, before any other check.
#[btf_tracepoint(function = "writeback_mark_inode_dirty")]
pub(crate) fn inode_dirty(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg(0), Op::InodeDirty, Hook::InodeDirty);
    #[cfg(feature = "log")]
    aya_log_ebpf::trace!(&ctx, "inode dirty");
    0
}

/// `writeback_dirty_folio(folio, mapping)`; `writeback_dirty_page(page, mapping)` before 5.17 has the same shape.
#[btf_tracepoint(function = "writeback_dirty_folio")]
pub(crate) fn folio_dirty(ctx: BtfTracePointContext) -> i32 {
    // Null for a folio that was truncated meanwhile; the verifier demands the test.
    let mapping: Address = ctx.arg(1);
    if mapping == 0 {
        return 0;
    }
    // SAFETY: a typed argument; the member is required.
    let inode: Address = unsafe { load_typed(mapping, offset!(mapping_host)) };
    if inode != 0 {
        report(inode, Op::FolioDirty, Hook::FolioDirty);
    }
    0
}

/// `iomap_iter(iter, ops, caller)`: before each piece and once after the last. Reports what neither of the above sees on
/// xfs: writes into pages that are dirty already, and writes past the page cache.
#[btf_tracepoint(function = "iomap_iter")]
pub(crate) fn iomap(ctx: BtfTracePointContext) -> i32 {
    let iter: Address = ctx.arg(0);
    // SAFETY: a typed argument; the agent attaches this only where the members are.
    let (flags, inode): (u32, Address) =
        unsafe { (load_typed(iter, offset!(iomap_flags)), load_typed(iter, offset!(iomap_inode))) };
    if flags & IOMAP_WRITE != 0 && inode != 0 {
        report(inode, Op::FolioDirty, Hook::Iomap);
    }
    0
}

/// `ctime_ns_xchg(inode, old, new, cur)`: in `inode_set_ctime_current`, which every file system calls for every change of
/// contents, attributes, links, and of the names in a directory. Since 6.13, where multigrain time stamps are used.
#[btf_tracepoint(function = "ctime_ns_xchg")]
pub(crate) fn change_time(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg(0), Op::Changed, Hook::ChangeTime);
    0
}

/// `inode_set_ctime_to_ts(inode, ctime)`: the same where they are not, and where one inode gets the time of another.
#[btf_tracepoint(function = "inode_set_ctime_to_ts")]
pub(crate) fn change_time_copied(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg(0), Op::Changed, Hook::ChangeTimeCopied);
    0
}

/// `mm_filemap_map_pages(mapping, start, end)`: on file systems that keep no account of dirty pages (tmpfs), a page that
/// was mapped for reading can be stored into without any further fault. So whoever maps pages of a file that may be
/// written is taken for a writer. In the kernel since 6.12.
#[btf_tracepoint(function = "mm_filemap_map_pages")]
pub(crate) fn map_pages(ctx: BtfTracePointContext) -> i32 {
    let mapping: Address = ctx.arg(0);
    // SAFETY: a typed argument; the agent attaches this only where the members are.
    let writable: i32 = unsafe { load_typed(mapping, offset!(mapping_writable)) };
    if writable > 0 {
        // SAFETY: likewise.
        let inode: Address = unsafe { load_typed(mapping, offset!(mapping_host)) };
        if inode != 0 {
            report(inode, Op::FolioDirty, Hook::MapPages);
        }
    }
    0
}

/// Reports an inode that a typed program got.
#[inline(always)]
fn report(inode: Address, op: Op, hook: Hook) {
    // SAFETY: only called with typed pointers to inodes.
    let object = unsafe { Object::of_typed_inode(inode) };
    mark_dirty(object, inode, op as u16, hook as u16, 0);
}
