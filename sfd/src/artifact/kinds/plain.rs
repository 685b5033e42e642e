//! What is left when nothing more special matches: empty, unreadable, text, binary.

use super::{ArtifactInput, Draft, text};

pub(super) fn is_unread(input: &ArtifactInput<'_>) -> bool {
    input.unread
}

pub(super) fn describe_unread(input: &ArtifactInput<'_>) -> Draft {
    Draft::new(input.shown_name(), format!("File of {} that could not be read.", text::size(input.meta.size)))
}

pub(super) fn is_empty(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && input.len == 0
}

pub(super) fn describe_empty(input: &ArtifactInput<'_>) -> Draft {
    Draft::new(input.shown_name(), "Empty file.")
}

pub(super) fn is_text(input: &ArtifactInput<'_>) -> bool {
    input.text().is_some_and(|t| !t.is_empty())
}

pub(super) fn describe_text(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let first =
        body.lines().map(str::trim).find(|l| l.chars().any(char::is_alphanumeric)).unwrap_or_default();
    // A line can be as long as the head; the summary is not.
    let first = text::clean(first, 120);
    let lines = text::lines(body, input.whole);
    Draft::new(input.shown_name(), format!("Text, {lines}, {}. Begins: {first}", text::size(input.len)))
}

pub(super) fn describe_binary(input: &ArtifactInput<'_>) -> Draft {
    let what = if input.redacted.is_some() { "File" } else { "Binary data" };
    Draft::new(input.shown_name(), format!("{what}, {}.", text::size(input.len)))
}
