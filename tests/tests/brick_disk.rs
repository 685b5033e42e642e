//! A disk that loses power: what `docs/decisions/0005-crash-safety.md` says is refuted here if it can be.
//!
//! A session of commits, syncs, growth and reopening is recorded: after each step, all bytes of the files. Then a state
//! is made that a loss of power could leave: each sector of the picture as of any moment since it was last synced, in
//! any mixture; the catalog's log the same, cut anywhere; the database itself half way through a checkpoint. SQLite's
//! own syncs are honoured (a checkpoint syncs the log, then the database; a log that starts again syncs its header
//! before its first frame), because no disk undoes those; everything else is reordered. The brick that opens has to be
//! one of the states that were committed since the last sync, with every pixel that it calls verified right. One state
//! in four loses power again, before anything that the opening wrote is synced.
//!
//! `SFD_DISK_STATES` makes more of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sfd::brick::{Brick, Commit, LiveBrick, Recovery, Row};
use sfd_tests::bricks::{Random, contents, d2xy};
use sfd_tests::session::{NAME, Session, create};

/// States tried by default.
const STATES: u64 = 2000;
/// States made of one recorded session.
const STATES_PER_SESSION: u64 = 40;
/// Steps of a session: enough for two or three growths and several syncs, too few for a checkpoint that SQLite decides on.
const STEPS: u64 = 40;
/// Base-2 logarithm of the length of a file: the tree stays small, a state is made quickly.
const LEN_LOG_MAX: u64 = 11;
/// What a disk writes at once.
const SECTOR: usize = 512;
/// A page of the database.
const PAGE: usize = 4096;
/// Bytes of the header of SQLite's log.
const WAL_HEADER: usize = 32;

#[test]
fn a_loss_of_power_leaves_a_brick_that_heals_whatever_the_disk_has_kept() {
    let states = std::env::var("SFD_DISK_STATES").map_or(STATES, |n| n.parse().unwrap());
    let mut curves = Curves::default();
    let mut found = [0_u64; 3];
    for session in 0..states.div_ceil(STATES_PER_SESSION) {
        let mut random = Random::new(session);
        let recording = Recording::make(&mut random);
        for number in 0..STATES_PER_SESSION {
            let what = format!("session {session}, state {number}");
            let (files, candidates) = recording.state(&mut random);
            let (recovery, after) = check(&files, candidates, &mut curves, &what);
            found[kind(&recovery)] += 1;
            if random.below(4) == 0 {
                let again = again(&files, &after, &recovery, &mut random);
                check(&again, candidates, &mut curves, &format!("{what}, a second time after {recovery:?}"));
            }
        }
    }
    let [clean, refolded, rebuilt] = found;
    println!("{states} states: {clean} clean, {refolded} refolded, {rebuilt} rebuilt");
    // Otherwise the states are not what they are meant to be.
    assert!(clean > 0 && refolded > states / 4 && rebuilt > 0);
}

fn kind(recovery: &Recovery) -> usize {
    match recovery {
        Recovery::Clean => 0,
        Recovery::Refold { .. } => 1,
        Recovery::RebuildAll { .. } => 2,
    }
}

/// The bytes of picture, database and log.
#[derive(Clone, Default)]
struct Files {
    brick: Vec<u8>,
    db: Vec<u8>,
    wal: Vec<u8>,
}

impl Files {
    fn read(dir: &Path) -> Self {
        let read = |suffix| fs::read(dir.join(format!("{NAME}{suffix}"))).unwrap_or_default();
        Self { brick: read(".brick"), db: read(".catalog.sqlite"), wal: read(".catalog.sqlite-wal") }
    }

    fn write(&self, dir: &Path) {
        let write = |suffix, bytes: &[u8]| fs::write(dir.join(format!("{NAME}{suffix}")), bytes).unwrap();
        write(".brick", &self.brick);
        write(".catalog.sqlite", &self.db);
        write(".catalog.sqlite-wal", &self.wal);
    }
}

/// What a step of the session left.
struct Moment {
    files: Files,
    rows: Vec<Row>,
    /// The moment since which sectors of the picture may be lost: its last sync, or when its file was written whole.
    brick_base: usize,
    /// The same of the log. The database changes only at checkpoints, which sync it.
    catalog_base: usize,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Write,
    /// The file was replaced by a larger one, which is synced.
    Growth,
    /// Both files are on disk.
    Sync,
    /// The last connection checkpoints the catalog when it is closed, and removes the log. The picture is not synced.
    Closed,
}

struct Recording {
    dir: tempfile::TempDir,
    moments: Vec<Moment>,
}

fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Recording {
    fn make(random: &mut Random) -> Self {
        let mut recording = Self { dir: in_memory(), moments: Vec::new() };
        let dir = recording.dir.path().to_owned();
        let (mut brick, rows) = create(&dir).unwrap();
        let mut session = Session::new(&brick, rows, LEN_LOG_MAX).unwrap();
        recording.note(brick.rows().unwrap(), Step::Write);
        for _ in 0..STEPS {
            match random.below(16) {
                0 | 1 => {
                    brick.sync().unwrap();
                    recording.note(brick.rows().unwrap(), Step::Sync);
                }
                2 => {
                    let rows = brick.rows().unwrap();
                    drop(brick);
                    recording.note(rows, Step::Closed);
                    let (opened, _, recovery) = LiveBrick::open(&dir, NAME).unwrap();
                    assert_eq!(recovery, Recovery::Clean);
                    brick = opened;
                }
                3 => {
                    brick.set_unverified_all("a test says so").unwrap();
                    session.unverify_all("a test says so");
                    recording.note(brick.rows().unwrap(), Step::Write);
                }
                _ => {
                    let (mut batch, _) = session.batch(random).unwrap();
                    if let Some(order) = batch.grow_to.take() {
                        // A step of its own: its syncs are not those of the commit.
                        brick.commit(&Commit { grow_to: Some(order), ..Commit::default() }).unwrap();
                        recording.note(brick.rows().unwrap(), Step::Growth);
                    }
                    brick.commit(&batch).unwrap();
                    recording.note(brick.rows().unwrap(), Step::Write);
                }
            }
        }
        recording
    }

    fn note(&mut self, rows: Vec<Row>, step: Step) {
        let now = self.moments.len();
        let (mut brick_base, mut catalog_base) =
            self.moments.last().map_or((0, 0), |last| (last.brick_base, last.catalog_base));
        if matches!(step, Step::Growth | Step::Sync) {
            brick_base = now;
        }
        if matches!(step, Step::Sync | Step::Closed) {
            catalog_base = now;
        }
        let files = Files::read(self.dir.path());
        assert!(files.wal.len() < 1000 * PAGE, "SQLite may have made a checkpoint of its own");
        self.moments.push(Moment { files, rows, brick_base, catalog_base, step });
    }

    /// What a loss of power could leave, and the moments to which the brick may have gone back.
    fn state(&self, random: &mut Random) -> (Files, &[Moment]) {
        let at = random.below(self.moments.len() as u64) as usize;
        let now = &self.moments[at];
        if matches!(now.step, Step::Sync | Step::Closed) && random.below(2) == 0 {
            return self.during_checkpoint(at, random);
        }
        let since = &self.moments[now.catalog_base..=at];
        let logs: Vec<&[u8]> = since.iter().map(|moment| &moment.files.wal[..]).collect();
        let files = Files {
            brick: self.picture(now.brick_base, at, random),
            db: now.files.db.clone(),
            wal: log(&logs, random),
        };
        (files, since)
    }

    /// Half way through a checkpoint: the log is on disk, as is the picture if it was a sync; of the database, any pages.
    fn during_checkpoint(&self, at: usize, random: &mut Random) -> (Files, &[Moment]) {
        let (before, now) = (&self.moments[at - 1], &self.moments[at]);
        let brick = match now.step {
            Step::Sync => before.files.brick.clone(),
            _ => self.picture(before.brick_base, at - 1, random),
        };
        let db = mix(&[&before.files.db, &now.files.db], PAGE, now.files.db.len(), random).0;
        (Files { brick, db, wal: before.files.wal.clone() }, &self.moments[at - 1..at])
    }

    fn picture(&self, base: usize, at: usize, random: &mut Random) -> Vec<u8> {
        let mut versions: Vec<&[u8]> = self.moments[base..=at].iter().map(|m| &m.files.brick[..]).collect();
        if base == 0 {
            // Not even what it was created with.
            versions.push(&[]);
        }
        let len = versions[0].len();
        // A file system may lose a length as well, where it does not write data before it.
        let kept = if random.below(20) == 0 { random.below(len as u64) as usize } else { len };
        mix(&versions, unit(random), kept, random).0
    }
}

/// Pages mostly: the kernel writes those.
fn unit(random: &mut Random) -> usize {
    if random.below(3) == 0 { SECTOR } else { PAGE }
}

/// `len` bytes, each unit of which is as in one of the versions: any mixture, or one version but for a few units. What a
/// version does not have is zero. Also says whether any unit is not of the first version.
fn mix(versions: &[&[u8]], unit: usize, len: usize, random: &mut Random) -> (Vec<u8>, bool) {
    let main = random.below(versions.len() as u64);
    let is_even = random.below(2) == 0;
    let (mut out, mut is_new) = (Vec::with_capacity(len), false);
    for start in (0..len).step_by(unit) {
        let stays = !is_even && random.below(8) != 0;
        let chosen = if stays { main } else { random.below(versions.len() as u64) } as usize;
        is_new |= chosen > 0;
        let end = (start + unit).min(len);
        let bytes = versions[chosen].get(start..).unwrap_or_default();
        out.extend_from_slice(&bytes[..bytes.len().min(end - start)]);
        out.resize(end, 0);
    }
    (out, is_new)
}

