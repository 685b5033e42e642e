//! A brick is sealed, and laid out anew, while the daemon writes to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sfd_tests::bricks::{Random, contents};
use sfd_tests::daemon::sfd;
use sfd_tests::reader::inspect;
use sfd_tests::wait_for;

use crate::{Bench, PATIENCE, PROMISE};

const FILES: u64 = 200;

/// Runs a command; returns its exit code and the JSON that it printed.
fn run(args: &[&str], state: &Path, paths: &[&Path]) -> (Option<i32>, serde_json::Value) {
    let output = sfd(&["--json"]).args(args).args(paths).env("SFD_STATE", state).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_str(&text).unwrap_or_default())
}

fn fill(bench: &Bench) {
    for n in 0..FILES {
        bench.write(&format!("d{}/f{n}", n % 20), contents(n as u32, 0, (n * n % 20_000) as usize));
    }
}

/// Writes, creates and removes files without a pause until told to stop; returns how many times.
fn disturb(bench: &Bench, stop: &AtomicBool, count: &AtomicU64) {
    let mut random = Random::new(3);
    while !stop.load(Ordering::Relaxed) {
        let n = random.below(FILES);
        let version = count.fetch_add(1, Ordering::Relaxed);
        let path = bench.path(&format!("d{}/f{n}", n % 20));
        if random.below(5) == 0 {
            let _ = fs::remove_file(path);
        } else {
            let len = random.below(20_000) as usize;
            fs::write(path, contents(n as u32, version.cast_signed(), len)).unwrap();
        }
    }
}

/// Does something while files change all the time.
fn meanwhile(bench: &Bench, what: impl FnOnce(&AtomicU64)) {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| disturb(bench, &stop, &count));
        what(&count);
    });
}

/// Also when a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn snapshots_under_constant_load_are_whole_and_the_daemon_goes_on() {
    let bench = Bench::new();
    fill(&bench);
    let daemon = bench.live();
    let outs: Vec<PathBuf> = (0..6).map(|n| bench.state.with_file_name(format!("s{n}.brick"))).collect();
    let mut held_max = 0.0_f64;
    meanwhile(&bench, |count| {
        for out in &outs {
            let before = count.load(Ordering::Relaxed);
            let (code, done) = run(&["snapshot", &bench.name(), "-o"], &bench.state, &[out]);
            assert_eq!(code, Some(0), "{done}");
            assert_eq!(done["tries"], 1, "however fast it changes: {done}");
            held_max = held_max.max(done["held_ms"].as_f64().unwrap());
            // Rows, hashes and pixels belong together, or this would not be so.
            let (code, report) = run(&["verify"], &bench.state, &[out]);
            assert_eq!(
                (code, report["artifacts"].as_u64()),
                (Some(0), done["artifacts"].as_u64()),
                "{report}"
            );
            wait_for("the load to go on", PATIENCE, || {
                anyhow::ensure!(count.load(Ordering::Relaxed) > before + 100, "not yet");
                Ok(())
            });
        }
    });
    bench.wait_equal("what was written meanwhile", PROMISE);
    println!("writes waited for at most {held_max:.1} ms");
    // The daemon's bound, and the time of a busy machine until its client runs again.
    assert!(held_max < 500.0 * f64::from(sfd_tests::slowness()), "{held_max}");
    for two in outs.windows(2) {
        let (code, found) = run(&["diff"], &bench.state, &[&two[0], &two[1]]);
        assert_eq!(code, Some(1), "of the same moment, though the load went on: {found}");
    }
    // At rest: the same as the live one, with a daemon and without.
    let last = bench.state.with_file_name("last.brick");
    for daemon in [Some(daemon), None] {
        let (code, done) = run(&["snapshot", "-o"], &bench.state, &[&last]);
        assert_eq!((code, done["tries"].as_u64()), (Some(0), Some(1)));
        let (code, found) = run(&["diff"], &bench.state, &[&last, &bench.brick()]);
        assert_eq!((code, found["leaves"]["nodes_compared"].as_u64()), (Some(0), Some(1)), "{found}");
        sfd_tests::reader::compare(&bench.root, &last).unwrap();
        wait_for("what was kept to be given up", PATIENCE, || {
            anyhow::ensure!(!bench.brick().with_extension("brick.kept").exists(), "still there");
            Ok(())
        });
        if let Some(daemon) = daemon {
            assert_eq!(daemon.terminate(), Some(0));
        }
    }
}

#[test]
fn compaction_under_load_keeps_everything_but_the_places() {
    let bench = Bench::new();
    fill(&bench);
    let daemon = bench.live();
    let log = || {
        let output =
            sfd(&["log", "--json", "-n", "1000000"]).env("SFD_STATE", &bench.state).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut before = Vec::new();
    meanwhile(&bench, |count| {
        wait_for("some changes", PATIENCE, || {
            anyhow::ensure!(count.load(Ordering::Relaxed) > 2000 && !log().is_empty(), "not yet");
            Ok(())
        });
        before = log();
        let (code, done) = run(&["compact", &bench.name()], &bench.state, &[]);
        assert_eq!((code, &done["by_daemon"]), (Some(0), &true.into()), "{done}");
        assert!(done["moved"].as_u64().unwrap() > 0, "{done}");
    });
    bench.wait_equal("what was written meanwhile", PROMISE);
    let after: std::collections::HashSet<String> = log().into_iter().collect();
    assert!(before.len() > 10 && before.iter().all(|line| after.contains(line)), "history is kept");
    assert_eq!(run(&["verify"], &bench.state, &[&bench.brick()]).0, Some(0));

    // A brick laid out anew is that of a daemon that starts from nothing.
    let (code, _) = run(&["compact", &bench.name()], &bench.state, &[]);
    assert_eq!((code, daemon.terminate()), (Some(0), Some(0)));
    let (code, again) = run(&["compact", &bench.name()], &bench.state, &[]);
    assert_eq!((code, &again["by_daemon"], &again["moved"]), (Some(0), &false.into(), &0.into()));
    let places = |listed: &std::collections::BTreeMap<PathBuf, sfd_tests::reader::Listed>| {
        listed.iter().map(|(path, at)| (path.clone(), at.start, at.cells)).collect::<Vec<_>>()
    };
    let compacted = fs::read(bench.brick()).unwrap();
    let listed = places(&inspect(&bench.brick()).unwrap());
    let fresh = bench.state.with_file_name("fresh.brick");
    run(&["fold", "-o"], &bench.state, &[&fresh, &bench.root]);
    assert_eq!(places(&inspect(&fresh).unwrap()), listed);
    assert!(fs::read(&fresh).unwrap()[132..compacted.len()] == compacted[132..], "pixels");

    // And the next daemon goes on with it.
    let daemon = bench.live();
    bench.wait_equal("the restart", PATIENCE);
    assert_eq!(places(&inspect(&bench.brick()).unwrap()), listed, "nothing moves but by asking");
    drop(daemon);
}
