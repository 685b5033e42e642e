//! The search over a catalog: it finds what the rows say at any moment, indexed or not.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use sfd::artifact::FileType;
use sfd::artifact::kinds::Kind;
use sfd::brick::{ArtifactId, Catalog, Commit, LiveBrick, Row, SearchQuery};
use sfd_tests::bricks::{BACK_TO_3, Fixture, assert_searchable, found};

fn catalog(fixture: &Fixture) -> Catalog {
    Catalog::open_read_only(&fixture.dir().join("t.catalog.sqlite")).unwrap()
}

fn index(brick: &mut LiveBrick) {
    while brick.index_some(3).unwrap() {}
}

/// Runs a check before anything is indexed, when some is, and when everything is.
fn at_each_stage(brick: &mut LiveBrick, check: impl Fn(&str)) {
    check("before");
    brick.index_some(3).unwrap();
    check("between");
    index(brick);
    check("after");
}

/// A commit of rows alone.
fn rows(rows: &[&Row]) -> Commit {
    Commit { upserts: rows.iter().map(|row| (*row).clone()).collect(), ..Commit::default() }
}

#[test]
fn what_is_changed_removed_and_renamed_is_found_at_once() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let reader = catalog(&fixture);
    let mut all = fixture.rows.clone();
    at_each_stage(&mut brick, |stage| assert_searchable(&reader, &all, stage));
    // A change of words, a rename, a removal, and a change of other things.
    all[3].semantics.summary = "something else entirely".into();
    all[4].name = b"renamed.conf".to_vec();
    all[5].meta.mode = 0o600;
    brick.commit(&rows(&[&all[3], &all[4], &all[5]])).unwrap();
    let gone = all.remove(6);
    brick.commit(&Commit { deletes: vec![gone.id], ..Commit::default() }).unwrap();
    at_each_stage(&mut brick, |stage| {
        assert_searchable(&reader, &all, stage);
        assert_eq!(found(&reader, "f4"), [] as [u32; 0], "{stage}");
        assert_eq!(found(&reader, "renamed"), [4], "{stage}");
        assert_eq!(found(&reader, "f6"), [] as [u32; 0], "{stage}");
        assert_eq!(found(&reader, "entirely"), [3], "{stage}");
    });
    // A kill between a commit and the indexing, and another one in the midst of it.
    all[2].semantics.summary = "after the last one".into();
    all[7].semantics.title = "seventh".into();
    brick.commit(&rows(&[&all[2], &all[6]])).unwrap();
    brick.index_some(1).unwrap();
    drop((brick, reader));
    let (mut brick, ..) = fixture.open();
    let reader = catalog(&fixture);
    at_each_stage(&mut brick, |stage| assert_searchable(&reader, &all, stage));
}

