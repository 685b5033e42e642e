//! Configuration: well-known files by place, INI by form, the rest by place and name.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{ArtifactInput, Body, Draft, Facts, text};

/// Well-known files below a directory `etc`: path (a trailing `/` means everything directly in it) and meaning.
const KNOWN: [(&str, &str); 35] = [
    ("subuid", "Subordinate user ids"),
    ("subgid", "Subordinate group ids"),
    ("hostname", "Name of this host"),
    ("machine-id", "Identity of this installation"),
    ("timezone", "Time zone"),
    ("host.conf", "Host name resolver"),
    ("gai.conf", "Address selection"),
    ("networks", "Network names"),
    ("protocols", "IP protocol numbers"),
    ("services", "Network service ports"),
    ("hosts.allow", "Who may connect (TCP wrappers)"),
    ("hosts.deny", "Who may not connect (TCP wrappers)"),
    ("network/interfaces", "Network interfaces"),
    ("network/interfaces.d/", "Network interfaces"),
    ("netplan/", "Network interfaces"),
    ("systemd/network/", "Network interfaces"),
    ("security/", "Authentication limits (PAM)"),
    ("ssh/ssh_config", "SSH client"),
    ("ssh/ssh_config.d/", "SSH client"),
    ("login.defs", "Login and password policy"),
    ("adduser.conf", "Making of accounts"),
    ("shells", "Login shells"),
    ("securetty", "Terminals for root"),
    ("issue", "Text before a login"),
    ("issue.net", "Text before a login"),
    ("motd", "Text after a login"),
    ("sysusers.d/", "Accounts made at boot"),
    ("apt/apt.conf", "Package manager (apt)"),
    ("apt/apt.conf.d/", "Package manager (apt)"),
    ("apt/preferences.d/", "Package priorities (apt)"),
    ("polkit-1/rules.d/", "Who may do what (polkit)"),
    ("docker/daemon.json", "Container engine"),
    ("nftables.conf", "Packet filter"),
    ("exports", "Directories shared over NFS"),
    ("default/grub", "Boot loader"),
];

/// The meaning of a well-known file.
pub(super) fn known(path: &Path) -> Option<&'static str> {
    let bytes = path.as_os_str().as_bytes();
    let at = bytes.windows(5).rposition(|w| w == b"/etc/")?;
    let below = &bytes[at + 5..];
    let dir = below.iter().rposition(|b| *b == b'/').map_or(0, |end| end + 1);
    KNOWN
        .iter()
        .find(|(name, _)| {
            let name = name.as_bytes();
            name == below || (name.ends_with(b"/") && name == &below[..dir])
        })
        .map(|(_, meaning)| *meaning)
}

/// Whether a file is somewhere below a directory `etc`.
pub(super) fn below_etc(path: &Path) -> bool {
    path.parent().is_some_and(|p| p.iter().any(|part| part == "etc"))
}

pub(super) fn is_ini(input: &ArtifactInput<'_>) -> bool {
    if !input.is_file() || known(input.path).is_some() {
        return false;
    }
    let Some(body) = input.text() else { return false };
    let named = matches!(input.extension(), b"ini" | b"desktop" | b"inf" | b"editorconfig");
    let mut lines = text::settings(body);
    let section = lines.next().is_some_and(|l| section(l).is_some());
    let pair = lines.next().is_some_and(|l| l.contains('=') || section_or_key(l));
    named || (section && pair)
}

pub(super) fn describe_ini(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let names: Vec<&str> = body.lines().filter_map(section).take(100).collect();
    let shown: Vec<String> = names.iter().take(6).map(|n| text::clean(n, 24)).collect();
    let count = names.len();
    let what = if count == 0 { "no sections".to_owned() } else { format!("sections {}", shown.join(", ")) };
    Draft::new(input.shown_name(), format!("INI-style configuration, {}: {what}.", text::size(input.len)))
        .tag("ini")
}

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    let named = matches!(
        input.extension(),
        b"conf"
            | b"cfg"
            | b"cnf"
            | b"config"
            | b"rules"
            | b"properties"
            | b"list"
            | b"repo"
            | b"env"
            | b"defs"
    );
    input.is_file() && input.text().is_some() && (named || below_etc(input.path))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let settings = text::settings(body).count();
    let n = if input.whole { settings.to_string() } else { format!("more than {settings}") };
    let s = if settings == 1 { "" } else { "s" };
    let size = text::size(input.len);
    let known = known(input.path);
    let what = known.unwrap_or("Configuration");
    let title =
        known.map_or_else(|| input.shown_name().into_owned(), |k| format!("{}: {k}", input.shown_name()));
    Draft::new(title, format!("{what}, {n} line{s} besides comments, {size}.")).tag("config")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.say("lines besides comments", text::settings(body.text).count().to_string());
    facts.list("sections", body.text.lines().filter_map(section));
    let pairs = text::settings(body.text).filter(|l| section(l).is_none());
    for line in pairs.take(10) {
        facts.say("line", text::clean(line, 120));
    }
    facts
}

fn section(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    let plain = !name.is_empty() && name.len() <= 128 && !name.contains(['{', '}', '"', ',']);
    plain.then_some(name)
}

fn section_or_key(line: &str) -> bool {
    section(line).is_some() || line.split_whitespace().count() == 1
}
