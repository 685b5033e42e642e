//! Kernel settings, in files of sysctl.d(5) and as the kernel has them, and the modules that are loaded.

use super::{CRITICAL, Findings, HIGH, LOW, MEDIUM, odd_place};
use crate::artifact::kinds::text::clean;

/// Who says what a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A file of configuration: somebody has chosen it.
    InAFile,
    /// `/proc/sys`: it may be what the kernel starts with.
    ByTheKernel,
}

/// A setting that is weak with one of the given values: level in a file, level as the kernel's value (0 where that is
/// what a kernel of Debian or of kernel.org starts with), and what it means.
struct Weak {
    name: &'static str,
    values: &'static [&'static str],
    in_a_file: u8,
    by_the_kernel: u8,
    means: &'static str,
}

const fn weak(
    name: &'static str,
    values: &'static [&'static str],
    in_a_file: u8,
    by_the_kernel: u8,
    means: &'static str,
) -> Weak {
    Weak { name, values, in_a_file, by_the_kernel, means }
}

/// Documentation/admin-guide/sysctl/ and Documentation/networking/ip-sysctl.rst of Linux 6.18 say what each does.
const WEAK: [Weak; 24] = [
    weak("kernel.randomize_va_space", &["0"], HIGH, HIGH, "memory is laid out predictably"),
    weak("kernel.randomize_va_space", &["1"], MEDIUM, MEDIUM, "the heap is laid out predictably"),
    weak("kernel.kptr_restrict", &["0"], LOW, 0, "addresses of the kernel are shown to everybody"),
    weak("kernel.dmesg_restrict", &["0"], LOW, 0, "everybody may read the kernel's messages"),
    weak("kernel.yama.ptrace_scope", &["0"], LOW, 0, "processes may read others of the same user"),
    weak("kernel.unprivileged_bpf_disabled", &["0"], MEDIUM, MEDIUM, "everybody may load BPF programs"),
    weak("kernel.perf_event_paranoid", &["0", "-1"], LOW, LOW, "everybody may trace the kernel"),
    weak(
        "fs.protected_hardlinks",
        &["0"],
        MEDIUM,
        MEDIUM,
        "links to files of others may be made in public places",
    ),
    weak("fs.protected_symlinks", &["0"], MEDIUM, MEDIUM, "links of others are followed in public places"),
    weak("fs.protected_fifos", &["0"], LOW, 0, "pipes of others are opened in public places"),
    weak("fs.protected_regular", &["0"], LOW, 0, "files of others are opened in public places"),
    weak(
        "fs.suid_dumpable",
        &["1"],
        MEDIUM,
        MEDIUM,
        "the memory of set-user-ID programs may be dumped for everybody",
    ),
    weak("vm.mmap_min_addr", &["0"], MEDIUM, MEDIUM, "null pointers of the kernel can be exploited"),
    weak("vm.unprivileged_userfaultfd", &["1"], LOW, LOW, "everybody may hold up the kernel (userfaultfd)"),
    weak("dev.tty.legacy_tiocsti", &["1"], LOW, 0, "programs may type for others on a terminal"),
    weak("net.ipv4.ip_forward", &["1"], LOW, LOW, "this host forwards packets"),
    weak("net.ipv6.conf.all.forwarding", &["1"], LOW, LOW, "this host forwards packets (IPv6)"),
    weak(
        "net.ipv4.conf.all.accept_source_route",
        &["1"],
        MEDIUM,
        MEDIUM,
        "senders choose the way of packets",
    ),
    weak("net.ipv4.conf.all.accept_redirects", &["1"], LOW, 0, "other hosts may change the routes"),
    weak("net.ipv6.conf.all.accept_redirects", &["1"], LOW, 0, "other hosts may change the routes (IPv6)"),
    weak("net.ipv4.conf.all.rp_filter", &["0"], LOW, 0, "forged sender addresses are not looked for"),
    weak("net.ipv4.tcp_syncookies", &["0"], LOW, LOW, "connections can be used up from outside"),
    weak("net.ipv4.icmp_echo_ignore_broadcasts", &["0"], LOW, LOW, "this host can be used to flood others"),
    weak("kernel.kexec_load_disabled", &["0"], LOW, 0, "root may start another kernel"),
];

