//! Secret by place.
//!
//! A name is also tried without what editors, package managers and password tools add to it while they work: a secret is
//! no less one in `shadow-`, `.shadow.swp` or `id_ed25519.bak`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use super::Redaction;

/// Places of private keys and key stores.
const KEYS: [&str; 24] = [
    "**/ssh_host_*_key",
    "**/.ssh/id_*",
    "**/.ssh/identity",
    "**/ssl/private/**",
    "**/tls/private/**",
    "**/pki/private/**",
    "**/*.key",
    "**/*.ppk",
    "**/*.p12",
    "**/*.pfx",
    "**/*.jks",
    "**/*.keystore",
    "**/*.kdbx",
    "**/*.kdb",
    "**/*.keytab",
    "**/privkey*.pem",
    "**/.gnupg/private-keys-v1.d/**",
    "**/.gnupg/secring.gpg",
    "**/etc/ipsec.d/private/**",
    "**/etc/swanctl/private/**",
    "**/etc/wireguard/*.conf",
    "**/.config/sops/age/keys.txt",
    "**/.local/share/keyrings/**",
    "**/etc/credstore.encrypted/**",
];

/// Places of passwords, password hashes and tokens.
const SECRETS: [&str; 54] = [
    "**/etc/{,n,g,ng}shadow*",
    "**/{,n,g,ng}shadow",
    "**/opasswd",
    "**/nopasswd",
    "**/etc/credstore/**",
    "**/.aws/credentials",
    "**/.netrc",
    "**/_netrc",
    "**/.pgpass",
    "**/.my.cnf",
    "**/.mylogin.cnf",
    "**/mysql/debian.cnf",
    "**/.docker/config.json",
    "**/.dockercfg",
    "**/.config/containers/auth.json",
    "**/.kube/config",
    "**/kubeconfig",
    "**/*.kubeconfig",
    "**/etc/kubernetes/*.conf",
    "**/rancher/k3s/k3s.yaml",
    "**/.git-credentials",
    "**/.config/git/credentials",
    "**/.config/gh/hosts.yml",
    "**/.config/gcloud/credentials.db",
    "**/.config/gcloud/access_tokens.db",
    "**/.config/gcloud/application_default_credentials.json",
    "**/.config/gcloud/legacy_credentials/**",
    "**/.azure/accessTokens.json",
    "**/.azure/msal_token_cache.*",
    "**/.terraform.d/credentials.tfrc.json",
    "**/NetworkManager/system-connections/**",
    "**/wpa_supplicant*.conf",
    "**/etc/iwd/**",
    "**/var/lib/iwd/**",
    "**/etc/ppp/*-secrets",
    "**/etc/ipsec.secrets",
    "**/.vault-token",
    "**/.npmrc",
    "**/.pypirc",
    "**/.gem/credentials",
    "**/.cargo/credentials{,.toml}",
    "**/.m2/settings-security.xml",
    "**/.htpasswd",
    "**/htpasswd",
    "**/.smbcredentials",
    "**/private/*.tdb",
    "**/etc/apt/auth.conf",
    "**/etc/apt/auth.conf.d/**",
    "**/exim4/passwd.client",
    "**/postfix/sasl_passwd*",
    "**/debconf/passwords.dat",
    "**/.config/rclone/rclone.conf",
    "**/lib/systemd/credential.secret",
    "**/lib/systemd/random-seed",
];

/// What is added behind a name. Longest first where one ends in another.
const SUFFIXES: [&str; 27] = [
    ".swp", ".swo", ".swn", ".swx", ".bak", ".backup", ".old", ".orig", ".save", ".tmp", ".temp", ".new",
    ".edit", ".lock", ".rpmsave", ".rpmnew", ".rpmorig", ".pacnew", ".pacsave", ".gz", ".xz", ".zst", ".bz2",
    "~", "-", "+", "#",
];
/// What package managers put behind a name, followed by a word of their own.
const TAGS: [&str; 3] = [".dpkg-", ".ucf-", ".cfsaved-"];
/// A name can have been saved over several times; more layers than this are not peeled.
const LAYERS_MAX: usize = 6;

