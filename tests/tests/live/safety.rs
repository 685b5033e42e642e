//! Secrets, crashes, losses.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::reader::{Listed, RawBrick, compare, inspect};
use sfd_tests::wait_for;

use crate::{Bench, PATIENCE, PROMISE};

#[test]
fn secrets_never_appear_and_their_changes_do() {
    let bench = Bench::new();
    // Nothing here is a real secret; the markers are searched for in everything that SFD writes.
    let key = |body: &str| {
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            body.repeat(20)
        )
    };
    let (one, two) = ("b3BlbnNzaFNFQ1JFVG9uZQ", "b3BlbnNzaFNFQ1JFVHR3bw");
    let (hash_one, hash_two) = ("$6$saltsalt$SECRETHASHONE", "$6$saltsalt$SECRETHASHTWO");
    let key_file = bench.write("keys/deploy", key(one));
    let shadow = bench.write("shadow", format!("root:{hash_one}{}:19000:0:99999:7:::\n", "x".repeat(73)));
    let daemon = bench.live();
    bench.wait_equal("the secrets", PATIENCE);
    let region = |path: &Path| {
        let listed = inspect(&bench.brick()).unwrap();
        let each: &Listed = &listed[path];
        assert!(each.redacted, "{} is not redacted", path.display());
        RawBrick::open(&bench.brick()).unwrap().cells(each.start, each.len)
    };
    let before = (region(&key_file), region(&shadow));
    fs::write(&key_file, key(two)).unwrap();
    fs::write(&shadow, format!("root:{hash_two}{}:19000:0:99999:7:::\n", "x".repeat(73))).unwrap();
    // A copy under a harmless name, and a rename into one, hide nothing.
    fs::write(bench.path("notes.txt"), key(two)).unwrap();
    fs::rename(&shadow, bench.path("table")).unwrap();
    wait_for("changed regions", PROMISE, || {
        let listed = inspect(&bench.brick())?;
        for name in ["keys/deploy", "notes.txt", "table"] {
            ensure!(listed.get(&bench.path(name)).is_some_and(|each| each.redacted), "{name}");
        }
        ensure!(region(&key_file) != before.0 && region(&bench.path("table")) != before.1, "unchanged");
        compare(&bench.root, &bench.brick()).map(drop)
    });
    let inspected = sfd(&["inspect", "--json"]).arg(bench.brick()).output().unwrap().stdout;
    let history = sfd(&["log", "--json", "--state"]).arg(&bench.state).output().unwrap().stdout;
    let patches = sfd(&["log", "-p", "--state"]).arg(&bench.state).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&patches).contains("(no diff: "));
    let extracted = sfd(&["extract"]).arg(bench.brick()).arg(&key_file).output().unwrap();
    assert_eq!(extracted.status.code(), Some(1));
    assert!(daemon.log().len() > 10 && history.len() > 10);
    let log = daemon.log().into_bytes();
    daemon.terminate();
    let mut haystacks =
        vec![("inspect", inspected), ("sfd log", history), ("log", log), ("extract", extracted.stdout)];
    haystacks.push(("sfd log -p", patches));
    for file in fs::read_dir(bench.state.join("bricks")).unwrap() {
        haystacks.push(("state", fs::read(file.unwrap().path()).unwrap()));
    }
    // The R channel alone, as a reader of the picture sees it.
    let raw = RawBrick::open(&bench.brick()).unwrap();
    haystacks.push(("curve", raw.cells(0, 1 << (2 * raw.order))));
    for (place, bytes) in haystacks {
        for secret in [one, two, "SECRETHASH"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {place}");
        }
    }
}

#[test]
fn kill_9_in_a_baseline_and_in_a_burst_leaves_a_brick_that_heals() {
    let bench = Bench::new();
    for n in 0..3000 {
        bench.write(&format!("d{}/f{n}", n % 30), format!("{n}\n").repeat(n % 200));
    }
    // In a baseline: at different moments of it.
    for round in 0..6_u64 {
        let daemon = Daemon::spawn(&[&bench.root], &bench.state, &[]);
        daemon.wait_event("started");
        let started = Instant::now();
        wait_for("some of the baseline", PATIENCE, || {
            ensure!(started.elapsed() >= Duration::from_millis(round * 40), "not yet");
            Ok(())
        });
        daemon.kill();
        bench.write("d0/f0", format!("round {round}\n"));
    }
    let daemon = bench.live();
    bench.wait_equal("the brick after kills in the baseline", PATIENCE);
    // In a burst.
    let mut daemon = Some(daemon);
    for round in 0..6_u64 {
        for n in 0..400 {
            let path = bench.path(&format!("d{}/f{}", n % 30, n));
            match n % 4 {
                0 => fs::write(path, format!("burst {round} {n}\n").repeat(n)).unwrap(),
                1 => {
                    let _ = fs::remove_file(path);
                }
                2 => fs::rename(&path, bench.path(&format!("d{}/r{round}-{n}", n % 7))).unwrap_or(()),
                _ => fs::create_dir_all(bench.path(&format!("new{round}/{n}"))).unwrap(),
            }
            if n == 50 + 60 * usize::try_from(round).unwrap() {
                daemon.take().unwrap().kill();
            }
        }
        daemon = Some(bench.live());
        bench.wait_equal(&format!("the brick after kill {round} in a burst"), PATIENCE);
        let verified = sfd(&["verify"]).arg(bench.brick()).output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
}