/// The log: versions since the last checkpoint, oldest first. It only grows, and what the oldest has is on disk.
fn log(versions: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let (synced, longest) = (versions[0].len(), versions[versions.len() - 1].len());
    let len = match random.below(3) {
        0 => synced + random.below((longest - synced) as u64 + 1) as usize,
        _ => longest,
    };
    let (mut out, is_new) = mix(versions, SECTOR, len, random);
    let header = &versions[versions.len() - 1];
    if is_new && out.len() >= WAL_HEADER && header.len() >= WAL_HEADER {
        out[..WAL_HEADER].copy_from_slice(&header[..WAL_HEADER]);
    }
    out
}

/// A second loss of power after the brick was opened, with nothing synced since the first.
fn again(before: &Files, after: &Files, recovery: &Recovery, random: &mut Random) -> Files {
    let old_or_new: [&[u8]; 2] = match recovery {
        // Another file: the old one, or what is there of the new one.
        Recovery::RebuildAll { .. } if random.below(3) == 0 => [&before.brick, &before.brick],
        Recovery::RebuildAll { .. } => [&[], &after.brick],
        _ => [&before.brick, &after.brick],
    };
    let len = old_or_new[1].len();
    assert!(before.db == after.db, "opening made a checkpoint");
    Files {
        brick: mix(&old_or_new, unit(random), len, random).0,
        db: before.db.clone(),
        wal: log(&[&before.wal, &after.wal], random),
    }
}

/// Opens the files and compares everything with what may be there. Returns what was found, and the files as they are while
/// the brick is open.
fn check(files: &Files, candidates: &[Moment], curves: &mut Curves, what: &str) -> (Recovery, Files) {
    let dir = in_memory();
    files.write(dir.path());
    let (brick, rows, recovery) =
        LiveBrick::open(dir.path(), NAME).unwrap_or_else(|error| panic!("{what}: {error}"));
    let is_of = |moment: &Moment| {
        let is_same = |(row, then): (&Row, &Row)| {
            let mut row = row.clone();
            if row.unverified.is_some() {
                row.unverified.clone_from(&then.unverified);
            }
            row == *then
        };
        rows.len() == moment.rows.len() && rows.iter().zip(&moment.rows).all(is_same)
    };
    assert!(
        candidates.iter().any(is_of),
        "{what}, {recovery:?}: the rows are of no moment since the last sync"
    );
    if let Recovery::Refold { artifacts, .. } = &recovery {
        let is_open = |row: &&Row| row.unverified.is_none() && artifacts.contains(&row.id);
        assert_eq!(rows.iter().find(is_open), None, "{what}");
    }
    let after = Files::read(dir.path());
    check_pixels(&after.brick, &rows, curves, &format!("{what}, {recovery:?}"));
    let path = brick.path().to_owned();
    drop(brick);
    let report = Brick::open(&path).unwrap().verify_within(Duration::ZERO).unwrap();
    assert!(report.is_ok(), "{what}, {recovery:?}: {}", report.findings[0]);
    (recovery, after)
}

/// Every pixel: right, or shown as unverified, or free.
fn check_pixels(brick: &[u8], rows: &[Row], curves: &mut Curves, what: &str) {
    const UNVERIFIED: u8 = 4;
    let order = u32::from_le_bytes(brick[16..20].try_into().unwrap());
    let curve = curves.of(order);
    let pixel = |cell: u64| &brick[132 + curve[cell as usize]..][..4];
    let mut is_used = vec![false; curve.len()];
    for row in rows {
        let truth = contents(row.id.0, row.meta.mtime_ns, row.len as usize);
        for cell in row.block.start..row.block.end() {
            is_used[cell as usize] = true;
            let (at, pixel) = ((cell - row.block.start) as usize, pixel(cell));
            let is_doubtful = pixel[2] & UNVERIFIED != 0;
            assert_eq!(is_doubtful, row.unverified.is_some(), "{what}: artifact {}", row.id.0);
            let is_right = pixel[0] == truth.get(at).copied().unwrap_or(0);
            assert!(
                pixel[3] == 255 && (is_doubtful || is_right),
                "{what}: artifact {}, cell {cell}",
                row.id.0
            );
        }
    }
    for (cell, is_used) in (0..).zip(is_used) {
        assert!(is_used || pixel(cell) == [0; 4], "{what}: cell {cell} is nobody's and not free");
    }
}

/// Where each cell of a curve is in the body.
#[derive(Default)]
struct Curves(HashMap<u32, Vec<usize>>);

impl Curves {
    fn of(&mut self, order: u32) -> &[usize] {
        self.0.entry(order).or_insert_with(|| {
            let at = |cell| {
                let (x, y) = d2xy(order, cell);
                (((y << order) + x) * 4) as usize
            };
            (0..1 << (2 * order)).map(at).collect()
        })
    }
}
