//! What changes, as it changes.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use sfd_tests::wait_for;

use crate::{PATIENCE, PROMISE, Tree};

fn path_is(path: &str) -> impl Fn(&str, &Value) -> bool {
    move |name, data| name == "change" && data["path"] == path
}

#[test]
fn a_change_arrives_with_its_writer_within_a_second() {
    let map = Tree::filled().serve();
    let mut events = map.client.events();
    let path = map.path("app.conf");
    let started = Instant::now();
    let script = format!("echo 'port = 99' >> {path}");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    let event = events.wait(path_is(&path));
    let took = started.elapsed();
    println!("from the start of the shell to the event: {took:?}");
    assert!(took < PROMISE, "{took:?}");
    let writers = event["writers"].as_array().unwrap();
    assert!(writers.iter().any(|writer| writer["comm"] == "sh" && writer["uid"] == 0), "{event:#}");
    assert_eq!((&event["verb"], &event["brick"]), (&"modified".into(), &map.brick.as_str().into()));
    assert!(event["meaning"].as_array().is_some_and(|lines| !lines.is_empty()), "{event:#}");
    let [x, y, w, h] = map.rect_of("app.conf");
    assert_eq!(event["rects"][0], serde_json::json!({ "x": x, "y": y, "w": w, "h": h }));
    // Whoever hears of it finds it in the next answer.
    assert_eq!(map.about()["tree"], event["tree"]);
}

#[test]
fn what_appears_and_disappears_says_where() {
    let map = Tree::filled().serve();
    let mut events = map.client.events();
    let path = map.path("new.conf");
    std::fs::write(&path, "a = 1\n").unwrap();
    let event = events.wait(path_is(&path));
    assert_eq!(event["verb"], "created");
    let [x, y, w, h] = map.rect_of("new.conf");
    let here = serde_json::json!({ "x": x, "y": y, "w": w, "h": h });
    assert!(event["rects"].as_array().unwrap().contains(&here), "{event:#}");
    std::fs::remove_file(&path).unwrap();
    let event = events.wait(path_is(&path));
    assert_eq!(event["verb"], "deleted");
    assert!(event["rects"].as_array().unwrap().contains(&here), "{event:#}");
    assert_eq!(map.json(&format!("at?x={x}&y={y}"))["path"], Value::Null);
}

/// All changes told: one by one, and as a number; until nothing has come for a moment.
fn told(events: &mut crate::client::Events, until: u64) -> (u64, u64, usize) {
    let (mut alone, mut together, mut rects_max) = (0, 0, 0);
    while alone + together < until {
        let (name, data) = events.next().unwrap_or_else(|error| panic!("{alone} + {together}: {error:#}"));
        rects_max = rects_max.max(data["rects"].as_array().map_or(0, Vec::len));
        match name.as_str() {
            "change" => alone += 1,
            "burst" => together += data["count"].as_u64().unwrap(),
            _ => {}
        }
    }
    (alone, together, rects_max)
}

#[test]
fn many_changes_at_once_are_told_as_a_number() {
    let map = Tree::filled().serve();
    let mut events = map.client.events();
    let started = Instant::now();
    for n in 0..2000 {
        std::fs::write(map.path(&format!("many/{}/burst-{n}", n % 8)), format!("{n}\n")).unwrap();
    }
    // Each file and each directory may have several lines; the history has them all.
    let (alone, together, rects_max) = told(&mut events, 2000);
    let seconds = started.elapsed().as_secs_f64();
    println!("{alone} told one by one, {together} as a number, in {seconds:.1} s");
    assert!(together >= 1000, "{alone} + {together}");
    assert!(
        f64::from(u32::try_from(alone).unwrap()) <= 50.0 * (seconds + 1.0) + 1.0,
        "{alone} in {seconds} s"
    );
    assert!(rects_max <= 256, "{rects_max}");
    let status = map.daemon.glance().unwrap();
    assert!(status["map"]["events_coalesced"].as_u64() >= Some(together), "{:#}", status["map"]);
}

