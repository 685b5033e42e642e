//! Tables of words: `fstab`, `hosts`, `resolv.conf`, `nsswitch.conf`, `modprobe.d`, and lists.

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::text::{content, joined};

/// fstab(5).
pub(super) const FSTAB: Syntax = Syntax { parse: fstab, style: Style::COLON };
/// hosts(5).
pub(super) const HOSTS: Syntax = Syntax { parse: hosts, style: Style { secrets: false, ..Style::COLON } };
/// resolv.conf(5).
pub(super) const RESOLV: Syntax = Syntax {
    parse: resolv,
    style: Style { ordered: true, secrets: false, comments: &['#', ';'], ..Style::SPACE },
};
/// nsswitch.conf(5): `passwd` is a database.
pub(super) const NSSWITCH: Syntax =
    Syntax { parse: nsswitch, style: Style { secrets: false, ..Style::COLON } };
/// modprobe.d(5).
pub(super) const MODPROBE: Syntax = Syntax { parse: modprobe, style: Style::COLON };
/// A name a line, such as libraries and directories for the loader; the order counts.
pub(super) const LIST: Syntax =
    Syntax { parse: list, style: Style { ordered: true, secrets: false, ..Style::COLON } };

fn fstab(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#']) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(device), Some(place)) = (words.first(), words.get(1)) else {
            parsed.rest.push(line);
            continue;
        };
        let word = |at: usize, default| words.get(at).copied().unwrap_or(default);
        let name = if matches!(*place, "none" | "swap") {
            format!("swap {device}")
        } else {
            format!("mount {place}")
        };
        parsed.items.push(
            Item::new(name)
                .text("device", *device)
                .text("type", word(2, "auto"))
                .set("options", word(3, "defaults").split(','))
                .text("dump", word(4, "0"))
                .text("pass", word(5, "0")),
        );
    }
    parsed
}

fn hosts(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#']) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else { continue };
        parsed.items.extend(words.map(|name| Item::setting(name, address)));
    }
    parsed
}

fn resolv(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#', ';']) {
        let (keyword, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let item = match keyword {
            "options" => Item::new(keyword).set("", value.split_whitespace()),
            _ => Item::setting(keyword, value.trim()),
        };
        parsed.items.push(item);
    }
    parsed
}

fn nsswitch(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#']) {
        match line.split('#').next().and_then(|line| line.split_once(':')) {
            Some((name, value)) => {
                let value: Vec<&str> = value.split_whitespace().collect();
                parsed.items.push(Item::setting(name.trim(), value.join(" ")));
            }
            None => parsed.rest.push(line),
        }
    }
    parsed
}

fn modprobe(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in joined(text, &['#']) {
        let mut words = line.splitn(3, char::is_whitespace).map(str::trim);
        let (verb, module) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let rest = words.next().unwrap_or_default();
        let item = Item::new(format!("{verb} {module}"));
        parsed.items.push(match verb {
            "options" => item.set("", rest.split_whitespace()),
            _ if rest.is_empty() => item,
            _ => item.text("", rest),
        });
    }
    parsed
}

fn list(text: &str) -> Parsed<'_> {
    Parsed { items: content(text, &['#']).map(Item::new).collect(), ..Parsed::default() }
}
