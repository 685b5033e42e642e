//! A running daemon with a model: what is asked, what is stored, and what failing servers do to the picture (nothing).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use sfd::artifact::kinds::{SUMMARY_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX, clean};
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::llm::LlamaServer;
use sfd_tests::llm_double::{Double, Fault, Wire};
use sfd_tests::wait_for;

/// For some hundred answers of the tiny model beside everything else.
const PATIENCE: Duration = Duration::from_mins(5);
/// The promise: a window of 50 ms and one second.
const PROMISE_MS: f64 = 1050.0;
/// Of each fault.
const WRITES: usize = 20;
/// What answers of 10 MB, questions and retries may add to the memory of a daemon without a model.
const MEMORY_MAX: u64 = 48 << 20;
/// In contents that are secret. It must never be in a question.
const SECRET: &str = "hunter2-XYZZY-plugh";

struct Host {
    _dir: tempfile::TempDir,
    root: PathBuf,
    state: PathBuf,
    config: PathBuf,
}

impl Host {
    /// Where a server has `timeout_s` for an answer: little is enough for made-up answers.
    fn new(timeout_s: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("sfd-llm-").tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let (root, state, config) = (base.join("root"), base.join("state"), base.join("sfd.toml"));
        fs::create_dir(&root).unwrap();
        fs::write(
            &config,
            format!(
                "llm_tokens_per_hour = 0\nllm_tokens_per_day = 0\nllm_concurrency = 2\nllm_timeout_s = {timeout_s}\n"
            ),
        )
        .unwrap();
        Self { _dir: dir, root, state, config }
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    fn live(&self, llm: &str) -> Daemon {
        let config = self.config.to_str().unwrap();
        Daemon::live(&[&self.root], &self.state, &["--config", config, "--llm", llm])
    }

    /// What the brick says of every artifact, by path.
    fn artifacts(&self, daemon: &Daemon) -> BTreeMap<String, Value> {
        let name = self.root.to_string_lossy().trim_start_matches('/').replace('/', "-");
        let output = sfd(&["inspect", "--json"]).arg(daemon.brick(&name)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = value["artifacts"].as_array().unwrap().iter();
        all.map(|artifact| (artifact["path"].as_str().unwrap().to_owned(), artifact.clone())).collect()
    }

    /// Those that a model is asked about.
    fn files(&self, daemon: &Daemon) -> BTreeMap<String, Value> {
        let mut all = self.artifacts(daemon);
        all.retain(|_, artifact| {
            let is_asked_about = artifact["redacted"] == false && artifact["kind"] != "key";
            artifact["type"] == "file" && is_asked_about && artifact["len"] != 0
        });
        all
    }

    /// Waits until a model has described everything that it is asked about.
    fn wait_described(&self, daemon: &Daemon) -> BTreeMap<String, Value> {
        wait_for("everything to be described", PATIENCE, || {
            let files = self.files(daemon);
            let left: Vec<&String> =
                files.iter().filter(|(_, file)| !is_by_a_model(file)).map(|(path, _)| path).collect();
            ensure!(left.is_empty(), "{} of {}: {left:?}; {}", left.len(), files.len(), llm(daemon)?);
            Ok(files)
        })
    }
}

fn is_by_a_model(artifact: &Value) -> bool {
    artifact["semantics"]["source"] == "llm"
}

fn llm(daemon: &Daemon) -> Result<Value> {
    Ok(daemon.glance()?["llm"].clone())
}

/// Nothing of it is longer than a label may be, or drives a terminal.
fn assert_is_a_label(artifact: &Value) {
    let semantics = &artifact["semantics"];
    let fits = |value: &Value, max: usize| {
        let text = value.as_str().unwrap();
        assert!(text.chars().count() <= max && clean(text, max) == text, "{text:?}");
    };
    let list = |value: &Value| value.as_array().unwrap().clone();
    fits(&semantics["title"], TITLE_CHARS_MAX);
    fits(&semantics["summary"], SUMMARY_CHARS_MAX);
    let (tags, reasons) = (list(&semantics["tags"]), list(&semantics["risk"]["reasons"]));
    assert!(tags.len() <= TAGS_MAX, "{semantics}");
    for tag in &tags {
        fits(tag, TAG_CHARS_MAX);
    }
    for reason in &reasons {
        fits(reason, SUMMARY_CHARS_MAX);
    }
    assert!(semantics["risk"]["level"].as_u64() <= Some(4), "{semantics}");
}

/// Different texts of this host, with their paths.
fn real_texts(n: usize) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut dirs = vec!["/etc", "/usr/lib/systemd", "/usr/share/doc", "/usr/share/perl"].into_iter();
    let mut below: Vec<PathBuf> = Vec::new();
    while found.len() < n {
        let Some(path) = below.pop().or_else(|| dirs.next().map(PathBuf::from)) else { break };
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            below.extend(entries.map(|entry| entry.path()));
        } else if meta.is_file() && (1..20_000).contains(&meta.len()) {
            let Ok(contents) = fs::read(&path) else { continue };
            if seen.insert(contents.clone()) {
                found.push((path, contents));
            }
        }
    }
    found
}

