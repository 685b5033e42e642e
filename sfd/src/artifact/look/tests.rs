use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::artifact::kinds::Kind;
use crate::artifact::view::DiskView;

struct Tree {
    dir: tempfile::TempDir,
    view: DiskView,
    looker: Looker,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let view = DiskView::new(dir.path());
        Self { dir, view, looker: Looker::new(LookOptions::default(), Redactor::ephemeral(&[]).unwrap()) }
    }
    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
    fn look(&mut self, path: &Path, known: Option<&Known>) -> Look {
        self.looker.look(&mut self.view, path, known, false)
    }
    fn artifact(&mut self, path: &Path) -> Artifact {
        match self.look(path, None) {
            Look::Changed(a) => *a,
            other => panic!("{path:?}: {other:?}"),
        }
    }
    fn names(&mut self, dir: &Path) -> Vec<Vec<u8>> {
        self.view.list(dir).unwrap().into_iter().map(|e| e.name.as_bytes().to_vec()).collect()
    }
}

#[test]
fn files_of_every_sort() {
    let mut t = Tree::new();
    let file = t.write("a.txt", "hello\n");
    let a = t.artifact(&file);
    assert_eq!((a.cells.as_ref(), a.len, a.exact, a.unverified), (&b"hello\n"[..], 6, true, None));
    assert_eq!(a.content_hash, *blake3::hash(b"hello\n").as_bytes());
    symlink("a.txt", t.path("link")).unwrap();
    let link = t.artifact(&t.path("link"));
    assert_eq!((link.cells.as_ref(), link.semantics.kind), (&b"a.txt"[..], Kind::Symlink));
    let root = t.path("");
    let dir = t.artifact(root.as_path());
    assert_eq!((dir.semantics.kind, dir.cells[0]), (Kind::Directory, b'd'));
    assert_eq!(t.names(&root), [b"a.txt".to_vec(), b"link".to_vec()]);
    assert_eq!(t.look(&t.path("none"), None), Look::Gone);
    assert_eq!(t.look(&file.join("below"), None), Look::Gone, "a file where a directory was");
    let null = Tree::new().look(Path::new("/dev/null"), None);
    let Look::Changed(null) = null else { panic!() };
    assert!(null.cells.starts_with(b"c 0666 0 0 ") && null.cells.ends_with(b" 1:3"));
}

#[test]
fn unchanged_ones_are_not_read_again() {
    let mut t = Tree::new();
    let file = t.write("f", "one");
    let first = t.artifact(&file);
    assert!(!first.settled, "just written");
    // Not settled: read again, found to be the same.
    assert!(matches!(t.look(&file, Some(&Known::from(&first))), Look::Unchanged { .. }));
    std::thread::sleep(std::time::Duration::from_millis(40));
    let settled = t.artifact(&file);
    assert!(settled.settled);
    let known = Known { content_hash: [7; 32], ..Known::from(&settled) };
    assert!(matches!(t.look(&file, Some(&known)), Look::Unchanged { .. }), "metadata decides");
    let (view, looker) = (&mut t.view, &mut t.looker);
    assert!(matches!(looker.look(view, &file, Some(&known), true), Look::Changed(_)), "forced");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let Look::Changed(a) = t.look(&file, Some(&Known::from(&settled))) else { panic!() };
    assert_eq!((a.meta.mode, a.content_hash), (0o600, settled.content_hash));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(t.look(&file, Some(&Known::from(a.as_ref()))), Look::Gone);
}

#[test]
fn a_clock_decides_what_is_settled() {
    let mut t = Tree::new();
    let file = t.write("f", "x");
    let stamp = t.artifact(&file).meta.ctime_ns;
    for (offset, want) in [(0, false), (RACY_NS, false), (-RACY_NS, false), (RACY_NS + 1, true)] {
        t.looker = Looker::new(LookOptions::default(), Redactor::disabled())
            .with_clock(Box::new(move || stamp + offset));
        assert_eq!(t.artifact(&file).settled, want, "{offset}");
    }
}

