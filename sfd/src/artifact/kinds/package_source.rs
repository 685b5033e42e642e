//! Where packages come from: apt (one line each, or deb822) and yum.

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] =
    &["apt/sources.list", "apt/sources.list.d/", "yum.repos.d/", "zypp/repos.d/"];

#[derive(Default)]
struct Source {
    /// Address, or addresses.
    from: String,
    /// Suites and components, or the name of a repository.
    what: String,
    enabled: bool,
    /// Packages are taken without a signature that is checked.
    unchecked: bool,
    key: String,
}

fn sources(body: &str) -> Vec<Source> {
    let one_line: Vec<Source> = text::settings(body).take(1000).filter_map(one_line).collect();
    if one_line.is_empty() { blocks(body) } else { one_line }
}

/// `deb [signed-by=... trusted=yes] address suite component...`: sources.list(5).
fn one_line(line: &str) -> Option<Source> {
    let rest = line.strip_prefix("deb-src").or_else(|| line.strip_prefix("deb"))?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let (from, what) = rest.trim_start().split_once(char::is_whitespace)?;
    let option = |name: &str| options.split_whitespace().find_map(|o| o.strip_prefix(name));
    Some(Source {
        from: from.to_owned(),
        what: what.trim().to_owned(),
        enabled: true,
        unchecked: option("trusted=") == Some("yes"),
        key: option("signed-by=").unwrap_or_default().to_owned(),
    })
}

/// deb822 (`Key: value`, blocks between blank lines) and yum (`key=value`, blocks that begin with `[name]`).
fn blocks(body: &str) -> Vec<Source> {
    let mut found: Vec<Source> = Vec::new();
    let mut open = false;
    for line in body.lines() {
        let line = line.trim_end();
        if line.is_empty() {
            open = false;
            continue;
        }
        if line.starts_with(['#', ';', ' ']) || found.len() >= 1000 {
            continue;
        }
        let name = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        if name.is_some() || !open {
            let what = name.unwrap_or_default().to_owned();
            found.push(Source { what, enabled: true, ..Source::default() });
            open = true;
        }
        let Some(at) = line.find([':', '=']) else { continue };
        let (key, value) = (line[..at].trim().to_ascii_lowercase(), line[at + 1..].trim());
        let Some(source) = found.last_mut() else { continue };
        match key.as_str() {
            "uris" | "baseurl" | "mirrorlist" | "metalink" if source.from.is_empty() => {
                value.clone_into(&mut source.from);
            }
            "suites" | "components" => format!("{} {value}", source.what).trim().clone_into(&mut source.what),
            "signed-by" | "gpgkey" => value.clone_into(&mut source.key),
            "enabled" => source.enabled = !matches!(value, "0" | "no" | "false"),
            "trusted" => source.unchecked |= value == "yes",
            "gpgcheck" => source.unchecked |= matches!(value, "0" | "no" | "false"),
            _ => {}
        }
    }
    found.retain(|source| !source.from.is_empty());
    found
}

/// The host of an address.
fn host(from: &str) -> &str {
    let rest = from.split_once("://").map_or(from, |(_, rest)| rest);
    rest.split(['/', ' ']).next().unwrap_or(rest)
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let sources = sources(input.text().unwrap_or_default());
    let mut hosts: Vec<&str> = sources.iter().filter(|s| s.enabled).map(|s| host(&s.from)).collect();
    hosts.dedup();
    let hosts = text::list(&hosts, 3);
    let hosts = if hosts.is_empty() { "none in use".to_owned() } else { hosts };
    let shown = text::list(sources.iter().map(|s| format!("{} {}", s.from, s.what)), 3);
    let n = text::count(sources.len(), input.whole, "source");
    let shown = if shown.is_empty() { String::new() } else { format!(": {shown}") };
    let draft =
        Draft::new(format!("package sources: {hosts}"), format!("Where packages come from, {n}{shown}."))
            .tag("packages");
    if sources.iter().any(|s| s.enabled && s.unchecked) { draft.tag("unsigned") } else { draft }
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    for source in sources(body.text).iter().take(12) {
        let off = if source.enabled { "" } else { ", not in use" };
        let unchecked = if source.unchecked { ", signatures are not checked" } else { "" };
        let key = if source.key.is_empty() { String::new() } else { format!(", key {}", source.key) };
        facts.say("source", format!("{} {}{key}{unchecked}{off}", source.from, source.what));
    }
    facts
}