#[test]
fn two_hundred_artifacts_get_valid_labels_and_a_restart_asks_nothing() {
    let server = LlamaServer::start();
    let host = Host::new(120);
    // Some are secret, and not asked about.
    let texts = real_texts(240);
    for (path, contents) in &texts {
        host.write(&path.to_string_lossy()[1..], contents);
    }
    let off = host.live("off");
    let by_rules = host.artifacts(&off);
    assert_eq!(llm(&off).unwrap()["state"], "off");
    assert_eq!(off.terminate(), Some(0));

    let daemon = host.live(&server.url());
    let files = host.wait_described(&daemon);
    assert!(files.len() >= 200 || texts.len() < 240, "{} of {}", files.len(), texts.len());
    for (path, file) in &files {
        assert_is_a_label(file);
        let (said, rules) = (&file["semantics"], &by_rules[path]["semantics"]);
        assert_eq!(said["kind"], rules["kind"], "{path}");
        assert!(said["risk"]["level"].as_u64() >= rules["risk"]["level"].as_u64(), "{path}: {said}");
    }
    let status = llm(&daemon).unwrap();
    println!("{} files: {status}", files.len());
    assert_eq!((&status["state"], &status["model"]), (&"ready".into(), &sfd_tests::llm::MODEL.into()));
    assert_eq!(status["cache_errors"], 0);
    assert_eq!(daemon.terminate(), Some(0));

    let daemon = host.live(&server.url());
    // What is new comes first; when the second is there, the first look for what has no label is long over.
    for name in ["new/first.conf", "new/second.conf"] {
        let path = host.write(name, format!("[{name}]\nkey = value\n"));
        wait_for("a label for what is new", PATIENCE, || {
            let files = host.files(&daemon);
            let is_described = files.get(&*path.to_string_lossy()).is_some_and(is_by_a_model);
            ensure!(is_described, "{name}: {}", llm(&daemon)?);
            Ok(())
        });
    }
    let after = wait_for("an empty queue", PATIENCE, || {
        let status = llm(&daemon)?;
        ensure!(status["queued"] == 0 && status["in_flight"] == 0, "{status}");
        Ok(status)
    });
    assert_eq!(after["asked"], 2, "only what is new: {after}");
    for (path, file) in host.files(&daemon) {
        let Some(before) = files.get(&path) else { continue };
        assert_eq!(file["semantics"], before["semantics"], "{path}");
    }
}

