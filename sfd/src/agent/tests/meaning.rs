//! What changes mean, in the history.

use std::fs;
use std::path::{Path, PathBuf};

use super::Rig;
use crate::artifact::redact::Redactor;
use crate::brick::HistoryQuery;

/// The lines of a path that mean something.
fn meanings(rig: &Rig, path: &Path) -> Vec<Vec<String>> {
    let lines = rig.opened().brick.history(&HistoryQuery::default()).unwrap();
    let of_path =
        lines.into_iter().map(|(_, row)| row).filter(|row| row.path == path.as_os_str().as_encoded_bytes());
    of_path.map(|row| row.meaning).filter(|meaning| !meaning.is_empty()).collect()
}

fn sshd(rig: &mut Rig) -> PathBuf {
    let path = rig.at("etc/ssh/sshd_config");
    rig.mkdir_all(path.parent().unwrap());
    rig.write(&path, b"Port 22\nPermitRootLogin no\n");
    path
}

#[test]
fn a_change_says_what_it_means() {
    let mut rig = Rig::new();
    let path = sshd(&mut rig);
    let link = rig.at("link");
    rig.symlink(Path::new("a"), &link);
    rig.start();
    rig.write(&path, b"Port 22\nPermitRootLogin yes\n");
    rig.deliver();
    // As editors do it: another file takes the name.
    let aside = rig.at("etc/ssh/sshd_config.new");
    rig.write(&aside, b"# edited\nPort 22\nPermitRootLogin yes\n");
    rig.rename(&aside, &path);
    rig.deliver();
    rig.chmod(&path, 0o600);
    rig.deliver();
    fs::remove_file(&link).unwrap();
    rig.symlink(Path::new("b"), &link);
    rig.deliver().check();
    assert_eq!(
        meanings(&rig, &path),
        [vec!["PermitRootLogin no -> yes"], vec!["only comments or blank lines changed"]]
    );
    assert_eq!(meanings(&rig, &link), [vec!["target a -> b"]]);
    // A restart keeps it.
    rig.kill().start();
    assert_eq!(meanings(&rig, &path).len(), 2);
}

#[test]
fn where_nothing_is_kept_nothing_is_quoted() {
    for off in [true, false] {
        let mut rig = Rig::new();
        if off {
            rig.versions.bytes_max = 0;
        } else {
            rig.redactor = Redactor::disabled();
        }
        let path = sshd(&mut rig);
        rig.start();
        rig.write(&path, b"Port 22\nPermitRootLogin yes\n");
        rig.deliver();
        assert!(rig.history().iter().any(|line| line.starts_with("modified etc/ssh/sshd_config")));
        assert!(meanings(&rig, &path).is_empty());
    }
}

#[test]
fn what_becomes_secret_is_not_quoted_any_more() {
    let mut rig = Rig::new();
    let (notes, other) = (rig.at("notes"), rig.at("other.conf"));
    rig.write(&notes, b"one\n");
    rig.write(&other, b"a = 1\n");
    rig.start();
    rig.write(&notes, b"two\n");
    rig.write(&other, b"a = 2\n");
    rig.deliver();
    assert_eq!(meanings(&rig, &notes), [["line \"one\" -> \"two\""]]);
    let key = rig.at("server.key");
    rig.rename(&notes, &key);
    rig.deliver();
    assert!(rig.row("server.key").redacted);
    assert!(meanings(&rig, &notes).is_empty() && meanings(&rig, &key).is_empty());
    assert_eq!(meanings(&rig, &other).len(), 1);
    rig.write(&key, b"three\n");
    rig.deliver();
    assert!(meanings(&rig, &key).is_empty());
    // Other rules: nothing of before is quoted.
    rig.redactor = Redactor::ephemeral(&["*.nothing".to_owned()]).unwrap();
    rig.kill().start();
    assert!(meanings(&rig, &other).is_empty());
}

/// Tables of `/proc` that change all the time have a line where their change means something, and only there.
#[test]
fn a_socket_that_listens_is_worth_a_line() {
    let mut rig = Rig::new();
    rig.strict = false;
    rig.is_proc = true;
    fs::create_dir(rig.at("net")).unwrap();
    let tcp = rig.at("net/tcp");
    // What `project` makes of it keeps columns 1, 2, 3, 7 and 9.
    let line = |local: &str, state: &str| {
        format!(
            "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0        0 7 1 f 100 0\n"
        )
    };
    let head =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    fs::write(&tcp, format!("{head}{}", line("0100007F:0016", "0A"))).unwrap();
    rig.start();
    let look = |rig: &mut Rig, text: String| {
        fs::write(&tcp, text).unwrap();
        rig.heal();
    };
    look(&mut rig, format!("{head}{}{}", line("0100007F:0016", "0A"), line("0100007F:0016", "01")));
    assert!(rig.history().is_empty(), "{:?}", rig.history());
    look(&mut rig, format!("{head}{}{}", line("0100007F:0016", "0A"), line("00000000:1F90", "0A")));
    assert_eq!(meanings(&rig, &tcp), [["listening on 0.0.0.0:8080/tcp appeared (uid 0)"]]);
}
