//! Which files belong to a package of the host.
//!
//! Only the names are known: neither dpkg nor SFD's reading of it keeps modes and owners, so that a package's file may
//! have been changed since. Of dpkg, names, diversions and the places of `/bin` and `/lib` under `/usr` are known; of a
//! host whose packages are kept by anything else, nothing ([`Packaged::Unknown`]), which never raises an alarm.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Most names remembered, 8 bytes each: ten times what a full desktop has. Of a larger database nothing is known, and a
/// warning says so.
const NAMES_MAX: usize = 4 << 20;
/// How often it is looked whether the database has changed.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The database is read again at most this often: during an upgrade it changes with every package, and reading it takes
/// some 50 ms.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Most directories of which is remembered whether another system's files are in them; then all are asked again.
const DIRS_MAX: usize = 4096;
/// Directories that are links into `/usr` on a merged system, where a package may name its files either way.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];
/// What every root directory of a system has one of.
const ROOT_MARKS: [&str; 5] =
    ["usr/lib/os-release", "etc/os-release", "var/lib/dpkg/status", "usr/lib/sysimage/rpm", "var/lib/rpm"];
/// Where images and layers of containers are kept, many of which lack such a mark.
const IMAGES: [&str; 9] = [
    "/var/lib/docker",
    "/var/lib/containers",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/machines",
    "/var/lib/lxc",
    "/var/lib/flatpak",
    "/var/lib/snapd",
    "/snap",
];

/// Whether a path is a package's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packaged {
    /// A package of this host has a file of this name.
    Yes,
    /// None has.
    No,
    /// The host's packages are not known, or the path is in another system's tree.
    #[default]
    Unknown,
}

/// The names that packages own. Shared by everyone who looks at this host's files.
#[derive(Debug)]
pub struct Packages {
    root: PathBuf,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Hashes of the names, sorted; `None` when the names are not known. Two names of one hash are taken for each other:
    /// among a million names that happens to one path in 10^13, and as the hash has a secret key nobody can choose one.
    names: Option<Arc<Vec<u64>>>,
    /// Grows with each reading.
    generation: u64,
    /// Device, inode and times of the database as read.
    stamp: Option<Stamp>,
    checked: Option<Instant>,
    read: Option<Instant>,
    is_reading: bool,
    /// Directories, and whether they are in another system's tree.
    elsewhere: HashMap<PathBuf, bool>,
}

type Stamp = (u64, u64, i64, i64);

impl Packages {
    /// The packages of the system whose root directory is `root`, as they are now.
    pub fn of(root: &Path) -> Arc<Self> {
        let packages = Self { root: root.to_path_buf(), hasher: RandomState::new(), state: Mutex::default() };
        let stamp = packages.stamp();
        packages.store(stamp, packages.read());
        Arc::new(packages)
    }

    /// Whether a package has a file at `path`.
    pub fn owner(self: &Arc<Self>, path: &Path) -> Packaged {
        let mut state = self.current();
        let Some(names) = &state.names else { return Packaged::Unknown };
        if names.binary_search(&self.hash(path.as_os_str().as_bytes())).is_ok() {
            return Packaged::Yes;
        }
        match path.parent() {
            Some(dir) if is_elsewhere(&self.root, dir, &mut state.elsewhere) => Packaged::Unknown,
            _ => Packaged::No,
        }
    }

    /// Grows when the database was read again: what was said before may be wrong now.
    pub fn generation(self: &Arc<Self>) -> u64 {
        self.current().generation
    }

    /// What is known. A database that has changed is read again by a thread of its own: nobody waits for it, and until
    /// it is done what was known before counts.
    fn current(self: &Arc<Self>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let long_ago = |at: Option<Instant>, every| at.is_none_or(|at| at.elapsed() >= every);
        if state.is_reading || !long_ago(state.checked, CHECK_EVERY) {
            return state;
        }
        state.checked = Some(Instant::now());
        let stamp = self.stamp();
        if stamp == state.stamp || !long_ago(state.read, READ_EVERY) {
            return state;
        }
        state.is_reading = true;
        let packages = Arc::clone(self);
        let read = move || {
            let names = packages.read();
            packages.store(stamp, names);
        };
        if std::thread::Builder::new().name("packages".into()).spawn(read).is_err() {
            // No thread to be had just now; the next check tries again.
            state.is_reading = false;
        }
        state
    }

    fn store(&self, stamp: Option<Stamp>, names: io::Result<Option<Vec<u64>>>) {
        let names = names.unwrap_or_else(|error| {
            warn!(%error, "the package database cannot be read; which files are packaged is unknown");
            None
        });
        let mut state = self.lock();
        state.names = names.map(Arc::new);
        state.generation += 1;
        state.stamp = stamp;
        state.read = Some(Instant::now());
        state.is_reading = false;
        state.elsewhere.clear();
    }

