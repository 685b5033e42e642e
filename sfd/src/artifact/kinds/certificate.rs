//! Certificates, requests and revocation lists: for whom, by whom, until when.

use jiff::Timestamp;
use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate, X509CertificationRequest};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::{ArtifactInput, Body, Draft, Facts, text};

/// So many certificates of a bundle are read; the list of those that Debian trusts has about 140.
const READ_MAX: usize = 300;
/// So many other names of one are shown.
const NAMES_MAX: usize = 8;

const ARMOURS: [(&str, &str); 6] = [
    ("-----BEGIN CERTIFICATE-----", "certificate"),
    ("-----BEGIN TRUSTED CERTIFICATE-----", "certificate"),
    ("-----BEGIN X509 CERTIFICATE-----", "certificate"),
    ("-----BEGIN CERTIFICATE REQUEST-----", "certificate request"),
    ("-----BEGIN NEW CERTIFICATE REQUEST-----", "certificate request"),
    ("-----BEGIN X509 CRL-----", "revocation list"),
];

fn armour(text: &str) -> Option<(&'static str, usize)> {
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
    input.is_file() && (input.text().and_then(armour).is_some() || der(input))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let name = input.shown_name();
    let armour = input.text().and_then(armour);
    let draft = match armour {
        Some((what, n)) if n > 1 => {
            let n = if input.whole { n.to_string() } else { format!("more than {n}") };
            Draft::new(format!("{n} {what}s"), format!("{name}: {n} {what}s (PEM).")).tag("bundle")
        }
        _ => {
            if let Some(one) = read(input.head, 1).pop() {
                one.describe()
            } else {
                let what = armour.map_or("certificate or revocation list", |(what, _)| what);
                Draft::new(format!("{what} {name}"), format!("One {what}, which could not be read."))
            }
        }
    };
    draft.tag("x509")
}

/// What is said of a certificate, a request or a revocation list. Empty: it does not have it.
#[derive(Default)]
struct Said {
    what: &'static str,
    subject: String,
    issuer: String,
    from: String,
    until: String,
    key: String,
    signature: String,
    serial: String,
    names: Vec<String>,
    revoked: Option<usize>,
}

