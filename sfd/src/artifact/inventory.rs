//! What the agent believes is there: every artifact of one root, by number, by path and by inode.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use smallvec::SmallVec;

use crate::artifact::FileType;
use crate::brick::{ArtifactId, Row};
use crate::collect::InodeId;

/// One artifact and, for a directory, what is in it.
#[derive(Debug)]
struct Node {
    row: Row,
    /// In the order of their names, which are in their own rows only: a second copy of every name is a tenth of all this.
    children: Vec<ArtifactId>,
}

/// The artifacts of one watched root.
#[derive(Debug)]
pub struct Inventory {
    root: PathBuf,
    /// Boxed: a hash table is up to half empty, and a node has some hundred bytes.
    nodes: HashMap<ArtifactId, Box<Node>>,
    /// Hard links share an inode, hence the list. Nearly all have one name, for which it takes no memory of its own.
    by_inode: HashMap<InodeId, SmallVec<[ArtifactId; 2]>>,
    root_id: Option<ArtifactId>,
    next: u32,
    unverified: u64,
}

/// A catalog whose rows do not make a tree.
#[derive(Debug, thiserror::Error)]
#[error("catalog of {}: artifact {} {what}", root.display(), id.0)]
pub struct BrokenTree {
    root: PathBuf,
    id: ArtifactId,
    what: &'static str,
}

