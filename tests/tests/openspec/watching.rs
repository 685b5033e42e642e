//! Tasks as they appear: `sfd tasks watch`, and `sfd run --openspec` with directories that tasks want watched.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};
use sfd_tests::daemon::sfd;
use sfd_tests::wait_for;

use crate::{Repo, TASKS, verify};

/// A task is seen at once; this is for a loaded machine.
const SOON: Duration = Duration::from_mins(1);

/// A process that is ended with the test.
struct Process(Child);

impl Process {
    fn start(repo: &Repo, args: &[&str]) -> Self {
        let log = fs::File::create(repo.root.with_file_name("process.log")).unwrap();
        Self(
            sfd(args)
                .arg(&repo.root)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn end(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        let status = wait_for("the end", Duration::from_secs(5), || {
            let status = self.0.try_wait()?;
            status.ok_or_else(|| anyhow::anyhow!("still running"))
        });
        status.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_file(repo: &Repo, path: &str) {
    wait_for(path, SOON, || {
        let log = fs::read_to_string(repo.root.with_file_name("process.log")).unwrap_or_default();
        ensure!(repo.has(path), "not there; {log}");
        Ok(())
    });
}

#[test]
fn what_appears_is_run_through_both_doors() {
    let repo = Repo::new();
    let process = Process::start(&repo, &["tasks", "watch", "--llm", "off", "--openspec"]);
    repo.task("first", r#"{"task_id":"1","type":"convert_directory","source":"src"}"#);
    wait_file(&repo, &format!("{TASKS}/first.task.json.done"));
    repo.task("bad", "{");
    repo.task("second", r#"{"task_id":"2","type":"convert_binary","source":"src/a.conf"}"#);
    wait_file(&repo, &format!("{TASKS}/second.task.json.done"));
    wait_file(&repo, &format!("{TASKS}/bad.task.json.failed"));
    repo.change("c", "jobs:\n  \"1.1\": {source: src}\n", "- [ ] 1.1 a\n");
    wait_for("the tick", SOON, || {
        ensure!(repo.read("openspec/changes/c/tasks.md") == "- [x] 1.1 a\n", "not yet");
        Ok(())
    });
    // Mended, it is run.
    repo.task("bad", r#"{"task_id":"b","type":"convert_binary","source":"src/a.conf"}"#);
    wait_file(&repo, &format!("{TASKS}/bad.task.json.done"));
    for brick in ["first", "second", "c-1.1", "bad"] {
        verify(&repo.path(&format!("bricks/{brick}.brick")));
    }
    assert_eq!(process.end(Signal::INT), Some(130));
    let process = Process::start(&repo, &["tasks", "watch", "--llm", "off", "--openspec"]);
    repo.task("third", r#"{"task_id":"3","type":"convert_binary","source":"src/a.conf"}"#);
    wait_file(&repo, &format!("{TASKS}/third.task.json.done"));
    assert_eq!(process.end(Signal::TERM), Some(0));
}

#[test]
fn the_daemon_watches_what_a_task_asks_for_and_goes_on_after_a_restart() {
    let repo = Repo::new();
    let state = repo.root.with_file_name("state");
    let other = repo.root.with_file_name("other");
    fs::create_dir(&other).unwrap();
    let args = [
        "run",
        "--json",
        "--llm",
        "off",
        "--source",
        "inotify",
        "--state",
        state.to_str().unwrap(),
        "--openspec",
    ];
    let process = Process::start(&repo, &args);
    repo.task("fold", r#"{"task_id":"1","type":"convert_directory","source":"src"}"#);
    wait_file(&repo, &format!("{TASKS}/fold.task.json.done"));
    repo.task("watch", r#"{"task_id":"2","type":"watch_path","source":"src"}"#);
    wait_file(&repo, &format!("{TASKS}/watch.task.json.done"));
    // A second one, and one that cannot be.
    let text = serde_json::json!({"task_id": "3", "type": "watch_path", "source": other}).to_string();
    repo.task("other", text);
    repo.task("gone", r#"{"task_id":"4","type":"watch_path","source":"nowhere"}"#);
    wait_file(&repo, &format!("{TASKS}/other.task.json.done"));
    wait_file(&repo, &format!("{TASKS}/gone.task.json.error.txt"));
    let change = |dir: &Path, name: &str| {
        fs::write(dir.join(name), "new\n").unwrap();
        wait_for(name, SOON, || {
            let output = sfd(&["log", "--json", "--state"]).arg(&state).output()?;
            ensure!(String::from_utf8_lossy(&output.stdout).contains(name), "not in the log");
            Ok(())
        });
    };
    change(&repo.path("src"), "seen-first");
    change(&other, "seen-too");
    assert_eq!(process.end(Signal::TERM), Some(0));
    let process = Process::start(&repo, &args);
    change(&repo.path("src"), "seen-after-the-restart");
    change(&other, "seen-there-too");
    assert_eq!(process.end(Signal::TERM), Some(0));
}

#[test]
fn a_killed_watcher_is_followed_by_one_that_finishes() {
    let repo = Repo::new();
    for round in 0..8 {
        for n in 0..5 {
            repo.task(
                &format!("r{round}-{n}"),
                r#"{"task_id":"r","type":"foundry-v2","source":"/etc","max_files":100}"#,
            );
        }
        let process = Process::start(&repo, &["tasks", "watch", "--jobs", "2", "--llm", "off", "--openspec"]);
        wait_file(&repo, &format!("{TASKS}/r{round}-0.task.json.done"));
        // In the middle of the others.
        process.signal(Signal::KILL);
    }
    let (code, _, err) = repo.run(&[]);
    assert_eq!(code, Some(0), "{err}");
    for name in fs::read_dir(repo.path("bricks")).unwrap().flatten().map(|entry| entry.file_name()) {
        assert!(!name.to_string_lossy().starts_with('.'), "{name:?} is left over");
    }
    assert_eq!(repo.json("bricks/manifest.json")["tasks"].as_object().unwrap().len(), 40);
    assert!(repo.states().iter().all(|(_, state)| state == "done"));
}