#[test]
fn hostile_names() {
    let mut t = Tree::new();
    let long = [b'n'; 255];
    for name in
        [&b"new\nline"[..], b"\xff\xfe not utf8", &long, b"\x1b[2J", b" ", b"-rf", b"\xe2\x80\xaegpj.exe"]
    {
        let path = t.path(OsStr::from_bytes(name));
        std::fs::write(&path, name).unwrap();
        let a = t.artifact(&path);
        assert_eq!((a.cells.as_ref(), a.unverified), (name, None));
        assert!(
            !a.semantics.title.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{:?}",
            a.semantics.title
        );
        assert!(t.names(&t.path("")).contains(&name.to_vec()));
    }
}

#[test]
fn pipes_sockets_and_devices_never_block() {
    let mut t = Tree::new();
    let fifo = t.path("pipe");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let a = t.artifact(&fifo);
    assert_eq!((a.semantics.kind, a.cells[0]), (Kind::Special, b'p'));
    assert_eq!(t.view.open(&fifo).err().unwrap().kind(), io::ErrorKind::InvalidInput);
    let _socket = std::os::unix::net::UnixListener::bind(t.path("sock")).unwrap();
    assert_eq!(t.artifact(&t.path("sock")).cells[0], b's');
}

#[test]
fn links_are_never_followed() {
    let mut t = Tree::new();
    symlink("loop", t.path("loop")).unwrap();
    assert_eq!(t.artifact(&t.path("loop")).cells.as_ref(), b"loop");
    t.write("real/secret", "x");
    symlink("real", t.path("alias")).unwrap();
    assert_eq!(t.look(&t.path("alias/secret"), None), Look::Gone, "a path through a link is not that path");
    assert!(t.view.list(&t.path("alias")).is_err());
    assert!(t.view.open(&t.path("alias")).is_err());
    // The root itself may be reached through one.
    let alias = t.path("alias");
    let mut through = DiskView::new(&alias);
    let look = t.looker.look(&mut through, &alias.join("secret"), None, false);
    let Look::Changed(a) = look else { panic!("{look:?}") };
    assert_eq!((a.path, a.cells.as_ref()), (alias.join("secret"), &b"x"[..]));
}

#[test]
fn paths_longer_than_the_kernel_takes() {
    let mut t = Tree::new();
    let name = "d".repeat(200);
    let root = std::fs::canonicalize(t.dir.path()).unwrap();
    t.view = DiskView::new(&root);
    let mut path = root.clone();
    let mut at = rustix::fs::open(&root, rustix::fs::OFlags::PATH, 0.into()).unwrap();
    for _ in 0..30 {
        rustix::fs::mkdirat(&at, &name, 0o755.into()).unwrap();
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::PATH, 0.into()).unwrap();
        path.push(&name);
    }
    let file = rustix::fs::openat(
        &at,
        "deep",
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
        0o644.into(),
    );
    rustix::io::write(file.unwrap(), b"deep down").unwrap();
    assert!(path.as_os_str().len() > 6000);
    assert_eq!(t.names(&path), [b"deep".to_vec()]);
    let deep = t.artifact(&path.join("deep"));
    assert_eq!((deep.cells.as_ref(), deep.unverified), (&b"deep down"[..], None));
    let too_long = t.artifact(&path.join("x".repeat(300)));
    assert_eq!(too_long.unverified.as_deref(), Some("its name is longer than the file system takes"));
}

#[test]
fn pseudo_file_systems_are_not_looked_into() {
    let mut view = DiskView::new(Path::new("/"));
    assert_eq!(view.list(Path::new("/proc")).unwrap(), []);
    assert_eq!(view.boundary(Path::new("/sys")), Some("sysfs"));
    let mut looker = Looker::new(LookOptions::default(), Redactor::disabled());
    let Look::Changed(proc) = looker.look(&mut view, Path::new("/proc"), None, false) else { panic!() };
    assert!(proc.semantics.summary.contains("On proc, a pseudo file system"), "{}", proc.semantics.summary);
    let Look::Changed(file) = looker.look(&mut view, Path::new("/proc/version"), None, false) else {
        panic!()
    };
    assert_eq!(file.unverified.as_deref(), Some("cannot be read: on proc, a pseudo file system"));
}

