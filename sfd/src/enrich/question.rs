//! What a model is asked about: never where an artifact is, so that equal contents are one question wherever they are.

use crate::artifact::kinds::{Fact, Kind, invisible, is_text};
use crate::artifact::redact::mask_text;

/// Characters of the beginning that are shown. Most of what a file says about itself is in its first lines; with the
/// other parts, the facts and the rules a prompt is about 1000 tokens, which two cores read in 6 s (0.5B) to 20 s (1.5B).
const HEAD_CHARS_MAX: usize = 1200;
/// Characters of the middle ...
const MIDDLE_CHARS_MAX: usize = 400;
/// ... and of the end.
const TAIL_CHARS_MAX: usize = 400;
/// Runs of printable characters in binary data that are shorter are chance, not words (`strings` takes 4, and shows a
/// lot of machine code).
const STRING_CHARS_MIN: usize = 6;
/// Bytes of binary data that are searched for words on each side: enough to fill the excerpt from any program.
const BINARY_BYTES_MAX: usize = 64 << 10;

/// What a model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What rules say it is. A model cannot change it.
    pub kind: Kind,
    /// What the contents say, found by rules. The prompt takes the first ones that fit.
    pub facts: Vec<Fact>,
    /// Parts of the contents; empty when they are secret.
    pub excerpt: Excerpt,
    /// Length of the contents, bytes.
    pub len: u64,
}

/// Printable, bounded parts of some contents. They do not overlap; text that fits is all in `head`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// Its beginning, at most 1200 characters, or 2000 when that is all there is.
    pub head: String,
    /// Around its middle, at most 400 characters.
    pub middle: String,
    /// Its end, at most 400 characters.
    pub tail: String,
}

impl Excerpt {
    /// Text as text, without control and invisible characters, secrets masked and lines cut after 2 KiB; anything else as its
    /// printable strings, one a line.
    ///
    /// Looks at no more than 128 KiB of binary data; text is gone through once.
    pub fn of(contents: &[u8]) -> Self {
        match std::str::from_utf8(contents) {
            Ok(text) if is_text(contents) => Self::of_text(text),
            _ => Self::of_text(&strings(contents)),
        }
    }

    fn of_text(text: &str) -> Self {
        const ALL: usize = HEAD_CHARS_MAX + MIDDLE_CHARS_MAX + TAIL_CHARS_MAX;
        let whole = printable(text.chars(), ALL + 1);
        if whole.chars().count() <= ALL {
            return Self { head: masked(&whole), ..Self::default() };
        }
        let head = printable(text.chars(), HEAD_CHARS_MAX);
        let tail: String = printable(text.chars().rev(), TAIL_CHARS_MAX).chars().rev().collect();
        // From the middle on: there is more than the tail behind it, since the text is longer than all parts.
        let from = text.len() / 2;
        let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let middle = printable(text[from..].chars(), MIDDLE_CHARS_MAX);
        // What is left of a cut line could be the value of a secret's name that is not there.
        let whole_lines =
            |part: &str| part.split_once('\n').map_or_else(|| masked(part), |(_, rest)| masked(rest));
        Self { head: masked(&head), middle: whole_lines(&middle), tail: whole_lines(&tail) }
    }

    /// A quarter of each part, for a server whose context is smaller than thought.
    #[must_use]
    pub fn shrunk(&self) -> Self {
        let quarter = |part: &str| part.chars().take(part.chars().count() / 4).collect();
        Self { head: quarter(&self.head), middle: quarter(&self.middle), tail: quarter(&self.tail) }
    }

    /// Nothing to show.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.middle.is_empty() && self.tail.is_empty()
    }
}

/// The same lines, with what is a secret by its form or its name masked: contents that are secret as a whole are not asked
/// about, but a script may hold one password.
fn masked(text: &str) -> String {
    let line = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        format!("{}{}", &line[..indent], mask_text(line))
    };
    let mut out = text.lines().map(line).collect::<Vec<_>>().join("\n");
    if text.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// At most `max` characters that can be shown: line ends and tabs stay, other control characters and the invisible ones
/// go, and of many blank characters in a row one stays: they cost tokens and say nothing.
fn printable(chars: impl Iterator<Item = char>, max: usize) -> String {
    let mut out = String::new();
    let (mut count, mut blanks) = (0, 0);
    for c in chars {
        if (c.is_control() && !matches!(c, '\n' | '\t')) || invisible(c) {
            continue;
        }
        blanks = if c.is_whitespace() { blanks + 1 } else { 0 };
        // Eight, so that ordinary indentation stays as it is.
        if blanks > 8 {
            continue;
        }
        if count == max {
            break;
        }
        out.push(c);
        count += 1;
    }
    out
}

