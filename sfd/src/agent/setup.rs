//! From a configuration to roots that can be opened.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::labels::LaneMaker;
use super::resolve::Ancestors;
use super::root::{Opening, Root};
use super::state_dir::{StateDir, brick_names};
use super::versions::VersionConfig;
use super::worker::Opener;
use super::{AgentError, RootKind};
use crate::artifact::look::{LookOptions, Looker};
use crate::artifact::redact::Redactor;
use crate::artifact::view::{DiskView, ProcView, View, device_of_stat};
use crate::artifact::{Meta, Packages};
use crate::collect::device::DeviceMap;
use crate::collect::{CollectConfig, InodeId, NameSource, Source};
use crate::enrich::{EnrichConfig, Enricher};
use crate::map::MapConfig;
use crate::map::feed::Feed;

/// What `sfd run` works on.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Absolute, existing directories; none below another, none in the state directory: see [`merge_roots`].
    pub roots: Vec<PathBuf>,
    /// State directory, existing.
    pub state: PathBuf,
    /// Which collector to use.
    pub source: Source,
    /// Which eBPF hooks for names and attributes.
    pub name_hooks: NameSource,
    /// Globs of absolute paths that are left out.
    pub exclude: Vec<String>,
    /// Time that changes are collected before they are looked at.
    pub window: Duration,
    /// How often volatile projections of `/proc` are read.
    pub sample_every: Duration,
    /// How often trees are compared with the disk although nothing was reported.
    pub verify_every: Duration,
    /// The same for `/proc`, where some changes (sysctls, cgroups) have no event at all.
    pub verify_proc_every: Duration,
    /// Whether secrets are redacted.
    pub redact: bool,
    /// More globs of absolute paths whose contents are secret.
    pub redact_also: Vec<String>,
    /// How much of what text files held before their changes is kept.
    pub versions: VersionConfig,
    /// Which language model describes artifacts; `None`: none does.
    pub llm: Option<EnrichConfig>,
    /// Where and how the map is served; `None`: it is not.
    pub map: Option<MapConfig>,
    /// Tells the map of commits.
    pub feed: Feed,
    /// Bytes of the kernel's file-event ring; a power of two times the page size.
    pub file_ring_bytes: u32,
    /// Most inodes watched by the kernel side; beyond it scans do the work.
    pub watched_max: u32,
}

impl AgentConfig {
    /// How to collect; `redactor` masks secrets in arguments.
    pub(super) fn collect(&self, redactor: Redactor) -> CollectConfig {
        CollectConfig {
            source: self.source,
            name_hooks: self.name_hooks,
            state_dir: Some(self.state.clone()),
            file_ring_bytes: self.file_ring_bytes,
            watched_max: self.watched_max,
            redactor,
            ..CollectConfig::default()
        }
    }
}

/// Everything that was checked and made before the collector starts.
pub struct Prepared {
    /// How to open each root.
    pub(super) openers: Vec<(PathBuf, RootKind, Opener)>,
    /// The directories above the roots.
    pub(super) ancestors: Ancestors,
    /// Held while the agent runs: no other daemon writes these bricks.
    pub(super) lock: fs::File,
    /// Knows what is secret.
    pub(super) redactor: Redactor,
    /// What looks at files of the trees for the language model, by name of the brick.
    pub(super) lanes: HashMap<Arc<str>, LaneMaker>,
}

