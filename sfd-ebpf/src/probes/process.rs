//! Processes: started, replaced their program, changed their name, ended. Threads are not reported.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sfd_common::{Hook, Kind, Op, Stream};

use crate::{
    emit::{What, send},
    filter::excluded,
    kernel::{Address, Object, offset, read},
};

#[inline(always)]
fn report(task: Address, op: Op, hook: Hook) {
    let what = What {
        kind: Kind::Process,
        op: op as u16,
        hook: hook as u16,
        stream: Stream::Processes,
        flags: 0,
        aux: 0,
        object: Object::NONE,
    };
    send(&what, task);
}

/// Whether a task is the one its process is named after.
#[inline(always)]
fn is_leader(task: Address) -> bool {
    // Plain numbers: comparing two options makes code the verifier cannot follow.
    let pid = read::<u32>(task, offset!(task_pid)).unwrap_or(0);
    let tgid = read::<u32>(task, offset!(task_tgid)).unwrap_or(0);
    pid == tgid
}

/// `sched_process_exec(task, old_pid, bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn exec(ctx: BtfTracePointContext) -> i32 {
    if !excluded() {
        report(ctx.arg(0), Op::Exec, Hook::Exec);
    }
    0
}

/// `sched_process_fork(parent, child)`: runs in the parent.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn fork(ctx: BtfTracePointContext) -> i32 {
    let child: Address = ctx.arg(1);
    if is_leader(child) {
        report(child, Op::Fork, Hook::Fork);
    }
    0
}

/// `sched_process_exit(task)`, with a second argument since 6.16. The process ends with its last thread.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn exit(ctx: BtfTracePointContext) -> i32 {
    let task: Address = ctx.arg(0);
    // `signal->live` was already lowered by this thread (kernel/exit.c, do_exit).
    let live = crate::kernel::follow(task, offset!(task_signal))
        .and_then(|signal| read::<i32>(signal, offset!(signal_live)));
    if matches!(live, Some(0) | None) {
        report(task, Op::Exit, Hook::Exit);
    }
    0
}

/// `task_rename(task, comm)`: fires before the change, so the record carries the old name.
#[btf_tracepoint(function = "task_rename")]
pub(crate) fn task_rename(ctx: BtfTracePointContext) -> i32 {
    let task: Address = ctx.arg(0);
    if is_leader(task) && !excluded() {
        report(task, Op::TaskRename, Hook::TaskRename);
    }
    0
}
