use std::fmt::Write;

use proptest::prelude::*;

use super::*;

mod samples;

struct Sample {
    path: &'static str,
    mode: u32,
    file_type: FileType,
    redacted: Option<Redaction>,
}

fn sample(path: &'static str) -> Sample {
    Sample { path, mode: 0o644, file_type: FileType::File, redacted: None }
}

fn meta(file_type: FileType, mode: u32, size: u64) -> Meta {
    Meta {
        file_type,
        mode,
        uid: 0,
        gid: 0,
        size,
        mtime_ns: 0,
        ctime_ns: 0,
        dev: 1,
        ino: 1,
        nlink: 1,
        rdev: 0,
    }
}

impl Sample {
    fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
    fn describe(&self, body: &[u8]) -> Semantics {
        let head = &body[..body.len().min(head_wanted(Path::new(self.path)))];
        let head = if self.redacted.is_some() { &[] } else { head };
        describe(&ArtifactInput {
            path: Path::new(self.path),
            meta: &meta(self.file_type, self.mode, body.len() as u64),
            nature: &Nature::Disk,
            head,
            whole: head.len() == body.len(),
            len: body.len() as u64,
            redacted: self.redacted,
            process: None,
            boundary: None,
            unread: false,
            packaged: Packaged::Unknown,
            now_ns: 0,
            decoded: OnceCell::new(),
        })
    }
    fn line(&self, body: &[u8]) -> String {
        let s = self.describe(body);
        let risk = if s.risk.level > 0 {
            format!(" | {} {}", s.risk.level, s.risk.reasons.join("; "))
        } else {
            String::new()
        };
        format!("{} | {} | {} | {}{risk}", s.kind.name(), s.title, s.summary, s.tags.join(" "))
    }
}

#[test]
fn codes_and_names_are_stable() {
    let mut codes: Vec<u8> = Kind::ALL.iter().map(|k| k.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, (1..=48).collect::<Vec<u8>>(), "0 means free; codes are never used twice");
    for kind in Kind::ALL.iter().copied() {
        assert_eq!((Kind::from_code(kind.code()), Kind::from_name(kind.name())), (Some(kind), Some(kind)));
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        assert!(RULES.iter().any(|r| r.kind == kind), "{kind:?} has no rule");
    }
    assert_eq!((Kind::from_code(0), Kind::from_name("x")), (None, None));
}

/// `SFD_BLESS=1` writes the table.
#[test]
fn the_documented_table_is_this_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kinds.md");
    let have = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = have.split_once("<!-- table -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let mut table = "| code | name | what |\n|---|---|---|\n".to_owned();
    for kind in Kind::ALL {
        writeln!(table, "| {} | `{}` | {} |", kind.code(), kind.name(), kind.meaning().trim()).unwrap();
    }
    let want = format!("{before}<!-- table -->\n{table}<!-- end -->{after}");
    if std::env::var_os("SFD_BLESS").is_some() {
        std::fs::write(&file, &want).unwrap();
    }
    assert_eq!(have, want, "run this test with SFD_BLESS=1");
}

