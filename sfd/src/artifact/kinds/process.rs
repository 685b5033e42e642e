//! Processes: the directories of /proc with a number.

use super::{ArtifactInput, Draft};

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    matches!(input.nature, super::Nature::Process { .. })
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let Some(facts) = input.process else {
        return Draft::new(format!("process {}", input.shown_name()), "Process that could not be looked at.");
    };
    let comm = String::from_utf8_lossy(&facts.comm);
    let title = format!("{comm} ({})", facts.pid);
    if facts.kernel_thread {
        return Draft::new(title, format!("Kernel thread, child of {}.", facts.ppid)).tag("kernel-thread");
    }
    let exe = facts.exe.as_ref().map_or_else(|| "an unknown program".into(), |e| e.to_string_lossy());
    Draft::new(title, format!("Process running {exe} as user {}, child of {}.", facts.uid, facts.ppid))
}
