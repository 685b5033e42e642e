//! Much at once: the map stays small, and the worker does not notice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::Value;
use sfd_tests::reader::compare;
use sfd_tests::wait_for;

use crate::{Map, PATIENCE, PROMISE, Tree};

/// Files that are changed one after the other.
const FILES: u32 = 1000;

fn change(map: &Map, n: u32) {
    let path = map.path(&format!("load/{}/file-{}", n % 10, n % FILES));
    std::fs::write(path, format!("change {n}\n").repeat(10)).unwrap();
}

fn loaded() -> Map {
    let tree = Tree::filled();
    for n in 0..FILES {
        tree.write(&format!("load/{}/file-{n}", n % 10), "before\n");
    }
    tree.serve()
}

fn rss(status: &Value) -> u64 {
    status["rss_bytes"].as_u64().unwrap()
}

/// Asks for tiles of every mode as fast as it can, and counts the answers by what they were.
fn hammer(map: &Map, stopped: &AtomicBool, answered: &AtomicU64) {
    let mut n = 0_u64;
    while !stopped.load(Ordering::Relaxed) {
        let mode = ["kind", "content", "entropy", "risk", "age"][(n % 5) as usize];
        // Never the same twice: no cache helps.
        let answer = map.ask(&format!("tile/0/0/0.png?mode={mode}&since_ns={n}"));
        assert!(matches!(answer.status, 200 | 503), "{}: {}", answer.status, answer.text());
        answered.fetch_add(1, Ordering::Relaxed);
        n += 1;
    }
}

#[test]
fn a_thousand_changes_a_second_leave_memory_bounded() {
    let map = loaded();
    let mut events = map.client.events();
    events.patience(Duration::from_mins(1));
    let side = map.about()["side"].as_u64().unwrap();
    // Everything that is kept for the map is there before the measurement begins.
    for mode in ["kind", "content", "entropy", "risk", "age"] {
        map.ask(&format!("tile/0/0/0.png?mode={mode}"));
    }
    map.json(&format!("labels?x=0&y=0&w={side}&h={side}&min=8"));
    let before = map.daemon.glance().unwrap();
    let (stopped, looked) = (AtomicBool::new(false), AtomicU64::new(0));
    let seconds = 10;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u32;
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(seconds) {
                change(&map, n);
                n += 1;
                // A thousand a second; whoever is behind catches up.
                let due = Duration::from_millis(u64::from(n));
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
            println!("{n} changes in {:.1} s", started.elapsed().as_secs_f64());
            stopped.store(true, Ordering::Relaxed);
        });
        // A browser: it listens, and asks for what it sees.
        scope.spawn(|| {
            while !stopped.load(Ordering::Relaxed) {
                map.ask("tile/0/0/0.png");
                map.ask(&format!("labels?x=0&y=0&w={side}&h={side}&min=8"));
                looked.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            // It waits for the next one; only its end is of interest.
            while !stopped.load(Ordering::Relaxed) {
                if events.next().is_err() {
                    break;
                }
            }
        });
        // So that the last one wakes up.
        while !stopped.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::write(map.path("app.conf"), "end\n").unwrap();
    });
    let after = map.daemon.glance().unwrap();
    let grown = rss(&after).saturating_sub(rss(&before));
    println!(
        "resident before {} KiB, grown by {} KiB; {} looks; {:#}",
        rss(&before) >> 10,
        grown >> 10,
        looked.load(Ordering::Relaxed),
        after["map"]
    );
    assert!(grown < 64 << 20, "grown by {grown} bytes");
    assert!(after["map"]["cache_bytes"].as_u64() <= Some(32 << 20));
    assert_eq!(after["map"]["streams_cut_off"], 0, "whoever reads keeps his stream");
    wait_for("the brick to be true", PATIENCE, || compare(&map.root, &map.brick_file()).map(drop));
    // And the map shows that brick.
    wait_for("the map to be true", PATIENCE, || {
        let inspected = sfd_tests::daemon::sfd(&["inspect", "--json"]).arg(map.brick_file()).output()?;
        let inspected: Value = serde_json::from_slice(&inspected.stdout)?;
        ensure!(map.about()["tree"] == inspected["hash"]);
        Ok(())
    });
}

#[test]
fn the_worker_does_not_wait_for_a_client_that_hammers() {
    let map = loaded();
    // One change at a time, each as long as it takes to be in the brick.
    let measure = |what: &str| -> Duration {
        let mut times: Vec<Duration> = (0..40)
            .map(|n| {
                let path = map.path(&format!("load/{}/file-{n}", n % 10));
                let contents = format!("{what} {n}\n");
                let started = Instant::now();
                std::fs::write(&path, &contents).unwrap();
                wait_for("the change in the brick", PROMISE, || {
                    let output = std::fs::read(map.brick_file())?;
                    ensure!(contains(&output, contents.as_bytes(), &map, &path));
                    Ok(())
                });
                started.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!("{what}: median {:?}, slowest {:?}", times[20], times[39]);
        times[20]
    };
    // The place of each file, so that looking for the change costs nothing but reading the file.
    let quiet = measure("quiet");
    let (stopped, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let hammered = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| hammer(&map, &stopped, &answered));
        }
        wait_for("the hammering to begin", PATIENCE, || {
            ensure!(answered.load(Ordering::Relaxed) > 50);
            Ok(())
        });
        let hammered = measure("hammered");
        stopped.store(true, Ordering::Relaxed);
        hammered
    });
    println!("{} answers meanwhile", answered.load(Ordering::Relaxed));
    // Each one was within the promise. Beside it: eight clients that never rest may cost it a batch window and a half, on
    // a machine that they and the test fill as well.
    assert!(hammered < quiet + Duration::from_millis(75), "{quiet:?} without, {hammered:?} with");
}

/// Whether the cells of a file hold these contents.
fn contains(brick: &[u8], contents: &[u8], map: &Map, path: &str) -> bool {
    thread_local! {
        static PLACES: std::cell::RefCell<std::collections::HashMap<String, u64>> = std::cell::RefCell::default();
    }
    let order = u32::from_le_bytes(brick[16..20].try_into().unwrap());
    let start = PLACES.with_borrow_mut(|places| {
        *places.entry(path.to_owned()).or_insert_with(|| {
            let output =
                sfd_tests::daemon::sfd(&["inspect", "--json"]).arg(map.brick_file()).output().unwrap();
            let inspected: Value = serde_json::from_slice(&output.stdout).unwrap();
            let all = inspected["artifacts"].as_array().unwrap();
            all.iter().find(|artifact| artifact["path"] == path).unwrap()["start"].as_u64().unwrap()
        })
    });
    (start..).zip(contents).all(|(cell, byte)| {
        let (x, y) = sfd_tests::reader::d2xy(order, cell);
        let at = 132 + usize::try_from((y << order | x) * 4).unwrap();
        brick[at] == *byte
    })
}
