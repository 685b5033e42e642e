//! File systems: what is mounted at boot (fstab(5)), and what is mounted now (`/proc/mounts`, `mountinfo`).

use super::{ArtifactInput, Body, Draft, Facts, Nature, text};

pub(super) const PLACES: &[&str] = &["etc/fstab", "etc/mtab"];

struct Mount<'a> {
    source: &'a str,
    at: &'a str,
    fs: &'a str,
    options: &'a str,
}

/// Lines of fstab and mounts: source, place, type, options.
fn mounts(body: &str) -> impl Iterator<Item = Mount<'_>> {
    text::settings(body).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (source, at, fs) = (words.next()?, words.next()?, words.next()?);
        Some(Mount { source, at, fs, options: words.next().unwrap_or_default() })
    })
}

/// Lines of mountinfo (proc_pid_mountinfo(5)): numbers, root, place, options, optional fields, `-`, type, source.
fn mountinfo(body: &str) -> impl Iterator<Item = Mount<'_>> {
    body.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut words = before.split_whitespace().skip(4);
        let (at, options) = (words.next()?, words.next()?);
        let mut words = after.split_whitespace();
        let (fs, source) = (words.next()?, words.next()?);
        Some(Mount { source, at, fs, options })
    })
}

fn any_table(body: &str) -> Vec<Mount<'_>> {
    let info: Vec<Mount<'_>> = mountinfo(body).collect();
    if info.is_empty() { mounts(body).collect() } else { info }
}

/// Whether it is of the kernel alone: no disk, no network.
fn is_pseudo(mount: &Mount<'_>) -> bool {
    mount.fs != "overlay" && !mount.source.starts_with('/') && !mount.source.contains(':')
}

fn is_remote(mount: &Mount<'_>) -> bool {
    ["nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p", "sshfs", "fuse.sshfs"].contains(&mount.fs)
}

fn line(mount: &Mount<'_>) -> String {
    format!("{} on {} ({}, {})", mount.source, mount.at, mount.fs, mount.options)
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let n = text::count(mounts(body).count(), input.whole, "entry");
    let shown = text::list(mounts(body).map(|m| format!("{} ({})", m.at, m.fs)), 5);
    let shown = if shown.is_empty() { String::new() } else { format!(": {shown}") };
    let draft = Draft::new(format!("fstab: {n}"), format!("File systems mounted at boot, {n}{shown}."))
        .tag("mounts")
        .tag("boot");
    if mounts(body).any(|m| is_remote(&m)) { draft.tag("network") } else { draft }
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    for mount in mounts(body.text).take(20) {
        facts.say("mount", line(&mount));
    }
    facts
}

pub(super) fn is_mounts(input: &ArtifactInput<'_>) -> bool {
    matches!(input.nature, Nature::Projection { name: "mounts" | "mountinfo", .. }) && !input.unread
}

pub(super) fn describe_mounts(input: &ArtifactInput<'_>) -> Draft {
    let all = any_table(input.text().unwrap_or_default());
    let of = super::projection::of_whom(input);
    let n = text::count(all.len(), input.whole, "file system");
    let real = text::list(all.iter().filter(|m| !is_pseudo(m)).map(|m| format!("{} ({})", m.at, m.fs)), 4);
    let real = if real.is_empty() { String::new() } else { format!("; on disks or elsewhere: {real}") };
    let draft =
        Draft::new(format!("Mounts {of}: {n}"), format!("Mounts {of}: {n}{real}.")).tag("proc").tag("mounts");
    if all.iter().any(is_remote) { draft.tag("network") } else { draft }
}

pub(super) fn mount_facts(body: &Body<'_>) -> Facts {
    let all = any_table(body.text);
    let mut facts = Facts::default();
    facts.say("file systems", text::count(all.len(), body.whole, "mount"));
    for mount in all.iter().filter(|m| !is_pseudo(m)).take(16) {
        facts.say("mount", line(mount));
    }
    facts.list("of the kernel alone", all.iter().filter(|m| is_pseudo(m)).map(|m| m.at));
    facts
}
