//! Taking the programs down without making anyone wait.
//!
//! The last close of a classic tracepoint waits until no CPU can still be running its program; measured here, 80 ms
//! each, one after the other under one kernel lock: 8 seconds for the hundred of them. What waits is the last
//! close, in whichever process it happens. So a child is forked, which does nothing but hold copies of the
//! descriptors until they are closed here, and then ends: its exit does the waiting.

use std::os::fd::{AsRawFd, RawFd};

use aya::Ebpf;

/// Detaches all programs. Returns at once; the kernel may need some seconds more until the last hook is gone.
pub(super) fn detach(ebpf: Ebpf) {
    // The child's read of this pipe ends when the other end is closed, here or by the death of this process.
    let Ok((until, holding)) = std::io::pipe() else { return };
    let others = other_descriptors(&[until.as_raw_fd(), holding.as_raw_fd()]);
    let child = spawn(&others, until.as_raw_fd(), holding.as_raw_fd());
    drop(ebpf);
    drop(holding);
    if let Some(child) = child {
        // Reaps it when it is done. If this process ends before, init does.
        let reap = move || {
            // SAFETY: waits for a child of this process; no status is wanted.
            while unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } < 0
                && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
            {}
        };
        if let Err(error) = std::thread::Builder::new().name("sfd-reap".to_owned()).spawn(reap) {
            tracing::debug!(%error, "a child that detaches programs is not waited for");
        }
    }
}

/// Every open descriptor that is not of eBPF: the child gives them up first, so that no lock, pipe or socket stays
/// open with it.
fn other_descriptors(keep: &[RawFd]) -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let other = |entry: std::fs::DirEntry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let target = target.to_string_lossy();
        let of_bpf = target.starts_with("anon_inode:bpf") || target.starts_with("anon_inode:[perf_event]");
        (!of_bpf).then(|| entry.file_name().to_string_lossy().parse().ok())?
    };
    entries.flatten().filter_map(other).filter(|fd| !keep.contains(fd)).collect()
}

/// Forks the child; `None` when that failed, and detaching is then slow.
fn spawn(others: &[RawFd], until: RawFd, holding: RawFd) -> Option<libc::pid_t> {
    // SAFETY: the child makes only system calls that are safe after a fork of a process with threads (close, read,
    // _exit), on values made before the fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        for fd in others {
            // SAFETY: closes an entry of the child's own table; the parent's stays open.
            unsafe { libc::close(*fd) };
        }
        let mut byte = 0_u8;
        // SAFETY: the write end is closed first, so that only the parent's keeps this read waiting; room for a byte.
        unsafe {
            libc::close(holding);
            libc::read(until, (&raw mut byte).cast(), 1);
            libc::_exit(0)
        }
    }
    (child > 0).then_some(child)
}
