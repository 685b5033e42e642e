//! Real files: those in `tests/fixtures/kinds`, and those of the machine that this runs on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;

/// Of a directory of this machine, at most so many files are looked at: /usr/bin has thousands, and each kind in the
/// first hundreds.
const FILES_MAX: usize = 1200;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kinds")
}

/// The regular files below a directory, by name, at most `max`.
fn files(dir: &Path, max: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            match entry.file_type() {
                Ok(t) if t.is_dir() => dirs.push(entry.path()),
                Ok(t) if t.is_file() && found.len() < max => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

struct Known {
    semantics: Semantics,
    facts: Vec<Fact>,
}

/// What is said of contents at a path.
fn known(path: &Path, mode: u32, body: &[u8]) -> Known {
    let head = &body[..body.len().min(head_wanted(path))];
    let input = ArtifactInput {
        path,
        meta: &meta(FileType::File, mode, body.len() as u64),
        nature: &Nature::Disk,
        head,
        whole: head.len() == body.len(),
        len: body.len() as u64,
        redacted: None,
        process: None,
        boundary: None,
        unread: false,
        packaged: Packaged::Unknown,
        now_ns: 0,
        decoded: OnceCell::new(),
    };
    Known { semantics: describe(&input), facts: facts(&input) }
}

impl Known {
    /// The limits, and that nothing of it can do harm on a terminal.
    fn check(&self, path: &Path) {
        let s = &self.semantics;
        assert!(!s.title.is_empty() && s.title.chars().count() <= TITLE_CHARS_MAX, "{path:?}: {}", s.title);
        assert!(
            !s.summary.is_empty() && s.summary.chars().count() <= SUMMARY_CHARS_MAX,
            "{path:?}: {}",
            s.summary
        );
        assert!(
            s.tags.len() <= TAGS_MAX && s.tags.iter().all(|t| t.chars().count() <= TAG_CHARS_MAX),
            "{path:?}"
        );
        assert!(self.facts.len() <= FACTS_MAX, "{path:?}: {} facts", self.facts.len());
        for fact in &self.facts {
            assert!(!fact.name.is_empty() && !fact.value.is_empty(), "{path:?}: {fact:?}");
            assert!(fact.value.chars().count() <= SUMMARY_CHARS_MAX, "{path:?}: {fact:?}");
        }
        let texts = [&s.title, &s.summary].into_iter().chain(&s.tags).chain(&s.risk.reasons);
        for text in texts.chain(self.facts.iter().map(|f| &f.value)) {
            assert!(!text.chars().any(|c| c.is_control() || invisible(c)), "{path:?}: {text:?}");
        }
    }

    fn shown(&self) -> String {
        let s = &self.semantics;
        let mut out = format!("{} | {}\n  {}\n  [{}]", s.kind.name(), s.title, s.summary, s.tags.join(" "));
        if s.risk.level > 0 {
            let _ = write!(out, " risk {}: {}", s.risk.level, s.risk.reasons.join("; "));
        }
        for fact in &self.facts {
            let _ = write!(out, "\n    {}: {}", fact.name, fact.value);
        }
        out
    }
}

/// Path on the machine and contents of every fixture, by path.
fn all_fixtures() -> BTreeMap<PathBuf, Vec<u8>> {
    let dir = fixtures();
    let real = |file: &PathBuf| Path::new("/").join(file.strip_prefix(&dir).unwrap());
    let all = files(&dir, usize::MAX).into_iter().filter(|f| !f.ends_with("README.md"));
    all.map(|file| (real(&file), fs::read(&file).unwrap())).collect()
}

fn mode(path: &Path, body: &[u8]) -> u32 {
    let program = body.starts_with(b"#!") || path.starts_with("/usr/bin");
    if program { 0o755 } else { 0o644 }
}

#[test]
fn fixtures_are_described() {
    let all = all_fixtures();
    assert!(all.len() > 40, "only {} fixtures", all.len());
    let mut kinds: Vec<Kind> = Vec::new();
    let mut out = String::new();
    for (path, body) in &all {
        let known = known(path, mode(path, body), body);
        known.check(path);
        kinds.push(known.semantics.kind);
        let _ = writeln!(out, "{}\n  {}\n", path.display(), known.shown());
    }
    let placed = RULES.iter().filter(|rule| !rule.places.is_empty()).map(|rule| rule.kind);
    for kind in placed {
        assert!(kinds.contains(&kind), "no fixture of {}", kind.name());
    }
    insta::assert_snapshot!(out);
}

/// A model's answer is shared by every path with the same contents and kind: so must be what it is asked.
#[test]
fn facts_follow_from_the_contents_alone() {
    for (path, body) in &all_fixtures() {
        let here = known(path, 0o600, body);
        let elsewhere = Path::new("/srv/other-root").join(path.strip_prefix("/").unwrap());
        let there = known(&elsewhere, 0o755, body);
        assert_eq!(here.semantics.kind, there.semantics.kind, "{}", path.display());
        assert_eq!(here.facts, there.facts, "{}", path.display());
    }
}

#[test]
fn nothing_is_said_of_what_is_redacted_or_unread() {
    let (path, body) = (Path::new("/etc/sudoers.d/x"), b"me ALL=(ALL) ALL\n");
    assert!(!known(path, 0o440, body).facts.is_empty());
    let meta = meta(FileType::File, 0o440, 17);
    for (redacted, unread) in [(Some(Redaction::Password), false), (None, true)] {
        let input = ArtifactInput {
            path,
            meta: &meta,
            nature: &Nature::Disk,
            head: body,
            whole: true,
            len: 17,
            redacted,
            process: None,
            boundary: None,
            unread,
            packaged: Packaged::Unknown,
            now_ns: 0,
            decoded: OnceCell::new(),
        };
        assert_eq!(facts(&input), [], "{redacted:?} {unread}");
    }
}

/// Tables of the kernel are not files: their text is given.
#[test]
fn tables_of_the_kernel() {
    let tables: [(&str, &'static str, &str); 6] = [
        (
            "/proc/net/tcp",
            "net/tcp",
            "local remote state uid inode\n0100007F:1F90 00000000:0000 0A 1000 1\n\
            00000000:0016 00000000:0000 0A 0 2\n0A01A8C0:0016 0201A8C0:C350 01 0 3\n",
        ),
        (
            "/proc/net/udp6",
            "net/udp6",
            "local remote state uid inode\n\
            00000000000000000000000000000000:0222 00000000000000000000000000000000:0000 07 0 4\n",
        ),
        (
            "/proc/net/unix",
            "net/unix",
            "Num RefCount Protocol Flags Type St Inode Path\n00000000 00010000 0001 01 5 /run/dbus/socket\n",
        ),
        ("/proc/modules", "modules", "ext4 1097728 - Live\nnvidia 56000 - Live (POE)\n"),
        (
            "/proc/mounts",
            "mounts",
            "proc /proc proc rw 0 0\n/dev/vda1 / ext4 rw,relatime 0 0\nnas:/x /mnt nfs4 rw 0 0\n",
        ),
        (
            "/proc/1/mountinfo",
            "mountinfo",
            "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n23 22 0:5 / /dev rw - devtmpfs udev rw\n",
        ),
    ];
    let mut out = String::new();
    for (path, name, body) in tables {
        let pid = path.starts_with("/proc/1/").then_some(1);
        let input = ArtifactInput {
            path: Path::new(path),
            meta: &meta(FileType::File, 0o444, body.len() as u64),
            nature: &Nature::Projection { name, pid },
            head: body.as_bytes(),
            whole: true,
            len: body.len() as u64,
            redacted: None,
            process: None,
            boundary: None,
            unread: false,
            packaged: Packaged::Unknown,
            now_ns: 0,
            decoded: OnceCell::new(),
        };
        let known = Known { semantics: describe(&input), facts: facts(&input) };
        known.check(Path::new(path));
        let _ = writeln!(out, "{path}\n  {}\n", known.shown());
    }
    insta::assert_snapshot!(out);
}

/// What Debian has at these places has these kinds.
const WELL_KNOWN: [(&str, Kind); 35] = [
    ("/etc/passwd", Kind::Accounts),
    ("/etc/group", Kind::Groups),
    ("/etc/fstab", Kind::Fstab),
    ("/etc/hosts", Kind::Hosts),
    ("/etc/resolv.conf", Kind::Resolver),
    ("/etc/nsswitch.conf", Kind::Nsswitch),
    ("/etc/profile", Kind::ShellSettings),
    ("/etc/bash.bashrc", Kind::ShellSettings),
    ("/etc/skel/.profile", Kind::ShellSettings),
    ("/etc/crontab", Kind::Cron),
    ("/etc/cron.d/e2scrub_all", Kind::Cron),
    ("/etc/cron.daily/dpkg", Kind::Cron),
    ("/etc/pam.d/common-auth", Kind::Pam),
    ("/etc/pam.d/su", Kind::Pam),
    ("/etc/ssh/sshd_config", Kind::SshdConfig),
    ("/etc/ssh/ssh_config", Kind::Config),
    ("/etc/sudoers", Kind::Sudoers),
    ("/etc/apt/sources.list", Kind::PackageSource),
    ("/etc/apt/sources.list.d/debian.sources", Kind::PackageSource),
    ("/etc/ld.so.conf", Kind::LoaderConfig),
    ("/etc/ld.so.conf.d/libc.conf", Kind::LoaderConfig),
    ("/etc/logrotate.d/dpkg", Kind::Logrotate),
    ("/etc/ssl/certs/ca-certificates.crt", Kind::Certificate),
    ("/etc/login.defs", Kind::Config),
    ("/usr/lib/sysctl.d/99-protect-links.conf", Kind::SysctlFile),
    ("/usr/lib/modprobe.d/systemd.conf", Kind::ModprobeConfig),
    ("/usr/lib/udev/rules.d/99-systemd.rules", Kind::UdevRules),
    ("/usr/lib/tmpfiles.d/tmp.conf", Kind::Tmpfiles),
    ("/usr/lib/systemd/system/fstrim.timer", Kind::SystemdUnit),
    ("/usr/lib/systemd/system/dbus.socket", Kind::SystemdUnit),
    ("/usr/bin/env", Kind::ElfExecutable),
    ("/usr/bin/ldd", Kind::Script),
    ("/var/lib/dpkg/status", Kind::PackageDatabase),
    ("/var/lib/dpkg/info/hostname.list", Kind::PackageDatabase),
    ("/var/log/dpkg.log", Kind::Log),
];

#[test]
fn well_known_files_of_this_machine_have_their_kinds() {
    let mut seen = 0;
    for (path, want) in WELL_KNOWN {
        let Ok(body) = fs::read(path) else { continue };
        if body.is_empty() {
            continue;
        }
        seen += 1;
        let known = known(Path::new(path), 0o755, &body);
        assert_eq!(known.semantics.kind, want, "{path}: {}", known.semantics.summary);
        let says_something = std::str::from_utf8(&body).map_or(true, |b| text::settings(b).next().is_some());
        assert!(!known.facts.is_empty() || !says_something, "{path}: no facts");
    }
    // Any Linux has these at least: passwd, group, hosts, resolv.conf, a profile, a program.
    assert!(seen >= 6, "only {seen} of the well-known files are here");
}

#[test]
fn files_of_this_machine_are_described_within_limits() {
    let mut count = 0;
    for dir in
        ["/etc", "/usr/lib/systemd", "/usr/bin", "/var/lib/dpkg", "/usr/share/ca-certificates", "/var/log"]
    {
        for path in files(Path::new(dir), FILES_MAX) {
            let Ok(body) = read_head(&path) else { continue };
            known(&path, 0o755, &body).check(&path);
            count += 1;
        }
    }
    assert!(count > 100, "only {count} files could be read");
}

fn read_head(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut head = Vec::new();
    fs::File::open(path)?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A path for every place of every rule.
fn paths() -> Vec<PathBuf> {
    let places = RULES.iter().flat_map(|rule| rule.places).chain(&log::PLACES);
    let plain = [
        "x",
        "x.json",
        "x.toml",
        "x.yaml",
        "x.ini",
        "x.ko",
        "x.ko.xz",
        "x.so",
        "x.crt",
        "x.log",
        "root/.ssh/authorized_keys",
    ];
    let units = ["etc/systemd/system/x.service", "etc/systemd/system/x.timer"];
    let all = places.copied().chain(plain).chain(units);
    all.map(|place| Path::new("/").join(place.replace("**", "x")))
        .map(|path| if path.as_os_str().as_bytes().ends_with(b"/") { path.join("x") } else { path })
        .collect()
}

proptest! {
    #[test]
    fn any_bytes_at_any_place(
        path in prop::sample::select(paths()),
        start in prop::sample::select(vec![&b""[..], b"#!", b"\x7fELF\x02\x01\x01", b"deb ", b"[x]\n", b"\xfd7zXZ\0", b"\x1f\x8b\x08\x08",
            b"!<arch>\n", b"-----BEGIN CERTIFICATE-----\n", b"0\x82\x01\x01\x300", b"LPKSHHRH", b"* * * * * ", b"auth ", b"/a b c "]),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..2000),
            "[ -~\n\\t\\\\]{0,1000}".prop_map(String::into_bytes),
            "([a-zA-Z0-9@*/_.#:=\"{}(),\\[\\]-]{1,8}[ \n\\t]){0,200}".prop_map(String::into_bytes),
            "\\PC{0,300}".prop_map(String::into_bytes),
        ],
    ) {
        known(&path, 0o644, &[start, &body].concat()).check(&path);
    }

    #[test]
    fn damaged_fixtures(at in any::<prop::sample::Index>(), cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..12)) {
        let all = all_fixtures();
        let (path, body) = all.iter().nth(at.index(all.len())).unwrap();
        let mut body = body.clone();
        for (at, byte, how) in cuts {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.drain(at..body.len().min(at + usize::from(byte)))),
            }
        }
        known(path, 0o644, &body).check(path);
    }
}
