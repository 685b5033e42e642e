//! FoundryTask files: each type, what is kept, what is written, and what happens to a bad one.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sfd_tests::daemon::sfd;
use sfd_tests::wait_for;

use crate::{Repo, TASKS, ended, verify};

fn inspect(repo: &Repo, brick: &str) -> Value {
    let output = sfd(&["inspect", "--json"]).arg(repo.path(brick)).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_type_does_what_the_table_says() {
    let repo = Repo::new();
    let big: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
    fs::write(repo.path("src/z.bin"), big).unwrap();
    let tasks = [
        ("elf", json!({"task_id": "1", "type": "convert_binary", "source": "/bin/true"})),
        ("dir", json!({"task_id": "2", "type": "convert_directory", "source": "src", "max_files": 2})),
        (
            "small",
            json!({"task_id": "3", "type": "convert_binary", "source": "src/z.bin", "texture_size": 64}),
        ),
        ("host", json!({"task_id": "4", "type": "analyze_system", "source": "/"})),
        (
            "parts",
            json!({"task_id": "5", "type": "crystallize_system", "source": "/", "paths": ["src", "src/sub"]}),
        ),
        (
            "glob",
            json!({"task_id": "6", "type": "foundry-v2", "source": "src/**/*.txt", "destination": "out/deep"}),
        ),
        ("proc", json!({"task_id": "7", "type": "foundry-v2", "source": "proc:meminfo"})),
        ("sys", json!({"task_id": "8", "type": "foundry-v2", "source": "sys:class/net/lo"})),
    ];
    for (name, task) in &tasks {
        repo.task(name, task.to_string());
    }
    let (code, lines, err) = repo.run(&[]);
    assert_eq!(code, Some(0), "{err}");
    for (name, _) in &tasks {
        assert_eq!(ended(&lines, name, "done"), 1, "{name}: {lines:?}");
        let result = repo.json(&format!("{TASKS}/{name}.task.json.result.json"));
        assert!(!result["outputs"].as_array().unwrap().is_empty(), "{name}");
        for output in result["outputs"].as_array().unwrap() {
            let bytes = fs::read(repo.path(output["path"].as_str().unwrap())).unwrap();
            assert_eq!(output["blake3"].as_str().unwrap(), blake3::hash(&bytes).to_hex().as_str());
            assert_eq!(output["bytes"].as_u64().unwrap(), bytes.len() as u64);
        }
        for brick in result["bricks"].as_array().unwrap() {
            verify(&repo.path(brick["path"].as_str().unwrap()));
        }
    }
    // A region for each section.
    let elf = &inspect(&repo, "bricks/elf.brick")["artifacts"][0];
    let regions: Vec<&str> =
        elf["regions"].as_array().unwrap().iter().filter_map(|region| region["name"].as_str()).collect();
    assert!(regions.contains(&".text") && regions.contains(&".rodata"), "{regions:?}");
    assert!(repo.has("bricks/elf.rts.png"));
    // Two files of three, the first by path.
    let dir = inspect(&repo, "bricks/dir.brick");
    let files = dir["artifacts"].as_array().unwrap().iter().filter(|a| a["type"] == "file").count();
    assert_eq!(files, 2);
    assert_eq!(repo.json(&format!("{TASKS}/dir.task.json.result.json"))["bricks"][0]["left_out"], 1);
    // A block of 64x64 cells has no room for 20 000 bytes.
    let small = &inspect(&repo, "bricks/small.brick")["artifacts"][0];
    assert_eq!((&small["exact"], &small["cells"]), (&json!(false), &json!(4096)));
    let report = repo.json("bricks/host.report.json");
    assert!(report["kernel"]["release"].is_string() && report["memory"]["total"].as_u64().unwrap() > 0);
    assert!(repo.read("bricks/host.report.md").contains("## Listening sockets"));
    assert_eq!(repo.json("bricks/parts.manifest.json")["bricks"].as_array().unwrap().len(), 2);
    let globbed = inspect(&repo, "out/deep/glob.brick");
    assert_eq!(globbed["artifacts"].as_array().unwrap().len(), 1);
    let manifest = repo.json("bricks/manifest.json");
    assert_eq!(manifest["tasks"]["proc"]["bricks"][0]["path"], "bricks/proc.brick");
    assert!(inspect(&repo, "bricks/sys.brick")["artifacts"].as_array().unwrap().len() > 3);
}

#[test]
fn the_json_is_kept_byte_for_byte_and_old_done_files_are_known() {
    let repo = Repo::new();
    let text = "\u{feff}{ \"task_id\" : \"x\",\r\n\t\"type\":\"convert_binary\", \"source\":\"src/a.conf\", \"priority\": 7 ,\"x\":{\"y\":[1.50]} }\r\n";
    repo.task("kept", text);
    fs::write(repo.path(&format!("{TASKS}/old.task.task.json.done")), "{}").unwrap();
    let (code, _, err) = repo.run(&[]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(repo.read(&format!("{TASKS}/kept.task.json.done")), text);
    assert!(!repo.has(&format!("{TASKS}/kept.task.json")));
    let done = |name: &str| (name.to_owned(), "done".to_owned());
    assert_eq!(repo.states(), [done("kept"), done("old")]);
    // The same file again is a new task.
    repo.task("kept", text);
    assert_eq!(ended(&repo.run(&[]).1, "kept", "done"), 1);
}

#[test]
fn a_bad_task_says_why_and_stops_no_other() {
    let repo = Repo::new();
    let good = r#"{"task_id":"g","type":"convert_binary","source":"src/a.conf"}"#;
    let bad = [
        ("a-json", r#"{"task_id": "a", "type""#, "line 1 column"),
        (
            "b-type",
            r#"{"task_id":"b","type":"convert_binry","source":"src"}"#,
            "did you mean `convert_binary`?",
        ),
        ("c-key", r#"{"task_id":"c","type":"foundry-v2","sorce":"src"}"#, "was `sorce` meant to be it?"),
        ("d-gone", r#"{"task_id":"d","type":"foundry-v2","source":"nowhere"}"#, "No such file"),
        ("e-dest", r#"{"task_id":"e","type":"foundry-v2","source":"src","destination":"../x"}"#, "`..`"),
        ("f-dir", r#"{"task_id":"f","type":"convert_binary","source":"src"}"#, "is not one file"),
        ("g-size", r#"{"task_id":"g","type":"foundry-v2","source":"src","texture_size":4}"#, "at least 8"),
    ];
    repo.task("0-good", good);
    repo.task("z-good", good);
    for (name, text, _) in bad {
        repo.task(name, text);
    }
    let (code, lines, err) = repo.run(&["--jobs", "1"]);
    assert_eq!(code, Some(1), "{err}");
    assert_eq!((ended(&lines, "0-good", "done"), ended(&lines, "z-good", "done")), (1, 1));
    for (name, text, why) in bad {
        let file = format!("{TASKS}/{name}.task.json");
        assert_eq!(repo.read(&file), text, "{name}: the JSON has changed");
        let error = repo.read(&format!("{file}.error.txt"));
        assert!(error.contains(why) && error.contains(&file), "{name}: {error}");
        assert!(err.contains(why), "{name}: nothing in the log: {err}");
        assert!(repo.has(&format!("{file}.failed")), "{name}");
        let result = repo.json(&format!("{file}.result.json"));
        assert_eq!(result["state"], "failed");
        assert!(!repo.has(&format!("bricks/{name}.brick")), "{name}");
    }
    // They are not tried again ...
    let (code, lines, _) = repo.run(&[]);
    assert_eq!((code, lines.len()), (Some(0), 1), "{lines:?}");
    // ... before they change, or somebody asks.
    repo.task("d-gone", good);
    assert_eq!(ended(&repo.run(&[]).1, "d-gone", "done"), 1);
    for end in ["failed", "error.txt"] {
        assert!(!repo.has(&format!("{TASKS}/d-gone.task.json.{end}")), "{end} is left");
    }
    let (code, lines, _) = repo.run(&["--retry", "e-dest"]);
    assert_eq!((code, ended(&lines, "e-dest", "failed")), (Some(1), 1));
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/foundry-task.schema.json");
    let published = fs::read_to_string(path).unwrap_or_default();
    let of_types = format!("{:#}\n", sfd::tasks::json_schema());
    if std::env::var_os("SFD_UPDATE").is_some() {
        fs::write(path, &of_types).unwrap();
        return;
    }
    assert_eq!(
        published, of_types,
        "write it anew with: SFD_UPDATE=1 cargo test -p sfd-tests --test openspec schema"
    );
}

#[test]
fn two_programs_at_once_do_each_task_once() {
    let repo = Repo::new();
    const COUNT: usize = 24;
    for n in 0..COUNT {
        repo.task(&format!("t{n}"), r#"{"task_id":"t","type":"convert_directory","source":"src"}"#);
    }
    let start = || {
        sfd(&["tasks", "run", "--json", "--llm", "off", "--openspec"])
            .arg(&repo.root)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [start(), start(), start()].map(|child| child.wait_with_output().unwrap());
    let mut lines = Vec::new();
    for output in &both {
        let (code, said, err) = crate::read_lines(output);
        assert_eq!(code, Some(0), "{err}");
        lines.extend(said);
    }
    for n in 0..COUNT {
        let name = format!("t{n}");
        assert_eq!((ended(&lines, &name, "done"), ended(&lines, &name, "marked")), (1, 0), "{name}");
        verify(&repo.path(&format!("bricks/{name}.brick")));
    }
}

#[test]
fn an_interrupt_leaves_nothing_half_written() {
    use rustix::process::{Pid, Signal, kill_process};
    let repo = Repo::new();
    // Something that takes a while.
    repo.task("long", r#"{"task_id":"l","type":"convert_directory","source":"/usr/lib","max_files":200000}"#);
    let child = sfd(&["tasks", "run", "--json", "--llm", "off", "--openspec"])
        .arg(&repo.root)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the work to begin", Duration::from_secs(20), || {
        let begun = fs::read_dir(repo.path("bricks"))?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(".sfd-task-"));
        anyhow::ensure!(begun, "not yet");
        Ok(())
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (code, lines, err) = crate::read_lines(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{err}");
    assert_eq!(ended(&lines, "long", "stopped"), 1, "{lines:?}");
    assert_eq!(fs::read_dir(repo.path("bricks")).unwrap().count(), 0);
    assert_eq!(repo.states(), [("long".to_owned(), "pending".to_owned())]);
}
