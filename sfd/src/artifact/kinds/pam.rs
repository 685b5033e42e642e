//! Authentication stacks: pam.d(5).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["pam.d/", "etc/pam.conf"];

/// One line of a stack: `auth required pam_unix.so nullok`.
struct Line<'a> {
    group: &'a str,
    control: &'a str,
    module: &'a str,
    arguments: &'a str,
}

fn stack(body: &str) -> impl Iterator<Item = Line<'_>> {
    text::settings(body).filter_map(|line| {
        let (group, rest) = line.split_once(char::is_whitespace)?;
        // A minus in front: a missing module is not logged.
        let group = group.strip_prefix('-').unwrap_or(group);
        if !["auth", "account", "password", "session"].contains(&group) {
            return None;
        }
        let rest = rest.trim_start();
        let (control, rest) = if rest.starts_with('[') {
            rest.split_at_checked(rest.find(']')? + 1)?
        } else {
            rest.split_once(char::is_whitespace)?
        };
        let rest = rest.trim();
        let (module, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let module = module.rsplit('/').next().unwrap_or(module);
        Some(Line { group, control, module: module.strip_suffix(".so").unwrap_or(module), arguments })
    })
}

fn includes(body: &str) -> impl Iterator<Item = &str> {
    let at = text::settings(body).filter_map(|l| l.strip_prefix("@include")).map(str::trim);
    at.chain(stack(body).filter(|l| matches!(l.control, "include" | "substack")).map(|l| l.module))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = text::joined(input.text().unwrap_or_default());
    let modules = |group: &str| {
        let all = stack(&body).filter(|l| l.group == group && l.module.starts_with("pam_"));
        let mut names: Vec<&str> = all.map(|l| l.module).take(100).collect();
        names.dedup();
        text::list(names, 4)
    };
    let auth = modules("auth");
    let mut said = Vec::new();
    for (group, word) in [
        ("auth", "identity by"),
        ("account", "admission by"),
        ("password", "new passwords by"),
        ("session", "sessions by"),
    ] {
        let list = modules(group);
        if !list.is_empty() {
            said.push(format!("{word} {list}"));
        }
    }
    let common = text::list(includes(&body), 4);
    if !common.is_empty() {
        said.push(format!("as in {common}"));
    }
    let name = input.shown_name();
    let title = if auth.is_empty() { format!("PAM for {name}") } else { format!("PAM for {name}: {auth}") };
    let what = if said.is_empty() { "nothing is set".to_owned() } else { said.join("; ") };
    let draft =
        Draft::new(title, format!("Authentication (PAM) for {name}: {what}.")).tag("pam").tag("login");
    if stack(&body).any(|l| l.arguments.split_whitespace().any(|a| a.starts_with("nullok"))) {
        return draft.tag("nullok");
    }
    draft
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let joined = text::joined(body.text);
    let mut facts = Facts::default();
    for group in ["auth", "account", "password", "session"] {
        for line in stack(&joined).filter(|l| l.group == group).take(6) {
            facts.say(group, format!("{} {} {}", line.control, line.module, line.arguments));
        }
    }
    facts.list("also reads", includes(&joined));
    facts
}

#[cfg(test)]
mod tests {
    use super::stack;

    #[test]
    fn lines() {
        let all: Vec<_> = stack(
            "-auth [success=1 default=ignore]  pam_unix.so nullok\nauth required\nx y z\n\
            session optional /lib/security/pam_motd.so\nauth [broken pam_x.so\n",
        )
        .map(|l| format!("{}|{}|{}|{}", l.group, l.control, l.module, l.arguments))
        .collect();
        assert_eq!(all, ["auth|[success=1 default=ignore]|pam_unix|nullok", "session|optional|pam_motd|"]);
    }
}
