//! Finding records that are missing without the kernel side having counted them.
//!
//! Each stream of each CPU numbers its records. Records of one CPU may arrive slightly out of order (an interrupt
//! between reserving and numbering), so a hole is a loss only if it is still open after a while.
//!
//! A hole shows only when a later record arrives, so the last record of a stream would be lost unseen. That is why the
//! kernel's own count is looked at as well ([`Gaps::expect`]).

use std::{
    collections::{BTreeMap, HashMap},
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
    /// Numbers below `next` that were not seen, and since when.
    holes: BTreeMap<u64, Instant>,
    /// The kernel's next number when it was beyond `next`, and since when that is waited for.
    expected: Option<(u64, Instant)>,
}

impl Stream {
    fn new(next: u64) -> Self {
        Self { next, holes: BTreeMap::new(), expected: None }
    }
}

impl Gaps {
    /// Says which number a stream is at before anything of it is read: what is lost from here on shows.
    pub(super) fn start(&mut self, cpu: u16, stream: u8, next: u64) {
        self.streams.insert((cpu, stream), Stream::new(next));
    }

    /// Compares with the kernel's next number of a stream, read now; gives the number of records that are certainly
    /// lost. `emptied`: the stream's ring was read until it was empty in this round.
    ///
    /// A number is taken when its record is in the ring, or microseconds before. So what is not here a while later,
    /// although the ring was emptied meanwhile, never comes.
    pub(super) fn expect(&mut self, cpu: u16, stream: u8, next: u64, emptied: bool, now: Instant) -> u64 {
        let stream = self.streams.entry((cpu, stream)).or_insert_with(|| Stream::new(next));
        let mut lost = 0;
        if let Some((expected, since)) = stream.expected {
            if stream.next >= expected {
                stream.expected = None;
            } else if emptied && now.duration_since(since) >= OPEN_MAX {
                lost = expected - stream.next;
                stream.next = expected;
                stream.expected = None;
            }
        }
        if stream.expected.is_none() && next > stream.next {
            stream.expected = Some((next, now));
        }
        lost
    }

    /// Notes a record; gives the number of records that are certainly lost.
    pub(super) fn seen(&mut self, cpu: u16, stream: u8, number: u64, now: Instant) -> u64 {
        let stream = self.streams.entry((cpu, stream)).or_insert_with(|| Stream::new(number));
        if number < stream.next {
            self.open -= usize::from(stream.holes.remove(&number).is_some());
            return 0;
        }
        let missing = number - stream.next;
        let first = stream.next;
        stream.next = number + 1;
        if missing > HOLE_MAX {
            return missing;
        }
        self.open += usize::try_from(missing).unwrap_or_default();
        stream.holes.extend((first..number).map(|number| (number, now)));
        0
    }

    /// Gives up on holes that were open too long; gives how many records that is.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        if self.open == 0 {
            return 0;
        }
        let mut lost = 0;
        for stream in self.streams.values_mut() {
            let expired =
                stream.holes.extract_if(.., |_, since| now.duration_since(*since) >= OPEN_MAX).count();
            lost += expired as u64;
            self.open -= expired;
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

    #[test]
    fn the_last_record_is_missed_too() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.start(0, 0, 7);
        assert_eq!(gaps.expect(0, 0, 7, true, now), 0);
        assert_eq!(gaps.expect(0, 0, 9, true, now), 0, "it may be on its way");
        assert_eq!(gaps.expect(0, 0, 9, false, now + OPEN_MAX), 0, "it may still be in the ring");
        assert_eq!(gaps.expect(0, 0, 9, true, now + OPEN_MAX), 2);
        assert_eq!(gaps.expect(0, 0, 9, true, now + 2 * OPEN_MAX), 0, "told once");
        assert_eq!(gaps.seen(0, 0, 8, now), 0, "late after all");
        assert_eq!(gaps.seen(0, 0, 9, now), 0);
        assert_eq!(gaps.expire(now + 3 * OPEN_MAX), 0, "and not told again as a hole");
    }

    #[test]
    fn a_record_that_comes_in_time_is_not_missed() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.start(0, 0, 0);
        gaps.expect(0, 0, 2, true, now);
        gaps.seen(0, 0, 0, now);
        gaps.seen(0, 0, 1, now);
        assert_eq!(gaps.expect(0, 0, 2, true, now + OPEN_MAX), 0);
        // Waiting starts anew with each number: one that is young is not lost because an older one was late.
        assert_eq!(gaps.expect(0, 0, 3, true, now + OPEN_MAX), 0);
        assert_eq!(gaps.expect(0, 0, 3, true, now + OPEN_MAX * 3 / 2), 0);
        assert_eq!(gaps.expect(0, 0, 3, true, now + OPEN_MAX * 2), 1);
    }

    proptest! {
        /// Records are numbered, dropped, or read late and in any order; the kernel's number is looked at now and
        /// then. In the end each dropped one was counted once, the last ones too, and nothing else was.
        #[test]
        fn with_the_kernels_number_nothing_is_missed(
            records in proptest::collection::vec((any::<bool>(), 0_u64..6, 0_u64..40), 1..200),
        ) {
            let (mut gaps, start) = (Gaps::default(), Instant::now());
            gaps.start(0, 0, 0);
            let (mut lost, mut at, mut dropped) = (0, 0, 0);
            // When each record that arrives can be read, and its number.
            let mut ring: Vec<(u64, u64)> = Vec::new();
            let mut look = |at: u64, ring: &mut Vec<(u64, u64)>, next: u64| {
                let now = start + Duration::from_millis(at);
                ring.sort_unstable();
                for (_, number) in ring.extract_if(.., |(ready, _)| *ready <= at) {
                    lost += gaps.seen(0, 0, number, now);
                }
                lost += gaps.expire(now) + gaps.expect(0, 0, next, true, now);
                lost
            };
            for (number, (kept, late, pause)) in (0_u64..).zip(&records) {
                if *kept { ring.push((at + late, number)) } else { dropped += 1 }
                at += pause;
                if pause % 3 == 0 {
                    look(at, &mut ring, number + 1);
                }
            }
            let next = records.len() as u64;
            let mut total = 0;
            // The last kernel number is noted, waited for, and then certain.
            for _ in 0..4 {
                at += 100;
                total = look(at, &mut ring, next);
            }
            prop_assert_eq!(total, dropped);
        }

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
