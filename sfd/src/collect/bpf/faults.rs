//! Losing records on purpose: what the suites use to show that no loss stays unseen.
//!
//! A switch in the program rather than a setting: nobody who runs SFD can want it, so there is no flag, key or variable
//! that `sfd` reads. Only the copy of the program that the suites run (`sfd-under-test`) turns it.

use std::sync::atomic::{AtomicU32, Ordering};

static PER_MILLE: AtomicU32 = AtomicU32::new(0);

/// Makes every collector of this process lose this many of a thousand records from now on, at random, between the ring
/// and everything that counts.
#[doc(hidden)]
pub fn lose_per_mille(per_mille: u32) {
    PER_MILLE.store(per_mille, Ordering::Relaxed);
}

/// Decides about each record; holds the state of a small generator (xorshift64).
pub(super) struct Faults(u64);

impl Faults {
    /// The same seed each time.
    pub(super) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    /// Whether the next record is lost.
    pub(super) fn drop_one(&mut self) -> bool {
        let per_mille = PER_MILLE.load(Ordering::Relaxed);
        if per_mille == 0 {
            return false;
        }
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % 1000 < u64::from(per_mille)
    }
}
