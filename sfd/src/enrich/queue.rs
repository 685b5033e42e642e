//! What is to be asked next: a bounded queue, the most interesting first, each contents once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::artifact::kinds::Kind;
use crate::brick::ArtifactId;

/// Most artifacts that wait for a description, each some hundred bytes. Beyond it the least interesting are forgotten,
/// counted, and found again by the next [sweep](super::service): a small model needs hours for these already.
pub const QUEUE_MAX: usize = 4096;

/// What a description is of. Artifacts with the same contents and kind get the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// BLAKE3 of the contents.
    pub content_hash: [u8; 32],
    /// What rules take it for.
    pub kind: Kind,
}

/// An artifact that carries a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name of its brick.
    pub brick: Arc<str>,
    /// Which artifact of it.
    pub id: ArtifactId,
}

/// How much a description is wanted; greater is sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interest {
    /// Why.
    pub reason: Reason,
    /// Risk level by rules.
    pub risk: u8,
    /// How much a model can add to what rules say of this kind: [`worth`].
    pub worth: u8,
}

/// Why a description is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is there.
    Baseline,
    /// It has changed just now.
    Changed,
    /// A person waits for it.
    Asked,
}

/// One artifact that wants a description.
#[derive(Clone, Debug)]
pub struct Want {
    /// Which.
    pub holder: Holder,
    /// Of what.
    pub subject: Subject,
    /// How much.
    pub interest: Interest,
}

/// How much a model can add to what rules say of a kind; `None`: it is not asked about those. There is nothing to say of
/// what has no contents; secrets do not leave this process; projections of /proc change faster than any model answers.
pub fn worth(kind: Kind) -> Option<u8> {
    match kind {
        Kind::Directory
        | Kind::Symlink
        | Kind::Special
        | Kind::Empty
        | Kind::Unread
        | Kind::Key
        | Kind::Secret
        | Kind::Process
        | Kind::ProcProjection
        | Kind::SocketTable
        | Kind::ModuleList
        | Kind::MountTable
        | Kind::Sysctl => None,
        // Code and what starts it.
        Kind::Script | Kind::SystemdUnit | Kind::Cron | Kind::KernelModule => Some(3),
        Kind::ElfExecutable => Some(2),
        // Known as a whole by rules.
        Kind::Accounts | Kind::Groups | Kind::Hosts | Kind::Resolver | Kind::Nsswitch | Kind::Fstab => {
            Some(0)
        }
        _ if kind.is_configuration() => Some(2),
        Kind::Text | Kind::SharedLibrary | Kind::Certificate => Some(1),
        _ => Some(0),
    }
}

/// What somebody who asked gets to hear.
pub type Outcome = Result<(), String>;

#[derive(Debug)]
struct Entry {
    interest: Interest,
    /// Order of arrival among equals.
    number: u64,
    holders: Vec<Holder>,
    waiters: Vec<oneshot::Sender<Outcome>>,
    /// Questions that came to nothing so far.
    failures: u32,
    in_flight: bool,
}

/// What [`Queue::take`] hands out.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What is asked about.
    pub subject: Subject,
    /// Who carries it, so far as is known; never empty.
    pub holders: Vec<Holder>,
    /// Why.
    pub reason: Reason,
    /// Questions about it that came to nothing so far.
    pub failures: u32,
}

/// The queue. Pure: no clock, no I/O.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<Subject, Entry>,
    /// Entries that are not in flight; the last is next.
    order: BTreeMap<(Interest, std::cmp::Reverse<u64>), Subject>,
    holders: usize,
    next_number: u64,
    dropped: u64,
    /// Something was dropped since the last [`Self::take_incomplete`].
    incomplete: bool,
}

impl Queue {
    /// Artifacts that wait or are being asked about.
    pub fn len(&self) -> usize {
        self.holders
    }

    /// Nothing waits and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Subjects that are being asked about.
    pub fn in_flight(&self) -> usize {
        self.entries.len() - self.order.len()
    }

    /// Artifacts forgotten because the queue was full, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether artifacts were forgotten since this was last called.
    pub fn take_incomplete(&mut self) -> bool {
        std::mem::take(&mut self.incomplete)
    }

    /// Adds an artifact. When the queue is full, the least interesting subject makes way, or this one if it is that.
    pub fn push(&mut self, want: Want) {
        self.insert(want, None);
    }

