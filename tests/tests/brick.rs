//! Live and sealed bricks through the library's public interface.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::Arc;

use sfd::brick::{
    ArtifactId, Brick, BrickError, Catalog, Commit, ExtractError, HistoryQuery, HistoryRow, LiveBrick,
    Recovery, SealOptions, Verb,
};
use sfd::collect::{Origin, Parent, Writer};
use sfd::fold::{Block, FLAG_UNVERIFIED, FoldOp, FoldPlan};
use sfd_tests::bricks::{
    BACK_TO_3, Fixture, ORDER, assert_verifies, contents, file, public_read, seal, upsert,
};

#[test]
fn a_baseline_shows_what_has_been_read_and_nothing_else() {
    let fixture = Fixture::new();
    let mut brick = fixture.create();
    assert_verifies(&fixture.path());
    assert!(public_read(&std::fs::read(fixture.path()).unwrap()).unwrap().iter().all(|&r| r == 0));
    let reader = Brick::open(&fixture.path()).unwrap();
    assert!(matches!(reader.extract(b"/t/f3"), Err(ExtractError::Unverified { .. })));

    let bytes = Fixture::contents(3);
    let stats = brick.commit(&upsert(&fixture.rows[3], &bytes)).unwrap();
    assert_eq!((stats.cells, stats.leaves, stats.grown), (1024, 1, false));
    assert_eq!(reader.extract(b"/t/f3").unwrap(), bytes);
    assert!(matches!(reader.extract(b"/t/none"), Err(ExtractError::NotFound { .. })));
    let start = fixture.rows[3].block.start as usize;
    let cells = public_read(&std::fs::read(fixture.path()).unwrap()).unwrap();
    assert_eq!(cells.len() as u64, fixture.layout.used_end());
    assert_eq!(cells[start..start + bytes.len()], bytes);

    let inspection = reader.inspect().unwrap();
    assert_eq!((inspection.order, inspection.original_size), (ORDER, fixture.layout.used_end()));
    let entry = inspection.artifacts.iter().find(|entry| entry.path == "/t/f3").unwrap();
    assert!(entry.exact && !entry.unverified && !entry.redacted && entry.path_bytes.is_none());
    assert_eq!((entry.len, entry.cells), (900, 1024));
    assert_verifies(&fixture.path());
}

#[test]
fn every_file_is_for_its_owner_only() {
    let fixture = Fixture::new();
    let brick = fixture.complete();
    seal(&brick, "sealed.brick", SealOptions::default());
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(fixture.dir()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        seen.push(entry.file_name().into_string().unwrap());
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "sealed.brick",
            "t.brick",
            "t.catalog.sqlite",
            "t.catalog.sqlite-shm",
            "t.catalog.sqlite-wal",
            "t.lock"
        ]
    );
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let fixture = Fixture::new();
    let brick = fixture.complete();
    let hash = brick.root_hash();
    brick.sync().unwrap();
    assert!(matches!(LiveBrick::open(fixture.dir(), "t"), Err(BrickError::Locked { .. })));
    drop(brick);
    let (brick, rows, recovery) = fixture.open();
    assert_eq!((rows, recovery, brick.root_hash()), (fixture.rows.clone(), Recovery::Clean, hash));
    assert_eq!(brick.root_path(), b"/t");
}

#[test]
fn growth_moves_nothing_and_survives_a_crash_before_the_catalog_knows() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let before = brick.cells(0, brick.used_end());
    let stats = brick.commit(&Commit { grow_to: Some(ORDER + 2), ..Commit::default() }).unwrap();
    assert!(stats.grown);
    assert_eq!((brick.order(), brick.cells(0, brick.used_end())), (ORDER + 2, before.clone()));
    assert_verifies(&fixture.path());
    for order in [ORDER, ORDER + 3, 16] {
        assert!(brick.commit(&Commit { grow_to: Some(order), ..Commit::default() }).is_err());
    }
    drop(brick);
    fixture.sql("UPDATE meta SET value = 8 WHERE key = 'order'");
    let (brick, _, recovery) = fixture.open();
    assert_eq!((brick.order(), recovery), (ORDER + 2, Recovery::Clean));
    assert_eq!(brick.cells(0, brick.used_end()), before);
    assert_verifies(&fixture.path());
}

