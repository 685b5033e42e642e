//! `/proc` as *projections*: a fixed list of files, each reduced to what is worth showing.
//!
//! `/proc` is endless, volatile and partly dangerous to read, so it is not walked. The only files ever opened are those
//! that [`Node::parse`] accepts, plus `stat` (of the host, for the boot time, and of each process). `environ`, `mem`,
//! `kcore`, `kmsg` and `pagemap` are not among them.
//!
//! Metadata of a projection is made up so that it is stable, because procfs stamps inodes when they are first looked at:
//! size is the length of the projected content; times are 0 for host files and sysctl values, the start time for a
//! process and its files; the inode number is a hash of the path and, for a process, of its start time, so that a
//! process number used again is another inode. Owner and mode are the real ones.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::allow::{HOST, NET, Node, VOLATILE, pid_of};
use super::stat::{Stat, files_of, parse_stat};
use super::{
    Entry, FileType, InodeId, Meta, Nature, ProcessFacts, Source, View, meta_of_stat, project, sysctl,
};

/// At most this much of one file is read, in bytes; what is longer is shown up to here and marked unverified. 4 MiB are
/// about 25 000 sockets.
pub const PROJECTION_BYTES_MAX: u64 = 4 << 20;
/// At most this much of one sysctl value, in bytes. The kernel's own handlers stop at a page or little more.
const SYSCTL_BYTES_MAX: u64 = 64 << 10;

/// Projections of `/proc`.
pub struct ProcView {
    root: PathBuf,
    dev: u64,
    boot_ns: i64,
    /// What [`View::meta`] projected last, so that the reading which follows sees the same bytes.
    last: Option<(PathBuf, Projection)>,
    #[cfg(test)]
    opened: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
struct Projection {
    content: Vec<u8>,
    cut: bool,
}

impl ProcView {
    /// A view of a mounted procfs, normally `/proc`.
    pub fn new(root: &Path) -> Self {
        let mut view = Self {
            root: root.to_path_buf(),
            dev: rustix::fs::stat(root).map_or(0, |s| s.st_dev),
            boot_ns: 0,
            last: None,
            #[cfg(test)]
            opened: Vec::new(),
        };
        view.boot_ns = view.read_boot_time();
        view
    }

    /// Every path of the host that exists, directories included, sysctl values not.
    pub fn host_paths(&mut self) -> Vec<PathBuf> {
        let mut paths = vec![self.root.clone(), self.root.join("net")];
        paths.extend(HOST.iter().chain(&NET).map(|n| self.root.join(n)));
        paths.retain(|p| p.exists());
        paths
    }

    /// Where the sysctl values are: a directory to be listed like any other.
    pub fn sysctl_root(&self) -> PathBuf {
        self.root.join("sys")
    }

    /// The directory of a process and the files it has. [`io::ErrorKind::NotFound`] when it is gone or a zombie.
    pub fn process_paths(&mut self, pid: u32) -> io::Result<Vec<PathBuf>> {
        let stat = self.stat(pid)?;
        let dir = self.root.join(pid.to_string());
        let mut paths = vec![dir.clone()];
        paths.extend(files_of(&stat).iter().map(|f| dir.join(f)));
        Ok(paths)
    }

    /// Processes that exist now, in ascending order, zombies left out.
    pub fn pids(&mut self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            if let Some(pid) = entry?.file_name().to_str().and_then(pid_of) {
                pids.push(pid);
            }
        }
        pids.sort_unstable();
        pids.retain(|pid| self.stat(*pid).is_ok());
        Ok(pids)
    }

