//! Rules for devices: udev(7).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["udev/rules.d/"];

/// The values of a key in all rules: `RUN+="..."` and `RUN{program}+="..."` for `RUN`.
fn values<'a>(body: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    body.match_indices(key).filter_map(move |(at, _)| {
        let before = body[..at].chars().next_back();
        if before.is_some_and(|c| !matches!(c, ' ' | '\t' | ',' | '\n')) {
            return None;
        }
        let rest = &body[at + key.len()..];
        let rest = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?.1,
            None => rest,
        };
        let (operator, rest) = rest.split_once('"')?;
        let good = ["=", "==", "+=", "!=", ":=", "-="].contains(&operator);
        good.then(|| rest.split('"').next()).flatten()
    })
}

/// Comments out, lines joined.
fn rules(body: &str) -> String {
    let joined = text::joined(body);
    text::settings(&joined).collect::<Vec<_>>().join("\n")
}

/// The values without repeated ones, in order.
fn distinct<'a>(rules: &'a str, key: &'a str) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for value in values(rules, key).take(2000) {
        if !found.contains(&value) && found.len() < 100 {
            found.push(value);
        }
    }
    found
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let rules = rules(input.text().unwrap_or_default());
    let n = text::count(rules.lines().filter(|l| l.contains('=')).count(), input.whole, "rule");
    let (subsystems, runs) = (distinct(&rules, "SUBSYSTEM"), distinct(&rules, "RUN"));
    let of = if subsystems.is_empty() { String::new() } else { format!(" of {}", text::list(subsystems, 4)) };
    let run = if runs.is_empty() { String::new() } else { format!("; run {}", text::list(&runs, 2)) };
    let draft =
        Draft::new(format!("{}: {n}{of}", input.shown_name()), format!("Rules for devices{of}, {n}{run}."))
            .tag("udev")
            .tag("devices");
    if runs.is_empty() { draft } else { draft.tag("runs-programs") }
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let rules = rules(body.text);
    let mut facts = Facts::default();
    facts.say("rules", text::count(rules.lines().filter(|l| l.contains('=')).count(), body.whole, "rule"));
    for (name, key) in [
        ("subsystems", "SUBSYSTEM"),
        ("actions", "ACTION"),
        ("device names", "KERNEL"),
        ("links", "SYMLINK"),
        ("modes", "MODE"),
        ("groups", "GROUP"),
        ("tags", "TAG"),
        ("programs run", "RUN"),
        ("programs asked", "PROGRAM"),
        ("imports", "IMPORT"),
        ("environment", "ENV"),
    ] {
        facts.list(name, distinct(&rules, key));
    }
    facts
}