#[test]
fn a_commit_that_does_not_fit_changes_nothing() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let hash = brick.root_hash();
    let outside = Block { start: 1 << 20, k: 6 };
    let clear = FoldPlan { ops: vec![FoldOp::Clear { block: outside }] };
    assert!(matches!(
        brick.commit(&Commit { plan: clear, ..Commit::default() }),
        Err(BrickError::Fold { .. })
    ));
    let row = file(99, "x", b"x", Block { start: 65, k: 6 }, 1);
    assert!(matches!(brick.commit(&upsert(&row, b"x")), Err(BrickError::Layout { .. })));
    assert_eq!(brick.root_hash(), hash);
    brick.commit(&Commit::default()).unwrap();
    drop(brick);
    assert_eq!(fixture.open().2, Recovery::Clean);
}

#[test]
fn pixels_that_the_catalog_does_not_vouch_for_are_blanked() {
    let fixture = Fixture::new();
    drop(fixture.complete());
    // One byte of f9's pixels: leaf hash and contents are wrong.
    let block = fixture.rows[9].block;
    let (x, y) = sfd_tests::bricks::d2xy(u32::from(ORDER), block.start + 5000);
    let brick = std::fs::OpenOptions::new().write(true).open(fixture.path()).unwrap();
    brick.write_all_at(&[0xEE], 132 + (y * (1 << ORDER) + x) * 4).unwrap();

    let report = Brick::open(&fixture.path()).unwrap().verify().unwrap();
    assert_eq!(report.findings[0].path.as_deref(), Some("/t/f9"), "{}", report.findings[0]);
    let (brick, rows, recovery) = fixture.open();
    let Recovery::Refold { artifacts, .. } = recovery else { panic!("{recovery:?}") };
    assert!(artifacts.contains(&ArtifactId(9)) && artifacts.len() < 10, "{artifacts:?}");
    for row in &rows {
        assert_eq!(row.unverified.is_some(), artifacts.contains(&row.id));
    }
    assert!(brick.cells(block.start, block.cells()).iter().all(|&r| r == 0));
    assert_eq!(brick.rows().unwrap(), rows);
    assert_verifies(&fixture.path());
    drop(brick);
    assert_eq!(fixture.open().2, Recovery::Clean, "once is enough");
}

#[test]
fn marks_of_a_dead_writer_are_read_again_but_keep_proved_pixels() {
    let fixture = Fixture::new();
    drop(fixture.complete());
    let block = fixture.rows[4].block;
    fixture.sql(&format!("INSERT INTO mark VALUES ({}, {})", block.start, block.k));
    let (brick, rows, recovery) = fixture.open();
    assert!(
        matches!(&recovery, Recovery::Refold { artifacts, .. } if *artifacts == [ArtifactId(4)]),
        "{recovery:?}"
    );
    assert!(rows[4].unverified.is_some());
    assert_eq!(brick.cells(block.start, 1600), Fixture::contents(4));
    assert_verifies(&fixture.path());
}

#[test]
fn an_unusable_brick_is_made_anew_from_its_catalog() {
    let fixture = Fixture::new();
    drop(fixture.complete());
    let whole = std::fs::read(fixture.path()).unwrap();
    let damage: [(&str, Option<Vec<u8>>); 5] = [
        ("missing", None),
        ("0 bytes", Some(Vec::new())),
        ("truncated", Some(whole[..10_000].to_vec())),
        ("starts with", Some([b"\x7fELF", &whole[4..]].concat())),
        ("order 5", Some(sfd::brick::format::Header::new(5, 0, 0.0, [0; 32]).encode().to_vec())),
    ];
    for (word, bytes) in damage {
        match &bytes {
            Some(bytes) => std::fs::write(fixture.path(), bytes).unwrap(),
            None => std::fs::remove_file(fixture.path()).unwrap(),
        }
        let (brick, rows, recovery) = fixture.open();
        assert!(
            matches!(&recovery, Recovery::RebuildAll { reason } if reason.contains(word)),
            "{recovery:?}"
        );
        assert!(rows.iter().all(|row| row.unverified.is_some()));
        assert_eq!(brick.rows().unwrap(), rows);
        assert!(rows.iter().map(|row| row.block).eq(fixture.rows.iter().map(|row| row.block)));
        assert_verifies(&fixture.path());
        drop(brick);
        assert_eq!(fixture.open().2, Recovery::Clean);
    }
}