#[test]
fn only_what_has_other_words_is_indexed_again() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    index(&mut brick);
    let waiting = || {
        let catalog = rusqlite::Connection::open(fixture.dir().join("t.catalog.sqlite")).unwrap();
        catalog.query_row("SELECT count(*) FROM unindexed", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let mut row = fixture.rows[3].clone();
    row.meta.mtime_ns += 1;
    row.content_hash = [7; 32];
    brick.commit(&rows(&[&row])).unwrap();
    brick.set_unverified_all("a test says so").unwrap();
    assert_eq!(waiting(), 0, "a restart must not index everything again");
    row.semantics.summary = "other words".into();
    brick.commit(&rows(&[&row])).unwrap();
    assert_eq!(waiting(), 1);
}

#[test]
fn the_query_language() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let mut all = fixture.rows.clone();
    // /t/ssh/sshd_config, and others.
    all[1].meta.file_type = FileType::Directory;
    all[1].name = b"ssh".to_vec();
    all[2].parent = Some(ArtifactId(1));
    all[2].name = b"sshd_config".to_vec();
    all[2].semantics.kind = Kind::Config;
    all[2].semantics.title = "sshd_config: SSH server".into();
    all[2].semantics.summary = "SSH server, 12 lines besides comments.".into();
    all[3].semantics.summary = "Mentions the ssh server too.".into();
    all[3].semantics.kind = Kind::SystemdUnit;
    all[4].semantics.tags = vec!["redacted".into(), "réseau".into()];
    all[5].unverified = Some("a test says so".into());
    all[6].name = "Größe.TXT".as_bytes().to_vec();
    all[7].name = b"not utf-8 \xff\xfe".to_vec();
    let changed: Vec<&Row> = all.iter().collect();
    brick.commit(&rows(&changed)).unwrap();
    let reader = catalog(&fixture);
    let none: &[u32] = &[];
    at_each_stage(&mut brick, |stage| {
        for (query, expected) in [
            ("sshd", &[2][..]),
            ("sshd_con", &[2]),
            ("SSH serv", &[2, 3]),
            ("\"ssh serv\"", none),
            ("\"ssh server\"", &[2, 3]),
            ("\"server ssh\"", none),
            ("ssh -mentions", &[1, 2]),
            ("-made", &[2, 3]),
            ("grosse", none),
            ("größe", &[6]),
            ("grOße txt", &[6]),
            ("utf", &[7]),
            ("tag:redacted", &[4]),
            ("reseau", &[4]),
            ("kind:config", &[2]),
            ("kind:sys", &[3]),
            ("-kind:dir", &[2, 3]),
            ("risk:critical", &[4, 9]),
            ("risk>=3 -f9", &[3, 4, 8]),
            ("risk<1", &[0, 5, 10]),
            ("unverified:yes", &[5]),
            ("unverified:no tag:test risk:none", &[0, 10]),
            ("path:/t/ssh", &[1, 2]),
            ("path:/t/ss", none),
            ("path:/t/ssh/ sshd", &[2]),
            ("-path:/t ssh", none),
            ("ssh/sshd", &[2]),
            ("SSH/ -config", &[]),
            ("/t/f", &[8, 9, 10, 3, 4, 5]),
            ("no such word", none),
            ("*", none),
            ("\" OR name:\"", none),
        ] {
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(found(&reader, query), expected, "{stage}: {query}");
        }
        // Where it is called so comes first; then the risk decides.
        let ranked = |query: &str, limit| reader.search(&SearchQuery::parse(query), limit).unwrap();
        let best = ranked("ssh", 2);
        assert_eq!((best.total, best.hits.len()), (3, 2), "{stage}");
        assert!(best.hits.iter().all(|hit| hit.id.0 != 3), "{stage}: {best:?}");
        assert_eq!(ranked("sshd", 9).hits[0].path, b"/t/ssh/sshd_config", "{stage}");
        let by_risk: Vec<u8> = ranked("made", 99).hits.iter().map(|hit| hit.risk.level).collect();
        assert!(by_risk.first() > by_risk.last(), "{stage}: {by_risk:?}");
        assert_eq!(ranked("", 9).total, 0);
    });
    // A renamed directory is one row; what is below it is found under its new path.
    let mut dir = all[1].clone();
    dir.name = b"secure".to_vec();
    brick.commit(&rows(&[&dir])).unwrap();
    assert_eq!(found(&reader, "path:/t/secure"), [1, 2]);
    assert_eq!(found(&reader, "secure/sshd"), [2]);
    assert_eq!(found(&reader, "path:/t/ssh"), none);
}

#[test]
fn a_catalog_of_version_3_is_indexed() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    index(&mut brick);
    drop(brick);
    fixture.sql(&format!("{BACK_TO_3} PRAGMA user_version = 3;"));
    let (mut brick, ..) = fixture.open();
    let reader = catalog(&fixture);
    at_each_stage(&mut brick, |stage| assert_searchable(&reader, &fixture.rows, stage));
}

#[test]
fn a_damaged_index_is_made_anew() {
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    index(&mut brick);
    fixture.sql("UPDATE search_data SET block = x'00' WHERE id > 1");
    let mut row = fixture.rows[3].clone();
    row.semantics.summary = "other words".into();
    brick.commit(&rows(&[&row])).unwrap();
    index(&mut brick);
    let mut all = fixture.rows.clone();
    all[3] = row;
    assert_searchable(&catalog(&fixture), &all, "damaged");
}

