use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::contents::{Form, OVERLAP_BYTES};
use super::*;
use crate::artifact::view::Nature;

fn redactor() -> Redactor {
    Redactor::ephemeral(&[]).unwrap()
}

#[test]
fn secret_places() {
    let r = redactor();
    for path in [
        "/etc/shadow",
        "/etc/shadow-",
        "/etc/gshadow",
        "/etc/gshadow-",
        "/etc/nshadow",
        "/etc/shadow+",
        "/etc/.shadow.swp",
        "/etc/shadow~",
        "/etc/shadow.4242",
        "/etc/shadow.dpkg-old",
        "/etc/.#shadow0123456789abcdef",
        "/var/backups/shadow.bak",
        "/var/backups/gshadow.bak",
        "/etc/security/opasswd",
        "/etc/security/opasswd.old",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_rsa_key.dpkg-dist",
        "/etc/ssl/private/x/y.pem",
        "/srv/tls.key",
        "/srv/tls.key.bak",
        "/home/a/pw.kdbx",
        "/etc/krb5.keytab",
        "/root/.ssh/id_ed25519",
        "/root/.ssh/id_rsa~",
        "/root/.ssh/.id_rsa.swp",
        "/root/.aws/credentials",
        "/root/.netrc",
        "/root/.netrc.swp",
        "/root/..netrc.swp",
        "/root/.pgpass",
        "/root/.my.cnf",
        "/root/.docker/config.json",
        "/root/.kube/config",
        "/x/kubeconfig",
        "/root/.git-credentials",
        "/etc/wireguard/wg0.conf",
        "/etc/wireguard/wg0.conf.swp",
        "/etc/NetworkManager/system-connections/home.nmconnection",
        "/etc/wpa_supplicant/wpa_supplicant.conf",
        "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf",
        "/etc/ppp/chap-secrets",
        "/root/.vault-token",
        "/root/.npmrc",
        "/root/.pypirc",
        "/etc/apt/auth.conf.d/90.conf",
        "/etc/#shadow#",
    ] {
        assert!(r.by_path(Path::new(path)).is_some(), "{path}");
    }
    for path in [
        "/etc/passwd",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/root/.ssh/id_rsa.pub",
        "/root/.ssh/id_rsa.pub~",
        "/root/.ssh/known_hosts",
        "/usr/share/doc/shadow/README",
        "/usr/include/shadow.h",
        "/etc/ssl/certs/ca.pem",
        "/etc/docker/config.json",
        "/root/.aws/config",
        "/etc/hosts",
        "/",
        "/etc/#",
        "/etc/.#",
        "/etc/~",
    ] {
        let by_path = r.by_path(Path::new(path));
        assert_eq!(by_path, None, "{path}");
    }
    let r = Redactor::ephemeral(&["*.mine".to_owned(), "/srv/private/**".to_owned()]).unwrap();
    assert_eq!(r.by_path(Path::new("/a/b.mine~")), Some(Redaction::UserGlob));
    assert_eq!(r.by_path(Path::new("/srv/private/a/b")), Some(Redaction::UserGlob));
    assert!(Redactor::ephemeral(&["a{".to_owned()]).is_err());
    assert_eq!(Redactor::disabled().by_path(Path::new("/etc/shadow")), None);
}

