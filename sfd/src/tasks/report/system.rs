//! This host in words: system, kernel, processor, memory, mounts, modules, services, listening sockets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Report, table};
use crate::agent::now_ns;
use crate::artifact::kinds::risk::{is_unsigned, loaded_modules};
use crate::artifact::kinds::socket_address;
use crate::artifact::view::MemoryView;

/// At most this much of a file is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The files that the report is made of, and that are in the brick.
const FILES: [&str; 17] = [
    "/etc/os-release",
    "/etc/hostname",
    "/proc/version",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/swaps",
    "/proc/self/mounts",
    "/proc/modules",
    "/proc/sys/kernel/tainted",
    "/proc/sys/kernel/random/boot_id",
    "/proc/net/tcp",
    "/proc/net/tcp6",
    "/proc/net/udp",
    "/proc/net/udp6",
    "/proc/net/dev",
];
/// Below this share of free space a file system is called nearly full.
const FREE_PERCENT_LOW: u64 = 10;
/// File systems without contents on a disk.
const VIRTUAL: [&str; 22] = [
    "proc",
    "sysfs",
    "devpts",
    "devtmpfs",
    "cgroup",
    "cgroup2",
    "mqueue",
    "debugfs",
    "tracefs",
    "securityfs",
    "bpf",
    "pstore",
    "efivarfs",
    "configfs",
    "fusectl",
    "hugetlbfs",
    "autofs",
    "binfmt_misc",
    "nsfs",
    "rpc_pipefs",
    "selinuxfs",
    "ramfs",
];

#[derive(Clone, Debug, Serialize)]
struct Mount {
    target: String,
    source: String,
    file_system: String,
    options: String,
    bytes: Option<u64>,
    free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct LoadedModule {
    name: String,
    taints: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Listener {
    protocol: &'static str,
    address: String,
    /// Others than this host can reach it.
    open_to_others: bool,
    program: Option<String>,
    pid: Option<u32>,
}

#[derive(Clone, Debug, Serialize)]
struct Services {
    /// systemd is the manager here.
    systemd: bool,
    running: BTreeSet<String>,
    enabled: BTreeSet<String>,
}

/// What was gathered.
#[derive(Clone, Debug)]
pub struct System {
    files: BTreeMap<PathBuf, Vec<u8>>,
    at_ns: i64,
    mounts: Vec<Mount>,
    modules: Vec<LoadedModule>,
    listeners: Vec<Listener>,
    services: Services,
}

/// Reads everything; nothing is executed. What may not be read is left out.
pub fn gather() -> System {
    let mut files = BTreeMap::new();
    for name in FILES {
        let mut bytes = Vec::new();
        if fs::File::open(name).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)).is_ok() {
            files.insert(PathBuf::from(name), bytes);
        }
    }
    let text = |name: &str| {
        files
            .get(Path::new(name))
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default()
    };
    let modules = loaded_modules(&text("/proc/modules"))
        .map(|(name, taints)| LoadedModule { name: name.to_owned(), taints: taints.to_owned() })
        .collect();
    let holders = sockets_by_inode();
    let mut listeners = BTreeSet::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        listeners.extend(listening(protocol, &text(&format!("/proc/net/{protocol}")), &holders));
    }
    let mounts = text("/proc/self/mounts").lines().filter_map(mount).collect();
    System {
        mounts,
        modules,
        listeners: listeners.into_iter().collect(),
        services: services(),
        at_ns: now_ns(),
        files,
    }
}

fn mount(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let mut next = || words.next().map(|word| word.replace("\\040", " "));
    let (source, target, file_system, options) = (next()?, next()?, next()?, next()?);
    if VIRTUAL.contains(&file_system.as_str()) {
        return None;
    }
    let stat = rustix::fs::statvfs(target.as_str()).ok().filter(|stat| stat.f_blocks > 0);
    Some(Mount {
        bytes: stat.as_ref().map(|stat| stat.f_blocks * stat.f_frsize),
        free_bytes: stat.map(|stat| stat.f_bavail * stat.f_frsize),
        target,
        source,
        file_system,
        options,
    })
}

