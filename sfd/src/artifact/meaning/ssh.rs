//! `sshd_config` and `ssh_config` (sshd_config(5), ssh_config(5)).

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::text::content;

/// Nothing in them is a secret; `PasswordAuthentication` is not one either.
pub(super) const SSH: Syntax =
    Syntax { parse, style: Style { ordered: true, secrets: false, ..Style::SPACE } };

fn parse(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    let mut context = String::new();
    for line in content(text, &['#']) {
        let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
        let (keyword, value) = line.split_at(end);
        let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
        // Keywords are matched without regard to case.
        let lower = keyword.to_ascii_lowercase();
        if lower == "match" || lower == "host" {
            context = if value.eq_ignore_ascii_case("all") {
                String::new()
            } else {
                format!("{keyword} {value}: ")
            };
        } else if lists(&lower) {
            let item = Item::new(format!("{context}{keyword}")).known_as(format!("{context}{lower}"));
            parsed.items.push(item.set("", value.split([' ', '\t', ','])));
        } else {
            let item = Item::setting(format!("{context}{keyword}"), value);
            parsed.items.push(item.known_as(format!("{context}{lower}")));
        }
    }
    parsed
}

/// Keywords whose value is a list in no order.
fn lists(keyword: &str) -> bool {
    matches!(keyword, "allowusers" | "denyusers" | "allowgroups" | "denygroups" | "acceptenv")
}
