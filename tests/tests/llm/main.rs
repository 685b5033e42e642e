//! The client of language models, and a daemon with one, against a real llama-server, an Ollama-protocol double in front of it, and servers that
//! fail in every way known.
//!
//! Needs llama.cpp's llama-server (`SFD_LLAMA_SERVER`, or on the path); the model is in `fixtures/llm`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use sfd::agent::disk_view;
use sfd::artifact::{Artifact, Look, LookOptions, Looker, Redactor};
use sfd::enrich::{AskError, Client, Excerpt, LlmConfig, Question};

mod answers;
mod doctor;
mod faults;
mod injection;
mod live;
mod servers;

/// For a good answer on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn config(url: &str) -> LlmConfig {
    LlmConfig { url: url.to_owned(), timeout: PATIENCE, ..LlmConfig::default() }
}

fn connect(url: &str) -> Result<Client, AskError> {
    runtime().block_on(Client::connect(&config(url)))
}

/// What rules say of files, as the daemon looks at them.
fn look(paths: impl IntoIterator<Item = PathBuf>) -> Vec<Artifact> {
    let mut view = disk_view(Path::new("/"), &[]).unwrap();
    let mut looker = Looker::new(LookOptions::default(), Redactor::ephemeral(&[]).unwrap());
    let look = |path: PathBuf| match looker.look(&mut view, &path, None, true) {
        Look::Changed(artifact) => Some(*artifact),
        _ => None,
    };
    paths.into_iter().filter_map(look).collect()
}

/// The question about a file: with nothing of its contents when they are secret.
fn question_of(artifact: &Artifact) -> Question {
    let contents =
        if artifact.redacted { Vec::new() } else { std::fs::read(&artifact.path).unwrap_or_default() };
    Question {
        kind: artifact.semantics.kind,
        facts: Vec::new(),
        excerpt: Excerpt::of(&contents),
        len: artifact.len,
    }
}

/// A question about nothing in particular.
fn some_question() -> Question {
    let contents =
        b"[Unit]\nDescription=OpenBSD Secure Shell server\n[Service]\nExecStart=/usr/sbin/sshd -D\n";
    Question {
        kind: sfd::artifact::kinds::Kind::SystemdUnit,
        facts: Vec::new(),
        excerpt: Excerpt::of(contents),
        len: contents.len() as u64,
    }
}
