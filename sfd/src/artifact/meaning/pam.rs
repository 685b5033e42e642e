//! PAM stacks: `pam.d/*` and `pam.conf` (pam.conf(5)).

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::text::joined;

/// A service's file in `pam.d`.
pub(super) const PAM_D: Syntax = Syntax { parse: |text| parse(text, false), style: STYLE };
/// `pam.conf`, where each line begins with the service.
pub(super) const PAM_CONF: Syntax = Syntax { parse: |text| parse(text, true), style: STYLE };

const STYLE: Style = Style { ordered: true, secrets: false, ..Style::COLON };

fn parse(text: &str, with_service: bool) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in joined(text, &['#']) {
        let line = line.split(" #").next().unwrap_or_default();
        let mut words = words(line).into_iter();
        let service = if with_service { words.next().map(|word| format!("{word} ")) } else { None };
        let (Some(sort), Some(second)) = (words.next(), words.next()) else { continue };
        let service = service.unwrap_or_default();
        if sort.starts_with('@') {
            parsed.items.push(Item::new(format!("{service}{sort} {second}")));
            continue;
        }
        let module = words.next().unwrap_or_default();
        let module = module.rsplit('/').next().unwrap_or(module);
        let item = Item::new(format!("{service}{sort} {module}")).text("control", second);
        parsed.items.push(item.set("arguments", words));
    }
    parsed
}

/// Words; what is in brackets is one.
fn words(line: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    line.split(|c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c.is_whitespace() && depth == 0
    })
    .filter(|word| !word.is_empty())
    .collect()
}
