//! Scripts with an interpreter line.

use super::{ArtifactInput, Draft, text};

/// The kernel reads at most this much of the line (`BINPRM_BUF_SIZE`, include/uapi/linux/binfmts.h).
const LINE_BYTES_MAX: usize = 256;

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && input.head.starts_with(b"#!") && interpreter(input.head).is_some()
}

/// The interpreter's name, looking through `env`.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.get(2..)?.split(|b| *b == b'\n').next()?;
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

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let interpreter = interpreter(input.head).unwrap_or_default();
    let lines = input.text().map_or_else(|| text::size(input.len), |t| text::lines(t, input.whole));
    let runs = if input.meta.mode & 0o111 == 0 { ", not executable" } else { "" };
    Draft::new(input.shown_name(), format!("Script for {interpreter}, {lines}{runs}."))
        .tag("script")
        .tag(interpreter)
}
