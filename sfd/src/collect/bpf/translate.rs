//! From a record to an [`Event`]: the kernel's numbers become this program's types.

use std::{
    collections::HashMap,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use rustix::time::{ClockId, clock_gettime};
use sfd_common::{AT_FDCWD, Body, Record, flag};
use smol_str::SmolStr;

use crate::collect::{Base, Change, Event, InodeId, device, processes::Sighting};

/// Directories remembered by identity, for paths of processes that are gone.
const BASES_MAX: usize = 512;

/// What translating one record gave.
pub(super) struct Translated {
    /// Without its writer.
    pub(super) event: Event,
    /// Whom it names, if anyone.
    pub(super) seen: Option<Sighting>,
    /// The path is relative to a directory that is neither watched nor could be found: it may name anything.
    pub(super) unresolved: bool,
}

/// Translates records; remembers where directories are.
pub(super) struct Translator {
    /// Identity of this process's root directory.
    root: Option<InodeId>,
    /// Unix time minus time since boot, in nanoseconds.
    boot_to_unix_ns: i64,
    bases: HashMap<InodeId, PathBuf>,
}

impl Translator {
    pub(super) fn new() -> Self {
        let root = device::DeviceMap::new().inode_id(Path::new("/")).ok();
        let mut translator = Self { root, boot_to_unix_ns: 0, bases: HashMap::new() };
        translator.set_clock();
        translator
    }

    /// Compares the clocks again: Unix time may be stepped.
    pub(super) fn set_clock(&mut self) {
        self.boot_to_unix_ns = nanoseconds(ClockId::Realtime) - nanoseconds(ClockId::Boottime);
    }

    pub(super) fn translate(&mut self, record: &Record<'_>) -> Translated {
        let header = &record.header;
        let op = record.op;
        let id = InodeId { dev: header.dev, ino: header.ino };
        let mut unresolved = false;
        let change = match record.body {
            Body::Object => Change::Inode {
                id,
                op,
                mapped: header.flags & flag::MAPPED != 0,
                crowded: header.flags & flag::LAST_WRITER != 0,
            },
            Body::Process | Body::Exec { .. } => Change::Process { pid: header.tgid, op },
            Body::Module(name) => Change::Module { name: String::from_utf8_lossy(name).into_owned(), op },
            Body::Path(path) => {
                let base = match (header.flags & flag::ABSOLUTE != 0, self.root == Some(id)) {
                    (true, true) => Base::Absolute,
                    (true, false) => Base::Root(id),
                    (false, _) => Base::Dir(id),
                };
                let base_path = if header.flags & flag::BASE_WATCHED != 0 || base == Base::Absolute {
                    None
                } else {
                    let found = self.base_path(id, record);
                    unresolved = found.is_none() && matches!(base, Base::Dir(_));
                    found
                };
                Change::Name { base, name: OsString::from_vec(path.to_vec()), base_path, op }
            }
        };
        let boot_ns = i64::try_from(header.boot_ns).unwrap_or(i64::MAX);
        let event = Event { at_ns: boot_ns.saturating_add(self.boot_to_unix_ns), change, writer: None };
        Translated { event, seen: sighting(record), unresolved }
    }

    /// Where a base directory is: asked of the process itself, of its parent (a shell outlives its commands and
    /// shares their directory), or of what was found before. Each answer is checked against the identity.
    fn base_path(&mut self, id: InodeId, record: &Record<'_>) -> Option<PathBuf> {
        let header = &record.header;
        if header.flags & flag::ABSOLUTE != 0 {
            // Only a root inside this mount namespace has a path; that of a container reads as "/".
            return std::fs::read_link(format!("/proc/{}/root", header.tgid))
                .ok()
                .filter(|path| path != Path::new("/"));
        }
        let own = match header.aux.cast_signed() {
            AT_FDCWD => format!("/proc/{}/cwd", header.tgid),
            fd => format!("/proc/{}/fd/{fd}", header.tgid),
        };
        let found = at_link(&own, id)
            .or_else(|| self.bases.get(&id).filter(|path| is_at(path, id)).cloned())
            .or_else(|| at_link(&format!("/proc/{}/cwd", header.parent), id))?;
        if self.bases.len() >= BASES_MAX {
            self.bases.clear();
        }
        self.bases.insert(id, found.clone());
        Some(found)
    }
}

/// The target of a link of `/proc`, if it is the directory with this identity.
fn at_link(link: &str, id: InodeId) -> Option<PathBuf> {
    std::fs::read_link(link).ok().filter(|path| is_at(path, id))
}

/// Whether a directory is at a path. The device is not compared: on btrfs it differs from the superblock's.
fn is_at(path: &Path, id: InodeId) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == id.ino)
}

