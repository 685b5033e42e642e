//! Which processes there are and were: what they run, who started them.
//!
//! A file event names a process by number and start time. By the time it is read the process may be gone (`mv` lives for
//! a millisecond), so what is to be said of it is remembered here: from `/proc` for those older than the daemon, from
//! fork, exec and exit records for the rest. The table is pure: `/proc` and the file system are behind [`Source`].
//!
//! Processes are told apart by (number, start time), programs of one process by when they were started: an event gets
//! the program that ran at *its* time, though the process has run another one since.
//!
//! | bound | when it is reached |
//! |---|---|
//! | [`PROCESSES_MAX`] processes | the one that ended first is forgotten; if all live, the new one is not remembered, and is asked of `/proc` when it changes something |
//! | [`KEEP_ENDED_NS`] after the end | forgotten: its events have been read by then |
//! | [`PARENTS_MAX`] parents | the farthest are left out, and that is said |
//! | [`PROGRAMS_MAX`] programs of one process | the oldest is forgotten: its events have an unknown program |
//! | [`cgroup::PATHS_MAX`] cgroup paths | all are forgotten and looked up again |
//!
//! Forgetting before time is counted (`processes_forgotten`). When process records were lost nothing in the table can
//! be trusted, so all of it is forgotten, and `/proc` is asked again.

pub(super) mod cgroup;
pub(super) mod proc;

use smol_str::SmolStr;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};

use super::who::{Origin, Parent};
use super::{InodeId, Writer};
use crate::artifact::redact::Redactor;

/// Most processes remembered, ended ones included: more than hosts have. With arguments a full table has about 20 MiB.
pub(super) const PROCESSES_MAX: usize = 16_384;
/// Most processes that are known to be gone: more than write anything while they are.
const GONE_MAX: usize = 1024;
/// How long an ended process is remembered, nanoseconds: far longer than a record waits in a ring.
pub(super) const KEEP_ENDED_NS: u64 = 5_000_000_000;
/// Most parents of a process: a shell in a terminal in a desktop session has a dozen.
pub(super) const PARENTS_MAX: usize = 16;
/// Programs one process can have run since events of it were read last: `sh -c` that ends in exec makes two.
pub(super) const PROGRAMS_MAX: usize = 4;
/// Unit in which `/proc` gives start times: 1/100 s, `USER_HZ` on all machines this runs on.
pub(super) const TICK_NS: u64 = 10_000_000;

/// What `/proc` says of a live process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Start time, rounded down to [`TICK_NS`].
    pub(super) start_ns: u64,
    /// Process id of the parent, 0 for none.
    pub(super) parent: u32,
    pub(super) comm: String,
    /// Path of the program; `None` for kernel threads and where it may not be read.
    pub(super) exe: Option<Vec<u8>>,
    /// Arguments, each ended by a zero byte.
    pub(super) args: Vec<u8>,
    pub(super) args_cut: bool,
}

/// What the table asks of the system.
pub(super) trait Source {
    /// The process that has this number now.
    fn find(&mut self, pid: u32) -> Option<Found>;
    /// The path of a program file: of the process's own link, or of `named`, whichever is that file. `false` when
    /// none is: then it is the first of `named`, as it was named.
    fn exe_path(&mut self, pid: u32, exe: InodeId, named: &[&[u8]]) -> Option<(String, bool)>;
    /// The path of a cgroup, `/` being the whole system.
    fn cgroup_path(&mut self, id: u64, pid: u32) -> Option<String>;
}

/// Whom an event names, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) pid: u32,
    /// Nanoseconds since boot.
    pub(super) start_ns: u64,
    /// When, nanoseconds since boot.
    pub(super) at_ns: u64,
    pub(super) uid: u32,
    pub(super) login_uid: Option<u32>,
    pub(super) comm: SmolStr,
    pub(super) cgroup: u64,
    /// The program file at that time; inode number 0 for none.
    pub(super) exe: InodeId,
    pub(super) parent: u32,
}

impl Sighting {
    /// The writer without anything but what the event says.
    pub(super) fn plain(&self) -> Writer {
        Writer {
            pid: self.pid,
            start_ns: self.start_ns,
            uid: self.uid,
            login_uid: self.login_uid,
            comm: self.comm.clone(),
            cgroup: self.cgroup,
            origin: Arc::default(),
        }
    }
}

/// What an exec record says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exec<'a> {
    pub(super) name: &'a [u8],
    pub(super) args: &'a [u8],
    /// Arguments are missing at the end, or altogether.
    pub(super) args_cut: bool,
}