#[test]
fn samples() {
    let unit = b"[Unit]\nDescription=OpenSSH server\n[Service]\nType=notify\nExecStart=/usr/sbin/sshd -D\nUser=root\n\
        [Install]\nWantedBy=multi-user.target\n";
    let lines = [
        sample("/etc/systemd/system/ssh.service").line(unit),
        sample("/etc/systemd/system/ssh.service.d/a.conf").mode(0o666).line(b"[Service]\nNice=5\n"),
        sample("/usr/bin/tool").mode(0o755).line(b"#!/usr/bin/env -S FOO=1 python3 -u\nprint(1)\n"),
        sample("/usr/bin/su").mode(0o4755).line(b"#! /bin/sh\n"),
        sample("/usr/bin/su").mode(0o4755).line(b"\x7fELF\x02\x01\x01"),
        sample("/srv/app.json").line(br#"{"name": "x", "port": 1}"#),
        sample("/srv/app.json").line(b"{broken"),
        sample("/srv/no-name").line(b"[1, 2, 3]"),
        sample("/srv/Cargo.toml").line(b"[package]\nname = \"x\"\n[dependencies]\n"),
        sample("/srv/a.yaml").line(b"# c\napiVersion: v1\nkind: Pod\nspec:\n  x: 1\n"),
        sample("/srv/app.ini").line(b"[main]\nx=1\n[other]\n"),
        sample("/etc/sudoers.d/all").mode(0o666).line(b"ALL ALL=(ALL) NOPASSWD: ALL\n"),
        sample("/etc/hosts").line(b"127.0.0.1 localhost\n# comment\n"),
        sample("/etc/passwd").line(b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n"),
        sample("/etc/ssh/sshd_config").line(b"Port 22\n"),
        sample("/srv/notes").line("\n== Grüße ==\nmore\n".as_bytes()),
        sample("/srv/data").line(b"\0\x01\x02"),
        sample("/srv/empty").mode(0o666).line(b""),
        sample("/srv/a.tar.gz").line(b"\x1f\x8b\x08\0"),
        sample("/etc/ssl/certs/ca.pem")
            .line(b"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"),
        sample("/root/.ssh/id_rsa.pub").line(b"ssh-rsa AAAA me@host\n"),
        Sample { redacted: Some(Redaction::KeyPath), ..sample("/srv/tls.key") }.line(b"SECRET"),
        Sample { redacted: Some(Redaction::SecretPath), mode: 0o640, ..sample("/etc/shadow") }
            .line(b"SECRET"),
        Sample { file_type: FileType::Symlink, mode: 0o777, ..sample("/etc/x.service") }.line(b"/dev/null"),
        Sample { file_type: FileType::Directory, mode: 0o777, ..sample("/srv/drop") }.line(b""),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    systemd_unit | OpenSSH server | systemd service, type notify, runs /usr/sbin/sshd -D, as user root, wanted by multi-user.target. | systemd service
    systemd_unit | drop-in of ssh.service | systemd service. | systemd service drop-in world-writable | 3 anyone may change this file
    script | tool | Script for python3, 2 lines. | script python3
    script | su | Script for sh, 1 line. | script sh
    elf_other | su | ELF file (ELF), 7 B. | elf setuid | 1 runs as root whoever starts it (set-user-ID)
    json | app.json | JSON, 24 B: name, port. | json
    json | app.json | JSON, 7 B: not valid at line 1. | json
    json | no-name | JSON, 9 B: a list of 3. | json
    toml | Cargo.toml | TOML, 36 B: dependencies, package. | toml
    yaml | a.yaml | YAML, 42 B: apiVersion, kind, spec. | yaml
    ini | app.ini | INI-style configuration, 19 B: sections main, other. | ini
    sudoers | sudo: ALL may run everything, 1 rule without a password | Who may use sudo, 1 rule: ALL ALL=(ALL) NOPASSWD: ALL. | sudo privilege nopasswd world-writable | 4 everybody is root without a password (sudo: ALL ... NOPASSWD: ALL); anyone may change this file
    hosts | hosts: 1 entry | Static host names, 1 entry: only this host itself. | network names
    accounts | 2 accounts, 2 with a login shell | User accounts: 2 accounts, login shell: root, toor. With the rights of root: root, toor. | accounts login | 3 toor is root under another name (user id 0)
    sshd_config | sshd: root login by key only, passwords allowed | SSH server: 1 setting, port 22. Sets Port. | ssh login config
    text | notes | Text, 3 lines, 20 B. Begins: == Grüße == | 
    binary | data | Binary data, 3 B. | 
    empty | empty | Empty file. | world-writable | 2 anyone may change this file
    archive | a.tar.gz | Archive or compressed data (gzip), 4 B. | gzip
    certificate | certificate ca.pem | One certificate, which could not be read. | x509
    key | public key id_rsa.pub | Public key of me@host (ssh-rsa). | public-key
    key | private key tls.key | Private key or key store. Contents are redacted: a place of private keys. | redacted private-key | 3 anyone on this host may read what looks like a private key
    secret | shadow | File with passwords or access tokens. Contents are redacted: a place of passwords or tokens. | redacted credentials
    symlink | x.service → /dev/null | Symbolic link to /dev/null. | masked
    directory | drop | Directory, mode 0777, owner 0:0. | world-writable | 2 anyone may replace the files in this directory (no sticky bit)
    "#);
}

#[test]
fn real_files() {
    let kind = |path: &'static str| {
        let body = std::fs::read(path).ok()?;
        Some(sample(path).mode(0o755).describe(&body))
    };
    let ls = kind("/bin/ls").unwrap();
    assert_eq!(ls.kind, Kind::ElfExecutable);
    assert!(
        ls.summary.starts_with("Program (ELF 64-bit") && ls.summary.contains("dynamically linked"),
        "{}",
        ls.summary
    );
    let mut libraries = 0;
    for path in ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"] {
        if let Some(libc) = kind(path) {
            assert_eq!(
                libc.kind,
                Kind::SharedLibrary,
                "it has an interpreter, and is a library all the same"
            );
            libraries += 1;
        }
    }
    assert!(libraries > 0, "no C library where one is expected");
    for (path, want) in
        [("/etc/passwd", Kind::Accounts), ("/etc/fstab", Kind::Fstab), ("/etc/ssh/ssh_config", Kind::Config)]
    {
        if let Some(found) = kind(path) {
            assert_eq!(found.kind, want, "{path}");
        }
    }
}

/// A relocatable x86-64 ELF file with one section besides the names: `.modinfo`.
fn relocatable(info: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let (at_names, at_headers) = (64 + info.len() as u64, 64 + (info.len() + names.len()) as u64);
    let mut f = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [1_u16, 62] {
        f.extend(half.to_le_bytes());
    }
    f.extend(1_u32.to_le_bytes());
    for word in [0, 0, at_headers] {
        f.extend(word.to_le_bytes());
    }
    f.extend(0_u32.to_le_bytes());
    for half in [64_u16, 0, 0, 64, 3, 2] {
        f.extend(half.to_le_bytes());
    }
    f.extend(info);
    f.extend(names);
    for (name, kind, at, len) in
        [(0_u32, 0_u32, 0, 0), (1, 1, 64, info.len() as u64), (10, 3, at_names, names.len() as u64)]
    {
        f.extend(name.to_le_bytes());
        f.extend(kind.to_le_bytes());
        for word in [0, 0, at, len, 0, 1, 0] {
            f.extend(word.to_le_bytes());
        }
    }
    // sh_link and sh_info share the fifth word; sh_addralign is the sixth.
    f
}

/// There are no modules on the build machine: one is made, with what a real one has.
#[test]
fn kernel_modules() {
    let module = |info: &str, signed: bool| {
        let mut bytes = relocatable(info.as_bytes());
        if signed {
            bytes.extend_from_slice(b"~Module signature appended~\n");
        }
        bytes
    };
    let good =
        module("license=GPL\0description=Dummy net\0depends=a,b\0intree=Y\0vermagic=6.1.0 SMP\0", true);
    let evil = module("license=Proprietary\0\0=\0x", false);
    let packed = zstd::encode_all(&good[..], 1).unwrap();
    let line = |path, body: &[u8]| sample(path).line(body);
    insta::assert_snapshot!([
        line("/lib/modules/6/dummy.ko", &good),
        line("/lib/modules/6/dummy.ko.zst", &packed),
        line("/lib/modules/6/evil.ko", &evil),
        line("/lib/modules/6/evil.ko", b"\x7fELF broken"),
        line("/lib/modules/6/x.ko.xz", b"\xfd7zXZ\0..."),
        line("/usr/share/tutor.ko", b"text in Korean"),
    ].join("\n"), @r#"
    kernel_module | dummy: Dummy net | Kernel module, Dummy net, licence GPL, for 6.1.0 SMP, needs a,b. | kernel signed
    kernel_module | dummy: Dummy net | Kernel module, Dummy net, licence GPL, for 6.1.0 SMP, needs a,b. | kernel signed
    kernel_module | evil.ko | Kernel module, licence Proprietary. | kernel unsigned out-of-tree proprietary | 2 kernel module without a signature; kernel module built outside the kernel's source; kernel module whose licence taints the kernel
    kernel_module | evil.ko | Kernel module, 11 B, not looked into (compressed, too large or damaged). | kernel
    kernel_module | x.ko.xz | Kernel module, 9 B, not looked into (compressed, too large or damaged). | kernel
    text | tutor.ko | Text, 1 line, 14 B. Begins: text in Korean |
    "#);
}

#[test]
fn hostile_contents_cost_little() {
    let deep = b"[".repeat(HEAD_BYTES);
    let wide = vec![b'a'; 4 << 20];
    let keys = "k: v\n".repeat(20_000);
    for path in
        ["/x.json", "/x.toml", "/x.yaml", "/x.ini", "/etc/x", "/x", "/etc/systemd/system/x.service", "/m.ko"]
    {
        for body in [
            &deep[..],
            &wide,
            keys.as_bytes(),
            b"[[[[",
            b"{\"a\":",
            b"=",
            b"[",
            b"#!",
            b"#! ",
            b"\x7fELF",
            b"\x7fELF\x02\x01\x01",
        ] {
            let began = std::time::Instant::now();
            sample(path).describe(body);
            assert!(began.elapsed().as_millis() < 2000, "{path}");
        }
    }
    let nested = format!("a = {}{}", "[".repeat(30_000), "]".repeat(30_000));
    sample("/x.toml").describe(nested.as_bytes());
    let tables = format!("a{} = 1", ".a".repeat(30_000));
    sample("/x.toml").describe(tables.as_bytes());
}

proptest! {
    #[test]
    fn anything_is_described_within_bounds(
        start in prop::sample::select(vec![
            &b""[..], b"#!", b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x02\x01", b"{", b"[x]\n", b"---\n", b"-----BEGIN CERTIFICATE-----\n",
            b"0\x82\x01\x01\x300", b"\x28\xb5\x2f\xfd",
        ]),
        body in prop::collection::vec(any::<u8>(), 0..3000),
        name in prop::sample::select(vec!["/a", "/a.json", "/a.toml", "/a.yml", "/a.ko", "/a.ko.zst", "/etc/a.ini", "/etc/passwd",
            "/a.crt", "/etc/systemd/system/a.service", "/a.so"]),
        mode in 0_u32..0o10000,
    ) {
        let s = sample(name).mode(mode).describe(&[start, &body].concat());
        prop_assert!(s.summary.chars().count() <= SUMMARY_CHARS_MAX);
        prop_assert!(s.title.chars().count() <= TITLE_CHARS_MAX);
        prop_assert!(s.tags.len() <= TAGS_MAX && s.tags.iter().all(|t| t.chars().count() <= TAG_CHARS_MAX));
        prop_assert!(s.risk.level <= 4 && (s.risk.level == 0) == s.risk.reasons.is_empty());
        let all = format!("{}{}{}{}", s.title, s.summary, s.tags.concat(), s.risk.reasons.concat());
        prop_assert!(!all.chars().any(char::is_control));
    }

    #[test]
    fn any_path(path in prop::collection::vec(1_u8.., 0..300)) {
        let path = Path::new(OsStr::from_bytes(&path));
        let _ = (place(path), head_wanted(path));
    }
}