#[test]
fn exclusions_do_not_exist() {
    let mut t = Tree::new();
    for name in ["a.log", "keep", "cache/x", "state/y", "sub/b.log"] {
        t.write(name, name);
    }
    let root = t.dir.path().to_path_buf();
    let cache = format!("{}/cache", root.display());
    t.view =
        DiskView::new(&root).exclude_globs(&["*.log", &cache]).unwrap().exclude_paths([root.join("state")]);
    assert_eq!(t.names(&root), [b"keep".to_vec(), b"sub".to_vec()]);
    assert_eq!(t.names(&root.join("sub")), Vec::<Vec<u8>>::new());
    for gone in ["a.log", "cache", "cache/x", "state/y", "sub/b.log"] {
        assert_eq!(t.look(&root.join(gone), None), Look::Gone, "{gone}");
    }
    assert!(DiskView::new(&root).exclude_globs(&["a{"]).is_err());
}

#[test]
fn what_may_not_be_read_says_so() {
    let mut t = Tree::new();
    let file = t.write("locked", "contents that must not show");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(t.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Root reads everything: run this very test again as nobody, on this very file.
        if std::env::var_os("SFD_TEST_LOCKED").is_none() {
            let exe = t.path("test");
            std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
            let mut nobody = Command::new(&exe);
            nobody.arg("what_may_not_be_read_says_so").arg("--nocapture").env("SFD_TEST_LOCKED", &file);
            let out = std::os::unix::process::CommandExt::uid(&mut nobody, 65534)
                .current_dir("/")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&out.stdout);
            assert!(
                out.status.success() && said.contains("1 passed"),
                "{said}{}",
                String::from_utf8_lossy(&out.stderr)
            );
            return;
        }
    }
    let path = std::env::var_os("SFD_TEST_LOCKED").map_or(file, PathBuf::from);
    t.view = DiskView::new(path.parent().unwrap());
    let a = t.artifact(&path);
    assert_eq!((a.unverified.as_deref(), a.semantics.kind), (Some("permission denied"), Kind::Unread));
    assert!(a.cells.starts_with(b"f 0000 ") && !a.exact && a.meta.size == 27);
    let again = t.look(&path, Some(&Known::from(&a)));
    assert!(matches!(again, Look::Changed(_)), "what was not verified is tried again");
}

