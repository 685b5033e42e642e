//! Logs: by place or name; text, and the binary ones of systemd and of logins.

use super::{ArtifactInput, Body, Draft, Facts, is_at, text};

pub(super) const PLACES: [&str; 2] = ["var/log/**", "log/journal/**"];

/// The first bytes of a journal (systemd's journal file format).
const JOURNAL: &[u8] = b"LPKSHHRH";
/// Records of logins, by name.
const LOGINS: [(&str, &str); 4] =
    [("wtmp", "logins"), ("btmp", "failed logins"), ("lastlog", "last logins"), ("faillog", "failed logins")];

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    if !input.is_file() {
        return false;
    }
    if input.head.starts_with(JOURNAL) {
        return true;
    }
    let by_place = PLACES.iter().any(|place| is_at(input.path, place));
    let logins = by_place && logins(&input.shown_name()).is_some();
    // Rotated: `syslog.1`, `app.log.2`.
    let rotated =
        input.extension().iter().all(u8::is_ascii_digit) && input.name().windows(5).any(|w| w == b".log.");
    let by_name = input.extension() == b"log" || rotated;
    logins || ((by_place || by_name) && input.text().is_some())
}

fn logins(name: &str) -> Option<&'static str> {
    LOGINS.iter().find(|(n, _)| name.split('.').next() == Some(n)).map(|(_, what)| *what)
}

/// The time that a line begins with, in one of the usual forms; the rest of the line.
fn stamp(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix('[').unwrap_or(line);
    let digits = |range: std::ops::Range<usize>| {
        line.get(range).is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    // 2026-11-25T04:00:00.123456+00:00, 2026-11-25 04:00:00
    if digits(0..4) && digits(5..7) && digits(8..10) {
        let time_at = line.get(11..13).is_some_and(|t| t.bytes().all(|b| b.is_ascii_digit()));
        let end =
            if time_at { line.get(11..)?.find([' ', ']', ',']).map_or(line.len(), |n| n + 11) } else { 10 };
        return Some((line.get(..end)?, line.get(end..)?.trim_start_matches([']', ',', ' '])));
    }
    // Nov 25 04:00:00
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let known = month.iter().any(|m| line.starts_with(m)) && line.get(9..10) == Some(":");
    known.then(|| Some((line.get(..15)?, line.get(16..).unwrap_or_default()))).flatten()
}

/// Who wrote a line of syslog: `host program[pid]: text`.
fn program(rest: &str) -> Option<&str> {
    let (_, rest) = rest.split_once(' ')?;
    let name = rest.split([':', '[']).next()?;
    let plain = !name.is_empty() && name.len() <= 40 && !name.contains(char::is_whitespace);
    let after = &rest[name.len()..];
    (plain && (after.starts_with(": ") || after.starts_with('['))).then_some(name)
}

fn programs(body: &str) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for name in body.lines().take(500).filter_map(|l| program(stamp(l)?.1)) {
        if !found.contains(&name) && found.len() < 50 {
            found.push(name);
        }
    }
    found
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let (name, size) = (input.shown_name(), text::size(input.len));
    let draft = |title: String, summary: String| Draft::new(title, summary).tag("log");
    if input.head.starts_with(JOURNAL) {
        return draft(format!("journal {name}"), format!("Journal of systemd, {size}.")).tag("journal");
    }
    if let Some(what) = logins(&name).filter(|_| input.text().is_none()) {
        return draft(format!("{name}: {what}"), format!("Records of {what}, {size}.")).tag("login");
    }
    let body = input.text().unwrap_or_default();
    let since = body.lines().take(5).find_map(stamp);
    let since = since.map_or_else(String::new, |(time, _)| format!(", since {}", text::clean(time, 32)));
    let writers = text::list(programs(body), 5);
    let writers = if writers.is_empty() { String::new() } else { format!(", by {writers}") };
    draft(format!("log {name}"), format!("Log, {}, {size}{since}{writers}.", text::lines(body, input.whole)))
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    if body.bytes.starts_with(JOURNAL) {
        facts.say("format", "journal of systemd");
        return facts;
    }
    facts.say("lines", text::lines(body.text, body.whole));
    let times = || body.text.lines().filter_map(stamp).map(|(time, _)| time);
    facts.say("first entry", times().next().unwrap_or_default());
    if body.whole {
        facts.say("last entry", times().next_back().unwrap_or_default());
    }
    facts.list("written by", programs(body.text));
    let bad = |l: &&str| {
        let lower = l.to_ascii_lowercase();
        ["error", "fail", "denied", "critical", "panic"].iter().any(|word| lower.contains(word))
    };
    let trouble = body.text.lines().filter(bad).count();
    if trouble > 0 {
        facts.say("lines about errors", trouble.to_string());
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::{program, stamp};

    #[test]
    fn lines() {
        for (line, time, who) in [
            ("Nov 25 04:00:00 host sshd[12]: Accepted", "Nov 25 04:00:00", Some("sshd")),
            ("2026-11-25T04:00:00.1+00:00 host kernel: x", "2026-11-25T04:00:00.1+00:00", Some("kernel")),
            ("2026-11-25 04:00:00 startup libc:amd64 remove", "2026-11-25 04:00:00", None),
            ("[2026-11-25 04:00:00] x", "2026-11-25 04:00:00", None),
        ] {
            let (found, rest) = stamp(line).unwrap();
            assert!(found.starts_with(time), "{found}");
            assert_eq!(program(rest), who, "{rest}");
        }
        for line in
            ["", "Nov", "Nov 25 0\u{e9}:00:00", "hello world", "2026", "2026-11-25", "[2026-11-2\u{e9}"]
        {
            let _ = stamp(line).map(|(_, rest)| program(rest));
        }
    }
}
