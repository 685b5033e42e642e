//! `sfd status`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::out::{human_bytes, human_count, human_time, printable};
use super::{CliError, Exit, Out, State};
use crate::agent::{Request, StateDir};

/// A daemon answers at once, whatever it is doing; longer means that it hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Shows what the daemon is doing.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 when no daemon runs.\n\nExample:\n  sudo sfd status --json | jq .roots[].unverified"
)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    state: State,
}

/// Connects to the daemon of a state directory; `None` when none runs.
pub(super) fn connect(state: &Path, request: &Request) -> Result<Option<UnixStream>, CliError> {
    let socket = StateDir::socket(state);
    let failed = |error: std::io::Error| CliError::path(&socket, &error);
    let mut stream = match UnixStream::connect(&socket) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let line = serde_json::to_string(request).map_err(|error| failed(error.into()))?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(failed)?;
    Ok(Some(stream))
}

pub(super) fn run(args: &StatusArgs, out: Out) -> Result<Exit, CliError> {
    let state = args.state.path()?;
    let Some(mut stream) = connect(&state, &Request::Status)? else {
        let bricks = bricks_of(&state)?;
        if out.json {
            out.json_line(&json!({ "running": false, "state": state, "bricks": bricks }))?;
        } else {
            out.write(|out| {
                writeln!(out, "no daemon runs on {}", state.display())?;
                for brick in &bricks {
                    writeln!(
                        out,
                        "  {} of {}, {} artifacts, {} unverified",
                        brick["brick"], brick["root"], brick["artifacts"], brick["unverified"]
                    )?;
                }
                Ok(())
            })?;
        }
        return Ok(Exit::No);
    };
    let failed = |error: std::io::Error| CliError::io("daemon", &error);
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    let mut status: Value = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
    if let Some(status) = status.as_object_mut() {
        status.insert("running".into(), Value::Bool(true));
    }
    if out.json {
        out.json_line(&status)?;
    } else {
        out.write(|out| print(&status, out))?;
    }
    Ok(Exit::Done)
}

/// What can be said without a daemon: each brick, as it was left.
fn bricks_of(state: &Path) -> Result<Vec<Value>, CliError> {
    let mut found = Vec::new();
    for (path, catalog) in super::live::catalogs(state)? {
        let rows = catalog.rows()?;
        let unverified = rows.iter().filter(|row| row.unverified.is_some()).count();
        let root = String::from_utf8_lossy(&catalog.meta()?.root_path).into_owned();
        found.push(json!({ "brick": path, "root": root, "artifacts": rows.len(), "unverified": unverified }));
    }
    Ok(found)
}

