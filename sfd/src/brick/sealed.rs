//! Writing a brick as one self-contained file.
//!
//! The body is painted in a memory map of the temporary file, so memory use does not grow with the contents. With
//! `compress` it is painted in a file without a name first, and then stored leaf by leaf.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::error::IoContext;
use super::files::{self, Files};
use super::format::{FLAG_COMPRESSED, FLAG_METADATA, HEADER_LEN, Header, TRAILER_VERSION};
use super::index::{Frames, Index, frame_sum};
use super::pixels::Pixels;
use super::{ArtifactId, BrickError, Leaf, Row};
use crate::artifact::Regions;
use crate::fold::merkle::{Hash, LEAF_BYTES, empty_hash, leaf_block, leaf_count};
use crate::fold::{FoldOp, FoldPlan, Layout, Merkle, apply};

/// Level of the body's frames: a leaf has 16 KiB, higher levels gain little on so short a run.
const ZSTD_LEVEL: i32 = 6;

/// How a brick is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealOptions {
    /// Stores the body as one zstd frame per Merkle leaf: small and randomly readable, but not by public readers of
    /// the format.
    pub compress: bool,
}

/// A sealed brick being written. Nothing is at its name before [`finish`](Self::finish); dropped earlier, nothing
/// remains.
#[derive(Debug)]
pub struct SealedWriter {
    out: PathBuf,
    /// What becomes the brick; for a compressed one, only its frames go there.
    file: NamedTempFile,
    pixels: Pixels,
    cap: u8,
    rows: Vec<Row>,
    regions: HashMap<ArtifactId, Regions>,
    options: SealOptions,
}

