use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::super::allow::PROCESS;
use super::*;
use crate::artifact::kinds::Kind;
use crate::artifact::{Known, Look, LookOptions, Looker, Redactor};

/// What must never be opened, wherever it is.
const FORBIDDEN: [&str; 14] = [
    "environ", "mem", "kcore", "kmsg", "pagemap", "kallsyms", "auxv", "stack", "syscall", "maps", "smaps",
    "fd", "root", "cwd",
];

fn proc_view() -> ProcView {
    ProcView::new(Path::new("/proc"))
}

fn looker() -> Looker {
    Looker::new(LookOptions::default(), Redactor::ephemeral(&[]).unwrap())
}

#[test]
fn the_allow_list_is_all_there_is() {
    for pid in ["1", "self", "thread-self"] {
        for name in FORBIDDEN {
            assert_eq!(Node::parse(Path::new(&format!("{pid}/{name}"))), None);
        }
    }
    for path in [
        "kcore",
        "kmsg",
        "kallsyms",
        "self",
        "self/status",
        "1/task/1/status",
        "01",
        "+1",
        "0",
        "99999999999",
        "1/ns/net",
        "sys/",
        "sys/..",
        "sys/../kcore",
        "sys/kernel/../../kcore",
        "net/../kcore",
        "1/../kcore",
        "keys",
        "config.gz",
        "sys/kernel/random/uuid",
        "sys/net/ipv6/conf/all/stable_secret",
    ] {
        assert_eq!(Node::parse(Path::new(path)), None, "{path}");
    }
    assert_eq!(Node::parse(Path::new("1/status")), Some(Node::ProcessFile(1, "status")));
    assert_eq!(Node::parse(Path::new("sys/vm/swappiness")), Some(Node::Sys("vm/swappiness".to_owned())));
}

/// Walks everything the view lists on the real `/proc` and checks what was opened for it.
#[test]
fn a_whole_walk_opens_nothing_forbidden() {
    let mut view = proc_view();
    let mut looker = looker();
    let mut todo = vec![PathBuf::from("/proc")];
    let mut seen = 0;
    while let Some(dir) = todo.pop() {
        let Ok(entries) = view.list(&dir) else { continue };
        for entry in entries {
            let path = dir.join(&entry.name);
            seen += 1;
            if let Look::Changed(artifact) = looker.look(&mut view, &path, None, false) {
                assert_eq!(entry.file_type, Some(artifact.meta.file_type), "{path:?}");
                assert!(artifact.meta.file_type != FileType::Directory || artifact.cells.len() <= 64);
                assert!(artifact.settled);
            }
            if entry.file_type == Some(FileType::Directory) {
                todo.push(path);
            }
        }
    }
    assert!(seen > 500, "{seen}");
    for path in &view.opened {
        let parts: Vec<&str> = path.to_str().unwrap().split('/').collect();
        let allowed = match parts.as_slice() {
            ["sys", ..] | ["stat"] => true,
            [_] | ["net", _] => HOST.iter().chain(&NET).any(|n| Path::new(n) == path.as_path()),
            [pid, name] => pid_of(pid).is_some() && (*name == "stat" || PROCESS.contains(name)),
            _ => false,
        };
        assert!(allowed, "{path:?}");
        assert!(path.starts_with("sys") || !parts.iter().any(|p| FORBIDDEN.contains(p)), "{path:?}");
    }
}

#[test]
fn our_own_process() {
    let (mut view, mut looker) = (proc_view(), looker());
    let pid = std::process::id();
    assert!(view.pids().unwrap().contains(&pid));
    let paths = view.process_paths(pid).unwrap();
    assert_eq!(paths.len(), 9);
    let mut find = |path: &Path| match looker.look(&mut view, path, None, false) {
        Look::Changed(a) => a,
        other => panic!("{path:?}: {other:?}"),
    };
    let process = find(&paths[0]);
    assert_eq!((process.semantics.kind, process.cells[0]), (Kind::Process, b'p'));
    let exe = find(&paths[0].join("exe"));
    assert_eq!(exe.cells.as_ref(), std::env::current_exe().unwrap().as_os_str().as_bytes());
    let status = find(&paths[0].join("status"));
    let text = String::from_utf8(status.cells.to_vec()).unwrap();
    assert!(
        text.contains(&format!("Pid:\t{pid}\n")) && !text.contains("Vm") && !text.contains("ctxt"),
        "{text}"
    );
    let ns = find(&paths[0].join("ns"));
    assert!(ns.cells.starts_with(b"cgroup cgroup:["), "{:?}", ns.cells);

    // Nothing of a process at rest changes from look to look.
    for path in &paths {
        let Look::Changed(first) = looker.look(&mut view, path, None, false) else { panic!() };
        let again = looker.look(&mut view, path, Some(&Known::from(first.as_ref())), false);
        assert!(matches!(again, Look::Unchanged { settled: true, .. }), "{path:?}: {again:?}");
    }
    assert_eq!(looker.look(&mut view, &paths[0].join("environ"), None, true), Look::Gone);
    assert!(view.start_ns(pid).unwrap() > 0);
}

