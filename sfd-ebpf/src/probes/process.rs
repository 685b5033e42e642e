//! Processes: started, replaced their program, changed their name, ended. Threads are not reported.

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use sfd_common::{EXEC_ARGS_MAX, EXEC_NAME_MAX, Hook, Kind, Op, Stream, flag};

use crate::{
    emit::{Claim, What, send},
    filter::excluded,
    kernel::{Address, Object, follow, offset, read},
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

/// `sched_process_exec(task, old_pid, bprm)`: the new program's memory is in place, and its arguments are in it.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn exec(ctx: BtfTracePointContext) -> i32 {
    if excluded() {
        return 0;
    }
    match Claim::take_if_free(Stream::Processes) {
        Some(claim) => {
            report_exec(&claim, ctx.arg(0), ctx.arg(2));
            claim.release();
        }
        // Another exec was preempted on this CPU. That there was one is worth more than what its arguments were.
        None => report(ctx.arg(0), Op::Exec, Hook::Exec),
    }
    0
}

/// Reports an exec with its file name and arguments; what cannot be read is left out.
#[inline(always)]
fn report_exec(claim: &Claim, task: Address, bprm: Address) {
    let mut flags = 0;
    let mut name_len = 0;
    let name = follow(bprm, offset!(bprm_filename)).unwrap_or(0);
    // SAFETY: the buffer has room for a name after the header; the helper checks the address. The length it is given
    // is one more than what is kept, for the zero.
    let read_len = unsafe {
        bpf_probe_read_kernel_str(claim.payload().cast(), EXEC_NAME_MAX as u32 + 1, name as *const _)
    };
    if read_len > 0 {
        // The mask changes nothing; it tells the verifier the bound.
        name_len = (read_len as u32 - 1) & EXEC_NAME_MAX as u32;
        if name_len == EXEC_NAME_MAX as u32 {
            flags |= flag::NAME_CUT;
        }
    }
    let mm = follow(task, offset!(task_mm)).unwrap_or(0);
    let start = read::<u64>(mm, offset!(mm_arg_start)).unwrap_or(0);
    let end = read::<u64>(mm, offset!(mm_arg_end)).unwrap_or(0);
    let mut args_len = end.wrapping_sub(start);
    if start == 0 || end < start {
        args_len = 0;
    }
    if args_len > EXEC_ARGS_MAX as u64 {
        args_len = EXEC_ARGS_MAX as u64;
        flags |= flag::ARGS_CUT;
    }
    // As above.
    let mut args_len = args_len as u32 & EXEC_ARGS_MAX as u32;
    // SAFETY: behind the name there is room for the longest arguments; the helper checks the address.
    let failed = unsafe {
        let at = claim.payload().add(name_len as usize);
        bpf_probe_read_user(at.cast(), args_len, start as *const _)
    };
    if failed != 0 {
        // Not in memory any more: they may be swapped out between their copying and now.
        args_len = 0;
        flags |= flag::ARGS_CUT;
    }
    let what = What {
        kind: Kind::Exec,
        op: Op::Exec as u16,
        hook: Hook::Exec as u16,
        stream: Stream::Processes,
        flags,
        aux: name_len,
        object: Object::NONE,
    };
    claim.send(&what, task, name_len + args_len);
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
    let live =
        follow(task, offset!(task_signal)).and_then(|signal| read::<i32>(signal, offset!(signal_live)));
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
