//! Finding records that are missing without the kernel side having counted them.
//!
//! Each stream of each CPU numbers its records. Records of one CPU may arrive slightly out of order (an interrupt
//! between reserving and numbering), so a hole is a loss only if it is still open after a while.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;

/// How long a hole may stay open. Reordering lasts as long as an interrupt; 100 ms is far beyond any.
const OPEN_MAX: Duration = Duration::from_millis(100);
/// Numbers kept one by one in a hole; a larger hole is a loss at once.
const HOLE_MAX: u64 = 1024;

/// Holes of all streams.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    streams: HashMap<(u16, u8), Stream, RandomState>,
    open: usize,
}

#[derive(Debug)]
struct Stream {
    /// The number after the highest seen.
    next: u64,
    /// Numbers below `next` that were not seen, and since when the oldest is missing.
    holes: BTreeSet<u64>,
    since: Instant,
}

impl Gaps {
    /// Notes a record; gives the number of records that are certainly lost.
    pub(super) fn seen(&mut self, cpu: u16, stream: u8, number: u64, now: Instant) -> u64 {
        let stream = self.streams.entry((cpu, stream)).or_insert_with(|| Stream {
            // Numbers count from 0, but the self-test may have read the first ones.
            next: number,
            holes: BTreeSet::new(),
            since: now,
        });
        if number < stream.next {
            self.open -= usize::from(stream.holes.remove(&number));
            return 0;
        }
        let missing = number - stream.next;
        let first = stream.next;
        stream.next = number + 1;
        if missing > HOLE_MAX {
            return missing;
        }
        if missing > 0 {
            if stream.holes.is_empty() {
                stream.since = now;
            }
            let before = stream.holes.len();
            stream.holes.extend(first..number);
            self.open += stream.holes.len() - before;
        }
        0
    }

    /// Gives up on holes that were open too long; gives how many records that is.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        if self.open == 0 {
            return 0;
        }
        let mut lost = 0;
        for stream in self.streams.values_mut() {
            if !stream.holes.is_empty() && now.duration_since(stream.since) >= OPEN_MAX {
                lost += stream.holes.len() as u64;
                self.open -= stream.holes.len();
                stream.holes.clear();
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reordering_is_no_loss() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        for number in [0, 2, 1, 3, 6, 5, 4] {
            assert_eq!(gaps.seen(0, 0, number, now), 0);
        }
        assert_eq!(gaps.expire(now + OPEN_MAX), 0);
    }

    #[test]
    fn a_hole_is_a_loss_once_after_a_while() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.seen(1, 0, 0, now);
        gaps.seen(1, 0, 4, now);
        assert_eq!(gaps.expire(now), 0);
        assert_eq!(gaps.expire(now + OPEN_MAX), 3);
        assert_eq!(gaps.expire(now + 2 * OPEN_MAX), 0);
        assert_eq!(gaps.seen(1, 0, 2, now), 0, "late after all: only a look too many was taken");
    }

    #[test]
    fn a_huge_hole_is_a_loss_at_once() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.seen(0, 0, 0, now);
        assert_eq!(gaps.seen(0, 0, u64::MAX - 1, now), u64::MAX - 2);
    }

    proptest! {
        #[test]
        fn counts_exactly_what_is_missing(kept in proptest::collection::vec(any::<bool>(), 1..200)) {
            let (mut gaps, now) = (Gaps::default(), Instant::now());
            gaps.seen(0, 0, 0, now);
            let mut lost = 0;
            for (at, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
                lost += gaps.seen(0, 0, at as u64 + 1, now);
            }
            lost += gaps.expire(now + OPEN_MAX);
            let last = kept.iter().rposition(|kept| *kept).map_or(0, |at| at + 1);
            prop_assert_eq!(lost, kept[..last].iter().filter(|kept| !**kept).count() as u64);
        }
    }
}
