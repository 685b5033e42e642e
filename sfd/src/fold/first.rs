//! The canonical placement of a whole tree: what a first fold and `sfd compact` produce.
//!
//! Depth first. In a directory: its own 64-cell block, its files by block size descending and then by name, each at
//! the lowest free aligned place at or after the directory's start (so small files fill the alignment gap before a
//! big one), an eighth of the directory's own cells as slack, and then its subdirectories by name.

use std::collections::{BTreeSet, HashMap};

use super::layout::{Layout, LayoutError, k_for_len};
use super::{Block, K_CAP, K_CAP_EXACT, K_MIN, ORDER_MAX, ORDER_MAX_EXACT, ORDER_MIN};
use crate::brick::ArtifactId;

/// Slack of a directory: one cell for this many of its own.
const SLACK_DIVISOR: u64 = 8;

/// One artifact of the tree to place. The order of the items does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstFoldItem<'a> {
    /// Its number.
    pub id: ArtifactId,
    /// Its directory; `None` for a root. There may be several roots; they are placed in the order of their names.
    pub parent: Option<ArtifactId>,
    /// Name in its directory, raw bytes.
    pub name: &'a [u8],
    /// Directories have a block of 64 cells, whatever their `len`.
    pub is_dir: bool,
    /// Length of the contents in bytes.
    pub len: u64,
}

/// A placed tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFold {
    /// The layout, its order and cap chosen.
    pub layout: Layout,
    /// Every artifact's block, in the order in which they were placed.
    pub blocks: Vec<(ArtifactId, Block)>,
}

/// Places a tree. The order is the smallest, odd or even, whose curve is at least twice the used run; the cap is the
/// largest up to `cap_max` for which that order is at most [`ORDER_MAX`]. With `exact` there is no cap, and the order
/// may reach [`ORDER_MAX_EXACT`].
///
/// # Errors
/// An item names a parent that is not a directory of the tree, an id is used twice, or the tree does not fit.
pub fn first_fold(items: &[FirstFoldItem<'_>], cap_max: u8, exact: bool) -> Result<FirstFold, LayoutError> {
    let tree = Tree::new(items)?;
    let (order_max, caps) = if exact {
        (ORDER_MAX_EXACT, K_CAP_EXACT..=K_CAP_EXACT)
    } else {
        (ORDER_MAX, K_MIN..=cap_max.clamp(K_MIN, K_CAP))
    };
    for cap in caps.rev() {
        let run = tree.place(cap, |_, _| ());
        let mut order = ORDER_MIN;
        while 1 << (2 * order) < run * 2 {
            order += 1;
        }
        if order <= order_max {
            let mut blocks = Vec::with_capacity(items.len());
            tree.place(cap, |id, block| blocks.push((id, block)));
            let layout = Layout::from_blocks(order, cap, blocks.iter().map(|&(id, block)| (block, id)))?;
            return Ok(FirstFold { layout, blocks });
        }
    }
    Err(LayoutError::OrderLimit { max: order_max })
}

/// The items, ordered so that the children of one directory are neighbours.
struct Tree<'a> {
    items: Vec<FirstFoldItem<'a>>,
    /// The children of a directory as a range of `items`; `None` is the list of roots.
    children: HashMap<Option<ArtifactId>, (u32, u32)>,
}