#[test]
fn through_ollama_a_hundred_copies_are_one_question_secrets_none_and_a_killed_server_is_found_again() {
    let server = LlamaServer::start();
    let mut double = Double::start(Wire::Ollama, Some(server.url()));
    let host = Host::new(120);
    for (path, contents) in real_texts(40) {
        host.write(&path.to_string_lossy()[1..], contents);
    }
    let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\n");
    host.write("home/.ssh/id_ed25519", &key);
    host.write("etc/shadow", format!("root:{SECRET}:19000:0:99999:7:::\n"));
    host.write("app/.env", format!("API_TOKEN={SECRET}\nDEBUG=0\n"));
    host.write("app/db.ini", format!("[db]\nuser = app\npassword = {SECRET}\n"));
    host.write("app/settings.json", format!("{{\"secret_key\": \"{SECRET}\", \"name\": \"app\"}}\n"));
    host.write("app/run.sh", format!("#!/bin/sh\ncurl -u admin:{SECRET} --token={SECRET} http://x/\n"));
    host.write("app/notes", format!("{key}and more\n"));
    let daemon = host.live(&double.url());
    // In the middle of it the server is gone.
    wait_for("the first answers", PATIENCE, || {
        let status = llm(&daemon)?;
        ensure!(status["answered"].as_u64() >= Some(5), "{status}");
        Ok(())
    });
    double.halt();
    let status = wait_for("the status to say so", PATIENCE, || {
        let status = llm(&daemon)?;
        ensure!(matches!(status["state"].as_str(), Some("resting" | "unreachable")), "{status}");
        Ok(status)
    });
    assert!(status["why"].is_string() && status["next_try_ns"].is_i64(), "{status}");
    let text = sfd(&["status", "--state"]).arg(&host.state).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("labels are by rules for now") && text.contains("tried again"), "{text}");
    double.resume();
    host.wait_described(&daemon);

    for n in 0..100 {
        host.write(&format!("copies/{n}.conf"), "# one of a hundred copies\nkey = value\n");
    }
    wait_for("labels for all of them", PATIENCE, || {
        let files = host.files(&daemon);
        let count = files.iter().filter(|(path, file)| path.contains("/copies/") && is_by_a_model(file));
        ensure!(count.count() == 100, "{}", llm(&daemon)?);
        Ok(())
    });
    let requests = double.requests();
    let about_copies = requests.iter().filter(|body| body.contains("one of a hundred copies")).count();
    assert_eq!(about_copies, 1, "the same contents are one question");
    for body in &requests {
        assert!(!body.contains(SECRET), "{body}");
    }
    // They were there to be asked about: their neighbours were.
    assert!(
        requests.iter().any(|body| body.contains("curl -u")),
        "the script around the secret is no secret"
    );
    let stored = fs::read(host.state.join("answers.sqlite")).unwrap();
    assert!(!stored.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
}

/// Writes to a file until the picture has shown each write; returns the daemon's own figures from write to picture.
fn latency(host: &Host, daemon: &Daemon) -> Value {
    let count = |daemon: &Daemon| Ok::<_, anyhow::Error>(daemon.glance()?["roots"][0]["commits"].as_u64());
    for n in 0..WRITES {
        let before = count(daemon).unwrap();
        // Different contents each time, so that each is a question too.
        host.write("busy.conf", format!("[busy]\nn = {n}\nwhen = {:?}\n", std::time::SystemTime::now()));
        wait_for("a commit", Duration::from_secs(5), || {
            ensure!(count(daemon)? > before, "no commit");
            Ok(())
        });
    }
    daemon.glance().unwrap()["latency"].clone()
}

/// Contents of many kinds, none of which has a good answer.
fn fill(host: &Host) {
    for (path, contents) in real_texts(60) {
        host.write(&path.to_string_lossy()[1..], contents);
    }
}