/// A program as a process ran it. Children that have not run another one share it.
#[derive(Debug)]
struct Image {
    since_ns: u64,
    /// Inode number 0: not known, and never compared.
    exe: InodeId,
    /// As exec was told, or the path if `/proc` gave it.
    name: Vec<u8>,
    args: Vec<u8>,
    args_cut: bool,
    /// `/proc` gave the path.
    from_proc: bool,
    shown: OnceLock<Shown>,
}

/// What of a program is shown. Made when it is first wanted: most programs change nothing that is watched.
#[derive(Debug)]
struct Shown {
    exe: Option<(String, bool)>,
    args: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Ancestor {
    pid: u32,
    start_ns: u64,
    comm: Arc<str>,
    image: Option<Arc<Image>>,
}

#[derive(Debug)]
struct Process {
    /// `start_ns` is rounded: `/proc` gave it.
    rounded: bool,
    comm: Arc<str>,
    /// Oldest first.
    images: Vec<Arc<Image>>,
    ancestors: Arc<[Ancestor]>,
    ancestors_cut: bool,
    ended: bool,
    /// The last answer, the program and the cgroup it is about.
    answer: Option<(Option<Arc<Image>>, u64, Arc<Origin>)>,
}

type Key = (u32, u64);

/// The table.
#[derive(Debug)]
pub(super) struct Processes {
    known: HashMap<Key, Process>,
    /// Start time of the live process of each number.
    live: HashMap<u32, u64>,
    /// Processes that `/proc` knows nothing of, so that it is asked once for each. Emptied when full.
    gone: HashSet<Key>,
    /// When, and who, first to last.
    ended: VecDeque<(u64, Key)>,
    cgroups: cgroup::Paths,
    redactor: Redactor,
    max: usize,
    forgotten: u64,
}

impl Processes {
    /// An empty table. `redactor` masks secrets in arguments.
    pub(super) fn new(redactor: Redactor) -> Self {
        Self {
            known: HashMap::new(),
            live: HashMap::new(),
            gone: HashSet::new(),
            ended: VecDeque::new(),
            cgroups: cgroup::Paths::default(),
            redactor,
            max: PROCESSES_MAX,
            forgotten: 0,
        }
    }

    /// Processes forgotten or not remembered for want of room, so far.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Takes in the processes that are there. Parents first or last, either will do.
    pub(super) fn seed(&mut self, pids: impl IntoIterator<Item = u32>, source: &mut impl Source) {
        for pid in pids {
            self.learn(pid, source, 0);
        }
    }

    /// Forgets everything: records were lost.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.live.clear();
        self.ended.clear();
    }

    /// A process was created by `seen.parent`.
    pub(super) fn fork(&mut self, seen: &Sighting, source: &mut impl Source) {
        if !self.live.contains_key(&seen.parent) && self.has_room() {
            self.learn(seen.parent, source, 0);
        }
        let parent = self.live.get(&seen.parent).map(|start_ns| (seen.parent, *start_ns));
        let (ancestors, ancestors_cut) = self.line_of(parent, Some(&seen.comm));
        let image = parent.and_then(|key| self.known.get(&key)?.images.last().cloned());
        let comm = Arc::from(seen.comm.as_str());
        let process = Process {
            rounded: false,
            comm,
            images: image.into_iter().collect(),
            ancestors,
            ancestors_cut,
            ended: false,
            answer: None,
        };
        self.insert((seen.pid, seen.start_ns), process);
    }

    /// A process runs another program from now on.
    pub(super) fn exec(&mut self, seen: &Sighting, exec: Exec<'_>, source: &mut impl Source) {
        let key = self.key_of(seen);
        if !self.known.contains_key(&key) {
            if !self.live.contains_key(&seen.parent) && self.has_room() {
                self.learn(seen.parent, source, 0);
            }
            let parent = self.live.get(&seen.parent).map(|start_ns| (seen.parent, *start_ns));
            let (ancestors, ancestors_cut) = self.line_of(parent, None);
            let comm = Arc::from(seen.comm.as_str());
            let process = Process {
                rounded: false,
                comm,
                images: Vec::new(),
                ancestors,
                ancestors_cut,
                ended: false,
                answer: None,
            };
            self.insert(key, process);
        }
        let Some(process) = self.known.get_mut(&key) else { return };
        process.comm = Arc::from(seen.comm.as_str());
        if process.images.len() >= PROGRAMS_MAX {
            process.images.remove(0);
        }
        process.images.push(Arc::new(Image {
            since_ns: seen.at_ns,
            exe: seen.exe,
            name: exec.name.to_vec(),
            args: exec.args.to_vec(),
            args_cut: exec.args_cut,
            from_proc: false,
            shown: OnceLock::new(),
        }));
    }