impl Inventory {
    /// An empty one for the tree at `root` (absolute).
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            nodes: HashMap::new(),
            by_inode: HashMap::new(),
            root_id: None,
            next: 1,
            unverified: 0,
        }
    }

    /// Rebuilds it from a catalog's rows.
    ///
    /// # Errors
    /// When the rows do not form one tree.
    pub fn from_rows(root: &Path, rows: Vec<Row>) -> Result<Self, BrokenTree> {
        let mut inventory = Self::new(root);
        let broken = |id, what| BrokenTree { root: root.to_path_buf(), id, what };
        let mut links = Vec::with_capacity(rows.len());
        for row in rows {
            links.push((row.id, row.parent));
            inventory.index(&row);
            let id = row.id;
            inventory.next = inventory.next.max(id.0 + 1);
            if inventory.nodes.insert(id, Box::new(Node { row, children: Vec::new() })).is_some() {
                return Err(broken(id, "occurs twice"));
            }
        }
        // In this order, each child is put at the end of its directory's list.
        links.sort_by(|(a, _), (b, _)| inventory.name(*a).cmp(inventory.name(*b)));
        for (id, parent) in links {
            let Some(parent) = parent else {
                if inventory.root_id.replace(id).is_some() {
                    return Err(broken(id, "is a second root"));
                }
                continue;
            };
            let last = inventory.nodes.get(&parent).and_then(|node| node.children.last().copied());
            if last.is_some_and(|last| inventory.name(last) == inventory.name(id)) {
                return Err(broken(id, "shares its name with another one"));
            }
            let Some(node) = inventory.nodes.get_mut(&parent).filter(|node| node.row.id != id) else {
                return Err(broken(id, "has no parent"));
            };
            node.children.push(id);
        }
        let reachable = inventory.root_id.map_or(0, |id| inventory.subtree(id).len());
        if reachable != inventory.nodes.len() {
            return Err(broken(ArtifactId(0), "tree has parts that the root does not reach"));
        }
        Ok(inventory)
    }

    /// The watched path.
    pub fn root_path(&self) -> &Path {
        &self.root
    }

    /// The watched root's own artifact.
    pub fn root_id(&self) -> Option<ArtifactId> {
        self.root_id
    }

    /// Number of artifacts.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// No artifact at all: before the baseline.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Number of artifacts that are not verified.
    pub fn unverified(&self) -> u64 {
        self.unverified
    }

    /// A number for a new artifact.
    pub fn fresh_id(&mut self) -> ArtifactId {
        let id = ArtifactId(self.next);
        self.next += 1;
        id
    }

    /// One artifact.
    pub fn get(&self, id: ArtifactId) -> Option<&Row> {
        self.nodes.get(&id).map(|node| &node.row)
    }

    /// All artifacts, in no particular order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.nodes.values().map(|node| &node.row)
    }

    /// Names and numbers in a directory, in name order.
    pub fn children(&self, id: ArtifactId) -> impl Iterator<Item = (&OsStr, ArtifactId)> {
        let children = self.nodes.get(&id).map_or(&[][..], |node| &node.children);
        children.iter().map(|child| (OsStr::from_bytes(self.name(*child)), *child))
    }

    fn name(&self, id: ArtifactId) -> &[u8] {
        self.nodes.get(&id).map_or(&[], |node| &node.row.name)
    }

    /// Where a name is in the list of a directory's children, or where it would be.
    fn position(&self, dir: ArtifactId, name: &[u8]) -> Result<usize, usize> {
        let children = self.nodes.get(&dir).map_or(&[][..], |node| &node.children);
        children.binary_search_by(|child| self.name(*child).cmp(name))
    }

    /// The artifact called `name` in a directory.
    pub fn child(&self, dir: ArtifactId, name: &OsStr) -> Option<ArtifactId> {
        let at = self.position(dir, name.as_bytes()).ok()?;
        self.nodes.get(&dir)?.children.get(at).copied()
    }

    /// The artifacts that are this inode (several for hard links).
    pub fn by_inode(&self, id: InodeId) -> &[ArtifactId] {
        self.by_inode.get(&id).map_or(&[], SmallVec::as_slice)
    }

    /// The artifact at an absolute path without `..` and symbolic links.
    pub fn by_path(&self, path: &Path) -> Option<ArtifactId> {
        let rest = path.strip_prefix(&self.root).ok()?;
        rest.components().try_fold(self.root_id?, |id, part| match part {
            Component::Normal(name) => self.child(id, name),
            Component::CurDir => Some(id),
            _ => None,
        })
    }

    /// Absolute path of an artifact.
    pub fn path(&self, id: ArtifactId) -> PathBuf {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = self.nodes.get(&id);
        while let Some(node) = at {
            let Some(parent) = node.row.parent else { break };
            names.push(&node.row.name);
            at = self.nodes.get(&parent);
        }
        let mut path = self.root.clone().into_os_string().into_vec();
        for name in names.iter().rev() {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        PathBuf::from(OsString::from_vec(path))
    }

    /// The artifact and everything below it, parents before children.
    pub fn subtree(&self, id: ArtifactId) -> Vec<ArtifactId> {
        let mut found = vec![id];
        let mut next = 0;
        while let Some(at) = found.get(next).copied() {
            next += 1;
            if let Some(node) = self.nodes.get(&at) {
                found.extend(&node.children);
            }
        }
        found
    }

    /// Inserts an artifact, or replaces what is known of it (its place in the tree included).
    pub fn put(&mut self, row: Row) {
        let id = row.id;
        let children = match self.unlink(id) {
            Some(node) => node.children,
            None => Vec::new(),
        };
        self.index(&row);
        match row.parent {
            Some(parent) => {
                let at = self.position(parent, &row.name);
                if let Some(node) = self.nodes.get_mut(&parent) {
                    match at {
                        Ok(taken) => node.children[taken] = id,
                        Err(free) => node.children.insert(free, id),
                    }
                }
            }
            None => self.root_id = Some(id),
        }
        self.next = self.next.max(id.0 + 1);
        self.nodes.insert(id, Box::new(Node { row, children }));
    }

    /// Marks every artifact unverified; one that is already keeps its reason.
    pub fn unverify_all(&mut self, why: &str) {
        for node in self.nodes.values_mut() {
            node.row.unverified.get_or_insert_with(|| why.to_owned());
        }
        self.unverified = self.nodes.len() as u64;
    }

    /// Marks every artifact unverified for this reason, whatever it was before.
    pub fn unverify_all_anew(&mut self, why: &str) {
        for node in self.nodes.values_mut() {
            node.row.unverified = Some(why.to_owned());
        }
        self.unverified = self.nodes.len() as u64;
    }

    /// Forgets one artifact (not what is below it: see [`Self::subtree`]).
    pub fn remove(&mut self, id: ArtifactId) -> Option<Row> {
        let node = self.unlink(id)?;
        if self.root_id == Some(id) {
            self.root_id = None;
        }
        Some(node.row)
    }

    fn index(&mut self, row: &Row) {
        self.by_inode.entry(inode_of(row)).or_default().push(row.id);
        self.unverified += u64::from(row.unverified.is_some());
    }

    fn unlink(&mut self, id: ArtifactId) -> Option<Box<Node>> {
        let place = self.nodes.get(&id).and_then(|node| {
            let parent = node.row.parent?;
            Some((parent, self.position(parent, &node.row.name).ok()?))
        });
        let node = self.nodes.remove(&id)?;
        let inode = inode_of(&node.row);
        if let Some(ids) = self.by_inode.get_mut(&inode) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_inode.remove(&inode);
            }
        }
        self.unverified -= u64::from(node.row.unverified.is_some());
        if let Some((parent, at)) = place
            && let Some(parent) = self.nodes.get_mut(&parent)
            // Another one may have taken the name meanwhile.
            && parent.children.get(at) == Some(&id)
        {
            parent.children.remove(at);
        }
        Some(node)
    }
}

/// Kernel identity of an artifact.
pub fn inode_of(row: &Row) -> InodeId {
    InodeId { dev: row.sb_dev, ino: row.meta.ino }
}

/// Whether an artifact is a directory (or a process).
pub fn is_dir(row: &Row) -> bool {
    row.meta.file_type == FileType::Directory
}
