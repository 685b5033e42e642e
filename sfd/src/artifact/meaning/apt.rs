//! Package sources of apt (sources.list(5)), in both forms.

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::text::content;

/// `deb [options] uri suite component...`
pub(super) const ONE_LINE: Syntax = Syntax { parse: one_line, style: Style::COLON };
/// Stanzas of `Name: value`.
pub(super) const DEB822: Syntax = Syntax { parse: deb822, style: Style::COLON };

fn one_line(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in content(text, &['#']) {
        let line = line.split(" #").next().unwrap_or_default();
        let (sort, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let (options, rest) = match rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'))
        {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uri = super::mask_text(words.next().unwrap_or_default());
        let item = Item::new(format!("{sort} {uri}")).text("suite", words.next().unwrap_or_default());
        parsed.items.push(item.set("components", words).set("options", options.split_whitespace()));
    }
    parsed
}

fn deb822(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    let (mut stanza, mut is_open) = (0_usize, false);
    let mut field: Option<(&str, String)> = None;
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            if let Some((_, value)) = &mut field {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        if let Some((name, value)) = field.take() {
            // The first stanza needs no number: mostly there is one.
            let name = if stanza > 1 { format!("source {stanza} {name}") } else { name.to_owned() };
            parsed.items.push(Item::new(name).set("", value.split_whitespace()));
        }
        match line.split_once(':') {
            Some((name, value)) => {
                stanza += usize::from(!is_open);
                is_open = true;
                field = Some((name.trim(), value.trim().to_owned()));
            }
            None if line.trim().is_empty() => is_open = false,
            None => parsed.rest.push(line),
        }
    }
    parsed
}