#[test]
fn a_file_that_never_rests_is_marked() {
    let mut t = Tree::new();
    let file = t.write("busy", vec![b'x'; 60_000]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(&file, vec![b'y'; 50_000]).unwrap();
                std::fs::write(&file, vec![b'z'; 60_000]).unwrap();
            }
        });
        for _ in 0..300 {
            let a = t.artifact(&file);
            let torn = a.cells.windows(2).any(|w| w[0] != w[1]);
            assert!(!torn || a.unverified.is_some() || !a.settled, "a torn reading must not be trusted");
            assert!(!a.settled, "and it is looked at again");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn swaps_under_our_eyes_neither_hang_nor_redirect() {
    let mut t = Tree::new();
    t.write("outside", "OUTSIDE");
    let path = t.path("swap");
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let next = path.with_extension("next");
            while !stop.load(Ordering::Relaxed) {
                for step in 0..4 {
                    let _ = std::fs::remove_file(&next);
                    match step {
                        0 => std::fs::write(&next, "INSIDE").unwrap(),
                        1 => symlink("outside", &next).unwrap(),
                        2 => drop(std::os::unix::net::UnixListener::bind(&next).unwrap()),
                        _ => rustix::fs::mknodat(
                            rustix::fs::CWD,
                            &next,
                            rustix::fs::FileType::Fifo,
                            0o600.into(),
                            0,
                        )
                        .unwrap(),
                    }
                    std::fs::rename(&next, &path).unwrap();
                }
            }
        });
        for _ in 0..3000 {
            if let Look::Changed(a) = t.looker.look(&mut t.view, &path, None, true) {
                assert!(a.cells.as_ref() != b"OUTSIDE");
                let file = a.meta.file_type == FileType::File && a.unverified.is_none();
                assert!(!file || a.cells.as_ref() == b"INSIDE", "{a:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn secrets_do_not_come_through() {
    let mut t = Tree::new();
    let body: String = (0..10).map(|i| blake3::hash(&[i]).to_hex().to_string()).collect::<Vec<_>>().concat();
    let pem = format!("-----BEGIN RSA PRIVATE {}\n{body}\n-----END RSA PRIVATE {0}\n", "KEY-----");
    let hash = format!("$6$saltsalt${}", "Zq9".repeat(29));
    let shadow = format!("root:{}:19000:0:99999:7:::\n", &hash[..hash.len() - 1]);
    let big = [vec![b'.'; 70_000], pem.clone().into_bytes(), vec![b'.'; 70_000]].concat();
    for (name, bytes, secret) in [
        ("etc/shadow", shadow.clone().into_bytes(), &hash[..40]),
        ("etc/copy-of-it", shadow.clone().into_bytes(), &hash[..40]),
        ("srv/notes.txt", pem.clone().into_bytes(), &body[..40]),
        ("srv/big.bin", big, &body[..40]),
    ] {
        let path = t.write(name, &bytes);
        let a = t.artifact(&path);
        let dump = format!("{a:?}{}", serde_json::to_string(&a.semantics).unwrap());
        assert!(a.redacted && matches!(a.semantics.kind, Kind::Secret | Kind::Key), "{name}: {dump}");
        for window in secret.as_bytes().windows(12) {
            assert!(!a.cells.windows(12).any(|w| w == window), "{name}");
            assert!(!dump.contains(std::str::from_utf8(window).unwrap()), "{name}: {dump}");
        }
        assert_eq!(a.cells.len(), bytes.len().min(65_536));
        assert_ne!(a.content_hash, *blake3::hash(&bytes).as_bytes());
        // A change is seen; the same contents give the same picture.
        assert_eq!(t.artifact(&path).cells, a.cells);
        std::fs::write(&path, [&bytes[..], b"#"].concat()).unwrap();
        assert_ne!(t.artifact(&path).content_hash, a.content_hash);
    }
    t.looker = Looker::new(LookOptions::default(), Redactor::disabled());
    let shown = t.artifact(&t.path("srv/notes.txt"));
    assert!(!shown.redacted && shown.cells.starts_with(b"-----BEGIN"));
}

#[test]
fn renames() {
    let mut t = Tree::new();
    let file = t.write("etc/a/x.txt", "text\n");
    let a = t.artifact(&file);
    let to = |new: &str| t.looker.renamed(&t.view, &file, &t.path(new), &a.meta, &a.semantics);
    assert_eq!(to("etc/b/x.txt"), Renamed::Keep(a.semantics.clone()), "a directory above was renamed");
    for new in ["etc/a/y.txt", "srv/x.txt", "etc/ssl/private/x.txt", "etc/shadow", "etc/cron.d/x.txt"] {
        assert_eq!(to(new), Renamed::Reread, "{new}");
    }
}

#[test]
fn sparse_terabytes() {
    let mut t = Tree::new();
    let file = t.write("huge", "");
    let opened = std::fs::File::options().write(true).open(&file).unwrap();
    if opened.set_len(1 << 40).is_err() {
        eprintln!("skipped: this file system takes no sparse file of 1 TiB");
        return;
    }
    let a = t.artifact(&file);
    assert_eq!((a.len, a.cells.len(), a.exact, a.partial_hash), (1 << 40, 65_536, false, true));
    assert_eq!(a.unverified, None);
}

/// The machine's own `/etc`, compared with another reader; and redaction must not eat ordinary configuration.
#[test]
fn the_real_etc() {
    let root = PathBuf::from("/etc");
    let mut view = DiskView::new(&root);
    let mut looker = Looker::new(LookOptions::default(), Redactor::ephemeral(&[]).unwrap());
    let mut todo = vec![root];
    let (mut files, mut redacted) = (0, 0);
    while let Some(dir) = todo.pop() {
        for entry in view.list(&dir).unwrap_or_default() {
            let path = dir.join(&entry.name);
            let Look::Changed(a) = looker.look(&mut view, &path, None, false) else { continue };
            match a.meta.file_type {
                FileType::Directory => todo.push(path),
                FileType::File if a.unverified.is_none() => {
                    files += 1;
                    redacted += usize::from(a.redacted);
                    let bytes = std::fs::read(&path).unwrap();
                    let shows = a.exact && a.cells.as_ref() == bytes.as_slice();
                    assert_eq!(shows, !a.redacted && bytes.len() <= 1 << 16 || bytes.is_empty(), "{path:?}");
                    let shadow = [&b"shadow"[..], b"gshadow"].contains(&path.file_name().unwrap().as_bytes());
                    assert!(a.redacted || !shadow, "{path:?}");
                }
                _ => {}
            }
        }
    }
    assert!(files > 20, "{files}");
    assert!(redacted * 10 < files, "{redacted} of {files} files of /etc are redacted");
}
