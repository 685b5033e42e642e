//! Keeping what small text files held before they changed.
//!
//! Nothing is stored of what *is*: that is in the brick. When a change is drafted, the contents before it are still
//! there, in the brick or in an earlier step of the same draft; they are taken if they have the hash of their row.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;

use super::RootKind;
use super::root::Root;
use crate::artifact::kinds::is_text;
use crate::artifact::meaning::{self, TEXT_BYTES_MAX};
use crate::artifact::redact::contents::Form;
use crate::artifact::{Artifact, FileType};
use crate::brick::catalog::VERSION_BYTES_MAX;
use crate::brick::{Missing, Row, Version, VersionLimits};

/// How much of earlier contents is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionConfig {
    /// Largest contents, in bytes; 0: none are kept.
    pub bytes_max: u64,
    /// What is kept of them.
    pub limits: VersionLimits,
}

impl Default for VersionConfig {
    fn default() -> Self {
        Self {
            bytes_max: VERSION_BYTES_MAX,
            // 64 MiB of compressed configuration is tens of thousands of changes, and little beside the history itself.
            // A file that changes every minute must not push out what others were.
            limits: VersionLimits { per_artifact: 50, bytes: 64 << 20, age_ns: 90 * 86_400 * 1_000_000_000 },
        }
    }
}

impl Root {
    /// Sets how much of earlier contents is kept.
    pub(super) fn set_versions(&mut self, config: VersionConfig) {
        self.versions = config;
        self.brick.limit_versions(config.limits);
    }

    /// The contents of an artifact that is about to have other ones, with the hash `after`.
    pub(super) fn contents_before(&self, row: &Row, path: &Path, after: [u8; 32]) -> Result<Bytes, Missing> {
        if row.content_hash == after { Err(Missing::NotHeld) } else { self.contents_of(row, path) }
    }

    /// The contents of an artifact as the draft or the brick hold them, if they are to be kept.
    pub(super) fn contents_of(&self, row: &Row, path: &Path) -> Result<Bytes, Missing> {
        let redactor = self.looker.redactor();
        if row.redacted {
            return Err(Missing::Redacted);
        }
        // Without redaction nothing tells what is secret, and what is kept stays for months.
        if self.kind == RootKind::Proc || self.versions.bytes_max == 0 || !redactor.enabled() {
            return Err(Missing::Off);
        }
        if !has_contents(row) {
            return Err(Missing::NotHeld);
        }
        if row.len > self.versions.bytes_max.min(VERSION_BYTES_MAX) {
            return Err(Missing::Large);
        }
        if !row.exact {
            // Where the brick has few cells a file is a digest already at a smaller size.
            return Err(if row.unverified.is_none() { Missing::Large } else { Missing::NotHeld });
        }
        let bytes = self.cells_of(row).ok_or(Missing::NotHeld)?;
        if !is_text(&bytes) {
            return Err(Missing::Binary);
        }
        // It was not secret when it was read, but perhaps under another name.
        let secret = row.meta.file_type == FileType::File
            && (redactor.by_path(path).is_some()
                || redactor.by_content(Form::of(path, &self.view.nature(path)), &bytes).is_some());
        if secret { Err(Missing::Redacted) } else { Ok(bytes) }
    }

    /// What an artifact's cells hold, if those are its very contents.
    pub(super) fn cells_of(&self, row: &Row) -> Option<Bytes> {
        let bytes = match self.draft.filled(row.id) {
            Some(bytes) => bytes.clone(),
            None => self.brick.cells(row.block.start, row.len).into(),
        };
        row.proves(&bytes).then_some(bytes)
    }

    /// What the change of an artifact means, a line each. `before` are its contents until now, if they may be kept; those
    /// of `/proc` never are, so they are had from the brick here.
    pub(super) fn meaning_of(
        &self,
        old: &Row,
        before: &Result<Bytes, Missing>,
        artifact: &Artifact,
    ) -> Vec<String> {
        let after = &artifact.cells;
        let is_whole = artifact.exact && !artifact.redacted && artifact.len == after.len() as u64;
        if !is_whole || !has_contents(old) || old.content_hash == artifact.content_hash {
            return Vec::new();
        }
        let before = match before {
            Ok(bytes) => bytes.clone(),
            Err(_) if self.kind == RootKind::Proc => {
                // Without redaction nothing tells what is secret, and a line of history stays for months.
                let may = self.looker.redactor().enabled() && old.exact && !old.redacted;
                let short = old.len <= TEXT_BYTES_MAX as u64;
                let held = if may && short { self.cells_of(old) } else { None };
                let Some(bytes) = held else { return Vec::new() };
                bytes
            }
            Err(_) => return Vec::new(),
        };
        meaning::of(artifact.semantics.kind, &artifact.path, &before, after)
    }

    /// Drafts what was before a line of history that tells of changed contents: `before` is the artifact then with its
    /// contents, `after` what it is now.
    pub(super) fn keep_version(
        &mut self,
        line: Option<usize>,
        before: Option<(&Row, Result<Bytes, Missing>)>,
        after: Option<&Row>,
    ) {
        let Some(line) = line.filter(|_| self.kind == RootKind::Tree) else { return };
        let (before, contents) = match before {
            Some((row, contents)) => (Some(row), contents),
            None => (None, Ok(Bytes::new())),
        };
        let Some(artifact) = before.or(after).map(|row| row.id) else { return };
        let hash = |row: Option<&Row>| row.filter(|row| has_contents(row)).map(|row| row.content_hash);
        let (before, after) = (hash(before), hash(after));
        if before != after {
            self.draft.version(Version { line, artifact, before, after, contents });
        }
    }

    /// An artifact that is secret from now on must not have been readable before.
    pub(super) fn note_secret(&mut self, row: &Row, path: &Path, was_redacted: bool) {
        if row.redacted && !was_redacted {
            self.draft.secret(row.id, path.as_os_str().as_bytes().to_vec());
        }
    }
}

/// Whether an artifact's cells are contents at all, not metadata.
fn has_contents(row: &Row) -> bool {
    matches!(row.meta.file_type, FileType::File | FileType::Symlink)
}
