//! What is wrong with a brick, if anything.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::paths::paths;
use super::reader::{Brick, PATIENCE, PATIENCE_AFTER_DAMAGE, Source, View, root_of};
use super::{ArtifactId, BrickError, Catalog, Moment, Row};
use crate::fold::merkle::{Hash, LEAF_BYTES, hash_of_leaf, leaf_block, leaf_count};
use crate::fold::{Block, Curve, Histogram, Layout};

/// Findings kept: a brick of noise has as many as leaves, and nobody reads them.
const FINDINGS_MAX: usize = 100;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked: `header`, `layout`, `leaf`, `channels`, `contents`; of pictures `data`, `blueprint`.
    pub check: &'static str,
    /// The artifact there, lossy, if there is one.
    pub path: Option<String>,
    /// First cell of the bad region.
    pub start: u64,
    /// Its length in cells.
    pub cells: u64,
    /// What is wrong.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, path, start, cells, detail } = self;
        let path = path.as_deref().unwrap_or("no artifact");
        write!(f, "{check}: cells {start}..{} ({path}): {detail}", start + cells)
    }
}

/// What was checked and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Merkle leaves checked.
    pub leaves: u64,
    /// Artifacts whose block, channels and place were checked.
    pub artifacts: u64,
    /// Artifacts whose contents were proved by their hash; the others are digests, redacted or unverified.
    pub contents: u64,
    /// Artifacts that the brick itself shows as unverified.
    pub unverified: u64,
    /// The first one first. After 100 the rest is not looked at.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    fn is_full(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX
    }

    /// How long the next disagreement may turn out to be a commit.
    fn patience(&self, most: Duration) -> Duration {
        if self.is_ok() { most } else { PATIENCE_AFTER_DAMAGE.min(most) }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if !self.is_full() {
            self.findings.push(finding);
        }
    }
}

impl Brick {
    /// Checks everything that can be checked without the source: header, layout, every leaf's hash, the channels of
    /// every cell, and the contents of exact artifacts. A live brick may be written meanwhile: what does not agree is
    /// looked at again for some seconds before it is a finding.
    ///
    /// # Errors
    /// The brick could not be read at all. (A sealed brick with a damaged index is refused by [`Brick::open`].)
    pub fn verify(&self) -> Result<VerifyReport, BrickError> {
        self.verify_within(PATIENCE)
    }

    /// The same with another patience for what does not agree. Zero is for a brick that certainly nobody writes.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_within(&self, patience: Duration) -> Result<VerifyReport, BrickError> {
        let mut report = VerifyReport::default();
        if let Some(finding) = self.check_header(patience)? {
            report.add(finding);
        }
        let Some(expected) = self.moment()? else {
            self.check_foreign(&mut report)?;
            return Ok(report);
        };
        let rows = &expected.rows;
        report.artifacts = rows.len() as u64;
        report.unverified = rows.iter().filter(|row| row.unverified.is_some()).count() as u64;
        check_layout(&expected, &mut report);

