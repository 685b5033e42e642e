//! What a line of shell does, as far as an operator would not want it to be done by itself: a download that is run
//! unseen, a shell for somebody else, a program from where everybody may put one. No shell is interpreted; who wants to hide
//! from these rules can.

use super::{CRITICAL, Findings, HIGH, MEDIUM, base, odd_place};
use crate::artifact::kinds::text::clean;

/// Longest line that is taken apart, in bytes: a longer one is data.
const LINE_BYTES_MAX: usize = 4096;
const DOWNLOADS: [&str; 5] = ["curl", "wget", "fetch", "lwp-download", "aria2c"];
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "busybox"];
const INTERPRETERS: [&str; 8] = ["python", "python2", "python3", "perl", "ruby", "php", "node", "lua"];
/// Words in front of a command that run it.
const WRAPPERS: [&str; 14] = [
    "exec", "nohup", "nice", "ionice", "setsid", "env", "sudo", "time", "timeout", "chronic", "if", "then",
    "do", "else",
];

/// A command between two separators, and what separates it from the one before.
struct Part<'a> {
    before: char,
    words: Vec<&'a str>,
}

/// Judges one line. `for_root`: it runs as root, so that a program in a home is somebody else's.
pub(super) fn judge(line: &str, for_root: bool, found: &mut Findings) {
    if line.len() > LINE_BYTES_MAX {
        return;
    }
    if line.contains("/dev/tcp/") || line.contains("/dev/udp/") {
        found.add(CRITICAL, "opens a connection from the shell (/dev/tcp), as back doors do");
    }
    let plain: String = line.chars().map(|c| if matches!(c, '"' | '\'') { ' ' } else { c }).collect();
    let parts = parts(&plain);
    let mut fetched: Option<String> = None;
    let mut runner = None;
    for part in &parts {
        let (command, argument) = command(&part.words);
        let name = base(command);
        if part.before != '|' {
            fetched = None;
        }
        if is_shell_like(name)
            && let Some(from) = fetched.as_ref().filter(|_| part.before == '|')
        {
            found.add(HIGH, format!("downloads something and runs it unseen ({from} | {})", clean(name, 20)));
        }
        let inner = argument.map(base).filter(|inner| DOWNLOADS.contains(inner) && is_quoted(&part.words));
        if let Some(inner) = inner {
            fetched = Some(inner.to_owned());
        } else if DOWNLOADS.contains(&name) {
            if let Some(runner) = runner.filter(|_| matches!(part.before, '(' | '`')) {
                found.add(HIGH, format!("downloads something and runs it unseen ({runner}, {name})"));
            }
            fetched = Some(name.to_owned());
        } else if decodes(&part.words) {
            fetched = Some(format!("{name} -d"));
        }
        runner = (is_shell_like(name) || matches!(name, "eval" | "source" | ".")).then(|| clean(name, 20));
        connects(name, &part.words, found);
        for program in [Some(command), argument].into_iter().flatten() {
            if let Some((level, why)) = odd_place(program).filter(|(level, _)| *level != MEDIUM || for_root) {
                found.add(level, format!("runs {}, {why}", clean(program, 80)));
            }
        }
    }
}

fn parts(line: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut before) = (0, ';');
    let mut at = 0;
    let bytes = line.as_bytes();
    while at <= bytes.len() {
        let separator = bytes.get(at).copied().unwrap_or(b';');
        if matches!(separator, b';' | b'|' | b'&' | b'(' | b')' | b'{' | b'}' | b'`') {
            // `>&` redirects and separates nothing.
            if separator == b'&' && at > 0 && bytes[at - 1] == b'>' {
                at += 1;
                continue;
            }
            let words: Vec<&str> = line[start..at].split_whitespace().collect();
            let or = separator == b'|' && bytes.get(at + 1) == Some(&b'|');
            if !words.is_empty() {
                parts.push(Part { before, words });
            }
            at += usize::from(or);
            before = if or { ';' } else { char::from(separator) };
            start = at + 1;
        }
        at += 1;
    }
    parts
}

/// The program that is run, and the script that it is to run if it is an interpreter.
fn command<'a>(words: &[&'a str]) -> (&'a str, Option<&'a str>) {
    let mut rest = words.iter().copied().skip_while(|word| {
        WRAPPERS.contains(&base(word))
            || (word.starts_with('-') && !word.starts_with("-/"))
            || word.contains('=')
            || *word == "!"
            || word.bytes().all(|byte| byte.is_ascii_digit())
    });
    // systemd's prefixes of a command line.
    let first = rest.next().unwrap_or_default().trim_start_matches(['-', '@', ':', '+', '!']);
    let name = base(first);
    let runs = is_shell_like(name)
        || matches!(name, "source" | "." | "java" | "test" | "[") && name != "test" && name != "[";
    let script = if runs { rest.find(|word| !word.starts_with('-')) } else { None };
    (first, script)
}

/// Whether a shell is given its command as a word: `sh -c '...'`, whose quotes are gone here.
fn is_quoted(words: &[&str]) -> bool {
    words.iter().any(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))
}

fn is_shell_like(name: &str) -> bool {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    SHELLS.contains(&name)
        || INTERPRETERS.contains(&name)
        || (!plain.is_empty() && INTERPRETERS.contains(&plain))
}

fn decodes(words: &[&str]) -> bool {
    let has = |word: &str| words.contains(&word);
    match words.first().map(|word| base(word)) {
        Some("base64" | "base32") => has("-d") || has("--decode") || has("-D"),
        Some("xxd") => has("-r"),
        _ => false,
    }
}

/// A shell for somebody on the other end of a connection.
fn connects(name: &str, words: &[&str], found: &mut Findings) {
    let runs = |option: &&str| matches!(*option, "-e" | "-c" | "--exec" | "--sh-exec");
    let shell = |word: &&str| SHELLS.contains(&base(word));
    if matches!(name, "nc" | "ncat" | "netcat" | "nc.traditional")
        && words.iter().any(runs)
        && words.iter().any(shell)
    {
        found.add(CRITICAL, format!("gives a shell to a connection ({name})"));
    }
    if name == "socat" && words.iter().any(|word| word.to_ascii_lowercase().starts_with("exec:")) {
        found.add(HIGH, "runs a program for a connection (socat exec)");
    }
}
