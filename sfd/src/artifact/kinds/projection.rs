//! Projections of /proc.

use super::{ArtifactInput, Body, Draft, Facts, Nature, text};

const MEANING: [(&str, &str); 24] = [
    ("cmdline", "Command line"),
    ("cpuinfo", "Processors"),
    ("devices", "Device numbers in use"),
    ("filesystems", "File systems the kernel knows"),
    ("loadavg", "Load"),
    ("meminfo", "Memory in use"),
    ("modules", "Kernel modules loaded"),
    ("mounts", "Mounted file systems"),
    ("swaps", "Swap space"),
    ("version", "Kernel version"),
    ("net/dev", "Network interfaces"),
    ("net/route", "IPv4 routes"),
    ("net/tcp", "TCP sockets"),
    ("net/tcp6", "TCP sockets (IPv6)"),
    ("net/udp", "UDP sockets"),
    ("net/udp6", "UDP sockets (IPv6)"),
    ("net/unix", "Unix sockets"),
    ("cgroup", "Control group"),
    ("comm", "Name"),
    ("exe", "Executable"),
    ("limits", "Resource limits"),
    ("mountinfo", "Mounts seen"),
    ("ns", "Namespaces"),
    ("status", "Identity and capabilities"),
];

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    matches!(input.nature, Nature::Projection { .. })
}

/// What a projection is called.
pub(super) fn meaning(name: &'static str) -> &'static str {
    MEANING.iter().find(|(n, _)| *n == name).map_or(name, |(_, m)| *m)
}

/// Of this host, or of which process.
pub(super) fn of_whom(input: &ArtifactInput<'_>) -> String {
    match input.nature {
        Nature::Projection { pid: Some(pid), .. } => format!("of process {pid}"),
        _ => "of this host".to_owned(),
    }
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.say("lines", text::lines(body.text, body.whole));
    for line in body.text.lines().take(8) {
        facts.say("line", line);
    }
    facts
}

pub(super) fn sysctl_facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.say("value", body.text);
    facts
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let Nature::Projection { name, pid } = input.nature else { return Draft::default() };
    let (meaning, of) = (meaning(name), of_whom(input));
    let what = if input.unread {
        "could not be read".to_owned()
    } else if input.redacted.is_some() {
        text::size(input.len)
    } else {
        let body = String::from_utf8_lossy(input.head);
        match *name {
            "cmdline" | "comm" | "version" | "loadavg" | "cgroup" => {
                text::clean(&body.replace('\0', " "), 160)
            }
            _ => text::lines(&body, input.whole),
        }
    };
    let tag = if pid.is_some() { "process" } else { "host" };
    Draft::new(format!("{meaning} {of}"), format!("{meaning} {of}: {what}")).tag("proc").tag(tag)
}

pub(super) fn is_sysctl(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && matches!(input.nature, Nature::Sysctl { .. })
}

pub(super) fn describe_sysctl(input: &ArtifactInput<'_>) -> Draft {
    let Nature::Sysctl { name } = input.nature else { return Draft::default() };
    let value = if input.unread {
        "may not be read".to_owned()
    } else if input.redacted.is_some() {
        "hidden".to_owned()
    } else {
        text::clean(&String::from_utf8_lossy(input.head), 120)
    };
    let area = name.split('.').next().unwrap_or(name).to_owned();
    Draft::new(name.clone(), format!("Kernel setting {name} = {value}")).tag("sysctl").tag(area)
}
