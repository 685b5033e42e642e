//! A new brick and catalog, as one step.

use std::path::Path;

use super::LiveBrick;
use crate::brick::catalog::{Catalog, CatalogMeta};
use crate::brick::files::{self, Files};
use crate::brick::pixels::Pixels;
use crate::brick::{BrickError, Row};
use crate::fold::merkle::{Hash, Merkle, empty_hash};
use crate::fold::{FoldPlan, Layout};

impl LiveBrick {
    /// Creates `NAME.brick` and `NAME.catalog.sqlite` in `dir`, replacing what is there. A baseline passes all its
    /// rows, unverified, with a plan of [`Row::blank`] steps, and fills them in by commits.
    ///
    /// Both files are written aside, and the catalog is synced. Then the old catalog goes, the new one takes its name, and last the
    /// brick. Killed before the new catalog is there, `open` finds no catalog; killed after, it finds pixels that the
    /// catalog does not vouch for, and blanks them, which is what this function was about to do.
    ///
    /// # Errors
    /// Rows overlap or do not fit the curve, the plan does not fit, another process has the brick, or the disk.
    pub fn create(
        dir: &Path,
        name: &str,
        root_path: &[u8],
        (order, cap): (u8, u8),
        rows: &[Row],
        plan: &FoldPlan,
    ) -> Result<Self, BrickError> {
        let files = Files::new(dir, name)?;
        let layout = Layout::from_blocks(order, cap, rows.iter().map(|row| (row.block, row.id)))
            .map_err(|source| BrickError::Layout { path: files.brick.clone(), source })?;
        let used_end = layout.used_end();
        files.make_dir()?;
        let lock = files.lock()?;
        files.remove_leftovers()?;

        let pixels = write_aside(&files, order, used_end, plan)?;
        let meta = CatalogMeta { order, cap, root_path: root_path.to_owned() };
        let new_catalog = files.new_catalog();
        Catalog::create(&new_catalog, &meta, rows, occupied_leaves(&pixels.merkle))?;

        files::remove_database(&files.catalog)?;
        files::rename(&new_catalog, &files.catalog)?;
        let pixels = put_in_place(&files, pixels)?;
        let catalog = Catalog::open(&files.catalog)?;
        Ok(Self {
            files,
            _lock: lock,
            pixels,
            catalog,
            root_path: meta.root_path,
            cap,
            used_end,
            broken: false,
            keeper: None,
        })
    }
}

/// A whole brick under the temporary name, painted by a plan. Not synced: its pixels say only that nothing has been read
/// yet, and a loss of power that takes some of them is found by their hashes and ends in the same state.
pub(super) fn write_aside(
    files: &Files,
    order: u8,
    used_end: u64,
    plan: &FoldPlan,
) -> Result<Pixels, BrickError> {
    aside(files, order, |pixels| {
        let blocks = pixels.prepare(plan, &files.brick)?;
        pixels.apply(plan, &blocks);
        let header = pixels.header(used_end).encode();
        pixels.map.set_header(&header);
        Ok(())
    })
}

/// A whole brick under the temporary name; nothing is left of it when it cannot be painted.
pub(super) fn aside(
    files: &Files,
    order: u8,
    paint: impl FnOnce(&mut Pixels) -> Result<(), BrickError>,
) -> Result<Pixels, BrickError> {
    let aside = files.new_brick();
    files::remove(&aside)?;
    let write = || {
        let mut pixels = Pixels::create(&aside, order)?;
        pixels.map.reserve(0..1)?;
        paint(&mut pixels)?;
        Ok(pixels)
    };
    write().inspect_err(|_| {
        // Most likely the disk is full: give the room back. The error that matters is the first one.
        let _ = files::remove(&aside);
    })
}

/// Renames the brick written aside to its name.
pub(super) fn put_in_place(files: &Files, mut pixels: Pixels) -> Result<Pixels, BrickError> {
    files::rename(&files.new_brick(), &files.brick)?;
    files.sync_dir()?;
    pixels.map.renamed(&files.brick);
    Ok(pixels)
}

pub(super) fn occupied_leaves(merkle: &Merkle) -> impl Iterator<Item = (u64, Hash)> {
    (0..).zip(merkle.leaves().iter().copied()).filter(|(_, hash)| *hash != empty_hash(0))
}
