//! Mounts: the kernel tells whoever polls a mount table that it has changed.
//!
//! `poll` on `/proc/self/mountinfo` gives `POLLPRI` after every change of the namespace's table (proc_pid_mountinfo(5),
//! `mounts_poll` of fs/proc_namespace.c), without any hook and without privileges. Who did it is not told.

use std::fs::File;
use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The mount table of this process's namespace.
pub struct MountTable(AsyncFd<File>);

impl MountTable {
    /// Starts listening: changes from now on are told.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn open() -> io::Result<Self> {
        let file = File::open("/proc/self/mountinfo")?;
        // SAFETY: a `File` is one descriptor, which it keeps open until it is dropped, after its registration.
        Ok(Self(unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }?))
    }

    /// Waits until it has changed. May be dropped and called again without missing a change.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn changed(&self) -> io::Result<()> {
        self.0.ready(Interest::PRIORITY).await?.clear_ready();
        Ok(())
    }
}