#[test]
fn an_unusable_catalog_is_refused_and_a_baseline_replaces_it() {
    let fixture = Fixture::new();
    drop(fixture.complete());
    let catalog = fixture.dir().join("t.catalog.sqlite");
    let open = || LiveBrick::open(fixture.dir(), "t").map(|_| ()).unwrap_err();

    fixture.sql("PRAGMA user_version = 5");
    assert!(matches!(open(), BrickError::CatalogNewer { found: 5, .. }));
    fixture.sql("PRAGMA user_version = 4; UPDATE artifact SET start = 0, k = 6 WHERE id = 5");
    let error = open();
    assert!(error.needs_baseline() && error.to_string().contains("another artifact"), "{error}");

    let good = std::fs::read(&catalog).unwrap();
    for bad in [
        b"not a database at all, and long enough to be one".to_vec(),
        vec![],
        good[..good.len() / 2].to_vec(),
    ] {
        std::fs::write(&catalog, bad).unwrap();
        let error = open();
        assert!(error.needs_baseline(), "{error}");
    }
    std::fs::remove_file(&catalog).unwrap();
    assert!(open().needs_baseline());
    assert!(matches!(Brick::open(&fixture.path()), Err(BrickError::CatalogMissing { .. })));

    // What a killed create leaves is no obstacle.
    std::fs::write(fixture.dir().join("t.brick.new"), b"half").unwrap();
    std::fs::write(fixture.dir().join("t.catalog.sqlite.new"), b"half").unwrap();
    drop(fixture.complete());
    assert_eq!(fixture.open().2, Recovery::Clean);
    assert!(!fixture.dir().join("t.brick.new").exists());
}

#[test]
fn truncating_a_brick_in_use_is_an_error_and_not_a_signal() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let reader = Brick::open(&fixture.path()).unwrap();
    std::fs::OpenOptions::new().write(true).open(fixture.path()).unwrap().set_len(4096).unwrap();
    let error = brick.commit(&upsert(&fixture.rows[10], &Fixture::contents(10))).unwrap_err();
    assert!(matches!(error, BrickError::Truncated { .. }), "{error}");
    assert!(reader.verify().is_err());
    drop(brick);
    assert!(matches!(fixture.open().2, Recovery::RebuildAll { .. }));
}

#[test]
fn everything_can_be_shown_as_unverified() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    brick.set_unverified_all("events were lost").unwrap();
    let rows = brick.rows().unwrap();
    assert!(rows.iter().all(|row| row.unverified.as_deref() == Some("events were lost")));
    assert!(rows.iter().all(|row| row.paint().flags & FLAG_UNVERIFIED != 0));
    assert_eq!(brick.cells(fixture.rows[5].block.start, 2500), Fixture::contents(5), "contents stay visible");
    assert_verifies(&fixture.path());
    brick.set_unverified_all("again").unwrap();
    assert_eq!(brick.rows().unwrap(), rows);
}

#[test]
fn sealing_keeps_every_pixel() {
    let fixture = Fixture::new();
    let brick = fixture.complete();
    for compress in [false, true] {
        let out = seal(&brick, &format!("sealed-{compress}.brick"), SealOptions { compress });
        assert_eq!(Brick::open(&out).unwrap().header().hash, brick.root_hash());
        assert_verifies(&out);
        let sealed = Brick::open(&out).unwrap();
        assert!(!sealed.is_live() && sealed.header().is_compressed() == compress);
        assert_eq!(sealed.cells(0, brick.used_end()).unwrap(), brick.cells(0, brick.used_end()));
        assert_eq!(sealed.cells(5000, 9000).unwrap(), brick.cells(5000, 9000));
        assert_eq!(sealed.extract(b"/t/f10").unwrap(), Fixture::contents(10));
        assert_eq!(sealed.rows().unwrap(), brick.rows().unwrap());
    }
}