/// Checks the roots named by the user: they must exist and be directories, none may be inside the state directory;
/// links are resolved, and one that is below another is dropped because the other includes it.
///
/// # Errors
/// Names the root and the way out.
pub fn merge_roots(named: &[PathBuf], state: &Path) -> Result<Vec<PathBuf>, AgentError> {
    let mut roots = Vec::new();
    for path in named {
        let refused = |what: &str| AgentError::Refused { path: path.clone(), what: what.to_owned() };
        let real =
            fs::canonicalize(path).map_err(|source| AgentError::Root { path: path.clone(), source })?;
        let meta = fs::metadata(&real).map_err(|source| AgentError::Root { path: path.clone(), source })?;
        if !meta.is_dir() {
            return Err(refused("not a directory; watch the directory it is in"));
        }
        if real.starts_with(state) {
            return Err(refused(
                "is inside the state directory, which SFD writes to; choose another --state",
            ));
        }
        if real != Path::new("/proc") && real.starts_with("/proc") {
            return Err(refused("only /proc as a whole can be watched"));
        }
        roots.push(real);
    }
    roots.sort();
    roots.dedup();
    let all = roots.clone();
    // `/proc` is another kind of root: `--watch /,/proc` keeps both, and `/` does not descend into it.
    roots.retain(|root| {
        !all.iter().any(|other| other != root && root.starts_with(other) && kind_of(root) == RootKind::Tree)
    });
    if roots.is_empty() {
        let what = "nothing to watch; name at least one directory".to_owned();
        return Err(AgentError::Refused { path: PathBuf::from("--watch"), what });
    }
    Ok(roots)
}

pub(super) fn kind_of(root: &Path) -> RootKind {
    if root == Path::new("/proc") { RootKind::Proc } else { RootKind::Tree }
}

/// Checks what can be checked before anything is attached.
pub(super) fn prepare(
    config: &AgentConfig,
    stop: &Arc<AtomicBool>,
    enricher: Option<&Enricher>,
) -> Result<Prepared, AgentError> {
    let state = StateDir::create(&config.state)?;
    let lock = state.lock()?;
    let redactor =
        if config.redact { Redactor::open(state.path(), &config.redact_also)? } else { Redactor::disabled() };
    let mut ancestors = Ancestors::default();
    let mut devices = DeviceMap::new();
    for root in &config.roots {
        ancestors.add(root, |dir| devices.inode_id(dir).ok());
    }
    let own: Vec<InodeId> = [devices.inode_id_of(std::io::stdout()), devices.inode_id_of(std::io::stderr())]
        .into_iter()
        .flatten()
        .collect();
    let names = brick_names(&config.roots);
    let packages = Packages::of(Path::new("/"));
    let mut openers = Vec::new();
    let mut lanes = HashMap::new();
    for (path, name) in config.roots.iter().zip(names) {
        let kind = kind_of(path);
        // A wrong glob is an error now, not when the root is opened again some day.
        view_of(kind, path, &config.exclude, state.path())?;
        let (root, bricks) = (path.clone(), state.bricks());
        let stop = Arc::clone(stop);
        let own = own.clone();
        let versions = config.versions;
        let enricher = enricher.cloned();
        let feed = config.feed.clone();
        let lane = lane_maker(kind, path, config, state.path(), &redactor, &packages);
        if kind == RootKind::Tree {
            lanes.insert(Arc::from(name.as_str()), Arc::clone(&lane));
        }
        let open: Opener = Box::new(move |watch, progress| {
            let (view, looker) = lane()?;
            let opening = Opening {
                bricks: &bricks,
                name: &name,
                path: &root,
                kind,
                view,
                looker,
                // What is read of `/proc` is small, and its view remembers what it has listed.
                lane: (kind == RootKind::Tree).then_some(&*lane),
                stop: Arc::clone(&stop),
                own: own.clone(),
                versions,
                enricher: enricher.clone(),
                feed: feed.clone(),
            };
            Root::open(opening, watch, progress)
        });
        openers.push((path.clone(), kind, open));
    }
    Ok(Prepared { openers, ancestors, lock, redactor, lanes })
}

/// Makes what looks at the files of one root, as often as it is asked.
fn lane_maker(
    kind: RootKind,
    root: &Path,
    config: &AgentConfig,
    state: &Path,
    redactor: &Redactor,
    packages: &Arc<Packages>,
) -> LaneMaker {
    let (root, exclude, state) = (root.to_path_buf(), config.exclude.clone(), state.to_path_buf());
    let (redactor, packages) = (redactor.clone(), Arc::clone(packages));
    Arc::new(move || {
        let view = view_of(kind, &root, &exclude, &state)?;
        let looker = Looker::new(LookOptions::default(), redactor.clone());
        Ok((view, looker.with_packages(Arc::clone(&packages))))
    })
}

