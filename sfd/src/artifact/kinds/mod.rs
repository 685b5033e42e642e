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
use super::{FileType, Meta, Redaction, Risk, Semantics, SemanticsSource};

mod archive;
mod certificate;
mod config;
mod data;
mod elf;
mod kernel_module;
mod key;
mod node;
mod plain;
mod process;
mod projection;
mod risk;
mod script;
mod text;
mod unit;

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

/// One thing that the contents of an artifact say, such as the licence of a kernel module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about, such as `licence`.
    pub name: &'static str,
    /// At most [`SUMMARY_CHARS_MAX`] characters, clean.
    pub value: String,
}

/// One line of the table.
struct Rule {
    kind: Kind,
    matches: fn(&ArtifactInput<'_>) -> bool,
    describe: fn(&ArtifactInput<'_>) -> Draft,
}

const fn rule(
    kind: Kind,
    matches: fn(&ArtifactInput<'_>) -> bool,
    describe: fn(&ArtifactInput<'_>) -> Draft,
) -> Rule {
    Rule { kind, matches, describe }
}

/// The kinds, first match wins.
const RULES: [Rule; 25] = [
    rule(Kind::Process, process::matches, process::describe),
    rule(Kind::Directory, node::is_directory, node::describe_directory),
    rule(Kind::Symlink, node::is_symlink, node::describe_symlink),
    rule(Kind::Special, node::is_special, node::describe_special),
    rule(Kind::Sysctl, projection::is_sysctl, projection::describe_sysctl),
    rule(Kind::ProcProjection, projection::matches, projection::describe),
    rule(Kind::Unread, plain::is_unread, plain::describe_unread),
    rule(Kind::Key, key::matches, key::describe),
    rule(Kind::KernelModule, kernel_module::matches, kernel_module::describe),
    rule(Kind::SystemdUnit, unit::matches, unit::describe),
    rule(Kind::Secret, key::is_secret, key::describe_secret),
    rule(Kind::Empty, plain::is_empty, plain::describe_empty),
    rule(Kind::SharedLibrary, elf::is_library, elf::describe_library),
    rule(Kind::ElfExecutable, elf::is_executable, elf::describe_executable),
    rule(Kind::ElfOther, elf::is_elf, elf::describe_other),
    rule(Kind::Script, script::matches, script::describe),
    rule(Kind::Certificate, certificate::matches, certificate::describe),
    rule(Kind::Archive, archive::matches, archive::describe),
    rule(Kind::Json, data::is_json, data::describe_json),
    rule(Kind::Toml, data::is_toml, data::describe_toml),
    rule(Kind::Yaml, data::is_yaml, data::describe_yaml),
    rule(Kind::Ini, config::is_ini, config::describe_ini),
    rule(Kind::Config, config::matches, config::describe),
    rule(Kind::Text, plain::is_text, plain::describe_text),
    rule(Kind::Binary, |_| true, plain::describe_binary),
];

/// Whether these are the whole contents of a text: UTF-8 with hardly any control characters.
pub fn is_text(contents: &[u8]) -> bool {
    text::of(contents, true).is_some()
}

/// How much of the beginning of a file its kind wants to see, in bytes.
pub fn head_wanted(path: &Path) -> usize {
    if kernel_module::by_name(path) { kernel_module::BYTES_MAX } else { HEAD_BYTES }
}

/// What of a directory's path decides about the kinds of what is in it. Two places that are equal give a file of the
/// same name and contents the same kind and description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    unit: bool,
    etc: bool,
    known: Option<&'static str>,
}

/// The place of a path.
pub fn place(path: &Path) -> Place {
    Place { unit: unit::by_place(path), etc: config::below_etc(path), known: config::known(path) }
}

/// Describes an artifact by rules alone.
pub fn describe(input: &ArtifactInput<'_>) -> Semantics {
    let rule = RULES.iter().find(|r| (r.matches)(input)).unwrap_or(&RULES[RULES.len() - 1]);
    let mut draft = (rule.describe)(input);
    if let Some(redaction) = input.redacted {
        draft.summary = format!("{} Contents are redacted: {}.", draft.summary, redaction.reason());
        draft.tags.insert(0, "redacted".to_owned());
    }
    risk::of_metadata(rule.kind, input, &mut draft);
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
pub fn facts(_: &ArtifactInput<'_>) -> Vec<Fact> {
    Vec::new()
}