/// A file of sysctl.d(5).
pub(super) fn settings(text: &str, found: &mut Findings) {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    for (name, setting) in lines.filter_map(|line| line.split_once('=')) {
        // A dash in front: no error if there is no such setting. The first separator decides what a slash means.
        let name = name.trim().trim_start_matches('-');
        let slash = name.find('/').is_some_and(|slash| name.find('.').is_none_or(|dot| slash < dot));
        let name = if slash {
            name.replace('.', "\0").replace('/', ".").replace('\0', "/")
        } else {
            name.to_owned()
        };
        value(&name, setting.trim(), Said::InAFile, found);
    }
}

/// One setting.
pub(super) fn value(name: &str, value: &str, said: Said, found: &mut Findings) {
    if let Some(weak) = WEAK.iter().find(|weak| weak.name == name && weak.values.contains(&value)) {
        let level = if said == Said::InAFile { weak.in_a_file } else { weak.by_the_kernel };
        if level > 0 {
            found.add(level, format!("{} ({name} = {value})", weak.means));
        }
        return;
    }
    match name {
        "kernel.core_pattern" => {
            let Some(command) = value.strip_prefix('|') else { return };
            let program = command.split_whitespace().next().unwrap_or_default();
            helper(program, "is run as root when a program crashes", name, found);
        }
        "kernel.modprobe" => {
            const USUAL: [&str; 5] =
                ["", "/sbin/modprobe", "/usr/sbin/modprobe", "/bin/true", "/usr/bin/true"];
            if !USUAL.contains(&value) && !value.starts_with("/nix/") && value != "/bin/false" {
                let shown = clean(value, 80);
                found.add(HIGH, format!("{shown} is run as root in the place of modprobe ({name})"));
            }
        }
        "kernel.hotplug" | "kernel.poweroff_cmd" => {
            helper(value, "is run as root by the kernel", name, found);
        }
        _ => {}
    }
}

/// A program that the kernel runs as root.
fn helper(program: &str, what: &str, name: &str, found: &mut Findings) {
    if let Some((_, why)) = odd_place(program) {
        found.add(CRITICAL, format!("{} {what}, {why} ({name})", clean(program, 80)));
    }
}

/// One loaded module of `/proc/modules`: its name and its taint letters (`P` proprietary, `F` forced, `O` out of tree,
/// `C` staging, `E` unsigned, `K` live patch; kernel/panic.c `taint_flags`, shown by `module_flags_taint`).
pub(crate) fn loaded_modules(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let taint = words.next_back().and_then(|last| last.strip_prefix('(')?.strip_suffix(')'));
        Some((name, taint.unwrap_or_default()))
    })
}

/// Whether nobody vouches for a module with these taint letters.
pub(crate) fn is_unsigned(taint: &str) -> bool {
    taint.contains(['E', 'F'])
}

pub(super) fn modules(text: &str, found: &mut Findings) {
    let names = |which: &dyn Fn(&str) -> bool| -> Vec<String> {
        let matching = loaded_modules(text).filter(|(_, taint)| which(taint));
        matching.map(|(name, _)| clean(name, 40)).take(4).collect()
    };
    let unsigned = names(&is_unsigned);
    if !unsigned.is_empty() {
        found.add(MEDIUM, format!("loaded without a valid signature: {}", unsigned.join(", ")));
    }
    let foreign = names(&|taint| !is_unsigned(taint) && taint.contains(['O', 'P']));
    if !foreign.is_empty() {
        found.add(LOW, format!("loaded and not of the kernel's source: {}", foreign.join(", ")));
    }
}