/// The texts of all rules on paths.
pub(super) fn texts() -> impl Iterator<Item = &'static str> {
    [&KEYS[..], &SECRETS, &SUFFIXES, &TAGS].into_iter().flatten().copied()
}

/// The path rules, compiled.
pub(super) struct PathRules {
    set: GlobSet,
    sorts: Vec<Redaction>,
}

impl PathRules {
    pub(super) fn new(extra: &[String]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        let mut sorts = Vec::new();
        let extra = extra.iter().map(|g| {
            let glob = if g.contains('/') { g.clone() } else { format!("**/{g}") };
            (glob, Redaction::UserGlob)
        });
        let keys = KEYS.iter().map(|g| ((*g).to_owned(), Redaction::KeyPath));
        let secrets = SECRETS.iter().map(|g| ((*g).to_owned(), Redaction::SecretPath));
        for (glob, sort) in keys.chain(secrets).chain(extra) {
            set.add(GlobBuilder::new(&glob).literal_separator(true).empty_alternates(true).build()?);
            sorts.push(sort);
        }
        Ok(Self { set: set.build()?, sorts })
    }

    pub(super) fn check(&self, path: &Path) -> Option<Redaction> {
        let bare = peel(path);
        // Public halves lie beside the private ones under the same name.
        if bare.iter().any(|p| is_public(p)) || is_public(path) {
            return None;
        }
        self.check_as(path).or_else(|| bare.iter().find_map(|p| self.check_as(p)))
    }

    fn check_as(&self, path: &Path) -> Option<Redaction> {
        let matches = self.set.matches_candidate(&Candidate::new(path));
        matches.first().map(|n| self.sorts[*n])
    }
}

fn is_public(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "pub")
}

/// The path without what tools add to a name; nothing when nothing is added.
fn peel(path: &Path) -> Vec<PathBuf> {
    let Some(whole) = path.file_name().map(OsStr::as_bytes) else { return Vec::new() };
    let mut name = whole;
    if let Some(rest) = name.strip_prefix(b".#") {
        // systemd's temporary files: `.#name` and 16 random hexadecimal digits. Emacs' locks have no digits.
        name = rest;
        if let Some((front, tail)) = name.split_at_checked(name.len().wrapping_sub(16))
            && !front.is_empty()
            && tail.iter().all(u8::is_ascii_hexdigit)
        {
            name = front;
        }
    } else if let Some(rest) = name.strip_prefix(b"#") {
        name = rest;
    }
    for _ in 0..LAYERS_MAX {
        let Some(shorter) = peel_once(name) else { break };
        name = shorter;
    }
    let mut bare = Vec::new();
    if !name.is_empty() && name.len() != whole.len() {
        bare.push(path.with_file_name(OsStr::from_bytes(name)));
    }
    // Vim hides its swap files: `.shadow.swp`. Whether the dot was there before cannot be known, so both are tried.
    if let Some(undotted) = name.strip_prefix(b".").filter(|n| !n.is_empty() && name.len() != whole.len()) {
        bare.push(path.with_file_name(OsStr::from_bytes(undotted)));
    }
    bare
}

fn peel_once(name: &[u8]) -> Option<&[u8]> {
    for suffix in SUFFIXES {
        if let Some(front) = name.strip_suffix(suffix.as_bytes())
            && !front.is_empty()
        {
            return Some(front);
        }
    }
    for tag in TAGS {
        if let Some(at) = name.windows(tag.len()).rposition(|w| w == tag.as_bytes())
            && at > 0
        {
            return Some(&name[..at]);
        }
    }
    // `shadow.1234` (a lock's process number), `shadow.1` (logrotate), `shadow.20261122`.
    let digits = name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let front = &name[..name.len() - digits];
    match front.strip_suffix(b".") {
        Some(front) if digits > 0 && !front.is_empty() => Some(front),
        _ => None,
    }
}
