//! The dynamic loader: where it looks for libraries, and what it loads into every program (ld.so(8)).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["etc/ld.so.conf", "ld.so.conf.d/", "etc/ld.so.preload"];

/// Directories, or of `ld.so.preload` libraries: separated by blanks, colons or commas.
fn names(body: &str) -> impl Iterator<Item = &str> {
    text::settings(body)
        .filter(|l| !l.starts_with("include"))
        .flat_map(|l| l.split('#').next().unwrap_or(l).split([' ', '\t', ':', ',']))
        .filter(|name| !name.is_empty())
}

fn includes(body: &str) -> impl Iterator<Item = &str> {
    text::settings(body).filter_map(|l| l.strip_prefix("include ")).map(str::trim)
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let shown = text::list(names(body), 4);
    if input.name() == b"ld.so.preload" {
        return Draft::new(
            "Libraries loaded into every program",
            format!(
                "Loaded into every program that starts: {}.",
                if shown.is_empty() { "none" } else { &shown }
            ),
        )
        .tag("preload");
    }
    let include = text::list(includes(body), 3);
    let said = match (shown.is_empty(), include.is_empty()) {
        (true, true) => "no directories are added".to_owned(),
        (true, false) => format!("as in {include}"),
        (false, true) => shown,
        (false, false) => format!("{shown}, and as in {include}"),
    };
    Draft::new(
        format!("{}: library search path", input.shown_name()),
        format!("Where programs find libraries: {said}."),
    )
    .tag("libraries")
    .tag("config")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    for name in names(body.text).take(20) {
        facts.say("directory or library", name);
    }
    facts.list("also reads", includes(body.text));
    facts
}
