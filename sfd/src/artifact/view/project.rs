//! What is kept of a file of `/proc`: the parts that say something about the host and do not change by themselves.

use std::borrow::Cow;

/// Fields of `/proc/PID/status` that are kept. Left out: memory sizes, context switches, threads, pending and blocked
/// signals, the state, all of which change while a process merely runs.
const STATUS: [&str; 25] = [
    "Name",
    "Umask",
    "Tgid",
    "Ngid",
    "Pid",
    "PPid",
    "TracerPid",
    "Uid",
    "Gid",
    "Groups",
    "NStgid",
    "NSpid",
    "NSpgid",
    "NSsid",
    "Kthread",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Cpus_allowed_list",
    "Mems_allowed_list",
];

/// Projects a file, given by its name below `/proc` or below the process's directory.
pub(super) fn project<'a>(name: &str, raw: &'a [u8], kernel_thread: bool) -> Cow<'a, [u8]> {
    match name {
        "cpuinfo" => keep_lines(raw, |key| !matches!(key, b"cpu MHz" | b"bogomips" | b"BogoMIPS")),
        "status" => {
            let kept = keep_lines(raw, |key| STATUS.iter().any(|f| f.as_bytes() == key));
            if kernel_thread { Cow::Owned(status_of_kernel_thread(&kept)) } else { kept }
        }
        "comm" => {
            let comm = raw.strip_suffix(b"\n").unwrap_or(raw);
            Cow::Borrowed(if kernel_thread { worker(comm) } else { comm })
        }
        "modules" => fields(raw, 0, &[0, 1, 3, 4, 6]),
        "net/tcp" | "net/tcp6" | "net/udp" | "net/udp6" => sockets(raw),
        "net/unix" => fields(raw, 1, &[2, 3, 4, 5, 6, 7]),
        _ => Cow::Borrowed(raw),
    }
}

/// The name of a kernel worker without what it is doing: `kworker/0:1-events` and `kworker/0:1+events` are
/// `kworker/0:1` (`wq_worker_comm` in kernel/workqueue.c appends it on reading).
pub(super) fn worker(comm: &[u8]) -> &[u8] {
    let pool = comm.starts_with(b"kworker/") && !comm.starts_with(b"kworker/R-");
    match comm.iter().position(|c| matches!(c, b'-' | b'+')) {
        Some(end) if pool => &comm[..end],
        _ => comm,
    }
}

/// Keeps lines of `key : value` by key.
fn keep_lines(raw: &[u8], keep: impl Fn(&[u8]) -> bool) -> Cow<'_, [u8]> {
    let mut out = Vec::with_capacity(raw.len());
    for line in raw.split_inclusive(|b| *b == b'\n') {
        let key = line.split(|b| *b == b':').next().unwrap_or(line).trim_ascii();
        if keep(key) {
            out.extend_from_slice(line);
        }
    }
    Cow::Owned(out)
}

fn status_of_kernel_thread(status: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(status.len());
    for line in status.split_inclusive(|b| *b == b'\n') {
        if let Some(name) = line.strip_prefix(b"Name:") {
            out.extend_from_slice(b"Name:\t");
            out.extend_from_slice(worker(name.trim_ascii()));
            out.push(b'\n');
        } else {
            out.extend_from_slice(line);
        }
    }
    out
}

/// Keeps some columns of a table, after its header lines. Modules lose reference counts and addresses, Unix sockets
/// theirs: counts change without anything having happened, and kernel addresses have no place in a picture.
fn fields<'a>(raw: &'a [u8], headers: usize, keep: &[usize]) -> Cow<'a, [u8]> {
    let mut out = Vec::with_capacity(raw.len());
    for (n, line) in raw.split_inclusive(|b| *b == b'\n').enumerate() {
        if n < headers {
            out.extend_from_slice(line);
            continue;
        }
        let words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        push_words(&mut out, words.enumerate().filter(|(i, _)| keep.contains(i)).map(|(_, w)| w));
    }
    Cow::Owned(out)
}

/// `local remote state uid inode` of each IP socket (columns of `tcp4_seq_show` and `udp4_seq_show`), without queues,
/// timers, reference counts and addresses.
fn sockets(raw: &[u8]) -> Cow<'_, [u8]> {
    let mut out = b"local remote state uid inode\n".to_vec();
    for line in raw.split(|b| *b == b'\n').skip(1) {
        let words: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).collect();
        // sl local rem st tx:rx tr:when retrnsmt uid timeout inode ...
        if words.len() >= 10 {
            push_words(&mut out, [1, 2, 3, 7, 9].into_iter().map(|i| words[i]));
        }
    }
    Cow::Owned(out)
}

fn push_words<'a>(out: &mut Vec<u8>, words: impl Iterator<Item = &'a [u8]>) {
    for (n, word) in words.enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, raw: &str) -> String {
        String::from_utf8(project(name, raw.as_bytes(), false).into_owned()).unwrap()
    }

    #[test]
    fn volatile_parts_go() {
        assert_eq!(
            text("cpuinfo", "model name\t: X\ncpu MHz\t\t: 2400.1\nflags\t: fpu\n"),
            "model name\t: X\nflags\t: fpu\n"
        );
        assert_eq!(
            text("status", "Name:\tcat\nVmRSS:\t  1 kB\nUid:\t0\t0\t0\t0\nThreads:\t1\n"),
            "Name:\tcat\nUid:\t0\t0\t0\t0\n"
        );
        assert_eq!(
            text("modules", "nf_nat 61440 2 nft_nat,xt_nat, Live 0xffffffffc0a00000 (OE)\n"),
            "nf_nat 61440 nft_nat,xt_nat, Live (OE)\n"
        );
        assert_eq!(
            text(
                "net/tcp",
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 \
                 ffff8a0 100 0 0 10 0\n"
            ),
            "local remote state uid inode\n0100007F:1F90 00000000:0000 0A 1000 12345\n"
        );
        assert_eq!(
            text(
                "net/unix",
                "Num RefCount Protocol Flags Type St Inode Path\nffff0: 00000002 00000000 00010000 0001 01 99 /run/x\n"
            ),
            "Num RefCount Protocol Flags Type St Inode Path\n00000000 00010000 0001 01 99 /run/x\n"
        );
        assert_eq!(project("cpuinfo", b"\xff\n:\n\n", true).as_ref(), b"\xff\n:\n\n");
    }

    #[test]
    fn kernel_workers_have_stable_names() {
        for (have, want) in [
            ("kworker/0:1-events", "kworker/0:1"),
            ("kworker/u4:2+flush-253:0", "kworker/u4:2"),
            ("kworker/R-netns", "kworker/R-netns"),
            ("kworker/0:0", "kworker/0:0"),
            ("ksoftirqd/0", "ksoftirqd/0"),
            ("my-program", "my-program"),
        ] {
            assert_eq!(worker(have.as_bytes()), want.as_bytes());
        }
        assert_eq!(project("status", b"Name:\tkworker/0:1-mm\n", true).as_ref(), b"Name:\tkworker/0:1\n");
    }
}
