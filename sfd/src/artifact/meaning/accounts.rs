//! `passwd` and `group` (passwd(5), group(5)), `subuid` and `subgid`.

use super::Syntax;
use super::items::{Item, Parsed, Style};

/// `passwd`. What stands for the password is never shown, only what sort of thing it is.
pub(super) const PASSWD: Syntax = Syntax { parse: passwd, style: STYLE };
/// `group`.
pub(super) const GROUP: Syntax = Syntax { parse: group, style: STYLE };
/// `subuid`, `subgid`.
pub(super) const SUBORDINATE: Syntax = Syntax { parse: subordinate, style: STYLE };

const STYLE: Style = Style { secrets: false, ..Style::COLON };

fn passwd(text: &str) -> Parsed<'_> {
    of_lines(text, 7, |f| {
        Item::new(format!("account {}", f[0]))
            .text("uid", f[2])
            .text("gid", f[3])
            .text("password", password(f[1]))
            .text("comment", f[4])
            .text("home", f[5])
            .text("shell", f[6])
    })
}

fn group(text: &str) -> Parsed<'_> {
    of_lines(text, 4, |f| {
        let item = Item::new(format!("group {}", f[0])).text("gid", f[2]);
        item.text("password", password(f[1])).set("members", f[3].split(','))
    })
}

fn subordinate(text: &str) -> Parsed<'_> {
    of_lines(text, 3, |f| Item::setting(f[0], format!("{} from {}", f[2], f[1])))
}

/// What the second field says, never what it is.
fn password(field: &str) -> &'static str {
    match field {
        "x" => "in the shadow file",
        "" => "none needed",
        locked if locked.starts_with(['*', '!']) => "locked",
        _ => "here",
    }
}

fn of_lines(text: &str, fields: usize, item: impl Fn(&[&str]) -> Item) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let split: Vec<&str> = line.splitn(fields, ':').collect();
        if split.len() == fields {
            parsed.items.push(item(&split));
        } else {
            // Such as `+` of NIS. What it says might be anything, so only its name is told.
            parsed.items.push(Item::new(format!("line of {}", split[0])));
        }
    }
    parsed
}
