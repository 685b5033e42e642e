//! PAM stacks, pam.d(5).

use super::{CRITICAL, Findings, HIGH, LOW, MEDIUM, base, joined_lines, odd_place};
use crate::artifact::kinds::text::clean;

/// One line of a stack: type, control, module and its arguments.
struct Line {
    kind: String,
    control: String,
    module: String,
    arguments: String,
}

/// The stacks in which others include the question for a password: there, no such module is worth a word.
const SHARED: [&str; 4] = ["common-auth", "system-auth", "password-auth", "system-login"];

pub(super) fn judge(service: &str, text: &str, found: &mut Findings) {
    let lines: Vec<Line> = joined_lines(text).filter_map(|line| parse(&line)).collect();
    for line in &lines {
        module(line, found);
    }
    let auth: Vec<&Line> = lines.iter().filter(|line| line.kind == "auth").collect();
    // Logins without a question are what these services are for.
    let is_open = ["autologin", "greeter", "launch-environment"].iter().any(|word| service.contains(word));
    if !is_open {
        permits(&auth, found);
    }
    let asks = auth.iter().any(|line| !is_mute(&line.module));
    if SHARED.contains(&service) && !auth.is_empty() && !asks {
        found.add(CRITICAL, "no module asks for a password");
    }
}

fn parse(line: &str) -> Option<Line> {
    if line.starts_with("@include") {
        let module = line.split_whitespace().next_back()?.to_owned();
        return Some(Line {
            kind: "auth".into(),
            control: "include".into(),
            module,
            arguments: String::new(),
        });
    }
    let mut rest = line.trim_start_matches('-');
    let mut word = || {
        rest = rest.trim_start();
        let end = if rest.starts_with('[') {
            rest.find(']')? + 1
        } else {
            rest.find(char::is_whitespace).unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then(|| word.to_owned())
    };
    let (kind, control, module) = (word()?.to_ascii_lowercase(), word()?.to_ascii_lowercase(), word()?);
    Some(Line { kind, control, module, arguments: rest.trim().to_owned() })
}

/// Modules that decide without asking anybody.
fn is_mute(module: &str) -> bool {
    const MUTE: [&str; 11] = [
        "pam_permit.so",
        "pam_env.so",
        "pam_faildelay.so",
        "pam_cap.so",
        "pam_nologin.so",
        "pam_group.so",
        "pam_warn.so",
        "pam_securetty.so",
        "pam_echo.so",
        "pam_motd.so",
        "pam_exec.so",
    ];
    MUTE.contains(&base(module))
}

fn module(line: &Line, found: &mut Findings) {
    let name = base(&line.module);
    let at_home =
        ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"].iter().any(|dir| line.module.starts_with(dir));
    if line.module.starts_with('/') && !at_home {
        found.add(
            HIGH,
            format!("a module from an unusual place decides on logins: {}", clean(&line.module, 80)),
        );
    }
    match name {
        "pam_exec.so" | "pam_python.so" | "pam_script.so" => {
            let program =
                line.arguments.split_whitespace().find(|word| word.starts_with('/')).unwrap_or("a program");
            let odd = odd_place(program);
            let (level, more) = match odd {
                Some((_, why)) => (CRITICAL, format!(", {why}")),
                None if line.arguments.contains("expose_authtok") => {
                    (HIGH, ", and gives it the passwords".to_owned())
                }
                None => (MEDIUM, String::new()),
            };
            found.add(level, format!("runs {} at logins ({name}){more}", clean(program, 80)));
        }
        "pam_wheel.so"
            if line.kind == "auth" && line.arguments.split_whitespace().any(|word| word == "trust") =>
        {
            found.add(MEDIUM, "a group becomes root without a password (pam_wheel trust)");
        }
        "pam_unix.so"
            if line.kind == "password" && line.arguments.split_whitespace().any(|word| word == "md5") =>
        {
            found.add(LOW, "passwords are kept as MD5 (pam_unix md5)");
        }
        _ => {}
    }
}

/// `pam_permit` says yes to everybody: harmless at the end of a stack that has said no before.
fn permits(auth: &[&Line], found: &mut Findings) {
    let is = |line: &Line, module: &str| base(&line.module) == module;
    for (index, line) in auth.iter().enumerate().filter(|(_, line)| is(line, "pam_permit.so")) {
        let before = &auth[..index];
        // Debian's common-auth: who succeeds jumps over the deny, everybody else meets it.
        let denied = before.iter().any(|line| is(line, "pam_deny.so") && line.control != "optional");
        let ends = line.control == "sufficient" || line.control.contains("success=done");
        let asks: Vec<&&Line> = before.iter().filter(|line| !is_mute(&line.module)).collect();
        let optional = |line: &&&Line| {
            line.control == "optional"
                || line.control == "sufficient"
                || line.control.contains("default=ignore")
        };
        if denied || line.control == "optional" {
            continue;
        }
        // A rule for who is root already is no question that could be failed.
        let required = asks.iter().any(|line| !optional(line));
        if required {
            continue;
        }
        let what = if asks.is_empty() {
            "anyone is let in without a password"
        } else {
            "a wrong password is let in"
        };
        // What ends the stack decides for everything that follows it, and what follows a question for its answer.
        let level = if ends || !asks.is_empty() { CRITICAL } else { HIGH };
        found.add(level, format!("{what} (auth {} pam_permit.so)", clean(&line.control, 40)));
    }
}
