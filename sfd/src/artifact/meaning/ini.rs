//! Units of systemd and other INI files: `section.key: a -> b`.

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::text::joined;

/// Both.
pub(super) const INI: Syntax = Syntax { parse, style: Style { comments: &['#', ';'], ..Style::COLON } };

fn parse(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    let mut section = String::new();
    for line in joined(text, &['#', ';']) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            section = format!("{}.", name.trim());
        } else if let Some((key, value)) = line.split_once('=') {
            parsed.items.push(Item::setting(format!("{section}{}", key.trim()), value.trim()));
        } else {
            parsed.items.push(Item::new(format!("{section}{line}")));
        }
    }
    parsed
}