    /// Adds an artifact for somebody who waits; never dropped: connections bound how many there are.
    pub fn push_asked(&mut self, want: Want) -> oneshot::Receiver<Outcome> {
        let (tell, told) = oneshot::channel();
        self.insert(want, Some(tell));
        told
    }

    fn insert(&mut self, Want { holder, subject, interest }: Want, waiter: Option<oneshot::Sender<Outcome>>) {
        if let Some(entry) = self.entries.get_mut(&subject) {
            if !entry.holders.contains(&holder) {
                // Its holders count too, so that one contents on very many paths is bounded like anything else.
                if self.holders >= QUEUE_MAX && waiter.is_none() {
                    self.dropped += 1;
                    self.incomplete = true;
                    return;
                }
                entry.holders.push(holder);
                self.holders += 1;
            }
            entry.waiters.extend(waiter);
            if interest > entry.interest {
                if !entry.in_flight {
                    self.order.remove(&(entry.interest, std::cmp::Reverse(entry.number)));
                    self.order.insert((interest, std::cmp::Reverse(entry.number)), subject);
                }
                entry.interest = interest;
            }
            return;
        }
        if self.holders >= QUEUE_MAX && waiter.is_none() {
            let least = self.order.first_key_value().map(|((least, _), subject)| (*least, *subject));
            match least {
                Some((least, victim)) if least < interest => self.forget(&victim),
                _ => {
                    self.dropped += 1;
                    self.incomplete = true;
                    return;
                }
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        self.order.insert((interest, std::cmp::Reverse(number)), subject);
        self.holders += 1;
        let entry = Entry {
            interest,
            number,
            holders: vec![holder],
            waiters: waiter.into_iter().collect(),
            failures: 0,
            in_flight: false,
        };
        self.entries.insert(subject, entry);
    }

    fn forget(&mut self, subject: &Subject) {
        if let Some(entry) = self.entries.remove(subject) {
            self.order.remove(&(entry.interest, std::cmp::Reverse(entry.number)));
            self.holders -= entry.holders.len();
            self.dropped += entry.holders.len() as u64;
            self.incomplete = true;
            for waiter in entry.waiters {
                let _ = waiter.send(Err("too much was asked at once".into()));
            }
        }
    }

    /// The reason of what is next.
    pub fn next_reason(&self) -> Option<Reason> {
        self.order.last_key_value().map(|((interest, _), _)| interest.reason)
    }

    /// Hands out the most interesting subject; it is in flight until [`Self::finish`] or [`Self::put_back`].
    pub fn take(&mut self) -> Option<Taken> {
        let (_, subject) = self.order.pop_last()?;
        let entry = self.entries.get_mut(&subject)?;
        entry.in_flight = true;
        Some(Taken {
            subject,
            holders: entry.holders.clone(),
            reason: entry.interest.reason,
            failures: entry.failures,
        })
    }

    /// Ends a question: whoever waits is told, and all who carry the subject by now are returned.
    pub fn finish(&mut self, subject: &Subject, outcome: &Outcome) -> Vec<Holder> {
        let Some(entry) = self.entries.remove(subject) else { return Vec::new() };
        if !entry.in_flight {
            self.order.remove(&(entry.interest, std::cmp::Reverse(entry.number)));
        }
        self.holders -= entry.holders.len();
        for waiter in entry.waiters {
            // Nobody may be waiting any more.
            let _ = waiter.send(outcome.clone());
        }
        entry.holders
    }

    /// Who carries a subject by now.
    pub fn holders_of(&self, subject: &Subject) -> Vec<Holder> {
        self.entries.get(subject).map(|entry| entry.holders.clone()).unwrap_or_default()
    }

    /// Puts a subject back that could not be asked about; `counts` when that was its own fault. Whoever waits is told now.
    pub fn put_back(&mut self, subject: &Subject, counts: bool, why: &str) {
        let Some(entry) = self.entries.get_mut(subject) else { return };
        for waiter in entry.waiters.drain(..) {
            let _ = waiter.send(Err(why.to_owned()));
        }
        entry.failures += u32::from(counts);
        if entry.interest.reason == Reason::Asked {
            // Nobody waits for it any more.
            entry.interest.reason = Reason::Changed;
        }
        if entry.in_flight {
            entry.in_flight = false;
            self.order.insert((entry.interest, std::cmp::Reverse(entry.number)), *subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject(n: u8) -> Subject {
        Subject { content_hash: [n; 32], kind: Kind::Script }
    }

    fn want(n: u8, id: u32, reason: Reason, risk: u8) -> Want {
        Want {
            holder: Holder { brick: "etc".into(), id: ArtifactId(id) },
            subject: subject(n),
            interest: Interest { reason, risk, worth: 1 },
        }
    }

    #[test]
    fn changed_before_baseline_and_risky_first() {
        let mut queue = Queue::default();
        queue.push(want(1, 1, Reason::Baseline, 0));
        queue.push(want(2, 2, Reason::Baseline, 3));
        queue.push(want(3, 3, Reason::Changed, 0));
        queue.push(want(4, 4, Reason::Changed, 0));
        let _told = queue.push_asked(want(5, 5, Reason::Asked, 0));
        let order: Vec<u8> = std::iter::from_fn(|| queue.take()).map(|t| t.subject.content_hash[0]).collect();
        assert_eq!(order, [5, 3, 4, 2, 1]);
    }

    #[test]
    fn the_same_contents_on_many_paths_are_asked_about_once() {
        let mut queue = Queue::default();
        (0..100).for_each(|id| queue.push(want(7, id, Reason::Baseline, 0)));
        assert_eq!(queue.take().unwrap().holders.len(), 100);
        assert!(queue.take().is_none());
        // Found while the question is under way.
        queue.push(want(7, 100, Reason::Changed, 0));
        assert!(queue.take().is_none());
        assert_eq!(queue.finish(&subject(7), &Ok(())).len(), 101);
        assert!(queue.is_empty());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_full_queue_forgets_the_least_interesting_and_says_so() {
        let mut queue = Queue::default();
        let many = u32::try_from(QUEUE_MAX).unwrap();
        let distinct = |id: u32, reason| Want {
            subject: Subject { content_hash: *blake3::hash(&id.to_le_bytes()).as_bytes(), kind: Kind::Text },
            ..want(0, id, reason, 0)
        };
        (0..many).for_each(|id| queue.push(distinct(id, Reason::Baseline)));
        assert!(!queue.take_incomplete());
        queue.push(distinct(many, Reason::Baseline));
        assert_eq!((queue.len(), queue.dropped()), (QUEUE_MAX, 1));
        queue.push(distinct(many + 1, Reason::Changed));
        assert_eq!((queue.len(), queue.dropped()), (QUEUE_MAX, 2));
        assert!(queue.take_incomplete());
        assert_eq!(queue.next_reason(), Some(Reason::Changed));
    }

    #[test]
    fn who_waits_is_told_and_does_not_wait_for_a_second_try() {
        let mut queue = Queue::default();
        let mut told = queue.push_asked(want(1, 1, Reason::Asked, 0));
        queue.take().unwrap();
        queue.put_back(&subject(1), true, "busy");
        assert_eq!(told.try_recv().unwrap(), Err("busy".to_owned()));
        let again = queue.take().unwrap();
        assert_eq!((again.failures, again.reason), (1, Reason::Changed));
    }

    proptest! {
        /// Whatever is done in whatever order, the figures add up and everything comes out once.
        #[test]
        fn the_figures_add_up(steps in prop::collection::vec((0_u8..6, 0_u8..12, 0_u32..40, 0_u8..4), 0..200)) {
            let mut queue = Queue::default();
            let mut flying = std::collections::BTreeSet::new();
            for (what, n, id, risk) in steps {
                match what {
                    0 | 1 => queue.push(want(n, id, Reason::Baseline, risk)),
                    2 => queue.push(want(n, id, Reason::Changed, risk)),
                    3 => if let Some(taken) = queue.take() {
                        prop_assert!(!taken.holders.is_empty());
                        prop_assert!(flying.insert(taken.subject));
                    },
                    4 => if let Some(subject) = flying.pop_first() {
                        prop_assert!(!queue.finish(&subject, &Ok(())).is_empty());
                    },
                    _ => if let Some(subject) = flying.pop_first() {
                        queue.put_back(&subject, true, "x");
                    },
                }
                let holders: usize = queue.entries.values().map(|entry| entry.holders.len()).sum();
                prop_assert_eq!(queue.len(), holders);
                prop_assert_eq!(queue.in_flight(), flying.len());
            }
        }
    }
}
