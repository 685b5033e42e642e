//! From the name in an event to watched paths.
//!
//! The kernel side sends names as processes gave them: relative to a directory it identifies by inode, with `..` and
//! symbolic links in them, seen from other root directories. A wrong answer here costs a wasted look; no answer costs
//! a change that is only found by the timed scan, so when in doubt the nearest existing watched directory is named.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::root::Root;
use crate::artifact::inventory::is_dir;
use crate::batch::{Dirty, NameKey};
use crate::collect::{Base, InodeId, Op, Watch};

/// Directories that names may be relative to without being watched: the ancestors of the watched roots.
#[derive(Debug, Default)]
pub(super) struct Ancestors {
    by_inode: HashMap<InodeId, PathBuf>,
}

impl Ancestors {
    /// Notes every ancestor of `root`. `id_of` gives a directory's kernel identity.
    pub(super) fn add(&mut self, root: &Path, mut id_of: impl FnMut(&Path) -> Option<InodeId>) {
        for dir in root.ancestors().skip(1) {
            if let Some(id) = id_of(dir) {
                self.by_inode.insert(id, dir.to_path_buf());
            }
        }
    }

    /// Watches them where that costs nothing: a name given relative to one of them (`cd /; rm etc/x`), and a rename of a
    /// root itself, are then reported with a directory that is known.
    pub(super) fn watch(&self, watch: &mut dyn Watch) {
        for (id, path) in &self.by_inode {
            // Without it such a change is found by the timed scan.
            let _ = watch.watch(*id, path, true);
        }
    }

    pub(super) fn get(&self, id: InodeId) -> Option<&Path> {
        self.by_inode.get(&id).map(PathBuf::as_path)
    }
}

/// Operations that follow a symbolic link in the last component, and so change another object than they name.
fn follows_links(dirty: &Dirty) -> bool {
    [Op::Chmod, Op::Chown, Op::Utime, Op::Xattr, Op::Truncate, Op::Flags].iter().any(|op| dirty.has(*op))
}

/// The watched paths that an event's name means: none, one, or (through a symbolic link) two.
pub(super) fn resolve(key: &NameKey, dirty: &Dirty, roots: &[&Root], ancestors: &Ancestors) -> Vec<PathBuf> {
    let Some(base) = base_path(key, roots, ancestors) else { return Vec::new() };
    let path = join(&base, &key.name);
    let mut found: Vec<PathBuf> = real_parent(&path, roots).into_iter().collect();
    // What happens to a directory above a root happens to the root.
    found.extend(
        roots.iter().map(|root| root.path()).filter(|root| root.starts_with(&path)).map(PathBuf::from),
    );
    if follows_links(dirty)
        && let Ok(real) = std::fs::canonicalize(&path)
        && under_root(&real, roots)
        && !found.contains(&real)
    {
        found.push(real);
    }
    found
}

fn base_path(key: &NameKey, roots: &[&Root], ancestors: &Ancestors) -> Option<PathBuf> {
    let by_identity = |id: InodeId| -> Option<PathBuf> {
        roots
            .iter()
            .find_map(|root| {
                let inventory = root.inventory();
                inventory
                    .by_inode(id)
                    .iter()
                    .find(|each| inventory.get(**each).is_some_and(is_dir))
                    .map(|each| inventory.path(*each))
            })
            .or_else(|| ancestors.get(id).map(Path::to_path_buf))
    };
    match &key.base {
        Base::Absolute => Some(PathBuf::from("/")),
        Base::Dir(id) | Base::Root(id) => by_identity(*id).or_else(|| key.base_path.clone()),
    }
}

/// Joins without letting an absolute name escape its base: a process in another root directory sees that as `/`.
fn join(base: &Path, name: &OsStr) -> PathBuf {
    let bytes = name.as_bytes();
    let relative = bytes.iter().position(|byte| *byte != b'/').map_or(&[][..], |start| &bytes[start..]);
    base.join(OsStr::from_bytes(relative))
}

/// `path` with the symbolic links and `..` of its directory resolved, if that ends below a watched root. The last name is
/// taken as it is: if it is a link, the link is what was made, renamed or removed.
fn real_parent(path: &Path, roots: &[&Root]) -> Option<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        // `..` at the end, or the root directory itself: let the file system say what it means.
        let real = std::fs::canonicalize(path).ok().or_else(|| nearest(&without_dots(path)));
        return real.filter(|path| under_root(path, roots));
    };
    if roots.iter().any(|root| is_known_dir(root, parent)) {
        return Some(path.to_path_buf());
    }
    let real = match std::fs::canonicalize(parent) {
        Ok(real) => real.join(name),
        // The directory is gone again; what is left of its path tells where to look.
        Err(_) => nearest(&without_dots(path))?,
    };
    under_root(&real, roots).then_some(real)
}

/// Whether a path is that of a known directory. One with `..` in it is not.
fn is_known_dir(root: &Root, path: &Path) -> bool {
    let inventory = root.inventory();
    inventory.by_path(path).and_then(|id| inventory.get(id)).is_some_and(is_dir)
}

/// `path` with `..` taken by the letter: what else, when there is nothing left that a link could lead through.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// The nearest ancestor that exists, with its links resolved, and the name below it.
fn nearest(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find_map(|dir| {
        let real = std::fs::canonicalize(dir).ok()?;
        let name = path.strip_prefix(dir).ok()?.components().next()?;
        Some(match name {
            Component::Normal(name) => real.join(name),
            _ => real,
        })
    })
}

fn under_root(path: &Path, roots: &[&Root]) -> bool {
    roots.iter().any(|root| path.starts_with(root.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_name_stays_below_the_root_directory_of_its_process() {
        assert_eq!(
            join(Path::new("/srv/jail"), OsStr::new("/etc/passwd")),
            Path::new("/srv/jail/etc/passwd")
        );
        assert_eq!(join(Path::new("/"), OsStr::new("//etc/x")), Path::new("/etc/x"));
        assert_eq!(join(Path::new("/etc"), OsStr::new("a/b")), Path::new("/etc/a/b"));
    }

    #[test]
    fn dots_are_taken_by_the_letter() {
        for (path, plain) in [("/a/../b", "/b"), ("/a/b/../../../c", "/c"), ("/a/./b/", "/a/b")] {
            assert_eq!(without_dots(Path::new(path)), Path::new(plain));
        }
    }

    #[test]
    fn the_nearest_existing_directory_names_where_a_deleted_tree_was() {
        let dir = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(dir.path()).unwrap();
        assert_eq!(nearest(&dir.path().join("gone/deep/file")), Some(real.join("gone")));
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        assert_eq!(nearest(&dir.path().join("link/gone/file")), Some(real.join("gone")));
    }
}
