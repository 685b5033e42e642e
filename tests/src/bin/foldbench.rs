//! P2 and P3: how fast the brick engine is, beside what memory and the obvious way can do, in one process.
//!
//! `foldbench fold` prints seconds for: folding contents from memory, copying as many bytes as that writes, folding the same
//! a pixel at a time. `foldbench refold DIR FILES` makes a brick of so many files in DIR and prints seconds for all of
//! it, for one file's commit, pixel bytes written and pixel bytes of the file's region, and bytes the catalog wrote.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use sfd::brick::{Commit, LiveBrick, Row};
use sfd::fold::{Block, FirstFoldItem, FoldOp, FoldPlan, K_CAP, apply, first_fold};
use sfd_tests::bricks::{Random, file, root};

/// Bytes of content of `fold`: sixteen times a last-level cache of 4 MiB a core, so that it is memory that is measured.
const CONTENT: usize = 64 << 20;
/// Sizes of files, in turn; the mean is that of /etc and /usr/share, some KiB.
const SIZES: [usize; 6] = [300, 1500, 4096, 700, 16_000, 2500];
/// Sizes of the files of `refold`, so that 100 000 of them fit a curve of order 14 with none cut down to a digest.
const SMALL: [usize; 5] = [300, 700, 1000, 200, 60];
/// Size of those that are folded anew.
const REFOLDED: usize = 4096;
/// Turns of the three; the median of each is printed.
const TURNS: usize = 9;
/// One-file commits that are timed; the median is printed.
const REFOLDS: usize = 201;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fold"] => fold(),
        ["refold", dir, files] => refold(Path::new(dir), files.parse().unwrap()),
        _ => {
            eprintln!("usage: foldbench fold | foldbench refold DIR FILES");
            std::process::exit(2);
        }
    }
}

/// Made-up contents, none of which compress.
fn contents(len: usize) -> Bytes {
    let mut random = Random::new(1);
    (0..len).map(|_| random.below(256) as u8).collect()
}

/// A flat directory of files: rows with places, and the order of the curve.
fn layout(sizes: impl Iterator<Item = usize>, content: &Bytes) -> (u8, Vec<(Row, Bytes)>) {
    let mut rows = vec![(root("/made/up"), Bytes::from_static(b"a directory"))];
    let mut at = 0;
    for (id, size) in (1..).zip(sizes) {
        at = if at + size > content.len() { 0 } else { at };
        let bytes = content.slice(at..at + size);
        rows.push((file(id, &format!("{id:08}"), &bytes, Block { start: 0, k: 6 }, 1), bytes));
        at += size;
    }
    let items: Vec<FirstFoldItem<'_>> = rows
        .iter()
        .map(|(row, bytes)| FirstFoldItem {
            id: row.id,
            parent: row.parent,
            name: &row.name,
            is_dir: row.parent.is_none(),
            len: bytes.len() as u64,
        })
        .collect();
    let fold = first_fold(&items, K_CAP, false).unwrap();
    let order = fold.layout.order();
    for (id, block) in fold.blocks {
        rows[id.0 as usize].0.block = block;
    }
    rows.sort_unstable_by_key(|(row, _)| row.block);
    (order, rows)
}

fn plan(rows: &[(Row, Bytes)]) -> FoldPlan {
    let fill = |(row, bytes): &(Row, Bytes)| FoldOp::Fill {
        block: row.block,
        bytes: bytes.slice(..bytes.len().min(row.block.cells() as usize)),
        paint: row.paint(),
    };
    FoldPlan { ops: rows.iter().map(fill).collect() }
}

fn fold() {
    let content = contents(CONTENT);
    let mut total = 0;
    let sizes = SIZES.iter().copied().cycle().take_while(|size| {
        total += size;
        total <= CONTENT
    });
    let (order, rows) = layout(sizes, &content);
    let plan = plan(&rows);
    let bytes: usize = rows.iter().map(|(_, bytes)| bytes.len()).sum();
    // Both touched before anything is timed.
    let mut body = vec![1_u8; 4 << (2 * order)];
    let source = vec![2_u8; 4 * bytes];

    let mut times: [Vec<f64>; 3] = Default::default();
    let mut note = |what: usize, since: Instant| times[what].push(since.elapsed().as_secs_f64());
    for _ in 0..TURNS {
        let started = Instant::now();
        apply(&plan, &mut body, order).unwrap();
        note(0, started);

        let started = Instant::now();
        // As much as the fold writes for contents: four bytes for each.
        body[..source.len()].copy_from_slice(&source);
        note(1, started);
        std::hint::black_box(&body);

        let started = Instant::now();
        for (row, bytes) in &rows {
            let paint = row.paint();
            for (cell, &byte) in (row.block.start..).zip(bytes) {
                let (x, y) = fast_hilbert::h2xy::<u32>(cell, order);
                let at = ((y as usize) << order | x as usize) * 4;
                body[at..at + 4].copy_from_slice(&[byte, paint.kind, paint.flags, 255]);
            }
        }
        note(2, started);
        std::hint::black_box(&body);
    }
    let [folded, copied, by_pixel] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[TURNS / 2]
    });
    println!("{bytes} {folded} {copied} {by_pixel}");
}

fn refold(dir: &Path, files: usize) {
    let content = contents(8 << 20);
    let sizes: Vec<usize> = (0..files)
        .map(|at| if at % (files / REFOLDS) == 0 { REFOLDED } else { SMALL[at % SMALL.len()] })
        .collect();
    let (order, rows) = layout(sizes.into_iter(), &content);
    let whole = plan(&rows);
    let all: Vec<Row> = rows.iter().map(|(row, _)| row.clone()).collect();

    let started = Instant::now();
    let mut brick = LiveBrick::create(dir, "b", b"/made/up", (order, K_CAP), &all, &whole).unwrap();
    let created = started.elapsed();

    let wal = dir.join("b.catalog.sqlite-wal");
    let wal_len = || std::fs::metadata(&wal).map_or(0, |meta| meta.len());
    let subjects =
        rows.iter().filter(|(row, bytes)| row.parent.is_some() && bytes.len() == REFOLDED).take(REFOLDS);
    let (mut times, mut cells, mut region, mut catalog) = (Vec::new(), 0, 0, 0);
    for (row, bytes) in subjects {
        let new: Bytes = bytes.iter().map(|byte| !byte).collect();
        let mut row = row.clone();
        row.content_hash = blake3::hash(&new).into();
        let op = FoldOp::Fill { block: row.block, bytes: new, paint: row.paint() };
        region += row.block.cells() * 4;
        let commit = Commit { plan: FoldPlan { ops: vec![op] }, upserts: vec![row], ..Commit::default() };
        let before = wal_len();
        let started = Instant::now();
        let stats = brick.commit(&commit).unwrap();
        times.push(started.elapsed().as_secs_f64());
        cells += stats.cells * 4;
        catalog += wal_len().saturating_sub(before);
    }
    times.sort_unstable_by(f64::total_cmp);
    println!(
        "{} {} {cells} {region} {}",
        created.as_secs_f64(),
        times[times.len() / 2],
        catalog / times.len() as u64
    );
}