impl<'a> Tree<'a> {
    fn new(items: &[FirstFoldItem<'a>]) -> Result<Self, LayoutError> {
        let mut items = items.to_vec();
        // Siblings of one name do not exist in a directory, but roots may share one: the id decides.
        items.sort_unstable_by(|a, b| (a.parent, a.name, a.id).cmp(&(b.parent, b.name, b.id)));
        let mut children = HashMap::new();
        for (i, item) in (0..).zip(&items) {
            children.entry(item.parent).or_insert((i, i)).1 = i + 1;
        }
        let tree = Self { items, children };
        tree.check()?;
        Ok(tree)
    }

    fn check(&self) -> Result<(), LayoutError> {
        let mut by_id = HashMap::with_capacity(self.items.len());
        for item in &self.items {
            if by_id.insert(item.id, item.is_dir).is_some() {
                return Err(LayoutError::NotATree { id: item.id, reason: "its number is used twice" });
            }
        }
        let mut reached = 0;
        let mut open = vec![None];
        while let Some(parent) = open.pop() {
            for item in self.children_of(parent) {
                reached += 1;
                if item.is_dir {
                    open.push(Some(item.id));
                }
            }
        }
        if reached == self.items.len() {
            return Ok(());
        }
        // Only to name the culprit: an unknown or non-directory parent, else a cycle.
        let orphan = |item: &&FirstFoldItem<'_>| item.parent.is_some_and(|p| by_id.get(&p) != Some(&true));
        match (self.items.iter().find(orphan), self.items.first()) {
            (Some(item), _) => {
                Err(LayoutError::NotATree { id: item.id, reason: "its parent is not a directory" })
            }
            (None, Some(item)) => {
                Err(LayoutError::NotATree { id: item.id, reason: "directories contain each other" })
            }
            (None, None) => Ok(()),
        }
    }

    fn children_of(&self, parent: Option<ArtifactId>) -> &[FirstFoldItem<'a>] {
        self.children
            .get(&parent)
            .map_or(&[], |&(first, end)| self.items.get(first as usize..end as usize).unwrap_or_default())
    }

    /// Places everything and returns the used run: one past the highest used cell.
    fn place(&self, cap: u8, mut placed: impl FnMut(ArtifactId, Block)) -> u64 {
        let mut run = Run::new();
        // Files among the roots first, as if the roots were the entries of a directory without a block.
        self.place_files(None, cap, &mut run, &mut placed);
        let mut open = Vec::new();
        self.open_directories(None, &mut open);
        // A stack of our own: a hostile tree may be deeper than the thread's.
        while let Some(dir) = open.pop() {
            run.start_directory();
            let block = run.take(K_MIN);
            placed(dir, block);
            let own = block.cells() + self.place_files(Some(dir), cap, &mut run, &mut placed);
            run.skip((own / SLACK_DIVISOR).next_multiple_of(1 << K_MIN));
            self.open_directories(Some(dir), &mut open);
        }
        run.used_end
    }

    /// Places the files of one directory and returns their cells.
    fn place_files(
        &self,
        dir: Option<ArtifactId>,
        cap: u8,
        run: &mut Run,
        placed: &mut impl FnMut(ArtifactId, Block),
    ) -> u64 {
        let files = self.children_of(dir).iter().filter(|item| !item.is_dir);
        let mut files: Vec<_> = files.map(|item| (k_for_len(item.len, cap), item.id)).collect();
        // Stable: files of one size stay in the order of their names.
        files.sort_by_key(|&(k, _)| std::cmp::Reverse(k));
        let mut cells = 0;
        for (k, id) in files {
            let block = run.take(k);
            cells += block.cells();
            placed(id, block);
        }
        cells
    }

    /// Pushes the subdirectories so that the first by name is popped first.
    fn open_directories(&self, dir: Option<ArtifactId>, open: &mut Vec<ArtifactId>) {
        open.extend(self.children_of(dir).iter().rev().filter(|item| item.is_dir).map(|item| item.id));
    }
}

/// A curve without an end, filled from the start.
struct Run {
    /// Everything from here on is free.
    end: u64,
    /// One past the highest used cell.
    used_end: u64,
    /// Alignment gaps since the start of the directory, per size.
    gaps: Vec<BTreeSet<u64>>,
}

impl Run {
    fn new() -> Self {
        Self { end: 0, used_end: 0, gaps: vec![BTreeSet::new(); usize::from(K_CAP_EXACT - K_MIN) + 1] }
    }

    /// Gaps before this point belong to other directories.
    fn start_directory(&mut self) {
        self.gaps.iter_mut().for_each(BTreeSet::clear);
    }

    fn skip(&mut self, cells: u64) {
        self.end += cells;
    }