/// Samples are put together here so that no secret scanner takes this file for one.
fn samples() -> Vec<(String, Redaction)> {
    let b64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
    let key = |sort: &str| format!("x\n-----BEGIN {sort}PRIVATE KEY-----\n{b64}\n");
    let hash = "a".repeat(86);
    let mut all = vec![
        (key(""), Redaction::PrivateKey),
        (key("RSA "), Redaction::PrivateKey),
        (key("OPENSSH "), Redaction::PrivateKey),
        (key("ENCRYPTED ").replace('\n', "\r\n"), Redaction::PrivateKey),
        (format!("-----BEGIN PGP PRIVATE KEY {}\nVersion: 1\n\n{b64}", "BLOCK-----"), Redaction::PrivateKey),
        (
            format!(
                "-----BEGIN RSA PRIVATE {}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{b64}",
                "KEY-----"
            ),
            Redaction::PrivateKey,
        ),
        (
            format!("{{\"private_key\": \"-----BEGIN PRIVATE {}\\n{b64}\\n\"}}", "KEY-----"),
            Redaction::PrivateKey,
        ),
        (format!("AGE-SECRET-KEY-{}", "1".repeat(59)), Redaction::PrivateKey),
    ];
    for (salt, len) in [
        ("$6$salt$", 86),
        ("$5$rounds=5000$salt$", 43),
        ("$1$salt$", 22),
        ("$y$j9T$salt$", 43),
        ("$2b$10$", 53),
    ] {
        all.push((format!("root:{salt}{}:19000:0:99999:7:::", &hash[..len]), Redaction::PasswordHash));
    }
    all.push((
        format!("$argon2id$v=19$m=65536,t=3,p=4${}${}", &hash[..22], &hash[..43]),
        Redaction::PasswordHash,
    ));
    for (prefix, len) in [
        ("AKIA", 0),
        ("ghp_", 36),
        ("gho_", 36),
        ("glpat-", 20),
        ("xoxb-", 24),
        ("sk_live_", 24),
        ("AIza", 35),
        ("npm_", 36),
    ] {
        let tail = if len == 0 { "B".repeat(16) } else { "a1".repeat(len)[..len].to_owned() };
        all.push((format!("t = {prefix}{tail} "), Redaction::Token));
    }
    all.push((format!("github_pat_{}_{}", &hash[..22], &hash[..59]), Redaction::Token));
    all.push((format!("eyJ{}.eyJ{}.{}", &hash[..20], &hash[..20], &hash[..20]), Redaction::Token));
    all.push((format!("aws_secret_access_key = {}", &hash[..40]), Redaction::Token));
    all
}

#[test]
fn secret_contents() {
    let r = redactor();
    for (text, want) in samples() {
        assert_eq!(r.by_content(Form::Any, text.as_bytes()), Some(want), "{text}");
        let surrounded = [&[0xff; 5000][..], text.as_bytes(), b"\n", &[0; 5000]].concat();
        assert_eq!(r.by_content(Form::Any, &surrounded), Some(want), "{text}");
        assert!(text.len() < OVERLAP_BYTES);
    }
    for text in [
        "-----BEGIN PRIVATE KEY-----\0-----END PRIVATE KEY-----\0", // a program's own strings
        "-----BEGIN CERTIFICATE-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n",
        "-----BEGIN PUBLIC KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n",
        "root:x:0:0:root:/root:/bin/bash\n",
        "daemon:*:19000:0:99999:7:::\n",
        "costs $6$ or $1$ a piece",
        "password = hunter2hunter2",
    ] {
        assert_eq!(r.by_content(Form::Any, text.as_bytes()), None, "{text}");
    }
}

#[test]
fn assignments_only_in_configuration_and_only_likely_ones() {
    let r = redactor();
    for text in [
        "password = hunter2hunter2\n",
        "DB_PASSWORD=s3cr3t-value\n",
        "  api_key: 'abc123def456'\n",
        "client-secret=\"Zx9$%Zx9\"",
        "url = postgres://app:hunter2@db/x\n",
        "Environment=API_KEY=a1b2c3d4e5\n",
    ] {
        let found = r.by_content(Form::Config, text.as_bytes());
        // `$` is no character of the values this rule takes.
        assert_eq!(found.is_some(), !text.contains('$'), "{text}");
    }
    for text in [
        "#password = hunter2hunter2\n",
        "// api_key: abc123def456\n",
        "password = changeme1\n",
        "password: ${DB_PASS_1}\n",
        "passwd:         files systemd\n",
        "password requisite pam_deny.so\n",
        "secret = /run/secrets/db1\n",
        "password = prompted\n",
        "http://proxy.example:3128/\n",
        "PasswordAuthentication no\n",
    ] {
        assert_eq!(r.by_content(Form::Config, text.as_bytes()), None, "{text}");
    }
    let form = |p: &str| Form::of(Path::new(p), &Nature::Disk);
    assert_eq!(form("/etc/app"), Form::Config);
    assert_eq!(form("/srv/.env"), Form::Config);
    assert_eq!(form("/srv/a.py"), Form::Any);
    assert_eq!(form("/etc"), Form::Any);
}

