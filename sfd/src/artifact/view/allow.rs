//! The allow-list of [`super::ProcView`]: which files of `/proc` exist for it.

use std::path::Path;

use super::sysctl;

/// Files of the host.
pub(super) const HOST: [&str; 10] = [
    "cmdline",
    "cpuinfo",
    "devices",
    "filesystems",
    "loadavg",
    "meminfo",
    "modules",
    "mounts",
    "swaps",
    "version",
];
/// Network tables, of the network namespace that SFD runs in.
pub(super) const NET: [&str; 7] =
    ["net/dev", "net/route", "net/tcp", "net/tcp6", "net/udp", "net/udp6", "net/unix"];
/// Of those, the ones that change without any event: sampled.
pub(super) const VOLATILE: [&str; 10] = [
    "loadavg",
    "meminfo",
    "swaps",
    "net/dev",
    "net/route",
    "net/tcp",
    "net/tcp6",
    "net/udp",
    "net/udp6",
    "net/unix",
];
/// Files of a process.
pub(super) const PROCESS: [&str; 8] =
    ["cgroup", "cmdline", "comm", "exe", "limits", "mountinfo", "ns", "status"];
/// Of those, the ones of a kernel thread.
pub(super) const KERNEL_THREAD: [&str; 3] = ["cgroup", "comm", "status"];

/// What a path in the view stands for. The allow-list: a path that is none of these does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Root,
    Host(&'static str),
    NetDirectory,
    /// Path below `sys`, empty for `sys` itself: a value or a directory of values.
    Sys(String),
    Process(u32),
    ProcessFile(u32, &'static str),
}

impl Node {
    /// Reads a path relative to the root of the view.
    pub(super) fn parse(rel: &Path) -> Option<Self> {
        let rel = rel.to_str()?;
        if rel.is_empty() {
            return Some(Self::Root);
        }
        if let Some(name) = HOST.iter().chain(&NET).find(|n| **n == rel) {
            return Some(Self::Host(name));
        }
        if rel == "net" {
            return Some(Self::NetDirectory);
        }
        if rel == "sys" {
            return Some(Self::Sys(String::new()));
        }
        if let Some(below) = rel.strip_prefix("sys/") {
            let plain = below.split('/').all(|part| !matches!(part, "" | "." | ".."));
            return (plain && !sysctl::skipped(below)).then(|| Self::Sys(below.to_owned()));
        }
        let (pid, file) = rel.split_once('/').map_or((rel, None), |(pid, file)| (pid, Some(file)));
        let pid = pid_of(pid)?;
        match file {
            None => Some(Self::Process(pid)),
            Some(file) => PROCESS.iter().find(|n| **n == file).map(|n| Self::ProcessFile(pid, n)),
        }
    }
}

/// A process number as the kernel writes it: no sign, no leading zero.
pub(super) fn pid_of(name: &str) -> Option<u32> {
    let pid: u32 = name.parse().ok()?;
    (name.len() < 11 && pid > 0 && pid.to_string() == name).then_some(pid)
}
