//! Who made a change, in words: `vim[123] uid 0 (login alice/1000), /usr/bin/vim /etc/hosts, from sshd > bash`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::out::printable;
use crate::brick::HistoryRow;
use crate::collect::{Origin, Writer};

/// Longest command line in text, characters; `--json` has all that is known.
const COMMAND_MAX: usize = 120;
/// Most parents in text, the nearest.
const PARENTS_MAX: usize = 4;
/// Digits of a container's id in text, as the engines themselves show it.
const CONTAINER_DIGITS: usize = 12;

/// Names of this host's users; nothing but `/etc/passwd` is asked.
static USERS: LazyLock<HashMap<u32, String>> =
    LazyLock::new(|| users(&std::fs::read_to_string("/etc/passwd").unwrap_or_default()));

/// All writers of a change.
pub(super) fn all(row: &HistoryRow) -> String {
    let mut who: Vec<String> = row.writers.iter().map(|writer| one(writer, &USERS)).collect();
    if row.more_writers {
        who.push("others".to_owned());
    }
    if row.unknown_writers {
        who.push("unknown".to_owned());
    }
    who.join("; ")
}

fn one(writer: &Writer, users: &HashMap<u32, String>) -> String {
    let mut text = format!("{}[{}] uid {}", printable(&writer.comm), writer.pid, writer.uid);
    if let Some(login) = writer.login_uid {
        let name = users.get(&login).map(|name| format!("{}/", printable(name))).unwrap_or_default();
        text.extend([" (login ", &name, &login.to_string(), ")"]);
    }
    let Origin { parents, parents_cut, container, .. } = &*writer.origin;
    if let Some(command) = command(&writer.origin) {
        text.extend([", ", &command]);
    }
    // The first process of the system started everything; that says nothing.
    let line: Vec<_> = parents.iter().filter(|parent| parent.pid != 1).collect();
    if !line.is_empty() {
        let names = line.iter().take(PARENTS_MAX).rev().map(|parent| printable(&parent.comm));
        let names: Vec<String> = names.collect();
        let more = if line.len() > PARENTS_MAX || *parents_cut { "... > " } else { "" };
        text.extend([", from ", more, &names.join(" > ")]);
    }
    if let Some(container) = container {
        let id: String = container.chars().take(CONTAINER_DIGITS).collect();
        text.extend([", in container ", &printable(&id)]);
    }
    text
}

/// The program's path in the place of its own name, and its arguments.
fn command(origin: &Origin) -> Option<String> {
    let args = origin.args.as_deref().unwrap_or_default();
    let program = origin.exe.as_ref().or(args.first())?;
    let words = std::iter::once(program).chain(args.iter().skip(1)).map(|word| quoted(word));
    let mut line = words.collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(COMMAND_MAX) {
        line.truncate(end);
        line.push_str("...");
    } else if origin.args_cut {
        line.push_str(" ...");
    }
    Some(line)
}

/// A word so that where it begins and ends can be told.
fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && !word.contains([' ', ',', ';', '\'', '"', '\\']);
    if plain { printable(word) } else { format!("'{}'", printable(word)) }
}

/// Names by number, from the text of passwd(5).
fn users(passwd: &str) -> HashMap<u32, String> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    // The first of several with one number is the one that is shown by everyone.
    passwd.lines().rev().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::collect::Parent;

    fn parent(pid: u32, comm: &str) -> Parent {
        Parent { pid, start_ns: 0, comm: comm.into(), exe: None }
    }

    fn writer(origin: Origin) -> Writer {
        let comm = "vim".into();
        let origin = Arc::new(origin);
        Writer { pid: 123, start_ns: 1, uid: 0, login_uid: Some(1000), comm, cgroup: 0, origin }
    }

    fn text(origin: Origin) -> String {
        one(
            &writer(origin),
            &users("root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nother:x:1000:1::/:\n"),
        )
    }

    #[test]
    fn a_writer_is_one_readable_line() {
        let full = Origin {
            exe: Some("/usr/bin/vim".into()),
            args: Some(vec!["vim".into(), "/etc/hosts".into()]),
            parents: vec![parent(40, "bash"), parent(30, "sshd"), parent(1, "systemd")],
            ..Origin::default()
        };
        let expected = "vim[123] uid 0 (login alice/1000), /usr/bin/vim /etc/hosts, from sshd > bash";
        assert_eq!(text(full.clone()), expected);
        let container = Some("3f4d5e6a".repeat(8));
        let text = text(Origin { parents_cut: true, container, args_cut: true, ..full });
        assert!(
            text.ends_with("/etc/hosts ..., from ... > sshd > bash, in container 3f4d5e6a3f4d"),
            "{text}"
        );
        assert_eq!(
            one(&Writer { login_uid: None, ..writer(Origin::default()) }, &HashMap::new()),
            "vim[123] uid 0"
        );
        assert_eq!(one(&writer(Origin::default()), &HashMap::new()), "vim[123] uid 0 (login 1000)");
    }

    #[test]
    fn a_long_or_hostile_command_line_stays_one_line() {
        let args =
            vec!["sh".into(), "-c".into(), format!("echo\n\u{1b}[2J {}", "x".repeat(500)), String::new()];
        let text = text(Origin { args: Some(args), ..Origin::default() });
        assert!(text.contains(", sh -c 'echo\\n\\u{1b}[2J xxx"), "{text}");
        assert!(text.ends_with("xxx..."), "{text}");
        assert!(text.chars().count() < COMMAND_MAX + 60 && !text.chars().any(char::is_control), "{text}");
    }

    #[test]
    fn writers_others_and_the_unknown_are_told_apart() {
        let row = |writers: Vec<Writer>, more_writers, unknown_writers| HistoryRow {
            at_ns: 0,
            path: b"/x".to_vec(),
            from: None,
            verb: crate::brick::Verb::Modified,
            detail: String::new(),
            meaning: Vec::new(),
            reasons: Vec::new(),
            writers,
            more_writers,
            unknown_writers,
            kind: String::new(),
            risk: 0,
        };
        assert_eq!(all(&row(vec![], false, true)), "unknown");
        let one = Writer { login_uid: None, ..writer(Origin::default()) };
        assert_eq!(all(&row(vec![one.clone()], false, false)), "vim[123] uid 0");
        let both = vec![one.clone(), Writer { pid: 9, ..one }];
        assert_eq!(all(&row(both, true, true)), "vim[123] uid 0; vim[9] uid 0; others; unknown");
    }
}
