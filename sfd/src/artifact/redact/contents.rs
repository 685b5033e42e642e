//! Secret by content.
//!
//! Two sets of rules. The *forms* that nothing but a secret has (key blocks, crypt(3) hashes, tokens with a vendor's
//! prefix) apply to every file. The *assignments* (`password = ...`, `https://user:pass@host`) apply only to
//! configuration and to command lines, and only to values that look like a secret: a program text that says
//! `password = read_password()` is not one, and hiding it would make the picture useless without protecting anything.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use regex::bytes::{Regex, RegexBuilder};

use super::Redaction;
use crate::artifact::view::Nature;

/// Pieces of a file overlap by this many bytes, more than any form needs to be recognised (the header of a web token has
/// no bound, but a hundred bytes in practice).
pub const OVERLAP_BYTES: usize = 2048;
/// Assignments are looked for in files up to this size, in bytes: configuration written by people is smaller, and the
/// rule is the slow one (it starts with no fixed text).
pub const ASSIGNMENTS_BYTES_MAX: u64 = 1 << 20;

/// A key block with at least a little of its body: programs that handle keys contain the header line alone. The line
/// ends may be escaped (a key in JSON) and armour headers may come between.
const PRIVATE_KEY: &str = r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[rn])+(?:[A-Za-z-]{1,32}: ?[^\n\\]{0,200}(?:\s|\\[rn])+){0,6}[A-Za-z0-9+/=]{16}|PuTTY-User-Key-File-\d|AGE-SECRET-KEY-1[A-Z0-9]{58}|LS0tLS1CRUdJTiB(?:SU0EgUFJJVkFURSBLRVk|QUklWQVRFIEtFW|FQyBQUklWQVRFIEtFW|PUEVOU1NIIFBSSVZBVEUgS0VZ|FTkNSWVBURUQgUFJJVkFURSBLRV)";

/// crypt(5): MD5, SHA-256, SHA-512, (gost-)yescrypt, scrypt, bcrypt; Apache's MD5; argon2; PBKDF2 of GRUB.
const PASSWORD_HASH: &str = r"\$(?:1|apr1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}|\$[56]\$(?:rounds=\d{1,9}\$)?[^$:\s]{1,16}\$[./A-Za-z0-9]{43}|\$g?y\$[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}|\$7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}|\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}|\$argon2(?:id|i|d)\$v=\d{1,3}\$m=\d{1,9},t=\d{1,9},p=\d{1,5}\$[A-Za-z0-9+/]{8,96}\$[A-Za-z0-9+/]{16}|grub\.pbkdf2\.sha512\.\d{1,9}\.[A-F0-9]{16}";

/// Tokens whose form their maker has published so that they can be recognised.
const TOKEN: &str = r#"(?:AKIA|ASIA)[A-Z2-7]{16}(?:[^A-Za-z0-9]|$)|(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY|SecretAccessKey)["']?\s{0,4}[=:]\s{0,4}["']?[A-Za-z0-9/+]{40}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}|glpat-[A-Za-z0-9_-]{20}|xox[abeprs]-[0-9A-Za-z-]{16}|[sr]k_live_[A-Za-z0-9]{16}|AIza[A-Za-z0-9_-]{35}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10}|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50}|hvs\.[A-Za-z0-9_-]{24}|dop_v1_[a-f0-9]{64}|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|sk-ant-[a-z0-9]{2,8}-[A-Za-z0-9_-]{32}|sk-proj-[A-Za-z0-9_-]{32}|PrivateKey\s{0,4}=\s{0,4}[A-Za-z0-9+/]{43}="#;

/// The beginning of `name = value` where the name ends in a word for a secret. The value is taken by hand: rules that
/// count far are many times slower.
const ASSIGNMENT: &str = r#"(?:passw(?:or)?d|passphrase|secret|secret[_-]?key|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?token|access[_-]?token|client[_-]?secret|psk)["']?\s{0,8}[=:]\s{0,8}["']?"#;
/// A value in an assignment is taken for a secret from this many bytes ...
const VALUE_BYTES_MIN: usize = 8;
/// ... up to this many.
const VALUE_BYTES_MAX: usize = 256;
/// A password in an address has this many bytes at most, and so has the name before it.
const INLINE_BYTES_MAX: usize = 128;

