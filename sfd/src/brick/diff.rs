//! What is different between two bricks, artifact by artifact.
//!
//! Artifacts are the same if they have the same path, below the root if both bricks have one root each. What is left has
//! *moved* if it has the same name and contents as something that is left of the other brick, or, in two bricks of one
//! directory, the same inode and either the same name, contents or time: file systems give the inode of a file that was
//! removed to the next one that is made, so that the inode alone says little (except of a directory).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::moment::Touched;
use super::paths::paths;
use super::{ArtifactId, Moment, Row};
use crate::artifact::FileType;
use crate::fold::Differing;

/// An artifact of one of the bricks.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// Its whole path, raw bytes.
    pub path: Vec<u8>,
    /// What is known of it.
    pub row: &'a Row,
}

/// What is different about an artifact that is in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub struct Changes {
    /// Its contents.
    pub content: bool,
    /// Mode, owner, times, links, device number, whether it is redacted.
    pub metadata: bool,
    /// What it is said to be: kind, title, summary, tags, risk.
    pub semantics: bool,
    /// Whether it is verified.
    pub verification: bool,
}

impl Changes {
    /// Whether there are any.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.content, "content"),
            (self.metadata, "metadata"),
            (self.semantics, "semantics"),
            (self.verification, "verification"),
        ];
        all.into_iter().filter(|(is, _)| *is).map(|(_, name)| name)
    }
}

/// An artifact that is in both bricks, and not the same.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// In the first.
    pub a: Found<'a>,
    /// In the second.
    pub b: Found<'a>,
    /// What is different, apart from its path.
    pub changes: Changes,
    /// It has the same name in the same directory, and has moved only because that has.
    pub carried: bool,
}

/// What is different between two bricks. All lists are in the order of paths.
#[derive(Clone, Debug, Default)]
pub struct Diff<'a> {
    /// In the second brick only.
    pub added: Vec<Found<'a>>,
    /// In the first brick only.
    pub removed: Vec<Found<'a>>,
    /// At the same path in both.
    pub changed: Vec<Pair<'a>>,
    /// At another path; they may have changed, too.
    pub moved: Vec<Pair<'a>>,
    /// The leaves in which the pixels differ; `None` when the orders do not allow to tell.
    pub pixels: Option<Differing>,
}

impl Diff<'_> {
    /// Whether the bricks hold the same. They may hold it at different places of the curve.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && self.moved.is_empty()
    }
}

/// Compares two bricks.
pub fn diff<'a>(a: &'a Moment, b: &'a Moment) -> Diff<'a> {
    let pixels = a.differing(b);
    let touched = pixels.as_ref().map(Touched::new);
    let (a, b) = (Tree::new(a), Tree::new(b));
    let is_below_root = a.root.is_some() && b.root.is_some();
    let key = |tree: &Tree<'_>, path: &[u8]| match tree.root {
        Some(root) if is_below_root => path[root.name.len().min(path.len())..].to_vec(),
        _ => path.to_vec(),
    };
    let keyed = |tree: &Tree<'a>| -> BTreeMap<Vec<u8>, Found<'a>> {
        tree.all().map(|found| (key(tree, &found.path), found)).collect()
    };
    let (mut old, mut new) = (keyed(&a), keyed(&b));
    let mut diff = Diff::default();
    let both: Vec<Vec<u8>> = old.keys().filter(|path| new.contains_key(*path)).cloned().collect();
    for path in both {
        // Something of another sort is another thing: the one is gone, the other is new.
        let same = old[&path].row.meta.file_type == new[&path].row.meta.file_type;
        if same && let (Some(a), Some(b)) = (old.remove(&path), new.remove(&path)) {
            let changes = changes(a.row, b.row, touched.as_ref());
            if changes.any() {
                diff.changed.push(Pair { a, b, changes, carried: false });
            }
        }
    }
    let one_directory = match (a.root, b.root) {
        (Some(a), Some(b)) => a.name == b.name && inode(a) == inode(b),
        _ => false,
    };
    if one_directory {
        let mut take = |what: &dyn Fn(&'a Row) -> Option<Vec<u8>>| {
            let identity = |row: &'a Row| Some((inode(row), what(row)?));
            take_moved(&mut old, &mut new, identity, &mut diff.moved, touched.as_ref());
        };
        take(&|row| (row.meta.file_type == FileType::Directory).then(Vec::new));
        take(&|row| Some(row.content_hash.to_vec()).filter(|_| !row.was_never_read()));
        take(&|row| Some(row.name.clone()));
        take(&|row| Some(row.meta.mtime_ns.to_le_bytes().to_vec()));
    }
    let identity = |row: &'a Row| (!row.was_never_read()).then_some((row.name.as_slice(), row.content_hash));
    take_moved(&mut old, &mut new, identity, &mut diff.moved, touched.as_ref());
    diff.moved.sort_by(|x, y| x.b.path.cmp(&y.b.path));
    mark_carried(&mut diff.moved);
    diff.removed = old.into_values().collect();
    diff.added = new.into_values().collect();
    diff.pixels = pixels;
    diff
}

