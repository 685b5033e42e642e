//! What is kept of contents before they changed.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use super::rig::Rig;
use crate::agent::root::RESTARTED;
use crate::agent::versions::VersionConfig;
use crate::artifact::redact::Redactor;
use crate::brick::{ArtifactId, Catalog, HistoryQuery, Missing, Verb, VersionLimits, VersionLine};

/// The lines of history with what is kept of them, oldest first.
fn lines(rig: &Rig) -> Vec<(String, Verb, Option<VersionLine>)> {
    let catalog = Catalog::open_read_only(&rig.catalog_path()).unwrap();
    let found = catalog.history(&HistoryQuery::default()).unwrap();
    let line = |(number, row): (i64, crate::brick::HistoryRow)| {
        let path = PathBuf::from(String::from_utf8(row.path).unwrap());
        let name = path.strip_prefix(&rig.tree).unwrap().to_string_lossy().into_owned();
        (name, row.verb, catalog.version(number).unwrap())
    };
    found.into_iter().map(line).collect()
}

/// What is kept of the changes of one artifact, as text.
fn kept(rig: &Rig, name: &str) -> Vec<Result<String, Missing>> {
    let of = lines(rig).into_iter().filter(|(path, _, version)| path == name && version.is_some());
    of.map(|(_, _, version)| version.unwrap().contents.map(|bytes| String::from_utf8(bytes).unwrap()))
        .collect()
}

fn limits(per_artifact: u32, bytes: u64) -> VersionConfig {
    VersionConfig {
        limits: VersionLimits { per_artifact, bytes, age_ns: i64::MAX },
        ..VersionConfig::default()
    }
}

