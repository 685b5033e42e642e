//! `sfd log -p`: what changed in a text file, from what is kept of its contents.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sfd_tests::daemon::sfd;
use sfd_tests::wait_for;

use crate::{Bench, PATIENCE, PROMISE};

fn log(bench: &Bench, path: &Path, more: &[&str]) -> Result<String> {
    let output = sfd(&["log", "-p", "--state"]).arg(&bench.state).args(more).arg(path).output()?;
    ensure!(output.status.success(), "sfd log: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until the log of a path says something.
fn wait_log(bench: &Bench, path: &Path, part: &str) -> String {
    wait_for(part, PROMISE, || {
        let text = log(bench, path, &[])?;
        ensure!(text.contains(part), "{text}");
        Ok(text)
    })
}

#[test]
fn the_log_shows_what_changed() {
    let bench = Bench::new();
    let file = bench.write("app.conf", "colour = blue\nsize = 3\n");
    let mut daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    fs::write(&file, "colour = red\nsize = 3\n").unwrap();
    wait_log(&bench, &file, "@@ -1,2 +1,2 @@\n-colour = blue\n+colour = red\n size = 3\n");
    // As editors do it: a new file takes the name.
    let aside = bench.write("app.conf.new", "colour = red\nsize = 4\n");
    fs::rename(&aside, &file).unwrap();
    wait_log(&bench, &file, " colour = red\n-size = 3\n+size = 4\n");
    // What a kill leaves is what was committed, and a link's target is contents too.
    daemon.kill();
    daemon = bench.live();
    let link = bench.path("link");
    std::os::unix::fs::symlink("app.conf", &link).unwrap();
    wait_log(&bench, &link, "--- /dev/null\n");
    fs::remove_file(&file).unwrap();
    let text = wait_log(&bench, &file, "+++ /dev/null\n@@ -1,2 +0,0 @@\n-colour = red\n-size = 4\n");
    assert!(text.contains("-colour = blue\n+colour = red\n"), "{text}");
    let lines: Vec<Value> = log(&bench, &file, &["--json"])
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = lines.iter().find(|line| line["verb"] == "modified").unwrap();
    let path = file.display();
    let wanted =
        format!("--- {path}\n+++ {path}\n@@ -1,2 +1,2 @@\n-colour = blue\n+colour = red\n size = 3\n");
    assert_eq!((&first["diff"], &first["diff_missing"]), (&Value::from(wanted), &Value::Null));
    // Not asked for, not shown.
    let output = sfd(&["log", "--state"]).arg(&bench.state).arg(&file).output().unwrap().stdout;
    assert!(!String::from_utf8(output).unwrap().contains("@@"));
    let kept = daemon.status().unwrap()["roots"][0]["versions"].clone();
    assert!(kept["kept"].as_u64().unwrap() >= 3 && kept["bytes"].as_u64().unwrap() > 0, "{kept}");
}

#[test]
fn a_hostile_text_cannot_drive_the_terminal_and_a_secret_is_not_shown() {
    let bench = Bench::new();
    let filler = "nothing to see here\n".repeat(20);
    let file = bench.write("notes", &filler);
    let _daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    let hostile = "\u{1b}[2J\u{1b}]0;owned\u{7}\tif (\u{202e}admin) \u{9b}31m\r\n";
    fs::write(&file, format!("{filler}{hostile}")).unwrap();
    let text = wait_log(&bench, &file, "owned");
    let added = "+\\u{1b}[2J\\u{1b}]0;owned\\u{7}\tif (\\u{202e}admin) \\u{9b}31m\\r\n";
    assert!(text.contains(added), "{text:?}");
    let is_safe = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    assert!(text.chars().all(is_safe), "{text:?}");
    // Binary, and secret: said, not shown; and what was kept of the secret's past is not shown any more.
    let other = bench.write("other", "text\n");
    wait_log(&bench, &other, "+text\n");
    fs::write(&other, b"\0\x01\x02").unwrap();
    wait_log(&bench, &other, "(no diff: the contents after are not kept: not text)");
    fs::write(&file, "ghp_abcdefghijklmnopqrstuvwxyz0123456789\n").unwrap();
    wait_log(&bench, &file, "now redacted");
    let text = log(&bench, &file, &[]).unwrap();
    assert!(text.contains("(no diff: ") && !text.contains("owned") && !text.contains("ghp_"), "{text}");
}

#[test]
fn following_shows_patches_too() {
    let bench = Bench::new();
    let file = bench.write("app.conf", "a = 1\n");
    let _daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    let mut follow = sfd(&["log", "-p", "-f", "--json", "--state"])
        .arg(&bench.state)
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let stdout = follow.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let mut n = 1;
    // The follower may not have begun yet: it is changed until it has seen a change.
    let line: Value = wait_for("a patch", PATIENCE, || {
        n += 1;
        fs::write(&file, format!("a = {n}\n"))?;
        let line = told.recv_timeout(PROMISE).context("no line yet")?;
        Ok(serde_json::from_str(&line)?)
    });
    follow.kill().unwrap();
    follow.wait().unwrap();
    let diff = line["diff"].as_str().unwrap_or_else(|| panic!("{line:#}"));
    assert!(diff.contains("\n-a = ") && diff.contains("\n+a = "), "{diff}");
}
