//! Who made a change.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use smol_str::SmolStr;

/// A process that made a change, as it was when it did.
///
/// Numbers and name come with the event itself. [`Origin`] was put together from what was known of the process, which
/// may be nothing: then its fields are empty, never guessed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Writer {
    /// Process id (the kernel's tgid).
    pub pid: u32,
    /// Start time of the process in nanoseconds since boot: tells a reused pid apart.
    pub start_ns: u64,
    /// Real user id.
    pub uid: u32,
    /// Audit login user id; `None` when not set.
    pub login_uid: Option<u32>,
    /// The kernel's 15-byte command name.
    pub comm: SmolStr,
    /// Cgroup v2 id, 0 when unknown.
    pub cgroup: u64,
    /// What it ran, who started it, where it belongs.
    #[serde(flatten, serialize_with = "behind")]
    pub origin: Arc<Origin>,
}

/// Everything about a writer that the event itself does not say. Secrets in arguments are masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Origin {
    /// Path of the program file (not UTF-8: with replacement characters).
    pub exe: Option<String>,
    /// The path was found to be that very file. Else it is what exec was told, as seen by the process.
    pub exe_checked: bool,
    /// Arguments, the program's own name first; `None` when unknown.
    pub args: Option<Vec<String>>,
    /// There were more arguments than are kept.
    pub args_cut: bool,
    /// The process that started it, the one that started that, and so on to the first of the system.
    pub parents: Vec<Parent>,
    /// There were more of those than are kept, or one was not known.
    pub parents_cut: bool,
    /// Cgroup v2 path, `/` being the whole system.
    pub cgroup_path: Option<String>,
    /// Container the cgroup is of: the engine's id, or the name where the engine (lxc, nspawn) has no ids.
    pub container: Option<String>,
}

/// A process that started another one, as it was when it did.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
    /// Start time in nanoseconds since boot; of processes older than the daemon rounded down to 10 ms.
    pub start_ns: u64,
    /// Command name.
    pub comm: String,
    /// Path of the program file, if known.
    pub exe: Option<String>,
}

fn behind<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().serialize(serializer)
}
