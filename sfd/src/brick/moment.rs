//! A brick as it is at one moment, and the exchange of single leaves between bricks.
//!
//! Two bricks of one tree differ in few leaves. Whoever has the node hashes of another brick finds those leaves by
//! descending ([`Merkle::differing`]), gets them ([`Brick::leaves`]), puts them into a copy
//! ([`SealedWriter::put`](super::SealedWriter::put)), and knows that the copy is right because it has the root
//! ([`SealedWriter::finish_as`](super::SealedWriter::finish_as)). `sfd snapshot` does that with a live brick and an
//! empty copy; a fleet does it over a network.

use std::convert::Infallible;

use super::reader::{Brick, Source, View};
use super::{BrickError, Row};
use crate::fold::merkle::{Differing, Hash, LEAF_BYTES, hash_of_leaf, leaf_count};
use crate::fold::{Merkle, merkle};

/// Rows and hashes of a brick, all of one moment: of a live one, as one commit left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Order of the curve.
    pub order: u8,
    /// Base-2 logarithm of the largest block.
    pub cap: u8,
    /// Every artifact, in curve order.
    pub rows: Vec<Row>,
    /// Hashes of the pixels that belong to the rows.
    pub merkle: Merkle,
}

impl Moment {
    /// The leaves in which another brick differs. A brick that is two, four or more orders smaller is the beginning of
    /// this one, because growth moves no cell. `None` when one order is odd and the other even: then no cell of the one
    /// is where it is in the other.
    pub fn differing(&self, other: &Self) -> Option<Differing> {
        if !self.order.abs_diff(other.order).is_multiple_of(2) {
            return None;
        }
        let order = self.order.max(other.order);
        let at = |side: &Self| (side.order != order).then(|| side.merkle.grown(order));
        let (grown, other_grown) = (at(self), at(other));
        let theirs = other_grown.as_ref().unwrap_or(&other.merkle);
        let ask = |level, nodes: &[u64]| Ok::<_, Infallible>(theirs.hashes(level, nodes));
        let Ok(differing) = grown.as_ref().unwrap_or(&self.merkle).differing(ask);
        Some(differing)
    }
}

/// The pixels of one leaf, with the hash that they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    index: u64,
    hash: Hash,
    pixels: Box<[u8; LEAF_BYTES]>,
}

impl Leaf {
    /// A leaf whose RGBA bytes, in curve order, are known; those after the end of a small curve are zero.
    pub fn new(index: u64, pixels: Box<[u8; LEAF_BYTES]>) -> Self {
        Self { index, hash: hash_of_leaf(&pixels), pixels }
    }

    /// Its number on the curve.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// SHA-256 of its pixels.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// RGBA, in curve order.
    pub fn pixels(&self) -> &[u8; LEAF_BYTES] {
        &self.pixels
    }
}

impl Brick {
    /// Rows and hashes as they are now. `None` for a brick of another program: it has neither.
    ///
    /// # Errors
    /// The catalog cannot be read, or does not fit its curve.
    pub fn moment(&self) -> Result<Option<Moment>, BrickError> {
        let mut moment = match &self.source {
            Source::Foreign => return Ok(None),
            Source::Sealed { rows, leaves, cap, .. } => {
                let order = self.header().order;
                let merkle = Merkle::of_leaves(order, (0..).zip(leaves.iter().copied()));
                Moment { order, cap: *cap, rows: rows.clone(), merkle }
            }
            Source::Live(catalog) => catalog.snapshot(|catalog| {
                let meta = catalog.meta()?;
                let merkle = catalog.merkle(meta.order)?;
                Ok(Moment { order: meta.order, cap: meta.cap, rows: catalog.rows()?, merkle })
            })?,
        };
        moment.rows.sort_unstable_by_key(|row| row.block);
        Ok(Some(moment))
    }

    /// Some leaves as they are in the file just now; those that its curve does not have are left out. Of a live brick
    /// each may be older or newer than the others; whether it is the one that was wanted, its hash tells.
    ///
    /// # Errors
    /// The file cannot be read, or a compressed leaf cannot be unpacked.
    pub fn leaves(
        &self,
        wanted: impl IntoIterator<Item = u64>,
    ) -> Result<impl Iterator<Item = Result<Leaf, BrickError>>, BrickError> {
        let view = self.fresh_view()?;
        let count = leaf_count(view.header.order);
        let there = wanted.into_iter().filter(move |leaf| *leaf < count);
        Ok(there.map(move |index| Ok(Leaf::new(index, self.leaf_in(&view, index)?))))
    }

    /// The same of the file as it was when it was opened.
    pub(super) fn leaves_in<'a>(
        &'a self,
        view: &'a View,
        wanted: Vec<u64>,
    ) -> impl Iterator<Item = Result<Leaf, BrickError>> + 'a {
        let count = leaf_count(view.header.order);
        let there = wanted.into_iter().filter(move |leaf| *leaf < count);
        there.map(move |index| Ok(Leaf::new(index, self.leaf_in(view, index)?)))
    }
}

/// The leaves that a differing pair of bricks shares cells in, as a set to ask.
#[derive(Clone, Debug)]
pub(super) struct Touched(Vec<u64>);

impl Touched {
    pub(super) fn new(differing: &Differing) -> Self {
        Self(differing.leaves.clone())
    }

    /// Whether a block lies in one of them.
    pub(super) fn has(&self, block: crate::fold::Block) -> bool {
        let leaves = merkle::leaves_of(block);
        let first = self.0.partition_point(|leaf| leaf < leaves.start());
        self.0.get(first).is_some_and(|leaf| leaves.contains(leaf))
    }
}
