//! Whole bricks: sealed while they are written, compared, brought up to date leaf by leaf, laid out anew.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use sfd::brick::diff::diff;
use sfd::brick::{
    ArtifactId, Brick, Commit, HistoryQuery, HistoryRow, Keeping, Kept, Leaf, LiveBrick, Moment, Recovery,
    Row, SealOptions, SealedWriter, Verb, snapshot,
};
use sfd::fold::layout::Resize;
use sfd::fold::{Block, FoldOp, FoldPlan, K_CAP, Layout, first_fold, k_for_len};
use sfd_tests::bricks::{Fixture, ORDER, Random, assert_verifies, contents, file, fill, root, seal, upsert};

const PLAIN: SealOptions = SealOptions { compress: false };

fn moment(path: &Path) -> Moment {
    Brick::open(path).unwrap().moment().unwrap().unwrap()
}

/// Somebody who wants to copy the brick: told when what is written over is kept, and tells when it may go on.
type Request = (mpsc::Sender<Kept>, mpsc::Receiver<()>);

/// What asks the writer, as the daemon's control socket does.
struct Asked {
    _kept: Kept,
    go_on: Option<mpsc::Sender<()>>,
}

impl Keeping for Asked {
    fn go_on(&mut self) {
        self.go_on = None;
    }
}

/// Commits without a pause until nobody can ask any more: each writes its number into many artifacts all over the brick.
fn write_without_end(
    mut brick: LiveBrick,
    many: &[Row],
    requests: &mpsc::Receiver<Request>,
    count: &AtomicU64,
) {
    for number in 1.. {
        match requests.try_recv() {
            Ok((granted, release)) => {
                granted.send(brick.keep().unwrap()).unwrap();
                let _ = release.recv();
            }
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return,
        }
        let mut commit = Commit::default();
        for row in many {
            let bytes = contents(7, number, 5000);
            let row = file(row.id.0, &format!("f{}", row.id.0), &bytes, row.block, number);
            commit.plan.ops.push(fill(&row, &bytes));
            commit.upserts.push(row);
        }
        match number {
            150 => commit.grow_to = Some(brick.order() + 2),
            300 => drop(brick.set_unverified_all("a test says so").unwrap()),
            _ => {}
        }
        brick.commit(&commit).unwrap();
        count.store(number.cast_unsigned(), Ordering::SeqCst);
    }
}

#[test]
fn a_snapshot_of_a_brick_that_never_rests_is_of_one_commit() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    brick.commit(&Commit { grow_to: Some(ORDER + 2), ..Commit::default() }).unwrap();
    // Leaves all over the second half of the curve change in every commit.
    let many: Vec<Row> = (64..128_u32)
        .step_by(3)
        .map(|n| file(n, "", b"", Block { start: u64::from(n) << 13, k: 13 }, 0))
        .collect();
    let (ask, requests) = mpsc::channel::<Request>();
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let requests = requests;
            write_without_end(brick, &many, &requests, &count);
        });
        let ask = ask;
        let mut keep = || -> Option<Box<dyn Keeping>> {
            let (granted, wait) = mpsc::channel();
            let (go_on, release) = mpsc::channel();
            ask.send((granted, release)).unwrap();
            Some(Box::new(Asked { _kept: wait.recv().unwrap(), go_on: Some(go_on) }))
        };
        let commits = |n: u64| {
            let from = count.load(Ordering::SeqCst);
            sfd_tests::wait_for("commits", std::time::Duration::from_secs(30), || {
                anyhow::ensure!(count.load(Ordering::SeqCst) >= from + n, "not yet");
                Ok(())
            });
        };
        commits(1);
        let (mut numbers, mut kept) = (Vec::new(), 0);
        for n in 0..13 {
            let out = fixture.dir().join("snapshot.brick");
            let done =
                snapshot(&fixture.path(), &out, SealOptions { compress: n % 2 == 0 }, &mut keep).unwrap();
            // However fast it changes, the first try is the last one.
            assert_eq!((done.tries, done.artifacts), (1, 11 + 22));
            kept += done.kept;
            assert_verifies(&out);
            let sealed = Brick::open(&out).unwrap();
            let rows = sealed.rows().unwrap();
            let number = rows.iter().find(|row| row.id.0 == 64).unwrap().meta.mtime_ns;
            let expected = contents(7, number, 5000);
            for row in &many {
                assert!(sealed.cells(row.block.start, 5000).unwrap() == expected, "of two commits");
            }
            numbers.push(number);
            commits(25);
        }
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
        assert!(kept > 0, "nothing changed while it was copied");
        assert!(count.load(Ordering::SeqCst) > 300, "neither growth nor a loss was among it");
        // With nobody who keeps anything it does not come to an end; but never to a wrong one either.
        let out = fixture.dir().join("unheld.brick");
        if snapshot(&fixture.path(), &out, PLAIN, &mut || None).is_ok() {
            assert_verifies(&out);
        } else {
            assert!(!out.exists());
        }
    });
    assert!(!fixture.dir().join("t.brick.kept").exists());
}

