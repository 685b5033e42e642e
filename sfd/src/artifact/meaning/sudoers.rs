//! `sudoers` (sudoers(5)).

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::text::joined;

/// The last match wins, so the order of rules counts.
pub(super) const SUDOERS: Syntax =
    Syntax { parse, style: Style { ordered: true, secrets: false, ..Style::COLON } };

fn parse(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    // `#include` and `#includedir` are no comments, nor is `#1000`.
    let text = text.replace("#include", "@include");
    for line in joined(&text, &['#']) {
        let line = uncommented(&line);
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim();
        if word.starts_with("Defaults") {
            parsed.items.extend(options(rest).map(|option| default(word, option)));
        } else if word.starts_with('@') {
            parsed.items.push(Item::new(format!("{word} {rest}")));
        } else if word.ends_with("_Alias") {
            let (name, members) = rest.split_once('=').unwrap_or((rest, ""));
            parsed.items.push(Item::new(format!("{word} {}", name.trim())).set("", members.split(',')));
        } else {
            parsed.items.push(Item::setting(word, rest));
        }
    }
    parsed
}

/// `!authenticate`, `env_reset`, `secure_path="..."`, `env_keep += "..."`.
fn default(scope: &str, option: &str) -> Item {
    let option = option.trim();
    if let Some((name, value)) = option.split_once('=') {
        let name = name.trim().trim_end_matches(['+', '-']).trim();
        return Item::setting(format!("{scope} {name}"), value.trim().trim_matches('"'));
    }
    match option.strip_prefix('!') {
        Some(name) => Item::setting(format!("{scope} {name}"), "off"),
        None => Item::setting(format!("{scope} {option}"), "on"),
    }
}

/// Splits at commas outside of quotes.
fn options(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

/// Without the comment at its end. `#` before a digit is a user's number.
fn uncommented(line: &str) -> &str {
    let comment =
        line.match_indices(" #").find(|(at, _)| !line[at + 2..].starts_with(|c: char| c.is_ascii_digit()));
    comment.map_or(line, |(at, _)| line[..at].trim_end())
}