impl SealedWriter {
    /// Starts a brick of a given order. The file appears as `out`, readable by its owner only.
    ///
    /// # Errors
    /// `out` is the name of a live brick, which is not to be lost, or no file can be made there.
    pub fn create(out: &Path, order: u8, cap: u8, options: SealOptions) -> Result<Self, BrickError> {
        if Files::catalog_of(out).try_exists().doing("look for a catalog beside", out)? {
            return Err(BrickError::invalid(out, "a live brick has this name; give the sealed one another"));
        }
        let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".sfd-")
            .suffix(".brick.tmp")
            .tempfile_in(dir)
            .doing("create a file in", dir)?;
        let body = if options.compress {
            tempfile::tempfile_in(dir).doing("create a file in", dir)?
        } else {
            file.as_file().try_clone().doing("write", out)?
        };
        let mut pixels = Pixels::blank(body, out, order)?;
        pixels.map.reserve(0..1)?;
        Ok(Self {
            out: out.to_owned(),
            file,
            pixels,
            cap,
            rows: Vec::new(),
            regions: HashMap::new(),
            options,
        })
    }

    /// Adds an artifact with what goes into its cells: at most as many bytes as its block has.
    ///
    /// # Errors
    /// The block does not fit the curve, or the disk is full.
    pub fn add(&mut self, row: Row, cells: Bytes) -> Result<(), BrickError> {
        let op = FoldOp::Fill { block: row.block, bytes: cells, paint: row.paint() };
        let plan = FoldPlan { ops: vec![op] };
        self.pixels.prepare(&plan, &self.out)?;
        // Hashes and histogram are computed once, at the end.
        for op in &plan.ops {
            let curve = self.pixels.map.curve();
            apply::apply_op(op, self.pixels.map.body_mut(), curve);
        }
        self.rows.push(row);
        Ok(())
    }

    /// Says which named parts an artifact has.
    pub fn add_regions(&mut self, id: ArtifactId, regions: Regions) {
        self.regions.insert(id, regions);
    }

    /// Order of the curve.
    pub fn order(&self) -> u8 {
        self.pixels.order()
    }

    /// Base-2 logarithm of the largest block.
    pub fn cap(&self) -> u8 {
        self.cap
    }

    /// The hashes of the leaves that were put so far.
    pub fn merkle(&self) -> &Merkle {
        &self.pixels.merkle
    }

    /// Puts a leaf of another brick of the same tree in place of what was there.
    ///
    /// # Errors
    /// There is no such leaf, or the disk is full.
    pub fn put(&mut self, leaf: &Leaf) -> Result<(), BrickError> {
        let count = leaf_count(self.pixels.order());
        if leaf.index() >= count {
            let detail = format!("it has {count} leaves, not one of number {}", leaf.index());
            return Err(BrickError::invalid(&self.out, detail));
        }
        self.pixels.put(leaf)
    }

    /// Ends a brick that was put together from leaves, if its pixels have the Merkle root `root`.
    ///
    /// # Errors
    /// As [`finish`](Self::finish), and when they have another one.
    pub fn finish_as(
        mut self,
        rows: Vec<Row>,
        regions: HashMap<ArtifactId, Regions>,
        root: Hash,
    ) -> Result<Header, BrickError> {
        self.rows = rows;
        self.regions = regions;
        self.finish_with(Some(root))
    }

    /// Writes index and header, syncs, and gives the file its name.
    ///
    /// # Errors
    /// Rows overlap, or the disk is full. Then there is no file, or the one that was there before.
    pub fn finish(self) -> Result<Header, BrickError> {
        self.finish_with(None)
    }

    fn finish_with(mut self, root: Option<Hash>) -> Result<Header, BrickError> {
        let blocks = self.rows.iter().map(|row| (row.block, row.id));
        let used_end = Layout::from_blocks(self.pixels.order(), self.cap, blocks)
            .map_err(|source| BrickError::Layout { path: self.out.clone(), source })?
            .used_end();
        // From the pixels themselves, whatever was believed of them before.
        self.pixels.rescan();
        if root.is_some_and(|root| root != self.pixels.merkle.root()) {
            return Err(BrickError::invalid(
                &self.out,
                "its pixels do not have the hash that they should have",
            ));
        }
        let mut header =
            Header { flags: FLAG_METADATA, trailer: Some(TRAILER_VERSION), ..self.pixels.header(used_end) };
        let mut frames = None;
        if self.options.compress {
            let (table, size) = self.write_frames()?;
            self.pixels.map.check()?;
            frames = Some(table);
            header.flags |= FLAG_COMPRESSED;
            header.compressed_size = size;
        }
        let index =
            Index::new(header.order, self.cap, &self.rows, &self.regions, &self.pixels.merkle, frames);
        let tail = index.encode().doing("compress the index of", &self.out)?;
        let mut file: &File = self.file.as_file();
        let body_end = HEADER_LEN as u64 + header.compressed_size;
        file.seek(SeekFrom::Start(body_end)).and_then(|_| file.write_all(&tail)).doing("write", &self.out)?;
        if self.options.compress {
            file.rewind().and_then(|()| file.write_all(&header.encode())).doing("write", &self.out)?;
        } else {
            self.pixels.map.set_header(&header.encode());
            self.pixels.map.sync()?;
        }
        file.sync_all().doing("sync", &self.out)?;
        self.file
            .persist(&self.out)
            .map_err(|error| error.error)
            .doing("rename the new file to", &self.out)?;
        files::sync_dir(self.out.parent().unwrap_or(Path::new("")))?;
        Ok(header)
    }

    /// Stores the body as frames, one per leaf that is not empty, and returns their table and the bytes of all.
    fn write_frames(&self) -> Result<(Frames, u64), BrickError> {
        let compress = || {
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            let mut file = BufWriter::new(self.file.as_file());
            file.seek(SeekFrom::Start(HEADER_LEN as u64))?;
            let (mut frames, mut end) = (Frames::default(), 0);
            let mut pixels = vec![0; LEAF_BYTES];
            for (leaf, hash) in (0..).zip(self.pixels.merkle.leaves()) {
                if *hash == empty_hash(0) {
                    continue;
                }
                let block = leaf_block(self.pixels.order(), leaf);
                let pixels = &mut pixels[..block.cells() as usize * 4];
                apply::read_rgba(self.pixels.map.body(), self.pixels.map.curve(), block.start, pixels);
                let frame = compressor.compress(pixels)?;
                file.write_all(&frame)?;
                frames.table.push((leaf, end, frame.len() as u64));
                frames.sums.push(frame_sum(&frame));
                end += frame.len() as u64;
            }
            file.flush()?;
            Ok((frames, end))
        };
        compress().map_err(|source: std::io::Error| BrickError::Io {
            action: "write",
            path: self.out.clone(),
            source,
        })
    }
}