impl Said {
    fn describe(self) -> Draft {
        let who = if self.subject.is_empty() { &self.issuer } else { &self.subject };
        let mut parts = vec![format!("{} for {}", self.what, text::clean(who, 60))];
        if self.what == "certificate revocation list" {
            parts = vec![format!("{} of {}", self.what, text::clean(who, 60))];
        }
        if !self.issuer.is_empty() && self.issuer != *who {
            parts.push(format!("by {}", text::clean(&self.issuer, 60)));
        }
        for (word, value) in [("valid until", &self.until), ("", &self.key)] {
            if !value.is_empty() {
                parts.push(format!("{word} {value}").trim().to_owned());
            }
        }
        let until = if self.until.is_empty() { String::new() } else { format!(", until {}", self.until) };
        let mut draft = Draft::new(
            format!("{}{until}", text::clean(who, 60)),
            format!("{}.", capital(&parts.join(", "))),
        );
        if self.what == "CA certificate" {
            draft = draft.tag("ca");
        }
        if !self.subject.is_empty() && self.subject == self.issuer {
            draft = draft.tag("self-signed");
        }
        draft
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The first `max` of what is in some bytes, PEM or DER. What cannot be read is left out.
fn read(bytes: &[u8], max: usize) -> Vec<Said> {
    if !bytes.starts_with(&[0x30]) {
        let blocks = Pem::iter_from_buffer(bytes).take(max).map_while(Result::ok);
        return blocks.filter_map(|pem| said(&pem.contents)).collect();
    }
    said(bytes).into_iter().collect()
}

fn said(der: &[u8]) -> Option<Said> {
    if let Ok((_, certificate)) = X509Certificate::from_der(der) {
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map_or_else(Vec::new, |extension| {
            extension.value.general_names.iter().take(NAMES_MAX).map(ToString::to_string).collect()
        });
        return Some(Said {
            what: if certificate.is_ca() { "CA certificate" } else { "certificate" },
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            from: day(certificate.validity().not_before),
            until: day(certificate.validity().not_after),
            key: key(certificate.public_key()),
            signature: algorithm(&certificate.signature_algorithm.algorithm.to_id_string()),
            serial: certificate.raw_serial_as_string(),
            names,
            revoked: None,
        });
    }
    if let Ok((_, list)) = CertificateRevocationList::from_der(der) {
        return Some(Said {
            what: "certificate revocation list",
            issuer: name(list.issuer()),
            from: day(list.last_update()),
            until: list.next_update().map(day).unwrap_or_default(),
            revoked: Some(list.iter_revoked_certificates().count()),
            ..Said::default()
        });
    }
    let (_, request) = X509CertificationRequest::from_der(der).ok()?;
    let info = &request.certification_request_info;
    Some(Said {
        what: "certificate request",
        subject: name(&info.subject),
        key: key(&info.subject_pki),
        ..Said::default()
    })
}

/// The common name, or else the organisation, or else all of it.
fn name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().find_map(|n| n.as_str().ok());
    let unit = || name.iter_organizational_unit().find_map(|n| n.as_str().ok());
    let organisation = || name.iter_organization().find_map(|n| n.as_str().ok());
    common.or_else(unit).or_else(organisation).map_or_else(|| name.to_string(), str::to_owned)
}

fn day(time: ASN1Time) -> String {
    // Years beyond 9999 stand for "never" (RFC 5280, 4.1.2.5).
    Timestamp::from_second(time.timestamp())
        .map_or_else(|_| "never".to_owned(), |t| t.strftime("%Y-%m-%d").to_string())
}

fn key(key: &SubjectPublicKeyInfo<'_>) -> String {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA key of {} bits", rsa.key_size()),
        Ok(PublicKey::EC(point)) => format!("elliptic-curve key of {} bits", point.key_size()),
        Ok(PublicKey::DSA(_)) => "DSA key".to_owned(),
        _ => match key.algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => "Ed25519 key".to_owned(),
            "1.3.101.113" => "Ed448 key".to_owned(),
            other => format!("key of type {other}"),
        },
    }
}

/// Names of signature algorithms (RFC 3279, 4055, 5758, 8410).
fn algorithm(oid: &str) -> String {
    let name = match oid {
        "1.2.840.113549.1.1.4" => "MD5 with RSA",
        "1.2.840.113549.1.1.5" => "SHA-1 with RSA",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.11" => "SHA-256 with RSA",
        "1.2.840.113549.1.1.12" => "SHA-384 with RSA",
        "1.2.840.113549.1.1.13" => "SHA-512 with RSA",
        "1.2.840.10045.4.3.2" => "SHA-256 with ECDSA",
        "1.2.840.10045.4.3.3" => "SHA-384 with ECDSA",
        "1.2.840.10045.4.3.4" => "SHA-512 with ECDSA",
        "1.3.101.112" => "Ed25519",
        other => other,
    };
    name.to_owned()
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    let all = read(body.bytes, READ_MAX);
    if let [one] = &all[..] {
        facts.say("what", one.what);
        for (name, value) in [
            ("subject", &one.subject),
            ("issuer", &one.issuer),
            ("valid from", &one.from),
            ("valid until", &one.until),
            ("key", &one.key),
            ("signature", &one.signature),
            ("serial number", &one.serial),
        ] {
            facts.say(name, value);
        }
        facts.list("other names", &one.names);
        if let Some(n) = one.revoked {
            facts.say("revoked", text::count(n, true, "certificate"));
        }
        return facts;
    }
    facts.say("certificates", text::count(all.len(), body.whole, "certificate"));
    for one in &all {
        facts.say("certificate", format!("{}, until {}, {}", one.subject, one.until, one.key));
    }
    facts
}
