//! A reader of V2BR bricks written from the format's description alone, as any other program would read them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A brick's bytes.
#[derive(Clone)]
pub struct RawBrick {
    /// Header fields that a reader needs.
    pub width: u64,
    /// Hilbert order.
    pub order: u32,
    /// Cells in use.
    pub original_size: u64,
    /// Row-major RGBA.
    pub body: Vec<u8>,
}

/// The classic d2xy: x is the column, y the row.
#[expect(clippy::many_single_char_names, reason = "as in the published algorithm")]
pub fn d2xy(order: u32, d: u64) -> (u64, u64) {
    let (mut x, mut y, mut t, mut s) = (0, 0, d, 1);
    while s < 1 << order {
        let rx = 1 & (t / 2);
        let ry = 1 & (t ^ rx);
        if ry == 0 {
            if rx == 1 {
                (x, y) = (s - 1 - x, s - 1 - y);
            }
            (x, y) = (y, x);
        }
        (x, y) = (x + s * rx, y + s * ry);
        t /= 4;
        s *= 2;
    }
    (x, y)
}

impl RawBrick {
    /// Reads a file: 132 bytes of header, then the body.
    ///
    /// # Errors
    /// When it is not an uncompressed V2BR file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        ensure!(bytes.len() >= 132 && &bytes[..4] == b"V2BR", "not a V2BR file");
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        ensure!(u32_at(4) == 1, "version {}", u32_at(4));
        let (width, height, order) = (u64::from(u32_at(8)), u64::from(u32_at(12)), u32_at(16));
        ensure!(width == height && width == 1 << order, "{width}x{height}, order {order}");
        ensure!(u32_at(88) & 2 == 0, "compressed");
        let end = 132 + usize::try_from(width * height * 4)?;
        ensure!(bytes.len() >= end, "truncated");
        Ok(Self { width, order, original_size: u64_at(20), body: bytes[132..end].to_vec() })
    }

    /// Where a cell's pixel is in the body.
    pub fn offset(&self, cell: u64) -> usize {
        let (x, y) = d2xy(self.order, cell);
        usize::try_from((y * self.width + x) * 4).unwrap()
    }

    /// The R channel of a run of cells.
    pub fn cells(&self, start: u64, len: u64) -> Vec<u8> {
        (start..start + len).map(|cell| self.body[self.offset(cell)]).collect()
    }

    /// All four channels of a cell.
    pub fn pixel(&self, cell: u64) -> [u8; 4] {
        let at = self.offset(cell);
        self.body[at..at + 4].try_into().unwrap()
    }
}

/// One artifact as `sfd inspect --json` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `file`, `directory`, ...
    pub file_type: String,
    /// Kind name.
    pub kind: String,
    /// First cell.
    pub start: u64,
    /// Cells of its block.
    pub cells: u64,
    /// Content length.
    pub len: u64,
    /// The block holds the very bytes.
    pub exact: bool,
    /// Secret.
    pub redacted: bool,
    /// Not verified.
    pub unverified: bool,
    /// Permission bits.
    pub mode: u32,
}

