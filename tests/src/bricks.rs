//! Made-up artifacts, and a reader of bricks that shares no code with the library.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sfd::artifact::kinds::Kind;
use sfd::artifact::{FileType, Meta, Risk, Semantics, SemanticsSource};
use sfd::brick::{ArtifactId, Brick, Catalog, Commit, LiveBrick, Recovery, Row, SealOptions, SearchQuery};
use sfd::fold::{Block, FoldOp, FoldPlan, K_CAP, Layout};

/// A verified file of given contents; `version` is its modification time.
pub fn file(id: u32, name: &str, contents: &[u8], block: Block, version: i64) -> Row {
    Row {
        id: ArtifactId(id),
        parent: Some(ArtifactId(0)),
        name: name.as_bytes().to_vec(),
        meta: Meta {
            file_type: FileType::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: contents.len() as u64,
            mtime_ns: version,
            ctime_ns: version,
            dev: u64::MAX - 1,
            ino: 1 << 63 | u64::from(id),
            nlink: 1,
            rdev: 0,
        },
        sb_dev: 0x0010_0002,
        block,
        len: contents.len() as u64,
        content_hash: blake3::hash(contents).into(),
        exact: contents.len() as u64 <= block.cells(),
        redacted: false,
        unverified: None,
        semantics: Semantics {
            kind: Kind::Directory,
            title: format!("file {id}"),
            summary: format!("made up, version {version}"),
            tags: vec!["test".into()],
            risk: Risk { level: (id % 5) as u8, reasons: vec!["because".into()] },
            source: SemanticsSource::Heuristic,
            answered: None,
        },
    }
}

/// The root directory: artifact 0 at cell 0.
pub fn root(path: &str) -> Row {
    let block = Block { start: 0, k: 6 };
    let mut row = file(0, path, b"a directory", block, 0);
    row.parent = None;
    row.meta.file_type = FileType::Directory;
    row
}

/// The same row before anyone has read it.
pub fn unread(mut row: Row) -> Row {
    row.unverified = Some("not read yet".into());
    row
}

/// The step that paints a row with its contents, cut to its block.
pub fn fill(row: &Row, contents: &[u8]) -> FoldOp {
    let len = contents.len().min(row.block.cells() as usize);
    FoldOp::Fill { block: row.block, bytes: Bytes::copy_from_slice(&contents[..len]), paint: row.paint() }
}

/// Contents that say whose they are and of which version, `len` bytes.
pub fn contents(id: u32, version: i64, len: usize) -> Vec<u8> {
    format!("artifact {id} version {version};").into_bytes().into_iter().cycle().take(len).collect()
}

/// The six-line curve of `docs/brick-format.md`.
pub fn d2xy(order: u32, mut d: u64) -> (u64, u64) {
    let (mut x, mut y) = (0, 0);
    for s in (0..order).map(|level| 1_u64 << level) {
        let (rx, ry) = (1 & (d / 2), 1 & (d ^ (d / 2)));
        if ry == 0 {
            (x, y) = if rx == 1 { (s - 1 - y, s - 1 - x) } else { (y, x) };
        }
        (x, y, d) = (x + s * rx, y + s * ry, d / 4);
    }
    (x, y)
}

/// What a public reader of the format gets out of a brick: header checks, then one byte per pixel in curve order.
pub fn public_read(file: &[u8]) -> Result<Vec<u8>, String> {
    let u32_at = |at: usize| u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if file.len() < 132 || &file[..4] != b"V2BR" || u32_at(4) != 1 {
        return Err("not a V2BR file of version 1".into());
    }
    let (width, height, order, used) = (u32_at(8), u32_at(12), u32_at(16), u64_at(20));
    if width != height || width != 1 << order || u32_at(88) & 2 != 0 {
        return Err(format!("{width}x{height}, order {order}, flags {:#x}", u32_at(88)));
    }
    let body = &file[132..];
    if (body.len() as u64) < u64::from(width) * u64::from(height) * 4 {
        return Err("truncated".into());
    }
    Ok((0..used)
        .map(|d| {
            let (x, y) = d2xy(order, d);
            body[((y * u64::from(width) + x) * 4) as usize]
        })
        .collect())
}

/// What makes a catalog one of version 3, but for its number.
pub const BACK_TO_3: &str = "DROP TRIGGER artifact_new; DROP TRIGGER artifact_other; DROP TRIGGER artifact_gone; \
     DROP TABLE search; DROP TABLE unindexed; \
     ALTER TABLE history DROP COLUMN meaning; ALTER TABLE history DROP COLUMN reasons;";

/// A directory and ten files of 1 to 10 000 bytes, laid out and not read yet.
pub struct Fixture {
    dir: tempfile::TempDir,
    /// Where they are.
    pub layout: Layout,
    /// What they are, by number; the directory is number 0.
    pub rows: Vec<Row>,
}

/// Order of the fixture's brick.
pub const ORDER: u8 = 8;

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}

