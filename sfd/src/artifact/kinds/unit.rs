//! Units of systemd and their drop-ins.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{ArtifactInput, Body, Draft, Facts, text};

const TYPES: [&[u8]; 11] = [
    b"service",
    b"socket",
    b"target",
    b"timer",
    b"mount",
    b"automount",
    b"path",
    b"slice",
    b"scope",
    b"swap",
    b"device",
];

/// Whether a path lies in a directory of units: `.../systemd/{system,user}` or deeper in it.
pub(super) fn by_place(path: &Path) -> bool {
    let mut parts = path.parent().into_iter().flat_map(Path::iter).rev();
    // unit directory, or `X.service.d`, `X.target.wants` in it
    let Some(last) = parts.next() else { return false };
    let one_deeper =
        [&b".d"[..], b".wants", b".requires", b".upholds"].iter().any(|s| last.as_bytes().ends_with(s));
    let dir = if one_deeper { parts.next() } else { Some(last) };
    let system = dir.is_some_and(|d| {
        let d = d.as_bytes();
        d.starts_with(b"system") || d.starts_with(b"user") || d.starts_with(b"generator")
    });
    system && parts.next().is_some_and(|d| d == "systemd")
}

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    if !input.is_file() || !by_place(input.path) {
        return false;
    }
    TYPES.contains(&input.extension()) || (input.extension() == b"conf" && drop_in(input).is_some())
}

/// The unit that a drop-in belongs to.
fn drop_in<'a>(input: &'a ArtifactInput<'_>) -> Option<&'a [u8]> {
    input.path.parent()?.file_name()?.as_bytes().strip_suffix(b".d")
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let of = drop_in(input).map(|u| String::from_utf8_lossy(u).into_owned());
    let unit_type = of.as_deref().map_or_else(
        || String::from_utf8_lossy(input.extension()).into_owned(),
        |u| u.rsplit('.').next().unwrap_or(u).to_owned(),
    );
    let body = input.text().unwrap_or_default();
    let value = |key: &str| values(body, key).next().map(|v| text::clean(v, 100));
    let name = input.shown_name();
    let title = match (&of, value("Description")) {
        (Some(of), _) => format!("drop-in of {of}"),
        (None, Some(description)) => description,
        (None, None) => name.into_owned(),
    };
    let mut facts = vec![format!("systemd {unit_type}")];
    for (key, word) in [
        ("Type", "type"),
        ("ExecStart", "runs"),
        ("User", "as user"),
        ("ListenStream", "listens on"),
        ("ListenDatagram", "listens on"),
        ("What", "of"),
        ("Where", "at"),
        ("PathExists", "when there is"),
        ("PathChanged", "when there is a change of"),
        ("PathModified", "when there is a change of"),
        ("DirectoryNotEmpty", "when there is something in"),
        ("OnCalendar", "at"),
        ("OnBootSec", "after boot by"),
        ("OnUnitActiveSec", "again after"),
        ("Unit", "starts"),
        ("WantedBy", "wanted by"),
    ] {
        if let Some(value) = value(key) {
            facts.push(format!("{word} {value}"));
        }
    }
    let draft = Draft::new(title, format!("{}.", facts.join(", "))).tag("systemd").tag(unit_type);
    if of.is_some() { draft.tag("drop-in") } else { draft }
}

/// The values of a key, in order: `Key=value`; an empty one takes back those before it and is left out here.
fn values<'a>(body: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    body.lines()
        .filter_map(|l| l.trim().split_once('='))
        .filter(move |(k, v)| k.trim_end() == key && !v.trim().is_empty())
        .map(|(_, v)| v.trim())
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    const KEYS: [&str; 34] = [
        "Description",
        "Type",
        "ExecStartPre",
        "ExecStart",
        "ExecStartPost",
        "ExecReload",
        "ExecStop",
        "User",
        "Group",
        "DynamicUser",
        "Restart",
        "OnCalendar",
        "OnBootSec",
        "OnStartupSec",
        "OnUnitActiveSec",
        "Persistent",
        "Unit",
        "ListenStream",
        "ListenDatagram",
        "ListenFIFO",
        "PathExists",
        "PathChanged",
        "PathModified",
        "DirectoryNotEmpty",
        "What",
        "Where",
        "EnvironmentFile",
        "CapabilityBoundingSet",
        "AmbientCapabilities",
        "NoNewPrivileges",
        "ProtectSystem",
        "PrivateTmp",
        "RootDirectory",
        "Alias",
    ];
    let joined = text::joined(body.text);
    let mut facts = Facts::default();
    for key in KEYS {
        facts.list(key, values(&joined, key));
    }
    for (name, keys) in [
        ("needs", &["Requires", "Requisite", "BindsTo", "PartOf", "Wants"][..]),
        ("starts after", &["After"]),
        ("wanted by", &["WantedBy", "RequiredBy", "UpheldBy"]),
        ("not together with", &["Conflicts"]),
        ("only if", &["ConditionPathExists", "ConditionVirtualization", "ConditionKernelCommandLine"]),
    ] {
        facts.list(name, keys.iter().flat_map(|key| values(&joined, key)));
    }
    facts
}
