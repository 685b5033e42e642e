//! A text as a list of named things, and what is different between two such lists.

use std::collections::HashMap;

use super::text::changed_lines;
use super::{Lines, VALUE_CHARS_MAX, clean, shown, shown_pair};

/// A name has at most this many bytes; what is longer is cut, so that names that repeat their parents (keys of JSON) do
/// not take the square of the text.
const NAME_BYTES_MAX: usize = 120;

/// One setting, account, mount, rule ...
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// What makes it the same thing before and after.
    key: String,
    /// What it is called.
    name: String,
    fields: Vec<Field>,
}

/// Something that is said of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Field {
    /// Empty: it is the value of the item.
    label: &'static str,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Value {
    Text(String),
    /// Words whose order means nothing; sorted.
    Set(Vec<String>),
}

impl Item {
    /// Something that is there or is not.
    pub(super) fn new(name: impl Into<String>) -> Self {
        let mut name = name.into();
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
        Self { key: name.clone(), name, fields: Vec::new() }
    }

    /// A name with a value.
    pub(super) fn setting(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name).text("", value)
    }

    /// It is the same thing as before if this is the same, whatever it is called.
    pub(super) fn known_as(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self.key.truncate(self.key.floor_char_boundary(NAME_BYTES_MAX));
        self
    }

    /// Says something of it.
    pub(super) fn text(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.fields.push(Field { label, value: Value::Text(value.into()) });
        self
    }

    /// Says of it which words it has, in whatever order.
    pub(super) fn set<'a>(mut self, label: &'static str, words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words: Vec<String> =
            words.into_iter().map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        words.sort_unstable();
        self.fields.push(Field { label, value: Value::Set(words) });
        self
    }
}

/// A text that was read.
#[derive(Debug, Default)]
pub(super) struct Parsed<'a> {
    pub(super) items: Vec<Item>,
    /// Lines that the syntax does not know, in their order.
    pub(super) rest: Vec<&'a str>,
    /// It is not what it should be by its name; all of it is in `rest`.
    pub(super) is_broken: bool,
}

/// How the changes of a syntax are told.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// Between a name and its value.
    pub(super) between: &'static str,
    /// What is said of an item that is new ...
    pub(super) added: &'static str,
    /// ... and of one that is gone.
    pub(super) removed: &'static str,
    /// The order of the items means something.
    pub(super) ordered: bool,
    /// A name such as `password` is a secret's; `false` where it is an ordinary word of the syntax.
    pub(super) secrets: bool,
    /// What comments begin with.
    pub(super) comments: &'static [char],
    /// White space at the beginning of a line means something.
    pub(super) indented: bool,
}

impl Style {
    /// `name: a -> b`, comments with `#`.
    pub(super) const COLON: Self = Self {
        between: ": ",
        added: "added",
        removed: "removed",
        ordered: false,
        secrets: true,
        comments: &['#'],
        indented: false,
    };
    /// `name a -> b`, comments with `#`.
    pub(super) const SPACE: Self = Self { between: " ", ..Self::COLON };
}

/// The items of one name that are not on both sides.
#[derive(Default)]
struct Sides<'a> {
    before: Vec<&'a Item>,
    after: Vec<&'a Item>,
}

/// Tells what is different.
pub(super) fn compare(style: &Style, before: &Parsed<'_>, after: &Parsed<'_>, lines: &mut Lines) {
    let mut order: Vec<&str> = Vec::new();
    let mut sides: HashMap<&str, Sides<'_>> = HashMap::new();
    for (items, is_after) in [(&before.items, false), (&after.items, true)] {
        for item in items {
            let sides = sides.entry(&item.key).or_insert_with(|| {
                order.push(&item.key);
                Sides::default()
            });
            if is_after { &mut sides.after } else { &mut sides.before }.push(item);
        }
    }
    let mut changed = false;
    for key in order {
        let Some(sides) = sides.remove(key) else { continue };
        let (gone, new) = (without(&sides.before, &sides.after), without(&sides.after, &sides.before));
        changed |= !gone.is_empty() || !new.is_empty();
        if gone.len() == new.len() {
            for (before, after) in gone.iter().zip(&new) {
                tell_changed(style, before, after, lines);
            }
        } else {
            for item in gone {
                lines.push_with(|| whole(style, item, style.removed));
            }
            for item in new {
                lines.push_with(|| whole(style, item, style.added));
            }
        }
    }
    let other = changed_lines(&before.rest, &after.rest);
    if let Some(other) = other {
        lines.push(if before.items.is_empty() && after.items.is_empty() {
            other.tell("line")
        } else {
            other.tell("other line")
        });
    } else if style.ordered && !changed {
        tell_order(style, &before.items, &after.items, lines);
    }
}

