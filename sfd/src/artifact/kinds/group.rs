//! Groups and their members: group(5).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["etc/group", "etc/group-"];

/// Groups whose members can get all rights, or read what others may not.
const POWERFUL: [&str; 13] = [
    "root", "sudo", "wheel", "admin", "adm", "shadow", "disk", "docker", "lxd", "libvirt", "kvm", "kmem",
    "staff",
];

/// Name and members, of groups that have members.
fn with_members(body: &str) -> impl Iterator<Item = (&str, &str)> {
    text::settings(body).filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let members = rest.rsplit(':').next()?.trim();
        (!members.is_empty() && rest.contains(':')).then_some((name, members))
    })
}

fn powerful(body: &str) -> impl Iterator<Item = String> {
    with_members(body)
        .filter(|(name, _)| POWERFUL.contains(name))
        .map(|(name, members)| format!("{name}: {}", members.replace(',', ", ")))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let n = text::count(text::settings(body).count(), input.whole, "group");
    let members = with_members(body).count();
    let strong: Vec<String> = powerful(body).map(|group| text::clean(&group, 60)).take(3).collect();
    let said = if strong.is_empty() {
        "none that gives rights of root has members".to_owned()
    } else {
        strong.join("; ")
    };
    Draft::new(
        format!("{n}, {members} with members"),
        format!("Groups: {n}, {members} with members; {said}."),
    )
    .tag("accounts")
    .tag("groups")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.say("groups", text::count(text::settings(body.text).count(), body.whole, "group"));
    for group in powerful(body.text).take(13) {
        facts.say("members of a group with much power", group);
    }
    let others = with_members(body.text).filter(|(name, _)| !POWERFUL.contains(name));
    facts.list("other groups with members", others.map(|(name, members)| format!("{name} ({members})")));
    facts
}
