//! The SSH server: what a file of its configuration sets, and for the main one what follows from the rest.

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["ssh/sshd_config", "ssh/sshd_config.d/"];

/// What sshd_config(5) of OpenSSH 9 has where a file says nothing.
const ROOT_LOGIN: &str = "prohibit-password";
const PASSWORDS: &str = "yes";

/// What may be set once: keyword and value, before the first `Match`. The first one of a keyword counts.
struct Settings<'a> {
    global: Vec<(&'a str, &'a str)>,
    /// The conditions of `Match` blocks.
    matches: Vec<&'a str>,
}

impl<'a> Settings<'a> {
    fn read(body: &'a str) -> Self {
        let mut found = Self { global: Vec::new(), matches: Vec::new() };
        for line in text::settings(body) {
            let Some((key, value)) = pair(line) else { continue };
            if key.eq_ignore_ascii_case("match") {
                found.matches.push(value);
            } else if found.matches.is_empty() {
                found.global.push((key, value));
            }
        }
        found
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.all(key).next()
    }

    fn all<'b>(&'b self, key: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        self.global.iter().filter(move |(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| *value)
    }
}

/// Keyword and value: separated by blanks, or by one `=`.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.split_once(|c: char| c.is_whitespace() || c == '=')?;
    let rest = rest.trim_start();
    let value = rest.strip_prefix('=').unwrap_or(rest).split(" #").next().unwrap_or_default();
    Some((key, value.trim().trim_matches('"')))
}

fn root(value: &str) -> &'static str {
    match value.to_ascii_lowercase().as_str() {
        "yes" => "root login allowed",
        "no" => "root login refused",
        "forced-commands-only" => "root login for forced commands only",
        _ => "root login by key only",
    }
}

fn passwords(value: &str) -> &'static str {
    if value.eq_ignore_ascii_case("no") { "passwords refused" } else { "passwords allowed" }
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let settings = Settings::read(input.text().unwrap_or_default());
    let main = input.name() == b"sshd_config";
    let value = |key, default| settings.get(key).or_else(|| main.then_some(default));
    let mut said: Vec<&str> = Vec::new();
    said.extend(value("PermitRootLogin", ROOT_LOGIN).map(root));
    said.extend(value("PasswordAuthentication", PASSWORDS).map(passwords));
    let title = match (main, said.is_empty()) {
        (true, _) => format!("sshd: {}", said.join(", ")),
        (false, true) => format!("sshd: {}", input.shown_name()),
        (false, false) => format!("sshd, {}: {}", input.shown_name(), said.join(", ")),
    };
    let mut parts = vec![text::count(settings.global.len(), input.whole, "setting")];
    let listens = text::list(settings.all("Port"), 4);
    if !listens.is_empty() || main {
        parts.push(format!("port {}", if listens.is_empty() { "22" } else { &listens }));
    }
    if !settings.matches.is_empty() {
        parts.push(format!("exceptions for {}", text::list(settings.matches.iter(), 3)));
    }
    let mut summary = format!("SSH server: {}.", parts.join(", "));
    let keys: Vec<&str> = settings.global.iter().map(|(key, _)| *key).filter(|k| *k != "Include").collect();
    if !keys.is_empty() {
        summary = format!("{summary} Sets {}.", text::list(keys, 6));
    }
    if let Some(include) = settings.get("Include") {
        summary = format!("{summary} Files in {include} count before what follows them.");
    }
    Draft::new(title, summary).tag("ssh").tag("login").tag("config")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    /// These first: the rest may be cut.
    const FIRST: [&str; 10] = [
        "PermitRootLogin",
        "PasswordAuthentication",
        "PubkeyAuthentication",
        "KbdInteractiveAuthentication",
        "PermitEmptyPasswords",
        "UsePAM",
        "Port",
        "ListenAddress",
        "AllowUsers",
        "AllowGroups",
    ];
    let settings = Settings::read(body.text);
    let mut facts = Facts::default();
    for key in FIRST {
        facts.list(key, settings.all(key));
    }
    facts.list("files included", settings.all("Include"));
    facts.list("exceptions (Match)", settings.matches.iter());
    let rest = settings.global.iter().filter(|(key, _)| {
        !key.eq_ignore_ascii_case("include") && !FIRST.iter().any(|f| f.eq_ignore_ascii_case(key))
    });
    facts.list("other settings", rest.map(|(key, value)| format!("{key} {value}")));
    facts
}