/// Whom a record names; `None` for kernel threads, whose identity says nothing.
fn sighting(record: &Record<'_>) -> Option<Sighting> {
    let header = &record.header;
    if header.flags & flag::KERNEL_THREAD != 0 || header.tgid == 0 {
        return None;
    }
    let comm = header.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Sighting {
        pid: header.tgid,
        start_ns: header.start_ns,
        at_ns: header.boot_ns,
        uid: header.uid,
        login_uid: (header.loginuid != u32::MAX).then_some(header.loginuid),
        comm: SmolStr::new(String::from_utf8_lossy(comm)),
        cgroup: header.cgroup,
        exe: InodeId { dev: header.exe_dev, ino: header.exe_ino },
        parent: header.parent,
    })
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use sfd_common::{Op, RecordHeader};

    use super::*;

    fn record(header: RecordHeader, op: Op, body: Body<'_>) -> Record<'_> {
        Record { header, op, body }
    }

    #[test]
    fn kernel_threads_are_no_writers() {
        let header = RecordHeader { flags: flag::KERNEL_THREAD, tgid: 9, ..RecordHeader::default() };
        let seen = Translator::new().translate(&record(header, Op::InodeDirty, Body::Object)).seen;
        assert_eq!(seen, None);
        let header = RecordHeader {
            tgid: 9,
            loginuid: u32::MAX,
            comm: *b"bash\0\0\0\0\0\0\0\0\0\0\0\0",
            ..RecordHeader::default()
        };
        let seen = Translator::new().translate(&record(header, Op::InodeDirty, Body::Object)).seen.unwrap();
        assert_eq!((seen.comm.as_str(), seen.login_uid), ("bash", None));
    }

    #[test]
    fn a_watched_base_is_not_looked_up() {
        let header = RecordHeader { flags: flag::BASE_WATCHED, dev: 1, ino: 2, ..RecordHeader::default() };
        let translated = Translator::new().translate(&record(header, Op::Unlink, Body::Path(b"x")));
        assert!(!translated.unresolved);
        let id = InodeId { dev: 1, ino: 2 };
        let expected =
            Change::Name { base: Base::Dir(id), name: "x".into(), base_path: None, op: Op::Unlink };
        assert_eq!(translated.event.change, expected);
    }

    #[test]
    fn the_working_directory_is_found_while_the_process_lives_and_after() {
        use std::os::unix::fs::MetadataExt;
        let here = std::env::current_dir().unwrap();
        let ino = std::fs::metadata(&here).unwrap().ino();
        let mut translator = Translator::new();
        let mut header = RecordHeader {
            tgid: std::process::id(),
            aux: AT_FDCWD.cast_unsigned(),
            ino,
            ..RecordHeader::default()
        };
        for pid in [std::process::id(), u32::MAX] {
            header.tgid = pid;
            let translated = translator.translate(&record(header, Op::Unlink, Body::Path(b"a/b")));
            let Change::Name { base_path, .. } = translated.event.change else { panic!() };
            assert_eq!(base_path.as_ref(), Some(&here));
        }
        let mut fresh = Translator::new();
        header.parent = std::process::id();
        assert!(!fresh.translate(&record(header, Op::Unlink, Body::Path(b"a/b"))).unresolved);
        header.ino += 1;
        assert!(fresh.translate(&record(header, Op::Unlink, Body::Path(b"a/b"))).unresolved);
    }
}
