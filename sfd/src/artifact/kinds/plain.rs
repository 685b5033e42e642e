//! What is left when nothing more special matches: empty, unreadable, text, binary.

use super::{ArtifactInput, Body, Draft, Facts, text};

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

pub(super) fn text_facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.say("lines", text::lines(body.text, body.whole));
    facts.say("words", text::count(body.text.split_whitespace().count(), body.whole, "word"));
    let headings = body.text.lines().filter(|l| l.starts_with("# ") || l.starts_with("## "));
    facts.list("headings", headings.map(|l| l.trim_start_matches('#')));
    facts
}

pub(super) fn describe_binary(input: &ArtifactInput<'_>) -> Draft {
    let size = text::size(input.len);
    if input.redacted.is_some() {
        return Draft::new(input.shown_name(), format!("File, {size}."));
    }
    match format(input.head) {
        Some((what, group)) => {
            Draft::new(input.shown_name(), format!("Binary data ({what}), {size}.")).tag(group)
        }
        None => Draft::new(input.shown_name(), format!("Binary data, {size}.")),
    }
}

/// The format of some bytes, and the group that it belongs to.
fn format(head: &[u8]) -> Option<(&'static str, &'static str)> {
    /// What `infer` does not know and every host has.
    const MORE: [(&[u8], &str, &str); 6] = [
        (b"\xde\x12\x04\x95", "gettext translations", "translations"),
        (b"\x95\x04\x12\xde", "gettext translations", "translations"),
        (b"TZif", "time zone", "time-zone"),
        (b"\x1a\x01", "terminal description", "terminfo"),
        (b"\x1e\x02", "terminal description", "terminfo"),
        (b"GVariant", "GVariant database", "database"),
    ];
    if let Some((_, what, group)) = MORE.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Some((what, group));
    }
    // The bytes of a compiled Python file end their first word with a line end.
    if head.get(2..4) == Some(b"\r\n") && head.len() > 16 {
        return Some(("compiled Python", "python"));
    }
    let found = infer::get(head)?;
    let group = match found.matcher_type() {
        infer::MatcherType::Image => "image",
        infer::MatcherType::Font => "font",
        infer::MatcherType::Audio => "audio",
        infer::MatcherType::Video => "video",
        infer::MatcherType::Archive => "archive",
        infer::MatcherType::Doc | infer::MatcherType::Book => "document",
        _ => "data",
    };
    Some((found.mime_type(), group))
}

pub(super) fn binary_facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    facts.say("format", format(body.bytes).map(|(what, _)| what).unwrap_or_default());
    facts
}
