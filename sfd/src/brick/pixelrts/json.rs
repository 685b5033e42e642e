//! Compact JSON in ASCII: a PNG text chunk is Latin-1, and its readers take it for UTF-8. ASCII is both.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

/// Appends `value` as JSON; whatever is not ASCII is escaped.
pub(super) fn append(out: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, Ascii))
}

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !c.is_ascii()) {
            let (ascii, other) = rest.split_at(at);
            writer.write_all(ascii.as_bytes())?;
            let mut chars = other.chars();
            if let Some(c) = chars.next() {
                // Above U+FFFF JSON has the two halves that UTF-16 has.
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back_from_ascii(text in ".*") {
            let mut out = Vec::new();
            append(&mut out, &text).unwrap();
            prop_assert!(out.is_ascii() && !out.contains(&0), "{out:?}");
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn names_are_escaped_as_json_escapes_them() {
        let mut out = Vec::new();
        append(&mut out, &"a\u{e9}\u{1f9f1}\n\"").unwrap();
        assert_eq!(out, br#""a\u00e9\ud83e\uddf1\n\"""#);
    }
}