/// The index has words of summaries, and a summary may quote a file before anybody knows that it is secret.
#[test]
fn words_of_a_secret_leave_the_index() {
    const SECRET: &str = "zqkw7hunter2";
    let fixture = Fixture::new();
    let mut brick = fixture.complete();
    let mut row = fixture.rows[3].clone();
    row.semantics.summary = format!("First line: {SECRET}");
    brick.commit(&rows(&[&row])).unwrap();
    index(&mut brick);
    brick.sync().unwrap();
    let on_disk = || {
        ["t.catalog.sqlite", "t.catalog.sqlite-wal"].iter().any(|name| {
            let bytes = std::fs::read(fixture.dir().join(name)).unwrap_or_default();
            // Words are stored without what they share with the one before.
            bytes.windows(SECRET.len() - 1).any(|window| window == &SECRET.as_bytes()[1..])
        })
    };
    assert!(on_disk(), "the test would see it");
    row.semantics.summary = "Redacted.".into();
    row.redacted = true;
    let secret = vec![(row.id, b"/t/f3".to_vec())];
    brick.commit(&Commit { secret, ..rows(&[&row]) }).unwrap();
    assert_eq!(found(&catalog(&fixture), SECRET), [] as [u32; 0], "not found from then on");
    index(&mut brick);
    brick.sync().unwrap();
    assert!(!on_disk());
    assert_eq!(found(&catalog(&fixture), "redacted"), [3]);
    // A new secret has no past: nothing is indexed again for it.
    let mut other = fixture.rows[4].clone();
    other.id = ArtifactId(11);
    other.redacted = true;
    let secret = vec![(other.id, b"/t/new.key".to_vec())];
    brick.commit(&Commit { secret, deletes: vec![ArtifactId(4)], ..rows(&[&other]) }).unwrap();
    assert!(!brick.index_some(10).unwrap());
}

/// What the search adds to commits and to a baseline, and what a search takes. A measurement, not a check:
/// `cargo test -p sfd-tests --test search what_the_search_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_the_search_costs() {
    const ROWS: u32 = 100_000;
    const AT_ONCE: usize = 1024;
    let mut best = [[f64::MAX; 4]; 2];
    // In turn, the fastest of several: the machine does other things too.
    for _ in 0..3 {
        for (is_indexed, best) in [false, true].into_iter().zip(&mut best) {
            let fixture = Fixture::new();
            drop(fixture.create());
            if !is_indexed {
                let triggers = ["new", "other", "gone"].map(|name| format!("DROP TRIGGER artifact_{name};"));
                fixture.sql(&triggers.concat());
            }
            let (mut brick, ..) = fixture.open();
            let mut all: Vec<Row> = (0..ROWS).map(made_up).collect();
            let commit_all = |all: &[Row], brick: &mut LiveBrick| {
                let started = std::time::Instant::now();
                for some in all.chunks(AT_ONCE) {
                    brick.commit(&Commit { upserts: some.to_vec(), ..Commit::default() }).unwrap();
                }
                started.elapsed().as_secs_f64() * 1e6 / f64::from(ROWS)
            };
            let new = commit_all(&all, &mut brick);
            for row in &mut all {
                row.semantics.summary.push_str(" Read.");
            }
            let read = commit_all(&all, &mut brick);
            let started = std::time::Instant::now();
            while brick.index_some(128).unwrap() {}
            let index = started.elapsed().as_secs_f64() * 1e6 / f64::from(ROWS);
            for row in &mut all {
                row.meta.mtime_ns += 1;
            }
            let same = commit_all(&all, &mut brick);
            for (best, now) in best.iter_mut().zip([new, read, same, index]) {
                *best = best.min(now);
            }
            if is_indexed {
                let reader = catalog(&fixture);
                for query in ["name7777", "nginx", "risk>=3 tag:test", "path:/t name12", "t/name4"] {
                    let started = std::time::Instant::now();
                    let found = reader.search(&SearchQuery::parse(query), 50).unwrap();
                    println!("{query}: {} found in {:?}", found.total, started.elapsed());
                }
                fixture.sql("INSERT INTO unindexed SELECT id FROM artifact");
                let started = std::time::Instant::now();
                let found = reader.search(&SearchQuery::parse("nginx"), 50).unwrap();
                println!("nginx with nothing indexed: {} found in {:?}", found.total, started.elapsed());
            }
        }
    }
    for (what, at) in [("a new row", 0), ("a row with other words", 1), ("a row with other times", 2)] {
        println!("{what}: {:.2} us without, {:.2} us with", best[0][at], best[1][at]);
    }
    println!("to index a row, when idle: {:.2} us", best[1][3]);
}

/// A row with words like those of real ones.
fn made_up(number: u32) -> Row {
    let block = sfd::fold::Block { start: u64::from(number) * 64 % (1 << 16), k: 6 };
    let mut row = sfd_tests::bricks::file(20 + number, &format!("name{number}.conf"), b"x", block, 1);
    row.semantics.kind = Kind::Config;
    row.semantics.title = format!("name{number}.conf");
    let words = ["nginx", "server", "library", "translation", "manual"][number as usize % 5];
    row.semantics.summary =
        format!("Configuration of {words}, {} lines besides comments, {number} B.", number % 97);
    row
}
