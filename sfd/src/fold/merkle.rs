//! A 4-ary Merkle tree over the curve.
//!
//! A leaf is 4096 cells, a 64x64 square of pixels: SHA-256 over its RGBA bytes in curve order. A node is the SHA-256
//! of its four children's hashes. A curve of order n >= 6 has `4^(n - 6)` leaves, so the tree is complete; a smaller
//! curve has one leaf, the cells after its end counting as zero. Hence a leaf keeps its hash when the curve grows.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::Block;
use super::apply::read_rgba;
use super::curve::Curve;

/// Cells of a leaf.
pub const LEAF_CELLS: u64 = 4096;
/// Bytes that a leaf's hash covers.
pub const LEAF_BYTES: usize = LEAF_CELLS as usize * 4;
/// Levels of the largest tree, leaves included (order 20).
const LEVELS_MAX: usize = 15;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash of a subtree without a single non-zero pixel; level 0 is a leaf.
pub fn empty_hash(level: usize) -> Hash {
    static EMPTY: LazyLock<[Hash; LEVELS_MAX]> = LazyLock::new(|| {
        let mut hashes = [Sha256::digest([0; LEAF_BYTES]).into(); LEVELS_MAX];
        for level in 1..LEVELS_MAX {
            hashes[level] = node_hash(&[hashes[level - 1]; 4]);
        }
        hashes
    });
    EMPTY[level]
}

fn node_hash(children: &[Hash]) -> Hash {
    let mut sha = Sha256::new();
    for child in children {
        sha.update(child);
    }
    sha.finalize().into()
}

/// Number of leaves of a curve.
pub fn leaf_count(order: u8) -> u64 {
    (Curve::new(order).cells() / LEAF_CELLS).max(1)
}

/// The cells of a leaf that a curve of this order has.
pub fn leaf_block(order: u8, leaf: u64) -> Block {
    Block { start: leaf * LEAF_CELLS, k: (2 * order).min(12) }
}

/// The leaves that a block lies in.
pub fn leaves_of(block: Block) -> std::ops::RangeInclusive<u64> {
    block.start / LEAF_CELLS..=(block.end() - 1) / LEAF_CELLS
}

/// The hash of one leaf of a body.
pub fn leaf_hash(body: &[u8], order: u8, leaf: u64) -> Hash {
    let mut pixels = [0; LEAF_BYTES];
    let block = leaf_block(order, leaf);
    let bytes = block.cells() as usize * 4;
    read_rgba(body, Curve::new(order), block.start, &mut pixels[..bytes]);
    hash_of_leaf(&pixels)
}

/// The hash of a leaf's pixels in curve order. Most of a young brick is free: zeros are not hashed again.
pub fn hash_of_leaf(pixels: &[u8; LEAF_BYTES]) -> Hash {
    if pixels.iter().all(|&byte| byte == 0) { empty_hash(0) } else { Sha256::digest(pixels).into() }
}

/// All hashes of a brick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merkle {
    /// `levels[0]` are the leaves, the last level is the root alone.
    levels: Vec<Vec<Hash>>,
}

/// Where two trees differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// The leaves with other hashes, in curve order.
    pub leaves: Vec<u64>,
    /// Leaf hashes that were compared; what lies under equal nodes was not.
    pub leaves_compared: u64,
    /// Hashes of every level that were compared.
    pub nodes_compared: u64,
}

impl Merkle {
    /// The tree of an empty curve.
    pub fn empty(order: u8) -> Self {
        let mut count = leaf_count(order) as usize;
        let mut levels = vec![vec![empty_hash(0); count]];
        while count > 1 {
            count /= 4;
            levels.push(vec![empty_hash(levels.len()); count]);
        }
        Self { levels }
    }

    /// The tree of a body, from scratch.
    pub fn of_body(body: &[u8], order: u8) -> Self {
        Self::of_leaves(order, (0..leaf_count(order)).map(|leaf| (leaf, leaf_hash(body, order, leaf))))
    }

    /// The tree of known leaves; those not given are empty, those outside the curve are ignored.
    pub fn of_leaves(order: u8, leaves: impl IntoIterator<Item = (u64, Hash)>) -> Self {
        let mut tree = Self::empty(order);
        tree.set(leaves);
        tree
    }

    /// Hash over everything.
    pub fn root(&self) -> Hash {
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or_else(|| empty_hash(0))
    }

    /// Leaf hashes in curve order.
    pub fn leaves(&self) -> &[Hash] {
        &self.levels[0]
    }

    /// One level; 0 are the leaves, each node of the next is the hash of four. `None` above the root.
    pub fn level(&self, level: usize) -> Option<&[Hash]> {
        self.levels.get(level).map(Vec::as_slice)
    }

