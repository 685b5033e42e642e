//! Timed jobs: crontabs of the system and of users, anacron's, and the scripts of `cron.daily` and its like.

use std::ffi::OsStr;

use super::{ArtifactInput, Body, Draft, Facts, cron_words, script, text};

pub(super) const PLACES: &[&str] = &[
    "etc/crontab",
    "etc/anacrontab",
    "etc/cron.d/",
    "etc/cron.hourly/",
    "etc/cron.daily/",
    "etc/cron.weekly/",
    "etc/cron.monthly/",
    "etc/cron.yearly/",
    "spool/cron/crontabs/",
    "spool/cron/",
];
/// Directories whose programs are run, and when.
const PERIODS: [(&str, &str); 5] = [
    ("cron.hourly", "every hour"),
    ("cron.daily", "every day"),
    ("cron.weekly", "every week"),
    ("cron.monthly", "every month"),
    ("cron.yearly", "every year"),
];
/// A field of a schedule is not longer than this, in bytes.
const FIELD_BYTES_MAX: usize = 64;

struct Job<'a> {
    when: String,
    /// The user, in crontabs that have one, and the command.
    what: &'a str,
}

fn jobs(body: &str) -> impl Iterator<Item = Job<'_>> {
    text::settings(body).filter_map(|line| anacron(line).or_else(|| job(line)))
}

fn job(line: &str) -> Option<Job<'_>> {
    if line.starts_with('@') {
        let (when, what) = line.split_once(char::is_whitespace)?;
        let when = match when {
            "@reboot" => "at boot",
            "@yearly" | "@annually" => "every year",
            "@monthly" => "every month",
            "@weekly" => "every week",
            "@daily" | "@midnight" => "every day at 00:00",
            "@hourly" => "every hour",
            _ => return None,
        };
        return Some(Job { when: when.to_owned(), what: what.trim_start() });
    }
    let (fields, what) = words::<5>(line)?;
    let valid = |field: &str| {
        field.len() <= FIELD_BYTES_MAX
            && field.chars().all(|c| c.is_ascii_alphanumeric() || "*/,-~".contains(c))
    };
    let numeric = fields[..3].iter().all(|f| f.starts_with(|c: char| c.is_ascii_digit() || c == '*'));
    let good = numeric && fields.iter().all(|f| valid(f)) && !what.is_empty();
    good.then(|| Job { when: cron_words::schedule(fields), what })
}

/// A line of anacrontab(5): period in days, delay in minutes, name, command.
fn anacron(line: &str) -> Option<Job<'_>> {
    let ([period, delay, name], what) = words::<3>(line)?;
    let days = period.parse::<u16>().ok();
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !named || delay.parse::<u32>().is_err() || (days.is_none() && !period.starts_with('@')) {
        return None;
    }
    let when = match (period, days) {
        (_, Some(1)) | ("@daily", _) => "every day".to_owned(),
        (_, Some(n)) => format!("every {n} days"),
        ("@weekly", _) => "every week".to_owned(),
        ("@monthly", _) => "every month".to_owned(),
        ("@yearly" | "@annually", _) => "every year".to_owned(),
        (period, None) => period.to_owned(),
    };
    Some(Job { when, what })
}

/// The first words of a line, and the rest.
fn words<const N: usize>(line: &str) -> Option<([&str; N], &str)> {
    let mut rest = line;
    let mut words = [""; N];
    for word in &mut words {
        let (first, after) = rest.split_once(char::is_whitespace)?;
        (*word, rest) = (first, after.trim_start());
    }
    Some((words, rest))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let name = input.shown_name();
    let dir = input.path.parent().and_then(|p| p.file_name());
    if let Some((_, when)) = PERIODS.iter().find(|(d, _)| dir == Some(OsStr::new(d))) {
        return periodic(input, when);
    }
    let body = input.text().unwrap_or_default();
    // Crontabs of users have no field for one.
    let user = dir == Some(OsStr::new("cron.d")) || name == "crontab";
    let said: Vec<String> = jobs(body)
        .take(100)
        .map(|job| match job.what.split_once(char::is_whitespace).filter(|_| user) {
            Some((user, what)) => format!("{} as {user}: {}", job.when, what.trim_start()),
            None => format!("{}: {}", job.when, job.what),
        })
        .collect();
    let n = text::count(said.len(), input.whole, "timed job");
    let shown: Vec<String> = said.iter().take(3).map(|job| text::clean(job, 90)).collect();
    let what = if shown.is_empty() { String::new() } else { format!(" {}.", shown.join("; ")) };
    Draft::new(format!("{name}: {n}"), format!("{n}.{what}")).tag("cron").tag("persistence")
}

/// A program of `cron.daily` and the like.
fn periodic(input: &ArtifactInput<'_>, when: &str) -> Draft {
    let name = input.shown_name();
    // run-parts(8) takes names of letters, digits, underscores and hyphens only.
    let fit = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if !fit || input.meta.mode & 0o111 == 0 {
        let why = if fit { "it is not executable" } else { "its name is not one that run-parts takes" };
        return Draft::new(
            format!("{name}: not run by cron"),
            format!("In a directory that cron runs {when}, but {why}."),
        )
        .tag("cron");
    }
    let about = script::about(input.head, input.text().unwrap_or_default(), input.whole);
    Draft::new(format!("{name}: runs {when}"), format!("Run by cron {when} as root. {about}."))
        .tag("cron")
        .tag("persistence")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    if body.bytes.starts_with(b"#!") {
        return script::facts(body);
    }
    let mut facts = Facts::default();
    facts.say("jobs", text::count(jobs(body.text).count(), body.whole, "job"));
    for job in jobs(body.text).take(10) {
        facts.say("job", format!("{}: {}", job.when, job.what));
    }
    let variables = text::settings(body.text).filter(|l| job(l).is_none() && anacron(l).is_none());
    facts.list("environment", variables.filter(|l| l.contains('=')));
    facts
}
