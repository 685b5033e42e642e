//! What a change of contents means: "PermitRootLogin no -> yes" instead of "size 3262 -> 3263".
//!
//! Both texts are read into [`items`] by the syntax of their place, and the items are compared. Everything here is pure
//! and total. The work is linear in the two texts, of [`TEXT_BYTES_MAX`] each at most.
//!
//! Contents that are secret as a whole never come here. A value whose name says that it is a secret is masked, and so is
//! what has the form of one inside a value ([`mask_setting`]): the lines are kept for as long as history is.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::kinds::{Kind, clean, is_text};
use super::redact::{mask_setting, mask_text};
use items::{Parsed, Style, compare};

mod accounts;
mod apt;
mod cron;
mod data;
mod ini;
mod items;
mod pam;
mod place;
mod proc;
mod settings;
mod ssh;
mod sudoers;
mod tables;
mod text;

#[cfg(test)]
mod tests;

/// A line has at most this many characters.
pub const LINE_CHARS_MAX: usize = 160;
/// At most so many lines; the last one then says how many more there would be.
pub const LINES_MAX: usize = 8;
/// Longer contents, in bytes, are not compared: a live brick has none of them byte for byte anyway.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// A value is shown up to this many characters, so that two of them and a name fit a line.
const VALUE_CHARS_MAX: usize = 56;

/// The change is one of comments and empty lines.
const ONLY_COMMENTS: &str = "only comments or blank lines changed";
/// The change is one of spaces and tabs within lines.
const ONLY_SPACE: &str = "only white space changed";

/// How a text is read.
#[derive(Clone, Copy)]
struct Syntax {
    parse: fn(&str) -> Parsed<'_>,
    style: Style,
}

/// What the change from `before` to `after` means, a line each; none where nothing can be said.
///
/// `kind` is what the artifact is after the change. For a symbolic link the contents are its target.
pub fn of(kind: Kind, path: &Path, before: &[u8], after: &[u8]) -> Vec<String> {
    if before == after || before.len().max(after.len()) > TEXT_BYTES_MAX {
        return Vec::new();
    }
    let mut lines = Lines::default();
    if kind == Kind::Symlink {
        let target = |bytes: &[u8]| shown("", &String::from_utf8_lossy(bytes));
        lines.push(format!("target {} -> {}", target(before), target(after)));
        return lines.finish();
    }
    if matches!(
        kind,
        Kind::ProcProjection | Kind::SocketTable | Kind::ModuleList | Kind::MountTable | Kind::Sysctl
    ) {
        proc::compare(kind, path, before, after, &mut lines);
        return lines.finish();
    }
    if !is_text(before) || !is_text(after) {
        return Vec::new();
    }
    let (Ok(before), Ok(after)) = (std::str::from_utf8(before), std::str::from_utf8(after)) else {
        return Vec::new();
    };
    match place::syntax(kind, path, before, after) {
        Some(syntax) => {
            let (old, new) = ((syntax.parse)(before), (syntax.parse)(after));
            match (old.is_broken, new.is_broken) {
                (false, true) => lines.push("not valid any more".to_owned()),
                (true, false) => lines.push("valid again".to_owned()),
                _ => compare(&syntax.style, &old, &new, &mut lines),
            }
            if lines.is_empty() || old.is_broken != new.is_broken {
                text::compare(before, after, &syntax.style, &mut lines);
            }
        }
        None => text::compare(before, after, &text::style_of(kind), &mut lines),
    }
    lines.finish()
}

/// The lines so far. Those beyond the bound are counted.
#[derive(Default)]
struct Lines {
    shown: Vec<String>,
    more: usize,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// Whether another line would be seen: making one costs more than counting it.
    fn has_room(&self) -> bool {
        self.shown.len() < LINES_MAX
    }

    fn push(&mut self, line: String) {
        self.push_with(|| line);
    }

    fn push_with(&mut self, line: impl FnOnce() -> String) {
        if self.has_room() {
            self.shown.push(clean(&line(), LINE_CHARS_MAX));
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.shown.truncate(LINES_MAX - 1);
            self.shown.push(format!("and {} more", self.more + 1));
        }
        self.shown
    }
}

/// A value fit to be shown: masked where it is a secret, and short.
fn shown(name: &str, value: &str) -> String {
    let value = masked(name, value);
    if value.is_empty() { "(empty)".to_owned() } else { clean(&value, VALUE_CHARS_MAX) }
}

/// The two sides of a change. Of long ones the beginning that they share is left out.
fn shown_pair(name: &str, before: &str, after: &str) -> (String, String) {
    short_pair(&masked(name, before), &masked(name, after))
}

/// The same for two lines whose syntax is not known.
fn shown_pair_of_lines(before: &str, after: &str) -> (String, String) {
    short_pair(&mask_text(before), &mask_text(after))
}

fn short_pair(before: &str, after: &str) -> (String, String) {
    let shared: usize =
        before.chars().zip(after.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let is_long = |text: &str| text.chars().nth(VALUE_CHARS_MAX).is_some();
    // Up to the beginning of the word that differs.
    let cut = before[..shared].rfind([' ', ',', '/', ':']).map_or(shared, |at| at + 1);
    let short = |text: &str| {
        if text.is_empty() {
            "(empty)".to_owned()
        } else if cut > 0 && (is_long(before) || is_long(after)) {
            format!("…{}", clean(&text[cut..], VALUE_CHARS_MAX - 1))
        } else {
            clean(text, VALUE_CHARS_MAX)
        }
    };
    (short(before), short(after))
}

/// The beginning of a value, without secrets.
fn masked(name: &str, value: &str) -> String {
    /// More than is ever shown; the rules that find secrets are slow.
    const LOOKED_AT: usize = 2048;
    let end = value.floor_char_boundary(LOOKED_AT);
    mask_setting(name, value[..end].trim())
}

/// The last component of a path.
fn file_name(path: &Path) -> &[u8] {
    path.file_name().map_or(&b""[..], OsStrExt::as_bytes)
}
