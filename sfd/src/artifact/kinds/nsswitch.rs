//! Where names of users, groups and hosts are looked up: nsswitch.conf(5).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["etc/nsswitch.conf"];

/// Database and its sources.
fn databases(body: &str) -> impl Iterator<Item = (&str, String)> {
    text::settings(body).filter_map(|line| {
        let (name, sources) = line.split_once(':')?;
        Some((name.trim(), sources.split_whitespace().collect::<Vec<_>>().join(" ")))
    })
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let of = |wanted: &str| databases(body).find(|(name, _)| *name == wanted).map(|(_, sources)| sources);
    let mut said = Vec::new();
    for (name, word) in [("passwd", "users"), ("group", "groups"), ("hosts", "hosts")] {
        if let Some(sources) = of(name) {
            said.push(format!("{word} from {sources}"));
        }
    }
    let said = if said.is_empty() { "nothing is set".to_owned() } else { said.join(", ") };
    let title = of("hosts")
        .map_or_else(|| "name lookup".to_owned(), |hosts| format!("name lookup: hosts from {hosts}"));
    Draft::new(title, format!("Where names are looked up: {said}.")).tag("names").tag("config")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    for (name, sources) in databases(body.text).take(16) {
        facts.say("lookup", format!("{name}: {sources}"));
    }
    facts
}
