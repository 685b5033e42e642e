//! sudoers(5).

use super::{CRITICAL, Findings, HIGH, LOW, MEDIUM, base, gives_everything, joined_lines, odd_place};
use crate::artifact::kinds::text::clean;

/// Groups that are there to be root.
const ADMINS: [&str; 6] = ["%sudo", "%wheel", "%admin", "%adm", "%root", "root"];
/// Variables by which a user makes a program of root's do what he wants.
const DANGEROUS: [&str; 10] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PYTHONPATH",
    "PERL5LIB",
    "PERL5OPT",
    "RUBYLIB",
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
];

pub(super) fn judge(text: &str, found: &mut Findings) {
    for line in joined_lines(text) {
        let first = line.split_whitespace().next().unwrap_or_default();
        if first.starts_with("Defaults") {
            defaults(&line[first.len()..], found);
        } else if first == "@include" || first == "@includedir" {
            let target = line[first.len()..].trim();
            if let Some((level, why)) = odd_place(target) {
                found.add(level, format!("sudo reads rules from {}, {why}", clean(target, 80)));
            }
        } else if !first.ends_with("_Alias") {
            rule(&line, found);
        }
    }
}

fn defaults(settings: &str, found: &mut Findings) {
    for setting in settings.split(',').map(str::trim) {
        let (name, value) = setting
            .split_once('=')
            .map_or((setting, ""), |(name, value)| (name.trim_end_matches(['+', ' ', '-']), value));
        let value = value.trim().trim_matches('"');
        match name.trim() {
            "!authenticate" => found.add(HIGH, "sudo asks nobody for a password (!authenticate)"),
            "!env_reset" => found.add(MEDIUM, "sudo keeps the environment of who calls it (!env_reset)"),
            "env_keep" | "env_check" if !setting.contains("-=") => {
                for variable in value.split_whitespace().filter(|variable| DANGEROUS.contains(variable)) {
                    found.add(
                        HIGH,
                        format!("sudo lets {variable} of who calls it through to root (env_keep)"),
                    );
                }
            }
            "secure_path" => {
                for dir in value.split(':') {
                    if let Some((level, why)) = odd_place(dir) {
                        found.add(
                            level.max(HIGH),
                            format!("sudo looks for commands in {}, {why}", clean(dir, 60)),
                        );
                    } else if !dir.starts_with('/') {
                        found.add(
                            HIGH,
                            "sudo looks for commands in the directory of who calls it (secure_path)",
                        );
                    }
                }
            }
            "timestamp_timeout" if value.starts_with('-') => {
                found.add(LOW, "sudo asks for the password only once (timestamp_timeout below 0)");
            }
            "visiblepw" => found.add(LOW, "sudo shows passwords as they are typed (visiblepw)"),
            "!syslog" => found.add(LOW, "sudo does not log what it is used for (!syslog)"),
            _ => {}
        }
    }
}

/// `who hosts = (as) TAGS: commands`
fn rule(line: &str, found: &mut Findings) {
    let Some((left, right)) = line.split_once('=') else { return };
    let who = left.split_whitespace().next().unwrap_or_default();
    let shown = clean(who, 32);
    let mut without_password = false;
    for command in right.split(',') {
        let mut rest = command.trim();
        if let Some(end) = rest.strip_prefix('(').and_then(|inner| inner.find(')')) {
            let users = rest[1..=end].split(':').next().unwrap_or_default();
            rest = rest[end + 2..].trim_start();
            if !users.is_empty() && !users.contains("ALL") && !users.contains("root") && !users.contains("#0")
            {
                continue;
            }
        }
        while let Some((tag, after)) = rest.split_once(':').filter(|(tag, _)| is_tag(tag)) {
            match tag.trim() {
                "NOPASSWD" => without_password = true,
                "PASSWD" => without_password = false,
                _ => {}
            }
            rest = after.trim_start();
        }
        let program = rest.split_whitespace().next().unwrap_or_default();
        if program == "ALL" {
            everything(who, &shown, without_password, found);
        } else if let Some((level, why)) = odd_place(program) {
            found.add(level.max(HIGH), format!("{shown} may run {} as root, {why}", clean(program, 80)));
        } else if without_password && gives_everything(program) && who != "root" {
            found.add(
                HIGH,
                format!("{shown} becomes root without a password by {}", clean(base(program), 40)),
            );
        }
    }
}

fn is_tag(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn everything(who: &str, shown: &str, without_password: bool, found: &mut Findings) {
    match (who, without_password) {
        ("root", _) => {}
        ("ALL", true) => {
            found.add(CRITICAL, "everybody is root without a password (sudo: ALL ... NOPASSWD: ALL)");
        }
        ("ALL", false) => found.add(HIGH, "everybody may be root with his own password (sudo: ALL ... ALL)"),
        (who, true) if ADMINS.contains(&who) => {
            found.add(LOW, format!("{shown} is root without a password (sudo: NOPASSWD: ALL)"));
        }
        (_, true) => found.add(MEDIUM, format!("{shown} is root without a password (sudo: NOPASSWD: ALL)")),
        (_, false) => {}
    }
}
