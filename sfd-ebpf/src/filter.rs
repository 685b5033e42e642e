//! What is let through: not SFD's own changes, and only watched inodes.

use sfd_common::{DropReason, device_bit};

use crate::{
    kernel::{Object, current_tgid},
    maps::{DEVICES, DROPS, EXCLUDED, WATCHED},
};

/// Whether the running process is one whose changes are not reported.
#[inline(always)]
pub(crate) fn excluded() -> bool {
    EXCLUDED.get_ptr(current_tgid()).is_some()
}

/// Whether an inode is watched.
#[inline(always)]
pub(crate) fn watched(object: Object) -> bool {
    WATCHED.get_ptr(object.key()).is_some()
}

/// Whether anything on an inode's device may be watched.
#[inline(always)]
pub(crate) fn on_watched_device(object: Object) -> bool {
    DEVICES.get(0).is_some_and(|bits| bits & device_bit(object.dev) != 0)
}

/// Counts a loss.
#[inline(always)]
pub(crate) fn count_drop(reason: DropReason) {
    if let Some(count) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: a pointer to this CPU's value. An interrupt between load and store may hide one count, never all
        // of a burst: the agent only asks whether the number grew.
        unsafe { *count = (*count).wrapping_add(1) };
    }
}
