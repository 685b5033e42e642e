//! Secrets in the arguments of processes: the value goes, its name stays.
//!
//! Unlike contents, which are hidden as a whole, arguments are worth showing without their secrets. Three nets, one
//! behind the other: what is a secret by what stands before it (`--password`, `curl -u`, `mysql -p`), by its own form
//! (`TOKEN=...`, `https://user:password@host`), and at last the rules for contents: if those still find something,
//! only the program's name is shown. A word too many that is masked costs nothing, so names are matched widely.

use std::sync::LazyLock;

use regex::{Captures, Regex, RegexBuilder};

use super::MASK;
use super::contents::{ContentRules, Form};

/// Names of secrets, at the end of a longer name or alone.
const SECRET: &str = r"(?:pass(?:wd|word|phrase|code|wort)?|pwd|pw|secrets?|tokens?|credentials?|bearer|cookie|psk|otp|pin|(?:secret|api|access|private|auth|encryption|signing|master|account|license|ssh|storage)[_.-]?keys?|apikey|auth)";
/// What may stand before it in one name: `--db-`, `MY_`, `-D`.
const BEFORE: &str = r"(?:[\w.-]*[_.-])?";

/// Programs that take a password in `-p`, glued to it or after it.
const TAKES_P: [&str; 9] = [
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mysqlimport",
    "mariadb",
    "mariadb-dump",
    "mariadb-admin",
    "sshpass",
    "useradd",
];
/// Programs that take `user:password` in `-u`, `-U` or `--user`.
const TAKES_USER: [&str; 3] = ["curl", "curlftpfs", "http"];

/// The rules, compiled.
pub(super) struct ArgumentRules {
    /// An option or variable and nothing else: the next argument is its value.
    name_alone: Regex,
    /// `name=value` and `name: value`, also in the middle of an argument (`sh -c`).
    assignment: Regex,
    /// A name and a value in one argument of a shell: `--password value`.
    name_and_value: Regex,
    /// `://user:password@`.
    address: Regex,
    /// `Authorization: ...` and the like.
    header: Regex,
    /// `pass:...` of openssl.
    openssl: Regex,
    /// `mysql ... -pvalue`, `curl -u user:value` inside an argument.
    glued: Regex,
    user: Regex,
    /// A name and a value, whatever the name.
    pair: Regex,
}

