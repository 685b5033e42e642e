//! Certificates that have expired or will soon.

use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ArtifactInput, Findings, LOW, MEDIUM, is_packages_own};
use crate::artifact::kinds::text::clean;

/// So long before the end, an expiry is said. Certificates that renew themselves do so at a third of their life: 30 days
/// before the end of a usual one of 90 days.
const SOON_S: i64 = 14 * 86_400;
/// A file with more certificates is a collection of others', in which some are always out of date.
const OWN_MAX: usize = 8;
/// Directories of certificates of others that are trusted: what has expired there is trusted no more, and that is all.
const OF_OTHERS: [&str; 8] = [
    "/ca-certificates/",
    "/etc/ssl/certs/",
    "/etc/pki/ca-trust/",
    "/etc/ca-certificates/",
    "/cacert",
    "/certifi/",
    "/trusted-key.key",
    "/site-packages/",
];

pub(super) fn judge(input: &ArtifactInput<'_>, found: &mut Findings) {
    let path = input.path.to_string_lossy();
    if input.now_ns <= 0 || is_packages_own(input) || OF_OTHERS.iter().any(|dir| path.contains(dir)) {
        return;
    }
    let now_s = input.now_ns / 1_000_000_000;
    if !input.head.starts_with(b"-----") && input.text().is_none() {
        if let Ok((_, certificate)) = X509Certificate::from_der(input.head) {
            expiry(&certificate, now_s, found);
        }
        return;
    }
    let pems: Vec<Pem> = Pem::iter_from_buffer(input.head).flatten().take(OWN_MAX + 1).collect();
    if pems.len() > OWN_MAX {
        return;
    }
    for pem in pems.iter().filter(|pem| pem.label.ends_with("CERTIFICATE")) {
        // A trusted certificate has more bytes behind it.
        if let Ok((_, certificate)) = X509Certificate::from_der(&pem.contents) {
            expiry(&certificate, now_s, found);
        }
    }
}

fn expiry(certificate: &X509Certificate<'_>, now_s: i64, found: &mut Findings) {
    let end_s = certificate.validity().not_after.timestamp();
    let until =
        jiff::Timestamp::from_second(end_s).map(|at| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default();
    let who = clean(&certificate.subject().to_string(), 80);
    if end_s < now_s {
        found.add(MEDIUM, format!("the certificate of {who} has expired ({until})"));
    } else if end_s - now_s < SOON_S {
        found.add(LOW, format!("the certificate of {who} expires soon ({until})"));
    }
}
