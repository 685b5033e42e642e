//! Kinds of artifacts, one small module each.
//!
//! A kind *matches* by place, first bytes and file type, and *describes* from facts in the contents. The table
//! [`RULES`] names them in order of precedence; the last rules match everything. Adding a kind is one file, one line in
//! the table and one in [`Kind`].
//!
//! Everything here is total and bounded: whatever the bytes are, no rule panics, and none looks at more than
//! [`head_wanted`] bytes.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::view::{Nature, ProcessFacts};
use super::{FileType, Meta, Packaged, Redaction, Risk, Semantics, SemanticsSource};

mod accounts;
mod archive;
mod certificate;
mod config;
mod cron;
mod cron_words;
mod data;
mod elf;
mod elf_dynamic;
mod facts;
mod fstab;
mod group;
mod hosts;
mod kernel_module;
mod key;
mod loader;
mod log;
mod logrotate;
mod modprobe;
mod module_image;
mod node;
mod nsswitch;
mod package_database;
mod package_source;
mod pam;
mod plain;
mod process;
mod projection;
mod resolver;
pub(crate) mod risk;
mod script;
mod shell_settings;
mod sockets;
mod sshd;
mod sudoers;
mod sysctl_file;
mod text;
mod tmpfiles;
mod udev;
mod unit;

use facts::{Body, Facts};
pub use facts::{FACTS_MAX, Fact};
pub(crate) use kernel_module::{Module, by_name as is_module_name, examine as examine_module};
pub(crate) use sockets::address as socket_address;
pub use text::clean;
pub(crate) use text::invisible;