/// The artifact table of a brick, by path (exact bytes where a path is not UTF-8).
///
/// # Errors
/// When `sfd inspect` fails or prints something else.
pub fn inspect(brick: &Path) -> Result<BTreeMap<PathBuf, Listed>> {
    use std::os::unix::ffi::OsStringExt;
    let output = crate::daemon::sfd(&["inspect", "--json"]).arg(brick).output()?;
    ensure!(output.status.success(), "sfd inspect: {}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(document["format"] == "V2BR", "format {}", document["format"]);
    let mut found = BTreeMap::new();
    for each in document["artifacts"].as_array().context("artifacts")? {
        let path = match each["path_bytes"].as_str() {
            Some(text) => base64(text)?,
            None => each["path"].as_str().context("path")?.as_bytes().to_vec(),
        };
        let number = |key: &str| each[key].as_u64().with_context(|| format!("{key} of {each}"));
        let flag = |key: &str| each[key].as_bool().with_context(|| format!("{key} of {each}"));
        let text =
            |key: &str| each[key].as_str().map(str::to_owned).with_context(|| format!("{key} of {each}"));
        let listed = Listed {
            file_type: text("type")?,
            kind: text("kind")?,
            start: number("start")?,
            cells: number("cells")?,
            len: number("len")?,
            exact: flag("exact")?,
            redacted: flag("redacted")?,
            unverified: flag("unverified")?,
            mode: u32::try_from(number("mode")?)?,
        };
        let path = PathBuf::from(std::ffi::OsString::from_vec(path));
        ensure!(found.insert(path.clone(), listed).is_none(), "{} is listed twice", path.display());
    }
    Ok(found)
}

/// Standard base64 with padding.
fn base64(text: &str) -> Result<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        let value = ALPHABET.iter().position(|a| *a == c).context("not base64")?;
        bits = bits << 6 | u32::try_from(value)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Ok(bytes)
}

/// Compares a brick with the tree it is of: the same paths, the same modes, the same bytes of every file that the
/// brick says it holds exactly.
///
/// # Errors
/// Names the first difference.
pub fn compare(root: &Path, brick: &Path) -> Result<Compared> {
    let compared = compare_unverified(root, brick)?;
    ensure!(compared.unverified == 0, "{} are unverified", compared.unverified);
    Ok(compared)
}

/// As [`compare`], but what is right may be unverified.
///
/// # Errors
/// Names the first difference.
pub fn compare_unverified(root: &Path, brick: &Path) -> Result<Compared> {
    use std::os::unix::fs::MetadataExt;
    let listed = inspect(brick)?;
    let raw = RawBrick::open(brick)?;
    let mut compared = Compared::default();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = match std::fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let entry = listed.get(&path).with_context(|| format!("{} is not in the brick", path.display()))?;
        compared.artifacts += 1;
        compared.unverified += usize::from(entry.unverified);
        ensure!(entry.mode == meta.mode() & 0o7777, "{}: mode {:o}", path.display(), entry.mode);
        if meta.is_dir() {
            ensure!(entry.file_type == "directory", "{} is a {}", path.display(), entry.file_type);
            todo.extend(
                std::fs::read_dir(&path)?
                    .map(|entry| entry.map(|e| e.path()))
                    .collect::<Result<Vec<_>, _>>()?,
            );
        } else if meta.is_symlink() {
            use std::os::unix::ffi::OsStrExt;
            let target = std::fs::read_link(&path)?;
            let cells = raw.cells(entry.start, entry.len);
            ensure!(cells == target.as_os_str().as_bytes(), "{}: link target", path.display());
        } else if meta.is_file() {
            ensure!(
                entry.len == meta.len(),
                "{}: {} bytes, {} on disk",
                path.display(),
                entry.len,
                meta.len()
            );
            if entry.redacted {
                compared.redacted += 1;
            } else if meta.len() <= 65_536 {
                ensure!(entry.exact, "{} is not exact", path.display());
                let bytes = std::fs::read(&path)?;
                ensure!(raw.cells(entry.start, entry.len) == bytes, "{}: contents differ", path.display());
                compared.exact += 1;
            } else {
                ensure!(!entry.exact, "{} is said to be exact", path.display());
            }
        }
    }
    ensure!(
        compared.artifacts == listed.len(),
        "the brick has {} artifacts, the disk {}: {:?}",
        listed.len(),
        compared.artifacts,
        listed.keys().filter(|path| std::fs::symlink_metadata(path).is_err()).take(3).collect::<Vec<_>>(),
    );
    Ok(compared)
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// Artifacts.
    pub artifacts: usize,
    /// Files whose bytes were compared.
    pub exact: usize,
    /// Files that are redacted.
    pub redacted: usize,
    /// Not verified.
    pub unverified: usize,
}
