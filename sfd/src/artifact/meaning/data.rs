//! JSON, TOML and YAML: dotted keys with values, lists as sets of values.

use serde_json::Value as Json;

use super::Syntax;
use super::items::{Item, Parsed, Style};
use super::settings::unquoted;

/// JSON. It has no comments.
pub(super) const JSON: Syntax = Syntax { parse: json, style: Style { comments: &[], ..Style::COLON } };
/// TOML.
pub(super) const TOML: Syntax = Syntax { parse: toml, style: Style::COLON };
/// YAML, as far as configuration uses it: mappings, lists, scalars, blocks. Anything else is a value as it stands.
pub(super) const YAML: Syntax = Syntax { parse: yaml, style: Style { indented: true, ..Style::COLON } };

fn json(text: &str) -> Parsed<'_> {
    // serde_json stops at a depth of 128 by itself.
    let value = serde_json::from_str(text.trim_start_matches('\u{feff}'));
    of_value(text, value.ok())
}

fn toml(text: &str) -> Parsed<'_> {
    let value = toml::from_str::<toml::Table>(text).ok().and_then(|table| serde_json::to_value(table).ok());
    of_value(text, value)
}

/// What is not valid is compared line by line.
fn of_value(text: &str, value: Option<Json>) -> Parsed<'_> {
    let Some(value) = value else {
        return Parsed { rest: text.lines().collect(), is_broken: true, ..Parsed::default() };
    };
    let mut items = Vec::new();
    flatten(&mut String::new(), &value, &mut items);
    Parsed { items, ..Parsed::default() }
}

fn flatten(name: &mut String, value: &Json, items: &mut Vec<Item>) {
    /// Longer names are cut anyway (by `Item`); this keeps them from being copied at each leaf below.
    const NAME_BYTES: usize = 256;
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let end = name.len();
                if end < NAME_BYTES {
                    if end > 0 {
                        name.push('.');
                    }
                    name.push_str(&key[..key.floor_char_boundary(NAME_BYTES)]);
                }
                flatten(name, value, items);
                name.truncate(end);
            }
        }
        // The order of a list seldom means anything to a person; what came and went does.
        Json::Array(list) if list.iter().all(|value| !value.is_object() && !value.is_array()) => {
            let values: Vec<String> = list.iter().map(scalar).collect();
            items.push(Item::new(name.as_str()).set("", values.iter().map(String::as_str)));
        }
        Json::Array(list) => {
            for value in list {
                let end = name.len();
                if end < NAME_BYTES {
                    name.push_str("[]");
                }
                flatten(name, value, items);
                name.truncate(end);
            }
        }
        value => items.push(Item::setting(name.as_str(), scalar(value))),
    }
}

fn scalar(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A mapping or list that a line of YAML is in.
struct Level {
    indent: usize,
    /// Bytes of the name before it.
    name: usize,
}

fn yaml(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    let (mut name, mut levels) = (String::new(), Vec::<Level>::new());
    // What a block (`|`, `>`) is the value of, how far in that is, and what it says so far.
    let mut block: Option<(String, usize, String)> = None;
    for line in text.lines().chain(["---"]) {
        let body = line.trim();
        let indent = line.len() - line.trim_start().len();
        if let Some((_, within, value)) = &mut block
            && (body.is_empty() || (indent > *within && line != "---"))
        {
            value.push_str(body);
            value.push(' ');
            continue;
        }
        if let Some((name, _, value)) = block.take() {
            parsed.items.push(Item::setting(name, value.trim_end()));
        }
        if body.is_empty() || body.starts_with('#') || matches!(body, "---" | "...") || body.starts_with('%')
        {
            continue;
        }
        // A dash makes the rest of its line a deeper one.
        let (mut body, mut indent, mut is_entry) = (body, indent, false);
        while let Some(rest) =
            body.strip_prefix("- ").or_else(|| body.strip_prefix('-').filter(|rest| rest.is_empty()))
        {
            indent += body.len() - rest.trim_start().len();
            body = rest.trim_start();
            is_entry = true;
        }
        while levels.last().is_some_and(|level| level.indent >= indent) {
            if let Some(level) = levels.pop() {
                name.truncate(level.name);
            }
        }
        match key_and_value(body) {
            Some((key, value)) => {
                let start = name.len();
                if name.len() < 256 {
                    if !name.is_empty() {
                        name.push_str(if is_entry { "[]." } else { "." });
                    }
                    name.push_str(&key[..key.floor_char_boundary(64)]);
                }
                if value.starts_with(['|', '>']) {
                    block = Some((name.clone(), indent, String::new()));
                    name.truncate(start);
                } else if value.is_empty() || value.starts_with(['&', '!']) {
                    levels.push(Level { indent, name: start });
                } else {
                    parsed.items.push(Item::setting(name.as_str(), unquoted(value)));
                    name.truncate(start);
                }
            }
            None if !body.is_empty() => {
                let what = if name.is_empty() { "list" } else { name.as_str() };
                parsed.items.push(Item::setting(what, unquoted(uncommented(body))));
            }
            None => {}
        }
    }
    parsed
}

/// `key: value`, without a comment at the end.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, "")))?;
    let key = unquoted(key.trim());
    (!key.is_empty() && !key.starts_with(['{', '['])).then_some((key, uncommented(value.trim())))
}

fn uncommented(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    if value.starts_with(['"', '\'']) { value } else { value.split(" #").next().unwrap_or(value).trim_end() }
}
