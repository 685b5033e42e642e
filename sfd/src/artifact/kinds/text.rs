//! Text: what is some, and how it is made fit to be shown.

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
    fn text_or_not() {
        assert_eq!(of(b"ab\xc3", false), Some("ab"));
        assert_eq!(of(b"ab\xc3", true), None);
        assert_eq!(of(b"a\0b", true), None);
        assert_eq!(of(b"\x01\x02\x03", true), None);
        assert_eq!(of("grüße\n".as_bytes(), true), Some("grüße\n"));
    }
}