/// Those of `all` that `those` do not have, as often as they have them.
fn without<'a>(all: &[&'a Item], those: &[&'a Item]) -> Vec<&'a Item> {
    let mut have: HashMap<&[Field], usize> = HashMap::new();
    for item in those {
        *have.entry(&item.fields).or_default() += 1;
    }
    let is_missing = |item: &&&Item| match have.get_mut(&item.fields[..]) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    all.iter().filter(is_missing).copied().collect()
}

fn tell_changed(style: &Style, before: &Item, after: &Item, lines: &mut Lines) {
    if before.fields.len() != after.fields.len() {
        lines.push_with(|| whole(style, before, style.removed));
        return lines.push_with(|| whole(style, after, style.added));
    }
    for (old, new) in before.fields.iter().zip(&after.fields).filter(|(old, new)| old != new) {
        lines.push_with(|| change(style, after, old, new));
    }
}

fn change(style: &Style, item: &Item, old: &Field, new: &Field) -> String {
    let name = clean(&item.name, NAME_BYTES_MAX);
    let (start, secret) = if new.label.is_empty() {
        (format!("{name}{}", style.between), name_of_secret(style, &item.name))
    } else {
        (format!("{name}: {} ", new.label), "")
    };
    match (&old.value, &new.value) {
        (Value::Set(old), Value::Set(new)) => {
            let (gone, come) = (words_without(old, new), words_without(new, old));
            let list = |words: &[&str]| {
                let words: Vec<String> = words.iter().take(6).map(|word| shown(secret, word)).collect();
                words.join(", ")
            };
            match (gone.is_empty(), come.is_empty()) {
                (false, false) => format!("{start}{} added, {} removed", list(&come), list(&gone)),
                (true, _) => format!("{start}{} added", list(&come)),
                (_, true) => format!("{start}{} removed", list(&gone)),
            }
        }
        (Value::Text(old), Value::Text(new)) => {
            let (old, new) = shown_pair(secret, old, new);
            // The same when masked or cut.
            if old == new {
                format!("{start}changed (values not shown)")
            } else {
                format!("{start}{old} -> {new}")
            }
        }
        _ => format!("{start}changed"),
    }
}

/// An item with all that is said of it.
fn whole(style: &Style, item: &Item, what: &str) -> String {
    let name = clean(&item.name, NAME_BYTES_MAX);
    let text = |field: &Field, secret: &str| match &field.value {
        Value::Text(text) => shown(secret, text),
        Value::Set(words) => {
            let words: Vec<String> = words.iter().take(6).map(|word| shown(secret, word)).collect();
            clean(&words.join(","), VALUE_CHARS_MAX)
        }
    };
    let said = |field: &&Field| match &field.value {
        Value::Text(text) => !text.is_empty(),
        Value::Set(words) => !words.is_empty(),
    };
    match item.fields.as_slice() {
        [] => format!("{name} {what}"),
        [field] if field.label.is_empty() => {
            format!("{name}{}{} {what}", style.between, text(field, name_of_secret(style, &item.name)))
        }
        fields => {
            let of = |field: &Field| format!("{} {}", field.label, text(field, ""));
            let fields: Vec<String> = fields.iter().filter(said).map(of).collect();
            if fields.is_empty() {
                format!("{name} {what}")
            } else {
                format!("{name} {what} ({})", fields.join(", "))
            }
        }
    }
}

/// The name by which it is decided whether a value is secret.
fn name_of_secret<'a>(style: &Style, name: &'a str) -> &'a str {
    if style.secrets { name } else { "" }
}

/// Words of a sorted list that another sorted list does not have.
fn words_without<'a>(words: &'a [String], those: &[String]) -> Vec<&'a str> {
    words.iter().filter(|word| those.binary_search(word).is_err()).map(String::as_str).collect()
}

/// The same items in another order.
fn tell_order(style: &Style, before: &[Item], after: &[Item], lines: &mut Lines) {
    let is_same = |(a, b): &(&Item, &Item)| a.key == b.key && a.fields == b.fields;
    if let Some((was, is)) = before.iter().zip(after).find(|pair| !is_same(pair)) {
        // Names alone do not tell apart what has one of them twice.
        let said = |item: &Item| match item.fields.as_slice() {
            [Field { label: "", value: Value::Text(value) }] if was.key == is.key => {
                format!("{}{}{}", item.name, style.between, shown(name_of_secret(style, &item.name), value))
            }
            _ => item.name.clone(),
        };
        lines.push_with(|| {
            let (is, was) = (clean(&said(is), VALUE_CHARS_MAX), clean(&said(was), VALUE_CHARS_MAX));
            format!("order changed: {is} now before {was}")
        });
    }
}
