//! Why an operator should care about a change: what became risky, who did it, and what runs by itself from now on.
//!
//! Pure: both states of the artifact, the line of history and the socket tables before and after are arguments. The
//! levels and the reasons for them are listed in `docs/risk.md`.

use std::borrow::Cow;
use std::path::Path;

use crate::artifact::kinds::risk::{
    self, HIGH, LOW, MEDIUM, SET_GID, SET_UID, WORLD_WRITE, is_unsigned, loaded_modules, runs_by_itself,
};
use crate::artifact::kinds::{Kind, clean};
use crate::artifact::{FileType, Packaged, Risk};
use crate::brick::{HistoryRow, Row, Verb};
use crate::collect::Writer;

/// Programs that install packages. Changes that are theirs, or their scripts', are what an operator asked for.
const PACKAGE_MANAGERS: [&str; 16] = [
    "/usr/bin/dpkg",
    "/usr/bin/dpkg-deb",
    "/usr/bin/dpkg-divert",
    "/usr/bin/dpkg-statoverride",
    "/usr/bin/apt",
    "/usr/bin/apt-get",
    "/usr/bin/aptitude",
    "/usr/bin/unattended-upgrade",
    "/usr/bin/rpm",
    "/usr/bin/dnf",
    "/usr/bin/dnf5",
    "/usr/bin/yum",
    "/usr/bin/zypper",
    "/usr/bin/pacman",
    "/usr/sbin/apk",
    "/usr/bin/apk",
];
/// Set-user-ID programs by which users change files of root's, as they are meant to. Their real user is who calls them.
const FOR_USERS: [&str; 10] = [
    "/usr/bin/passwd",
    "/usr/bin/chsh",
    "/usr/bin/chfn",
    "/usr/bin/gpasswd",
    "/usr/bin/chage",
    "/usr/bin/crontab",
    "/usr/bin/sudo",
    "/usr/bin/su",
    "/usr/sbin/unix_chkpwd",
    "/usr/bin/pkexec",
];
/// Most reasons of one line.
const REASONS_MAX: usize = 8;

/// A change as it is judged.
pub(super) struct Change<'a> {
    /// The line of history so far.
    pub(super) line: &'a HistoryRow,
    /// The artifact before; `None`: there was none.
    pub(super) before: Option<&'a Row>,
    /// The artifact now; `None`: it is gone.
    pub(super) after: Option<&'a Row>,
    /// Whether a package owns the path.
    pub(super) packaged: Packaged,
    /// Contents of a table of `/proc` before and after, with its name.
    pub(super) table: Option<(&'a str, &'a str, &'a str)>,
}

/// What is thought of a change.
#[derive(Debug)]
pub(super) struct Judged {
    /// Its risk, with its own reasons only.
    pub(super) risk: Risk,
    /// A package manager made it.
    pub(super) is_installed: bool,
}

/// Judges a change.
pub(super) fn judge(change: &Change<'_>) -> Judged {
    let mut reasons = Reasons::default();
    let mut is_installed = false;
    if let Some((name, before, after)) = change.table {
        if name == "modules" {
            modules(before, after, &mut reasons);
        } else {
            listeners(name, before, after, &mut reasons);
        }
    } else if let Some(after) = change.after {
        let line = change.line;
        let installs = is_by_a_package_manager(&line.writers, line.more_writers, line.unknown_writers)
            // Nobody saw it, and it is what a package has there: an upgrade while no daemon ran.
            || (line.writers.is_empty() && line.verb == Verb::Created && change.packaged == Packaged::Yes);
        is_installed = installs;
        mode(change, after, installs, &mut reasons);
        owner(change, after, &mut reasons);
        writers(change, after, &mut reasons);
        by_itself(change, after, installs, &mut reasons);
        became_risky(change, after, installs, &mut reasons);
    }
    Judged { risk: reasons.finish(), is_installed }
}

#[derive(Default)]
struct Reasons(Vec<(u8, String)>);

impl Reasons {
    fn add(&mut self, level: u8, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.0.iter().any(|(_, known)| *known == reason) {
            self.0.push((level, reason));
        }
    }

    fn finish(mut self) -> Risk {
        // Stable: what is equally bad stays in its order.
        self.0.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        self.0.truncate(REASONS_MAX);
        let level = self.0.first().map_or(0, |(level, _)| *level);
        Risk { level, reasons: self.0.into_iter().map(|(_, reason)| clean(&reason, 240)).collect() }
    }
}

