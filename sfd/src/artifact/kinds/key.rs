//! Keys and other secrets. Of secret contents nothing is seen here: the redactor has already decided.

use super::{ArtifactInput, Draft};

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

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file()
        && (input.redacted.is_some_and(super::Redaction::is_key)
            || PUBLIC.iter().any(|p| input.head.starts_with(p))
            || private_unhidden(input))
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
    Draft::new(format!("public key {name}"), "Public key.").tag("public-key")
}

/// Passwords and tokens by place; by contents only where the place says nothing better.
pub(super) fn is_secret(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && input.redacted.is_some()
}

pub(super) fn describe_secret(input: &ArtifactInput<'_>) -> Draft {
    Draft::new(input.shown_name(), "File with passwords or access tokens.").tag("credentials")
}
