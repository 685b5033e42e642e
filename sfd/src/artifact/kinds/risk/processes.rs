//! What a process runs.

use std::os::unix::ffi::OsStrExt;

use super::metadata::public_place;
use super::{ArtifactInput, Draft, Findings, HIGH, LOW, MEDIUM};
use crate::artifact::kinds::text::clean;

/// What the kernel puts behind the name of a file that is gone (fs/d_path.c).
const DELETED: &str = " (deleted)";
/// Programs that copy themselves into memory before they run, so that a container cannot change them.
const CLONES_ITSELF: [&str; 4] = ["/memfd:runc_cloned", "/memfd:crun", "/memfd:lxc", "/memfd:kubelet"];

pub(super) fn judge(input: &ArtifactInput<'_>, draft: &mut Draft, found: &mut Findings) {
    let Some(exe) = input.process.filter(|facts| !facts.kernel_thread).and_then(|facts| facts.exe.as_ref())
    else {
        return;
    };
    let bytes = exe.as_os_str().as_bytes();
    let program = exe.to_string_lossy();
    let shown = clean(program.trim_end_matches(DELETED), 100);
    let is_deleted = bytes.ends_with(DELETED.as_bytes());
    if is_deleted {
        draft.tags.push("deleted".to_owned());
    }
    if bytes.starts_with(b"/memfd:") {
        if CLONES_ITSELF.iter().any(|name| program.starts_with(name)) {
            found.add(LOW, "runs a copy of itself in memory, as container engines do");
        } else {
            found.add(HIGH, format!("runs a program that was never a file ({shown})"));
        }
        return;
    }
    match (public_place(bytes), is_deleted) {
        (Some(place), true) => {
            found.add(
                HIGH,
                format!("runs {shown}, which was deleted, from {place}, where everybody may put files"),
            );
        }
        (Some(place), false) => {
            let level = if place == "/dev/shm" { HIGH } else { MEDIUM };
            found.add(level, format!("runs {shown}, from {place}, where everybody may put files"));
        }
        // Until it is started again after an upgrade, that is how a program runs.
        (None, true) => found.add(LOW, format!("runs {shown}, which was deleted or replaced (an upgrade?)")),
        (None, false) => {}
    }
}
