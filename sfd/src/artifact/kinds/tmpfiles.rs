//! Files made, changed and removed at boot and by age: tmpfiles.d(5).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["tmpfiles.d/"];

/// What the first letter of a line does (tmpfiles.d(5), "Type").
fn action(sort: &str) -> Option<&'static str> {
    Some(match sort.chars().next()? {
        'f' | 'F' | 'w' => "writes",
        'd' | 'D' | 'q' | 'Q' | 'v' => "makes directory",
        'e' => "cleans",
        'L' => "links",
        'C' => "copies",
        'c' | 'b' => "makes device",
        'p' => "makes pipe",
        'r' | 'R' => "removes",
        'z' | 'Z' | 'm' => "sets mode of",
        'a' | 'A' | 't' | 'T' | 'h' | 'H' => "sets attributes of",
        'x' | 'X' => "spares",
        _ => return None,
    })
}

/// What is done, to what, and the rest of the line: mode, owner, group, age, argument.
fn lines(body: &str) -> impl Iterator<Item = (&'static str, &str, &str)> {
    text::settings(body).filter_map(|line| {
        let (sort, rest) = line.split_once(char::is_whitespace)?;
        let rest = rest.trim_start();
        let (path, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        path.starts_with(['/', '%']).then_some((action(sort)?, path, rest.trim()))
    })
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let n = text::count(lines(body).count(), input.whole, "line");
    let shown = text::list(lines(body).map(|(does, path, _)| format!("{does} {path}")), 4);
    let shown = if shown.is_empty() { String::new() } else { format!(": {shown}") };
    Draft::new(
        format!("{}: files made at boot", input.shown_name()),
        format!("Done at boot (tmpfiles), {n}{shown}."),
    )
    .tag("boot")
    .tag("config")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    for (does, path, rest) in lines(body.text).take(20) {
        facts.say("line", format!("{does} {path} {rest}"));
    }
    facts
}
