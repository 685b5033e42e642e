//! Package databases: what dpkg, apt and rpm know.

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &[
    "var/lib/dpkg/status",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/available",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/diversions",
    "var/lib/dpkg/statoverride",
    "var/lib/dpkg/info/",
    "var/lib/dpkg/status.d/",
    "var/lib/apt/lists/",
    "var/lib/apt/extended_states",
    "var/lib/rpm/",
    "sysimage/rpm/",
];

/// Scripts of packages are scripts; a lock or an empty table is none of this.
pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && !input.head.starts_with(b"#!")
}

/// Values of a field at the beginning of lines: `Package: bash`.
fn field<'a>(body: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    body.lines().filter_map(move |l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Files of `info/`, by what their name ends in.
const INFO: [(&str, &str); 8] = [
    ("list", "files of"),
    ("md5sums", "checksums of"),
    ("conffiles", "configuration files of"),
    ("shlibs", "libraries of"),
    ("symbols", "symbols of"),
    ("triggers", "triggers of"),
    ("templates", "questions of"),
    ("config", "questions of"),
];

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let name = input.shown_name();
    let body = input.text().unwrap_or_default();
    let size = text::size(input.len);
    let known = name.rsplit_once('.').and_then(|(package, end)| {
        INFO.iter().find(|(e, _)| *e == end).map(|(_, what)| format!("{what} package {package}"))
    });
    if let Some(what) = known {
        let lines = text::lines(body, input.whole);
        return Draft::new(what.clone(), format!("Package database: {what}, {lines}.")).tag("packages");
    }
    let packages = field(body, "Package").count();
    if packages == 0 {
        return Draft::new(format!("package database {name}"), format!("Package database, {size}."))
            .tag("packages");
    }
    let n = text::count(packages, input.whole, "package");
    let broken: Vec<&str> = field(body, "Status").filter(|s| *s != "install ok installed").collect();
    let said =
        if broken.is_empty() { String::new() } else { format!(", {} not fully installed", broken.len()) };
    let first = text::list(field(body, "Package"), 3);
    Draft::new(
        format!("package database: {n}"),
        format!("Package database, {size}: {n}{said}, beginning with {first}."),
    )
    .tag("packages")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    let (text, whole) = (body.text, body.whole);
    if body.bytes.starts_with(b"SQLite format 3\0") {
        facts.say("format", "SQLite");
    } else if text.starts_with('/') {
        let paths = || text.lines().filter(|l| l.starts_with('/'));
        facts.say("paths", text::count(paths().count(), whole, "path"));
        facts.list("programs", paths().filter(|p| p.contains("/bin/") || p.contains("/sbin/")));
        facts.list("configuration", paths().filter(|p| p.starts_with("/etc/") && p.matches('/').count() > 2));
        facts.list("units", paths().filter(|p| p.contains("/systemd/system/")));
    } else if text.lines().next().is_some_and(is_md5_line) {
        facts.say("checksums", text::count(text.lines().count(), whole, "file"));
        facts.list("files", text.lines().filter_map(|l| l.split_once("  ")).map(|(_, path)| path));
    } else {
        let count = field(text, "Package").count();
        if count > 0 {
            facts.say("packages", text::count(count, whole, "package"));
            facts.list("not fully installed", field(text, "Status").filter(|s| *s != "install ok installed"));
            facts.list("names", field(text, "Package"));
        }
        for (name, key) in [
            ("origin", "Origin"),
            ("suite", "Suite"),
            ("codename", "Codename"),
            ("date", "Date"),
            ("valid until", "Valid-Until"),
        ] {
            facts.list(name, field(text, key).take(1));
        }
    }
    facts
}

/// `0123456789abcdef0123456789abcdef  usr/bin/x`
fn is_md5_line(line: &str) -> bool {
    line.split_once("  ")
        .is_some_and(|(sum, _)| sum.len() == 32 && sum.bytes().all(|b| b.is_ascii_hexdigit()))
}
