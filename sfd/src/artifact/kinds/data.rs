//! JSON, TOML and YAML.

use super::{ArtifactInput, Body, Draft, Facts, text};

/// Names of this many top-level keys are shown.
const KEYS_SHOWN: usize = 6;

pub(super) fn is_json(input: &ArtifactInput<'_>) -> bool {
    if !input.is_file() {
        return false;
    }
    let Some(body) = input.text() else { return false };
    let body = body.trim_start();
    if !body.starts_with(['{', '[']) {
        return false;
    }
    let named =
        matches!(input.extension(), b"json" | b"jsonl" | b"ndjson" | b"geojson" | b"webmanifest" | b"jsonc");
    // serde_json stops at a depth of 128 by itself.
    named || (input.whole && serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok())
}

pub(super) fn describe_json(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().filter(|_| input.whole).map(str::trim_start);
    let what = match body.map(serde_json::from_str::<serde_json::Value>) {
        Some(Ok(serde_json::Value::Object(map))) => keys(map.len(), map.keys().map(String::as_str)),
        Some(Ok(serde_json::Value::Array(items))) => format!("a list of {}", items.len()),
        Some(Ok(_)) => "one value".to_owned(),
        Some(Err(e)) => format!("not valid at line {}", e.line()),
        None => "too large to be parsed here".to_owned(),
    };
    Draft::new(input.shown_name(), format!("JSON, {}: {what}.", text::size(input.len))).tag("json")
}

pub(super) fn is_toml(input: &ArtifactInput<'_>) -> bool {
    input.is_file()
        && input.text().is_some()
        && (input.extension() == b"toml" || input.name() == b"Cargo.lock")
}

pub(super) fn describe_toml(input: &ArtifactInput<'_>) -> Draft {
    let parsed = input.text().filter(|_| input.whole).map(toml::from_str::<toml::Table>);
    let what = match parsed {
        Some(Ok(table)) => keys(table.len(), table.keys().map(String::as_str)),
        Some(Err(_)) => "not valid".to_owned(),
        None => "too large to be parsed here".to_owned(),
    };
    Draft::new(input.shown_name(), format!("TOML, {}: {what}.", text::size(input.len))).tag("toml")
}

pub(super) fn is_yaml(input: &ArtifactInput<'_>) -> bool {
    if !input.is_file() {
        return false;
    }
    let Some(body) = input.text() else { return false };
    if matches!(input.extension(), b"yaml" | b"yml") {
        return true;
    }
    // A document mark followed by a key is YAML whatever the name; keys alone could be many things.
    let mut lines = body.lines().filter(|l| !l.trim_start().starts_with('#') && !l.trim().is_empty());
    lines.next().is_some_and(|l| l.trim_end() == "---")
        && lines.next().is_some_and(|l| yaml_key(l).is_some() || l.starts_with("- "))
}

pub(super) fn describe_yaml(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let names: Vec<&str> = body.lines().filter_map(yaml_key).take(1000).collect();
    let what = keys(names.len(), names.iter().copied());
    Draft::new(input.shown_name(), format!("YAML, {}: {what}.", text::size(input.len))).tag("yaml")
}

/// Keys whose values say what a document is about.
const ABOUT: [&str; 8] = ["name", "kind", "version", "description", "title", "type", "license", "$schema"];

pub(super) fn json_facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    if !body.whole {
        return facts;
    }
    match serde_json::from_str::<serde_json::Value>(body.text.trim_start()) {
        Ok(serde_json::Value::Object(map)) => {
            for (key, value) in &map {
                if let Some(about) = value.as_str().filter(|_| ABOUT.contains(&key.as_str())) {
                    facts.say("says", format!("{key}: {about}"));
                }
            }
            facts.list("keys", map.keys());
        }
        Ok(serde_json::Value::Array(items)) => facts.say("entries", items.len().to_string()),
        Ok(_) => {}
        Err(e) => facts.say("not valid", e.to_string()),
    }
    facts
}

pub(super) fn toml_facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    if !body.whole {
        return facts;
    }
    match toml::from_str::<toml::Table>(body.text) {
        Ok(table) => {
            let tables = table.values().filter_map(toml::Value::as_table);
            for (key, value) in std::iter::once(&table).chain(tables).flatten().take(1000) {
                if let Some(about) = value.as_str().filter(|_| ABOUT.contains(&key.as_str())) {
                    facts.say("says", format!("{key}: {about}"));
                }
            }
            facts.list("keys", table.keys());
        }
        Err(e) => facts.say("not valid", e.message()),
    }
    facts
}

pub(super) fn yaml_facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    for line in body.text.lines().take(1000) {
        if let Some(key) = yaml_key(line).filter(|key| ABOUT.contains(key)) {
            facts.say("says", format!("{key}: {}", line[key.len() + 1..].trim()));
        }
    }
    facts.list("keys", body.text.lines().filter_map(yaml_key));
    facts
}

/// The key of a line at the outermost level.
fn yaml_key(line: &str) -> Option<&str> {
    let (key, rest) = line.split_once(':')?;
    let word =
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    (word && (rest.is_empty() || rest.starts_with([' ', '\t', '\r']))).then_some(key)
}

fn keys<'a>(n: usize, names: impl Iterator<Item = &'a str>) -> String {
    if n == 0 {
        return "no keys".to_owned();
    }
    let shown: Vec<String> = names.take(KEYS_SHOWN).map(|k| text::clean(k, 24)).collect();
    let more = if n > KEYS_SHOWN { format!(" and {} more", n - KEYS_SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
