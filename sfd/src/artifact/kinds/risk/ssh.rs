//! The SSH server's settings, and the keys that may log in.

use super::{CRITICAL, Findings, HIGH, LOW, MEDIUM, commands, odd_place};
use crate::artifact::kinds::text::clean;

/// sshd_config(5): the first value of a keyword counts, so a later one weakens nothing; `Match` begins another context.
pub(super) fn server(text: &str, found: &mut Findings) {
    let mut context = String::new();
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut passwords = true;
    let mut root = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
        let (keyword, value) = line.split_at(end);
        let keyword = keyword.to_ascii_lowercase();
        let value =
            value.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim().trim_matches('"');
        if keyword == "match" {
            context = format!(" for {}", clean(value, 60));
            continue;
        }
        let key = (context.clone(), keyword.clone());
        let repeats = !matches!(&*keyword, "include" | "subsystem" | "acceptenv" | "setenv");
        if repeats && (seen.contains(&key) || seen.len() > 512) {
            continue;
        }
        seen.push(key);
        let lower = value.to_ascii_lowercase();
        match (&*keyword, &*lower) {
            ("passwordauthentication", "no") if context.is_empty() => passwords = false,
            ("permitrootlogin", "yes") => root = root.or(Some(context.clone())),
            _ => setting(&keyword, value, &lower, &context, found),
        }
    }
    if let Some(context) = root {
        let (level, how) = if passwords { (MEDIUM, "with a password") } else { (LOW, "with a key") };
        found.add(level, format!("root may log in {how}{context} (PermitRootLogin yes)"));
    }
}

fn setting(keyword: &str, value: &str, lower: &str, context: &str, found: &mut Findings) {
    let mut add = |level, reason: &str| found.add(level, format!("{reason}{context}"));
    match (keyword, lower) {
        ("permitemptypasswords", "yes") => {
            add(HIGH, "accounts without a password may log in (PermitEmptyPasswords yes)");
        }
        ("strictmodes", "no") => add(MEDIUM, "keys that others may change are accepted (StrictModes no)"),
        ("hostbasedauthentication", "yes") => {
            add(MEDIUM, "other hosts vouch for their users (HostbasedAuthentication yes)");
        }
        ("ignorerhosts", "no") => add(MEDIUM, "users decide which hosts are trusted (IgnoreRhosts no)"),
        ("permituserenvironment", "yes") => {
            add(
                MEDIUM,
                "users set the environment of their logins, such as LD_PRELOAD (PermitUserEnvironment yes)",
            );
        }
        ("permittunnel", "yes") => add(LOW, "clients may tunnel networks (PermitTunnel yes)"),
        ("gatewayports", "yes") => add(LOW, "forwarded ports are open to the network (GatewayPorts yes)"),
        ("loglevel", "quiet") => add(MEDIUM, "logins are not logged (LogLevel QUIET)"),
        ("protocol", version) if version.split(',').any(|v| v.trim() == "1") => {
            add(HIGH, "the broken version 1 of the protocol is allowed (Protocol)");
        }
        ("ciphers" | "macs", list) if !list.starts_with('-') => {
            let weak = |name: &&str| {
                ["arcfour", "3des", "blowfish", "-cbc", "hmac-md5", "none"]
                    .iter()
                    .any(|weak| name.contains(weak))
            };
            let names: Vec<&str> =
                list.trim_start_matches(['+', '^']).split(',').map(str::trim).filter(weak).collect();
            if !names.is_empty() {
                add(MEDIUM, &format!("weak ciphers are allowed: {}", clean(&names.join(", "), 80)));
            }
        }
        (
            "authorizedkeyscommand"
            | "authorizedprincipalscommand"
            | "include"
            | "trustedusercakeys"
            | "subsystem"
            | "forcecommand"
            | "authorizedkeysfile",
            _,
        ) => place(keyword, value, context, found),
        _ => {}
    }
}

fn place(keyword: &str, value: &str, context: &str, found: &mut Findings) {
    let what = match keyword {
        "authorizedkeyscommand" => "says which keys may log in",
        "authorizedprincipalscommand" => "says which certificates may log in",
        "include" => "holds more settings of the SSH server",
        "trustedusercakeys" => "holds who may sign keys",
        "authorizedkeysfile" => "holds the keys that may log in",
        _ => "is run for logins",
    };
    for word in value.split_whitespace() {
        if let Some((level, why)) = odd_place(word) {
            // Homes are where keys belong, also under one that is named.
            if keyword == "authorizedkeysfile" && word.contains("/home/") {
                continue;
            }
            let level =
                if keyword.ends_with("command") && level == HIGH { CRITICAL } else { level.max(MEDIUM) };
            found.add(level, format!("{} {what}, {why}{context}", clean(word, 80)));
        }
    }
}

/// authorized_keys: `options keytype key comment`.
pub(super) fn keys(path: &str, text: &str, found: &mut Findings) {
    let mut keys = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        keys += 1;
        if let Some(command) = quoted(line, "command=\"") {
            commands::judge(&command, false, found);
        }
        if let Some(variable) = quoted(line, "environment=\"").filter(|text| text.starts_with("LD_")) {
            let name = variable.split('=').next().unwrap_or_default();
            found.add(HIGH, format!("a key sets {} of its logins", clean(name, 40)));
        }
    }
    if keys > 0 && path.contains("/root/.ssh/") {
        let s = if keys == 1 { "" } else { "s" };
        found.add(LOW, format!("{keys} key{s} may log in as root"));
    }
}

/// The value of an option, up to a quote without a backslash before it.
fn quoted(line: &str, option: &str) -> Option<String> {
    let start = line.find(option)? + option.len();
    let mut value = String::new();
    let mut chars = line[start..].chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(value),
            '\\' => value.extend(chars.next()),
            _ => value.push(c),
        }
    }
    Some(value)
}