#[test]
fn what_is_written_over_is_kept_for_one_at_a_time() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let path = fixture.dir().join("t.brick.kept");
    let change = |brick: &mut LiveBrick, version| {
        let bytes = contents(10, version, 9000);
        brick.commit(&upsert(&file(10, "f10", &bytes, fixture.rows[10].block, version), &bytes)).unwrap();
        std::fs::metadata(&path).map(|meta| meta.len() / (8 + 16_384)).ok()
    };
    assert_eq!(change(&mut brick, 1), None, "nobody wants it");
    let first = brick.keep().unwrap();
    assert!(brick.keep().unwrap_err().to_string().contains("another snapshot"));
    // The block of 2^14 cells is four leaves; each is kept once.
    assert_eq!(change(&mut brick, 2), Some(4));
    assert_eq!(change(&mut brick, 3), Some(4));
    drop(first);
    assert_eq!(change(&mut brick, 4), None, "nobody wants it any more");
    let second = brick.keep().unwrap();
    assert_eq!(change(&mut brick, 5), Some(4));
    drop(brick);
    assert!(!path.exists());
    drop(second);
    std::fs::write(&path, b"left by a crash").unwrap();
    drop(fixture.open());
    assert!(!path.exists());
}

#[test]
fn what_is_damaged_or_sealed_gives_no_snapshot() {
    let fixture = Fixture::new();
    let brick = fixture.complete();
    let sealed = seal(&brick, "sealed.brick", PLAIN);
    let out = fixture.dir().join("out.brick");
    let error = snapshot(&sealed, &out, PLAIN, &mut || None).unwrap_err().to_string();
    assert!(error.contains("sealed already"), "{error}");
    let error = snapshot(&fixture.path(), &fixture.path(), PLAIN, &mut || None).unwrap_err().to_string();
    assert!(error.contains("a live brick has this name"), "{error}");
    drop(brick);
    assert_verifies(&fixture.path());
    let cell = fixture.rows[9].block.start + 5000;
    let (x, y) = sfd_tests::bricks::d2xy(u32::from(ORDER), cell);
    let file = std::fs::OpenOptions::new().write(true).open(fixture.path()).unwrap();
    file.write_all_at(&[0xEE], 132 + (y * (1 << ORDER) + x) * 4).unwrap();
    let error = snapshot(&fixture.path(), &out, PLAIN, &mut || None).unwrap_err().to_string();
    let leaf = cell / 4096 * 4096;
    assert!(
        error.contains(&format!("cells {leaf}..{}", leaf + 4096)) && error.contains("damaged"),
        "{error}"
    );
    let names: Vec<_> = std::fs::read_dir(fixture.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("tmp")), "{names:?}");
    assert!(!out.exists());
}

