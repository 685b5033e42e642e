//! Which sysctl values are looked at.

/// Values that are never read, by a pattern on the path below `/proc/sys` (`*` is one component), with the reason.
pub(super) const SKIPPED: [(&str, &str); 10] = [
    ("kernel/random/uuid", "a new value at every reading"),
    ("kernel/sched_domain", "thousands of per-CPU debug values on kernels before 5.13"),
    ("vm/stat_refresh", "reading it makes every CPU do work"),
    ("vm/compact_memory", "a trigger"),
    ("vm/drop_caches", "a trigger"),
    ("fs/binfmt_misc", "a file system of its own, mounted on first touch"),
    ("net/ipv4/tcp_fastopen_key", "a secret"),
    ("net/ipv6/conf/*/stable_secret", "a secret"),
    ("net/ipv4/route/flush", "a trigger"),
    ("net/ipv6/route/flush", "a trigger"),
];

/// Values that the kernel changes by itself: sampled on an interval.
pub(super) const VOLATILE: [&str; 12] = [
    "fs/aio-nr",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota/syncs",
    "kernel/ns_last_pid",
    "kernel/pty/nr",
    "kernel/random/entropy_avail",
    "net/netfilter/nf_conntrack_count",
    "kernel/tainted",
    "kernel/perf_event_max_sample_rate",
];

/// Whether a path below `/proc/sys` is left alone, itself or as part of a directory that is.
pub(super) fn skipped(rel: &str) -> bool {
    SKIPPED.iter().any(|(pattern, _)| {
        let mut parts = rel.split('/');
        pattern.split('/').all(|want| parts.next().is_some_and(|have| want == "*" || want == have))
    })
}

/// The dotted name of a path below `/proc/sys`. A dot inside a component is written as a slash, as sysctl(8) does.
pub(super) fn dotted(rel: &str) -> String {
    rel.chars()
        .map(|c| match c {
            '/' => '.',
            '.' => '/',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_by_component() {
        for (path, want) in [
            ("kernel/random/uuid", true),
            ("kernel/random/boot_id", false),
            ("net/ipv6/conf/eth0/stable_secret", true),
            ("net/ipv6/conf/eth0/mtu", false),
            ("fs/binfmt_misc/register", true),
            ("fs/binfmt_misc_not", false),
            ("kernel/sched_domain/cpu0/domain0/flags", true),
            ("vm", false),
        ] {
            assert_eq!(skipped(path), want, "{path}");
        }
        assert_eq!(dotted("net/ipv4/conf/eth0.1/mtu"), "net.ipv4.conf.eth0/1.mtu");
    }
}
