use std::sync::Arc;

use super::*;
use crate::artifact::{Meta, Semantics, SemanticsSource};
use crate::brick::ArtifactId;
use crate::collect::{Origin, Parent};
use crate::fold::Block;

fn row(mode: u32, uid: u32, kind: Kind, level: u8, reasons: &[&str]) -> Row {
    let meta = Meta {
        file_type: FileType::File,
        mode,
        uid,
        gid: 0,
        size: 1,
        mtime_ns: 0,
        ctime_ns: 0,
        dev: 1,
        ino: 1,
        nlink: 1,
        rdev: 0,
    };
    Row {
        id: ArtifactId(1),
        parent: None,
        name: Vec::new(),
        meta,
        sb_dev: 1,
        block: Block { start: 0, k: 12 },
        len: 1,
        content_hash: [1; 32],
        exact: true,
        redacted: false,
        unverified: None,
        semantics: Semantics {
            kind,
            title: String::new(),
            summary: String::new(),
            tags: Vec::new(),
            risk: Risk { level, reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect() },
            source: SemanticsSource::Heuristic,
            answered: None,
        },
    }
}

fn program(mode: u32, uid: u32) -> Row {
    row(mode, uid, Kind::ElfExecutable, 0, &[])
}

fn writer(uid: u32, exe: &str, parents: &[&str]) -> Writer {
    let parent = |exe: &&str| Parent { pid: 2, start_ns: 0, comm: "p".into(), exe: Some((*exe).to_owned()) };
    let origin = Origin {
        exe: Some(exe.to_owned()),
        exe_checked: true,
        parents: parents.iter().map(parent).collect(),
        ..Origin::default()
    };
    Writer {
        pid: 7,
        start_ns: 1,
        uid,
        login_uid: None,
        comm: "w".into(),
        cgroup: 0,
        origin: Arc::new(origin),
    }
}

struct Case<'a> {
    path: &'a str,
    verb: Verb,
    writers: Vec<Writer>,
    packaged: Packaged,
}

impl<'a> Case<'a> {
    fn new(path: &'a str, verb: Verb) -> Self {
        Self { path, verb, writers: vec![writer(0, "/usr/bin/vim", &[])], packaged: Packaged::Unknown }
    }

    fn by(self, writer: Writer) -> Self {
        Self { writers: vec![writer], ..self }
    }

    fn by_nobody(self, packaged: Packaged) -> Self {
        Self { writers: Vec::new(), packaged, ..self }
    }

    fn judge(self, before: Option<&Row>, after: Option<&Row>, table: Option<(&str, &str, &str)>) -> Judged {
        let line = HistoryRow {
            at_ns: 0,
            path: self.path.as_bytes().to_vec(),
            from: None,
            verb: self.verb,
            detail: String::new(),
            meaning: Vec::new(),
            reasons: Vec::new(),
            unknown_writers: self.writers.is_empty(),
            writers: self.writers,
            more_writers: false,
            kind: String::new(),
            risk: 0,
        };
        judge(&Change { line: &line, before, after, packaged: self.packaged, table })
    }

    #[track_caller]
    fn expect(self, before: Option<&Row>, after: &Row, level: u8, reason: &str) {
        let path = self.path.to_owned();
        let risk = self.judge(before, Some(after), None).risk;
        assert_eq!(risk.level, level, "{path}: {:?}", risk.reasons);
        let first = risk.reasons.first().map_or("", String::as_str);
        assert!(first.contains(reason), "{path}: {reason:?} is not in {first:?}");
    }
}

