//! Writers whose report comes after their change was already seen.
//!
//! A look shows everything that was written before it, but a report takes a few milliseconds. So what somebody wrote just
//! before a look is in the line of history that names those who were reported by then. When his report comes, the look
//! that follows finds nothing new, and he would never be named: he gets a line of his own.

use std::collections::HashMap;

use crate::batch::Dirty;
use crate::brick::ArtifactId;
use crate::collect::Writer;

/// Most artifacts remembered: what changes within the few milliseconds this is about. Full: all are forgotten, and
/// those who are late are not named.
const ARTIFACTS_MAX: usize = 1024;

/// What such a line says.
pub(crate) const DETAIL: &str = "together with the change before";

#[derive(Debug)]
struct Seen {
    at_ns: i64,
    writers: Vec<Writer>,
}

/// The last changes seen, and who was named.
#[derive(Debug, Default)]
pub(super) struct Latecomers(HashMap<ArtifactId, Seen>);

impl Latecomers {
    /// A change was seen at `at_ns` (nanoseconds since the Unix epoch), and those of `dirty` were named: nobody, if a
    /// scan was first.
    pub(super) fn saw(&mut self, id: ArtifactId, at_ns: i64, dirty: &Dirty) {
        if self.0.len() >= ARTIFACTS_MAX {
            self.0.clear();
        }
        self.0.insert(id, Seen { at_ns, writers: dirty.writers.clone() });
    }

    /// Who is reported now to have changed something before it was last looked at, and was not named. They are then.
    pub(super) fn take(&mut self, id: ArtifactId, dirty: &Dirty) -> Option<Dirty> {
        let seen = self.0.get_mut(&id).filter(|seen| dirty.count > 0 && dirty.first_ns <= seen.at_ns)?;
        let fresh = |writer: &&Writer| !seen.writers.contains(writer);
        let writers: Vec<Writer> = dirty.writers.iter().filter(fresh).cloned().collect();
        if writers.is_empty() {
            return None;
        }
        seen.writers.extend(writers.iter().cloned());
        Some(Dirty { writers, ..dirty.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirty(pids: &[u32], first_ns: i64) -> Dirty {
        let writer = |pid: &u32| Writer {
            pid: *pid,
            start_ns: 1,
            uid: 0,
            login_uid: None,
            comm: "sh".into(),
            cgroup: 0,
            origin: std::sync::Arc::default(),
        };
        Dirty { writers: pids.iter().map(writer).collect(), first_ns, count: 1, ..Dirty::default() }
    }

    fn late(latecomers: &mut Latecomers, pids: &[u32], at_ns: i64) -> Vec<u32> {
        let found = latecomers.take(ArtifactId(1), &dirty(pids, at_ns));
        found.into_iter().flat_map(|dirty| dirty.writers).map(|writer| writer.pid).collect()
    }

    #[test]
    fn who_was_not_named_is_once() {
        let mut latecomers = Latecomers::default();
        assert!(late(&mut latecomers, &[7], 50).is_empty(), "nothing was seen");
        latecomers.saw(ArtifactId(1), 100, &dirty(&[7], 50));
        assert!(late(&mut latecomers, &[7], 60).is_empty(), "named");
        assert!(late(&mut latecomers, &[8], 101).is_empty(), "after the look, and it changed nothing");
        assert_eq!(late(&mut latecomers, &[7, 8], 99), [8]);
        assert!(late(&mut latecomers, &[8], 99).is_empty());
        assert!(latecomers.take(ArtifactId(1), &Dirty::default()).is_none(), "a scan names nobody");
        latecomers.saw(ArtifactId(1), 200, &Dirty::default());
        assert_eq!(late(&mut latecomers, &[9], 150), [9], "a scan was faster than the report");
        for n in 2..3000 {
            latecomers.saw(ArtifactId(n), 100, &dirty(&[7], 50));
            assert!(latecomers.0.len() <= ARTIFACTS_MAX);
        }
    }
}