fn print(status: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let count = |value: &Value| human_count(value.as_u64().unwrap_or(0));
    let text = |value: &Value| printable(value.as_str().unwrap_or("-"));
    writeln!(
        out,
        "sfd {}, pid {}, since {}, {} resident",
        text(&status["version"]),
        status["pid"],
        human_time(status["started_ns"].as_i64().unwrap_or(0)),
        human_bytes(status["rss_bytes"].as_u64().unwrap_or(0)),
    )?;
    let hooks = status["hooks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let working =
        hooks.iter().filter(|hook| matches!(hook["state"].as_str(), Some("attached" | "verified"))).count();
    let names = match status["name_hooks"].as_str() {
        Some(names) => format!(", names by {}", printable(names).replace('_', " ")),
        None => String::new(),
    };
    writeln!(out, "changes through {}: {working} of {} hooks{names}", text(&status["rung"]), hooks.len())?;
    for hook in hooks
        .iter()
        .filter(|hook| !matches!(hook["state"].as_str(), Some("attached" | "verified" | "absent")))
    {
        let silent = hook["state"].as_str() == Some("silent");
        let state = if silent { "reports nothing" } else { "was refused" };
        writeln!(out, "  {} {state}; without it: {}", text(&hook["name"]), text(&hook["lost_without"]))?;
    }
    if let Some(lost) = status["lost_here"].as_str() {
        writeln!(out, "  not seen this way: {}", printable(lost))?;
    }
    for why in status["why"].as_array().into_iter().flatten() {
        writeln!(out, "  {}", text(why))?;
    }
    for root in status["roots"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "{}  {} artifacts, {} of {} cells (order {}), {} commits, {} looks",
            text(&root["path"]),
            count(&root["artifacts"]),
            count(&root["cells_used"]),
            count(&root["cells"]),
            root["order"],
            count(&root["commits"]),
            count(&root["looks"]),
        )?;
        if let Some(error) = root["error"].as_str() {
            writeln!(out, "  closed: {}", printable(error))?;
            writeln!(
                out,
                "  its picture is as old as that; it is opened again, and compared, as soon as that works"
            )?;
            continue;
        }
        match root["scanning"].as_array().map(Vec::as_slice) {
            Some([done, total]) => {
                writeln!(out, "  comparing with the disk: {} of {}", count(done), count(total))?;
            }
            _ => match root["last_full_verification_ns"].as_i64() {
                Some(at) => writeln!(out, "  last compared as a whole {}", human_time(at))?,
                None => writeln!(out, "  not yet compared as a whole")?,
            },
        }
        for (key, what) in [
            ("unverified", "artifacts unverified: sfd inspect says which and why"),
            ("rescans", "rescans after a loss"),
            ("unwatched", "objects that nobody reports: they are compared every few seconds"),
            ("no_room", "artifacts folded smaller than they are: the brick is full"),
        ] {
            if root[key].as_u64().unwrap_or(0) > 0 {
                writeln!(out, "  {} {what}", count(&root[key]))?;
            }
        }
        let versions = &root["versions"];
        if ["kept", "dropped"].iter().any(|key| versions[key].as_u64().unwrap_or(0) > 0) {
            writeln!(
                out,
                "  earlier contents: {} kept in {}, {} dropped since the start",
                count(&versions["kept"]),
                human_bytes(versions["bytes"].as_u64().unwrap_or(0)),
                count(&versions["dropped"]),
            )?;
        }
    }
    if status["map"].is_object() {
        map(&status["map"], out)?;
    }
    let latency = &status["latency"];
    if latency["count"].as_u64().unwrap_or(0) > 0 {
        let ms = |key: &str| latency[key].as_f64().unwrap_or(0.0);
        writeln!(
            out,
            "change to brick: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms over the last {} changes",
            ms("p50_ms"),
            ms("p99_ms"),
            ms("max_ms"),
            count(&latency["count"])
        )?;
    }
    let events = &status["events"];
    for (key, what) in [("events", "events"), ("dropped", "events lost")] {
        let parts: Vec<String> = events[key]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(out, "{what}: {}", if parts.is_empty() { "none".to_owned() } else { parts.join(", ") })?;
    }
    writeln!(out, "watched by the collector: {} objects", count(&events["watched"]))?;
    print_llm(&status["llm"], out)
}

/// Which model describes artifacts, and if none does for now, why and until when.
fn print_llm(llm: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let number = |key: &str| llm[key].as_u64().unwrap_or(0);
    let state = llm["state"].as_str().unwrap_or("off");
    if state == "off" {
        return writeln!(out, "language model: off; labels are by rules");
    }
    let which = match (llm["model"].as_str(), llm["url"].as_str()) {
        (Some(model), Some(url)) => format!("{} at {}", printable(model), printable(url)),
        _ => "none found".to_owned(),
    };
    let doing = match state {
        "ready" => "answers",
        "resting" => "failed too often and is left alone for a while; labels are by rules for now",
        "budget_spent" => "its tokens are spent; labels are by rules for now",
        _ => "not reachable; labels are by rules for now",
    };
    writeln!(out, "language model: {which}: {doing}")?;
    if let Some(why) = llm["why"].as_str() {
        writeln!(out, "  {}", printable(why))?;
    }
    if let Some(at) = llm["next_try_ns"].as_i64() {
        writeln!(out, "  tried again {}", human_time(at))?;
    }
    let speed = match llm["seconds_per_answer"].as_f64() {
        Some(seconds) => format!(", {seconds:.1} s each"),
        None => String::new(),
    };
    writeln!(
        out,
        "  {} answers to {} questions{speed}, {} described from earlier answers, {} waiting",
        human_count(number("answered")),
        human_count(number("asked")),
        human_count(number("from_cache")),
        human_count(number("queued")),
    )?;
    for (key, what) in [
        ("bad_answers", "answers were not valid"),
        ("server_failures", "times the server failed"),
        ("given_up", "contents left to rules because no answer was valid"),
        ("dropped", "forgotten because the queue was full, to be found again when it is empty"),
        ("cache_errors", "answers could not be kept or read"),
    ] {
        if number(key) > 0 {
            writeln!(out, "  {} {what}", human_count(number(key)))?;
        }
    }
    for (spent, max, what) in
        [("tokens_hour", "tokens_hour_max", "this hour"), ("tokens_day", "tokens_day_max", "in 24 hours")]
    {
        if number(max) > 0 {
            let (spent, max) = (human_count(number(spent)), human_count(number(max)));
            writeln!(out, "  {spent} of {max} tokens spent {what}")?;
        }
    }
    Ok(())
}

