//! What has to be looked at again although nobody will report it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::root::Work;
use crate::batch::Dirty;
use crate::brick::ArtifactId;
use crate::collect::InodeId;

/// When a look is repeated that came too soon after a change for the time stamps to tell a further one (see
/// [`RACY_NS`](crate::artifact::look::RACY_NS)), or that found the file in motion.
pub(super) const SOON: Duration = Duration::from_millis(50);
/// A file that took longer than this to read gets a minimum interval between looks. Below it the batch window alone
/// bounds the cost to a few per cent of one core.
const COSTLY: Duration = Duration::from_millis(5);
/// Minimum interval as a multiple of the cost of the last look: such a file takes at most a tenth of one core.
const HOLD_FACTOR: u32 = 10;
/// Longest minimum interval, so that even the largest file is at most this stale while it never rests.
const HOLD_MAX: Duration = Duration::from_secs(30);
/// Most files with a minimum interval at a time; the stale ones are dropped first, beyond that new ones have none.
const COSTLY_MAX: usize = 1024;
/// How often a process is looked at whose exit was reported and that is still there: the intervals double from
/// [`SOON`], so this is most of a minute. What stays longer is a zombie, and the timed comparison sees its end.
const TRIES_MAX: u32 = 10;

/// When a file that is mapped for writing is read again although nothing was reported. Half of what the promise allows.
const MAPPED_EVERY: Duration = Duration::from_millis(500);
/// The same as a multiple of the cost of the last look: all such files together take a hundredth of one core each at most.
const MAPPED_FACTOR: u32 = 100;
/// First and longest time between two looks at the metadata of a file that was written and may have been written again
/// without a report. The longest is half of what the promise allows.
const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_LAST: Duration = Duration::from_millis(500);
/// How long after its last change a file is polled. By then its pages are clean, and the next write is reported: they
/// are written back when they are 30 s old (`vm.dirty_expire_centisecs`), looked for every 5 s (`dirty_writeback_centisecs`).
const POLL_FOR: Duration = Duration::from_secs(36);

/// A file that is polled.
#[derive(Debug)]
struct Poll {
    at: Instant,
    every: Duration,
    until: Instant,
}

/// A path that is asked for again.
#[derive(Debug)]
struct Asked {
    /// `None`: it has been handed out, and if nobody asks again that was it.
    at: Option<Instant>,
    tries: u32,
    dirty: Dirty,
}

/// Looks that are due later.
#[derive(Debug, Default)]
pub(super) struct Later {
    looks: BTreeMap<ArtifactId, (Instant, Dirty)>,
    paths: BTreeMap<PathBuf, Asked>,
    /// Until when a file that is costly to read must not be read again because of an event, and what the last look cost.
    costly: HashMap<InodeId, (Instant, Duration)>,
    /// Files whose metadata is looked at although nothing is reported. Bounded by the inventory, of which it is a part.
    polls: BTreeMap<ArtifactId, Poll>,
}

impl Later {
    /// An artifact is to be looked at again at `at`, or earlier if that was wanted already.
    pub(super) fn look(&mut self, id: ArtifactId, at: Instant, dirty: &Dirty) {
        let (when, sum) = self.looks.entry(id).or_insert_with(|| (at, Dirty::default()));
        *when = at.min(*when);
        sum.merge(dirty);
    }

    /// A process is to be looked at again a little later, each time after a longer while.
    pub(super) fn ask(&mut self, path: &Path, dirty: &Dirty, now: Instant) {
        let asked = self.paths.entry(path.to_path_buf()).or_insert_with(|| Asked {
            at: None,
            tries: 0,
            dirty: dirty.clone(),
        });
        if asked.at.is_none() && asked.tries < TRIES_MAX {
            asked.at = Some(now + SOON * (1 << asked.tries));
            asked.tries += 1;
        }
    }

    /// A file that is mapped for writing is to be looked at again.
    pub(super) fn look_mapped(&mut self, id: ArtifactId, inode: InodeId, now: Instant) {
        let cost = self.costly.get(&inode).map_or(Duration::ZERO, |(_, cost)| *cost);
        self.look(id, now + (cost * MAPPED_FACTOR).clamp(MAPPED_EVERY, HOLD_MAX), &Dirty::default());
    }

    /// A file was written, and the next write may not be reported: its metadata is to be looked at for a while.
    pub(super) fn poll(&mut self, id: ArtifactId, now: Instant) {
        self.polls.insert(id, Poll { at: now + POLL_FIRST, every: POLL_FIRST, until: now + POLL_FOR });
    }

    /// The artifacts whose metadata is to be looked at now.
    pub(super) fn due_polls(&mut self, now: Instant) -> Vec<ArtifactId> {
        let mut due = Vec::new();
        self.polls.retain(|id, poll| {
            if poll.at <= now {
                due.push(*id);
                poll.every = (poll.every * 2).min(POLL_LAST);
                poll.at = now + poll.every;
            }
            poll.at < poll.until
        });
        due
    }

