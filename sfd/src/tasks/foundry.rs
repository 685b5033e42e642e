//! `foundry.yaml` of a change: its jobs, by the numbers of the lines in tasks.md that they belong to.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Error, Spanned};

use super::TaskError;
use super::job::{FoundryTask, Job, KEYS, TaskType, suggestion};

/// Jobs of one change. A tasks.md with more lines than this is not read by anybody.
const JOBS_MAX: usize = 1000;
/// The keys at the top.
const TOP_KEYS: [&str; 1] = ["jobs"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    jobs: BTreeMap<String, Spanned<Entry>>,
}

/// As a [`FoundryTask`]; only what would be said twice may be left out.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    task_id: Option<String>,
    /// `foundry-v2` unless another is named.
    #[serde(rename = "type")]
    task_type: Option<TaskType>,
    source: String,
    #[serde(default)]
    paths: Vec<String>,
    destination: Option<String>,
    intent: Option<String>,
    ai_model: Option<String>,
    texture_size: Option<u32>,
    max_files: Option<u32>,
    #[serde(default)]
    auto_generated: bool,
}

/// A job and the number of its line in tasks.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Such as `1.1`.
    pub number: String,
    /// The job, or what is wrong with it.
    pub job: Result<Job, TaskError>,
}

/// Reads the jobs of the change called `change`, in the order of their numbers.
///
/// # Errors
/// The file is not what it should be; with its line, and the nearest valid key or type where one was misspelt. What is
/// wrong with a single value is the error of that job alone.
pub fn parse_yaml(text: &[u8], change: &str) -> Result<Vec<Numbered>, TaskError> {
    let malformed = |what: String| TaskError::Malformed { what };
    let text = std::str::from_utf8(text)
        .map_err(|error| malformed(format!("foundry.yaml: byte {} is not UTF-8", error.valid_up_to())))?;
    let file: File = serde_saphyr::from_str(text).map_err(|error| malformed(explain(&error)))?;
    if file.jobs.len() > JOBS_MAX {
        return Err(malformed(format!(
            "foundry.yaml: {} jobs; at most {JOBS_MAX} are taken",
            file.jobs.len()
        )));
    }
    let mut jobs = Vec::new();
    for (number, entry) in file.jobs {
        let line = entry.referenced.line();
        if !is_number(&number) {
            let what = format!(
                "foundry.yaml:{line}: job {number:?} is not named by a number of tasks.md such as \"1.1\""
            );
            return Err(malformed(what));
        }
        let job = entry.value.into_task(change, &number);
        let job = Job::try_from(job)
            .map_err(|what| malformed(format!("foundry.yaml:{line}: job {number}: {what}")));
        jobs.push(Numbered { number, job });
    }
    jobs.sort_by_key(|job| order(&job.number));
    Ok(jobs)
}

impl Entry {
    fn into_task(self, change: &str, number: &str) -> FoundryTask {
        FoundryTask {
            task_id: self.task_id.unwrap_or_else(|| format!("{change} {number}")),
            task_type: self.task_type.unwrap_or(TaskType::FoundryV2),
            source: self.source,
            paths: self.paths,
            destination: self.destination,
            intent: self.intent,
            ai_model: self.ai_model,
            texture_size: self.texture_size,
            max_files: self.max_files,
            auto_generated: self.auto_generated,
        }
    }
}

/// Digits, with single dots between them; short, since it becomes part of a file's name.
fn is_number(text: &str) -> bool {
    text.len() <= 32
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// 1.9 comes before 1.10.
fn order(number: &str) -> Vec<u64> {
    number.split('.').map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

/// `foundry.yaml:7:5: unknown key ...; did you mean ...`.
fn explain(error: &Error) -> String {
    let error = error.without_snippet();
    let place = error.location().filter(|at| at.line() > 0);
    let place = place.map_or_else(String::new, |at| format!("{}:{}:", at.line(), at.column()));
    let what = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            // The top has one key; whatever else is expected, it is a job's.
            let known: &[&str] = if expected.len() == TOP_KEYS.len() { &TOP_KEYS } else { &KEYS };
            format!("unknown key `{field}`{}", suggestion(field, known))
        }
        Error::SerdeUnknownVariant { variant, .. } => super::job::unknown_type(variant),
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        other => {
            let text = other.to_string();
            text.lines().next().unwrap_or("not YAML").to_owned()
        }
    };
    format!("foundry.yaml:{place} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        match parse_yaml(text.as_bytes(), "c") {
            Err(error) => error.to_string(),
            Ok(jobs) => jobs.into_iter().find_map(|job| job.job.err()).expect("an error").to_string(),
        }
    }

    #[test]
    fn jobs_are_in_the_order_of_their_numbers() {
        let text = "jobs:\n  1.10:\n    source: a\n  1.9: {source: b, type: convert_binary}\n  \"2\":\n    source: c\n";
        let jobs = parse_yaml(text.as_bytes(), "c").unwrap();
        let numbers: Vec<&str> = jobs.iter().map(|job| job.number.as_str()).collect();
        assert_eq!(numbers, ["1.9", "1.10", "2"]);
        let first = jobs[0].job.as_ref().unwrap();
        assert_eq!((first.task_type, first.task_id.as_str()), (TaskType::ConvertBinary, "c 1.9"));
        assert_eq!(jobs[1].job.as_ref().unwrap().task_type, TaskType::FoundryV2);
    }

    #[test]
    fn errors_name_line_and_nearest_key() {
        let said = error("jobs:\n  \"1.1\":\n    source: a\n    destnation: b\n");
        assert!(said.contains("foundry.yaml:4:") && said.contains("did you mean `destination`?"), "{said}");
        let said = error("jobs:\n  \"1.1\":\n    source: a\n    type: convert_binry\n");
        assert!(
            said.contains("foundry.yaml:4:") && said.contains("did you mean `convert_binary`?"),
            "{said}"
        );
        let said = error("job:\n  \"1.1\":\n    source: a\n");
        assert!(said.contains("foundry.yaml:1:") && said.contains("did you mean `jobs`?"), "{said}");
        let said = error("jobs:\n  \"1.1\":\n    intent: a\n");
        assert!(said.contains("`source` is missing"), "{said}");
        let said = error("jobs:\n  first:\n    source: a\n");
        assert!(said.contains("not named by a number"), "{said}");
        let said = error("jobs:\n  \"1.1\":\n    source: a\n    destination: ../x\n");
        assert!(said.contains("job 1.1") && said.contains("`..`"), "{said}");
        let said = error("jobs:\n  \"1.1\": [\n");
        assert!(said.contains("foundry.yaml:"), "{said}");
    }
}