/// Arguments that carry a secret. Arguments are separated by NUL (a process) or space (the kernel's command line).
const ARGUMENT: &str = r"(?:^|[\x00\s])-{0,2}(?:[A-Za-z0-9_.-]{0,64}[_.-])?(?:passw(?:or)?d|passphrase|secret|secret[_-]?key|api[_-]?key|apikey|access[_-]?key|private[_-]?key|token|psk)(?:=|:|\x00)[^\x00\s-][^\x00\s]{2}|(?:^|[\x00\s])PGPASSWORD=[^\x00\s]|(?:^|/|\x00)(?:mysql|mysqldump|mysqladmin|mariadb|mariadb-dump)\x00(?:[^\x00]{0,256}\x00){0,16}?-p[^\x00\s]|(?:^|/|\x00)sshpass\x00-p|(?:^|/|\x00)curl\x00(?:[^\x00]{0,512}\x00){0,16}?(?:-u|--user)[\x00=]?[^\x00:]{1,64}:[^\x00]|[Aa]uthorization: ?(?:[Bb]earer|[Bb]asic|[Tt]oken) [^\x00\s]{6}";

/// The texts of all rules on contents of files.
pub(super) const TEXTS: [&str; 4] = [PRIVATE_KEY, PASSWORD_HASH, TOKEN, ASSIGNMENT];

/// Which rules apply to some contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Forms only.
    Any,
    /// Forms and assignments.
    Config,
    /// Forms and arguments.
    CommandLine,
    /// Nothing: a projection made of numbers and names by the kernel.
    Kernel,
}

impl Form {
    /// The form of a path. Files count as configuration below a directory `etc` and by their extension.
    pub fn of(path: &Path, nature: &Nature) -> Self {
        const EXTENSIONS: [&[u8]; 19] = [
            b"conf",
            b"cfg",
            b"cnf",
            b"config",
            b"ini",
            b"env",
            b"properties",
            b"toml",
            b"yaml",
            b"yml",
            b"json",
            b"service",
            b"socket",
            b"network",
            b"netdev",
            b"tfvars",
            b"desktop",
            b"credentials",
            b"secret",
        ];
        match nature {
            Nature::Projection { name: "cmdline", .. } => return Self::CommandLine,
            Nature::Sysctl { .. } => return Self::Config,
            Nature::Projection { name: "comm" | "mountinfo" | "mounts", .. } => return Self::Any,
            Nature::Projection { .. } | Nature::Process { .. } | Nature::ProcDirectory => {
                return Self::Kernel;
            }
            Nature::Disk => {}
        }
        let name = path.file_name().map_or(&b""[..], OsStrExt::as_bytes);
        let by_name = name == b".env"
            || name.starts_with(b".env.")
            || name.rsplit(|b| *b == b'.').next().is_some_and(|e| EXTENSIONS.contains(&e));
        let below_etc = path.parent().is_some_and(|p| p.iter().any(|part| part == "etc"));
        if by_name || below_etc { Self::Config } else { Self::Any }
    }
}

/// The content rules, compiled.
pub(super) struct ContentRules {
    forms: Vec<(Regex, Redaction)>,
    assignment: Regex,
    argument: Regex,
}

impl ContentRules {
    pub(super) fn new() -> Result<Self, regex::Error> {
        let build = |rule: &str, fold: bool| {
            RegexBuilder::new(rule).unicode(false).case_insensitive(fold).size_limit(64 << 20).build()
        };
        Ok(Self {
            forms: vec![
                (build(PRIVATE_KEY, false)?, Redaction::PrivateKey),
                (build(PASSWORD_HASH, false)?, Redaction::PasswordHash),
                (build(TOKEN, false)?, Redaction::Token),
            ],
            assignment: build(ASSIGNMENT, true)?,
            argument: build(ARGUMENT, true)?,
        })
    }

