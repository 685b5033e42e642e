//! What a job is about: a file, a directory, a glob, or a projection of `/proc` or `/sys`.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use rustix::fs::OFlags;

use super::TaskError;
use crate::agent::{AgentError, disk_view, fold_roots, now_ns};
use crate::artifact::view::{MemoryView, ProcView, View};

/// Names that a glob looks at, at most: a second or two.
const GLOB_NAMES_MAX: usize = 1_000_000;
/// Directories below each other that are walked.
const DEPTH_MAX: usize = 64;
/// Names of `/sys` that are looked at, at most; a server has about 200 000 in all.
const SYS_NAMES_MAX: usize = 200_000;
/// An attribute of `/sys` is at most a page; the size that the file system shows for one is exactly that.
/// What has another size is binary, and reading it may reach into a device.
const SYS_ATTRIBUTE_BYTES: u64 = 4096;

/// What is folded.
pub(super) enum Source {
    /// Ordinary files and directories.
    Disk {
        roots: Vec<PathBuf>,
        /// Matches of a glob beyond the limit.
        left_out: u64,
    },
    /// Projections of `/proc`.
    Proc { roots: Vec<PathBuf> },
    /// Attributes of `/sys`, gathered.
    Memory { roots: Vec<PathBuf>, view: MemoryView, left_out: u64 },
}

impl Source {
    /// Finds what a text means. Relative paths begin at `root`.
    ///
    /// # Errors
    /// There is nothing of that name, or the glob is none or matches nothing.
    pub(super) fn find(text: &str, root: &Path, files_max: usize) -> Result<Self, TaskError> {
        if let Some(name) = text.strip_prefix("proc:") {
            return Self::proc(&Path::new("/proc").join(name.trim_start_matches('/')), text);
        }
        if let Some(name) = text.strip_prefix("sys:") {
            return sys(&Path::new("/sys").join(name.trim_start_matches('/')), text, files_max);
        }
        // Joining an absolute path gives that path.
        let path = root.join(text);
        if path.starts_with("/proc") {
            return Self::proc(&path, text);
        }
        if path.starts_with("/sys") {
            return sys(&path, text, files_max);
        }
        match std::fs::symlink_metadata(&path) {
            Ok(_) => {
                let roots = fold_roots(&[path]).map_err(|error| missing(text, &error))?;
                // A link to a place of the kernel's is that place.
                match roots.first() {
                    Some(root) if root.starts_with("/proc") => Self::proc(root, text),
                    Some(root) if root.starts_with("/sys") => sys(root, text, files_max),
                    _ => Ok(Self::Disk { roots, left_out: 0 }),
                }
            }
            Err(_) if text.contains(['*', '?', '[', '{']) => glob(text, &path, files_max),
            Err(error) => Err(missing(text, &error)),
        }
    }

    fn proc(path: &Path, text: &str) -> Result<Self, TaskError> {
        ProcView::new(Path::new("/proc")).meta(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                let what =
                    format!("source {text:?}: not one of the projections of /proc; docs/proc.md lists them");
                TaskError::Missing { what }
            } else {
                missing(text, &error)
            }
        })?;
        Ok(Self::Proc { roots: vec![path.to_path_buf()] })
    }

    pub(super) fn roots(&self) -> &[PathBuf] {
        match self {
            Self::Disk { roots, .. } | Self::Proc { roots } | Self::Memory { roots, .. } => roots,
        }
    }

    /// Found, but more than the job takes.
    pub(super) fn left_out(&self) -> u64 {
        match self {
            Self::Disk { left_out, .. } | Self::Memory { left_out, .. } => *left_out,
            Self::Proc { .. } => 0,
        }
    }

    /// A view of it that leaves some paths out.
    pub(super) fn view(&self, without: &[PathBuf]) -> Result<Box<dyn View>, AgentError> {
        Ok(match self {
            Self::Disk { .. } => {
                Box::new(disk_view(Path::new("/"), &[])?.exclude_paths(without.iter().cloned()))
            }
            Self::Proc { .. } => Box::new(ProcView::new(Path::new("/proc"))),
            Self::Memory { view, .. } => Box::new(view.clone()),
        })
    }

    /// The one file it is.
    pub(super) fn only_file(&self, text: &str) -> Result<(), TaskError> {
        match self {
            Self::Disk { roots, .. } if roots.len() == 1 && !is_dir(roots) => Ok(()),
            _ => Err(TaskError::malformed(format!(
                "source {text:?} is not one file; convert_directory takes directories"
            ))),
        }
    }

    /// The one directory it is.
    pub(super) fn only_directory(&self, text: &str) -> Result<(), TaskError> {
        match self {
            Self::Disk { roots, .. } if roots.len() == 1 && is_dir(roots) => Ok(()),
            _ => Err(TaskError::malformed(format!("source {text:?} is not a directory"))),
        }
    }
}