#[test]
fn a_copy_is_brought_up_to_date_by_the_leaves_that_differ() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let old = seal(&brick, "old.brick", SealOptions { compress: true });
    let bytes = contents(10, 2, 9000);
    brick.commit(&upsert(&file(10, "f10", &bytes, fixture.rows[10].block, 2), &bytes)).unwrap();
    let (ours, theirs) = (moment(&old), moment(&fixture.path()));
    let differing = ours.differing(&theirs).unwrap();
    // 10 000 bytes are in four leaves; the cells after 9000 are cleared.
    assert_eq!((differing.leaves.len(), differing.leaves_compared), (3, 4));

    let remote = Brick::open(&fixture.path()).unwrap();
    let new = fixture.dir().join("new.brick");
    let start = |damage: bool| {
        let mut copy = SealedWriter::create(&new, theirs.order, theirs.cap, PLAIN).unwrap();
        let local = Brick::open(&old).unwrap();
        let all = ours.merkle.leaves().len() as u64;
        for leaf in local.leaves(0..all).unwrap() {
            copy.put(&leaf.unwrap()).unwrap();
        }
        for leaf in remote.leaves(differing.leaves.iter().copied()).unwrap() {
            let leaf = leaf.unwrap();
            assert_eq!(theirs.merkle.leaves()[leaf.index() as usize], leaf.hash());
            let mut pixels = Box::new(*leaf.pixels());
            pixels[77] ^= u8::from(damage);
            copy.put(&Leaf::new(leaf.index(), pixels)).unwrap();
        }
        assert!(copy.put(&Leaf::new(all, Box::new([0; 16_384]))).is_err());
        copy.finish_as(theirs.rows.clone(), std::collections::HashMap::new(), theirs.merkle.root())
    };
    assert!(start(true).is_err() && !new.exists(), "a byte that was changed on the way");
    start(false).unwrap();
    assert_verifies(&new);
    let direct = seal(&brick, "direct.brick", PLAIN);
    let body = |path: &Path| std::fs::read(path).unwrap()[..132 + (4 << (2 * ORDER))].to_vec();
    assert!(body(&new) == body(&direct));
    assert_eq!(moment(&new), theirs);
}

