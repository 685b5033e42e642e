//! What the running system says of its processes and cgroups.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sfd_common::EXEC_ARGS_MAX;

use super::{Found, Source, TICK_NS};
use crate::collect::InodeId;

/// Most bytes of a line of `/proc/PID/stat`; the longest have 400.
const STAT_MAX: u64 = 4096;
/// `FILEID_KERNFS` of include/linux/exportfs.h: a handle that is the number of a kernfs node.
const FILEID_KERNFS: i32 = 0xfe;

/// `/proc` and the cgroup2 mount of this machine.
pub(in crate::collect) struct System {
    /// The cgroup2 mount and its path; `None` when there is none.
    cgroups: Option<(File, PathBuf)>,
}

impl System {
    pub(in crate::collect) fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let cgroups = cgroup2_mount(&mounts).and_then(|path| Some((File::open(&path).ok()?, path)));
        if cgroups.is_none() {
            tracing::debug!("no cgroup2 is mounted; cgroups of writers have numbers, not paths");
        }
        Self { cgroups }
    }

    /// The processes there are; none when `/proc` cannot be read.
    pub(in crate::collect) fn pids() -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Opens a cgroup by its number alone: one system call, whatever their number and depth.
    fn by_handle(&self, id: u64) -> Option<String> {
        #[repr(C)]
        struct Handle {
            head: [u32; 2],
            id: [u8; 8],
        }
        let (mount, root) = self.cgroups.as_ref()?;
        let mut handle = Handle { head: [8, FILEID_KERNFS.cast_unsigned()], id: id.to_ne_bytes() };
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        // SAFETY: an open descriptor, and a `struct file_handle` (length, type, bytes) with the length it says.
        let fd = unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
        if fd < 0 {
            return None;
        }
        // SAFETY: just opened, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
        let below = path.strip_prefix(root).ok()?;
        Some(format!("/{}", below.to_string_lossy()))
    }
}

impl Source for System {
    fn find(&mut self, pid: u32) -> Option<Found> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let (start, parent, comm) = parse_stat(&stat(&dir)?)?;
        let exe = fs::read_link(dir.join("exe")).ok().map(|path| path.into_os_string().into_vec());
        let mut args = Vec::new();
        let longest = EXEC_ARGS_MAX as u64 + 1;
        File::open(dir.join("cmdline")).ok()?.take(longest).read_to_end(&mut args).ok()?;
        let args_cut = args.len() > EXEC_ARGS_MAX;
        args.truncate(EXEC_ARGS_MAX);
        // Whose number it was before may have been read: it is the same process only if it still started then.
        let (again, ..) = parse_stat(&stat(&dir)?)?;
        (start == again).then(|| Found {
            start_ns: start.saturating_mul(TICK_NS),
            parent,
            comm,
            exe,
            args,
            args_cut,
        })
    }

    fn exe_path(&mut self, pid: u32, exe: InodeId, named: &[&[u8]]) -> Option<(String, bool)> {
        // The device is not compared: on btrfs it differs from the superblock's.
        let is_it = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.ino() == exe.ino);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        if exe.ino != 0 {
            let link = PathBuf::from(format!("/proc/{pid}/exe"));
            if is_it(&link)
                && let Ok(path) = fs::read_link(&link)
            {
                return Some((text(&path), true));
            }
            let paths = named.iter().map(|name| Path::new(OsStr::from_bytes(name)));
            if let Some(path) = paths.filter(|path| path.is_absolute()).find(|path| is_it(path)) {
                return Some((text(path), true));
            }
        }
        named.first().map(|name| (String::from_utf8_lossy(name).into_owned(), false))
    }

    fn cgroup_path(&mut self, id: u64, pid: u32) -> Option<String> {
        // Without CAP_DAC_READ_SEARCH, or before Linux 5.5: asked of the process, if it is still there.
        self.by_handle(id).or_else(|| {
            let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
            let (_, root) = self.cgroups.as_ref()?;
            let meta = fs::metadata(root.join(path.trim_start_matches('/'))).ok()?;
            (meta.ino() == id).then(|| path.to_owned())
        })
    }
}

fn stat(dir: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(dir.join("stat")).ok()?.take(STAT_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Start time in ticks, parent and name from a line of `/proc/PID/stat` (proc(5)). The name is in parentheses and may
/// hold any, so the last one ends it.
fn parse_stat(line: &[u8]) -> Option<(u64, u32, String)> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let comm = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    // Fields 3 (state), 4 (ppid), ..., 22 (starttime).
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some((start, parent, comm))
}

/// Where the whole cgroup2 hierarchy is mounted, by a text of `/proc/self/mountinfo` (proc(5)).
fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (root, at) = (fields.nth(3)?, fields.next()?);
        (root == "/" && kind.starts_with("cgroup2 ")).then(|| PathBuf::from(at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_every_sort_of_name() {
        let tail = format!("S 7 {} 4711 8", "0 ".repeat(17).trim_end());
        for name in ["bash", "a b", "x) S 1 (y", "", ")"] {
            let line = format!("12 ({name}) {tail}");
            assert_eq!(parse_stat(line.as_bytes()), Some((4711, 7, name.to_owned())), "{line}");
        }
        for line in ["", "12 bash S", "12 (bash", "12 (bash) S 7 1", "12 )bash( S 7"] {
            assert_eq!(parse_stat(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_cgroup2_mount_among_others() {
        let one = "24 30 0:22 / /sys rw - sysfs sysfs rw\n";
        let v1 = "33 24 0:29 / /sys/fs/cgroup/cpu rw shared:7 - cgroup cgroup rw,cpu\n";
        let bound = "40 24 0:26 /user.slice /mnt rw - cgroup2 cgroup2 rw\n";
        let whole = "34 24 0:26 / /sys/fs/cgroup/unified rw shared:8 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(cgroup2_mount(&[one, v1, bound, whole].concat()), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2_mount(&[one, v1, bound].concat()), None);
    }

    #[test]
    fn this_process_is_found_and_its_program_too() {
        let (mut system, pid) = (System::new(), std::process::id());
        assert!(System::pids().contains(&pid));
        let found = system.find(pid).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(found.exe.as_deref(), Some(exe.as_os_str().as_bytes()));
        assert_eq!(found.parent, std::os::unix::process::parent_id());
        let first = found.args.split(|byte| *byte == 0).next().unwrap();
        assert_eq!(first, std::env::args_os().next().unwrap().as_bytes());
        let id = InodeId { dev: 0, ino: fs::metadata(&exe).unwrap().ino() };
        let path = exe.to_string_lossy().into_owned();
        assert_eq!(system.exe_path(pid, id, &[]), Some((path.clone(), true)));
        // A process that is gone: the name it was given, if that is the file.
        let named = exe.as_os_str().as_bytes();
        assert_eq!(system.exe_path(u32::MAX, id, &[b"./x", named]), Some((path, true)));
        assert_eq!(system.exe_path(u32::MAX, id, &[b"./x", b"/"]), Some(("./x".to_owned(), false)));
        assert_eq!(system.exe_path(u32::MAX, id, &[]), None);
        assert_eq!(system.find(u32::MAX), None);
    }
}