#[test]
fn arguments() {
    let r = redactor();
    for text in [
        "app\0--password=x1y2\0",
        "app\0--password\0hunter2\0",
        "app\0--db-password=hunter2\0",
        "PGPASSWORD=x\0psql\0",
        "mysql\0-uroot\0-phunter2\0",
        "sshpass\0-p\0x\0ssh\0",
        "curl\0-u\0me:pw\0http://x\0",
        "x\0--token=abcdef\0",
        "wget\0http://me:pwd@host/\0",
        "curl\0-H\0Authorization: Bearer abcdefgh\0",
        "quiet root=/dev/sda1 luks.passphrase=abc\n",
    ] {
        assert!(r.by_content(Form::CommandLine, text.as_bytes()).is_some(), "{text}");
    }
    for text in [
        "bash\0",
        "sshd: /usr/sbin/sshd\0-D\0",
        "ps\0-p\0",
        "psql\0--no-password\0-h\0db\0",
        "app\0--password-file=/x\0",
    ] {
        assert_eq!(r.by_content(Form::CommandLine, text.as_bytes()), None, "{text}");
    }
}

#[test]
fn seals() {
    let (a, b) = (redactor(), redactor());
    let plain = *blake3::hash(b"secret").as_bytes();
    let (hash, stream) = a.seal(&plain, 1000);
    assert_eq!((hash, stream.clone()), a.clone().seal(&plain, 1000));
    assert_eq!(stream.len(), 1000);
    assert_ne!(hash, plain);
    assert_ne!(b.seal(&plain, 1000).0, hash);
    let (other, changed) = a.seal(blake3::hash(b"secreT").as_bytes(), 1000);
    assert_ne!(other, hash);
    let equal = stream.iter().zip(&changed).filter(|(x, y)| x == y).count();
    assert!(equal < 30, "about 4 of 1000 bytes agree by chance, {equal} do");
    assert_eq!(format!("{a:?}"), "Redactor(on)");
}

#[test]
fn the_key_is_made_once_and_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(KEY_FILE);
    let sealed = |r: Result<Redactor, RedactError>| r.unwrap().seal(&[0; 32], 8);
    let first = sealed(Redactor::open(dir.path(), &[]));
    assert_eq!(first, sealed(Redactor::open(dir.path(), &[])));
    let meta = std::fs::metadata(&file).unwrap();
    assert_eq!((meta.len(), meta.permissions().mode() & 0o7777), (32, 0o600));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");

    let fails = |what: &str| {
        let e = Redactor::open(dir.path(), &[]).unwrap_err().to_string();
        assert!(e.contains(what) && e.contains(KEY_FILE), "{e}");
    };
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    fails("others may use it (mode 0640)");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, [0; 31]).unwrap();
    fails("it has 31 bytes");
    std::fs::write(&file, [0; 99]).unwrap();
    fails("it has 99 bytes");
    std::fs::rename(&file, dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    fails("symbolic link");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    fails("not a regular file");
    assert!(Redactor::open(Path::new("/nonexistent/state"), &[]).is_err());
}

#[test]
fn many_start_at_once_with_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = std::thread::scope(|s| {
        let all: Vec<_> =
            (0..8).map(|_| s.spawn(|| Redactor::open(dir.path(), &[]).unwrap().seal(&[0; 32], 8))).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(keys.windows(2).all(|w| w[0] == w[1]));
}

proptest! {
    #[test]
    fn any_bytes_and_paths(bytes in prop::collection::vec(any::<u8>(), 0..2000), path in prop::collection::vec(1_u8.., 0..300)) {
        use std::os::unix::ffi::OsStrExt;
        let r = redactor();
        let path = Path::new(std::ffi::OsStr::from_bytes(&path));
        let _ = r.by_path(path);
        for form in [Form::Any, Form::Config, Form::CommandLine, Form::Kernel] {
            let _ = r.by_content(form, &bytes);
        }
    }
}
