//! What runs by itself: at boot, at a time, at a login, when a device appears.

use std::path::Path;

use super::{Findings, commands, in_dir, loader};
use crate::artifact::kinds::unit;

/// What a file makes run by itself, if it does. `None` for anything else.
pub(crate) fn runs_by_itself(path: &Path) -> Option<&'static str> {
    let text = path.to_str()?;
    if let Some(what) = super::below_etc(text).and_then(below_etc) {
        return Some(what);
    }
    if text.contains("/var/spool/cron/") {
        return Some("a timed job (cron)");
    }
    // What systemd makes for itself at every boot says nothing new.
    if unit::by_place(path) && !text.starts_with("/run/") {
        return Some("a unit of systemd");
    }
    match super::base(text) {
        "authorized_keys" | "authorized_keys2" => Some("keys that may log in"),
        ".bashrc" | ".bash_profile" | ".bash_login" | ".profile" | ".zshrc" | ".zprofile" | ".zshenv"
        | ".bash_logout"
            if !text.starts_with("/usr/") =>
        {
            Some("commands of a shell's start")
        }
        name if name.ends_with(".desktop") && text.contains("/.config/autostart/") => {
            Some("a program started with the desktop")
        }
        _ => None,
    }
}

fn below_etc(etc: &str) -> Option<&'static str> {
    const DIRS: [(&str, &str); 19] = [
        ("cron.d/", "a timed job (cron)"),
        ("cron.hourly/", "a timed job (cron)"),
        ("cron.daily/", "a timed job (cron)"),
        ("cron.weekly/", "a timed job (cron)"),
        ("cron.monthly/", "a timed job (cron)"),
        ("init.d/", "a start script"),
        ("profile.d/", "commands of every login"),
        ("update-motd.d/", "a script run at logins"),
        ("network/if-up.d/", "a script run with the network"),
        ("network/if-down.d/", "a script run with the network"),
        ("network/if-pre-up.d/", "a script run with the network"),
        ("network/if-post-down.d/", "a script run with the network"),
        ("NetworkManager/dispatcher.d/", "a script run with the network"),
        ("dhcp/dhclient-exit-hooks.d/", "a script run with the network"),
        ("udev/rules.d/", "a rule of what to do with devices"),
        ("modules-load.d/", "kernel modules loaded at boot"),
        ("apt/apt.conf.d/", "commands of the package manager"),
        ("xdg/autostart/", "a program started with the desktop"),
        ("X11/Xsession.d/", "a script of graphical logins"),
    ];
    let of_a_file = match etc {
        "crontab" | "anacrontab" => Some("timed jobs (cron)"),
        "rc.local" => Some("commands run at boot"),
        "profile" | "bash.bashrc" | "bashrc" | "zsh/zshrc" | "zsh/zshenv" | "zsh/zprofile" => {
            Some("commands of every login")
        }
        "ld.so.preload" => Some("libraries loaded into every program"),
        "modules" => Some("kernel modules loaded at boot"),
        _ => None,
    };
    of_a_file.or_else(|| {
        // A file that is only kept beside another one (.placeholder, .dpkg-old) is not run.
        let runs = |name: &str| !name.starts_with('.') && !name.contains(".dpkg-");
        DIRS.iter().find(|(dir, _)| in_dir(etc, dir).is_some_and(runs)).map(|(_, what)| *what)
    })
}

/// Looks at what is run.
pub(super) fn judge(path: &str, text: &str, found: &mut Findings) {
    let Some(what) = runs_by_itself(Path::new(path)) else { return };
    match what {
        "a unit of systemd" => of_unit(text, found),
        "a rule of what to do with devices" => quoted_after(text, &["RUN", "PROGRAM"], found),
        "commands of the package manager" => {
            quoted_after(text, &["Invoke", "Pre-Install-Pkgs", "Post-Install"], found);
        }
        "a program started with the desktop" => {
            for line in text.lines().filter_map(|line| line.strip_prefix("Exec=")) {
                commands::judge(line, false, found);
            }
        }
        "a timed job (cron)" | "timed jobs (cron)" if is_table(path) => of_crontab(path, text, found),
        "keys that may log in" | "libraries loaded into every program" | "kernel modules loaded at boot" => {}
        _ => of_script(path, text, found),
    }
}

fn is_table(path: &str) -> bool {
    ["/etc/crontab", "/etc/anacrontab", "/etc/cron.d/", "/var/spool/cron/"]
        .iter()
        .any(|place| path.contains(place))
}

fn of_unit(text: &str, found: &mut Findings) {
    let pairs = || {
        super::joined_lines(text).filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((key.trim().to_owned(), value.trim().to_owned()))
        })
    };
    let for_root = !pairs().any(|(key, value)| key == "User" && !matches!(&*value, "" | "root" | "0"));
    for (key, value) in pairs() {
        if key.starts_with("Exec") {
            commands::judge(&value, for_root, found);
        } else if key == "Environment" {
            loader::variable(value.trim_matches('"'), found);
        }
    }
}

/// Lines of crontab(5). Those of the system name a user before the command.
fn of_crontab(path: &str, text: &str, found: &mut Findings) {
    let of_system = !path.contains("/var/spool/cron/");
    let for_root = of_system || path.ends_with("/root");
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if line.split_once('=').is_some_and(|(name, _)| is_name(name.trim())) {
            loader::variable(line, found);
            continue;
        }
        let anacron = path.ends_with("anacrontab");
        let times = if line.starts_with('@') {
            1
        } else if anacron {
            3
        } else {
            5
        };
        let skip = times + usize::from(of_system && !anacron);
        let mut words = line.split_whitespace();
        let user = words.by_ref().take(skip).last().unwrap_or_default();
        let command: Vec<&str> = words.collect();
        commands::judge(&command.join(" "), for_root && (!of_system || anacron || user == "root"), found);
    }
}

fn of_script(path: &str, text: &str, found: &mut Findings) {
    // What a user's own shell starts is that user's business.
    let for_root = !path.starts_with("/home/");
    for line in super::joined_lines(text) {
        commands::judge(&line, for_root, found);
        loader::variable(&line, found);
    }
}

/// What stands in quotes on lines that have one of these words before.
fn quoted_after(text: &str, words: &[&str], found: &mut Findings) {
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '/'])) {
        let Some(at) = words.iter().filter_map(|word| line.find(word)).min() else { continue };
        for quoted in line[at..].split('"').skip(1).step_by(2) {
            commands::judge(quoted, true, found);
        }
    }
}