/// A summary has at most this many characters.
pub const SUMMARY_CHARS_MAX: usize = 240;
/// A title has at most this many characters.
pub const TITLE_CHARS_MAX: usize = 80;
/// An artifact has at most this many tags ...
pub const TAGS_MAX: usize = 8;
/// ... of at most this many characters each.
pub const TAG_CHARS_MAX: usize = 32;
/// Kinds see this much of the beginning of a file, in bytes: enough for every header and for nearly every file of
/// configuration as a whole.
pub const HEAD_BYTES: usize = 64 << 10;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal $name:literal,)+) => {
        /// A kind. The code is the G channel of its pixels: never renumbered, never used again; 0 means free.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant = $code,)+
        }

        impl Kind {
            /// Every kind, by code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in JSON, the catalog and the documents.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it is, for the table in `docs/kinds.md`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

kinds! {
    /// Directory.
    Directory = 1 "directory",
    /// Symbolic link.
    Symlink = 2 "symlink",
    /// Device node, named pipe or socket.
    Special = 3 "special",
    /// File without contents.
    Empty = 4 "empty",
    /// ELF program.
    ElfExecutable = 5 "elf_executable",
    /// ELF shared library.
    SharedLibrary = 6 "shared_library",
    /// Kernel module.
    KernelModule = 7 "kernel_module",
    /// Other ELF file: object, core dump, debug symbols.
    ElfOther = 8 "elf_other",
    /// Script with an interpreter line.
    Script = 9 "script",
    /// Unit of systemd, or a drop-in of one.
    SystemdUnit = 10 "systemd_unit",
    /// Private key or key store (redacted), or a public key.
    Key = 11 "key",
    /// Certificate, certificate request or revocation list.
    Certificate = 12 "certificate",
    /// Passwords or tokens (redacted).
    Secret = 13 "secret",
    /// JSON document.
    Json = 14 "json",
    /// TOML document.
    Toml = 15 "toml",
    /// YAML document.
    Yaml = 16 "yaml",
    /// INI-style configuration.
    Ini = 17 "ini",
    /// Other configuration.
    Config = 18 "config",
    /// Text.
    Text = 19 "text",
    /// Binary data.
    Binary = 20 "binary",
    /// Process.
    Process = 21 "process",
    /// Projection of a file of /proc.
    ProcProjection = 22 "proc_projection",
    /// Sysctl value.
    Sysctl = 23 "sysctl",
    /// Archive or compressed file.
    Archive = 24 "archive",
    /// File whose contents could not be read.
    Unread = 25 "unread",
    /// Timed jobs of cron: a table of them, or a script in a directory of them.
    Cron = 26 "cron",
    /// SSH server configuration.
    SshdConfig = 27 "sshd_config",
    /// Rules of sudo.
    Sudoers = 28 "sudoers",
    /// User accounts (passwd).
    Accounts = 29 "accounts",
    /// Groups and their members.
    Groups = 30 "groups",
    /// Authentication stack of a service (PAM).
    Pam = 31 "pam",
    /// File systems mounted at boot (fstab).
    Fstab = 32 "fstab",
    /// Static host names (hosts).
    Hosts = 33 "hosts",
    /// DNS resolver configuration (resolv.conf).
    Resolver = 34 "resolver",
    /// Name service switch (nsswitch.conf).
    Nsswitch = 35 "nsswitch",
    /// Kernel settings applied at boot (sysctl.conf, sysctl.d).
    SysctlFile = 36 "sysctl_file",
    /// Sources of packages: apt (lists and deb822) and yum.
    PackageSource = 37 "package_source",
    /// Package database: of dpkg, apt or rpm.
    PackageDatabase = 38 "package_database",
    /// Log.
    Log = 39 "log",
    /// Table of sockets of the kernel.
    SocketTable = 40 "socket_table",
    /// Kernel modules that are loaded.
    ModuleList = 41 "module_list",
    /// File systems that are mounted.
    MountTable = 42 "mount_table",
    /// Where programs look for libraries, and what is loaded into all of them (ld.so).
    LoaderConfig = 43 "loader_config",
    /// Rules for devices (udev).
    UdevRules = 44 "udev_rules",
    /// Which kernel modules are loaded, blocked, and with what options.
    ModprobeConfig = 45 "modprobe_config",
    /// Settings of login shells and sessions.
    ShellSettings = 46 "shell_settings",
    /// Rotation of logs (logrotate).
    Logrotate = 47 "logrotate",
    /// Files made, changed and removed at boot (tmpfiles.d).
    Tmpfiles = 48 "tmpfiles",
}

impl Kind {
    /// Its code in the G channel.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with a code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.code() == code)
    }

    /// The kind with a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.name() == name)
    }

    /// Whether it says how the host or a program is to behave.
    pub const fn is_configuration(self) -> bool {
        matches!(
            self,
            Self::SystemdUnit
                | Self::Json
                | Self::Toml
                | Self::Yaml
                | Self::Ini
                | Self::Config
                | Self::Sysctl
                | Self::Cron
                | Self::SshdConfig
                | Self::Sudoers
                | Self::Accounts
                | Self::Groups
                | Self::Pam
                | Self::Fstab
                | Self::Hosts
                | Self::Resolver
                | Self::Nsswitch
                | Self::SysctlFile
                | Self::PackageSource
                | Self::LoaderConfig
                | Self::UdevRules
                | Self::ModprobeConfig
                | Self::ShellSettings
                | Self::Logrotate
                | Self::Tmpfiles
        )
    }
}

/// What the rules get to see of an artifact.
#[derive(Clone, Debug)]
pub struct ArtifactInput<'a> {
    /// Absolute path.
    pub path: &'a Path,
    /// Metadata.
    pub meta: &'a Meta,
    /// What it is by its place.
    pub nature: &'a Nature,
    /// The beginning of the contents, at most [`head_wanted`] bytes; empty when redacted. For a symbolic link its
    /// target.
    pub head: &'a [u8],
    /// `head` is all there is.
    pub whole: bool,
    /// Length of the contents in bytes.
    pub len: u64,
    /// Why the contents are secret, if they are.
    pub redacted: Option<Redaction>,
    /// For the directory of a process.
    pub process: Option<&'a ProcessFacts>,
    /// The pseudo file system that a directory is on.
    pub boundary: Option<&'static str>,
    /// The contents could not be read.
    pub unread: bool,
    /// Whether a package of this host owns the path.
    pub packaged: Packaged,
    /// Now, nanoseconds since the Unix epoch: what has expired depends on it.
    pub now_ns: i64,
    /// The head as text, once a rule has asked: nearly every one does. Begins empty.
    pub decoded: OnceCell<Option<&'a str>>,
}