/// Which process has which socket; of those that this user may look into.
fn sockets_by_inode() -> HashMap<u64, (u32, String)> {
    let mut found = HashMap::new();
    for (pid, dir) in processes() {
        let Ok(links) = fs::read_dir(dir.join("fd")) else { continue };
        for link in links.flatten() {
            let Ok(target) = fs::read_link(link.path()) else { continue };
            let inode = target
                .to_str()
                .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                let name = fs::read_to_string(dir.join("comm")).unwrap_or_default();
                found.entry(inode).or_insert((pid, name.trim_end().to_owned()));
            }
        }
    }
    found
}

fn processes() -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

/// Sockets that wait for others: `sl local remote state queues timer retransmits uid timeout inode`.
fn listening(protocol: &'static str, table: &str, holders: &HashMap<u64, (u32, String)>) -> Vec<Listener> {
    // include/net/tcp_states.h; a UDP socket that is not connected is in the state CLOSE.
    let waits = if protocol.starts_with("tcp") { "0A" } else { "07" };
    let lines = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, remote, state, inode) = (*words.get(1)?, *words.get(2)?, *words.get(3)?, *words.get(9)?);
        if state != waits || !remote.ends_with(":0000") {
            return None;
        }
        let address = socket_address(local)?;
        let holder = inode.parse().ok().and_then(|inode: u64| holders.get(&inode));
        let local_only = ["127.", "[::1]", "[::ffff:127."].iter().any(|prefix| address.starts_with(prefix));
        Some(Listener {
            protocol,
            open_to_others: !local_only,
            address,
            program: holder.map(|(_, name)| name.clone()),
            pid: holder.map(|(pid, _)| *pid),
        })
    });
    lines.collect()
}

/// Services that run, by the cgroups of processes, and those that start by themselves, by systemd's links.
fn services() -> Services {
    let mut running = BTreeSet::new();
    for (_, dir) in processes() {
        let cgroup = fs::read_to_string(dir.join("cgroup")).unwrap_or_default();
        let parts =
            cgroup.lines().filter_map(|line| line.rsplit_once(':')).flat_map(|(_, path)| path.split('/'));
        running.extend(parts.filter(|part| part.ends_with(".service")).map(str::to_owned));
    }
    let mut enabled = BTreeSet::new();
    for wants in fs::read_dir("/etc/systemd/system").into_iter().flatten().flatten() {
        if wants.file_name().to_string_lossy().ends_with(".wants") {
            let units = fs::read_dir(wants.path()).into_iter().flatten().flatten();
            enabled.extend(units.map(|unit| unit.file_name().to_string_lossy().into_owned()));
        }
    }
    Services { systemd: Path::new("/run/systemd/system").is_dir(), running, enabled }
}

impl System {
    /// The files that were read.
    pub fn view(&self) -> MemoryView {
        MemoryView::new(self.files.clone(), self.at_ns)
    }