    /// The lowest free aligned place.
    fn take(&mut self, k: u8) -> Block {
        let lowest = self
            .gaps
            .iter()
            .zip(K_MIN..)
            .skip(usize::from(k - K_MIN))
            .filter_map(|(starts, gap_k)| Some((*starts.first()?, gap_k)))
            .min();
        let block = match lowest {
            Some((start, gap_k)) => {
                self.gap(gap_k).remove(&start);
                // The lower part is taken; the upper halves on the way down stay gaps.
                for half in k..gap_k {
                    self.gap(half).insert(start + (1 << half));
                }
                Block { start, k }
            }
            None => self.take_from_end(k),
        };
        self.used_end = self.used_end.max(block.end());
        block
    }

    fn take_from_end(&mut self, k: u8) -> Block {
        let start = self.end.next_multiple_of(1 << k);
        while self.end < start {
            // The largest aligned block at `end`; it cannot pass `start`, which is more aligned than `end` is.
            let gap_k = self.end.trailing_zeros() as u8;
            let gap = self.end;
            self.gap(gap_k).insert(gap);
            self.end += 1 << gap_k;
        }
        self.end = start + (1 << k);
        Block { start, k }
    }

    fn gap(&mut self, k: u8) -> &mut BTreeSet<u64> {
        &mut self.gaps[usize::from(k - K_MIN)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: u32, parent: Option<u32>, name: &str, len: u64) -> FirstFoldItem<'_> {
        let is_dir = name.ends_with('/');
        FirstFoldItem {
            id: ArtifactId(id),
            parent: parent.map(ArtifactId),
            name: name.as_bytes(),
            is_dir,
            len,
        }
    }

    fn starts(items: &[FirstFoldItem<'_>]) -> Vec<(u32, u64, u8)> {
        let fold = first_fold(items, K_CAP, false).unwrap();
        fold.blocks.iter().map(|(id, b)| (id.0, b.start, b.k)).collect()
    }

    #[test]
    fn small_files_fill_the_gap_before_a_big_one() {
        let tree = [
            item(1, None, "/etc/", 0),
            item(2, Some(1), "big", 250),
            item(3, Some(1), "b", 10),
            item(4, Some(1), "a", 10),
            item(5, Some(1), "sub/", 0),
            item(6, Some(5), "x", 65),
        ];
        // Directory at 0; big at 256; a and b in the gap; slack 448/8 = 56, a whole tile; sub at 576.
        assert_eq!(
            starts(&tree),
            [(1, 0, 6), (2, 256, 8), (4, 64, 6), (3, 128, 6), (5, 576, 6), (6, 640, 7)]
        );
    }

    #[test]
    fn the_cap_makes_room_for_many_files() {
        let names: Vec<String> = (0..3000).map(|i| format!("{i:05}")).collect();
        let mut tree = vec![item(0, None, "/", 0)];
        tree.extend((1..).zip(&names).map(|(i, name)| item(i, Some(0), name, 1 << 20)));
        let fold = first_fold(&tree, K_CAP, false).unwrap();
        // 3000 * 2^15 = 98 M cells; the curve of order 14 has 268 M, at least twice that.
        assert_eq!((fold.layout.order(), fold.layout.cap()), (14, 15));
        let exact = first_fold(&tree, K_CAP, true).unwrap();
        assert_eq!((exact.layout.order(), exact.layout.cap()), (17, K_CAP_EXACT));
    }

    #[test]
    fn odd_orders_are_used() {
        let fold = first_fold(&[item(0, None, "/f", 500)], K_CAP, false).unwrap();
        assert_eq!((fold.layout.order(), fold.layout.used_end()), (5, 512));
    }

    #[test]
    fn what_is_not_a_tree_is_refused() {
        let refused = |items: &[FirstFoldItem<'_>]| match first_fold(items, K_CAP, false) {
            Err(LayoutError::NotATree { id, reason }) => (id.0, reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(&[item(1, None, "/", 0), item(2, Some(9), "x", 0)]),
            (2, "its parent is not a directory")
        );
        assert_eq!(
            refused(&[item(1, Some(2), "a/", 0), item(2, Some(1), "b/", 0)]),
            (2, "directories contain each other")
        );
        assert_eq!(
            refused(&[item(1, None, "/", 0), item(1, Some(1), "b", 0)]),
            (1, "its number is used twice")
        );
    }
}
