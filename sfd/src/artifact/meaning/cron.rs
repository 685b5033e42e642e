//! Crontabs (crontab(5)).

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::text::content;

/// The system's: the sixth word is the user.
pub(super) const SYSTEM: Syntax = Syntax { parse: |text| parse(text, true), style: Style::COLON };
/// A user's own.
pub(super) const USER: Syntax = Syntax { parse: |text| parse(text, false), style: Style::COLON };

fn parse(text: &str, with_user: bool) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#']) {
        let is_name = |name: &str| {
            let name = name.trim();
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if let Some((name, value)) = line.split_once('=').filter(|(name, _)| is_name(name)) {
            parsed.items.push(Item::setting(name.trim(), super::settings::unquoted(value.trim())));
            continue;
        }
        let times = if line.starts_with('@') { 1 } else { 5 };
        let (schedule, rest) = words(line, times);
        let (user, command) = if with_user { words(rest, 1) } else { (String::new(), rest) };
        if command.is_empty() {
            parsed.rest.push(line);
            continue;
        }
        let shown = super::clean(&super::mask_text(command), super::VALUE_CHARS_MAX);
        let item = Item::new(format!("job \"{shown}\"")).known_as(command).text("schedule", schedule);
        parsed.items.push(if with_user { item.text("user", user) } else { item });
    }
    parsed
}

/// The first words, and what comes after them.
fn words(line: &str, count: usize) -> (String, &str) {
    let (mut words, mut rest) = (Vec::with_capacity(count), line);
    for _ in 0..count {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    (words.join(" ").trim_end().to_owned(), rest)
}