/// Where the map is and how much it is asked.
fn map(map: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let count = |value: &Value| human_count(value.as_u64().unwrap_or(0));
    let sum =
        |key: &str| map[key].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum::<u64>();
    let bytes = |key: &str| human_bytes(map[key].as_u64().unwrap_or(0));
    writeln!(
        out,
        "map at {} (sfd map): {} requests, {} refused, {} connections, {} event streams, tiles in memory {}",
        printable(map["address"].as_str().unwrap_or("-")),
        count(&map["requests"]),
        human_count(sum("refused")),
        count(&map["connections"]),
        count(&map["streams"]),
        bytes("cache_bytes"),
    )?;
    for (key, what) in [
        ("busy", "requests refused because too many waited"),
        ("connections_waited", "times that a connection waited for another one to end"),
        ("cut_off", "connections closed because nothing moved on them"),
        ("streams_cut_off", "event streams ended because their client was too slow"),
        ("notes_missed", "commits that the map was too slow for; it has read everything again"),
        ("events_coalesced", "changes that clients were told of as a number only"),
    ] {
        if map[key].as_u64().unwrap_or(0) > 0 {
            writeln!(out, "  {} {what}", count(&map[key]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rung_a_silent_hook_and_what_nobody_reports_are_told() {
        let status = json!({
            "version": "1", "pid": 7, "started_ns": 0, "rung": "inotify", "lost_here": "who made a change",
            "why": ["eBPF: refused; run as root"],
            "hooks": [
                { "name": "good", "state": "verified", "lost_without": "a" },
                { "name": "mute", "state": "silent", "lost_without": "renames" },
                { "name": "bad", "state": { "failed": "EPERM" }, "lost_without": "links" },
                { "name": "none", "state": "absent", "lost_without": "modules" },
            ],
            "roots": [
                { "path": "/etc", "unwatched": 12, "unverified": 3, "scanning": null,
                    "versions": { "kept": 1234, "bytes": 2048, "dropped": 5 } },
                { "path": "/usr", "error": "no space" },
            ],
            "events": { "dropped": { "sequence_gap": 4 } },
        });
        let mut text = Vec::new();
        print(&status, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for part in [
            "changes through inotify: 1 of 4 hooks",
            "mute reports nothing; without it: renames",
            "bad was refused; without it: links",
            "not seen this way: who made a change",
            "run as root",
            "12 objects that nobody reports",
            "3 artifacts unverified",
            "earlier contents: 1 234 kept in 2.0 KiB, 5 dropped",
            "closed: no space\n  its picture is as old as that",
            "events lost: sequence_gap 4",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains("none "), "what the kernel does not have is no failure:\n{text}");
    }

    #[test]
    fn what_the_language_model_does_is_told() {
        let told = |llm: Value| {
            let mut text = Vec::new();
            print_llm(&llm, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(told(json!(null)), "language model: off; labels are by rules\n");
        assert_eq!(told(json!({ "state": "off" })), told(json!(null)));
        let ready = told(json!({
            "state": "ready", "model": "qwen2.5-coder:1.5b", "url": "http://127.0.0.1:11434", "queued": 40,
            "asked": 1201, "answered": 1200, "from_cache": 7, "bad_answers": 1, "seconds_per_answer": 6.54,
            "tokens_hour": 150, "tokens_hour_max": 200_000,
        }));
        assert_eq!(
            ready,
            "language model: qwen2.5-coder:1.5b at http://127.0.0.1:11434: answers\n  \
             1 200 answers to 1 201 questions, 6.5 s each, 7 described from earlier answers, 40 waiting\n  \
             1 answers were not valid\n  150 of 200 000 tokens spent this hour\n"
        );
        for (state, says) in [
            ("unreachable", "none found: not reachable"),
            ("resting", "left alone for a while"),
            ("budget_spent", "its tokens are spent"),
        ] {
            let text = told(json!({ "state": state, "why": "no\x1b[2J answer", "next_try_ns": 1 }));
            assert!(text.contains(says) && text.contains("labels are by rules for now"), "{text}");
            assert!(text.contains("answer\n  tried again 1970") && !text.contains('\x1b'), "{text}");
        }
    }
}