    pub(super) fn check(&self, form: Form, bytes: &[u8]) -> Option<Redaction> {
        if form == Form::Kernel {
            return None;
        }
        if let Some((_, sort)) = self.forms.iter().find(|(rule, _)| rule.is_match(bytes)) {
            return Some(*sort);
        }
        let secret = match form {
            Form::Config => self.assigns(bytes) || in_address(bytes),
            Form::CommandLine => self.argument.is_match(bytes) || in_address(bytes),
            Form::Any | Form::Kernel => false,
        };
        secret.then_some(Redaction::Password)
    }

    fn assigns(&self, bytes: &[u8]) -> bool {
        self.assignment.find_iter(bytes).any(|found| {
            let rest = &bytes[found.end()..];
            let len = rest.iter().take(VALUE_BYTES_MAX + 1).take_while(|b| in_value(**b)).count();
            let ends =
                rest.get(len).is_none_or(|b| matches!(b, b'"' | b'\'' | b';') || b.is_ascii_whitespace());
            (VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&len)
                && ends
                && random_looking(&rest[..len])
                && !commented(bytes, found.start())
        })
    }
}

/// Whether an address holds a password: `://`, a name, `:`, a password, `@`.
fn in_address(bytes: &[u8]) -> bool {
    let word = |bytes: &[u8]| {
        let inside = |b: &u8| !b.is_ascii_whitespace() && !b"\0:/@\"'<>${}".contains(b);
        bytes.iter().take(INLINE_BYTES_MAX).take_while(|b| inside(b)).count()
    };
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(3).position(|w| w == b"://") {
        from += at + 3;
        let rest = &bytes[from..];
        let Some(rest) = rest[word(rest)..].strip_prefix(b":") else { continue };
        let secret = &rest[..word(rest)];
        if secret.len() >= 3
            && rest.get(secret.len()) == Some(&b'@')
            && !placeholder(secret)
            && !commented(bytes, from)
        {
            return true;
        }
    }
    false
}

/// Characters of values: those of passwords without quotes, brackets and white space.
fn in_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=_!@#%^&*~.,?-".contains(&byte)
}

/// Whether the line is a comment: examples in comments are the most frequent false alarm in `/etc`.
fn commented(bytes: &[u8], at: usize) -> bool {
    // A line longer than this is no comment written by a person.
    let window = &bytes[at.saturating_sub(1024)..at];
    let line = window.rsplit(|b| *b == b'\n').next().unwrap_or(window);
    matches!(line.trim_ascii_start().first(), Some(b'#' | b';')) || line.trim_ascii_start().starts_with(b"//")
}

/// A value with letters and digits or marks, that is not a path, a variable or an example.
fn random_looking(value: &[u8]) -> bool {
    let letters = value.iter().any(u8::is_ascii_alphabetic);
    let others =
        value.iter().any(|b| !b.is_ascii_alphabetic() && !matches!(b, b'_' | b'-' | b'.' | b'/' | b','));
    let path = value.starts_with(b"/") || value.starts_with(b"./") || value.starts_with(b"~/");
    letters && others && !path && !placeholder(value)
}

fn placeholder(value: &[u8]) -> bool {
    const WORDS: [&[u8]; 7] = [b"password", b"passwd", b"pass", b"secret", b"none", b"redacted", b"insert"];
    const BEGINNINGS: [&[u8]; 5] = [b"changeme", b"example", b"your", b"xxxx", b"****"];
    let lower = value.to_ascii_lowercase();
    matches!(lower.first(), Some(b'$' | b'%' | b'<' | b'{' | b'*'))
        || WORDS.contains(&lower.as_slice())
        || BEGINNINGS.iter().any(|b| lower.starts_with(b))
}