    fn text(&self, name: &str) -> String {
        let bytes = self.files.get(Path::new(name)).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).trim().to_owned()
    }

    /// Of os-release(5).
    fn os(&self, key: &str) -> Option<String> {
        let text = self.text("/etc/os-release");
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim_matches(['"', '\'']).to_owned())
    }

    fn cpus(&self) -> (usize, Option<String>) {
        let text = self.text("/proc/cpuinfo");
        let model = text.lines().find(|line| line.starts_with("model name") || line.starts_with("Model"));
        let model = model.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
        (text.lines().filter(|line| line.starts_with("processor")).count(), model)
    }

    /// Of /proc/meminfo, bytes.
    fn memory(&self, key: &str) -> Option<u64> {
        let text = self.text("/proc/meminfo");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    }

    /// What is worth a look, in words.
    fn findings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let tainted: u64 = self.text("/proc/sys/kernel/tainted").parse().unwrap_or(0);
        if tainted != 0 {
            found.push(format!("the kernel is tainted ({}): {}", tainted, taints(tainted).join(", ")));
        }
        let unsigned: Vec<&str> = self
            .modules
            .iter()
            .filter(|module| is_unsigned(&module.taints))
            .map(|module| module.name.as_str())
            .collect();
        if !unsigned.is_empty() {
            found.push(format!("loaded without a valid signature: {}", unsigned.join(", ")));
        }
        let foreign: Vec<&str> = self
            .modules
            .iter()
            .filter(|module| module.taints.contains(['O', 'P']))
            .map(|module| module.name.as_str())
            .collect();
        if !foreign.is_empty() {
            found.push(format!("loaded and not of the kernel's source: {}", foreign.join(", ")));
        }
        for mount in &self.mounts {
            if let (Some(bytes), Some(free)) = (mount.bytes, mount.free_bytes)
                && free.saturating_mul(100) < bytes.saturating_mul(FREE_PERCENT_LOW)
                && !mount.options.split(',').any(|option| option == "ro")
            {
                found.push(format!(
                    "{} is nearly full: {} of {} left",
                    mount.target,
                    size(free),
                    size(bytes)
                ));
            }
        }
        if let (Some(total), Some(available)) = (self.memory("MemTotal"), self.memory("MemAvailable"))
            && available.saturating_mul(100) < total.saturating_mul(FREE_PERCENT_LOW)
        {
            found.push(format!("memory is nearly used up: {} of {} available", size(available), size(total)));
        }
        let open: Vec<&Listener> = self.listeners.iter().filter(|listener| listener.open_to_others).collect();
        if !open.is_empty() {
            let shown: Vec<String> = open
                .iter()
                .map(|each| {
                    let program = each.program.as_deref().unwrap_or("unknown program");
                    format!("{} {} ({program})", each.protocol, each.address)
                })
                .collect();
            found.push(format!("other hosts can reach {} sockets: {}", open.len(), shown.join(", ")));
        }
        found
    }
}

/// The bits of the kernel's taint (Documentation/admin-guide/tainted-kernels.rst).
fn taints(bits: u64) -> Vec<&'static str> {
    const WORDS: [&str; 19] = [
        "a proprietary module was loaded (P)",
        "a module was loaded by force (F)",
        "the processor is out of specification (S)",
        "a module was unloaded by force (R)",
        "the processor reported an error (M)",
        "a bad page was found (B)",
        "a user asked for it (U)",
        "the kernel has had an oops (D)",
        "an ACPI table was replaced (A)",
        "the kernel has warned (W)",
        "a staging driver was loaded (C)",
        "a firmware bug was worked around (I)",
        "an out-of-tree module was loaded (O)",
        "an unsigned module was loaded (E)",
        "a soft lockup has occurred (L)",
        "the kernel was live patched (K)",
        "for the distribution's own purposes (X)",
        "built with randomised structures (T)",
        "an in-kernel test was run (N)",
    ];
    WORDS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, words)| *words).collect()
}

fn size(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib >= 10_240 { format!("{} GiB", mib >> 10) } else { format!("{mib} MiB") }
}