impl ArgumentRules {
    pub(super) fn new() -> Result<Self, regex::Error> {
        let build = |rule: &str| RegexBuilder::new(rule).case_insensitive(true).size_limit(8 << 20).build();
        let value = r#"(?:"[^"]*"?|'[^']*'?|[^\s"'&;|]+)"#;
        Ok(Self {
            name_alone: build(&format!("^--?{BEFORE}{SECRET}$"))?,
            assignment: build(&format!(r#"(\b{BEFORE}{SECRET}["']?\s?[=:]\s?){value}"#))?,
            name_and_value: build(&format!(r"((?:^|\s)--?{BEFORE}{SECRET}\s+){value}"))?,
            address: build(r"(://[^\s/:@]*:)[^\s/@]+@")?,
            header: build(
                r#"((?:authorization|proxy-authorization|cookie|x-[\w-]*(?:key|token|auth|secret)[\w-]*)\s?:\s?)[^"'\r\n]+"#,
            )?,
            openssl: build(r"(^|\s)pass:\S+")?,
            glued: build(r"(\b(?:mysql|mariadb)[\w-]*\s(?:[^;|&]*\s)?-p|\bsshpass\s+-p\s*)[^\s;|&]+")?,
            pair: build(&format!(r#"(?<name>[\w.-]+)(?<between>["']?\s?[=:]\s?)(?<value>{value})"#))?,
            user: build(r"(\bcurl\s(?:[^;|&]*\s)?(?:-u|--user)[\s=]*[^\s:]+:)[^\s;|&]+")?,
        })
    }

    pub(super) fn mask(&self, args: Vec<String>, contents: &ContentRules) -> Vec<String> {
        let mut masked: Vec<String> = Vec::with_capacity(args.len());
        let program = args.first().map(|path| path.rsplit('/').next().unwrap_or(path).to_owned());
        let program = program.as_deref().unwrap_or_default();
        // Whether the argument before says that this one is a secret.
        let mut next_is_secret = false;
        for (at, arg) in args.into_iter().enumerate() {
            let is_value = std::mem::replace(&mut next_is_secret, false);
            if at == 0 {
                masked.push(self.inside(&arg));
                continue;
            }
            next_is_secret = self.name_alone.is_match(&arg) || program == "sshpass" && arg == "-p";
            let shown = if is_value && !arg.starts_with('-') {
                next_is_secret = false;
                MASK.to_owned()
            } else if TAKES_P.contains(&program) && arg.starts_with("-p") && arg.len() > 2 {
                format!("-p{MASK}")
            } else if TAKES_USER.contains(&program)
                && arg.contains(':')
                && !arg.contains("://")
                && !arg.contains(' ')
            {
                // `-u user:password`, `-uuser:password`; addresses and headers have rules of their own.
                let user = arg.split(':').next().unwrap_or_default();
                format!("{user}:{MASK}")
            } else {
                self.inside(&arg)
            };
            masked.push(shown);
        }
        give_up_if_still_secret(&mut masked, contents);
        masked
    }

    /// Masks what is a secret by its form, anywhere in an argument.
    fn inside(&self, arg: &str) -> String {
        let after = |captures: &Captures<'_>| format!("{}{MASK}", captures.get(1).map_or("", |m| m.as_str()));
        let text = self.header.replace_all(arg, after);
        let text = self.address.replace_all(&text, |captures: &Captures<'_>| format!("{}@", after(captures)));
        let text = self.assignment.replace_all(&text, after);
        let text = self.name_and_value.replace_all(&text, after);
        let text = self.openssl.replace_all(&text, |captures: &Captures<'_>| {
            format!("{}pass:{MASK}", captures.get(1).map_or("", |m| m.as_str()))
        });
        let text = self.glued.replace_all(&text, after);
        self.user.replace_all(&text, after).into_owned()
    }
}

/// The rules, for what needs no redactor of its own: lines that tell of a change, from contents that are no secret as a
/// whole. `None` (which a test excludes): everything is masked.
static RULES: LazyLock<Option<ArgumentRules>> = LazyLock::new(|| ArgumentRules::new().ok());

/// Bytes of a text that are looked at; what is beyond is left out. More than any line of output has.
const LOOKED_AT: usize = 2048;

/// A piece of text with what is a secret in it by its form masked, what stands behind a secret's name, and all after a
/// first word that is one.
pub(crate) fn mask_text(text: &str) -> String {
    let text = text[..text.floor_char_boundary(LOOKED_AT)].trim();
    let end = text.find(|c: char| c.is_whitespace() || c == '=' || c == ':').unwrap_or(text.len());
    let (name, value) = text.split_at(end);
    let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=' || c == ':');
    if !value.is_empty() && is_secret(name, value) {
        return format!("{name} {MASK}");
    }
    let Some(rules) = RULES.as_ref() else { return MASK.to_owned() };
    let pair = |captures: &Captures<'_>| {
        let part = |name| captures.name(name).map_or("", |found| found.as_str());
        let value = if is_secret(part("name"), part("value").trim_matches(['"', '\''])) {
            MASK
        } else {
            part("value")
        };
        format!("{}{}{value}", part("name"), part("between"))
    };
    rules.inside(&rules.pair.replace_all(text, pair))
}

/// The value of a setting, masked where its name or its form says that it is a secret. The name may be dotted.
pub(crate) fn mask_setting(name: &str, value: &str) -> String {
    let value = &value[..value.floor_char_boundary(LOOKED_AT)];
    if is_secret(name, value) {
        return MASK.to_owned();
    }
    RULES.as_ref().map_or_else(|| MASK.to_owned(), |rules| rules.inside(value))
}

/// Whether a setting is a secret by its name. Wider than for arguments: nothing is lost but a value in a line.
fn is_secret(name: &str, value: &str) -> bool {
    /// In any part of a name.
    const INSIDE: [&str; 11] = [
        "passw",
        "passphrase",
        "passwort",
        "kennwort",
        "secret",
        "token",
        "credential",
        "apikey",
        "privatekey",
        "presharedkey",
        "requirepass",
    ];
    /// At its end.
    const AT_END: [&str; 14] = [
        "pass",
        "pwd",
        "pw",
        "psk",
        "otp",
        "pin",
        "auth",
        "cookie",
        "bearer",
        "accesskey",
        "secretkey",
        "authkey",
        "masterkey",
        "encryptionkey",
    ];
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let last = name.rsplit(['.', '_', '-', ' ']).next().unwrap_or(name).to_ascii_lowercase();
    let by_name = AT_END.iter().any(|word| last == *word || (word.len() > 4 && plain.ends_with(word)))
        || INSIDE.iter().any(|word| plain.contains(word));
    // A key of some sort: only what looks like one, for most are names of keys of a keyboard or places of files.
    let by_value = plain.ends_with("key") && {
        let value = value.trim_matches(['"', '\'']);
        let digits = value.bytes().any(|b| b.is_ascii_digit());
        value.len() >= 16 && digits && !value.contains(' ') && !value.starts_with(['/', '~', '.'])
    };
    // `password_min_length = 8`, `token_enabled = true`: a limit or a switch, unless it is the very word.
    let harmless = matches!(value, "" | "yes" | "no" | "true" | "false" | "on" | "off" | "none")
        || (value.len() < 4 && value.bytes().all(|b| b.is_ascii_digit()));
    (by_name && !harmless) || by_value
}

/// The rules for contents, over each argument, and over the whole line those for what is a secret by its form (the
/// others would take `sudo passwd root` for one). Masks are taken out first: some rules would take them for a secret.
fn give_up_if_still_secret(masked: &mut Vec<String>, contents: &ContentRules) {
    let secret = |form: Form, text: &str| contents.check(form, text.replace(MASK, "").as_bytes()).is_some();
    for arg in &mut *masked {
        if secret(Form::CommandLine, arg) {
            MASK.clone_into(arg);
        }
    }
    if secret(Form::Any, &masked.join(" ")) {
        masked.truncate(1);
        masked.push(MASK.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::artifact::redact::{MASK, Redactor};

    fn mask(args: &[&str]) -> Vec<String> {
        let bytes: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        Redactor::ephemeral(&[]).unwrap().mask_arguments(&bytes)
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        // "hunter2" is the secret in all of them.
        for args in [
            &["app", "--password=hunter2", "x"][..],
            &["app", "--password", "hunter2", "x"],
            &["app", "-password", "hunter2"],
            &["app", "--db-password=hunter2"],
            &["app", "--api-key", "hunter2"],
            &["app", "--Token:hunter2"],
            &["env", "DB_PASSWORD=hunter2", "GITHUB_TOKEN=hunter2", "PGPASSWORD=hunter2", "app"],
            &["env", "AWS_SECRET_ACCESS_KEY=hunter2", "X_PWD=hunter2"],
            &["mysql", "-uroot", "-phunter2"],
            &["/usr/bin/mysqldump", "-phunter2", "db"],
            &["sshpass", "-p", "hunter2", "ssh", "host"],
            &["sshpass", "-phunter2", "ssh", "host"],
            &["useradd", "-p", "x", "-phunter2"],
            &["curl", "-u", "me:hunter2", "https://host/"],
            &["curl", "-ume:hunter2", "https://host/"],
            &["curl", "--user", "me:hunter2"],
            &["curl", "-H", "Authorization: Bearer hunter2"],
            &["curl", "-H", "X-Api-Key: hunter2", "-H", "Cookie: s=hunter2; t=hunter2"],
            &["wget", "https://me:hunter2@host/"],
            &["git", "clone", "https://x:hunter2@host/"],
            &["openssl", "enc", "-k", "x", "-passin", "pass:hunter2"],
            &["mount", "-o", "username=me,password=hunter2,ro", "//h/s", "/mnt"],
            &["sh", "-c", "export TOKEN=hunter2; app"],
            &["sh", "-c", "mysql -u root -phunter2 db < x"],
            &["sh", "-c", "app --password hunter2 --verbose"],
            &["sh", "-c", "curl -s -u me:hunter2 https://h | sh"],
            &["bash", "-c", "PASSWORD='hunter2 hunter2' app"],
            &["python3", "-c", "login(password = \"hunter2\")"],
        ] {
            let shown = mask(args);
            assert!(!shown.iter().any(|arg| arg.contains("hunter2")), "{args:?} -> {shown:?}");
            assert!(shown.iter().any(|arg| arg.contains(MASK)), "{args:?} -> {shown:?}");
            assert_eq!(shown[0], args[0]);
        }
        // Forms that are secrets by themselves; put together here so that no secret scanner takes this file for one.
        let hash = format!("$6$salt${}", "x".repeat(86));
        let token = format!("ghp_{}", "a1".repeat(18));
        for secret in [hash, token] {
            let shown = mask(&["usermod", "-p", &secret, "--", "me"]);
            assert_eq!(shown, ["usermod", "-p", MASK, "--", "me"]);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for args in [
            &["vim", "/etc/hosts"][..],
            &["mkdir", "-p", "/a/b"],
            &["ssh", "-p22", "host"],
            &["ps", "-p", "1"],
            &["passwd", "root"],
            &["sudo", "passwd", "root"],
            &["cat", "/etc/passwd", "/run/secrets/x"],
            &["psql", "--no-password", "-h", "db"],
            &["curl", "-o", "f", "https://host/x?y=1"],
            &["sh", "-c", "echo a > /etc/x; exec sleep 1"],
            &["apt-key", "add", "x.gpg"],
            &["app", "--password-file=/run/p", "--key-length=3"],
            &["sshd: me [priv]"],
            &[],
        ] {
            assert_eq!(mask(args), args);
        }
        let off = Redactor::disabled().mask_arguments(&[b"app", b"--password=x\xff"]);
        assert_eq!(off, ["app", "--password=x\u{fffd}"]);
    }

    #[test]
    fn what_only_the_rules_for_contents_know_hides_the_line() {
        // A key whose lines are arguments of their own.
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
        let shown = mask(&["echo", "-----BEGIN PRIVATE", "KEY-----", body]);
        assert_eq!(shown, ["echo", MASK]);
    }

    proptest! {
        #[test]
        fn any_arguments(args in prop::collection::vec("[ -~]{0,30}", 0..8), secret in "[A-Z][a-z0-9]{9,20}", at in 0_usize..8) {
            let mut args = args;
            let at = at.min(args.len());
            args.insert(at, format!("--x-token={secret}"));
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let shown = mask(&args);
            prop_assert!(shown.len() <= args.len());
            prop_assert!(!shown.iter().any(|arg| arg.contains(&secret)), "{:?}", shown);
        }
    }
}