#[test]
fn a_difference_is_told_by_its_kind_and_looked_for_where_pixels_differ() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let before = moment(&seal(&brick, "before.brick", PLAIN));
    let now = || moment(&fixture.path());
    let same = now();
    let nothing = diff(&before, &same);
    assert!(nothing.is_empty());
    assert_eq!(nothing.pixels.unwrap().nodes_compared, 1, "the roots are equal");

    let rows = &fixture.rows;
    let contents_of = |id: usize| Fixture::contents(id as u32);
    // Contents, mode, meaning, doubt; renamed; moved and changed; gone; new.
    let changed = file(1, "f1", b"other", rows[1].block, 5);
    let mut mode = rows[2].clone();
    mode.meta.mode = 0o600;
    let mut meaning = rows[3].clone();
    meaning.semantics.summary = "something else".into();
    let mut doubt = rows[4].clone();
    doubt.unverified = Some("lost".into());
    let renamed = Row { name: b"g5".to_vec(), ..rows[5].clone() };
    let other = Row { name: b"g6".to_vec(), ..file(6, "f6", b"written to", rows[6].block, 1) };
    // The file system has given it the number of the one that is gone: it is another file all the same.
    let mut new = file(30, "new", b"new", Block { start: 40_960, k: 6 }, 7);
    new.meta.ino = rows[7].meta.ino;
    let mut commit = Commit { deletes: vec![ArtifactId(7)], ..Commit::default() };
    commit.plan.ops.push(FoldOp::Clear { block: rows[7].block });
    for (row, bytes) in [
        (&changed, b"other".to_vec()),
        (&mode, contents_of(2)),
        (&meaning, contents_of(3)),
        (&doubt, contents_of(4)),
        (&renamed, contents_of(5)),
        (&other, b"written to".to_vec()),
        (&new, b"new".to_vec()),
    ] {
        commit.plan.ops.push(fill(row, &bytes));
        commit.upserts.push(row.clone());
    }
    brick.commit(&commit).unwrap();
    let after = now();
    let found = diff(&before, &after);
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let names = |pair: &sfd::brick::diff::Pair<'_>| {
        format!(
            "{} {} {}",
            text(&pair.a.path),
            text(&pair.b.path),
            pair.changes.names().collect::<Vec<_>>().join("+")
        )
    };
    assert_eq!(found.added.iter().map(|a| text(&a.path)).collect::<Vec<_>>(), ["/t/new"]);
    assert_eq!(found.removed.iter().map(|a| text(&a.path)).collect::<Vec<_>>(), ["/t/f7"]);
    assert_eq!(
        found.changed.iter().map(names).collect::<Vec<_>>(),
        [
            "/t/f1 /t/f1 content+metadata+semantics",
            "/t/f2 /t/f2 metadata",
            "/t/f3 /t/f3 semantics",
            "/t/f4 /t/f4 verification"
        ]
    );
    assert_eq!(found.moved.iter().map(names).collect::<Vec<_>>(), ["/t/f5 /t/g5 ", "/t/f6 /t/g6 content"]);
    let pixels = found.pixels.unwrap();
    assert!(!pixels.leaves.is_empty() && pixels.leaves_compared < 16, "{pixels:?}");
    let back = diff(&after, &before);
    assert_eq!((back.added.len(), back.removed.len(), back.moved.len(), back.changed.len()), (1, 1, 2, 4));
}

#[test]
fn orders_may_differ() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let before = moment(&seal(&brick, "before.brick", PLAIN));
    brick.commit(&Commit { grow_to: Some(ORDER + 2), ..Commit::default() }).unwrap();
    let grown = moment(&fixture.path());
    let found = diff(&before, &grown);
    assert!(found.is_empty());
    assert_eq!(found.pixels.unwrap().nodes_compared, 1, "growth moves nothing");
    let mut other = SealedWriter::create(&fixture.dir().join("odd.brick"), ORDER + 1, K_CAP, PLAIN).unwrap();
    for row in &fixture.rows {
        let bytes = if row.id.0 == 0 { b"a directory".to_vec() } else { Fixture::contents(row.id.0) };
        other.add(row.clone(), bytes.into()).unwrap();
    }
    other.finish().unwrap();
    let odd = moment(&fixture.dir().join("odd.brick"));
    let found = diff(&before, &odd);
    assert!(found.is_empty() && found.pixels.is_none());
}

#[test]
fn of_another_host_an_inode_number_means_nothing() {
    let sealed = |rows: Vec<Row>| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.brick");
        let mut writer = SealedWriter::create(&path, 6, K_CAP, PLAIN).unwrap();
        for row in rows {
            writer.add(row, bytes::Bytes::new()).unwrap();
        }
        writer.finish().unwrap();
        moment(&path)
    };
    let row =
        |id, name: &str, bytes: &[u8]| file(id, name, bytes, Block { start: u64::from(id) * 64, k: 6 }, 1);
    let a = sealed(vec![
        root("/a"),
        row(1, "only-a", b"aaa"),
        row(2, "sub", b"moved, as its name and bytes say"),
    ]);
    let mut b_root = root("/b");
    b_root.meta.ino = 99;
    let mut dir = row(3, "dir", b"");
    dir.meta.file_type = sfd::artifact::FileType::Directory;
    let moved = Row { parent: Some(ArtifactId(3)), ..row(2, "sub", b"moved, as its name and bytes say") };
    let b = sealed(vec![b_root, row(1, "only-b", b"bbb"), moved, dir]);
    let found = diff(&a, &b);
    assert_eq!((found.removed.len(), found.added.len(), found.moved.len()), (1, 2, 1));
    assert_eq!(found.moved[0].b.path, b"/b/dir/sub");
    assert!(found.changed.is_empty(), "the roots have other names, and are the same");
}