impl Fixture {
    /// Laid out; nothing is on disk yet.
    pub fn new() -> Self {
        let mut layout = Layout::new(ORDER, K_CAP);
        layout.alloc(6, 0, ArtifactId(0)).unwrap();
        let mut rows = vec![root("/t")];
        for id in 1..=10 {
            let bytes = Self::contents(id);
            let k = sfd::fold::k_for_len(bytes.len() as u64, K_CAP);
            let block = layout.alloc(k, 0, ArtifactId(id)).unwrap();
            rows.push(file(id, &format!("f{id}"), &bytes, block, 1));
        }
        Self { dir: tempfile::tempdir().unwrap(), layout, rows }
    }

    /// What is in a file: 100 bytes times the square of its number.
    pub fn contents(id: u32) -> Vec<u8> {
        contents(id, 1, (id * id * 100) as usize)
    }

    /// Where the brick is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The brick, named `t`.
    pub fn path(&self) -> PathBuf {
        self.dir().join("t.brick")
    }

    /// A baseline: nothing is read.
    pub fn create(&self) -> LiveBrick {
        let rows: Vec<Row> = self.rows.iter().cloned().map(unread).collect();
        let plan = FoldPlan { ops: rows.iter().map(Row::blank).collect() };
        LiveBrick::create(self.dir(), "t", b"/t", (ORDER, K_CAP), &rows, &plan).unwrap()
    }

    /// Created, and every row read.
    pub fn complete(&self) -> LiveBrick {
        let mut brick = self.create();
        for row in &self.rows {
            let bytes = if row.id.0 == 0 { b"a directory".to_vec() } else { Self::contents(row.id.0) };
            brick.commit(&upsert(row, &bytes)).unwrap();
        }
        brick
    }

    /// Opened again.
    pub fn open(&self) -> (LiveBrick, Vec<Row>, Recovery) {
        LiveBrick::open(self.dir(), "t").unwrap()
    }

    /// Changes the catalog behind everybody's back.
    pub fn sql(&self, sql: &str) {
        let catalog = self.dir().join("t.catalog.sqlite");
        rusqlite::Connection::open(catalog).unwrap().execute_batch(sql).unwrap();
    }
}

/// The commit that writes one artifact.
pub fn upsert(row: &Row, bytes: &[u8]) -> Commit {
    Commit { plan: FoldPlan { ops: vec![fill(row, bytes)] }, upserts: vec![row.clone()], ..Commit::default() }
}

/// What a search finds: numbers, in their order, whatever the ranking.
///
/// # Panics
/// When the catalog cannot be searched, or does not count what it gives.
pub fn found(catalog: &Catalog, query: &str) -> Vec<u32> {
    let found = catalog.search(&SearchQuery::parse(query), usize::MAX).unwrap();
    assert_eq!(found.total, found.hits.len() as u64, "{query}");
    let mut ids: Vec<u32> = found.hits.iter().map(|hit| hit.id.0).collect();
    ids.sort_unstable();
    ids
}

/// Fails if a search does not find exactly what the rows say.
///
/// # Panics
/// When it does not.
pub fn assert_searchable(catalog: &Catalog, rows: &[Row], what: &str) {
    let summaries: BTreeSet<&str> = rows.iter().map(|row| row.semantics.summary.as_str()).collect();
    for summary in summaries {
        let mut expected: Vec<u32> =
            rows.iter().filter(|row| row.semantics.summary == summary).map(|row| row.id.0).collect();
        expected.sort_unstable();
        assert_eq!(found(catalog, &format!("\"{summary}\"")), expected, "{what}: {summary}");
    }
    for row in rows.iter().filter(|row| row.parent.is_some()) {
        let name = String::from_utf8_lossy(&row.name);
        assert!(found(catalog, &format!("\"{name}\"")).contains(&row.id.0), "{what}: {name}");
    }
}

/// Fails with the first thing that is wrong with a brick.
pub fn assert_verifies(path: &Path) {
    let report = Brick::open(path).unwrap().verify().unwrap();
    assert!(report.is_ok(), "{}", report.findings[0]);
}

/// Seals a live brick that is held open, beside itself.
pub fn seal(brick: &LiveBrick, name: &str, options: SealOptions) -> PathBuf {
    let out = brick.path().with_file_name(name);
    sfd::brick::snapshot(brick.path(), &out, options, &mut || None).unwrap();
    out
}

/// A small generator of numbers (xorshift64*): the suites say their seed, and need no more than that.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Any seed will do.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// A V2BR file as other programs write it: all channels of a pixel are the byte, nothing follows the body.
pub fn foreign_brick(order: u32, data: &[u8], hash: [u8; 32]) -> Vec<u8> {
    let side = 1_u32 << order;
    let body_len = u64::from(side) * u64::from(side) * 4;
    let mut file = b"V2BR".to_vec();
    for number in [1, side, side, order] {
        file.extend(number.to_le_bytes());
    }
    file.extend((data.len() as u64).to_le_bytes());
    file.extend(body_len.to_le_bytes());
    file.extend(4.5_f32.to_le_bytes());
    file.extend(hash);
    file.resize(132 + body_len as usize, 0);
    for (cell, &byte) in (0..).zip(data) {
        let (x, y) = d2xy(order, cell);
        let at = 132 + ((y * u64::from(side) + x) * 4) as usize;
        file[at..at + 4].fill(byte);
    }
    file
}