    /// Rehashes some leaves of a body and the path above each. Returns the leaves with their new hashes.
    pub fn update(
        &mut self,
        body: &[u8],
        order: u8,
        leaves: impl IntoIterator<Item = u64>,
    ) -> Vec<(u64, Hash)> {
        let mut leaves: Vec<u64> = leaves.into_iter().collect();
        leaves.sort_unstable();
        leaves.dedup();
        let hashed: Vec<_> = leaves.into_iter().map(|leaf| (leaf, leaf_hash(body, order, leaf))).collect();
        self.set(hashed.iter().copied());
        hashed
    }

    /// Replaces leaf hashes and rehashes the path above each, every node once.
    pub fn set(&mut self, leaves: impl IntoIterator<Item = (u64, Hash)>) {
        let mut dirty = Vec::new();
        for (leaf, hash) in leaves {
            if let Some(slot) = self.levels[0].get_mut(leaf as usize) {
                *slot = hash;
                dirty.push(leaf as usize);
            }
        }
        for level in 1..self.levels.len() {
            for node in &mut dirty {
                *node /= 4;
            }
            dirty.sort_unstable();
            dirty.dedup();
            let (below, above) = self.levels.split_at_mut(level);
            for &node in &dirty {
                above[0][node] = node_hash(&below[level - 1][node * 4..node * 4 + 4]);
            }
        }
    }

    /// Finds the leaves in which another tree of the same height differs, descending only where hashes do. `peer` gives
    /// the other tree's hashes of some nodes of a level; it is called once a level, which over a network is a round
    /// trip. A hash that it leaves out counts as another one.
    ///
    /// # Errors
    /// Those of `peer`.
    pub fn differing<E>(
        &self,
        mut peer: impl FnMut(usize, &[u64]) -> Result<Vec<Hash>, E>,
    ) -> Result<Differing, E> {
        let mut found = Differing::default();
        let mut open = vec![0];
        for (level, own) in self.levels.iter().enumerate().rev() {
            let theirs = peer(level, &open)?;
            found.nodes_compared += open.len() as u64;
            let asked = open.iter().enumerate();
            let other = asked.filter(|&(i, &node)| own.get(node as usize) != theirs.get(i));
            let other = other.map(|(_, &node)| node);
            if level == 0 {
                found.leaves = other.collect();
                found.leaves_compared = open.len() as u64;
                break;
            }
            open = other.flat_map(|node| node * 4..node * 4 + 4).collect();
            if open.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// The hashes of some nodes of a level, as [`differing`](Self::differing) asks for them; those that there are.
    pub fn hashes(&self, level: usize, nodes: &[u64]) -> Vec<Hash> {
        let level = self.level(level).unwrap_or_default();
        nodes.iter().map_while(|&node| level.get(node as usize).copied()).collect()
    }

    /// The tree after the curve has grown to `order`: the leaves keep their hashes, the new ones are empty.
    #[must_use]
    pub fn grown(&self, order: u8) -> Self {
        Self::of_leaves(order, (0..).zip(self.leaves().iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_body_has_the_constant_root() {
        for order in [3, 6, 7, 8] {
            let body = vec![0; Curve::new(order).body_len() as usize];
            let levels = usize::from(order.saturating_sub(6));
            assert_eq!(Merkle::of_body(&body, order).root(), empty_hash(levels));
            assert_eq!(Merkle::empty(order), Merkle::of_body(&body, order));
        }
    }

    #[test]
    fn only_what_differs_is_descended_into() {
        let leaf = |n: u64| (n, [n as u8 + 1; 32]);
        let one = Merkle::of_leaves(9, (0..64).map(leaf));
        let mut other = one.clone();
        let ask = |other: &Merkle| one.differing(|level, nodes| Ok::<_, ()>(other.hashes(level, nodes)));
        assert_eq!(ask(&other), Ok(Differing { nodes_compared: 1, ..Differing::default() }));
        other.set([(17, [0; 32]), (18, [0; 32]), (63, [0; 32])]);
        // The root, 4 nodes, 4 below each of two of them, and 4 leaves below each of two.
        let expected = Differing { leaves: vec![17, 18, 63], leaves_compared: 8, nodes_compared: 21 };
        assert_eq!(ask(&other), Ok(expected));
        let silent = one.differing(|_, _| Ok::<_, ()>(Vec::new())).unwrap();
        assert_eq!(silent.leaves.len(), 64, "what a peer does not know it does not have");
        assert_eq!(one.differing(|level, _| if level == 2 { Err("gone") } else { Ok(vec![]) }), Err("gone"));
    }

    #[test]
    fn a_node_is_the_hash_of_its_children() {
        let mut body = vec![0; Curve::new(7).body_len() as usize];
        body[5] = 9;
        let tree = Merkle::of_body(&body, 7);
        assert_eq!(tree.root(), Hash::from(Sha256::digest(tree.leaves().concat())));
        assert_ne!(tree.root(), Merkle::empty(7).root());
        assert_eq!(tree.level(2), None);
    }
}
