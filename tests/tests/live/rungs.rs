//! The lower rungs: they converge too, within their own bounds, and say what is lost on them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use sfd_tests::daemon::{Daemon, sfd};

use crate::{Bench, PROMISE, RESCAN};

/// Changes of names and contents, and the end of a daemon on this rung.
fn converges(source: &str, bound: std::time::Duration, lost: &str) {
    let bench = Bench::new();
    for n in 0..200 {
        bench.write(&format!("d{}/f{n}", n % 10), format!("{n}\n"));
    }
    let daemon = Daemon::live(&[&bench.root], &bench.state, &["--source", source]);
    let status = daemon.status().unwrap();
    assert_eq!(status["rung"], source);
    assert!(status["lost_here"].as_str().unwrap().contains(lost), "{status}");
    let why = status["why"].to_string();
    assert!(why.contains("--source auto"), "the setting that raises it: {why}");
    let text = sfd(&["status", "--state"]).arg(&bench.state).output().unwrap().stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains(&format!("changes through {source}")), "{text}");
    assert!(text.contains("not seen this way: ") && text.contains("--source auto"), "{text}");

    for round in 0..3 {
        for n in 0..200 {
            let file = bench.path(&format!("d{}/f{n}", n % 10));
            match (n + round) % 4 {
                0 => drop(bench.write(&format!("d{}/f{n}", n % 10), format!("round {round}\n"))),
                1 => drop(fs::remove_file(&file)),
                2 => drop(fs::rename(&file, bench.path(&format!("d0/r{round}-{n}")))),
                _ => drop(bench.write(&format!("new{round}/a/b{}/{n}", n % 5), "new\n")),
            }
        }
        let started = std::time::Instant::now();
        bench.wait_equal(&format!("round {round} through {source}"), bound);
        eprintln!("round {round} through {source}: true after {:?}, bound {bound:?}", started.elapsed());
    }
    fs::remove_dir_all(bench.path("new0")).unwrap();
    bench.wait_equal(&format!("a removed tree through {source}"), bound);
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn inotify_keeps_the_promise_for_names_and_closed_files() {
    converges("inotify", PROMISE, "who made a change");
}

#[test]
fn scans_alone_find_every_change_within_the_bound_of_a_rescan() {
    converges("scan", RESCAN, "who made a change");
}

#[test]
fn doctor_without_privileges_names_the_rung_and_the_way_up() {
    let bench = Bench::new();
    let base = bench.root.parent().unwrap();
    fs::set_permissions(base, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = base.join("sfd");
    fs::copy(sfd_tests::daemon::program(), &program).unwrap();
    let doctor = |more: &[&str]| {
        let mut command = Command::new(&program);
        command.uid(65_534).gid(65_534).arg("doctor").args(more).arg("--state").arg(&bench.state);
        command.output().unwrap()
    };
    let output = doctor(&[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "changes are seen through inotify",
        "not seen this way: who made a change",
        "why not better: ",
        "sudo",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let report: serde_json::Value = serde_json::from_slice(&doctor(&["--json"]).stdout).unwrap();
    assert_eq!((&report["rung"], &report["bpf"]), (&"inotify".into(), &false.into()));
    assert!(report["lost_here"].as_str().is_some_and(|lost| !lost.is_empty()));
}
