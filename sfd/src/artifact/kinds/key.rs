//! Keys and other secrets. Of secret contents nothing is seen here: the redactor has already decided.

use super::{ArtifactInput, Body, Draft, Facts, is_at, text};

const PUBLIC: [&[u8]; 8] = [
    b"ssh-rsa ",
    b"ssh-ed25519 ",
    b"ssh-dss ",
    b"ecdsa-sha2-",
    b"sk-ssh-ed25519@",
    b"sk-ecdsa-sha2-",
    b"-----BEGIN PUBLIC KEY-----",
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
];

/// Whose keys may log in (sshd(8)).
const AUTHORIZED: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file()
        && (input.redacted.is_some_and(super::Redaction::is_key)
            || PUBLIC.iter().any(|p| input.head.starts_with(p))
            || private_unhidden(input)
            || is_authorized(input))
}

fn is_authorized(input: &ArtifactInput<'_>) -> bool {
    input.redacted.is_none()
        && input.len > 0
        && AUTHORIZED.iter().any(|place| is_at(input.path, place))
        && input.text().is_some()
}

/// A public key of ssh in one line: options, type, and comment.
struct Line<'a> {
    options: &'a str,
    sort: &'a str,
    comment: &'a str,
}

fn lines(body: &str) -> impl Iterator<Item = Line<'_>> {
    text::settings(body).filter_map(|line| {
        // Options may hold blanks in quotation marks: the type is what follows a blank or the beginning.
        let at = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().filter_map(|sort| {
            let found = line.match_indices(sort).map(|(at, _)| at);
            found.into_iter().find(|at| *at == 0 || line[..*at].ends_with([' ', '\t']))
        });
        let (options, key) = line.split_at(at.min()?);
        let mut words = key.splitn(3, char::is_whitespace);
        let (sort, _key, comment) = (words.next()?, words.next()?, words.next().unwrap_or_default());
        Some(Line { options: options.trim(), sort, comment: comment.trim() })
    })
}

fn named(line: &Line<'_>) -> String {
    let options = if line.options.is_empty() { String::new() } else { format!(", {}", line.options) };
    let comment = if line.comment.is_empty() { "without a name" } else { line.comment };
    format!("{comment} ({}{options})", line.sort)
}

/// A private key where redaction is off.
fn private_unhidden(input: &ArtifactInput<'_>) -> bool {
    let first = &input.head[..input.head.len().min(64)];
    first.starts_with(b"-----BEGIN ") && first.windows(15).any(|w| w == b"PRIVATE KEY----")
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let name = input.shown_name();
    if input.redacted.is_some() || private_unhidden(input) {
        return Draft::new(format!("private key {name}"), "Private key or key store.").tag("private-key");
    }
    let body = input.text().unwrap_or_default();
    let shown = text::list(lines(body).map(|l| named(&l)), 3);
    if is_authorized(input) {
        let n = text::count(lines(body).count(), input.whole, "public ssh key");
        return Draft::new(
            format!("{n} may log in"),
            format!("Keys that may log in as this user, {n}: {shown}."),
        )
        .tag("public-key")
        .tag("login");
    }
    let what = if shown.is_empty() { "Public key.".to_owned() } else { format!("Public key of {shown}.") };
    Draft::new(format!("public key {name}"), what).tag("public-key")
}

/// Passwords and tokens by place; by contents only where the place says nothing better.
pub(super) fn is_secret(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && input.redacted.is_some()
}

pub(super) fn describe_secret(input: &ArtifactInput<'_>) -> Draft {
    Draft::new(input.shown_name(), "File with passwords or access tokens.").tag("credentials")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    // A private key that is shown because redaction is off says nothing to a model all the same.
    for line in lines(body.text).take(20) {
        facts.say("public key", named(&line));
    }
    facts
}
