//! Settings, one a line: `key = value`, `KEY value`, assignments of a shell.

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::text::content;

/// `key = value`, comments with `#` or `;`.
pub(super) const EQUALS: Syntax =
    Syntax { parse: equals, style: Style { comments: &['#', ';'], ..Style::COLON } };
/// The same with the names of sysctl(8).
pub(super) const SYSCTL: Syntax =
    Syntax { parse: sysctl, style: Style { comments: &['#', ';'], secrets: false, ..Style::COLON } };
/// `KEY value`: login.defs(5). Its names (`PASS_MAX_DAYS`) are no secrets' names.
pub(super) const WORDS: Syntax = Syntax { parse: words, style: Style { secrets: false, ..Style::SPACE } };
/// `NAME=value` and `export NAME=value`; what else a shell's file says are other lines.
pub(super) const SHELL: Syntax = Syntax { parse: shell, style: Style::COLON };

fn equals(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#', ';']) {
        match line.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                parsed.items.push(Item::setting(key.trim(), value.trim()));
            }
            _ => parsed.rest.push(line),
        }
    }
    parsed
}

fn sysctl(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#', ';']) {
        match line.split_once('=') {
            Some((key, value)) => {
                // A minus: errors are to be ignored. Slashes may stand for dots, if the first separator is one.
                let key = key.trim().trim_start_matches('-').trim();
                let slashed = key.find(['/', '.']).is_some_and(|at| key[at..].starts_with('/'));
                let name = if slashed { key.replace('/', ".") } else { key.to_owned() };
                let value: Vec<&str> = value.split_whitespace().collect();
                parsed.items.push(Item::setting(name, value.join(" ")));
            }
            None => parsed.rest.push(line),
        }
    }
    parsed
}

fn words(text: &str) -> Parsed<'_> {
    let settings = content(text, &['#']).map(|line| {
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        Item::setting(key, value.trim())
    });
    Parsed { items: settings.collect(), ..Parsed::default() }
}

fn shell(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#']) {
        let bare = line.strip_prefix("export ").unwrap_or(line).trim_start();
        match bare.split_once('=') {
            Some((name, value)) if is_name(name) => {
                parsed.items.push(Item::setting(name, unquoted(value.trim())));
            }
            _ => parsed.rest.push(line),
        }
    }
    parsed
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Without quotes around the whole of it.
pub(super) fn unquoted(value: &str) -> &str {
    let inside =
        |quote: char| value.strip_prefix(quote)?.strip_suffix(quote).filter(|value| !value.contains(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

/// Whether nearly every line of a text that says anything is a setting with `=`.
pub(super) fn looks_like_equals(text: &str) -> bool {
    let is_setting = |line: &str| {
        line.split_once('=').is_some_and(|(key, _)| {
            let key = key.trim();
            !key.is_empty()
                && key.len() <= 100
                && key.chars().all(|c| c.is_alphanumeric() || "_-./:".contains(c))
        })
    };
    let (mut all, mut settings) = (0, 0);
    for line in content(text, &['#', ';']) {
        all += 1;
        settings += usize::from(is_setting(line));
    }
    // A line in five may be something else: an include, the rest of a long value.
    all > 0 && settings * 5 >= all * 4
}
