//! Which syntax a text has, by its place and kind.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Kind, Syntax, accounts, apt, cron, data, file_name, ini, pam, settings, ssh, sudoers, tables};

/// The syntax of a text; `None`: it is compared line by line.
pub(super) fn syntax(kind: Kind, path: &Path, before: &str, after: &str) -> Option<Syntax> {
    if kind == Kind::Script {
        return None;
    }
    if let Some(syntax) = by_place(path) {
        return Some(syntax);
    }
    let extension = path.extension().map_or(&b""[..], OsStrExt::as_bytes);
    match (kind, extension) {
        (Kind::Json, _) | (_, b"json") => return Some(data::JSON),
        (Kind::Toml, _) | (_, b"toml") => return Some(data::TOML),
        (Kind::Yaml, _) | (_, b"yaml" | b"yml") => return Some(data::YAML),
        (Kind::SystemdUnit | Kind::Ini, _)
        | (_, b"ini" | b"service" | b"socket" | b"timer" | b"desktop" | b"network") => {
            return Some(ini::INI);
        }
        (Kind::Text, b"md" | b"txt" | b"log" | b"csv") => return None,
        _ => {}
    }
    let has_section =
        |text: &str| text.lines().any(|line| line.starts_with('[') && line.trim_end().ends_with(']'));
    if !settings::looks_like_equals(before) && !has_section(before) {
        return None;
    }
    if has_section(before) && has_section(after) {
        return Some(ini::INI);
    }
    (settings::looks_like_equals(before) && settings::looks_like_equals(after)).then_some(settings::EQUALS)
}

fn by_place(path: &Path) -> Option<Syntax> {
    let name = file_name(path);
    let dir = path.parent().map(file_name).unwrap_or_default();
    let ends = |end: &[u8]| name.ends_with(end);
    Some(match (dir, name) {
        (b"sshd_config.d" | b"ssh_config.d", _)
        | (_, b"sshd_config" | b"ssh_config")
        | (b".ssh", b"config") => ssh::SSH,
        (b"sudoers.d", _) | (_, b"sudoers") => sudoers::SUDOERS,
        (b"pam.d", _) => pam::PAM_D,
        (_, b"pam.conf") => pam::PAM_CONF,
        (b"etc", b"passwd" | b"passwd-") => accounts::PASSWD,
        (b"etc", b"group" | b"group-") => accounts::GROUP,
        (b"etc", b"subuid" | b"subgid" | b"subuid-" | b"subgid-") => accounts::SUBORDINATE,
        (b"etc", b"fstab") => tables::FSTAB,
        (b"etc", b"hosts") => tables::HOSTS,
        (_, b"resolv.conf") => tables::RESOLV,
        (_, b"nsswitch.conf") => tables::NSSWITCH,
        (b"sysctl.d", _) | (_, b"sysctl.conf") => settings::SYSCTL,
        (b"cron.d", _) | (b"etc", b"crontab") => cron::SYSTEM,
        (b"crontabs", _) => cron::USER,
        (b"sources.list.d" | b"apt", _) if ends(b".list") => apt::ONE_LINE,
        (b"sources.list.d", _) if ends(b".sources") => apt::DEB822,
        (b"modprobe.d", _) => tables::MODPROBE,
        (b"ld.so.conf.d" | b"modules-load.d", _)
        | (b"etc", b"ld.so.conf" | b"ld.so.preload" | b"shells" | b"modules") => tables::LIST,
        (_, b"login.defs") => settings::WORDS,
        (b"environment.d" | b"default" | b"profile.d", _)
        | (
            _,
            b"environment" | b"os-release" | b"profile" | b".env" | b".bashrc" | b".profile"
            | b".bash_profile" | b"bash.bashrc" | b".zshrc" | b"zshrc" | b"zshenv",
        ) => settings::SHELL,
        _ if ends(b".env") || name.starts_with(b".env.") => settings::SHELL,
        _ => return None,
    })
}