/// The figures of `docs/performance.md`; the test itself asserts the promise only, because a machine may be busy.
#[test]
fn whatever_the_server_does_the_picture_is_as_quick_and_the_status_says_what_happens() {
    let host = Host::new(2);
    fill(&host);
    let off = host.live("off");
    let (without, memory) = (latency(&host, &off), off.glance().unwrap()["rss_bytes"].as_u64().unwrap());
    println!("{:<24} p50 {:>6.1} ms, p99 {:>6.1} ms", "off", ms(&without, "p50_ms"), ms(&without, "p99_ms"));
    assert_eq!(off.terminate(), Some(0));
    let faults: [(&str, Fault, Wire, &[&str]); 12] = [
        ("no byte", Fault::Hung, Wire::Ollama, &["server_failures"]),
        ("one byte a second", Fault::Drip, Wire::OpenAi, &["server_failures"]),
        ("status 500", Fault::Status(500), Wire::Ollama, &["server_failures"]),
        ("a storm of 503", Fault::Storm(503, usize::MAX), Wire::OpenAi, &["server_failures"]),
        ("JSON cut off", Fault::Truncated, Wire::Ollama, &["bad_answers"]),
        ("strings too long", Fault::LongStrings, Wire::OpenAi, &["bad_answers"]),
        ("not UTF-8", Fault::InvalidUtf8, Wire::Ollama, &["bad_answers"]),
        ("done: false", Fault::NotDone, Wire::Ollama, &["bad_answers"]),
        ("error in mid-stream", Fault::MidStream, Wire::OpenAi, &["bad_answers"]),
        ("10 MB", Fault::Huge, Wire::OpenAi, &["bad_answers"]),
        ("another schema", Fault::WrongSchema, Wire::Ollama, &["bad_answers"]),
        ("connection broken", Fault::Broken, Wire::OpenAi, &["server_failures"]),
    ];
    for (name, fault, wire, counters) in faults {
        let double = Double::start(wire, None);
        double.set_fault(fault);
        let daemon = host.live(&double.url());
        wait_for("the first question", PATIENCE, || {
            ensure!(!double.requests().is_empty(), "{}", llm(&daemon)?);
            Ok(())
        });
        let with = latency(&host, &daemon);
        println!("{name:<24} p50 {:>6.1} ms, p99 {:>6.1} ms", ms(&with, "p50_ms"), ms(&with, "p99_ms"));
        assert!(ms(&with, "max_ms") < PROMISE_MS * f64::from(sfd_tests::slowness()), "{name}: {with}");
        let status = wait_for("the status to say what happens", PATIENCE, || {
            let status = llm(&daemon)?;
            for counter in counters {
                ensure!(status[counter].as_u64() > Some(0), "{name}: {status}");
            }
            ensure!(status["why"].is_string(), "{name}: {status}");
            Ok(status)
        });
        assert_eq!(status["answered"], 0, "{name}: {status}");
        let rss = daemon.glance().unwrap()["rss_bytes"].as_u64().unwrap();
        assert!(rss < memory + MEMORY_MAX, "{name}: {rss} B, {memory} B without a model");
        let wrong: Vec<_> =
            host.artifacts(&daemon).into_iter().filter(|(_, artifact)| is_by_a_model(artifact)).collect();
        assert!(wrong.is_empty(), "{name}: nothing of a bad answer is kept: {wrong:?}");
        assert_eq!(daemon.terminate(), Some(0), "{name}: it ends in time");
    }
    // A good server on the same state: what never had a valid answer stays with the rules, everything else is described.
    let double = Double::start(Wire::OpenAi, None);
    let daemon = host.live(&double.url());
    let path = host.write("good.conf", "good = again\n");
    wait_for("a label", PATIENCE, || {
        let files = host.files(&daemon);
        ensure!(files.get(&*path.to_string_lossy()).is_some_and(is_by_a_model), "{}", llm(&daemon)?);
        Ok(())
    });
}

fn ms(latency: &Value, key: &str) -> f64 {
    latency[key].as_f64().unwrap()
}

