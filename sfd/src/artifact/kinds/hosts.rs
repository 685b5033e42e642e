//! Static host names: hosts(5).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["etc/hosts"];

/// Address and names.
fn entries(body: &str) -> impl Iterator<Item = (&str, &str)> {
    text::settings(body).filter_map(|line| {
        let line = line.split('#').next().unwrap_or(line);
        let (address, names) = line.split_once(char::is_whitespace)?;
        let known = address.parse::<std::net::IpAddr>().is_ok();
        known.then(|| (address, names.trim()))
    })
}

/// Whether an address is one that every host has: its own, or a group of neighbours.
fn is_usual(address: &str) -> bool {
    address.starts_with("127.")
        || address == "::1"
        || address.starts_with("ff0")
        || address.starts_with("fe00:")
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let n = text::count(entries(body).count(), input.whole, "entry");
    let other = text::list(
        entries(body).filter(|(a, _)| !is_usual(a)).map(|(address, names)| format!("{names} = {address}")),
        4,
    );
    let said = if other.is_empty() { "only this host itself".to_owned() } else { other };
    Draft::new(format!("hosts: {n}"), format!("Static host names, {n}: {said}.")).tag("network").tag("names")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    for (address, names) in entries(body.text).take(16) {
        facts.say("host", format!("{address} {names}"));
    }
    facts
}
