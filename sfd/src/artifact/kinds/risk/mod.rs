//! Risks of artifacts that an operator would agree with: a level and why, in plain words.
//!
//! Pure: contents, metadata, whether a package owns the file, and the time are arguments. All rules, their levels and the
//! reasons for them are listed in `docs/risk.md`.
//!
//! ```text
//! metadata      modes, owners, places          persistence   what runs by itself, and from where
//! accounts      passwd                         commands      what a line of shell does
//! ssh           sshd_config, authorized_keys   kernel        sysctl values, modules
//! sudoers       sudo                           loader        ld.so, LD_PRELOAD, PATH
//! pam           PAM stacks                     processes     what a process runs
//! certificate   expiry                         sockets       who listens
//! ```

use std::borrow::Cow;
use std::path::Path;

use super::{ArtifactInput, Draft, Kind, Nature};
use crate::artifact::Packaged;

mod accounts;
mod certificate;
mod commands;
mod kernel;
mod loader;
mod metadata;
mod pam;
mod persistence;
mod processes;
pub(crate) mod sockets;
mod ssh;
mod sudoers;

pub(crate) use kernel::{is_unsigned, loaded_modules};
pub(crate) use metadata::{SET_GID, SET_UID, WORLD_WRITE};
pub(crate) use persistence::runs_by_itself;

pub(crate) const LOW: u8 = 1;
pub(crate) const MEDIUM: u8 = 2;
pub(crate) const HIGH: u8 = 3;
pub(crate) const CRITICAL: u8 = 4;

/// Most findings of one artifact; more say nothing that these do not.
const FINDINGS_MAX: usize = 64;

/// What was found, each with its level.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(u8, String)>);

impl Findings {
    fn add(&mut self, level: u8, reason: impl Into<String>) {
        let reason = reason.into();
        if self.0.len() < FINDINGS_MAX && !self.0.iter().any(|(_, known)| *known == reason) {
            self.0.push((level, reason));
        }
    }
}

/// Adds every risk of an artifact to what its kind has said of it, the worst first.
pub(super) fn judge(kind: Kind, input: &ArtifactInput<'_>, draft: &mut Draft) {
    let mut found = Findings::default();
    match input.nature {
        Nature::Disk => {
            metadata::judge(kind, input, draft, &mut found);
            if input.is_file() && input.redacted.is_none() && !input.unread {
                of_contents(kind, input, &mut found);
            }
        }
        Nature::Process { .. } => processes::judge(input, draft, &mut found),
        Nature::Projection { name, pid: None } => of_host(name, input, &mut found),
        Nature::Sysctl { name } => {
            if let Some(value) = input.text() {
                kernel::value(name, value.trim(), kernel::Said::ByTheKernel, &mut found);
            }
        }
        Nature::Projection { .. } | Nature::ProcDirectory => {}
    }
    let of_kind = draft.risk.level;
    let mut all: Vec<(u8, String)> = draft.risk.reasons.drain(..).map(|reason| (of_kind, reason)).collect();
    all.append(&mut found.0);
    // Stable: what is equally bad stays in the order in which it was found.
    all.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    draft.risk.level = all.first().map_or(0, |(level, _)| *level);
    draft.risk.reasons = all.into_iter().map(|(_, reason)| reason).collect();
}

fn of_host(name: &str, input: &ArtifactInput<'_>, found: &mut Findings) {
    let Some(text) = input.text() else { return };
    match name {
        "modules" => kernel::modules(text, found),
        "net/tcp" | "net/tcp6" | "net/udp" | "net/udp6" => sockets::judge(name, text, found),
        _ => {}
    }
}

fn of_contents(kind: Kind, input: &ArtifactInput<'_>, found: &mut Findings) {
    if kind == Kind::Certificate {
        return certificate::judge(input, found);
    }
    let path = input.path.to_string_lossy();
    let place = Place::of(&path, input.path);
    if !place.is_interesting {
        return;
    }
    let Some(text) = input.text() else { return };
    match place.etc {
        Some("ssh/sshd_config") => ssh::server(text, found),
        Some(p) if in_dir(p, "ssh/sshd_config.d/").is_some_and(is_conf) => ssh::server(text, found),
        Some("sudoers") => sudoers::judge(text, found),
        // sudo leaves out names with a dot and those that end in a tilde.
        Some(p)
            if in_dir(p, "sudoers.d/").is_some_and(|name| !name.contains('.') && !name.ends_with('~')) =>
        {
            sudoers::judge(text, found);
        }
        Some(p) if in_dir(p, "pam.d/").is_some() => pam::judge(&place.name, text, found),
        Some("passwd") => accounts::judge(text, found),
        Some("ld.so.preload") => loader::preload(text, found),
        Some("ld.so.conf") => loader::directories(text, found),
        Some(p) if in_dir(p, "ld.so.conf.d/").is_some_and(is_conf) => loader::directories(text, found),
        Some("environment") => loader::environment(text, found),
        _ => {}
    }
    if place.etc == Some("sysctl.conf") || (path.contains("/sysctl.d/") && path.ends_with(".conf")) {
        kernel::settings(text, found);
    }
    if matches!(&*place.name, "authorized_keys" | "authorized_keys2") {
        ssh::keys(&path, text, found);
    }
    persistence::judge(&path, text, found);
}