#[test]
fn history_is_found_by_path_time_and_writer() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let line = |at_ns: i64, path: &str, from: Option<&str>, comm: &str| HistoryRow {
        at_ns,
        path: path.into(),
        from: from.map(|from| from.as_bytes().to_vec()),
        verb: if from.is_some() { Verb::Renamed } else { Verb::Modified },
        detail: "size 10 -> 12".into(),
        meaning: Vec::new(),
        reasons: Vec::new(),
        writers: vec![Writer {
            pid: 7,
            start_ns: u64::MAX,
            uid: 0,
            login_uid: None,
            comm: comm.into(),
            cgroup: 3,
            origin: Arc::default(),
        }],
        more_writers: false,
        unknown_writers: false,
        kind: "text".into(),
        risk: 2,
    };
    let lines = [
        line(10, "/t/a", None, "vi"),
        line(20, "/t/ab", None, "vi"),
        line(30, "/t/a/x", None, "cp"),
        line(40, "/t/c", Some("/t/a/y"), "mv"),
    ];
    brick.commit(&Commit { history: lines.to_vec(), ..Commit::default() }).unwrap();
    let ids = |query: HistoryQuery| -> Vec<i64> {
        brick.history(&query).unwrap().iter().map(|(id, _)| *id).collect()
    };
    let all = HistoryQuery::default;
    assert_eq!(brick.history(&all()).unwrap().into_iter().map(|(_, line)| line).collect::<Vec<_>>(), lines);
    assert_eq!(ids(HistoryQuery { path: Some(b"/t/a".to_vec()), ..all() }), [1, 3, 4]);
    assert_eq!(ids(HistoryQuery { path: Some(b"/".to_vec()), ..all() }), [1, 2, 3, 4]);
    assert_eq!(ids(HistoryQuery { since_ns: Some(20), comm: Some("vi".into()), ..all() }), [2]);
    assert_eq!(ids(HistoryQuery { limit: Some(2), ..all() }), [3, 4]);
    assert_eq!(ids(HistoryQuery { after_id: Some(1), limit: Some(2), ..all() }), [2, 3]);
    assert_eq!(brick.prune_history(3, None).unwrap(), 1);
    assert_eq!(brick.prune_history(3, Some(35)).unwrap(), 2);
    assert_eq!(brick.prune_history(0, None).unwrap(), 0, "the last line keeps the numbers going");
    brick.commit(&Commit { history: vec![line(50, "/t/d", None, "vi")], ..Commit::default() }).unwrap();
    assert_eq!(brick.history(&all()).unwrap()[1].0, 5);
}

fn written(at_ns: i64, writers: Vec<Writer>) -> HistoryRow {
    HistoryRow {
        at_ns,
        path: b"/t/a".to_vec(),
        from: None,
        verb: Verb::Modified,
        detail: String::new(),
        meaning: Vec::new(),
        reasons: Vec::new(),
        more_writers: at_ns % 20 == 0,
        unknown_writers: writers.is_empty(),
        writers,
        kind: "text".into(),
        risk: 0,
    }
}

fn full_writer(pid: u32) -> Writer {
    let parent =
        |pid, comm: &str| Parent { pid, start_ns: 9, comm: comm.into(), exe: Some(format!("/bin/{comm}")) };
    let origin = Origin {
        exe: Some("/usr/bin/vi".into()),
        exe_checked: true,
        args: Some(vec!["vi".into(), String::new(), "a 'b'\n".into()]),
        args_cut: true,
        parents: vec![parent(3, "sh"), Parent { exe: None, ..parent(1, "init") }],
        parents_cut: true,
        cgroup_path: Some("/docker/x".into()),
        container: Some("x".into()),
    };
    let origin = Arc::new(origin);
    Writer {
        pid,
        start_ns: u64::MAX,
        uid: u32::MAX,
        login_uid: Some(1),
        comm: "vi".into(),
        cgroup: u64::MAX,
        origin,
    }
}

#[test]
fn writers_are_kept_whole_and_once() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let (one, two) = (full_writer(1), full_writer(2));
    let lines = [
        written(10, vec![two.clone(), one.clone()]),
        written(20, vec![one.clone()]),
        written(30, vec![]),
        written(40, vec![one]),
    ];
    brick.commit(&Commit { history: lines.to_vec(), ..Commit::default() }).unwrap();
    let read = |brick: &LiveBrick| -> Vec<HistoryRow> {
        brick.history(&HistoryQuery::default()).unwrap().into_iter().map(|(_, line)| line).collect()
    };
    assert_eq!(read(&brick), lines);
    let catalog = rusqlite::Connection::open(fixture.dir().join("t.catalog.sqlite")).unwrap();
    let count = || catalog.query_row("SELECT count(*) FROM writer", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 2);
    // With the only line that named it, a writer goes.
    assert_eq!(brick.prune_history(3, None).unwrap(), 1);
    assert_eq!((count(), read(&brick)), (1, lines[1..].to_vec()));
    brick.commit(&Commit { history: vec![written(50, vec![two])], ..Commit::default() }).unwrap();
    assert_eq!(read(&brick)[3].writers, [full_writer(2)]);
}