#[test]
fn set_user_id() {
    use Verb::{Attributes, Created, Modified};
    let (plain, suid) = (program(0o755, 0), program(0o4755, 0));
    let at = |verb| Case::new("/usr/local/bin/x", verb);
    at(Created).expect(None, &suid, 3, "new set-user-ID program: runs as root");
    at(Attributes).expect(Some(&plain), &suid, 3, "has become a set-user-ID program: runs as root");
    at(Attributes).expect(Some(&program(0o4755, 5)), &suid, 3, "has become");
    at(Created).expect(None, &program(0o4755, 1000), 2, "runs as user 1000");
    at(Modified).expect(Some(&suid), &suid, 0, "");
    at(Created).expect(None, &row(0o4755, 0, Kind::Script, 0, &[]), 0, "");
    let dpkg = || writer(0, "/usr/bin/dpkg", &[]);
    at(Created).by(dpkg()).expect(None, &suid, 1, "installed by a package manager");
    let script = writer(0, "/usr/bin/chmod", &["/usr/bin/dash", "/usr/bin/dpkg"]);
    at(Attributes).by(script).expect(Some(&plain), &suid, 1, "installed by a package manager");
    // Only root installs: anybody may start dpkg, and name his program so.
    at(Created).by(writer(1000, "/usr/bin/dpkg", &[])).expect(None, &suid, 3, "new set-user-ID program");
    at(Created).by(writer(0, "/tmp/usr/bin/dpkg", &[])).expect(None, &suid, 3, "new set-user-ID program");
    at(Created).by_nobody(Packaged::Yes).expect(None, &suid, 1, "installed by a package manager");
    at(Created).by_nobody(Packaged::No).expect(None, &suid, 3, "new set-user-ID program");
    at(Attributes).by_nobody(Packaged::Yes).expect(Some(&plain), &suid, 3, "has become");
    let group = program(0o2755, 0);
    at(Attributes).expect(Some(&plain), &group, 2, "new set-group-ID program");
    let mut unchecked = dpkg();
    Arc::make_mut(&mut unchecked.origin).exe_checked = false;
    at(Created).by(unchecked).expect(None, &suid, 3, "new set-user-ID program");
}

#[test]
fn who_wrote_to_roots_files() {
    use Verb::{Attributes, Modified};
    let roots = row(0o644, 0, Kind::Config, 0, &[]);
    let eve = || writer(1000, "/usr/bin/vim", &[]);
    let want = "root's file was changed by a process of user 1000: /usr/bin/vim[7]";
    Case::new("/etc/hosts", Modified).by(eve()).expect(Some(&roots), &roots, 3, want);
    Case::new("/srv/x", Modified).by(eve()).expect(Some(&roots), &roots, 2, want);
    Case::new("/var/log/x", Modified).by(eve()).expect(Some(&roots), &roots, 1, want);
    Case::new("/etc/hosts", Attributes).by(eve()).expect(Some(&roots), &roots, 0, "");
    Case::new("/etc/hosts", Modified).expect(Some(&roots), &roots, 0, "");
    let eves = row(0o644, 1000, Kind::Config, 0, &[]);
    Case::new("/etc/x", Modified).by(eve()).expect(Some(&eves), &eves, 0, "");
    let passwd = writer(1000, "/usr/bin/passwd", &[]);
    Case::new("/etc/shadow", Modified).by(passwd).expect(Some(&roots), &roots, 0, "");
    let shared = row(0o666, 0, Kind::Text, 0, &[]);
    Case::new("/etc/x", Modified).by(eve()).expect(Some(&shared), &shared, 1, want);
    Case::new("/etc/x", Attributes).expect(
        Some(&roots),
        &shared,
        2,
        "anyone may change it from now on (mode 0644 -> 0666)",
    );
    Case::new("/srv/x", Attributes).expect(
        Some(&program(0o755, 5)),
        &program(0o755, 0),
        1,
        "a program of user 5 is root's now",
    );
}

