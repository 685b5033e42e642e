//! Reads one open file: cells, hash, the head that kinds look at, and whether it holds a secret. Memory is bounded by
//! the head, the cells and one chunk.

use std::io;

use super::LookOptions;
use crate::artifact::redact::contents::{ASSIGNMENTS_BYTES_MAX, Form, OVERLAP_BYTES};
use crate::artifact::view::Source;
use crate::artifact::{Redaction, Redactor};

/// The samples of a digest are at most this many bytes together, whatever the size of the file.
pub const DIGEST_BYTES_MAX: u64 = 4 << 20;
/// A file is read in pieces of this many bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Of a file that is only sampled, kinds see this much of the beginning, in bytes.
const SAMPLED_HEAD_BYTES: usize = 4 << 10;

/// How a file is to be read.
pub(super) struct Plan<'a> {
    pub(super) options: &'a LookOptions,
    /// Size the file claims, in bytes.
    pub(super) len: u64,
    /// Bytes of the beginning that kinds want.
    pub(super) head: usize,
    pub(super) form: Form,
    /// Looks for secrets; `None` when the path has decided.
    pub(super) scan: Option<&'a Redactor>,
}

/// What was read.
pub(super) struct Contents {
    pub(super) cells: Vec<u8>,
    pub(super) head: Vec<u8>,
    /// Plain BLAKE3; never leaves the looker for a secret.
    pub(super) hash: [u8; 32],
    pub(super) len: u64,
    pub(super) exact: bool,
    pub(super) partial_hash: bool,
    pub(super) secret: Option<Redaction>,
    pub(super) problem: Option<String>,
    /// The cells are metadata because the contents could not be read.
    pub(super) unread: bool,
}

impl Contents {
    /// Contents that are at hand.
    pub(super) fn of_bytes(cells: Vec<u8>) -> Self {
        Self {
            hash: *blake3::hash(&cells).as_bytes(),
            len: cells.len() as u64,
            head: cells.clone(),
            cells,
            exact: true,
            partial_hash: false,
            secret: None,
            problem: None,
            unread: false,
        }
    }
}

/// Reads a file as planned.
pub(super) fn read(source: &mut dyn Source, plan: &Plan<'_>) -> io::Result<Contents> {
    let cells = 1_u64 << plan.options.cap;
    let whole = plan.len <= cells || (plan.options.exact && plan.len <= plan.options.exact_max);
    if whole || plan.len <= plan.options.full_hash_max {
        read_through(source, plan, if whole { None } else { Some(cells) })
    } else {
        read_samples(source, plan, cells)
    }
}

/// From beginning to end, once.
fn read_through(source: &mut dyn Source, plan: &Plan<'_>, digest: Option<u64>) -> io::Result<Contents> {
    let mut hasher = blake3::Hasher::new();
    let mut sampler = digest.map(|n| Sampler::new(Strides::new(plan.len, n)));
    let mut cells = Vec::new();
    let mut head = Vec::new();
    let mut scan =
        plan.scan.map(|redactor| Scan { redactor, form: form(plan), tail: Vec::new(), found: None });
    // One byte more than the file claims tells growth; a file may also claim 0 and have contents (FUSE).
    let chunk = usize::try_from(plan.len + 1).map_or(CHUNK_BYTES, |n| n.min(CHUNK_BYTES));
    let mut buf = vec![0; chunk];
    let mut at = 0;
    while at <= plan.len {
        let left = usize::try_from(plan.len + 1 - at).map_or(chunk, |n| n.min(chunk));
        let n = source.read_at(&mut buf[..left], at)?;
        if n == 0 {
            break;
        }
        // What is beyond the claimed size is only noticed, not taken.
        let n = usize::try_from(plan.len - at).map_or(n, |rest| n.min(rest));
        let piece = &buf[..n];
        hasher.update(piece);
        let wanted = plan.head.saturating_sub(head.len()).min(n);
        head.extend_from_slice(&piece[..wanted]);
        match &mut sampler {
            Some(sampler) => sampler.feed(piece),
            None => cells.extend_from_slice(piece),
        }
        if let Some(scan) = &mut scan {
            scan.feed(piece);
        }
        if n == 0 {
            at = plan.len + 1;
            break;
        }
        at += n as u64;
    }
    let problem = if let Some(why) = source.incomplete() {
        Some(why.to_owned())
    } else if at == plan.len {
        None
    } else if at > plan.len {
        Some("longer than its size says".to_owned())
    } else {
        Some(format!("its size says {} bytes, {at} could be read", plan.len))
    };
    let len = at.min(plan.len);
    Ok(Contents {
        exact: sampler.is_none(),
        cells: sampler.map_or(cells, Sampler::finish),
        head,
        hash: *hasher.finalize().as_bytes(),
        len,
        partial_hash: false,
        secret: scan.and_then(|s| s.found),
        problem,
        unread: false,
    })
}

