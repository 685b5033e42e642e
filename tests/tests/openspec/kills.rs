//! `kill -9` at every step that changes a file: after a restart each task is done once, and nothing is left over.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use sfd_tests::daemon::program;

use crate::{Repo, TASKS, ended, verify};

/// What changes files. `strace` counts the calls of each line together.
const CALLS: [&str; 4] =
    ["rename,renameat,renameat2", "unlink,unlinkat,rmdir", "mkdir,mkdirat", "fsync,fdatasync,msync"];
/// Every how manieth call is the last; `SFD_CALLS_STEP=1` tries each.
const STEP: usize = 3;

/// A task of each door: a file with a report (four outputs and the manifest), and a job that is ticked.
fn repo() -> Repo {
    let repo = Repo::new();
    repo.task("host", r#"{"task_id":"h","type":"analyze_system","source":"/"}"#);
    repo.change("c", "jobs:\n  \"1.1\": {source: src}\n", "- [ ] 1.1 a\n- [ ] 1.2 b\n");
    repo
}

/// Runs the tasks under strace, one at a time; with a fault, that is the end of the program.
fn traced(repo: &Repo, calls: &str, inject: Option<String>) -> (std::process::ExitStatus, usize) {
    let log = repo.root.with_file_name("strace.log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&log).arg("-e").arg(format!("trace={calls}"));
    if let Some(inject) = inject {
        strace.arg("-e").arg(format!("inject={inject}"));
    }
    let status = strace
        .arg(program())
        .args(["tasks", "run", "--quiet", "--jobs", "1", "--llm", "off", "--openspec"])
        .arg(&repo.root)
        .status()
        .unwrap();
    let text = fs::read_to_string(&log).unwrap_or_default();
    (status, text.lines().filter(|line| line.contains('(')).count())
}

#[test]
fn a_killed_run_goes_on_and_does_each_task_once() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "strace is missing: apt-get install strace"
        );
        println!("skipped: needs strace");
        return;
    }
    let step = std::env::var("SFD_CALLS_STEP").map_or(STEP, |step| step.parse().unwrap());
    let (mut killed, mut marked, mut again) = (0, 0, 0);
    for calls in CALLS {
        let (status, count) = traced(&repo(), calls, None);
        assert!(status.success() && count > 0, "{calls}: {status} {count}");
        for number in (1..=count).step_by(step) {
            let repo = repo();
            let (status, _) = traced(&repo, calls, Some(format!("{calls}:signal=SIGKILL:when={number}")));
            // `when` counts for each thread: some numbers are only reached by the sum of all.
            let was_killed = status.signal() == Some(9) || status.code() == Some(128 + 9);
            killed += usize::from(was_killed);
            let name = format!("{calls} number {number}");
            let (code, lines, err) = repo.run(&[]);
            assert_eq!(code, Some(0), "{name}: {err}");
            marked += lines.iter().filter(|line| line["state"] == "marked").count();
            again += lines.iter().filter(|line| line["state"] == "done").count();
            check(&repo, &name);
            // All is done now, and stays so.
            let (code, lines, _) = repo.run(&[]);
            assert_eq!((code, lines.len()), (Some(0), 1), "{name}: {lines:?}");
            assert_eq!(ended(&lines, "host", "done"), 0, "{name}");
        }
    }
    println!("{killed} kills; then {again} tasks were run, {marked} only marked");
    assert!(killed >= 15, "hardly anything was killed: {killed}");
    assert!(marked > 0, "no kill was between the work and its mark");
}

fn check(repo: &Repo, name: &str) {
    let names = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(repo.path(dir)).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        names("bricks"),
        of(&[
            "c-1.1.brick",
            "c-1.1.rts.png",
            "host.brick",
            "host.report.json",
            "host.report.md",
            "host.rts.png",
            "manifest.json"
        ]),
        "{name}"
    );
    assert_eq!(names(TASKS), of(&["host.task.json.done", "host.task.json.result.json"]), "{name}");
    assert_eq!(
        names("openspec/changes/c"),
        of(&[".openspec.yaml", "foundry", "foundry.yaml", "tasks.md"]),
        "{name}"
    );
    assert_eq!(names("openspec/changes/c/foundry"), of(&["1.1.result.json"]), "{name}");
    assert_eq!(repo.read("openspec/changes/c/tasks.md"), "- [x] 1.1 a\n- [ ] 1.2 b\n", "{name}");
    for brick in ["host", "c-1.1"] {
        verify(&repo.path(&format!("bricks/{brick}.brick")));
    }
    let manifest = repo.json("bricks/manifest.json");
    assert_eq!(manifest["tasks"].as_object().unwrap().len(), 2, "{name}");
}