        let opened;
        let view = if self.is_live() {
            opened = self.fresh_view()?;
            &opened
        } else {
            self.view()
        };
        let mut next = 0;
        for (leaf, hash) in (0..).zip(expected.merkle.leaves()) {
            let block = leaf_block(view.header.order, leaf);
            if report.is_full() {
                break;
            }
            let here = rows_from(rows, &mut next, block);
            report.leaves += 1;
            if let Some(finding) = self.check_leaf(view, leaf, *hash, &here, report.patience(patience))? {
                report.add(finding);
            }
        }
        for row in rows.iter().filter(|row| row.is_provable()) {
            if report.is_full() {
                break;
            }
            report.contents += 1;
            if let Some(finding) = self.check_contents(view, row, report.patience(patience))? {
                report.add(finding);
            }
        }
        if report.is_ok()
            && let Some(finding) = self.check_entropy()?
        {
            report.add(finding);
        }
        name(&mut report, rows);
        Ok(report)
    }

    /// The header against index or catalog, and against the pixels where those cannot change meanwhile.
    fn check_header(&self, patience: Duration) -> Result<Option<Finding>, BrickError> {
        let finding = |detail: String| Finding { check: "header", path: None, start: 0, cells: 0, detail };
        let deadline = Instant::now() + patience;
        loop {
            let view = self.fresh_view()?;
            let wrong = self.compare_header(&view)?;
            let Some(detail) = wrong else { return Ok(None) };
            if self.retry(deadline, |_| Ok(()))?.is_none() {
                return Ok(Some(finding(detail)));
            }
        }
    }

    fn compare_header(&self, view: &View) -> Result<Option<String>, BrickError> {
        let header = &view.header;
        let (order, root, used_end) = match &self.source {
            Source::Foreign => return Ok(None),
            Source::Sealed { rows, leaves, .. } => {
                let used_end = rows.iter().map(|row| row.block.end()).max().unwrap_or(0);
                (header.order, root_of(header.order, (0..).zip(leaves.iter().copied())), used_end)
            }
            Source::Live(catalog) => catalog.snapshot(|catalog| {
                let order = catalog.meta()?.order;
                Ok((order, root_of(order, catalog.leaves()?), catalog.used_end()?))
            })?,
        };
        Ok(if order != header.order {
            Some(format!("it says order {}, the catalog {order}", header.order))
        } else if !view.is_header_canonical()? {
            Some("bytes that must be zero are not".into())
        } else if root != header.hash {
            Some("its hash is not the root of the leaf hashes".into())
        } else if used_end != header.original_size {
            Some(format!("it says {} cells in use, there are {used_end}", header.original_size))
        } else if !header.is_compressed() && header.compressed_size != Curve::new(order).body_len() {
            Some("its body length is not that of its order".into())
        } else if header.flags != self.flags_expected(header.is_compressed()) {
            Some(format!("flags {:#x} do not fit this brick", header.flags))
        } else {
            None
        })
    }

    fn flags_expected(&self, is_compressed: bool) -> u32 {
        let compressed = if is_compressed { super::format::FLAG_COMPRESSED } else { 0 };
        compressed | if self.is_live() { 0 } else { super::format::FLAG_METADATA }
    }

    /// The header's entropy against pixels that are proved: if they were not, they would be to blame.
    ///
    /// That of a live brick is compared if no commit was under way while they were counted: then neither marks nor the
    /// header have changed. A brick that is busy all the time is not checked for it.
    fn check_entropy(&self) -> Result<Option<Finding>, BrickError> {
        let marks = || self.catalog().map_or(Ok(Vec::new()), Catalog::marks);
        let is_marked = !marks()?.is_empty();
        let view = self.fresh_view()?;
        let entropy = self.entropy(&view)?;
        let now = self.fresh_view()?.header;
        let is_busy = is_marked || !marks()?.is_empty() || now.encode() != view.header.encode();
        if is_busy || entropy.to_bits() == view.header.entropy.to_bits() {
            return Ok(None);
        }
        let detail = "its entropy is not that of the pixels".into();
        Ok(Some(Finding { check: "header", path: None, start: 0, cells: 0, detail }))
    }

    fn entropy(&self, view: &View) -> Result<f32, BrickError> {
        if !view.header.is_compressed() {
            return Ok(view.histogram()?.entropy());
        }
        let mut histogram = Histogram::default();
        for leaf in 0..leaf_count(view.header.order) {
            // A frame that cannot be unpacked is found, and named, as a leaf.
            if let Ok(pixels) = self.leaf_in(view, leaf) {
                histogram.add_pixels(pixels.as_slice());
            }
        }
        Ok(histogram.entropy())
    }

    fn check_leaf(
        &self,
        view: &View,
        leaf: u64,
        hash: Hash,
        rows: &[&Row],
        patience: Duration,
    ) -> Result<Option<Finding>, BrickError> {
        let block = leaf_block(view.header.order, leaf);
        let mut wrong = match self.leaf_in(view, leaf) {
            Ok(pixels) => compare_leaf(block, &pixels, hash, rows),
            Err(BrickError::Format { source, .. }) => Some(Finding {
                check: "leaf",
                path: None,
                start: block.start,
                cells: block.cells(),
                detail: source.to_string(),
            }),
            Err(error) => return Err(error),
        };
        if wrong.is_none() && !self.is_frame_as_stored(view, leaf)? {
            let (start, cells) = (block.start, block.cells());
            let detail = "its frame is not as it was stored, although it unpacks to the right pixels".into();
            wrong = Some(Finding { check: "leaf", path: None, start, cells, detail });
        }
        let deadline = Instant::now() + patience;
        while let Some(finding) = wrong {
            let again = self.retry(deadline, |catalog| {
                catalog
                    .snapshot(|catalog| Ok((catalog.leaf(leaf)?, catalog.rows_in(block)?, catalog.marks()?)))
            })?;
            let Some((hash, rows, marks)) = again else { return Ok(Some(finding)) };
            let pixels = self.leaf_in(&self.fresh_view()?, leaf)?;
            wrong =
                compare_leaf(block, &pixels, hash, &rows.iter().collect::<Vec<_>>()).map(|mut finding| {
                    if marks.iter().any(|mark| mark.overlaps(block)) {
                        finding
                            .detail
                            .push_str("; a write to it was interrupted, the daemon heals it when it starts");
                    }
                    finding
                });
        }
        Ok(None)
    }

    fn check_contents(
        &self,
        view: &View,
        row: &Row,
        patience: Duration,
    ) -> Result<Option<Finding>, BrickError> {
        if row.proves(&self.contents_or_none(view, row)?) {
            return Ok(None);
        }
        let deadline = Instant::now() + patience;
        while let Some(again) = self.retry(deadline, |catalog| catalog.row(row.id))? {
            // Gone, or no longer claimed to be verified: then there is nothing to prove.
            let Some(row) = again.filter(Row::is_provable) else { return Ok(None) };
            if row.proves(&self.contents_or_none(&self.fresh_view()?, &row)?) {
                return Ok(None);
            }
        }
        let detail = "the contents do not match their hash".into();
        let (start, cells) = (row.block.start, row.block.cells());
        Ok(Some(Finding { check: "contents", path: None, start, cells, detail }))
    }

    /// Contents that cannot be unpacked prove nothing; the leaf check has named them.
    fn contents_or_none(&self, view: &View, row: &Row) -> Result<Vec<u8>, BrickError> {
        match self.contents_in(view, row) {
            Err(BrickError::Format { .. }) => Ok(Vec::new()),
            contents => contents,
        }
    }
}

