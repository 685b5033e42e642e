//! Rotation of logs: logrotate(8).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["etc/logrotate.conf", "logrotate.d/"];

/// What is rotated: words outside braces that are paths.
fn logs(body: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text::settings(body)
        .filter(|line| !line.starts_with("include"))
        .flat_map(move |line| {
            let outside = depth == 0;
            depth = (depth + line.matches('{').count()).saturating_sub(line.matches('}').count());
            let before = line.split('{').next().unwrap_or(line);
            let line = if outside { before } else { "" };
            line.split_whitespace().map(|word| word.trim_matches('"'))
        })
        .filter(|word| word.starts_with('/'))
}

fn setting<'a>(body: &'a str, key: &str) -> Option<&'a str> {
    text::settings(body).find_map(|l| l.strip_prefix(key)?.strip_prefix(char::is_whitespace)).map(str::trim)
}

fn has(body: &str, word: &str) -> bool {
    text::settings(body).any(|l| l == word)
}

/// How often, and how many are kept.
fn rhythm(body: &str) -> String {
    let how_often = ["hourly", "daily", "weekly", "monthly", "yearly"].into_iter().find(|w| has(body, w));
    let size = ["size", "maxsize", "minsize"]
        .into_iter()
        .find_map(|key| Some(format!("{key} {}", setting(body, key)?)));
    let keep = setting(body, "rotate").map(|n| format!("{n} kept"));
    let all = [how_often.map(str::to_owned), size, keep];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let (files, rhythm) = (text::list(logs(body), 3), rhythm(body));
    let files = if files.is_empty() { "no logs of its own".to_owned() } else { files };
    let rhythm = if rhythm.is_empty() { "as is usual here".to_owned() } else { rhythm };
    Draft::new(
        format!("{}: logs rotated, {rhythm}", input.shown_name()),
        format!("Rotation of logs, {rhythm}: {files}."),
    )
    .tag("logs")
    .tag("config")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.list("logs", logs(body.text));
    facts.say("rotated", rhythm(body.text));
    facts.list("made anew as", setting(body.text, "create"));
    facts.list("as user", setting(body.text, "su"));
    let flags = ["compress", "delaycompress", "missingok", "notifempty", "copytruncate", "sharedscripts"];
    facts.list("options", flags.into_iter().filter(|word| has(body.text, word)));
    let mut lines = text::settings(body.text);
    while let Some(line) = lines.next() {
        if ["postrotate", "prerotate", "firstaction", "lastaction"].contains(&line) {
            facts.say(
                "runs",
                lines.by_ref().take_while(|l| *l != "endscript").take(20).collect::<Vec<_>>().join("; "),
            );
        }
    }
    facts.list("also reads", setting(body.text, "include"));
    facts
}
