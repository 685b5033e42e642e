//! Configuration: well-known files by place, INI by form, the rest by place and name.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{ArtifactInput, Draft, text};

/// Well-known files below a directory `etc`: path (a trailing `/` means everything directly in it) and meaning.
const KNOWN: [(&str, &str); 42] = [
    ("passwd", "User accounts"),
    ("group", "Groups"),
    ("subuid", "Subordinate user ids"),
    ("subgid", "Subordinate group ids"),
    ("fstab", "File systems mounted at boot"),
    ("mtab", "Mounted file systems"),
    ("hosts", "Static host names"),
    ("hostname", "Name of this host"),
    ("machine-id", "Identity of this installation"),
    ("resolv.conf", "DNS resolver"),
    ("nsswitch.conf", "Name service switch"),
    ("host.conf", "Host name resolver"),
    ("gai.conf", "Address selection"),
    ("networks", "Network names"),
    ("protocols", "IP protocol numbers"),
    ("services", "Network service ports"),
    ("sudoers", "Who may use sudo"),
    ("sudoers.d/", "Who may use sudo"),
    ("pam.d/", "Authentication (PAM)"),
    ("pam.conf", "Authentication (PAM)"),
    ("security/", "Authentication limits (PAM)"),
    ("ssh/sshd_config", "SSH server"),
    ("ssh/ssh_config", "SSH client"),
    ("ssh/sshd_config.d/", "SSH server"),
    ("ssh/ssh_config.d/", "SSH client"),
    ("crontab", "Timed jobs"),
    ("cron.d/", "Timed jobs"),
    ("sysctl.conf", "Kernel settings"),
    ("sysctl.d/", "Kernel settings"),
    ("modprobe.d/", "Kernel module options"),
    ("modules", "Kernel modules loaded at boot"),
    ("modules-load.d/", "Kernel modules loaded at boot"),
    ("udev/rules.d/", "Device rules"),
    ("apt/sources.list", "Package sources"),
    ("apt/sources.list.d/", "Package sources"),
    ("yum.repos.d/", "Package sources"),
    ("profile", "Login shell settings"),
    ("environment", "Environment of logins"),
    ("login.defs", "Login and password policy"),
    ("shells", "Login shells"),
    ("ld.so.conf.d/", "Library search path"),
    ("ld.so.preload", "Libraries loaded into every program"),
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
    let mut lines = content_lines(body);
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
    let settings = content_lines(body).count();
    let n = if input.whole { settings.to_string() } else { format!("more than {settings}") };
    let s = if settings == 1 { "" } else { "s" };
    let size = text::size(input.len);
    let known = known(input.path);
    let what = known.unwrap_or("Configuration");
    let title =
        known.map_or_else(|| input.shown_name().into_owned(), |k| format!("{}: {k}", input.shown_name()));
    Draft::new(title, format!("{what}, {n} line{s} besides comments, {size}.")).tag("config")
}

fn content_lines(body: &str) -> impl Iterator<Item = &str> {
    body.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';']))
}

fn section(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    let plain = !name.is_empty() && name.len() <= 128 && !name.contains(['{', '}', '"', ',']);
    plain.then_some(name)
}

fn section_or_key(line: &str) -> bool {
    section(line).is_some() || line.split_whitespace().count() == 1
}
