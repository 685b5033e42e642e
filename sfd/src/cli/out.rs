//! Standard output: text for people, JSON for programs, never both.

use std::io::{self, BufWriter, IsTerminal, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Map, Value};

use super::CliError;
use crate::artifact::kinds::invisible;

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    /// JSON instead of text.
    pub(super) json: bool,
    /// Nothing that was not asked for.
    pub(super) quiet: bool,
}

impl Out {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether a progress bar makes sense.
    pub(super) fn shows_progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Writes through one buffer, and reports what the terminal or the pipe says.
    #[expect(clippy::unused_self, reason = "whoever prints has been told how")]
    pub(super) fn write(self, body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
        let mut buffer = BufWriter::new(io::stdout().lock());
        body(&mut buffer)
            .and_then(|()| buffer.flush())
            .map_err(|error| CliError::io("standard output", &error))
    }

    /// One line of text.
    pub(super) fn line(self, text: impl std::fmt::Display) -> Result<(), CliError> {
        self.write(|out| writeln!(out, "{text}"))
    }

    /// One JSON document on one line.
    pub(super) fn json_line(self, value: &impl Serialize) -> Result<(), CliError> {
        let text =
            serde_json::to_string(value).map_err(|error| CliError::io("standard output", &error.into()))?;
        self.line(text)
    }
}

/// Text that is safe on a terminal: control characters, which a file name may hold, are escaped.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// A line of somebody else's text that is safe on a terminal and shows what is in it: control characters but tabs are
/// escaped, and so are characters that are invisible or change the direction of writing.
pub(super) fn printable_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\t') || invisible(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// A path in JSON: lossy as `key`, and exact, in base64, as `key_bytes` where it is not UTF-8.
pub(super) fn path_fields(fields: &mut Map<String, Value>, key: &str, path: &[u8]) {
    fields.insert(key.to_owned(), String::from_utf8_lossy(path).into());
    if std::str::from_utf8(path).is_err() {
        fields.insert(format!("{key}_bytes"), BASE64.encode(path).into());
    }
}

/// A size as people read it: `1.4 MiB`.
pub(super) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A count with thin groups: `1 523`.
pub(super) fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Local time to the millisecond.
pub(super) fn human_time(at_ns: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(at_ns)) {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => at_ns.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(human_count(1_234_567), "1 234 567");
        assert_eq!(human_count(12), "12");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1_500_000), "1.4 MiB");
    }

    #[test]
    fn a_file_name_cannot_drive_the_terminal() {
        assert_eq!(printable("a\n\u{1b}[2Jb"), "a\\n\\u{1b}[2Jb");
        assert_eq!(printable_line("\ta\r\u{9b}2J"), "\ta\\r\\u{9b}2J");
        assert_eq!(printable_line("if (\u{202e}x)\u{200b}"), "if (\\u{202e}x)\\u{200b}");
    }
}