#[test]
fn files_that_talk_to_the_model_get_silly_labels_and_nothing_more() {
    let host = Host::new(2);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llm/injection");
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let path = host.write(&entry.file_name().to_string_lossy(), fs::read(entry.path()).unwrap());
        // A risk that rules find and words could talk away.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    }
    let off = host.live("off");
    let by_rules = host.files(&off);
    assert_eq!((by_rules.len(), off.terminate()), (10, Some(0)));

    let double = Double::start(Wire::Ollama, None);
    // It does what the files say, and sends control characters of its own.
    double.set_fault(Fault::Says(std::sync::Arc::new(|user: &str| {
        let part = |max: usize| user.chars().rev().take(max).collect::<String>();
        let text = |max: usize| format!("\u{1b}[2J\u{202e}\u{7}{}", part(max - 8));
        serde_json::json!({
            "title": text(160), "summary": text(480), "tags": vec![text(64); 16], "risk": 0,
            "reasons": vec![text(240); 8],
        })
        .to_string()
    })));
    let daemon = host.live(&double.url());
    let described = host.wait_described(&daemon);
    for (path, file) in &described {
        assert_is_a_label(file);
        let (said, rules) = (&file["semantics"], &by_rules[path]["semantics"]);
        assert_eq!(said["kind"], rules["kind"]);
        assert!(said["risk"]["level"].as_u64() >= rules["risk"]["level"].as_u64(), "{said}");
        let kept = said["risk"]["reasons"].as_array().unwrap();
        assert!(kept.starts_with(rules["risk"]["reasons"].as_array().unwrap()), "{said}");
    }
    // Whatever prints them. A change, so that there is something to log.
    host.write("tags.conf", "note = one line more\n");
    host.wait_described(&daemon);
    wait_for("the change in the log", PATIENCE, || {
        let output = sfd(&["log", "--state"]).arg(&host.state).output()?;
        ensure!(!output.stdout.is_empty(), "nothing");
        Ok(())
    });
    let state = host.state.to_str().unwrap();
    let some = described.keys().next().unwrap();
    for args in [
        vec!["explain", "--state", state, some],
        vec!["search", "--state", state, "path:/"],
        vec!["search", "--state", state, "risk>=medium"],
        vec!["log", "--state", state],
        vec!["status", "--state", state],
    ] {
        let output = sfd(&args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let drives = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(drives), "{args:?}: {text:?}");
    }
}

/// `sfd explain --json` with its exit code.
fn explain(host: &Host, args: &[&str]) -> (Value, Option<i32>) {
    let mut command = sfd(&["explain", "--json", "--state"]);
    let output = command.arg(&host.state).arg("--config").arg(&host.config).args(args).output().unwrap();
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&output.stderr).into_owned()));
    (value, output.status.code())
}

