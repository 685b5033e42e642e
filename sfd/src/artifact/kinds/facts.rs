//! Facts: what contents say, name by name. For `sfd explain` and for what a model is asked.

use serde::Serialize;

use super::{ArtifactInput, SUMMARY_CHARS_MAX, text};

/// An artifact has at most this many facts; what comes later is left out. A model's prompt has room for about as many.
pub const FACTS_MAX: usize = 24;
/// So many values of one fact are shown; of the rest the number.
const VALUES_SHOWN: usize = 8;

/// One thing that the contents of an artifact say, such as the licence of a kernel module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about, such as `licence`.
    pub name: &'static str,
    /// At most [`SUMMARY_CHARS_MAX`] characters, clean.
    pub value: String,
}

/// What facts are made of: contents, and nothing of where they are.
pub(super) struct Body<'a> {
    /// The beginning of the contents.
    pub bytes: &'a [u8],
    /// `bytes` is all there is.
    pub whole: bool,
    /// `bytes` as text, or nothing of it when it is none.
    pub text: &'a str,
}

impl<'a> Body<'a> {
    pub(super) fn of(input: &'a ArtifactInput<'_>) -> Self {
        let text = input.text().unwrap_or_default();
        Self { bytes: input.head, whole: input.whole, text }
    }
}

/// Collects facts within the limits.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<Fact>);

impl Facts {
    /// Adds a fact, unless there is nothing to say or no room.
    pub(super) fn say(&mut self, name: &'static str, value: impl AsRef<str>) {
        let value = text::clean(value.as_ref(), SUMMARY_CHARS_MAX);
        if !value.is_empty() && self.0.len() < FACTS_MAX {
            self.0.push(Fact { name, value });
        }
    }

    /// The same for several values under one name.
    pub(super) fn list<S: AsRef<str>>(&mut self, name: &'static str, values: impl IntoIterator<Item = S>) {
        self.say(name, text::list(values, VALUES_SHOWN));
    }

    pub(super) fn into_vec(self) -> Vec<Fact> {
        self.0
    }
}

/// Of kinds whose contents say nothing by themselves.
pub(super) fn none(_: &Body<'_>) -> Facts {
    Facts::default()
}