impl ArtifactInput<'_> {
    fn name(&self) -> &[u8] {
        self.path.file_name().map_or(&b"/"[..], OsStrExt::as_bytes)
    }

    fn shown_name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.name())
    }

    fn extension(&self) -> &[u8] {
        self.path.extension().map_or(&b""[..], OsStr::as_bytes)
    }

    fn is_file(&self) -> bool {
        self.meta.file_type == FileType::File
    }

    /// The head as text, when it is text. A character cut in two at the end of the head is left out.
    fn text(&self) -> Option<&str> {
        *self.decoded.get_or_init(|| text::of(self.head, self.whole))
    }
}

/// What a rule says; [`describe`] cleans and limits it.
#[derive(Clone, Debug, Default)]
struct Draft {
    title: String,
    summary: String,
    tags: Vec<String>,
    risk: Risk,
}

impl Draft {
    fn new(title: impl Into<String>, summary: impl Into<String>) -> Self {
        Self { title: title.into(), summary: summary.into(), ..Self::default() }
    }

    fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    fn risk(mut self, level: u8, reason: impl Into<String>) -> Self {
        self.risk.level = self.risk.level.max(level);
        self.risk.reasons.push(reason.into());
        self
    }
}

/// One line of the table.
struct Rule {
    kind: Kind,
    /// Where such files are ([`is_at`]); none: anywhere.
    places: &'static [&'static str],
    matches: fn(&ArtifactInput<'_>) -> bool,
    describe: fn(&ArtifactInput<'_>) -> Draft,
    facts: fn(&Body<'_>) -> Facts,
}

const fn rule(
    kind: Kind,
    matches: fn(&ArtifactInput<'_>) -> bool,
    describe: fn(&ArtifactInput<'_>) -> Draft,
) -> Rule {
    Rule { kind, places: &[], matches, describe, facts: facts::none }
}

/// A text, and no `README` in a directory of configuration.
fn is_text_file(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && !input.name().starts_with(b"README") && input.text().is_some()
}

/// A kind of text file that is known by its place.
const fn placed(
    kind: Kind,
    places: &'static [&'static str],
    describe: fn(&ArtifactInput<'_>) -> Draft,
    facts: fn(&Body<'_>) -> Facts,
) -> Rule {
    Rule { kind, places, matches: is_text_file, describe, facts }
}

impl Rule {
    const fn facts(self, facts: fn(&Body<'_>) -> Facts) -> Self {
        Self { facts, ..self }
    }

    const fn at(self, places: &'static [&'static str]) -> Self {
        Self { places, ..self }
    }

    fn applies(&self, input: &ArtifactInput<'_>) -> bool {
        (self.places.is_empty() || self.places.iter().any(|place| is_at(input.path, place)))
            && (self.matches)(input)
    }
}

/// The kinds, first match wins.
const RULES: [Rule; 48] = [
    rule(Kind::Process, process::matches, process::describe),
    rule(Kind::Directory, node::is_directory, node::describe_directory),
    rule(Kind::Symlink, node::is_symlink, node::describe_symlink),
    rule(Kind::Special, node::is_special, node::describe_special),
    rule(Kind::Sysctl, projection::is_sysctl, projection::describe_sysctl).facts(projection::sysctl_facts),
    rule(Kind::SocketTable, sockets::matches, sockets::describe).facts(sockets::facts),
    rule(Kind::ModuleList, modprobe::is_list, modprobe::describe_list).facts(modprobe::list_facts),
    rule(Kind::MountTable, fstab::is_mounts, fstab::describe_mounts).facts(fstab::mount_facts),
    rule(Kind::ProcProjection, projection::matches, projection::describe).facts(projection::facts),
    rule(Kind::Unread, plain::is_unread, plain::describe_unread),
    rule(Kind::Key, key::matches, key::describe).facts(key::facts),
    rule(Kind::KernelModule, kernel_module::matches, kernel_module::describe).facts(kernel_module::facts),
    rule(Kind::SystemdUnit, unit::matches, unit::describe).facts(unit::facts),
    rule(Kind::Secret, key::is_secret, key::describe_secret),
    rule(Kind::Empty, plain::is_empty, plain::describe_empty),
    placed(Kind::Cron, cron::PLACES, cron::describe, cron::facts),
    placed(Kind::SshdConfig, sshd::PLACES, sshd::describe, sshd::facts),
    placed(Kind::Sudoers, sudoers::PLACES, sudoers::describe, sudoers::facts),
    placed(Kind::Accounts, accounts::PLACES, accounts::describe, accounts::facts),
    placed(Kind::Groups, group::PLACES, group::describe, group::facts),
    placed(Kind::Pam, pam::PLACES, pam::describe, pam::facts),
    placed(Kind::Fstab, fstab::PLACES, fstab::describe, fstab::facts),
    placed(Kind::Hosts, hosts::PLACES, hosts::describe, hosts::facts),
    placed(Kind::Resolver, resolver::PLACES, resolver::describe, resolver::facts),
    placed(Kind::Nsswitch, nsswitch::PLACES, nsswitch::describe, nsswitch::facts),
    placed(Kind::SysctlFile, sysctl_file::PLACES, sysctl_file::describe, sysctl_file::facts),
    placed(Kind::PackageSource, package_source::PLACES, package_source::describe, package_source::facts),
    rule(Kind::PackageDatabase, package_database::matches, package_database::describe)
        .at(package_database::PLACES)
        .facts(package_database::facts),
    placed(Kind::LoaderConfig, loader::PLACES, loader::describe, loader::facts),
    placed(Kind::UdevRules, udev::PLACES, udev::describe, udev::facts),
    placed(Kind::ModprobeConfig, modprobe::PLACES, modprobe::describe, modprobe::facts),
    placed(Kind::ShellSettings, shell_settings::PLACES, shell_settings::describe, shell_settings::facts),
    placed(Kind::Logrotate, logrotate::PLACES, logrotate::describe, logrotate::facts),
    placed(Kind::Tmpfiles, tmpfiles::PLACES, tmpfiles::describe, tmpfiles::facts),
    rule(Kind::SharedLibrary, elf::is_library, elf::describe_library).facts(elf_dynamic::facts),
    rule(Kind::ElfExecutable, elf::is_executable, elf::describe_executable).facts(elf_dynamic::facts),
    rule(Kind::ElfOther, elf::is_elf, elf::describe_other).facts(elf_dynamic::facts),
    rule(Kind::Script, script::matches, script::describe).facts(script::facts),
    rule(Kind::Certificate, certificate::matches, certificate::describe).facts(certificate::facts),
    rule(Kind::Archive, archive::matches, archive::describe).facts(archive::facts),
    rule(Kind::Log, log::matches, log::describe).facts(log::facts),
    rule(Kind::Json, data::is_json, data::describe_json).facts(data::json_facts),
    rule(Kind::Toml, data::is_toml, data::describe_toml).facts(data::toml_facts),
    rule(Kind::Yaml, data::is_yaml, data::describe_yaml).facts(data::yaml_facts),
    rule(Kind::Ini, config::is_ini, config::describe_ini).facts(config::facts),
    rule(Kind::Config, config::matches, config::describe).facts(config::facts),
    rule(Kind::Text, plain::is_text, plain::describe_text).facts(plain::text_facts),
    rule(Kind::Binary, |_| true, plain::describe_binary).facts(plain::binary_facts),
];

/// Whether these are the whole contents of a text: UTF-8 with hardly any control characters.
pub fn is_text(contents: &[u8]) -> bool {
    text::of(contents, true).is_some()
}

/// How much of the beginning of a file its kind wants to see, in bytes.
pub fn head_wanted(path: &Path) -> usize {
    if kernel_module::by_name(path) { kernel_module::BYTES_MAX } else { HEAD_BYTES }
}

/// Whether a path is at a place: `etc/hosts` is a file of that name in any directory `etc`, `sysctl.d/` everything
/// directly in such a directory, and `var/log/**` everything below one.
fn is_at(path: &Path, place: &str) -> bool {
    let path = path.as_os_str().as_bytes();
    if let Some(above) = place.strip_suffix("**") {
        let above = above.as_bytes();
        return path.windows(above.len() + 1).any(|w| w[0] == b'/' && &w[1..] == above);
    }
    let end = if place.ends_with('/') {
        &path[..path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1)]
    } else {
        path
    };
    end.strip_suffix(place.as_bytes()).is_some_and(|before| before.ends_with(b"/"))
}

/// What of a directory's path decides about the kinds of what is in it. Two places that are equal give a file of the
/// same name and contents the same kind and description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    unit: bool,
    etc: bool,
    known: Option<&'static str>,
    places: Vec<&'static str>,
}

/// The place of a path.
pub fn place(path: &Path) -> Place {
    let all = RULES.iter().flat_map(|rule| rule.places).chain(&log::PLACES).copied();
    Place {
        unit: unit::by_place(path),
        etc: config::below_etc(path),
        known: config::known(path),
        places: all.filter(|place| is_at(path, place)).collect(),
    }
}

fn rule_of(input: &ArtifactInput<'_>) -> &'static Rule {
    RULES.iter().find(|rule| rule.applies(input)).unwrap_or(&RULES[RULES.len() - 1])
}

/// What the contents say, at most [`FACTS_MAX`] facts; none when they are redacted or could not be read.
///
/// Facts follow from the contents and the kind alone, never from path, owner or times: what a model says about them
/// is shared by every path with the same contents. More than [`head_wanted`] bytes may be given as the head, and some
/// kinds then know more: the table of libraries of a program is at its end.
pub fn facts(input: &ArtifactInput<'_>) -> Vec<Fact> {
    if input.redacted.is_some() || input.unread {
        return Vec::new();
    }
    (rule_of(input).facts)(&Body::of(input)).into_vec()
}

/// The facts of whole contents whose kind is known: of what is in a brick, without its file.
pub fn facts_of(kind: Kind, contents: &[u8]) -> Vec<Fact> {
    let body = Body { bytes: contents, whole: true, text: text::of(contents, true).unwrap_or_default() };
    let rule = RULES.iter().find(|rule| rule.kind == kind);
    rule.map(|rule| (rule.facts)(&body).into_vec()).unwrap_or_default()
}

/// Describes an artifact by rules alone.
pub fn describe(input: &ArtifactInput<'_>) -> Semantics {
    let rule = rule_of(input);
    let mut draft = (rule.describe)(input);
    if let Some(redaction) = input.redacted {
        draft.summary = format!("{} Contents are redacted: {}.", draft.summary, redaction.reason());
        draft.tags.insert(0, "redacted".to_owned());
    }
    risk::judge(rule.kind, input, &mut draft);
    let mut tags: Vec<String> = Vec::new();
    for tag in draft.tags.iter().map(|t| clean(t, TAG_CHARS_MAX).to_lowercase()) {
        if tags.len() < TAGS_MAX && !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let mut reasons: Vec<String> = draft.risk.reasons.iter().map(|r| clean(r, SUMMARY_CHARS_MAX)).collect();
    reasons.truncate(TAGS_MAX);
    Semantics {
        kind: rule.kind,
        title: clean(&draft.title, TITLE_CHARS_MAX),
        summary: clean(&draft.summary, SUMMARY_CHARS_MAX),
        tags,
        risk: Risk { level: draft.risk.level.min(4), reasons },
        source: SemanticsSource::Heuristic,
        answered: None,
    }
}

#[cfg(test)]
mod tests;