#[test]
fn explain_asks_once_keeps_the_answer_and_never_shows_a_secret_to_a_model() {
    let double = Double::start(Wire::Ollama, None);
    let (host, url) = (Host::new(20), double.url());
    let script =
        host.write("bin/tool.sh", "#!/bin/sh\n# Rotates the backups.\nfind /backup -mtime +30 -delete\n");
    let script = script.to_str().unwrap();
    fs::set_permissions(script, fs::Permissions::from_mode(0o4777)).unwrap();
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let key = format!("-----BEGIN PRIVATE KEY-----\n{body}\n{SECRET}\n-----END PRIVATE KEY-----\n");
    let key = host.write("key.pem", key);
    // Nobody has to run a daemon to ask.
    let (alone, code) = explain(&host, &["--llm", "off", script]);
    assert_eq!((code, &alone["kind"], &alone["brick"]), (Some(0), &"script".into(), &Value::Null), "{alone}");
    assert_eq!(alone["llm"], serde_json::json!({ "asked": "no", "why": "llm is off" }));
    assert_eq!(alone["semantics"]["source"], "heuristic");
    let (asked, _) = explain(&host, &["--llm", &url, script]);
    assert_eq!(
        (&asked["llm"]["asked"], &asked["semantics"]["title"]),
        (&"now".into(), &"Canned".into()),
        "{asked}"
    );
    let level = |explained: &Value| explained["semantics"]["risk"]["level"].as_u64().unwrap();
    assert!(level(&asked) >= level(&alone) && level(&alone) >= 2, "{alone} {asked}");
    assert_eq!(double.requests().len(), 1);
    let (secret, code) = explain(&host, &["--llm", &url, key.to_str().unwrap()]);
    assert_eq!(
        (code, &secret["redacted"], &secret["llm"]["asked"]),
        (Some(0), &true.into(), &"no".into()),
        "{secret}"
    );
    assert!(!secret.to_string().contains(SECRET));
    assert_eq!(double.requests().len(), 1, "secrets are no questions");
    let (missing, code) = explain(&host, &["/no/such/file"]);
    assert!(code == Some(4) && missing.as_str().is_some_and(|text| text.contains("/no/such")), "{missing}");
    // No server is no failure: the rules have their say, and why nobody else has is told.
    let (gone, code) =
        explain(&host, &["--llm", &format!("http://127.0.0.1:{}", sfd_tests::llm::free_port()), script]);
    assert_eq!((code, &gone["llm"]["asked"]), (Some(0), &"no".into()), "{gone}");
    assert!(gone["llm"]["why"].as_str().unwrap().contains("no answer"), "{gone}");

    // With a daemon the answer is the brick's, and asked for once.
    let daemon = host.live(&url);
    host.wait_described(&daemon);
    let (known, _) = explain(&host, &["--llm", &url, script]);
    assert_eq!((&known["llm"]["asked"], known["brick"].is_string()), (&"before".into(), true), "{known}");
    assert_eq!(double.requests().len(), 2);
    // While nobody answers, a person is told so and a new answer is there as soon as somebody does.
    double.set_fault(Fault::Status(500));
    host.write("bin/other.sh", "#!/bin/sh\necho other\n");
    let other = host.root.join("bin/other.sh");
    let other = other.to_str().unwrap();
    wait_for("the new file in the brick", PATIENCE, || {
        ensure!(host.files(&daemon).contains_key(other), "not yet");
        Ok(())
    });
    let (failed, code) = explain(&host, &["--llm", &url, other]);
    assert_eq!((code, &failed["llm"]["asked"]), (Some(0), &"no".into()), "{failed}");
    assert!(failed["llm"]["why"].as_str().unwrap().contains("500"), "{failed}");
    double.set_fault(None);
    let (now, _) = explain(&host, &["--llm", &url, other]);
    assert!(now["llm"]["asked"] != "no" && now["semantics"]["title"] == "Canned", "{now}");
    assert!(is_by_a_model(&host.files(&daemon)[other]), "and it is kept");
}

#[test]
fn a_fold_asks_when_it_is_told_to_and_once_for_equal_contents() {
    let double = Double::start(Wire::OpenAi, None);
    let host = Host::new(20);
    for n in 0..5 {
        host.write(&format!("copy-{n}.sh"), "#!/bin/sh\necho the same\n");
    }
    host.write("other.conf", "[other]\nkey = 1\n");
    host.write("secret.env", format!("API_KEY=\"{SECRET}\"\n"));
    let brick = host.state.with_extension("brick");
    let fold = |more: &[&str]| -> Value {
        let mut command = sfd(&["fold", "--json", "-o"]);
        let output = command.arg(&brick).arg(&host.root).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let by_a_model = || {
        let output = sfd(&["inspect", "--json"]).arg(&brick).output().unwrap();
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        value["artifacts"].as_array().unwrap().iter().filter(|artifact| is_by_a_model(artifact)).count()
    };
    assert_eq!((&fold(&[])["described_by"], by_a_model()), (&Value::Null, 0));
    assert!(double.requests().is_empty());
    let said = fold(&["--llm", &double.url()]);
    assert!(said["described_by"].as_str().unwrap().contains("questions answered"), "{said}");
    let requests = double.requests();
    assert_eq!(requests.iter().filter(|body| body.contains("the same")).count(), 1);
    assert!(by_a_model() >= 6 && requests.iter().all(|body| !body.contains(SECRET)), "{requests:?}");
    // A server that is not there costs its words and nothing else.
    let gone = fold(&["--llm", &format!("http://127.0.0.1:{}", sfd_tests::llm::free_port())]);
    assert!(gone["described_by"].as_str().unwrap().contains("no model"), "{gone}");
    assert_eq!(by_a_model(), 0);
}
