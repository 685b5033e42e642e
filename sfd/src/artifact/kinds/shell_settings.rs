//! Settings of login shells and sessions: `profile`, `bashrc`, `environment` and the like, of the system and of users.

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &[
    "etc/profile",
    "profile.d/",
    "etc/environment",
    "environment.d/",
    "etc/bash.bashrc",
    "etc/bashrc",
    "etc/zsh/",
    "etc/default/locale",
    "etc/locale.conf",
    "etc/skel/.bashrc",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".cshrc",
    ".login",
    ".xprofile",
    ".xsessionrc",
];

/// Name and value of what is set: `NAME=value`, `export NAME=value`.
fn variables(body: &str) -> impl Iterator<Item = (&str, &str)> {
    text::settings(body).filter_map(|line| {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=')?;
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let capital = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
        (plain && capital).then(|| (name, value.trim().trim_matches(['"', '\''])))
    })
}

fn aliases(body: &str) -> impl Iterator<Item = &str> {
    text::settings(body).filter_map(|l| l.strip_prefix("alias "))
}

fn sources(body: &str) -> impl Iterator<Item = &str> {
    text::settings(body).filter_map(|l| l.strip_prefix(". ").or_else(|| l.strip_prefix("source ")))
}

fn names(body: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in variables(body).take(1000) {
        if !names.contains(&name) && names.len() < 100 {
            names.push(name);
        }
    }
    names
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let names = names(body);
    let name = input.shown_name();
    let sets = if names.is_empty() { "no variables".to_owned() } else { text::list(&names, 6) };
    let aliases = text::count(aliases(body).count(), true, "alias");
    let draft = Draft::new(
        format!("{name}: login settings"),
        format!(
            "Settings of shells and sessions, {}; sets {sets}; {aliases}.",
            text::lines(body, input.whole)
        ),
    )
    .tag("shell")
    .tag("login");
    if names.contains(&"LD_PRELOAD") { draft.tag("preload") } else { draft }
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    let strong = ["PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "PROMPT_COMMAND", "ENV", "BASH_ENV"];
    for (name, value) in variables(body.text).filter(|(name, _)| strong.contains(name)).take(8) {
        facts.say("sets", format!("{name} = {value}"));
    }
    facts.list("variables", names(body.text));
    facts.list("aliases", aliases(body.text));
    facts.list("also runs", sources(body.text));
    facts
}
