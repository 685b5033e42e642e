//! Kernel modules: how they are loaded (modprobe.d(5), modules-load.d(5)), and which are (`/proc/modules`).

use super::{ArtifactInput, Body, Draft, Facts, Nature, text};

pub(super) const PLACES: &[&str] =
    &["modprobe.d/", "modules-load.d/", "etc/modules", "initramfs-tools/modules"];

/// What follows a word at the beginning of a line.
fn after<'a>(body: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    text::settings(body)
        .filter_map(move |l| l.strip_prefix(word)?.strip_prefix(char::is_whitespace))
        .map(str::trim)
}

/// Modules that are loaded at boot: lines of a name, perhaps with parameters, that are no directive of modprobe.
fn loaded(body: &str) -> impl Iterator<Item = &str> {
    text::settings(body).filter(|l| {
        let word = l.split_whitespace().next().unwrap_or_default();
        !["alias", "options", "install", "remove", "blacklist", "softdep", "weakdep"].contains(&word)
    })
}

/// Modules whose loading is answered with a program that does nothing.
fn blocked(body: &str) -> impl Iterator<Item = &str> {
    after(body, "install").filter_map(|l| {
        let (module, command) = l.split_once(char::is_whitespace)?;
        ["/bin/true", "/bin/false", "/usr/bin/true", "/usr/bin/false"]
            .contains(&command.trim())
            .then_some(module)
    })
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let parts = [
        ("loads", text::list(loaded(body), 4)),
        ("does not load by itself", text::list(after(body, "blacklist"), 4)),
        ("blocks", text::list(blocked(body), 4)),
        ("options", text::list(after(body, "options"), 3)),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(word, list)| format!("{word} {list}"))
        .collect();
    let aliases = after(body, "alias").count();
    let said = match (said.is_empty(), aliases) {
        (false, _) => said.join("; "),
        (true, 0) => "nothing is set".to_owned(),
        (true, n) => text::count(n, input.whole, "other name"),
    };
    Draft::new(
        format!("{}: kernel modules", input.shown_name()),
        format!("Loading of kernel modules: {said}."),
    )
    .tag("kernel")
    .tag("modules")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.list("loaded at boot", loaded(body.text));
    facts.list("not loaded by themselves", after(body.text, "blacklist"));
    facts.list("blocked", blocked(body.text));
    facts.list("options", after(body.text, "options"));
    facts.list("installed by a command", after(body.text, "install"));
    facts.list("needed before", after(body.text, "softdep"));
    facts.list("other names", after(body.text, "alias"));
    facts
}

pub(super) fn is_list(input: &ArtifactInput<'_>) -> bool {
    matches!(input.nature, Nature::Projection { name: "modules", pid: None }) && !input.unread
}

/// Name and taint flags of the projection: `name size users state taint`, the last only where there is one.
fn list(body: &str) -> impl Iterator<Item = (&str, &str)> {
    body.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let taint = words.find(|w| w.starts_with('(')).unwrap_or_default();
        Some((name, taint.trim_matches(['(', ')'])))
    })
}

pub(super) fn describe_list(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let n = text::count(list(body).count(), input.whole, "kernel module");
    let tainting = list(body).filter(|(_, taint)| !taint.is_empty());
    let names = text::list(tainting.map(|(name, taint)| format!("{name} ({taint})")), 5);
    let said =
        if names.is_empty() { "none taints the kernel".to_owned() } else { format!("tainting: {names}") };
    Draft::new(format!("{n} loaded"), format!("{n} loaded; {said}.")).tag("proc").tag("kernel").tag("modules")
}

pub(super) fn list_facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.say("loaded", text::count(list(body.text).count(), body.whole, "module"));
    let tainting = list(body.text).filter(|(_, taint)| !taint.is_empty());
    facts.list("tainting", tainting.map(|(name, taint)| format!("{name} ({taint})")));
    facts.list("modules", list(body.text).map(|(name, _)| name));
    facts
}
