//! Certificates: recognised, not yet parsed.

use super::{ArtifactInput, Draft};

const ARMOURS: [(&str, &str); 6] = [
    ("-----BEGIN CERTIFICATE-----", "certificate"),
    ("-----BEGIN TRUSTED CERTIFICATE-----", "certificate"),
    ("-----BEGIN X509 CERTIFICATE-----", "certificate"),
    ("-----BEGIN CERTIFICATE REQUEST-----", "certificate request"),
    ("-----BEGIN NEW CERTIFICATE REQUEST-----", "certificate request"),
    ("-----BEGIN X509 CRL-----", "revocation list"),
];

fn armour(input: &ArtifactInput<'_>) -> Option<(&'static str, usize)> {
    let text = input.text()?;
    let (mark, what) = ARMOURS.iter().find(|(mark, _)| text.contains(mark))?;
    // Text about certificates holds the line somewhere inside one; a certificate begins a line with it.
    let count = text.lines().filter(|l| l.trim() == *mark).count();
    (count > 0).then_some((*what, count))
}

fn der(input: &ArtifactInput<'_>) -> bool {
    // SEQUENCE of a two-byte length, holding a SEQUENCE: X.509's outermost two.
    matches!(input.head, [0x30, 0x82, a, b, 0x30, ..] if u64::from(u16::from_be_bytes([*a, *b])) + 4 == input.len)
        && matches!(input.extension(), b"der" | b"crt" | b"cer" | b"crl" | b"cert")
}

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && (armour(input).is_some() || der(input))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let name = input.shown_name();
    match armour(input) {
        Some((what, 1)) => Draft::new(format!("{what} {name}"), format!("One {what} (PEM).")),
        Some((what, n)) => {
            let n = if input.whole { n.to_string() } else { format!("more than {n}") };
            Draft::new(format!("{n} {what}s"), format!("{name}: {n} {what}s (PEM).")).tag("bundle")
        }
        None => Draft::new(format!("certificate {name}"), "Certificate or revocation list (DER)."),
    }
    .tag("x509")
}