/// Kernel identity.
fn inode(row: &Row) -> (u32, u64) {
    (row.sb_dev, row.meta.ino)
}

/// Marks what has moved only with its directory.
fn mark_carried(moved: &mut [Pair<'_>]) {
    let pairs: HashSet<_> = moved.iter().map(|pair| (pair.a.row.id, pair.b.row.id)).collect();
    for pair in moved {
        let (a, b) = (pair.a.row, pair.b.row);
        let directory = a.parent.zip(b.parent);
        pair.carried = a.name == b.name && directory.is_some_and(|directory| pairs.contains(&directory));
    }
}

/// Pairs what has the same identity, if it has one, and is of the same sort, each artifact once, in the order of paths.
fn take_moved<'a, K: std::hash::Hash + Eq>(
    old: &mut BTreeMap<Vec<u8>, Found<'a>>,
    new: &mut BTreeMap<Vec<u8>, Found<'a>>,
    identity: impl Fn(&'a Row) -> Option<K>,
    moved: &mut Vec<Pair<'a>>,
    touched: Option<&Touched>,
) {
    let key = |found: &Found<'a>| Some((found.row.meta.file_type, identity(found.row)?));
    // A stack each: the last path first, so that the first is on top.
    let mut places: HashMap<_, Vec<Vec<u8>>> = HashMap::new();
    for (path, found) in old.iter().rev() {
        if let Some(key) = key(found) {
            places.entry(key).or_default().push(path.clone());
        }
    }
    let all: Vec<Vec<u8>> = new.keys().cloned().collect();
    for path in all {
        let from = new.get(&path).and_then(|found| places.get_mut(&key(found)?)?.pop());
        if let Some(a) = from.and_then(|from| old.remove(&from))
            && let Some(b) = new.remove(&path)
        {
            let changes = changes(a.row, b.row, touched);
            moved.push(Pair { a, b, changes, carried: false });
        }
    }
}

fn changes(a: &Row, b: &Row, touched: Option<&Touched>) -> Changes {
    // Equal leaves hold equal bytes, and equal kinds, risks and flags: nothing of that is compared.
    let same_pixels = a.block == b.block && touched.is_some_and(|touched| !touched.has(a.block));
    let same_bytes = same_pixels && a.exact && b.exact && a.len == b.len;
    // The cells of anything else are its metadata, so their hash says nothing about contents.
    let has_contents = matches!(b.meta.file_type, FileType::File | FileType::Symlink);
    let metadata = |row: &Row| {
        let meta = &row.meta;
        // A directory's times and links follow from what happened in it, which is told of that.
        let of_itself = (meta.file_type != FileType::Directory).then_some((meta.mtime_ns, meta.nlink));
        (meta.mode, meta.uid, meta.gid, meta.rdev, row.redacted, of_itself)
    };
    Changes {
        content: has_contents && !same_bytes && (a.content_hash, a.len) != (b.content_hash, b.len),
        metadata: metadata(a) != metadata(b),
        semantics: if a.name == b.name {
            a.semantics != b.semantics
        } else {
            // Titles and summaries may hold the name.
            (a.semantics.kind, &a.semantics.risk) != (b.semantics.kind, &b.semantics.risk)
        },
        verification: !same_pixels && a.unverified.is_some() != b.unverified.is_some(),
    }
}

/// The artifacts of a brick with their paths.
struct Tree<'a> {
    rows: &'a [Row],
    paths: HashMap<ArtifactId, Vec<u8>>,
    /// The root, if there is one and no more.
    root: Option<&'a Row>,
}

impl<'a> Tree<'a> {
    fn new(moment: &'a Moment) -> Self {
        let ids: HashSet<_> = moment.rows.iter().map(|row| row.id).collect();
        let is_root = |row: &&Row| row.parent.is_none_or(|parent| !ids.contains(&parent));
        let mut roots = moment.rows.iter().filter(is_root);
        let root = roots.next().filter(|_| roots.next().is_none());
        Self { rows: &moment.rows, paths: paths(&moment.rows), root }
    }

    fn all(&self) -> impl Iterator<Item = Found<'a>> {
        let path = |row: &Row| self.paths.get(&row.id).cloned().unwrap_or_else(|| row.name.clone());
        self.rows.iter().map(move |row| Found { path: path(row), row })
    }
}