/// The set-user-ID bit, and who may write. A packages' database does not keep modes, so only the change tells.
fn mode(change: &Change<'_>, after: &Row, installs: bool, reasons: &mut Reasons) {
    if after.meta.file_type != FileType::File || change.line.verb == Verb::Renamed {
        return;
    }
    let (mode, uid) = (after.meta.mode, after.meta.uid);
    let program = mode & 0o111 != 0 && after.semantics.kind != Kind::Script;
    let had = |bit: u32| change.before.is_some_and(|row| row.meta.mode & bit != 0 && row.meta.uid == uid);
    if program && mode & SET_UID != 0 && !had(SET_UID) {
        let who = if uid == 0 { "root".to_owned() } else { format!("user {uid}") };
        let what = if change.before.is_some() {
            "has become a set-user-ID program"
        } else {
            "new set-user-ID program"
        };
        let level = match (installs, uid) {
            (true, _) => LOW,
            (false, 0) => HIGH,
            (false, _) => MEDIUM,
        };
        reasons.add(level, format!("{what}: runs as {who} whoever starts it{}", by(installs)));
    }
    let had_group = change.before.is_some_and(|row| row.meta.mode & SET_GID != 0);
    if program && mode & SET_GID != 0 && mode & 0o010 != 0 && !had_group {
        let level = if installs { LOW } else { MEDIUM };
        reasons.add(
            level,
            format!(
                "new set-group-ID program: runs with the rights of group {}{}",
                after.meta.gid,
                by(installs)
            ),
        );
    }
    if let Some(before) = change.before
        && mode & WORLD_WRITE != 0
        && before.meta.mode & WORLD_WRITE == 0
    {
        reasons.add(
            MEDIUM,
            format!("anyone may change it from now on (mode {:04o} -> {mode:04o})", before.meta.mode),
        );
    }
}

fn by(installs: bool) -> &'static str {
    if installs { " (installed by a package manager)" } else { "" }
}

/// A program that now is root's: whoever owned it knows what is in it.
fn owner(change: &Change<'_>, after: &Row, reasons: &mut Reasons) {
    let Some(before) = change.before else { return };
    let is_program = after.meta.file_type == FileType::File && after.meta.mode & 0o111 != 0;
    if is_program && before.meta.uid != 0 && after.meta.uid == 0 {
        reasons.add(LOW, format!("a program of user {} is root's now", before.meta.uid));
    }
}

/// Contents of root's that somebody else has written.
fn writers(change: &Change<'_>, after: &Row, reasons: &mut Reasons) {
    let (Some(before), Verb::Modified) = (change.before, change.line.verb) else { return };
    if before.meta.uid != 0 || after.meta.file_type != FileType::File {
        return;
    }
    let Some(writer) = change.line.writers.iter().find(|writer| writer.uid != 0 && !is_for_users(writer))
    else {
        return;
    };
    let path = String::from_utf8_lossy(&change.line.path);
    let shared =
        before.meta.mode & WORLD_WRITE != 0 || (before.meta.mode & 0o020 != 0 && before.meta.gid != 0);
    let is_of_system = ["/etc/", "/usr/", "/boot/", "/root/", "/bin/", "/sbin/", "/lib"]
        .iter()
        .any(|dir| path.starts_with(dir));
    // A daemon opens its log as root and writes to it as somebody less.
    let is_log = path.starts_with("/var/log/") || path.starts_with("/run/");
    let level = match () {
        () if is_log || shared => LOW,
        () if is_of_system => HIGH,
        () => MEDIUM,
    };
    reasons.add(
        level,
        format!("root's file was changed by a process of user {}: {}", writer.uid, shown(writer)),
    );
}

fn is_for_users(writer: &Writer) -> bool {
    let exe = writer.origin.exe.as_deref().filter(|_| writer.origin.exe_checked).map(merged);
    exe.is_some_and(|exe| FOR_USERS.contains(&&*exe))
}

fn shown(writer: &Writer) -> String {
    let program = writer.origin.exe.as_deref().unwrap_or(&writer.comm);
    format!("{}[{}]", clean(program, 80), writer.pid)
}

/// `/bin/dpkg` as `/usr/bin/dpkg`.
fn merged(exe: &str) -> Cow<'_, str> {
    let is_old = ["/bin/", "/sbin/"].iter().any(|dir| exe.starts_with(dir));
    if is_old { Cow::Owned(format!("/usr{exe}")) } else { Cow::Borrowed(exe) }
}