/// A brick and what is in it after random operations.
struct Life {
    layout: Layout,
    brick: LiveBrick,
    rows: BTreeMap<u32, (Row, Vec<u8>)>,
}

/// Small, so that some files are digests.
const CAP: u8 = 12;

impl Life {
    fn new(dir: &Path) -> Self {
        let rows = [root("/t")];
        let plan = FoldPlan { ops: vec![fill(&rows[0], b"a directory")] };
        let brick = LiveBrick::create(dir, "t", b"/t", (5, CAP), &rows, &plan).unwrap();
        let layout = Layout::from_blocks(5, CAP, [(rows[0].block, rows[0].id)]).unwrap();
        Self { layout, brick, rows: BTreeMap::from([(0, (rows[0].clone(), b"a directory".to_vec()))]) }
    }

    /// Inserts, writes, resizes, renames or removes some artifacts.
    fn change(&mut self, random: &mut Random) {
        let mut commit = Commit::default();
        let id = 1 + random.below(60) as u32;
        let old = self.rows.get(&id).map(|(row, _)| row.clone());
        if let (Some(old), 0) = (&old, random.below(4)) {
            self.layout.free(old.block);
            commit.plan.ops.push(FoldOp::Clear { block: old.block });
            commit.deletes.push(old.id);
            self.rows.remove(&id);
            self.brick.commit(&commit).unwrap();
            return;
        }
        let log2 = random.below(14);
        let len = random.below(1 << log2) as usize;
        let bytes = contents(id, random.below(1000).cast_signed(), len);
        let k = k_for_len(len as u64, CAP);
        let block = loop {
            let block = match &old {
                Some(old) => match self.layout.resize_needed(old.block.k, len as u64) {
                    Resize::Stay => Some(old.block),
                    Resize::Change { k } => self.layout.resize(old.block, k),
                },
                None => self.layout.alloc(k, random.below(self.layout.cells()), ArtifactId(id)),
            };
            match block {
                Some(block) => break block,
                None => commit.grow_to = Some(self.layout.grow().unwrap()),
            }
        };
        if let Some(old) = old.filter(|old| old.block != block) {
            commit.plan.ops.push(FoldOp::Clear { block: old.block });
        }
        let row = file(id, &format!("f{}-{id}", random.below(9)), &bytes, block, 1);
        commit.plan.ops.push(fill(&row, &bytes));
        commit.upserts.push(row.clone());
        commit.history.push(HistoryRow {
            at_ns: i64::from(id),
            path: row.name.clone(),
            from: None,
            verb: Verb::Modified,
            detail: String::new(),
            meaning: Vec::new(),
            reasons: Vec::new(),
            writers: vec![],
            more_writers: false,
            unknown_writers: true,
            kind: "text".into(),
            risk: 0,
        });
        self.brick.commit(&commit).unwrap();
        self.rows.insert(id, (row, bytes));
    }

    /// The tree folded for the first time, by itself: the body of the brick, byte for byte.
    fn folded_first(&self, out: &Path) -> Vec<u8> {
        let items: Vec<_> = self.rows.values().map(|(row, _)| row.to_place()).collect();
        let fold = first_fold(&items, K_CAP, false).unwrap();
        let mut writer = SealedWriter::create(out, fold.layout.order(), fold.layout.cap(), PLAIN).unwrap();
        for (id, block) in fold.blocks {
            let (row, bytes) = &self.rows[&id.0];
            let row = file(row.id.0, "x", bytes, block, 1);
            let cut = bytes.len().min(block.cells() as usize);
            writer.add(row, bytes[..cut].to_vec().into()).unwrap();
        }
        writer.finish().unwrap();
        let body = std::fs::read(out).unwrap();
        body[132..132 + (4 << (2 * fold.layout.order()))].to_vec()
    }
}