fn is_dir(roots: &[PathBuf]) -> bool {
    roots.first().is_some_and(|root| std::fs::symlink_metadata(root).is_ok_and(|meta| meta.is_dir()))
}

fn missing(text: &str, error: &dyn std::fmt::Display) -> TaskError {
    TaskError::Missing { what: format!("source {text:?}: {error}") }
}

/// Files that match, the first by path.
fn glob(text: &str, pattern: &Path, files_max: usize) -> Result<Source, TaskError> {
    let refused = |why: String| TaskError::Missing { what: format!("source {text:?}: {why}") };
    let Some(shown) = pattern.to_str() else { return Err(refused("is not UTF-8".into())) };
    let glob = GlobBuilder::new(shown).literal_separator(true).build();
    let matcher = glob.map_err(|error| refused(error.to_string()))?.compile_matcher();
    // The directories before the first wildcard.
    let fixed: PathBuf = pattern
        .components()
        .take_while(|part| !part.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte)))
        .collect();
    let (mut found, mut seen) = (Vec::new(), 0);
    let walked = walk(&fixed, &mut |path, is_dir| {
        seen += 1;
        if !is_dir && matcher.is_match(path) {
            found.push(path.to_path_buf());
        }
        seen < GLOB_NAMES_MAX
    });
    walked.map_err(|error| refused(format!("{}: {error}", fixed.display())))?;
    if seen >= GLOB_NAMES_MAX {
        return Err(refused(format!("more than {GLOB_NAMES_MAX} names to look at; name a deeper directory")));
    }
    if found.is_empty() {
        return Err(refused("nothing matches it".into()));
    }
    found.sort();
    let left_out = found.len().saturating_sub(files_max) as u64;
    found.truncate(files_max);
    let roots = fold_roots(&found).map_err(|error| missing(text, &error))?;
    Ok(Source::Disk { roots, left_out })
}

/// Tells every name below a directory, through no symbolic link, to `each`, which may end the walk. What cannot be listed
/// below it is passed over.
pub(super) fn walk(dir: &Path, each: &mut dyn FnMut(&Path, bool) -> bool) -> std::io::Result<()> {
    let mut open = vec![(dir.to_path_buf(), 0)];
    let mut first = true;
    while let Some((dir, depth)) = open.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if first => return Err(error),
            Err(_) => continue,
        };
        first = false;
        for entry in entries.flatten() {
            let Ok(file_type) = entry.file_type() else { continue };
            if !each(&entry.path(), file_type.is_dir()) {
                return Ok(());
            }
            if file_type.is_dir() && depth < DEPTH_MAX {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(())
}

/// The attributes at or below a path of `/sys`.
fn sys(path: &Path, text: &str, files_max: usize) -> Result<Source, TaskError> {
    // Most names in /sys/class and /sys/bus are links into /sys/devices.
    let root = std::fs::canonicalize(path).map_err(|error| missing(text, &error))?;
    if !root.starts_with("/sys") {
        return Err(missing(text, &"leads out of /sys"));
    }
    let device = |path: &Path| std::fs::symlink_metadata(path).map(|meta| meta.dev());
    let sysfs = device(Path::new("/sys")).map_err(|error| missing(text, &error))?;
    let mut found = Vec::new();
    if std::fs::symlink_metadata(&root).is_ok_and(|meta| meta.is_dir()) {
        let mut seen = 0;
        walk(&root, &mut |path, is_dir| {
            seen += 1;
            if !is_dir {
                found.push(path.to_path_buf());
            }
            seen < SYS_NAMES_MAX
        })
        .map_err(|error| missing(text, &error))?;
        if seen >= SYS_NAMES_MAX {
            return Err(missing(text, &"too many names below it; name a deeper directory"));
        }
    } else {
        found.push(root.clone());
    }
    found.sort();
    let mut files = BTreeMap::new();
    let mut left_out = 0;
    for path in found {
        // Other file systems that are mounted below (debugfs, tracefs, securityfs) are not attributes of devices.
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        let readable = meta.mode() & 0o444 != 0 && meta.size() == SYS_ATTRIBUTE_BYTES;
        if !meta.is_file() || meta.dev() != sysfs || !readable {
            continue;
        }
        if files.len() == files_max {
            left_out += 1;
        } else if let Ok(contents) = attribute(&path) {
            files.insert(path, contents);
        }
    }
    if files.is_empty() {
        return Err(missing(text, &"no attribute in it can be read"));
    }
    Ok(Source::Memory { roots: vec![root], view: MemoryView::new(files, now_ns()), left_out })
}

fn attribute(path: &Path) -> std::io::Result<Vec<u8>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut contents = Vec::new();
    file.take(SYS_ATTRIBUTE_BYTES).read_to_end(&mut contents)?;
    Ok(contents)
}