    /// A process ended. It is remembered a little longer.
    pub(super) fn exit(&mut self, seen: &Sighting) {
        let key = self.key_of(seen);
        if self.live.get(&seen.pid) == Some(&key.1) {
            self.live.remove(&seen.pid);
        }
        if let Some(process) = self.known.get_mut(&key)
            && !std::mem::replace(&mut process.ended, true)
        {
            self.ended.push_back((seen.at_ns, key));
        }
        while let Some((at_ns, key)) = self.ended.front().copied() {
            if seen.at_ns.saturating_sub(at_ns) <= KEEP_ENDED_NS {
                break;
            }
            self.ended.pop_front();
            self.drop_known(key);
        }
    }

    /// Everything there is to say about whom an event names.
    pub(super) fn writer(&mut self, seen: &Sighting, source: &mut impl Source) -> Writer {
        Writer { origin: self.origin(seen, source), ..seen.plain() }
    }

    fn origin(&mut self, seen: &Sighting, source: &mut impl Source) -> Arc<Origin> {
        let mut key = self.key_of(seen);
        if !self.known.contains_key(&key) && !self.gone.contains(&key) {
            // Not while it is unsure who has the number now: `learn` is told the start time to expect.
            self.learn(seen.pid, source, seen.start_ns);
            key = self.key_of(seen);
            // Without room nobody is remembered, gone or not.
            if !self.known.contains_key(&key) && self.has_room() {
                if self.gone.len() >= GONE_MAX {
                    self.gone.clear();
                }
                self.gone.insert(key);
            }
        }
        let cgroup_path = self.cgroups.get(seen.cgroup, |id| source.cgroup_path(id, seen.pid));
        let Some(process) = self.known.get_mut(&key) else {
            return Arc::new(origin_of(None, &[], true, cgroup_path));
        };
        let image = process.images.iter().rev().find(|image| image.since_ns <= seen.at_ns);
        // Another file than the one that ran: an exec was missed, and with it everything about the program.
        let image = image.filter(|image| image.exe.ino == 0 || seen.exe.ino == 0 || image.exe == seen.exe);
        let image = image.cloned();
        if let Some((of, cgroup, origin)) = &process.answer
            && *cgroup == seen.cgroup
            && of.as_ref().map(Arc::as_ptr) == image.as_ref().map(Arc::as_ptr)
        {
            return Arc::clone(origin);
        }
        let shown = image.as_ref().map(|image| image.shown(seen.pid, source, &self.redactor));
        let parents: Vec<Parent> = process
            .ancestors
            .iter()
            .map(|ancestor| {
                let image = ancestor.image.as_ref();
                let shown = image.map(|image| image.shown(ancestor.pid, source, &self.redactor));
                Parent {
                    pid: ancestor.pid,
                    start_ns: ancestor.start_ns,
                    comm: ancestor.comm.as_ref().to_owned(),
                    exe: shown.and_then(|shown| shown.exe.as_ref()).map(|(path, _)| path.clone()),
                }
            })
            .collect();
        let cut = process.ancestors_cut;
        let mut origin = origin_of(shown, &parents, cut, cgroup_path);
        origin.args_cut = image.as_ref().is_some_and(|image| image.args_cut);
        let origin = Arc::new(origin);
        process.answer = Some((image, seen.cgroup, Arc::clone(&origin)));
        origin
    }

    /// The key under which a process is kept; one that `/proc` told of gets its exact start time now.
    fn key_of(&mut self, seen: &Sighting) -> Key {
        let key = (seen.pid, seen.start_ns);
        if self.known.contains_key(&key) {
            return key;
        }
        let rounded = (seen.pid, round(seen.start_ns));
        if self.live.get(&seen.pid) == Some(&rounded.1)
            && self.known.get(&rounded).is_some_and(|process| process.rounded)
            && let Some(mut process) = self.known.remove(&rounded)
        {
            process.rounded = false;
            self.known.insert(key, process);
            self.live.insert(key.0, key.1);
        }
        key
    }

    /// Asks `/proc` of a process and its parents. With `expected_ns`, only if it started then.
    fn learn(&mut self, pid: u32, source: &mut impl Source, expected_ns: u64) {
        // Each is younger than its parent, so there is no circle; the bound is for a `/proc` that lies.
        let mut line = Vec::new();
        let mut next = pid;
        while next != 0 && line.len() < PARENTS_MAX && (next == pid || !self.live.contains_key(&next)) {
            let Some(found) = source.find(next) else { break };
            if next == pid && expected_ns != 0 && found.start_ns != round(expected_ns) {
                return;
            }
            let parent = found.parent;
            line.push((next, found));
            next = parent;
        }
        for (pid, found) in line.into_iter().rev() {
            let parent = self.live.get(&found.parent).map(|start_ns| (found.parent, *start_ns));
            let (ancestors, cut) = self.line_of(parent, None);
            let image = found.exe.map(|exe| {
                Arc::new(Image {
                    since_ns: 0,
                    exe: InodeId { dev: 0, ino: 0 },
                    name: exe,
                    args: found.args,
                    args_cut: found.args_cut,
                    from_proc: true,
                    shown: OnceLock::new(),
                })
            });
            let process = Process {
                rounded: true,
                comm: Arc::from(found.comm.as_str()),
                images: image.into_iter().collect(),
                ancestors,
                ancestors_cut: cut && found.parent != 0,
                ended: false,
                answer: None,
            };
            self.insert((pid, found.start_ns), process);
        }
    }

