//! `/proc/PID/stat`.

use super::allow::{KERNEL_THREAD, PROCESS};
use super::project;

/// `PF_KTHREAD` (include/linux/sched.h).
const PF_KTHREAD: u64 = 0x0020_0000;
/// Clock ticks in a second, as user space sees them (`USER_HZ`): 100 on every Linux architecture but Alpha.
const USER_HZ: u64 = 100;

/// The state of one process as `/proc/PID/stat` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: Vec<u8>,
    pub(super) ppid: u32,
    pub(super) kernel_thread: bool,
    pub(super) start_ns: u64,
}

pub(super) fn files_of(stat: &Stat) -> &'static [&'static str] {
    if stat.kernel_thread { &KERNEL_THREAD } else { &PROCESS }
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)). `None` for a process that is dead or a zombie, and for anything that
/// does not look like that file.
pub(super) fn parse_stat(raw: &[u8]) -> Option<Stat> {
    // The name may hold spaces and brackets; it ends at the last bracket.
    let open = raw.iter().position(|b| *b == b'(')?;
    let close = raw.iter().rposition(|b| *b == b')')?;
    let comm = raw.get(open + 1..close)?;
    let rest = std::str::from_utf8(raw.get(close + 1..)?).ok()?;
    let field: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Fields are numbered from 1 in the manual; `rest` starts with field 3.
    let number = |n: usize| field.get(n - 3)?.parse::<u64>().ok();
    let dead = matches!(*field.first()?, "Z" | "X" | "x");
    // A leader that ended before its other threads is shown as a zombie while the process lives on.
    if dead && number(20)? <= 1 {
        return None;
    }
    let kernel_thread = number(9)? & PF_KTHREAD != 0;
    let comm = if kernel_thread { project::worker(comm) } else { comm };
    Some(Stat {
        comm: comm.to_vec(),
        ppid: u32::try_from(number(4)?).ok()?,
        kernel_thread,
        start_ns: number(22)?.saturating_mul(1_000_000_000 / USER_HZ),
    })
}
