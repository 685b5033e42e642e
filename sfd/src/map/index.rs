//! Where everything of one brick is: names, rectangles, times. In memory, because a catalog finds a path or a place only by
//! looking through a table.
//!
//! Made from the catalog when somebody looks at the map for the first time, kept up by the notes of commits. About 150
//! bytes an artifact.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

use super::geometry::{LEAF_ORDER, Rect};
use crate::artifact::FileType;
use crate::artifact::kinds::Kind;
use crate::brick::ArtifactId;
use crate::brick::catalog::Outline;
use crate::fold::curve::TILE_CELLS;
use crate::fold::merkle::LEAF_CELLS;
use crate::fold::{Block, Curve};

/// Directories above each other, at most; a damaged catalog may hold a ring.
const DEPTH_MAX: usize = 4096;

/// What is known of an artifact.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) parent: Option<ArtifactId>,
    /// Raw bytes; of the root the whole path.
    pub(super) name: Box<[u8]>,
    pub(super) file_type: FileType,
    pub(super) kind: Kind,
    pub(super) risk: u8,
    pub(super) redacted: bool,
    pub(super) unverified: bool,
    pub(super) block: Block,
    pub(super) rect: Rect,
    /// When it last changed, nanoseconds since the Unix epoch; 0: not known.
    pub(super) changed_ns: i64,
}

/// All artifacts of a brick.
#[derive(Debug)]
pub(super) struct Index {
    curve: Curve,
    entries: HashMap<ArtifactId, Entry, FixedState>,
    by_start: BTreeMap<u64, ArtifactId>,
}

impl Index {
    pub(super) fn new(order: u8, outlines: Vec<Outline>) -> Self {
        let mut index = Self {
            curve: Curve::new(order),
            entries: HashMap::with_capacity_and_hasher(outlines.len(), FixedState::default()),
            by_start: BTreeMap::new(),
        };
        for outline in outlines {
            index.put(outline);
        }
        index
    }

    /// Adds or replaces an artifact. What changed later than its times say is remembered.
    pub(super) fn put(&mut self, outline: Outline) {
        let told_ns = self.remove(outline.id).map_or(0, |entry| entry.changed_ns);
        let Outline { id, parent, name, file_type, kind, risk, block, redacted, unverified, changed_ns } =
            outline;
        self.by_start.insert(block.start, id);
        let entry = Entry {
            parent,
            name: name.into(),
            file_type,
            kind,
            risk,
            redacted,
            unverified,
            block,
            rect: Rect::of(self.curve, block),
            changed_ns: changed_ns.max(told_ns),
        };
        self.entries.insert(id, entry);
    }

    /// Takes an artifact out.
    pub(super) fn remove(&mut self, id: ArtifactId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        // Another one may have its place by now.
        if self.by_start.get(&entry.block.start) == Some(&id) {
            self.by_start.remove(&entry.block.start);
        }
        Some(entry)
    }

    /// History tells of a change.
    pub(super) fn told(&mut self, id: ArtifactId, at_ns: i64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.changed_ns = entry.changed_ns.max(at_ns);
        }
    }

    pub(super) fn get(&self, id: ArtifactId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ArtifactId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// The same in the order of their places on the curve.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (ArtifactId, &Entry)> {
        self.by_start.values().filter_map(|id| Some((*id, self.entries.get(id)?)))
    }

    /// Whose cell it is.
    pub(super) fn at(&self, x: u32, y: u32) -> Option<ArtifactId> {
        let cell = self.curve.cell(x, y);
        let (_, id) = self.by_start.range(..=cell).next_back()?;
        (self.entries.get(id)?.block.end() > cell).then_some(*id)
    }

    /// The artifacts whose blocks share cells with an aligned block, in curve order.
    pub(super) fn within(&self, block: Block) -> impl Iterator<Item = (ArtifactId, &Entry)> {
        // Blocks are disjoint and aligned: at most one starts before and reaches into this one.
        let before = self.by_start.range(..block.start).next_back();
        let inside = self.by_start.range(block.start..block.end());
        let all = before.into_iter().chain(inside);
        let known = all.filter_map(|(_, id)| Some((*id, self.entries.get(id)?)));
        known.filter(move |(_, entry)| entry.block.overlaps(block))
    }

    /// Absolute path of an artifact, raw bytes.
    pub(super) fn path(&self, id: ArtifactId) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = Some(id);
        while let Some(entry) = at.filter(|_| names.len() < DEPTH_MAX).and_then(|id| self.get(id)) {
            names.push(&entry.name);
            at = entry.parent;
        }
        let mut path = Vec::new();
        for (depth, name) in names.iter().rev().enumerate() {
            if depth > 0 && path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        path
    }

    /// The artifact at an absolute path.
    pub(super) fn by_path(&self, path: &[u8]) -> Option<ArtifactId> {
        let (root, name) =
            self.entries.iter().find(|(_, entry)| entry.parent.is_none()).map(|(id, e)| (*id, &e.name))?;
        let rest = path.strip_prefix(name.strip_suffix(b"/").unwrap_or(name))?;
        if !rest.is_empty() && !rest.starts_with(b"/") {
            return None;
        }
        let mut names = rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.try_fold(root, |parent, name| {
            let child = |(_, entry): &(&ArtifactId, &Entry)| {
                entry.parent == Some(parent) && entry.name.as_ref() == name
            };
            self.entries.iter().find(child).map(|(id, _)| *id)
        })
    }

    /// What is in a directory: directories first, then by name.
    pub(super) fn children(&self, parent: ArtifactId) -> Vec<ArtifactId> {
        let mut children: Vec<(bool, &[u8], ArtifactId)> = self
            .iter()
            .filter(|(_, entry)| entry.parent == Some(parent))
            .map(|(id, entry)| (entry.file_type != FileType::Directory, &*entry.name, id))
            .collect();
        children.sort_unstable();
        children.into_iter().map(|(_, _, id)| id).collect()
    }

    /// For each leaf of `count` leaves from `first` on, and for each 8x8 square in it (bit or index `row * 8 + column`),
    /// what `value` says of the artifact that has it.
    pub(super) fn squares<T: Copy>(
        &self,
        (first, count): (u64, u64),
        blank: T,
        value: impl Fn(&Entry) -> Option<T>,
    ) -> Vec<[T; 64]> {
        let mut leaves = vec![[blank; 64]; count as usize];
        let (start, end) = (first * LEAF_CELLS, (first + count) * LEAF_CELLS);
        let before = self.by_start.range(..start).next_back();
        for (_, id) in before.into_iter().chain(self.by_start.range(start..end)) {
            let Some(entry) = self.entries.get(id) else { continue };
            let Some(value) = value(entry) else { continue };
            let (from, to) = (entry.block.start.max(start), entry.block.end().min(end));
            if from >= to {
                continue;
            }
            let squares = self.curve.tiles(from, to - from);
            for (cell, square) in (from..to).step_by(TILE_CELLS as usize).zip(squares) {
                leaves[((cell - start) / LEAF_CELLS) as usize][square_in_leaf(square.x, square.y)] = value;
            }
        }
        leaves
    }
}

