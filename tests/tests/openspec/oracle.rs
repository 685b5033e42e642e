//! OpenSpec's own program says whether its files are right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use sfd_tests::daemon::program;

use crate::{Repo, ended, snapshot, verify};

/// The package, at the version that everything was checked with.
const PACKAGE: &str = "@fission-ai/openspec@1.13.2";

/// The program, installed below `target/` once. `None`: there is no npm, and this is not CI.
fn openspec() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PROGRAM.get_or_init(|| {
        let cache = program().parent().unwrap().join("../openspec-1.13.2");
        let found = cache.join("node_modules/.bin/openspec");
        if found.exists() {
            return Some(found);
        }
        if Command::new("npm").arg("--version").output().is_err() {
            let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!ci, "npm is missing: apt-get install nodejs npm (Node 20.19 or newer)");
            println!("skipped: needs npm (apt-get install nodejs npm; Node 20.19 or newer)");
            return None;
        }
        fs::create_dir_all(&cache).unwrap();
        let installed = Command::new("npm")
            .args(["install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", PACKAGE])
            .current_dir(&cache)
            .output()
            .unwrap();
        assert!(installed.status.success(), "npm: {}", String::from_utf8_lossy(&installed.stderr));
        Some(found)
    });
    found.as_deref()
}

/// Runs it in a repository; its output on success.
fn call(repo: &Path, args: &[&str]) -> String {
    let output = Command::new(openspec().unwrap())
        .args(args)
        .current_dir(repo)
        .env("OPENSPEC_TELEMETRY", "0")
        .env("DO_NOT_TRACK", "1")
        .env("CI", "true")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "openspec {args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// `instructions apply --json`: its state, and how many of how many tasks are done.
fn apply(repo: &Path, change: &str) -> (String, u64, u64) {
    let text = call(repo, &["instructions", "apply", "--change", change, "--json"]);
    let start = text.find('{').unwrap();
    let value: Value = serde_json::from_str(&text[start..]).unwrap();
    let count = |key: &str| value["progress"][key].as_u64().unwrap();
    (value["state"].as_str().unwrap().to_owned(), count("complete"), count("total"))
}

#[test]
fn a_change_goes_from_proposal_to_archive() {
    if openspec().is_none() {
        return;
    }
    let repo = Repo::new();
    let root = repo.root.as_path();
    call(root, &["schema", "validate", "foundry-v2"]);
    call(root, &["new", "change", "pictures", "--schema", "foundry-v2"]);
    assert!(call(root, &["instructions", "foundry", "--change", "pictures"]).contains("scan_kernel_modules"));
    let foundry = "jobs:\n  \"1.1\":\n    source: src\n  \"1.2\":\n    type: convert_binary\n    source: src/a.conf\n  \"2.1\":\n    type: analyze_system\n    source: /\n";
    let tasks = "## 1. A\n\n- [ ] 1.1 Fold\n- [ ] 1.2 Fold one\n\n## 2. B\n\n- [ ] 2.1 Describe\n";
    fs::write(repo.path("openspec/changes/pictures/foundry.yaml"), foundry).unwrap();
    assert_eq!(apply(root, "pictures").0, "blocked");
    // Nothing runs before there is a list to tick, and nothing is called an error.
    let (code, lines, _) = repo.run(&[]);
    assert_eq!((code, &lines[0]["not_ready"]), (Some(0), &Value::from(3)));
    fs::write(repo.path("openspec/changes/pictures/tasks.md"), tasks).unwrap();
    call(root, &["validate", "pictures", "--strict"]);
    assert!(call(root, &["list"]).contains("pictures"));
    assert_eq!(apply(root, "pictures"), ("ready".into(), 0, 3));
    let mut done = 0;
    for number in ["1.2", "1.1", "2.1"] {
        let (code, lines, err) = repo.run(&[&format!("pictures-{number}")]);
        assert_eq!((code, ended(&lines, &format!("pictures-{number}"), "done")), (Some(0), 1), "{err}");
        done += 1;
        let (state, complete, total) = apply(root, "pictures");
        assert_eq!((complete, total), (done, 3));
        assert_eq!(state == "all_done", done == 3, "{state}");
        verify(&repo.path(&format!("bricks/pictures-{number}.brick")));
    }
    assert_eq!(repo.read("openspec/changes/pictures/tasks.md"), tasks.replace("[ ]", "[x]"));
    call(root, &["validate", "pictures", "--strict"]);
    call(root, &["archive", "pictures", "-y"]);
    assert!(!repo.has("openspec/changes/pictures"));
    let archived = fs::read_dir(repo.path("openspec/changes/archive")).unwrap().flatten().next().unwrap();
    assert!(archived.file_name().to_string_lossy().ends_with("-pictures"));
    // What was archived is history.
    assert_eq!(repo.states(), []);
}

#[test]
fn the_worked_example_works() {
    if openspec().is_none() {
        return;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/openspec");
    let repo = Repo::new();
    let copied = Command::new("cp").arg("-r").arg(example.join(".")).arg(&repo.root).status().unwrap();
    assert!(copied.success());
    let change = "picture-of-the-service";
    call(&repo.root, &["validate", change, "--strict"]);
    assert_eq!(apply(&repo.root, change), ("ready".into(), 0, 3));
    let (code, _, err) = repo.run(&[]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(apply(&repo.root, change), ("all_done".into(), 3, 3));
    for brick in [
        "bricks/picture-of-the-service-1.1.brick",
        "bricks/picture-of-the-service-1.2.brick",
        "bricks/host/picture-of-the-service-2.1.brick",
    ] {
        verify(&repo.path(brick));
    }
    call(&repo.root, &["archive", change, "-y"]);
    assert!(!repo.has(&format!("openspec/changes/{change}")));
}

#[test]
fn an_odd_list_differs_in_the_ticked_characters_alone() {
    if openspec().is_none() {
        return;
    }
    let repo = Repo::new();
    let foundry: String = ["1.1", "1.2", "1.10", "2.1", "3", "4.1"]
        .iter()
        .map(|number| format!("  \"{number}\": {{source: src/a.conf}}\n"))
        .collect();
    let tasks = "\u{feff}# T\u{e2}ches \u{1f9f1}\r\n\r\n- [ ] 1.1 \u{dc}ber `code` \u{2014} a | b\r\n  * [ ] 1.2 nested\r\n\t+ [ ] 1.10 deeper\r\n\r\n```sh\r\n1. [ ] 2.1 in a fence\r\n```\r\n2) [~] **3** begun\r\n- [x] 5.1 by hand\r\n- [ ] no number\r\n> - [ ] quoted\r\n-   [ ]   4.1   last, without a line end";
    repo.change("odd", &format!("jobs:\n{foundry}"), tasks);
    let (_, before, total) = apply(&repo.root, "odd");
    assert_eq!(before, 1);
    let (code, lines, err) = repo.run(&[]);
    assert_eq!(code, Some(0), "{err} {lines:?}");
    let after = repo.read("openspec/changes/odd/tasks.md");
    let mut expected = tasks.to_owned();
    for (old, new) in [
        ("[ ] 1.1 ", "[x] 1.1 "),
        ("[ ] 1.2", "[x] 1.2"),
        ("[ ] 1.10", "[x] 1.10"),
        ("[ ] 2.1", "[x] 2.1"),
        ("[~]", "[x]"),
        ("[ ]   4.1", "[x]   4.1"),
    ] {
        assert!(expected.contains(old), "{old}");
        expected = expected.replace(old, new);
    }
    assert_eq!(after, expected);
    let changed = tasks.bytes().zip(after.bytes()).filter(|(old, new)| old != new).count();
    assert_eq!((changed, tasks.len()), (6, after.len()));
    // OpenSpec counts as we do.
    assert_eq!(apply(&repo.root, "odd"), ("ready".into(), before + 6, total));
}

#[test]
fn init_keeps_what_is_there_and_can_be_run_again() {
    let repo = Repo::new();
    fs::write(repo.path("openspec/config.yaml"), "schema: spec-driven\n# mine\n").unwrap();
    let before = snapshot(&repo.path("openspec"));
    let output =
        sfd_tests::daemon::sfd(&["tasks", "init", "--json", "--openspec"]).arg(&repo.root).output().unwrap();
    assert!(output.status.success());
    assert_eq!(snapshot(&repo.path("openspec")), before);
}

#[test]
fn a_wrong_foundry_yaml_names_its_line_and_the_nearest_key() {
    let repo = Repo::new();
    repo.change("bad", "jobs:\n  \"1.1\":\n    source: src\n    destinaton: x\n", "- [ ] 1.1 a\n");
    repo.change("good", "jobs:\n  \"1.1\":\n    source: src\n", "- [ ] 1.1 a\n");
    let (code, lines, err) = repo.run(&[]);
    assert_eq!((code, ended(&lines, "good-1.1", "done")), (Some(1), 1), "{err}");
    let error = repo.read("openspec/changes/bad/foundry/foundry.error.txt");
    assert!(error.contains("foundry.yaml:4:") && error.contains("did you mean `destination`?"), "{error}");
    assert_eq!(repo.read("openspec/changes/bad/tasks.md"), "- [ ] 1.1 a\n");
    // An old tick that an editor has taken away is set again, and the work is not done again.
    fs::write(repo.path("openspec/changes/good/tasks.md"), "- [ ] 1.1 a\n").unwrap();
    let (_, lines, _) = repo.run(&[]);
    assert_eq!((ended(&lines, "good-1.1", "done"), ended(&lines, "good-1.1", "marked")), (0, 1));
    assert_eq!(repo.read("openspec/changes/good/tasks.md"), "- [x] 1.1 a\n");
}
