//! Losing records on purpose: what the suites use to show that no loss stays unseen.
//!
//! A switch in the program rather than a setting: nobody who runs SFD can want it, so there is no flag, key or variable
//! that `sfd` reads. Only the copy of the program that the suites run (`sfd-under-test`) turns it.

use std::sync::atomic::{AtomicU32, Ordering};

static PER_MILLE: AtomicU32 = AtomicU32::new(0);

/// Makes every collector started from now on lose this many of a thousand records, at random, between the ring and
/// everything that counts.
#[doc(hidden)]
pub fn lose_per_mille(per_mille: u32) {
    PER_MILLE.store(per_mille, Ordering::Relaxed);
}

/// What one collector loses.
pub(super) struct Faults {
    per_mille: u32,
    /// State of a small generator (xorshift64): the same records are lost each time.
    state: u64,
}

impl Faults {
    /// As the suites have asked for; nothing otherwise.
    pub(super) fn from_tests() -> Self {
        Self { per_mille: PER_MILLE.load(Ordering::Relaxed), state: 0x9E37_79B9_7F4A_7C15 }
    }

    /// Whether the next record is lost.
    pub(super) fn drop_one(&mut self) -> bool {
        if self.per_mille == 0 {
            return false;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 32) % 1000 < u64::from(self.per_mille)
    }
}