/// Only the head and the samples. Nothing readable is left of a file this large: a cell is the mean of many bytes out of
/// a stride of at least a kilobyte. So only the head, which kinds get to see, is looked through for secrets.
fn read_samples(source: &mut dyn Source, plan: &Plan<'_>, n: u64) -> io::Result<Contents> {
    source.spots();
    let strides = Strides::new(plan.len, n);
    let mut head = vec![0; plan.head.min(SAMPLED_HEAD_BYTES)];
    let got = read_full(source, &mut head, 0)?;
    head.truncate(got);
    let secret = plan.scan.and_then(|redactor| redactor.by_content(form(plan), &head));
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"sfd partial hash v1").update(&plan.len.to_le_bytes());
    let mut buf = vec![0; usize::try_from(strides.sample).unwrap_or(CHUNK_BYTES)];
    let mut cells = Vec::with_capacity(usize::try_from(n).unwrap_or(0));
    let mut missing = false;
    for i in 0..n {
        let (start, end) = strides.sample_of(i);
        let want = usize::try_from(end - start).unwrap_or(buf.len());
        let got = read_full(source, &mut buf[..want], start)?;
        missing |= got < want;
        hasher.update(&buf[..got]);
        cells.push(mean(buf[..got].iter().map(|b| u64::from(*b)).sum(), got as u64));
    }
    Ok(Contents {
        cells,
        head,
        hash: *hasher.finalize().as_bytes(),
        len: plan.len,
        exact: false,
        partial_hash: true,
        secret,
        problem: missing.then(|| "shorter than its size says".to_owned()),
        unread: false,
    })
}

/// Assignments are looked for in small files only.
fn form(plan: &Plan<'_>) -> Form {
    if plan.form == Form::Config && plan.len > ASSIGNMENTS_BYTES_MAX { Form::Any } else { plan.form }
}

fn read_full(source: &mut dyn Source, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        match source.read_at(&mut buf[got..], at + got as u64)? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

/// How a file of `len` bytes is divided into `n` cells: cell i stands for bytes `i*len/n..(i+1)*len/n` and is the mean of
/// up to `sample` bytes from the start of them.
#[derive(Clone, Copy, Debug)]
struct Strides {
    len: u64,
    n: u64,
    sample: u64,
}

impl Strides {
    fn new(len: u64, n: u64) -> Self {
        Self { len, n, sample: (DIGEST_BYTES_MAX / n).max(1) }
    }

    fn start(&self, i: u64) -> u64 {
        // The product of two 64-bit numbers, divided by the second factor's bound: fits again.
        u64::try_from(u128::from(i) * u128::from(self.len) / u128::from(self.n)).unwrap_or(u64::MAX)
    }

    fn sample_of(&self, i: u64) -> (u64, u64) {
        let start = self.start(i);
        (start, self.start(i + 1).min(start + self.sample))
    }
}

/// Makes the same cells as [`read_samples`] out of a file that passes by from beginning to end.
struct Sampler {
    strides: Strides,
    /// Offset of the next piece.
    at: u64,
    /// Sum of the current cell's sample so far, and how many bytes of it were seen.
    sum: u64,
    seen: u64,
    cells: Vec<u8>,
}

impl Sampler {
    fn new(strides: Strides) -> Self {
        let cells = Vec::with_capacity(usize::try_from(strides.n).unwrap_or(0));
        Self { strides, at: 0, sum: 0, seen: 0, cells }
    }

    fn feed(&mut self, piece: &[u8]) {
        let end = self.at + piece.len() as u64;
        while (self.cells.len() as u64) < self.strides.n {
            let (from, to) = self.strides.sample_of(self.cells.len() as u64);
            if from >= end {
                break;
            }
            let part = from.max(self.at)..to.min(end);
            let index =
                |o: u64| usize::try_from(o.saturating_sub(self.at)).unwrap_or(usize::MAX).min(piece.len());
            let part = &piece[index(part.start)..index(part.end)];
            self.sum += part.iter().map(|b| u64::from(*b)).sum::<u64>();
            self.seen += part.len() as u64;
            if to > end {
                break;
            }
            self.push();
        }
        self.at = end;
    }

    fn push(&mut self) {
        self.cells.push(mean(self.sum, self.seen));
        (self.sum, self.seen) = (0, 0);
    }

    /// The cells; those of a part that could not be read are 0.
    fn finish(mut self) -> Vec<u8> {
        if self.seen > 0 {
            self.push();
        }
        self.cells.resize(usize::try_from(self.strides.n).unwrap_or(0), 0);
        self.cells
    }
}

/// Rounded mean of bytes.
fn mean(sum: u64, n: u64) -> u8 {
    u8::try_from((sum + n / 2).checked_div(n).unwrap_or(0)).unwrap_or(u8::MAX)
}

/// Looks for secrets in a file that passes by in pieces.
struct Scan<'a> {
    redactor: &'a Redactor,
    form: Form,
    /// The end of the last piece, in case a secret spans two.
    tail: Vec<u8>,
    found: Option<Redaction>,
}

impl Scan<'_> {
    fn feed(&mut self, piece: &[u8]) {
        if self.found.is_some() || piece.is_empty() {
            return;
        }
        // Most files are one piece, which need not be copied.
        let mut joined = std::mem::take(&mut self.tail);
        let all = if joined.is_empty() {
            piece
        } else {
            joined.extend_from_slice(piece);
            &joined
        };
        self.found = self.redactor.by_content(self.form, all);
        self.tail = all[all.len().saturating_sub(OVERLAP_BYTES)..].to_vec();
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