impl Report for System {
    fn json(&self) -> Value {
        let (cpus, model) = self.cpus();
        let uname = rustix::system::uname();
        json!({
            "format": "sfd-system-report", "version": 1, "at_ns": self.at_ns,
            "hostname": uname.nodename().to_string_lossy(),
            "os": { "name": self.os("PRETTY_NAME"), "id": self.os("ID"), "version": self.os("VERSION_ID") },
            "kernel": {
                "release": uname.release().to_string_lossy(), "version": uname.version().to_string_lossy(),
                "machine": uname.machine().to_string_lossy(),
                "tainted": self.text("/proc/sys/kernel/tainted").parse::<u64>().ok(),
            },
            "uptime_s": self.text("/proc/uptime").split(' ').next().and_then(|s| s.parse::<f64>().ok()),
            "load": self.text("/proc/loadavg").split(' ').take(3).filter_map(|s| s.parse::<f64>().ok()).collect::<Vec<_>>(),
            "cpu": { "count": cpus, "model": model },
            "memory": {
                "total": self.memory("MemTotal"), "available": self.memory("MemAvailable"),
                "swap_total": self.memory("SwapTotal"), "swap_free": self.memory("SwapFree"),
            },
            "mounts": self.mounts, "modules": self.modules, "services": self.services,
            "listening": self.listeners, "findings": self.findings(),
        })
    }

    fn markdown(&self, title: &str) -> String {
        let (cpus, model) = self.cpus();
        let uname = rustix::system::uname();
        let shown = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), size);
        let mut text =
            format!("# {}: {}\n\n", super::cell(title), super::cell(&uname.nodename().to_string_lossy()));
        text += "## Worth a look\n\n";
        let findings = self.findings();
        if findings.is_empty() {
            text += "Nothing.\n";
        }
        for finding in findings {
            text += &format!("- {}\n", super::cell(&finding));
        }
        text += "\n## System\n\n";
        let uptime =
            self.text("/proc/uptime").split('.').next().and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
        let rows = [
            ("operating system", self.os("PRETTY_NAME").unwrap_or_else(|| "unknown".into())),
            (
                "kernel",
                format!("{} ({})", uname.release().to_string_lossy(), uname.machine().to_string_lossy()),
            ),
            ("up for", format!("{} d {} h", uptime / 86_400, uptime / 3600 % 24)),
            ("load", self.text("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")),
            ("processors", format!("{cpus} x {}", model.unwrap_or_else(|| "unknown".into()))),
            (
                "memory",
                format!(
                    "{}, {} available",
                    shown(self.memory("MemTotal")),
                    shown(self.memory("MemAvailable"))
                ),
            ),
            ("swap", format!("{}, {} free", shown(self.memory("SwapTotal")), shown(self.memory("SwapFree")))),
        ];
        text += &table(&["", ""], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]));
        text += "\n## Mounts\n\n";
        text += &table(
            &["at", "of", "file system", "size", "free", "options"],
            self.mounts.iter().map(|mount| {
                vec![
                    mount.target.clone(),
                    mount.source.clone(),
                    mount.file_system.clone(),
                    shown(mount.bytes),
                    shown(mount.free_bytes),
                    mount.options.clone(),
                ]
            }),
        );
        text += "\n## Listening sockets\n\n";
        text += &table(
            &["protocol", "address", "open to other hosts", "program"],
            self.listeners.iter().map(|each| {
                let program = match (&each.program, each.pid) {
                    (Some(program), Some(pid)) => format!("{program} ({pid})"),
                    _ => String::new(),
                };
                let open = if each.open_to_others { "yes" } else { "no" };
                vec![each.protocol.to_owned(), each.address.clone(), open.to_owned(), program]
            }),
        );
        text += "\n## Services\n\n";
        let words =
            |set: &BTreeSet<String>| set.iter().map(|name| super::cell(name)).collect::<Vec<_>>().join(", ");
        if !self.services.systemd {
            text += "systemd does not run here.\n\n";
        }
        text += &format!("Running ({}): {}\n\n", self.services.running.len(), words(&self.services.running));
        text += &format!(
            "Start by themselves ({}): {}\n",
            self.services.enabled.len(),
            words(&self.services.enabled)
        );
        text += "\n## Loaded kernel modules\n\n";
        if self.modules.is_empty() {
            text += "None.\n";
        } else {
            text += &table(
                &["module", "taints"],
                self.modules.iter().map(|module| vec![module.name.clone(), module.taints.clone()]),
            );
        }
        text
    }
}