/// The rows that share cells with `block`, of rows in curve order. `next` remembers where the block before ended.
pub(super) fn rows_from<'a>(rows: &'a [Row], next: &mut usize, block: Block) -> Vec<&'a Row> {
    *next += rows[*next..].iter().take_while(|row| row.block.end() <= block.start).count();
    rows[*next..].iter().take_while(|row| row.block.start < block.end()).collect()
}

fn check_layout(expected: &Moment, report: &mut VerifyReport) {
    let mut layout = Layout::new(expected.order, expected.cap);
    let ids: HashSet<_> = expected.rows.iter().map(|row| row.id).collect();
    for row in &expected.rows {
        let mut add = |detail: String| {
            let block = row.block;
            let (start, cells) = (block.start, block.cells());
            report.add(Finding { check: "layout", path: None, start, cells, detail });
        };
        if let Err(error) = layout.place(row.block, row.id) {
            add(error.to_string());
        }
        if let Some(problem) = impossible(row, &ids) {
            add(problem);
        }
    }
}

/// What no brick can say of an artifact, whatever its pixels are.
pub(super) fn impossible(row: &Row, ids: &HashSet<ArtifactId>) -> Option<String> {
    if row.parent.is_some_and(|parent| !ids.contains(&parent)) {
        Some("its directory is not in the brick".into())
    } else if row.exact && row.len > row.block.cells() {
        Some(format!("{} bytes are said to be in it exactly", row.len))
    } else {
        None
    }
}

/// Adds to each finding the path of the artifact at its start, or of the first one in it.
fn name(report: &mut VerifyReport, rows: &[Row]) {
    if report.findings.is_empty() {
        return;
    }
    let paths = paths(rows);
    for finding in report.findings.iter_mut().filter(|finding| finding.cells > 0) {
        let end = finding.start.saturating_add(finding.cells);
        let there = rows.iter().find(|row| row.block.start < end && finding.start < row.block.end());
        finding.path =
            there.and_then(|row| paths.get(&row.id)).map(|path| String::from_utf8_lossy(path).into_owned());
    }
}

/// A leaf's pixels against its hash and the rows that share cells with it.
fn compare_leaf(block: Block, pixels: &[u8; LEAF_BYTES], hash: Hash, rows: &[&Row]) -> Option<Finding> {
    if hash_of_leaf(pixels) != hash {
        let (start, cells, detail) =
            (block.start, block.cells(), "the pixels do not match their hash".into());
        return Some(Finding { check: "leaf", path: None, start, cells, detail });
    }
    compare_channels(block, pixels, rows)
}

/// A leaf's pixels against the rows that share cells with it, which are in curve order: free cells, the channels that a row
/// decides, and zeros after the end of exact contents.
pub(super) fn compare_channels(block: Block, pixels: &[u8; LEAF_BYTES], rows: &[&Row]) -> Option<Finding> {
    let finding = |cells: std::ops::Range<u64>, detail: &str| {
        let (start, cells) = (cells.start, cells.end - cells.start);
        Some(Finding { check: "channels", path: None, start, cells, detail: detail.to_owned() })
    };
    let pixels = pixels.as_chunks::<4>().0;
    let of = |cells: std::ops::Range<u64>| {
        &pixels[(cells.start - block.start) as usize..(cells.end - block.start) as usize]
    };
    let mut free_from = block.start;
    for row in rows {
        let cells = row.block.start.max(free_from)..row.block.end().min(block.end());
        if cells.is_empty() {
            // Overlapping rows: the layout check names them.
            continue;
        }
        let free = free_from..cells.start;
        if of(free.clone()).iter().any(|pixel| *pixel != [0; 4]) {
            return finding(free, "free cells are not zero");
        }
        let paint = row.paint();
        if of(cells.clone()).iter().any(|&[_, g, b, a]| [g, b, a] != [paint.kind, paint.flags, 255]) {
            return finding(cells, "kind, risk or flags are not those of the artifact");
        }
        let padding = cells.start.max(row.block.start + row.len.min(row.block.cells()))..cells.end;
        let is_padded = row.exact && row.unverified.is_none() && !padding.is_empty();
        if is_padded && of(padding.clone()).iter().any(|pixel| pixel[0] != 0) {
            return finding(padding, "cells after the end of the contents are not zero");
        }
        free_from = cells.end;
    }
    if of(free_from..block.end()).iter().any(|pixel| *pixel != [0; 4]) {
        return finding(free_from..block.end(), "free cells are not zero");
    }
    None
}
