//! Who may do what through sudo.

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["etc/sudoers", "etc/sudoers.d/"];

/// What a file of sudoers(5) says, line by line.
#[derive(Default)]
struct Rules<'a> {
    /// Users and what they may do.
    of_users: Vec<(&'a str, &'a str)>,
    defaults: Vec<&'a str>,
    aliases: Vec<&'a str>,
    includes: Vec<&'a str>,
}

impl<'a> Rules<'a> {
    fn read(body: &'a str) -> Self {
        let mut found = Self::default();
        for line in body.lines().map(str::trim) {
            // `#include` and `#includedir` are no comments, `#1000` is a user by number.
            let include = ["@includedir", "@include", "#includedir", "#include"];
            if let Some(path) = include.iter().find_map(|word| line.strip_prefix(word)) {
                found.includes.push(path.trim());
                continue;
            }
            let number = line.strip_prefix('#').is_some_and(|l| l.starts_with(|c: char| c.is_ascii_digit()));
            if line.is_empty() || (line.starts_with('#') && !number) {
                continue;
            }
            let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            if first.starts_with("Defaults") {
                found.defaults.push(rest.trim());
            } else if first.ends_with("_Alias") {
                found.aliases.push(rest.trim());
            } else if rest.contains('=') {
                found.of_users.push((first, rest.trim()));
            }
        }
        found
    }

    fn without_password(&self) -> impl Iterator<Item = &'a str> {
        self.of_users.iter().filter(|(_, what)| what.contains("NOPASSWD:")).map(|(who, _)| *who)
    }

    /// Who may run everything as root.
    fn everything(&self) -> impl Iterator<Item = &'a str> {
        self.of_users.iter().filter(|(_, what)| command_is_all(what)).map(|(who, _)| *who)
    }
}

/// Whether the last of the commands of a rule is `ALL`: `ALL=(ALL:ALL) NOPASSWD: ALL`.
fn command_is_all(what: &str) -> bool {
    let commands = what.split_once('=').map_or("", |(_, c)| c);
    let commands = commands.rsplit_once(')').map_or(commands, |(_, c)| c);
    commands.rsplit([',', ':']).any(|command| command.trim() == "ALL")
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = text::joined(input.text().unwrap_or_default());
    let rules = Rules::read(&body);
    let rule_count = text::count(rules.of_users.len(), input.whole, "rule");
    let all = text::list(rules.everything(), 3);
    let free = rules.without_password().count();
    let mut said = Vec::new();
    if !all.is_empty() {
        said.push(format!("{all} may run everything"));
    }
    if free > 0 {
        said.push(format!("{} without a password", text::count(free, true, "rule")));
    }
    let title =
        if said.is_empty() { format!("sudo: {rule_count}") } else { format!("sudo: {}", said.join(", ")) };
    let shown: Vec<String> =
        rules.of_users.iter().take(3).map(|(who, what)| text::clean(&format!("{who} {what}"), 60)).collect();
    let shown = if shown.is_empty() { String::new() } else { format!(": {}", shown.join("; ")) };
    let includes = match rules.includes.first() {
        Some(path) => format!(" Also reads {}.", text::clean(path, 60)),
        None => String::new(),
    };
    let draft = Draft::new(title, format!("Who may use sudo, {rule_count}{shown}.{includes}"))
        .tag("sudo")
        .tag("privilege");
    if free > 0 { draft.tag("nopasswd") } else { draft }
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let joined = text::joined(body.text);
    let rules = Rules::read(&joined);
    let mut facts = Facts::default();
    facts.list("may run everything", rules.everything());
    facts.list("without a password", rules.without_password());
    for (who, what) in rules.of_users.iter().take(12) {
        facts.say("rule", format!("{who} {what}"));
    }
    facts.list("defaults", &rules.defaults);
    facts.list("aliases", &rules.aliases);
    facts.list("also reads", &rules.includes);
    facts
}