#[test]
fn compaction_is_the_first_fold_of_what_is_there() {
    let mut random = Random::new(11);
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut life = Life::new(dir.path());
        for _ in 0..120 {
            life.change(&mut random);
        }
        let history = life.brick.history(&HistoryQuery::default()).unwrap();
        let before = life.brick.used_end();
        let done = life.brick.compact().unwrap();
        assert!(done.compaction.moved > 0 && done.compaction.used_run_before == before);
        assert_verifies(life.brick.path());
        // The cap is higher now: what was a digest is to be read again, and the daemon would do that.
        assert_eq!(life.brick.cap(), K_CAP);
        let digests: Vec<ArtifactId> =
            life.rows.values().filter(|(row, _)| row.len > 1 << CAP).map(|(row, _)| row.id).collect();
        assert_eq!(done.unread, digests, "round {round}");
        assert_eq!(done.rows, life.brick.rows().unwrap());
        for id in &done.unread {
            let row = done.rows.iter().find(|row| row.id == *id).unwrap();
            assert!(row.unverified.is_some() && !row.exact);
            let bytes = life.rows[&id.0].1.clone();
            let name = String::from_utf8(row.name.clone()).unwrap();
            life.brick.commit(&upsert(&file(id.0, &name, &bytes, row.block, 1), &bytes)).unwrap();
        }
        let body = std::fs::read(life.brick.path()).unwrap()[132..].to_vec();
        assert!(body == life.folded_first(&dir.path().join("first.brick")), "round {round}");
        assert_eq!(life.brick.history(&HistoryQuery::default()).unwrap(), history);
        // Once more changes nothing, and it goes on from there.
        let hash = life.brick.root_hash();
        let again = life.brick.compact().unwrap();
        assert_eq!((again.compaction.moved, life.brick.root_hash()), (0, hash));
        life.layout = again.layout;
        for row in again.rows {
            life.rows.get_mut(&row.id.0).unwrap().0.block = row.block;
        }
        for _ in 0..20 {
            life.change(&mut random);
        }
        assert_verifies(life.brick.path());
        drop(life.brick);
        assert_eq!(LiveBrick::open(dir.path(), "t").unwrap().2, Recovery::Clean);
    }
}

#[test]
fn a_compaction_that_was_killed_is_finished_or_never_was() {
    let mut random = Random::new(5);
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::new(dir.path());
    for _ in 0..60 {
        life.change(&mut random);
    }
    let (brick, aside, kept) =
        (dir.path().join("t.brick"), dir.path().join("t.brick.new"), dir.path().join("kept"));
    std::fs::copy(&brick, &kept).unwrap();
    let hash = life.brick.root_hash();
    drop(life.brick);

    // Killed before the catalog knows: what is aside is not what the catalog says.
    std::fs::write(&aside, std::fs::read(&kept).unwrap().split_at(5000).0).unwrap();
    let (mut opened, rows, recovery) = LiveBrick::open(dir.path(), "t").unwrap();
    assert_eq!((recovery, opened.root_hash()), (Recovery::Clean, hash));
    assert!(!aside.exists());

    // Killed after that, and before the brick had its name.
    let done = opened.compact().unwrap();
    assert_ne!(done.rows, rows);
    let hash = opened.root_hash();
    drop(opened);
    std::fs::rename(&brick, &aside).unwrap();
    std::fs::rename(&kept, &brick).unwrap();
    let (opened, rows, recovery) = LiveBrick::open(dir.path(), "t").unwrap();
    assert_eq!((recovery, opened.root_hash()), (Recovery::Clean, hash));
    assert_eq!(rows, done.rows);
    assert!(!aside.exists());
    assert_verifies(&brick);
}
