//! Kernel settings applied at boot: sysctl.d(5).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["etc/sysctl.conf", "sysctl.d/"];

/// Name with dots, and value.
fn values(body: &str) -> impl Iterator<Item = (String, &str)> {
    text::settings(body).filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        // A minus in front: an error is not reported.
        let name = name.trim().trim_start_matches('-');
        Some((name.replace('/', "."), value.trim()))
    })
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let n = text::count(values(body).count(), input.whole, "kernel setting");
    let shown = text::list(values(body).map(|(name, value)| format!("{name} = {value}")), 4);
    let shown = if shown.is_empty() { String::new() } else { format!(": {shown}") };
    let name = input.shown_name();
    Draft::new(format!("{name}: {n}"), format!("Applied at boot, {n}{shown}.")).tag("sysctl").tag("kernel")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    for (name, value) in values(body.text).take(20) {
        facts.say("setting", format!("{name} = {value}"));
    }
    facts
}