    /// There is no such artifact any more.
    pub(super) fn forget(&mut self, id: ArtifactId) {
        self.looks.remove(&id);
        self.polls.remove(&id);
    }

    /// Remembers what reading an inode cost, if it was much.
    pub(super) fn note_cost(&mut self, id: InodeId, cost: Duration, now: Instant) {
        if cost < COSTLY {
            self.costly.remove(&id);
            return;
        }
        if self.costly.len() >= COSTLY_MAX {
            self.costly.retain(|_, (until, _)| *until > now);
        }
        if self.costly.len() < COSTLY_MAX {
            self.costly.insert(id, (now + (cost * HOLD_FACTOR).min(HOLD_MAX), cost));
        }
    }

    /// Until when an inode must not be read because of an event, if that is later than `now`.
    pub(super) fn held_until(&self, id: InodeId, now: Instant) -> Option<Instant> {
        self.costly.get(&id).map(|(until, _)| *until).filter(|until| *until > now)
    }

    /// When there will be something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        let looks = self.looks.values().map(|(at, _)| *at);
        let polls = self.polls.values().map(|poll| poll.at);
        looks.chain(self.paths.values().filter_map(|asked| asked.at)).chain(polls).min()
    }

    /// Hands over what is due at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Work {
        let artifacts = self.looks.extract_if(.., |_, (at, _)| *at <= now);
        let artifacts = artifacts.map(|(id, (_, dirty))| (id, dirty)).collect();
        self.paths.retain(|_, asked| asked.at.is_some());
        let mut paths = Vec::new();
        for (path, asked) in &mut self.paths {
            if asked.at.take_if(|at| *at <= now).is_some() {
                paths.push((path.clone(), asked.dirty.clone()));
            }
        }
        Work { artifacts, paths }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InodeId = InodeId { dev: 1, ino: 2 };

    #[test]
    fn a_costly_file_is_held_and_a_cheap_one_is_not() {
        let (mut later, now) = (Later::default(), Instant::now());
        later.note_cost(FILE, Duration::from_millis(100), now);
        assert_eq!(later.held_until(FILE, now), Some(now + Duration::from_secs(1)));
        assert_eq!(later.held_until(FILE, now + Duration::from_secs(1)), None);
        later.note_cost(FILE, Duration::from_hours(1), now);
        assert_eq!(later.held_until(FILE, now), Some(now + HOLD_MAX));
        later.note_cost(FILE, Duration::from_millis(1), now);
        assert_eq!(later.held_until(FILE, now), None);
    }

    #[test]
    fn a_mapped_file_is_read_in_proportion_to_its_cost() {
        let (mut later, now) = (Later::default(), Instant::now());
        later.look_mapped(ArtifactId(1), FILE, now);
        assert_eq!(later.next(), Some(now + MAPPED_EVERY));
        later.forget(ArtifactId(1));
        later.note_cost(FILE, Duration::from_millis(50), now);
        later.look_mapped(ArtifactId(1), FILE, now);
        assert_eq!(later.next(), Some(now + Duration::from_secs(5)));
    }

    #[test]
    fn a_written_file_is_polled_until_its_pages_are_clean() {
        let (mut later, start) = (Later::default(), Instant::now());
        later.poll(ArtifactId(1), start);
        let (mut now, mut looks, mut longest) = (start, 0, Duration::ZERO);
        while let Some(at) = later.next() {
            longest = longest.max(at - now);
            now = at;
            looks += later.due_polls(now).len();
        }
        assert_eq!(longest, POLL_LAST);
        assert!(now - start + POLL_LAST >= POLL_FOR, "{:?}", now - start);
        assert!((60..90).contains(&looks), "{looks}");
    }

    #[test]
    fn looks_are_due_in_time_and_once() {
        let (mut later, now) = (Later::default(), Instant::now());
        assert_eq!(later.next(), None);
        later.look(ArtifactId(1), now + SOON, &Dirty::default());
        later.look(ArtifactId(1), now + HOLD_MAX, &Dirty::default());
        later.look(ArtifactId(2), now + HOLD_MAX, &Dirty::default());
        assert_eq!(later.next(), Some(now + SOON));
        assert!(later.due(now).is_empty());
        assert_eq!(later.due(now + SOON).artifacts.len(), 1);
        later.forget(ArtifactId(2));
        assert_eq!(later.next(), None);
    }

    #[test]
    fn a_zombie_is_asked_for_ever_less_often_and_then_no_more() {
        let (mut later, start) = (Later::default(), Instant::now());
        let (path, mut now, mut looks) = (Path::new("/proc/1"), start, 0);
        later.ask(path, &Dirty::default(), now);
        while let Some(at) = later.next() {
            now = at;
            looks += later.due(now).paths.len();
            later.ask(path, &Dirty::default(), now);
        }
        assert_eq!(looks, TRIES_MAX as usize);
        assert!(now - start > Duration::from_secs(30));
        // One that is gone is forgotten.
        later.due(now);
        assert!(later.paths.is_empty() || later.paths.values().all(|asked| asked.at.is_none()));
        later.due(now);
        assert!(later.paths.is_empty());
    }
}
