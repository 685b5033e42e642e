//! Contents: the kernel says which inode becomes dirty, whoever writes (write, mmap, splice, aio, io_uring).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sfd_common::{Hook, Op};

use crate::{
    emit::mark_dirty,
    filter::excluded,
    kernel::{Address, Object, follow, offset},
};

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
    if mapping != 0
        && let Some(inode) = follow(mapping, offset!(mapping_host))
    {
        report(inode, Op::FolioDirty, Hook::FolioDirty);
    }
    0
}

#[inline(always)]
fn report(inode: Address, op: Op, hook: Hook) {
    if let Some(object) = Object::of_inode(inode)
        && !excluded()
    {
        mark_dirty(object, op as u16, hook as u16, 0);
    }
}
