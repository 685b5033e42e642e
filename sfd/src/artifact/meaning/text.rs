//! Text whose syntax is not known: which lines came and went.

use std::collections::HashMap;

use super::items::Style;
use super::{Kind, Lines, ONLY_COMMENTS, ONLY_SPACE, VALUE_CHARS_MAX, clean, mask_text};

/// How text is compared whose syntax is not known.
pub(super) fn style_of(kind: Kind) -> Style {
    // A `#` begins a heading in prose; what is indented may mean something anywhere.
    let comments: &[char] = if matches!(kind, Kind::Text) { &[] } else { &['#'] };
    Style { comments, indented: true, ..Style::COLON }
}

/// The lines that say something, without white space at their ends.
pub(super) fn content<'a>(text: &'a str, comments: &'static [char]) -> impl Iterator<Item = &'a str> {
    text.lines().map(str::trim).filter(move |line| !line.is_empty() && !line.starts_with(comments))
}

/// Lines of which the ones that end in a backslash are joined with the next, without comments.
pub(super) fn joined(text: &str, comments: &'static [char]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in content(text, comments) {
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match lines.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(part.trim());
            }
            None => lines.push(part.trim_end().to_owned()),
        }
        open = more;
    }
    lines
}

/// Tells which lines are different.
pub(super) fn compare(before: &str, after: &str, style: &Style, lines: &mut Lines) {
    let meant = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| {
            let line = line.trim_start();
            // The first line of a script is none.
            !line.is_empty() && (!line.starts_with(style.comments) || line.starts_with("#!"))
        });
        let trim =
            |line: &str| if style.indented { line.trim_end().to_owned() } else { line.trim().to_owned() };
        lines.map(trim).collect()
    };
    let (old, new) = (meant(before), meant(after));
    if old == new {
        return lines.push(ONLY_COMMENTS.to_owned());
    }
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let words = |lines: &[&str]| -> Vec<String> {
        lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    if words(&old) == words(&new) {
        return lines.push(ONLY_SPACE.to_owned());
    }
    let all = |text| -> Vec<&str> { str::lines(text).collect() };
    let (before, after) = (all(before), all(after));
    // Comments count only if nothing else has changed.
    match changed_lines(&old, &new) {
        Some(changed) => lines.push(changed.tell("line")),
        None => lines.push(match changed_lines(&before, &after) {
            Some(_) => "lines moved, comments changed".to_owned(),
            None => "lines moved".to_owned(),
        }),
    }
}

/// Lines that came and went.
pub(super) struct Changed<'a> {
    removed: Vec<&'a str>,
    added: Vec<&'a str>,
}

/// The lines that only one side has; `None`: both have the same, perhaps in another order.
pub(super) fn changed_lines<'a>(before: &[&'a str], after: &[&'a str]) -> Option<Changed<'a>> {
    let mut count: HashMap<&str, i64> = HashMap::new();
    for line in before {
        *count.entry(line).or_default() += 1;
    }
    for line in after {
        *count.entry(line).or_default() -= 1;
    }
    // The first ones of a line that is there several times stand for all of them: which one went cannot be seen.
    let mut take = |lines: &[&'a str], sign: i64| -> Vec<&'a str> {
        let is_it = |line: &&&str| match count.get_mut(**line) {
            Some(count) if *count * sign > 0 => {
                *count -= sign;
                true
            }
            _ => false,
        };
        lines.iter().filter(is_it).copied().collect()
    };
    let (removed, added) = (take(before, 1), take(after, -1));
    (!removed.is_empty() || !added.is_empty()).then_some(Changed { removed, added })
}

impl Changed<'_> {
    /// In one line; `noun` is what is counted.
    pub(super) fn tell(&self, noun: &str) -> String {
        let quote = |line: &str| format!("\"{}\"", clean(&mask_text(line), VALUE_CHARS_MAX));
        let count = |n: usize| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
        match (self.removed.as_slice(), self.added.as_slice()) {
            ([removed], [added]) => {
                let (old, new) = super::shown_pair_of_lines(removed, added);
                if old == new {
                    format!("1 {noun} changed (not shown)")
                } else {
                    format!("{noun} \"{old}\" -> \"{new}\"")
                }
            }
            ([], [first]) => format!("{} added: {}", count(1), quote(first)),
            ([first], []) => format!("{} removed: {}", count(1), quote(first)),
            ([], added @ [first, ..]) => format!("{} added, first {}", count(added.len()), quote(first)),
            (removed @ [first, ..], []) => {
                format!("{} removed, first {}", count(removed.len()), quote(first))
            }
            (removed, added) => {
                let first = added.first().copied().unwrap_or_default();
                format!(
                    "{} added, {} removed, first added {}",
                    count(added.len()),
                    removed.len(),
                    quote(first)
                )
            }
        }
    }
}