/// Number of an 8x8 square in its leaf, row by row.
pub(super) fn square_in_leaf(x: u32, y: u32) -> usize {
    let mask = (1 << LEAF_ORDER) - 1;
    ((y & mask) / 8 * 8 + (x & mask) / 8) as usize
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::map) fn outline(id: u32, parent: Option<u32>, name: &str, start: u64, k: u8) -> Outline {
        Outline {
            id: ArtifactId(id),
            parent: parent.map(ArtifactId),
            name: name.as_bytes().to_vec(),
            file_type: if k == 6 { FileType::Directory } else { FileType::File },
            kind: Kind::Text,
            risk: 0,
            block: Block { start, k },
            redacted: false,
            unverified: false,
            changed_ns: i64::from(id),
        }
    }

    fn index() -> Index {
        let outlines = vec![
            outline(1, None, "/etc", 0, 6),
            outline(2, Some(1), "ssh", 64, 6),
            outline(3, Some(2), "sshd_config", 128, 7),
            outline(4, Some(1), "passwd", 4096, 12),
        ];
        Index::new(8, outlines)
    }

    #[test]
    fn paths_lead_there_and_back() {
        let index = index();
        for (id, path) in [(1, "/etc"), (2, "/etc/ssh"), (3, "/etc/ssh/sshd_config"), (4, "/etc/passwd")] {
            assert_eq!(index.path(ArtifactId(id)), path.as_bytes());
            assert_eq!(index.by_path(path.as_bytes()), Some(ArtifactId(id)));
        }
        for path in ["/", "/etcetera", "/etc/sshd_config", "/etc/ssh/sshd_config/x", "etc"] {
            assert_eq!(index.by_path(path.as_bytes()), None, "{path}");
        }
        assert_eq!(index.children(ArtifactId(1)), [ArtifactId(2), ArtifactId(4)]);
    }

    #[test]
    fn a_ring_of_directories_ends() {
        let outlines = vec![outline(1, Some(2), "a", 0, 6), outline(2, Some(1), "b", 64, 6)];
        assert!(Index::new(8, outlines).path(ArtifactId(1)).len() < 3 * DEPTH_MAX);
    }

    #[test]
    fn every_cell_knows_whose_it_is() {
        let mut index = index();
        let curve = Curve::new(8);
        for cell in 0..curve.cells() {
            let (x, y) = curve.xy(cell);
            let owner = match cell {
                0..64 => Some(1),
                64..128 => Some(2),
                128..256 => Some(3),
                4096..8192 => Some(4),
                _ => None,
            };
            assert_eq!(index.at(x, y), owner.map(ArtifactId), "cell {cell}");
        }
        let ids = |index: &Index, block| index.within(block).map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!(ids(&index, Block { start: 192, k: 6 }), [3]);
        assert_eq!(ids(&index, Block { start: 0, k: 16 }), [1, 2, 3, 4]);
        let leaves = index.squares((0, 2), 0, |entry| Some(entry.changed_ns));
        assert_eq!(leaves[1], [4; 64]);
        let mut seen: Vec<i64> = leaves[0].to_vec();
        seen.sort_unstable();
        assert_eq!(seen[60..], [1, 2, 3, 3]);
        index.remove(ArtifactId(3));
        assert_eq!(ids(&index, Block { start: 0, k: 16 }), [1, 2, 4]);
    }

    #[test]
    fn a_change_that_was_told_stays_newer_than_the_times_of_the_file() {
        let mut index = index();
        index.told(ArtifactId(3), 100);
        index.put(outline(3, Some(2), "sshd_config", 128, 7));
        assert_eq!(index.get(ArtifactId(3)).unwrap().changed_ns, 100);
    }
}