fn view_of(
    kind: RootKind,
    root: &Path,
    exclude: &[String],
    state: &Path,
) -> Result<Box<dyn View>, AgentError> {
    Ok(match kind {
        RootKind::Tree => Box::new(disk_view(root, exclude)?.exclude_paths([state.to_path_buf()])),
        RootKind::Proc => Box::new(ProcView::new(root)),
    })
}

/// A view of a directory tree without what the globs match.
///
/// # Errors
/// When a glob is not one.
pub fn disk_view(root: &Path, exclude: &[String]) -> Result<DiskView, AgentError> {
    let refused = |error: globset::Error| AgentError::Refused {
        path: PathBuf::from("--exclude"),
        what: error.to_string(),
    };
    let view = DiskView::new(root).exclude_globs(exclude).map_err(refused)?;
    let devices = Arc::new(Mutex::new(Devices {
        map: DeviceMap::new(),
        root: root.to_path_buf(),
        by_stat: HashMap::new(),
        mounts_changed: view.mounts_flag(),
    }));
    let same = Arc::clone(&devices);
    let view = view.with_device_of(Box::new(move |path, meta| lock(&devices).device_of(path, meta)));
    Ok(view.with_other_id(Box::new(move |path, id| lock(&same).fresh().upper(path, id.dev))))
}

/// What is known of devices, and whether that is old.
struct Devices {
    map: DeviceMap,
    root: PathBuf,
    /// Superblock devices by `st_dev`, where each number that `stat` shows is of one superblock: anywhere but on overlays
    /// (on btrfs, several numbers are of the same one).
    by_stat: HashMap<u64, u32>,
    mounts_changed: Arc<AtomicBool>,
}

impl Devices {
    fn device_of(&mut self, path: &Path, meta: &Meta) -> u32 {
        self.fresh();
        if let Some(dev) = self.by_stat.get(&meta.dev) {
            return *dev;
        }
        let Ok(dev) = self.map.kernel_dev(path) else { return device_of_stat(meta) };
        if !self.map.has_overlay(&self.root) {
            self.by_stat.insert(meta.dev, dev);
        }
        dev
    }

    fn fresh(&mut self) -> &mut DeviceMap {
        // The number of an unmounted file system's mount is soon that of another one.
        if self.mounts_changed.swap(false, Ordering::Relaxed) {
            self.map.forget();
            self.by_stat.clear();
        }
        &mut self.map
    }
}

/// One thread uses a view, so nobody ever waits here; a panic elsewhere leaves the map as good as it was.
fn lock(devices: &Mutex<Devices>) -> MutexGuard<'_, Devices> {
    devices.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(named: &[&Path], state: &Path) -> Result<Vec<PathBuf>, AgentError> {
        merge_roots(&named.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>(), state)
    }

    #[test]
    fn roots_that_nest_are_merged_and_proc_stays_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(top.join("a/b")).unwrap();
        let proc = Path::new("/proc");
        let (a, b) = (top.join("a"), top.join("a/b"));
        assert_eq!(
            merged(&[&b, &a, &a, proc], Path::new("/nowhere")).unwrap(),
            [proc.to_path_buf(), a.clone()]
        );
        assert_eq!(merged(&[Path::new("/"), proc], Path::new("/nowhere")).unwrap().len(), 2);
        std::os::unix::fs::symlink(&a, top.join("link")).unwrap();
        assert_eq!(merged(&[&top.join("link")], Path::new("/nowhere")).unwrap(), [a]);
    }

    #[test]
    fn a_root_that_cannot_be_watched_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(dir.path()).unwrap();
        fs::write(top.join("file"), "x").unwrap();
        for (path, state) in [
            (top.join("missing"), Path::new("/nowhere")),
            (top.join("file"), Path::new("/nowhere")),
            (top.clone(), top.as_path()),
            (PathBuf::from("/proc/self"), Path::new("/nowhere")),
        ] {
            let error = merged(&[&path], state).unwrap_err().to_string();
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
        }
    }
}