#[test]
fn zombies_do_not_exist() {
    let mut view = proc_view();
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", child.id()));
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    assert!(!view.pids().unwrap().contains(&child.id()));
    assert_eq!(view.process_paths(child.id()).unwrap_err().kind(), io::ErrorKind::NotFound);
    let path = PathBuf::from(format!("/proc/{}", child.id()));
    assert_eq!(looker().look(&mut view, &path, None, false), Look::Gone);
    assert_eq!(looker().look(&mut view, &path.join("status"), None, false), Look::Gone);
    child.wait().unwrap();
    assert_eq!(looker().look(&mut view, &path, None, false), Look::Gone);
}

#[test]
fn arguments_with_secrets_are_redacted() {
    let mut child = Command::new("/bin/sleep")
        .arg0("app --password=hunter2hunter2")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let path = PathBuf::from(format!("/proc/{}/cmdline", child.id()));
    let look = looker().look(&mut proc_view(), &path, None, false);
    child.kill().unwrap();
    child.wait().unwrap();
    let Look::Changed(artifact) = look else { panic!("{look:?}") };
    assert!(artifact.redacted && !format!("{artifact:?}").contains("hunter2"));
}

#[test]
fn sysctls() {
    let (mut view, mut looker) = (proc_view(), looker());
    let root = view.sysctl_root();
    let names = |v: &mut ProcView, p: &str| -> Vec<OsString> {
        v.list(&root.join(p)).unwrap().into_iter().map(|e| e.name).collect()
    };
    assert!(names(&mut view, "").contains(&"kernel".into()));
    assert!(!names(&mut view, "kernel/random").contains(&"uuid".into()));
    let path = root.join("kernel/ostype");
    let Look::Changed(a) = looker.look(&mut view, &path, None, false) else { panic!() };
    assert_eq!((a.cells.as_ref(), a.semantics.kind), (&b"Linux\n"[..], Kind::Sysctl));
    assert_eq!(a.semantics.summary, "Kernel setting kernel.ostype = Linux");
    assert!(view.volatile_paths().contains(&PathBuf::from("/proc/loadavg")));
    assert!(view.host_paths().contains(&PathBuf::from("/proc/net/tcp")));
}

#[test]
fn hostile_stat_lines() {
    let good = b"7 (a) b) (c) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 500 0";
    let stat = parse_stat(good).unwrap();
    assert_eq!((stat.comm.as_slice(), stat.ppid, stat.start_ns), (&b"a) b) (c"[..], 1, 5_000_000_000));
    let zombie = |threads: u32| format!("7 (z) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 500 0");
    assert_eq!(parse_stat(zombie(1).as_bytes()), None);
    assert!(parse_stat(zombie(2).as_bytes()).is_some(), "the leader ended, the process lives");
    for bad in [&b""[..], b"(", b")(", b"1 () ", b"1 (\xff) S", b"1 (x) S 1 1", b"1 (x) Z"] {
        assert_eq!(parse_stat(bad), None);
    }
}

#[test]
fn a_fake_tree_with_hostile_contents() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let fifo = root.join("meminfo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    std::fs::write(root.join("version"), b"\x1b[31mLinux\0\xff\n").unwrap();
    std::fs::write(root.join("mounts"), vec![b'm'; 5 << 20]).unwrap();
    std::fs::create_dir(root.join("42")).unwrap();
    std::fs::write(root.join("42/stat"), "nonsense").unwrap();
    let (mut view, mut looker) = (ProcView::new(root), looker());
    assert_eq!(view.pids().unwrap(), Vec::<u32>::new());
    let Look::Changed(pipe) = looker.look(&mut view, &fifo, None, false) else { panic!() };
    assert!(pipe.unverified.is_some());
    let Look::Changed(version) = looker.look(&mut view, &root.join("version"), None, false) else { panic!() };
    assert!(!version.semantics.summary.contains('\u{1b}'));
    let Look::Changed(mounts) = looker.look(&mut view, &root.join("mounts"), None, false) else { panic!() };
    assert_eq!(mounts.len, PROJECTION_BYTES_MAX);
    assert_eq!(mounts.unverified.as_deref(), Some("too long: only the beginning is shown"));
    assert_eq!(looker.look(&mut view, &root.join("42"), None, false), Look::Gone);
}
