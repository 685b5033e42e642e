//! The DNS resolver: resolv.conf(5).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] =
    &["etc/resolv.conf", "resolve/resolv.conf", "resolve/stub-resolv.conf", "resolvconf/resolv.conf"];

fn values<'a>(body: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text::settings(body)
        .filter_map(move |l| l.strip_prefix(key)?.strip_prefix(char::is_whitespace))
        .map(str::trim)
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let servers = text::list(values(body, "nameserver"), 3);
    let servers = if servers.is_empty() { "no name server".to_owned() } else { servers };
    let search = text::list(values(body, "search").chain(values(body, "domain")), 3);
    let search = if search.is_empty() { String::new() } else { format!(", searches in {search}") };
    Draft::new(format!("DNS: {servers}"), format!("DNS resolver, asks {servers}{search}."))
        .tag("network")
        .tag("dns")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.list("name servers", values(body.text, "nameserver"));
    facts.list("search domains", values(body.text, "search").chain(values(body.text, "domain")));
    facts.list("options", values(body.text, "options"));
    facts
}