/// Where a file is, as far as that decides what it does.
struct Place<'a> {
    /// Its path below the last directory `etc`.
    etc: Option<&'a str>,
    name: Cow<'a, str>,
    /// There is a rule for what is here.
    is_interesting: bool,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, path: &'a Path) -> Self {
        let etc = below_etc(text);
        let name = path.file_name().map_or(Cow::Borrowed(""), |name| name.to_string_lossy());
        let is_interesting = etc.is_some()
            || text.contains("/sysctl.d/")
            || name.starts_with("authorized_keys")
            || runs_by_itself(path).is_some();
        Self { etc, name, is_interesting }
    }
}

/// The part of a path below the last `etc`, but not of what a package brings as an example.
fn below_etc(path: &str) -> Option<&str> {
    if path.starts_with("/usr/") && !path.starts_with("/usr/local/etc/") {
        return None;
    }
    path.rfind("/etc/").map(|at| &path[at + 5..])
}

/// What is read of a directory of fragments; capitals do not count as the same.
fn is_conf(name: &str) -> bool {
    name.as_bytes().ends_with(b".conf")
}

/// The name of what lies directly in a directory.
fn in_dir<'a>(path: &'a str, dir: &str) -> Option<&'a str> {
    path.strip_prefix(dir).filter(|name| !name.is_empty() && !name.contains('/'))
}

/// Places where everybody may put files.
pub(crate) const PUBLIC: [&str; 3] = ["/tmp/", "/var/tmp/", "/dev/shm/"];

/// Whether a path is one that no package and no administrator would use for what the host depends on, and why.
fn odd_place(path: &str) -> Option<(u8, &'static str)> {
    if PUBLIC.iter().any(|dir| path.starts_with(dir) || format!("{path}/") == *dir) {
        return Some((HIGH, "where everybody may put files"));
    }
    if path.starts_with("/home/") || path == "/home" {
        return Some((MEDIUM, "in a home, whose owner may change it"));
    }
    if path.starts_with('/') && path.split('/').skip(1).any(|part| part.len() > 2 && part.starts_with('.')) {
        return Some((MEDIUM, "in a hidden place"));
    }
    None
}

/// Lines that are not comments, without white space around them; a backslash at the end joins a line with the next.
fn joined_lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        loop {
            let line = lines.next()?.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(start) = line.strip_suffix('\\') else { return Some(Cow::Borrowed(line)) };
            let mut whole = start.to_owned();
            for next in lines.by_ref() {
                let next = next.trim();
                whole.push(' ');
                if let Some(part) = next.strip_suffix('\\') {
                    whole.push_str(part);
                } else {
                    whole.push_str(next);
                    break;
                }
            }
            return Some(Cow::Owned(whole));
        }
    })
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Programs that run what they are told, or write where they are told: with the rights of root they give all of root.
/// After the list of gtfobins.github.io, those that Debian has in its base or that are often installed.
pub(crate) fn gives_everything(path: &str) -> bool {
    const NAMES: [&str; 60] = [
        "sh",
        "bash",
        "dash",
        "zsh",
        "ksh",
        "ash",
        "fish",
        "csh",
        "tcsh",
        "busybox",
        "python",
        "python2",
        "python3",
        "perl",
        "ruby",
        "php",
        "node",
        "lua",
        "awk",
        "gawk",
        "mawk",
        "find",
        "vi",
        "vim",
        "vim.basic",
        "vim.tiny",
        "nano",
        "emacs",
        "ed",
        "less",
        "more",
        "man",
        "env",
        "cp",
        "mv",
        "dd",
        "tee",
        "install",
        "tar",
        "rsync",
        "nc",
        "ncat",
        "socat",
        "gdb",
        "strace",
        "xargs",
        "nmap",
        "docker",
        "make",
        "cat",
        "chmod",
        "chown",
        "sed",
        "zip",
        "git",
        "tclsh",
        "expect",
        "screen",
        "tmux",
        "nsenter",
    ];
    let name = base(path);
    let name = name.strip_suffix(|last: char| last.is_ascii_digit()).map_or(name, |_| {
        // python3.11, perl5.36, lua5.4: the version does not matter.
        name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
    });
    NAMES.contains(&name) || NAMES.contains(&base(path))
}

/// Whether what a package says of a file excuses it. The host's own database says only *that* it is a package's.
fn is_packages_own(input: &ArtifactInput<'_>) -> bool {
    input.packaged == Packaged::Yes
}

#[cfg(test)]
mod tests;