    /// Start of a process, nanoseconds since boot, as exact as `/proc` has it (10 ms).
    pub fn start_ns(&mut self, pid: u32) -> io::Result<u64> {
        Ok(self.stat(pid)?.start_ns)
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        path.strip_prefix(&self.root).ok().and_then(Node::parse).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Reads a file below the root: the only place where one is opened.
    fn slurp(&mut self, rel: &Path, max: u64) -> io::Result<Projection> {
        #[cfg(test)]
        self.opened.push(rel.to_path_buf());
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::options()
            .read(true)
            .custom_flags(i32::from_ne_bytes(flags.bits().to_ne_bytes()))
            .open(self.root.join(rel));
        let file = file.map_err(gone)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut content = Vec::new();
        file.take(max + 1).read_to_end(&mut content).map_err(gone)?;
        let cut = content.len() as u64 > max;
        content.truncate(usize::try_from(max).unwrap_or(usize::MAX));
        Ok(Projection { content, cut })
    }

    /// Boot time, nanoseconds since the Unix epoch: read once, because the kernel's figure moves with the clock.
    fn read_boot_time(&mut self) -> i64 {
        // Per-interrupt counters make the line before `btime` long on big machines, still far below this.
        let Ok(stat) = self.slurp(Path::new("stat"), 4 << 20) else { return 0 };
        let line = stat.content.split(|b| *b == b'\n').find_map(|l| l.strip_prefix(b"btime "));
        let secs = line.and_then(|l| std::str::from_utf8(l).ok()?.trim().parse::<i64>().ok());
        secs.unwrap_or(0).saturating_mul(1_000_000_000)
    }

    fn stat(&mut self, pid: u32) -> io::Result<Stat> {
        let raw = self.slurp(&PathBuf::from(pid.to_string()).join("stat"), 4096)?;
        parse_stat(&raw.content).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn link(&self, pid: u32, name: &str) -> io::Result<Vec<u8>> {
        let path = self.root.join(pid.to_string()).join(name);
        Ok(std::fs::read_link(path).map_err(gone)?.into_os_string().into_vec())
    }

    fn namespaces(&self, pid: u32) -> io::Result<Vec<u8>> {
        let dir = PathBuf::from(pid.to_string()).join("ns");
        let mut names: Vec<OsString> = std::fs::read_dir(self.root.join(&dir))
            .map_err(gone)?
            .map(|e| e.map(|e| e.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort();
        let mut out = Vec::new();
        for name in names {
            let target = std::fs::read_link(self.root.join(&dir).join(&name)).map_err(gone)?;
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            out.extend_from_slice(target.as_os_str().as_bytes());
            out.push(b'\n');
        }
        Ok(out)
    }

    fn read(&mut self, node: &Node) -> io::Result<Projection> {
        match node {
            Node::Host(name) => {
                let raw = self.slurp(Path::new(name), PROJECTION_BYTES_MAX)?;
                Ok(Projection { content: project::project(name, &raw.content, false).into_owned(), ..raw })
            }
            Node::Sys(rel) => self.slurp(&Path::new("sys").join(rel), SYSCTL_BYTES_MAX),
            Node::ProcessFile(pid, "ns") => Ok(Projection { content: self.namespaces(*pid)?, cut: false }),
            Node::ProcessFile(pid, name) => {
                let stat = self.stat(*pid)?;
                let raw = self.slurp(&PathBuf::from(pid.to_string()).join(name), PROJECTION_BYTES_MAX)?;
                let content = project::project(name, &raw.content, stat.kernel_thread).into_owned();
                Ok(Projection { content, ..raw })
            }
            Node::Root | Node::NetDirectory | Node::Process(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"))
            }
        }
    }

    /// Metadata without size and inode number.
    fn frame(&self, file_type: FileType, real: Option<&Meta>, time_ns: i64) -> Meta {
        let mode = real.map_or(if file_type == FileType::Directory { 0o555 } else { 0o444 }, |m| m.mode);
        Meta {
            file_type,
            mode,
            uid: real.map_or(0, |m| m.uid),
            gid: real.map_or(0, |m| m.gid),
            size: 0,
            mtime_ns: time_ns,
            ctime_ns: time_ns,
            dev: self.dev,
            ino: 0,
            nlink: 1,
            rdev: 0,
        }
    }

    fn lstat(&self, rel: impl AsRef<Path>) -> io::Result<Meta> {
        Ok(meta_of_stat(&rustix::fs::lstat(self.root.join(rel)).map_err(|e| gone(e.into()))?))
    }

    fn project_meta(&mut self, path: &Path, node: &Node) -> io::Result<Meta> {
        let mut start = 0;
        let mut meta = match node {
            Node::Root | Node::NetDirectory => self.frame(FileType::Directory, None, 0),
            Node::Host(_) => {
                self.lstat(path.strip_prefix(&self.root).unwrap_or(path))?;
                self.frame(FileType::File, None, 0)
            }
            Node::Sys(rel) => {
                let found = self.lstat(Path::new("sys").join(rel))?;
                if !matches!(found.file_type, FileType::File | FileType::Directory) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                self.frame(found.file_type, Some(&found), 0)
            }
            Node::Process(pid) => {
                let process = self.stat(*pid)?;
                start = process.start_ns;
                let real = self.lstat(pid.to_string())?;
                self.frame(FileType::Directory, Some(&real), self.since_epoch(start))
            }
            Node::ProcessFile(pid, name) => {
                let process = self.stat(*pid)?;
                start = process.start_ns;
                if !files_of(&process).contains(name) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let real = self.lstat(PathBuf::from(pid.to_string()).join(name))?;
                let file_type = if *name == "exe" { FileType::Symlink } else { FileType::File };
                let mut meta = self.frame(file_type, Some(&real), self.since_epoch(start));
                if *name == "exe" {
                    meta.size = self.link(*pid, name).map_or(0, |t| t.len() as u64);
                }
                meta
            }
        };
        if meta.file_type == FileType::File {
            // What cannot be read is reported when it is opened; here it has no size.
            match self.read(node) {
                Ok(projection) => {
                    meta.size = projection.content.len() as u64;
                    self.last = Some((path.to_path_buf(), projection));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(e),
                Err(_) => {}
            }
        }
        meta.ino = inode(path, start);
        Ok(meta)
    }

    fn since_epoch(&self, boot_relative_ns: u64) -> i64 {
        self.boot_ns.saturating_add(i64::try_from(boot_relative_ns).unwrap_or(i64::MAX))
    }

    fn list_sys(&mut self, rel: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.root.join("sys").join(rel)).map_err(gone)? {
            let name = entry?.file_name();
            let Some(text) = name.to_str() else { continue };
            let below = if rel.is_empty() { text.to_owned() } else { format!("{rel}/{text}") };
            if sysctl::skipped(&below) {
                continue;
            }
            let Ok(meta) = self.lstat(Path::new("sys").join(&below)) else { continue };
            // A value without any read bit is a trigger: write-only.
            let file_type = meta.file_type;
            if file_type == FileType::Directory || (file_type == FileType::File && meta.mode & 0o444 != 0) {
                entries.push(Entry { name, file_type: Some(file_type), ino: None });
            }
        }
        Ok(entries)
    }
}

impl View for ProcView {
    fn lists_on_hint(&self) -> bool {
        false
    }

    fn volatile_paths(&mut self) -> Vec<PathBuf> {
        let host = VOLATILE.iter().map(|n| self.root.join(n));
        let sys = sysctl::VOLATILE.iter().map(|n| self.root.join("sys").join(n));
        host.chain(sys).filter(|p| p.exists()).collect()
    }

    fn is_noteworthy(&self, path: &Path) -> bool {
        let Ok(rel) = path.strip_prefix(&self.root) else { return false };
        match Node::parse(rel) {
            Some(Node::Host(name)) => !VOLATILE.contains(&name),
            Some(Node::Sys(name)) => !sysctl::VOLATILE.contains(&name.as_str()),
            // A process is one line of history; its files come and go with it.
            Some(Node::Process(_)) => true,
            _ => false,
        }
    }

    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>> {
        let node = self.node(dir)?;
        let mut entries = match &node {
            Node::Root => {
                let mut names: HashMap<String, FileType> =
                    HOST.iter().map(|n| ((*n).to_owned(), FileType::File)).collect();
                names.insert("net".to_owned(), FileType::Directory);
                names.insert("sys".to_owned(), FileType::Directory);
                names.retain(|name, _| self.root.join(name).exists());
                names.extend(self.pids()?.iter().map(|pid| (pid.to_string(), FileType::Directory)));
                names
                    .into_iter()
                    .map(|(n, t)| Entry { name: n.into(), file_type: Some(t), ino: None })
                    .collect()
            }
            Node::NetDirectory => NET
                .iter()
                .filter(|n| self.root.join(n).exists())
                .filter_map(|n| n.strip_prefix("net/"))
                .map(|n| Entry { name: n.into(), file_type: Some(FileType::File), ino: None })
                .collect(),
            Node::Sys(rel) => self.list_sys(rel)?,
            Node::Process(pid) => {
                let stat = self.stat(*pid)?;
                files_of(&stat)
                    .iter()
                    .map(|n| Entry {
                        name: n.into(),
                        file_type: Some(if *n == "exe" { FileType::Symlink } else { FileType::File }),
                        ino: None,
                    })
                    .collect()
            }
            Node::Host(_) | Node::ProcessFile(..) => return Err(io::ErrorKind::NotADirectory.into()),
        };
        entries.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        Ok(entries)
    }

    fn meta(&mut self, path: &Path) -> io::Result<Meta> {
        self.last = None;
        let node = self.node(path)?;
        self.project_meta(path, &node)
    }

    fn id(&mut self, _path: &Path, meta: &Meta) -> InodeId {
        InodeId { dev: super::device_of_stat(meta), ino: meta.ino }
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn Source>> {
        let node = self.node(path)?;
        let projection = match self.last.take() {
            Some((of, projection)) if of == path => projection,
            _ => self.read(&node)?,
        };
        let size = projection.content.len() as u64;
        Ok(Box::new(Snapshot { projection, meta: Meta { size, ..self.frame(FileType::File, None, 0) } }))
    }

    fn read_link(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        match self.node(path)? {
            Node::ProcessFile(pid, "exe") => self.link(pid, "exe"),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a symbolic link")),
        }
    }

    fn nature(&self, path: &Path) -> Nature {
        match self.node(path) {
            Ok(Node::Process(pid)) => Nature::Process { pid },
            Ok(Node::ProcessFile(pid, name)) => Nature::Projection { name, pid: Some(pid) },
            Ok(Node::Host(name)) => Nature::Projection { name, pid: None },
            Ok(Node::Sys(rel)) if !rel.is_empty() => Nature::Sysctl { name: sysctl::dotted(&rel) },
            Ok(Node::Root | Node::NetDirectory | Node::Sys(_)) | Err(_) => Nature::ProcDirectory,
        }
    }

    fn process(&mut self, path: &Path) -> Option<ProcessFacts> {
        let Ok(Node::Process(pid)) = self.node(path) else { return None };
        let stat = self.stat(pid).ok()?;
        Some(ProcessFacts {
            pid,
            ppid: stat.ppid,
            uid: self.lstat(pid.to_string()).ok()?.uid,
            exe: self.link(pid, "exe").ok().map(|t| PathBuf::from(OsString::from_vec(t))),
            comm: stat.comm,
            kernel_thread: stat.kernel_thread,
            start_ns: stat.start_ns,
        })
    }

    fn excluded(&self, path: &Path) -> bool {
        self.node(path).is_err()
    }

    fn meta_tells(&self) -> bool {
        false
    }
}

/// A projection taken at one moment.
struct Snapshot {
    projection: Projection,
    meta: Meta,
}

impl Source for Snapshot {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = &self.projection.content;
        let from = usize::try_from(offset).map_or(content.len(), |o| o.min(content.len()));
        let n = buf.len().min(content.len() - from);
        buf[..n].copy_from_slice(&content[from..from + n]);
        Ok(n)
    }

    fn meta(&self) -> io::Result<Meta> {
        Ok(self.meta.clone())
    }

    fn incomplete(&self) -> Option<&'static str> {
        self.projection.cut.then_some("too long: only the beginning is shown")
    }
}

/// A process that ends between two system calls is gone, whatever the call's word for it.
fn gone(e: io::Error) -> io::Error {
    match e.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::SRCH | rustix::io::Errno::NOTDIR) => io::ErrorKind::NotFound.into(),
        _ => e,
    }
}

/// A stable inode number for a projection.
fn inode(path: &Path, start_ns: u64) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(path.as_os_str().as_bytes()).update(&[0]).update(&start_ns.to_le_bytes());
    let bytes = hash.finalize();
    let mut ino = [0; 8];
    ino.copy_from_slice(&bytes.as_bytes()[..8]);
    // SQLite's integers are signed.
    u64::from_le_bytes(ino) >> 1
}

#[cfg(test)]
#[path = "proc_tests.rs"]
mod tests;