#[test]
fn what_runs_by_itself() {
    use Verb::{Created, Deleted, Modified, Renamed};
    let job = row(0o644, 0, Kind::Config, 0, &[]);
    for (path, what) in [
        ("/etc/cron.d/x", "new: a timed job (cron)"),
        ("/var/spool/cron/crontabs/bob", "new: a timed job (cron)"),
        ("/etc/systemd/system/x.timer", "new: a unit of systemd"),
        ("/etc/systemd/system/multi-user.target.wants/x.service", "new: a unit of systemd"),
        ("/root/.ssh/authorized_keys", "new: keys that may log in"),
        ("/etc/profile.d/x.sh", "new: commands of every login"),
        ("/etc/rc.local", "new: commands run at boot"),
        ("/etc/ld.so.preload", "new: libraries loaded into every program"),
        ("/etc/modules-load.d/x.conf", "new: kernel modules loaded at boot"),
    ] {
        Case::new(path, Created).expect(None, &job, 2, what);
        Case::new(path, Created).by(writer(0, "/bin/dpkg", &[])).expect(None, &job, 0, "");
    }
    Case::new("/etc/cron.d/x", Renamed).expect(Some(&job), &job, 2, "new: a timed job");
    Case::new("/etc/cron.d/x", Modified).expect(Some(&job), &job, 1, "changed: a timed job");
    Case::new("/home/a/.ssh/authorized_keys", Modified).expect(
        Some(&job),
        &job,
        2,
        "changed: keys that may log in",
    );
    Case::new("/etc/cron.d/x.dpkg-old", Created).expect(None, &job, 0, "");
    Case::new("/run/systemd/system/x.service", Created).expect(None, &job, 0, "");
    assert_eq!(Case::new("/etc/cron.d/x", Deleted).judge(Some(&job), None, None).risk.level, 0);
}

#[test]
fn only_what_is_new_about_the_artifact_is_said() {
    let was = row(0o644, 0, Kind::Config, 2, &["a weak thing"]);
    let now = row(0o644, 0, Kind::Config, 3, &["a bad thing", "a weak thing"]);
    let case = || Case::new("/etc/x", Verb::Modified);
    let judged = case().judge(Some(&was), Some(&now), None);
    assert_eq!((judged.risk.level, &*judged.risk.reasons), (3, &["a bad thing".to_owned()][..]));
    case().expect(Some(&now), &was, 0, "");
    case().by(writer(0, "/usr/bin/apt-get", &[])).expect(Some(&was), &now, 1, "a bad thing");
    let mut unread = was.clone();
    unread.content_hash = [0; 32];
    case().expect(Some(&unread), &now, 0, "");
}

#[test]
fn listeners_and_modules() {
    let empty = "local remote state uid inode\n";
    let table = |line: &str| format!("{empty}{line}\n");
    let judge = |name: &str, before: &str, after: &str| {
        let row = row(0o444, 0, Kind::ProcProjection, 1, &["listens on all addresses: port 22"]);
        let case = Case::new("/proc/net/tcp", Verb::Modified).by_nobody(Packaged::Unknown);
        let risk = case.judge(Some(&row), Some(&row), Some((name, before, after))).risk;
        (risk.level, risk.reasons.join("; "))
    };
    let open = table("00000000:1F90 00000000:0000 0A 1000 1");
    assert_eq!(judge("net/tcp", empty, &open), (2, "user 1000 listens on 0.0.0.0:8080".into()));
    assert_eq!(judge("net/tcp", &open, &open), (0, String::new()));
    assert_eq!(judge("net/tcp", &open, empty), (0, String::new()));
    let local = table(&format!("{:08X}:1F90 00000000:0000 0A 0 1", u32::from_ne_bytes([127, 0, 0, 1])));
    assert_eq!(judge("net/tcp", empty, &local), (1, "user 0 listens on 127.0.0.1:8080".into()));
    let udp = table("00000000:0035 00000000:0000 07 0 1");
    assert_eq!(judge("net/udp", empty, &udp).0, 1);
    let connected = table("0100007F:1F90 0100007F:9999 01 0 1");
    assert_eq!(judge("net/tcp", empty, &connected), (0, String::new()));
    assert_eq!(listening("net/tcp", &open, &local).unwrap(), "listening +127.0.0.1:8080, -0.0.0.0:8080");
    assert_eq!(listening("net/tcp", &open, &format!("{open}{}", "0100007F:1 0100007F:2 06 0 0\n")), None);
    let before = "ext4 1 - Live\n";
    let with = |line: &str| format!("{before}{line}\n");
    assert_eq!(
        judge("modules", before, &with("nf_nat 1 - Live")),
        (1, "the kernel module nf_nat was loaded".into())
    );
    assert_eq!(judge("modules", before, &with("rk 1 - Live (OE)")).0, 3);
    assert_eq!(judge("modules", before, &with("zfs 1 - Live (PO)")).0, 2);
    assert_eq!(judge("modules", &with("rk 1 - Live (OE)"), before).0, 0);
}
