//! Text: what is some, and how it is made fit to be shown.

use std::borrow::Cow;

/// One line of printable text of at most `max` characters. Control characters, line and paragraph separators become a
/// space; invisible characters and those that change the direction of writing go.
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut space = false;
    for c in text.chars() {
        let blank = c.is_whitespace() || c.is_control();
        if !blank && invisible(c) {
            continue;
        }
        if blank {
            space = count > 0;
            continue;
        }
        // Room for the space and the character, or for the mark that says something is missing.
        if count + usize::from(space) + 1 > max.saturating_sub(1) {
            out.push('…');
            return out;
        }
        if space {
            out.push(' ');
            count += 1;
            space = false;
        }
        out.push(c);
        count += 1;
    }
    out
}

/// Zero-width characters, bidirectional controls, soft hyphen, variation and language tags, byte order mark.
pub(crate) fn invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Bytes as text, if they are UTF-8 with hardly any control characters. `whole` is `false` when the end may be cut.
pub(super) fn of(bytes: &[u8], whole: bool) -> Option<&str> {
    // Most of what is not text has a NUL near its beginning, and is then not gone through any further.
    if bytes.contains(&0) {
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Only a character cut at the very end is forgiven.
        Err(e) if !whole && e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    // Escape sequences and form feeds occur in text.
    let controls = text.bytes().filter(|b| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c)).count();
    (controls * 100 <= text.len()).then_some(text)
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// `3 lines`, or for a cut text `more than 3 lines`.
pub(super) fn lines(text: &str, whole: bool) -> String {
    let n = text.lines().count();
    let s = if n == 1 { "" } else { "s" };
    if whole { format!("{n} line{s}") } else { format!("more than {n} line{s}") }
}

/// `no host`, `1 host`, `3 hosts`, or for a cut text `more than 3 hosts`.
pub(super) fn count(n: usize, whole: bool, noun: &str) -> String {
    let many = match noun.strip_suffix("ry") {
        Some(stem) => format!("{stem}ries"),
        None if noun.ends_with('s') => format!("{noun}es"),
        None => format!("{noun}s"),
    };
    match (n, whole) {
        (0, true) => format!("no {noun}"),
        (1, true) => format!("1 {noun}"),
        (_, true) => format!("{n} {many}"),
        (_, false) => format!("more than {n} {many}"),
    }
}

/// The first `max` of some names, and how many more there are: `a, b and 7 more`. Each is cut at 60 characters, and no
/// more than 10 000 are counted.
pub(super) fn list<S: AsRef<str>>(names: impl IntoIterator<Item = S>, max: usize) -> String {
    let mut names = names.into_iter().take(10_000);
    let shown: Vec<String> = names.by_ref().take(max).map(|n| clean(n.as_ref(), 60)).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The lines of a configuration that say something: trimmed, without blank ones and comments.
pub(super) fn settings(body: &str) -> impl Iterator<Item = &str> {
    body.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';']))
}

/// A configuration in which a backslash at the end of a line goes on with the next one.
pub(super) fn joined(body: &str) -> Cow<'_, str> {
    if body.contains("\\\n") { Cow::Owned(body.replace("\\\n", " ")) } else { Cow::Borrowed(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans() {
        for (have, max, want) in [
            ("plain", 10, "plain"),
            ("  two\n\t words \u{7}", 20, "two words"),
            ("a\u{1b}[31mred", 20, "a [31mred"),
            ("gpj\u{202e}exe", 20, "gpjexe"),
            ("0123456789", 5, "0123…"),
            ("", 5, ""),
            ("x", 0, "…"),
        ] {
            assert_eq!(clean(have, max), want);
        }
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn counts_and_lists() {
        assert_eq!(count(0, true, "host"), "no host");
        assert_eq!(count(2, true, "entry"), "2 entries");
        assert_eq!(count(2, false, "host"), "more than 2 hosts");
        assert_eq!(list(["a", "b\n"], 2), "a, b");
        assert_eq!(list(["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(list(std::iter::repeat("x"), 1), "x and 9999 more");
        assert_eq!(settings("# c\n a = 1 \n\n;x\nb").collect::<Vec<_>>(), ["a = 1", "b"]);
        assert_eq!(joined("a \\\n b"), "a   b");
    }

    #[test]
    fn text_or_not() {
        assert_eq!(of(b"ab\xc3", false), Some("ab"));
        assert_eq!(of(b"ab\xc3", true), None);
        assert_eq!(of(b"a\0b", true), None);
        assert_eq!(of(b"\x01\x02\x03", true), None);
        assert_eq!(of("grüße\n".as_bytes(), true), Some("grüße\n"));
    }
}