#[test]
fn a_catalog_of_the_first_version_keeps_its_history() {
    let fixture = Fixture::new();
    drop(fixture.complete());
    fixture.sql(BACK_TO_3);
    fixture.sql(
        r#"DROP TABLE region; DROP TABLE version; DROP TABLE writer; ALTER TABLE history DROP COLUMN others; PRAGMA user_version = 1;
        INSERT INTO history (at_ns, path, verb, detail, writers, kind, risk) VALUES
        (5, CAST('/t/a' AS BLOB), 'modified', '',
         '[{"pid":7,"start_ns":1,"uid":0,"login_uid":null,"comm":"vi","cgroup":3},
           {"pid":8,"start_ns":2,"uid":0,"login_uid":5,"comm":"cp","cgroup":3}]', 'text', 1),
        (6, CAST('/t/a' AS BLOB), 'deleted', '', '[]', 'text', 1)"#,
    );
    // A reader must not change it, and says what to do.
    let error = Catalog::open_read_only(&fixture.dir().join("t.catalog.sqlite")).unwrap_err().to_string();
    assert!(error.contains("earlier") && error.contains("sfd run"), "{error}");
    let (mut brick, _, recovery) = fixture.open();
    assert_eq!(recovery, Recovery::Clean);
    brick.commit(&Commit { history: vec![written(10, vec![full_writer(1)])], ..Commit::default() }).unwrap();
    let lines = brick.history(&HistoryQuery::default()).unwrap();
    let named = |at: usize| lines[at].1.writers.iter().map(|writer| writer.pid).collect::<Vec<_>>();
    assert_eq!((named(0), named(1), named(2)), (vec![7, 8], vec![], vec![1]));
    assert!(lines[1].1.unknown_writers && !lines[0].1.unknown_writers);
    assert_eq!(*lines[0].1.writers[0].origin, Origin::default());
    let by_name = HistoryQuery { comm: Some("vi".into()), ..HistoryQuery::default() };
    assert_eq!(brick.history(&by_name).unwrap().len(), 2);
    drop(brick);
    assert!(Catalog::open_read_only(&fixture.dir().join("t.catalog.sqlite")).is_ok());
}

#[test]
fn people_can_read_the_catalog() {
    let fixture = Fixture::new();
    let _brick = fixture.complete();
    let catalog = rusqlite::Connection::open(fixture.dir().join("t.catalog.sqlite")).unwrap();
    let sql = "SELECT kind, risk, summary FROM artifact_path WHERE path = '/t/f7'";
    let found = catalog.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(found, ("directory".to_owned(), 2, "made up, version 1".to_owned()));
}

#[test]
fn readers_beside_a_busy_writer_see_no_damage() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let path = fixture.path();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 2.. {
                for id in 1..=10 {
                    let mut row = fixture.rows[id as usize].clone();
                    let bytes = contents(id, version, row.len as usize);
                    row = file(id, &format!("f{id}"), &bytes, row.block, version);
                    brick.commit(&upsert(&row, &bytes)).unwrap();
                }
                if version == 5 {
                    brick.commit(&Commit { grow_to: Some(ORDER + 2), ..Commit::default() }).unwrap();
                }
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        for _ in 0..20 {
            assert_verifies(&path);
            let reader = Brick::open(&path).unwrap();
            assert!(reader.extract(b"/t/f8").unwrap().starts_with(b"artifact 8 version "));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// What an upgrade leaves is what a new catalog has: the same tables, columns and indexes.
#[test]
fn an_upgraded_catalog_is_like_a_new_one() {
    let schema = |fixture: &Fixture| {
        let catalog = rusqlite::Connection::open(fixture.dir().join("t.catalog.sqlite")).unwrap();
        let sql = "SELECT sqlite_master.type, sqlite_master.name, info.name, info.type, info.\"notnull\", info.dflt_value \
                   FROM sqlite_master LEFT JOIN pragma_table_info(sqlite_master.name) AS info ORDER BY 1, 2, info.name";
        let mut statement = catalog.prepare(sql).unwrap();
        let columns = 0..6;
        let row = |row: &rusqlite::Row<'_>| {
            columns.clone().map(|column| row.get::<_, rusqlite::types::Value>(column)).collect()
        };
        let rows: Vec<Vec<rusqlite::types::Value>> =
            statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap();
        rows
    };
    let new = Fixture::new();
    drop(new.complete());
    let wanted = schema(&new);
    assert!(wanted.len() > 50);
    for (version, sql) in [
        (3, ""),
        (2, "DROP TABLE region; DROP TABLE version;"),
        (
            1,
            "DROP TABLE region; DROP TABLE version; DROP TABLE writer; ALTER TABLE history DROP COLUMN others;",
        ),
    ] {
        let old = Fixture::new();
        drop(old.complete());
        old.sql(BACK_TO_3);
        old.sql(&format!("{sql} PRAGMA user_version = {version}"));
        assert_ne!(schema(&old), wanted);
        let (mut brick, _, recovery) = old.open();
        assert_eq!((schema(&old), recovery), (wanted.clone(), Recovery::Clean), "version {version}");
        brick
            .commit(&Commit { history: vec![written(10, vec![full_writer(1)])], ..Commit::default() })
            .unwrap();
    }
}