/// Every byte that the catalog has on disk.
fn disk(rig: &Rig) -> Vec<u8> {
    let catalog = rig.catalog_path();
    let log = catalog.with_extension("sqlite-wal");
    let mut bytes = fs::read(&catalog).unwrap();
    bytes.extend(fs::read(log).unwrap_or_default());
    bytes
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn each_change_keeps_what_was_before() {
    let mut rig = Rig::new();
    let (file, link) = (rig.at("file"), rig.at("link"));
    rig.write(&file, b"one\n");
    rig.start();
    rig.write(&file, b"two\n");
    rig.symlink(&file, &link);
    rig.deliver();
    rig.chmod(&file, 0o1000);
    rig.deliver();
    rig.write(&file, b"three\n");
    rig.deliver();
    rig.remove(&file);
    rig.deliver().check();
    let text = |text: &str| Ok(text.to_owned());
    assert_eq!(kept(&rig, "file"), [text("one\n"), text("two\n"), text("three\n")]);
    let all = lines(&rig);
    let chain: Vec<_> = all.iter().filter(|(name, _, _)| name == "file").collect();
    assert_eq!(
        chain.iter().map(|line| line.1).collect::<Vec<_>>(),
        [Verb::Modified, Verb::Attributes, Verb::Modified, Verb::Deleted]
    );
    assert!(chain[1].2.is_none(), "no contents changed");
    let hash = |text: &[u8]| Some(*blake3::hash(text).as_bytes());
    let sides = |at: usize| chain[at].2.as_ref().map(|version| (version.before, version.after)).unwrap();
    assert_eq!(sides(0), (hash(b"one\n"), hash(b"two\n")));
    assert_eq!(sides(2), (hash(b"two\n"), hash(b"three\n")));
    assert_eq!(sides(3), (hash(b"three\n"), None));
    let made = all.iter().find(|(name, _, _)| name == "link").unwrap().2.clone().unwrap();
    assert_eq!((made.before, made.contents), (None, Ok(Vec::new())));
    // A restart keeps them, and a kill too: they came with the line.
    rig.kill().start();
    assert_eq!(kept(&rig, "file").len(), 3);
    assert_eq!(rig.opened().brick.version_stats().kept, 3);
}

#[test]
fn what_is_not_kept_says_why() {
    let mut rig = Rig::new();
    let names = ["binary", "large", "server.key", "wide"];
    let paths: Vec<PathBuf> = names.iter().map(|name| rig.at(name)).collect();
    let before: [Vec<u8>; 4] = [vec![0, 1, 2], vec![b'x'; 70_000], b"text".to_vec(), vec![0xff; 10]];
    for (path, bytes) in paths.iter().zip(&before) {
        rig.write(path, bytes);
    }
    rig.start();
    for path in &paths {
        rig.write(path, b"other\n");
    }
    rig.deliver();
    let why = |name| kept(&rig, name);
    assert_eq!(why("binary"), [Err(Missing::Binary)]);
    assert_eq!(why("large"), [Err(Missing::Large)]);
    assert_eq!(why("server.key"), [Err(Missing::Redacted)]);
    assert_eq!(why("wide"), [Err(Missing::Binary)]);
    let mut rig = Rig::new();
    rig.versions.bytes_max = 0;
    let file = rig.at("file");
    rig.write(&file, b"one\n");
    rig.start();
    rig.write(&file, b"two\n");
    rig.deliver();
    assert_eq!(kept(&rig, "file"), [Err(Missing::Off)]);
    // Without redaction nothing tells what must not be kept.
    let mut rig = Rig::new();
    rig.redactor = Redactor::disabled();
    let file = rig.at("file");
    rig.write(&file, b"one\n");
    rig.start();
    rig.write(&file, b"two\n");
    rig.deliver();
    assert_eq!(kept(&rig, "file"), [Err(Missing::Off)]);
}

/// Random edits, several in one batch and several batches in one draft, among renames and restarts: whoever starts from
/// the present contents and goes back through what is kept meets every state that was seen, byte for byte.
#[test]
fn every_version_of_random_edits_comes_back() {
    let mut random = 7_u64;
    let mut below = move |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut rig = Rig::new();
    rig.strict = false;
    rig.versions = limits(100_000, u64::MAX);
    let mut seen: HashMap<ArtifactId, Vec<Vec<u8>>> = HashMap::new();
    let mut names: Vec<String> = (0..4).map(|n| format!("file{n}")).collect();
    for name in &names {
        let path = rig.at(name);
        rig.write(&path, format!("{name}\n").repeat(20).as_bytes());
    }
    rig.start();
    for step in 0..400 {
        for _ in 0..=below(3) {
            let which = below(4) as usize;
            let path = rig.at(&names[which]);
            let mut bytes = fs::read(&path).unwrap();
            match below(6) {
                0 => bytes.clear(),
                1 => bytes.extend(format!("line {step}\n").repeat(1 + below(40) as usize).bytes()),
                2 => bytes.truncate(below(1 + bytes.len() as u64) as usize),
                3 => {
                    let to = format!("name{step}-{which}");
                    rig.rename(&path, &rig.at(&to));
                    names[which] = to;
                    continue;
                }
                _ => {
                    let at = below(1 + bytes.len() as u64) as usize;
                    bytes.splice(at..at, format!("change {step}\n").bytes());
                }
            }
            rig.write(&path, &bytes);
        }
        match below(20) {
            0 => drop(rig.kill().start()),
            1 => drop(rig.heal()),
            2 => drop(rig.deliver_singly()),
            _ => drop(rig.deliver()),
        }
        for name in &names {
            let id = rig.row(name).id;
            let now = fs::read(rig.at(name)).unwrap();
            let states = seen.entry(id).or_default();
            if states.last() != Some(&now) {
                states.push(now);
            }
        }
    }
    rig.check();
    let catalog = Catalog::open_read_only(&rig.catalog_path()).unwrap();
    assert_eq!(seen.len(), 4, "renames keep the artifact");
    for (id, states) in seen {
        let mut versions = Vec::new();
        let mut line = 0;
        while let Some(version) = catalog.version_after(id, line).unwrap() {
            line = version.line;
            versions.push(version);
        }
        // Events are delivered one by one in some steps, so there may be states between those seen here.
        let mut want = states[..states.len() - 1].iter().peekable();
        for pair in versions.windows(2) {
            assert_eq!(pair[0].after, pair[1].before, "a chain without a gap");
        }
        for version in &versions {
            let contents = version.contents.as_ref().unwrap();
            want.next_if(|state| *state == contents);
        }
        assert_eq!(want.next(), None, "a state that was seen is not kept");
        let last = versions.last().unwrap().after.unwrap();
        assert_eq!(last, *blake3::hash(states.last().unwrap()).as_bytes());
        assert!(versions.len() > 50, "{}", versions.len());
    }
}

#[test]
fn bounds_hold_and_say_so() {
    let mut rig = Rig::new();
    rig.strict = false;
    rig.versions = limits(3, 1000);
    let paths: Vec<PathBuf> = (0..10).map(|n| rig.at(&format!("file{n}"))).collect();
    for path in &paths {
        rig.write(path, b"0\n");
    }
    rig.start();
    for step in 0..200_usize {
        // Digits that do not compress well.
        let text = blake3::hash(&step.to_le_bytes()).to_hex();
        let path = &paths[if step < 50 { step % 2 } else { step % paths.len() }];
        rig.write(path, format!("{text}\n").as_bytes());
        rig.deliver();
        let stats = rig.opened().brick.version_stats();
        assert!(stats.bytes <= 1000, "{stats:?}");
    }
    let stats = rig.opened().brick.version_stats();
    let all: Vec<VersionLine> = lines(&rig).into_iter().filter_map(|(_, _, version)| version).collect();
    let held = all.iter().filter(|version| version.contents.is_ok()).count() as u64;
    assert_eq!((held, stats.kept + stats.dropped), (stats.kept, all.len() as u64));
    assert!(held > 2, "{stats:?}");
    let mut per_file: HashMap<ArtifactId, usize> = HashMap::new();
    for version in all.iter().filter(|version| version.contents.is_ok()) {
        *per_file.entry(version.artifact).or_default() += 1;
    }
    assert!(per_file.values().all(|count| *count <= 3), "{per_file:?}");
    for why in [Missing::TooMany, Missing::TooMuch] {
        assert!(all.iter().any(|version| version.contents == Err(why)), "{why:?}");
    }
    // The newest ones are those that stay.
    assert!(all.last().unwrap().contents.is_ok());
    // The figures are counted again at a restart.
    rig.kill().start();
    let again = rig.opened().brick.version_stats();
    assert_eq!((again.kept, again.bytes), (stats.kept, stats.bytes));
    // Everything is too old at the end of time.
    rig.root().brick.limit_versions(VersionLimits { per_artifact: 3, bytes: 1000, age_ns: 1 });
    rig.root().brick.drop_old_versions(i64::MAX).unwrap();
    let stats = rig.opened().brick.version_stats();
    assert_eq!((stats.kept, stats.bytes), (0, 0));
    let last = lines(&rig).into_iter().filter_map(|(_, _, version)| version).next_back().unwrap();
    assert_eq!(last.contents, Err(Missing::TooOld));
}

#[test]
fn history_that_is_dropped_takes_its_contents_along() {
    let mut rig = Rig::new();
    rig.strict = false;
    let file = rig.at("file");
    rig.write(&file, b"0\n");
    rig.start().root().history_max = 5;
    for n in 1..20 {
        rig.write(&file, format!("{n}\n").as_bytes());
        rig.deliver();
    }
    rig.heal();
    assert_eq!(rig.history().len(), 5);
    assert_eq!(kept(&rig, "file"), ["14\n", "15\n", "16\n", "17\n", "18\n"].map(|text| Ok(text.to_owned())));
    assert_eq!(rig.opened().brick.version_stats().kept, 5);
}

type Step<'a> = &'a dyn Fn(&mut Rig);

/// A secret that nobody could know to be one, until it is given a name or company that says so.
#[test]
fn what_becomes_secret_leaves_no_trace() {
    const SECRET: &str = "kq7Zt0aP9wXh31";
    let text = format!("password = {SECRET}\n");
    let becomes: [(&str, Step<'_>); 4] = [
        ("by its name", &|rig| {
            let (from, to) = (rig.at("notes"), rig.at("notes.conf"));
            // The secret itself has to be there still for its new name to tell.
            rig.write(&from, format!("password = {SECRET}\n# again\n").as_bytes());
            rig.deliver();
            rig.rename(&from, &to);
        }),
        ("by its place", &|rig| {
            let (from, to) = (rig.at("notes"), rig.at("server.key"));
            rig.rename(&from, &to);
        }),
        ("by its contents", &|rig| {
            let path = rig.at("notes");
            rig.append(&path, b"token ghp_abcdefghijklmnopqrstuvwxyz0123456789\n");
        }),
        ("after it was gone", &|rig| {
            let path = rig.at("notes");
            rig.remove(&path);
            rig.deliver();
            rig.write(&path, b"token ghp_abcdefghijklmnopqrstuvwxyz0123456789\n");
        }),
    ];
    for (how, become_secret) in becomes {
        println!("{how}");
        let mut rig = Rig::new();
        let path = rig.at("notes");
        rig.write(&path, text.as_bytes());
        rig.start();
        rig.write(&path, b"nothing in particular\n");
        rig.deliver();
        rig.write(&path, b"nothing else\n");
        rig.deliver();
        assert_eq!(kept(&rig, "notes")[0].as_deref(), Ok(text.as_str()));
        assert!(holds(&disk(&rig), SECRET), "this test must be able to find it");
        become_secret(&mut rig);
        rig.deliver();
        assert!(
            lines(&rig)
                .iter()
                .flat_map(|line| &line.2)
                .all(|version| { version.contents.is_err() || version.before.is_none() })
        );
        assert!(!holds(&disk(&rig), SECRET), "{how}");
        assert!(!holds(&fs::read(rig.brick_path()).unwrap(), SECRET));
        rig.kill().start();
        assert!(!holds(&disk(&rig), SECRET), "{how}, after a restart");
    }
}

/// Whoever reads the catalog at that moment must not keep the secret there for good.
#[test]
fn a_reader_in_the_way_of_a_purge_only_delays_it() {
    const SECRET: &str = "kq7Zt0aP9wXh31";
    let mut rig = Rig::new();
    let path = rig.at("notes");
    rig.write(&path, format!("password = {SECRET}\n").as_bytes());
    rig.start();
    rig.write(&path, b"nothing in particular\n");
    rig.deliver();
    let reader = rusqlite::Connection::open(rig.catalog_path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM version;").unwrap();
    rig.write(&path, b"token ghp_abcdefghijklmnopqrstuvwxyz0123456789\n");
    rig.deliver();
    assert_eq!(kept(&rig, "notes")[0], Err(Missing::Redacted));
    drop(reader);
    rig.root().brick.sync().unwrap();
    assert!(!holds(&disk(&rig), SECRET));
}

#[test]
fn other_rules_apply_to_what_was_read_before() {
    const SECRET: &str = "kq7Zt0aP9wXh31";
    for off in [false, true] {
        let mut rig = Rig::new();
        if off {
            rig.redactor = Redactor::disabled();
        }
        let (notes, key) = (rig.at("notes"), rig.at("server.key"));
        rig.write(&notes, format!("{SECRET}\n").as_bytes());
        rig.write(&key, b"Zt0aP9wXh31kq7\n");
        rig.start();
        rig.append(&notes, b"more\n");
        rig.deliver();
        assert_eq!(kept(&rig, "notes")[0].is_ok(), !off, "kept only with redaction");
        assert!(!rig.row("notes").redacted && rig.row("server.key").redacted != off);
        let text = rig.row("notes");
        assert!(holds(&rig.opened().brick.cells(text.block.start, text.len), SECRET));
        rig.redactor = Redactor::ephemeral(&["notes".to_owned()]).unwrap();
        rig.kill().open();
        let why = if off { Missing::Off } else { Missing::OtherRules };
        assert_eq!(kept(&rig, "notes"), [Err(why)], "earlier contents go at once");
        // Killed before everything was read again.
        rig.kill().start();
        for name in ["notes", "server.key"] {
            let row = rig.row(name);
            assert!(row.redacted && row.unverified.is_none(), "{name}");
            let cells = rig.opened().brick.cells(row.block.start, row.len);
            assert!(!holds(&cells, SECRET) && !holds(&cells, "Zt0aP9"), "{name}");
        }
        // Summaries quote the first line of a text.
        assert!(!holds(&disk(&rig), SECRET) && !holds(&disk(&rig), "Zt0aP9"));
        // And back: nothing is hidden that need not be.
        rig.redactor = Redactor::ephemeral(&[]).unwrap();
        rig.kill().start().check();
        assert!(!rig.row("notes").redacted && rig.row("server.key").redacted);
        rig.kill().open();
        assert_eq!(
            rig.row("notes").unverified.as_deref(),
            Some(RESTARTED),
            "the same rules read nothing again"
        );
    }
}

/// What keeping contents adds to a change of a text file, from the report to the end of the commit. A measurement, not a
/// check: `cargo test -p sfd --lib what_keeping_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_keeping_costs() {
    const CHANGES: u32 = 300;
    for kib in [1, 8, 60] {
        let mut best = [f64::MAX; 2];
        // In turn, the fastest of several: the machine does other things too.
        for _ in 0..5 {
            for (keeps, best) in [false, true].into_iter().zip(&mut best) {
                let mut rig = Rig::new();
                rig.strict = false;
                rig.versions.bytes_max = if keeps { 64 << 10 } else { 0 };
                let file = rig.at("file");
                let line = |n: u32| format!("option{n} = {}\n", n.wrapping_mul(2_654_435_761));
                let text: String = (0..).map(line).take(kib * 1024 / 24).collect();
                rig.write(&file, text.as_bytes());
                rig.start();
                let mut spent = std::time::Duration::ZERO;
                for n in 0..CHANGES {
                    rig.write(&file, format!("changed = {n}\n{text}").as_bytes());
                    let started = std::time::Instant::now();
                    rig.deliver();
                    spent += started.elapsed();
                }
                *best = best.min(spent.as_secs_f64() * 1e6 / f64::from(CHANGES));
            }
        }
        println!(
            "cost {kib} KiB: {:.0} us without, {:.0} us with, {:.2} times",
            best[0],
            best[1],
            best[1] / best[0]
        );
    }
    // Many at once: a directory goes.
    let mut best = [f64::MAX; 2];
    for _ in 0..3 {
        for (keeps, best) in [false, true].into_iter().zip(&mut best) {
            let mut rig = Rig::new();
            rig.strict = false;
            rig.versions.bytes_max = if keeps { 64 << 10 } else { 0 };
            let dir = rig.at("dir");
            fs::create_dir(&dir).unwrap();
            for n in 0..3000 {
                fs::write(dir.join(format!("f{n}")), format!("option {n}\n").repeat(200)).unwrap();
            }
            rig.start();
            fs::remove_dir_all(&dir).unwrap();
            rig.report_name(&dir, crate::collect::Op::Rmdir);
            let started = std::time::Instant::now();
            rig.deliver();
            *best = best.min(started.elapsed().as_secs_f64() * 1e6 / 3000.0);
        }
    }
    println!("cost a file of 3000 removed: {:.0} us without, {:.0} us with", best[0], best[1]);
}