    /// A panic elsewhere leaves the state as good as it was.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dpkg(&self) -> PathBuf {
        self.root.join("var/lib/dpkg")
    }

    /// Every change of the set of installed files gives its directory another time.
    fn stamp(&self) -> Option<Stamp> {
        let meta = std::fs::metadata(self.dpkg().join("info")).ok()?;
        Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
    }

    /// The hashes of all names; `None` where there is no database of dpkg.
    fn read(&self) -> io::Result<Option<Vec<u64>>> {
        let dpkg = self.dpkg();
        let lists = match std::fs::read_dir(dpkg.join("info")) {
            Ok(lists) => lists,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in lists {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "list") {
                continue;
            }
            // A package may be removed meanwhile.
            let Ok(list) = std::fs::read(&path) else { continue };
            names.extend(lines(&list).map(|name| self.hash(name)));
            if names.len() > NAMES_MAX {
                warn!(
                    names_max = NAMES_MAX,
                    "more files are packaged than can be remembered; which is unknown"
                );
                return Ok(None);
            }
        }
        // Three lines each: the file, where the package's own one is kept instead, the package that says so.
        let diversions = std::fs::read(dpkg.join("diversions")).unwrap_or_default();
        names.extend(lines(&diversions).filter(|line| line.starts_with(b"/")).map(|name| self.hash(name)));
        names.sort_unstable();
        names.dedup();
        names.shrink_to_fit();
        Ok((!names.is_empty()).then_some(names))
    }

    /// The hash of a name, the same for both ways to name what is in a merged directory.
    fn hash(&self, path: &[u8]) -> u64 {
        let first = path.strip_prefix(b"/").and_then(|rest| rest.split(|byte| *byte == b'/').next());
        if first.is_some_and(|first| MERGED.iter().any(|dir| dir.as_bytes() == first)) {
            return self.hasher.hash_one([&b"/usr"[..], path].concat().as_slice());
        }
        self.hasher.hash_one(path)
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Whether a directory is in the tree of another system than the one at `root`: a container's, a chroot.
fn is_elsewhere(root: &Path, dir: &Path, known: &mut HashMap<PathBuf, bool>) -> bool {
    if dir == root || !dir.starts_with(root) {
        return dir != root;
    }
    if let Some(known) = known.get(dir) {
        return *known;
    }
    let itself = IMAGES.iter().any(|images| dir == Path::new(images))
        || ROOT_MARKS.iter().any(|mark| dir.join(mark).exists());
    let elsewhere = itself || dir.parent().is_some_and(|parent| is_elsewhere(root, parent, known));
    if known.len() >= DIRS_MAX {
        known.clear();
    }
    known.insert(dir.to_path_buf(), elsewhere);
    elsewhere
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The database is that of `/`, whatever its root is here, so paths are given as they are on a host.
    fn host(lists: &[(&str, &str)], more: &[(&str, &str)]) -> (tempfile::TempDir, Arc<Packages>) {
        let dir = tempfile::tempdir().unwrap();
        for (package, list) in lists {
            write(dir.path(), &format!("var/lib/dpkg/info/{package}.list"), list);
        }
        for (path, text) in more {
            write(dir.path(), path, text);
        }
        let packages = Packages::of(dir.path());
        (dir, packages)
    }

    fn listed(packages: &Packages, path: &str) -> bool {
        let hash = packages.hash(path.as_bytes());
        packages.lock().names.as_ref().is_some_and(|names| names.binary_search(&hash).is_ok())
    }

    #[test]
    fn files_are_packaged_under_either_name() {
        let lists = [("a", "/.\n/bin\n/bin/su\n/usr/bin/top\n"), ("b:amd64", "/usr/lib/x/y.so\n")];
        let more = [("var/lib/dpkg/diversions", "/usr/bin/dash\n/usr/bin/dash.real\nc\n")];
        let (_dir, packages) = host(&lists, &more);
        for (path, want) in [
            ("/bin/su", true),
            ("/usr/bin/su", true),
            ("/bin/top", true),
            ("/lib/x/y.so", true),
            ("/usr/bin/dash.real", true),
            ("/usr/bin/su2", false),
            ("/usr/local/bin/su", false),
            ("/binary/su", false),
        ] {
            assert_eq!(listed(&packages, path), want, "{path}");
        }
    }

    #[test]
    fn another_systems_tree_and_another_database_are_unknown() {
        let (dir, packages) = host(&[("a", "/bin/su\n")], &[("srv/chroot/etc/os-release", "ID=x\n")]);
        assert_eq!(packages.owner(&dir.path().join("srv/chroot/bin/su")), Packaged::Unknown);
        assert_eq!(packages.owner(&dir.path().join("srv/other/bin/su")), Packaged::No);
        assert_eq!(packages.owner(Path::new("/bin/su")), Packaged::Yes);
        let (dir, packages) = host(&[], &[("var/lib/rpm/rpmdb.sqlite", "")]);
        assert_eq!(packages.owner(&dir.path().join("bin/su")), Packaged::Unknown);
    }

    #[test]
    fn a_changed_database_is_read_again() {
        let (dir, packages) = host(&[("a", "/bin/su\n")], &[]);
        let before = packages.generation();
        write(dir.path(), "var/lib/dpkg/info/new.list", "/usr/bin/new\n");
        {
            let mut state = packages.lock();
            (state.checked, state.read) = (None, None);
        }
        let started = Instant::now();
        while packages.generation() == before {
            assert!(started.elapsed() < Duration::from_secs(10), "it was not read again");
            std::thread::yield_now();
        }
        assert_eq!(packages.owner(Path::new("/usr/bin/new")), Packaged::Yes);
    }

    /// On a Debian host, the truth.
    #[test]
    fn this_host() {
        let packages = Packages::of(Path::new("/"));
        let debian = Path::new("/var/lib/dpkg/info/base-files.list").exists();
        let want = if debian { Packaged::Yes } else { Packaged::Unknown };
        assert_eq!(packages.owner(Path::new("/usr/lib/os-release")), want);
        if debian {
            assert_eq!(packages.owner(Path::new("/usr/bin/nobody-packages-this")), Packaged::No);
        }
    }
}