/// The runs of printable ASCII in the first and last 64 KiB, one a line.
fn strings(bytes: &[u8]) -> String {
    let (first, last) = if bytes.len() <= 2 * BINARY_BYTES_MAX {
        (bytes, &bytes[bytes.len()..])
    } else {
        (&bytes[..BINARY_BYTES_MAX], &bytes[bytes.len() - BINARY_BYTES_MAX..])
    };
    let mut out = String::new();
    for part in [first, last] {
        for run in part.split(|b| !matches!(b, b' '..=b'~')) {
            let run = run.trim_ascii();
            if run.len() >= STRING_CHARS_MIN {
                out.extend(run.iter().map(|b| char::from(*b)));
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_shown_as_a_whole() {
        let excerpt = Excerpt::of(b"[Unit]\nDescription=x\n\tindented\n");
        assert_eq!(excerpt.head, "[Unit]\nDescription=x\n\tindented\n");
        assert!(excerpt.middle.is_empty() && excerpt.tail.is_empty());
        assert!(Excerpt::of(b"").is_empty());
    }

    #[test]
    fn what_is_a_secret_within_a_text_is_masked() {
        let excerpt = Excerpt::of(
            b"#!/bin/sh\n  curl -u admin:hunter2 --token=hunter2 http://me:hunter2@x/\npassword = hunter2\n",
        );
        assert!(!excerpt.head.contains("hunter2"), "{}", excerpt.head);
        assert!(excerpt.head.starts_with("#!/bin/sh\n  curl -u admin:***"), "{}", excerpt.head);
        let cut = format!("{}\npassword = {}\n", "a line\n".repeat(1000), "hunter2".repeat(50));
        let excerpt = Excerpt::of(cut.repeat(2).as_bytes());
        assert!(!format!("{excerpt:?}").contains("hunter2"), "{excerpt:?}");
    }

    #[test]
    fn long_text_is_shown_by_its_ends_and_its_middle() {
        let text: String =
            (0..10_000).flat_map(|n| format!("line {n:05}\n").chars().collect::<Vec<_>>()).collect();
        let excerpt = Excerpt::of(text.as_bytes());
        assert_eq!(excerpt.head.chars().count(), HEAD_CHARS_MAX);
        assert!(excerpt.head.starts_with("line 00000\n"), "{}", excerpt.head);
        assert!(excerpt.middle.contains("line 05001"), "{}", excerpt.middle);
        assert!(excerpt.tail.ends_with("line 09999\n"), "{}", excerpt.tail);
        // Without the first line, which may be the rest of one that was cut.
        let whole = |part: &str| {
            (400 - "line 00000\n".len()..400).contains(&part.chars().count()) && part.starts_with("line ")
        };
        assert!(whole(&excerpt.middle) && whole(&excerpt.tail), "{excerpt:?}");
        let shrunk = excerpt.shrunk();
        let quarter = |part: &str| part.chars().count() / 4;
        assert_eq!(
            (shrunk.head.len(), shrunk.middle.len(), shrunk.tail.len()),
            (300, quarter(&excerpt.middle), quarter(&excerpt.tail))
        );
    }

    #[test]
    fn what_cannot_be_seen_is_not_shown() {
        let text = "red \u{1b}[31mhot\u{7}\u{202e}\u{200b}\r\nnext".to_owned() + &" ".repeat(5000);
        let excerpt = Excerpt::of(text.as_bytes());
        assert_eq!(excerpt.head, "red [31mhot\nnext");
        let blank = "\u{200b}".repeat(100_000) + &"é\n".repeat(100_000);
        let excerpt = Excerpt::of(blank.as_bytes());
        assert_eq!(excerpt.head.chars().count(), HEAD_CHARS_MAX);
        assert!(excerpt.head.chars().all(|c| matches!(c, 'é' | '\n')));
    }

    #[test]
    fn of_binary_data_the_words_are_shown() {
        let mut bytes = vec![0_u8, 1, 2, 0xff];
        bytes.extend(b"GLIBC_2.34\0ab\0/etc/ssl/certs\0");
        bytes.extend([0xc3, 0x28]);
        assert_eq!(Excerpt::of(&bytes).head, "GLIBC_2.34\n/etc/ssl/certs\n");
        let large = [vec![7; 10 << 20], b"\0the end of it\0".to_vec()].concat();
        assert_eq!(Excerpt::of(&large).head, "the end of it\n");
    }
}