    /// A process and its ancestors, as those of a child of it; whether some are missing. `comm` is its name now.
    fn line_of(&mut self, parent: Option<Key>, comm: Option<&str>) -> (Arc<[Ancestor]>, bool) {
        let Some((key, process)) = parent.and_then(|key| Some((key, self.known.get_mut(&key)?))) else {
            return (Arc::from([]), true);
        };
        if let Some(comm) = comm.filter(|comm| **comm != *process.comm) {
            // A child starts with its parent's name, so this is the parent's name now.
            process.comm = Arc::from(comm);
        }
        let itself = Ancestor {
            pid: key.0,
            start_ns: key.1,
            comm: Arc::clone(&process.comm),
            image: process.images.last().cloned(),
        };
        let all = std::iter::once(itself).chain(process.ancestors.iter().cloned());
        let cut = process.ancestors_cut || process.ancestors.len() >= PARENTS_MAX;
        (all.take(PARENTS_MAX).collect(), cut)
    }

    fn drop_known(&mut self, key: Key) {
        self.known.remove(&key);
        // Only records that contradict each other make an ended process live.
        if self.live.get(&key.0) == Some(&key.1) {
            self.live.remove(&key.0);
        }
    }

    fn has_room(&self) -> bool {
        self.known.len() < self.max || !self.ended.is_empty()
    }

    fn insert(&mut self, key: Key, process: Process) {
        while self.known.len() >= self.max {
            self.forgotten += 1;
            let Some((_, oldest)) = self.ended.pop_front() else {
                // Whoever had the number before is not the one it names now.
                self.live.remove(&key.0);
                return;
            };
            self.drop_known(oldest);
        }
        // An end that was not reported leaves the earlier owner of the number behind; it ends now.
        if let Some(earlier) = self.live.insert(key.0, key.1).filter(|earlier| *earlier != key.1) {
            let earlier = (key.0, earlier);
            if let Some(process) = self.known.get_mut(&earlier) {
                process.ended = true;
                self.ended.push_back((key.1, earlier));
            }
        }
        self.known.insert(key, process);
    }
}

impl Image {
    fn shown(&self, pid: u32, source: &mut impl Source, redactor: &Redactor) -> &Shown {
        self.shown.get_or_init(|| {
            let mut args: Vec<&[u8]> = self.args.split(|byte| *byte == 0).collect();
            // What follows the last zero: nothing, or an argument that was cut, of which a secret could be the end.
            let rest = args.pop();
            if !self.args_cut && rest.is_some_and(|rest| !rest.is_empty()) {
                args.extend(rest);
            }
            let exe = if self.from_proc {
                Some((String::from_utf8_lossy(&self.name).into_owned(), true))
            } else {
                let named: Vec<&[u8]> = [self.name.as_slice()]
                    .into_iter()
                    .chain(args.first().copied())
                    .filter(|name| !name.is_empty())
                    .collect();
                source.exe_path(pid, self.exe, &named)
            };
            let args = (!args.is_empty()).then(|| redactor.mask_arguments(&args));
            Shown { exe, args }
        })
    }
}

fn origin_of(shown: Option<&Shown>, parents: &[Parent], cut: bool, cgroup: Option<Arc<str>>) -> Origin {
    let exe = shown.and_then(|shown| shown.exe.clone());
    Origin {
        exe_checked: exe.as_ref().is_some_and(|(_, checked)| *checked),
        exe: exe.map(|(path, _)| path),
        args: shown.and_then(|shown| shown.args.clone()),
        args_cut: false,
        parents: parents.to_vec(),
        parents_cut: cut,
        container: cgroup.as_deref().and_then(cgroup::container).map(str::to_owned),
        cgroup_path: cgroup.map(|path| path.as_ref().to_owned()),
    }
}

/// A start time as `/proc` would give it.
const fn round(start_ns: u64) -> u64 {
    start_ns - start_ns % TICK_NS
}

#[cfg(test)]
mod tests;