#[test]
fn the_state_of_a_brick_is_told_when_it_changes() {
    let map = Tree::new().serve();
    let mut events = map.client.events();
    let order = map.about()["order"].as_u64().unwrap();
    // Larger than everything there is.
    std::fs::write(map.path("large"), "x".repeat(60_000)).unwrap();
    let state =
        events.wait(|name, data| name == "state" && data["bricks"][0]["order"].as_u64() > Some(order));
    assert_eq!(state["bricks"][0]["name"], map.brick.as_str());
    assert_eq!(state["bricks"][0]["side"], map.about()["side"]);
}

#[test]
fn a_client_that_was_away_finds_what_differs() {
    let map = Tree::filled().serve();
    let z = map.about()["order"].as_u64().unwrap() - 8;
    let nodes = || -> (String, Vec<String>) {
        let nodes = map.json(&format!("nodes?z={z}"));
        let list = nodes["nodes"].as_array().unwrap().iter().map(|node| node.as_str().unwrap().to_owned());
        (nodes["tree"].as_str().unwrap().to_owned(), list.collect())
    };
    let tag = |n: usize| {
        let (x, y) = (n % (1 << z), n / (1 << z));
        map.ask(&format!("tile/{z}/{x}/{y}.png")).tag()
    };
    let (tree, before) = nodes();
    let tags: Vec<String> = (0..before.len()).map(tag).collect();
    // Nobody listens. More happens than any queue holds.
    for round in 0..3 {
        for n in 0..200 {
            let path = map.path(&format!("many/{}/file-{n}", n % 8));
            std::fs::write(path, format!("round {round} of {n}\n").repeat(50)).unwrap();
        }
    }
    let last = map.path("many/7/file-199");
    wait_for("the last change", PATIENCE, || {
        let content = map.ask(&format!("content?path={last}"));
        ensure!(content.status == 200, "{}", content.text());
        let artifact = map.json(&format!("artifact?path={last}"));
        ensure!(artifact["size"] == 50 * "round 2 of 199\n".len(), "{artifact:#}");
        Ok(())
    });
    let differing = wait_for("the same nodes and tags", PATIENCE, || {
        let (tree_now, after) = nodes();
        ensure!(tree_now != tree);
        let by_node: BTreeSet<usize> = (0..before.len()).filter(|n| before[*n] != after[*n]).collect();
        let by_tag: BTreeSet<usize> = (0..before.len()).filter(|n| tags[*n] != tag(*n)).collect();
        ensure!(by_node == by_tag, "{by_node:?} by nodes, {by_tag:?} by tags");
        Ok(by_node)
    });
    assert!(!differing.is_empty());
}

#[test]
fn a_client_that_does_not_read_loses_its_stream_and_nobody_else_does() {
    let map = Tree::new().serve();
    // Long names, so that there is much to be told.
    let name = |n: u32| format!("{}-{n}", "n".repeat(200));
    let deaf = map.client.events();
    let mut other = map.client.events();
    other.patience(Duration::from_mins(1));
    let stopped = std::sync::atomic::AtomicBool::new(false);
    let cut = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::write(map.path(&name(n % 300)), format!("{n}\n").repeat(20)).unwrap();
                n += 1;
                // A steady flow, as from a busy service.
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        scope.spawn(|| {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                other.next().expect("whoever reads keeps his stream");
            }
        });
        let cut = wait_for("the stream to be cut off", Duration::from_mins(2), || {
            let status = map.daemon.glance()?;
            let cut = status["map"]["streams_cut_off"].as_u64().context("no count")?;
            ensure!(cut > 0, "{:#}", status["map"]);
            Ok(cut)
        });
        stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        // So that the other one has something to hear, and ends.
        std::fs::write(map.path("last"), "x").unwrap();
        cut
    });
    assert_eq!(cut, 1, "only the one that does not read");
    drop(deaf);
}