/// Whether everybody who made a change is a package manager or was started by one. The program counts, not the name
/// that a process gives itself; of parents the path is what exec was told, by root.
fn is_by_a_package_manager(writers: &[Writer], more: bool, unknown: bool) -> bool {
    let manages = |exe: Option<&str>| exe.is_some_and(|exe| PACKAGE_MANAGERS.contains(&&*merged(exe)));
    let is_one = |writer: &Writer| {
        let origin = &writer.origin;
        writer.uid == 0
            && ((origin.exe_checked && manages(origin.exe.as_deref()))
                || origin.parents.iter().any(|parent| manages(parent.exe.as_deref())))
    };
    !writers.is_empty() && !more && !unknown && writers.iter().all(is_one)
}

/// What runs by itself from now on.
fn by_itself(change: &Change<'_>, after: &Row, installs: bool, reasons: &mut Reasons) {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(&change.line.path));
    let has_contents = matches!(after.meta.file_type, FileType::File | FileType::Symlink);
    let Some(what) = runs_by_itself(path).filter(|_| has_contents && !installs) else { return };
    match change.line.verb {
        Verb::Created | Verb::Renamed => reasons.add(MEDIUM, format!("new: {what}")),
        Verb::Modified => {
            // Who may log in is as bad changed as new.
            let level = if what == "keys that may log in" { MEDIUM } else { LOW };
            reasons.add(level, format!("changed: {what}"));
        }
        Verb::Attributes | Verb::Deleted => {}
    }
}

/// What the artifact itself was not blamed for before.
fn became_risky(change: &Change<'_>, after: &Row, installs: bool, reasons: &mut Reasons) {
    let risk = &after.semantics.risk;
    // Not read before is not known to have been better.
    if risk.level == 0 || change.before.is_some_and(Row::was_never_read) {
        return;
    }
    let known = change.before.map(|row| &row.semantics.risk.reasons);
    let level = if installs { risk.level.min(LOW) } else { risk.level };
    for reason in risk.reasons.iter().filter(|reason| known.is_none_or(|known| !known.contains(reason))) {
        // The bit itself has been said, and more exactly.
        let said = reason.contains("(set-user-ID)") || reason.contains("(set-group-ID)");
        if !(said && reasons.0.iter().any(|(had, _)| *had >= level)) {
            reasons.add(level, reason.clone());
        }
    }
}

/// Listeners that were not there before.
fn listeners(name: &str, before: &str, after: &str, reasons: &mut Reasons) {
    let known = risk::sockets::listeners(name, before);
    for listener in risk::sockets::listeners(name, after).difference(&known) {
        let udp = if name.starts_with("net/udp") { " (UDP)" } else { "" };
        let level = match (listener.is_local(), udp.is_empty()) {
            (false, true) => MEDIUM,
            (false, false) | (true, _) => LOW,
        };
        reasons.add(level, format!("user {} listens on {}{udp}", listener.uid, listener.shown()));
    }
}

/// Modules that were not loaded before.
fn modules(before: &str, after: &str, reasons: &mut Reasons) {
    let known: std::collections::BTreeSet<&str> = loaded_modules(before).map(|(name, _)| name).collect();
    for (name, taint) in loaded_modules(after).filter(|(name, _)| !known.contains(name)) {
        let name = clean(name, 60);
        if is_unsigned(taint) {
            reasons.add(HIGH, format!("the kernel module {name} was loaded without a valid signature"));
        } else if taint.contains(['O', 'P']) {
            reasons.add(
                MEDIUM,
                format!("the kernel module {name} was loaded, which is not of the kernel's source"),
            );
        } else {
            reasons.add(LOW, format!("the kernel module {name} was loaded"));
        }
    }
}

/// Which listeners came and went, in words; `None`: none did.
pub(super) fn listening(name: &str, before: &str, after: &str) -> Option<String> {
    /// More are only counted.
    const SHOWN_MAX: usize = 8;
    let listeners = |text| risk::sockets::listeners(name, text);
    let (before, after) = (listeners(before), listeners(after));
    let came = after.difference(&before).map(|listener| format!("+{}", listener.shown()));
    let went = before.difference(&after).map(|listener| format!("-{}", listener.shown()));
    let mut all: Vec<String> = came.chain(went).collect();
    let more = all.len().saturating_sub(SHOWN_MAX);
    all.truncate(SHOWN_MAX);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    (!all.is_empty()).then(|| format!("listening {}", all.join(", ")))
}

#[cfg(test)]
#[path = "alarm_tests.rs"]
mod tests;
