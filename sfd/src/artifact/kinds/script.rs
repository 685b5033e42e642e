//! Scripts with an interpreter line.

use super::{ArtifactInput, Body, Draft, Facts, text};

/// The kernel reads at most this much of the line (`BINPRM_BUF_SIZE`, include/uapi/linux/binfmts.h).
const LINE_BYTES_MAX: usize = 256;
/// A purpose is looked for in so many lines.
const PURPOSE_LINES: usize = 30;

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && input.head.starts_with(b"#!") && interpreter(input.head).is_some()
}

/// The interpreter's name, looking through `env`.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = &line[..line.len().min(LINE_BYTES_MAX)];
    let line = std::str::from_utf8(line).ok()?;
    let base = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let mut words = line.split_ascii_whitespace();
    let first = base(words.next()?);
    if first != "env" {
        return Some(first);
    }
    // Options and assignments of env come before the command.
    Some(words.find(|w| !w.starts_with('-') && !w.contains('=')).map_or(first, base))
}

/// What a script says of itself: the first comment that is a sentence rather than a licence or an editor's mark.
fn purpose(body: &str) -> Option<&str> {
    const NOT: [&str; 12] = [
        "copyright",
        "(c)",
        "licen",
        "spdx",
        "-*-",
        "vim:",
        "coding",
        "author",
        "shellcheck",
        "http",
        "generated",
        "warranty",
    ];
    let comments = body.lines().skip(1).take(PURPOSE_LINES).map(str::trim).take_while(|l| {
        l.is_empty() || l.starts_with('#') || l.starts_with("\"\"\"") || l.starts_with("set ")
    });
    comments
        .map(|l| l.trim_start_matches(['#', '"', '!']).trim().trim_end_matches('.'))
        .filter(|l| {
            l.split_whitespace().count() >= 3 && l.chars().filter(|c| c.is_alphabetic()).count() >= 10
        })
        .find(|l| {
            let lower = l.to_lowercase();
            !NOT.iter().any(|word| lower.contains(word))
        })
}

/// One line: interpreter, length, purpose.
pub(super) fn about(head: &[u8], body: &str, whole: bool) -> String {
    let interpreter = interpreter(head).map_or_else(|| "Text".to_owned(), |i| format!("Script for {i}"));
    let purpose = purpose(body).map_or_else(String::new, |p| format!(": {}", text::clean(p, 120)));
    format!("{interpreter}, {}{purpose}", text::lines(body, whole))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let interpreter = interpreter(input.head).unwrap_or_default();
    let lines = input.text().map_or_else(|| text::size(input.len), |t| text::lines(t, input.whole));
    let runs = if input.meta.mode & 0o111 == 0 { ", not executable" } else { "" };
    let purpose = input.text().and_then(purpose);
    let purpose = purpose.map_or_else(String::new, |p| format!(" Says: {}", text::clean(p, 120)));
    Draft::new(input.shown_name(), format!("Script for {interpreter}, {lines}{runs}.{purpose}"))
        .tag("script")
        .tag(interpreter)
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.say("interpreter", interpreter(body.bytes).unwrap_or_default());
    facts.say("lines", text::lines(body.text, body.whole));
    facts.say("purpose", purpose(body.text).unwrap_or_default());
    let code = || text::settings(body.text);
    facts.list("functions", code().filter_map(function));
    facts.list(
        "imports",
        code().filter_map(|l| l.strip_prefix("import ").or_else(|| l.strip_prefix("from "))),
    );
    facts.list("sources", code().filter_map(|l| l.strip_prefix(". ").or_else(|| l.strip_prefix("source "))));
    facts.list("uses the network through", NETWORK.iter().filter(|tool| code().any(|l| uses(l, tool))));
    facts
}

/// Programs that fetch or send.
const NETWORK: [&str; 10] = ["curl", "wget", "nc", "ncat", "ssh", "scp", "rsync", "ftp", "socat", "telnet"];

/// Whether a program's name is a word of a line of shell.
fn uses(line: &str, tool: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))).any(|word| word == tool)
}

/// The name of a function that a line of shell or Python begins.
fn function(line: &str) -> Option<&str> {
    let name = match line.strip_prefix("def ").or_else(|| line.strip_prefix("function ")) {
        Some(rest) => rest.split(['(', ' ', '{']).next()?,
        None => line.split_once("()")?.0.trim_end(),
    };
    (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))).then_some(name)
}
