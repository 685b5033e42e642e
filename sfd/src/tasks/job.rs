//! What a task asks for: the JSON of the public convention, and the job that both front doors become.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TaskError;

/// Side in pixels of the largest block, unless a task says otherwise: the largest that bricks have.
pub const TEXTURE_SIZE: u32 = 256;
/// Side of the smallest block that bricks have.
pub const TEXTURE_SIZE_MIN: u32 = 8;
/// Files that a task takes, unless it says otherwise.
pub const MAX_FILES: u32 = 50;
/// Where bricks go, below the root of the repository, unless a task says otherwise.
pub const DESTINATION: &str = "bricks";
/// Files of tasks are at most this long, in bytes. Real ones have some hundred.
pub const TASK_BYTES_MAX: u64 = 1 << 20;
/// Most names in `paths`: each becomes a brick.
const PATHS_MAX: usize = 64;
/// A name further away than this share of its letters is not meant.
const NEAR: usize = 2;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// One file becomes one sealed brick and a picture; an ELF file with a region for each section.
    ConvertBinary,
    /// A directory becomes one sealed brick and a picture.
    ConvertDirectory,
    /// The directory is watched live, as with `sfd run --watch`.
    WatchPath,
    /// This host is described: a brick and a report.
    AnalyzeSystem,
    /// Each of `paths` (or the source) becomes a sealed brick; a manifest lists them.
    CrystallizeSystem,
    /// A file, a directory, a glob, or `proc:` or `sys:` becomes a sealed brick with meanings, a picture, and an entry in
    /// the manifest. The default of new tasks.
    #[serde(rename = "foundry-v2")]
    FoundryV2,
    /// Every kernel module below the source is examined: a brick and a report.
    ScanKernelModules,
}

impl TaskType {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::ConvertBinary,
        Self::ConvertDirectory,
        Self::WatchPath,
        Self::AnalyzeSystem,
        Self::CrystallizeSystem,
        Self::FoundryV2,
        Self::ScanKernelModules,
    ];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConvertBinary => "convert_binary",
            Self::ConvertDirectory => "convert_directory",
            Self::WatchPath => "watch_path",
            Self::AnalyzeSystem => "analyze_system",
            Self::CrystallizeSystem => "crystallize_system",
            Self::FoundryV2 => "foundry-v2",
            Self::ScanKernelModules => "scan_kernel_modules",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }
}

impl fmt::Display for TaskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One task: `openspec/tasks/system_foundry/NAME.task.json`. Keys that are not named here are allowed and kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "FoundryTask")]
pub struct FoundryTask {
    /// What the task is called in reports.
    #[schemars(length(min = 1))]
    pub task_id: String,
    /// What is to be done.
    #[serde(rename = "type")]
    pub task_type: TaskType,
    /// What it is done to: a path (relative ones from the root of the repository), a glob, `proc:NAME` or `sys:NAME`.
    #[schemars(length(min = 1))]
    pub source: String,
    /// More sources than one, for `crystallize_system`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub paths: Vec<String>,
    /// Directory for what is made, below the root of the repository [default: bricks].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Why somebody wants it; goes into the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// Language model that describes the artifacts, for `foundry-v2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ai_model: Option<String>,
    /// Side of the largest block in pixels; larger files become digests [default: 256].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8))]
    pub texture_size: Option<u32>,
    /// At most so many files are taken, the first by path [default: 50; all modules for `scan_kernel_modules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_files: Option<u32>,
    /// A program wrote this task.
    #[serde(default)]
    pub auto_generated: bool,
}

/// The JSON Schema of [`FoundryTask`], as `docs/foundry-task.schema.json` has it.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(FoundryTask).to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("additionalProperties".into(), Value::Bool(true));
    }
    schema
}

/// The keys of a task; `id` would be another.
pub(super) const KEYS: [&str; 10] = [
    "task_id",
    "type",
    "source",
    "paths",
    "destination",
    "intent",
    "ai_model",
    "texture_size",
    "max_files",
    "auto_generated",
];

/// What is done, wherever it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// What it is called.
    pub task_id: String,
    /// What is done.
    #[serde(rename = "type")]
    pub task_type: TaskType,
    /// To what.
    pub source: String,
    /// More sources.
    pub paths: Vec<String>,
    /// Relative, of normal components only.
    pub destination: PathBuf,
    /// Why.
    pub intent: Option<String>,
    /// By which model.
    pub ai_model: Option<String>,
    /// Side of the largest block, at least [`TEXTURE_SIZE_MIN`].
    pub texture_size: u32,
    /// Most files, if said.
    pub max_files: Option<u32>,
}

impl Job {
    /// The largest block as a power of two of cells, and what to say when that is not what was asked for.
    pub fn cap(&self) -> (u8, Option<String>) {
        let side = self.texture_size.clamp(TEXTURE_SIZE_MIN, TEXTURE_SIZE);
        let power = side.ilog2();
        let used = 1_u32 << power;
        let note = (used != self.texture_size).then(|| {
            format!("texture_size {} is not a side that blocks have; {used} was used", self.texture_size)
        });
        // At most 2 * log2(256) = 16.
        (u8::try_from(2 * power).unwrap_or(crate::fold::K_CAP), note)
    }

    /// Most files that are taken.
    pub fn files_max(&self) -> usize {
        self.max_files.unwrap_or(MAX_FILES) as usize
    }
}

impl TryFrom<FoundryTask> for Job {
    type Error = String;

    fn try_from(task: FoundryTask) -> Result<Self, String> {
        let said = |key: &str, text: &str| match text.trim() {
            "" => Err(format!("`{key}` is empty")),
            _ if text.contains('\0') => Err(format!("`{key}` has a zero byte in it")),
            _ => Ok(()),
        };
        said("task_id", &task.task_id)?;
        said("source", &task.source)?;
        if task.paths.len() > PATHS_MAX {
            return Err(format!("`paths` names {}; at most {PATHS_MAX} are taken", task.paths.len()));
        }
        for path in &task.paths {
            said("paths", path)?;
        }
        let texture_size = task.texture_size.unwrap_or(TEXTURE_SIZE);
        if texture_size < TEXTURE_SIZE_MIN {
            return Err(format!("`texture_size` is {texture_size}; it must be at least {TEXTURE_SIZE_MIN}"));
        }
        if task.max_files == Some(0) {
            return Err("`max_files` is 0; it must be at least 1".into());
        }
        Ok(Self {
            task_id: task.task_id,
            task_type: task.task_type,
            source: task.source,
            paths: task.paths,
            destination: destination(task.destination.as_deref().unwrap_or(DESTINATION))?,
            intent: task.intent,
            ai_model: task.ai_model.filter(|model| !model.trim().is_empty()),
            texture_size,
            max_files: task.max_files,
        })
    }
}

/// A destination that names nothing outside the root. What symbolic links make of it is seen when it is opened.
fn destination(text: &str) -> Result<PathBuf, String> {
    let refused = |why: &str| Err(format!("`destination` {text:?} {why}"));
    if text.contains('\0') {
        return refused("has a zero byte in it");
    }
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) if name.as_encoded_bytes().starts_with(b".") => {
                return refused("names a hidden directory, which tasks may not write to");
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                return refused("has `..` in it; it must stay below the root of the repository");
            }
            Component::RootDir | Component::Prefix(_) => {
                return refused("is absolute; it must be relative to the root of the repository");
            }
        }
    }
    Ok(path)
}

/// Reads the JSON of a task.
///
/// # Errors
/// It is no JSON (with line and column), a key is missing or has a value that cannot be meant (with the key that was
/// probably meant).
pub fn parse_json(text: &[u8]) -> Result<Job, TaskError> {
    let malformed = |what: String| TaskError::Malformed { what };
    let text = std::str::from_utf8(text).map_err(|error| {
        malformed(format!("byte {} is not UTF-8; the file must be JSON", error.valid_up_to()))
    })?;
    // Editors of another system put this in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(malformed("the file is empty; it must hold one JSON object".into()));
    }
    let value: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let Value::Object(map) = value else {
        return Err(malformed(format!("it holds {}, not a JSON object", sort_of(&value))));
    };
    check(&map).map_err(malformed)?;
    let task: FoundryTask =
        serde_json::from_value(Value::Object(map)).map_err(|error| malformed(error.to_string()))?;
    Job::try_from(task).map_err(malformed)
}

/// Says what is wrong with single keys, better than a deserializer would.
fn check(map: &Map<String, Value>) -> Result<(), String> {
    for key in ["task_id", "type", "source"] {
        match map.get(key) {
            Some(Value::String(_)) => {}
            Some(other) => return Err(format!("`{key}` is {}; it must be a text", sort_of(other))),
            None => {
                let unknown = map.keys().map(String::as_str).filter(|name| !KEYS.contains(name));
                let meant = unknown.filter(|name| is_near(name, key)).min();
                let meant = meant.map_or_else(String::new, |name| format!("; was `{name}` meant to be it?"));
                return Err(format!("`{key}` is missing{meant}"));
            }
        }
    }
    if let Some(Value::String(name)) = map.get("type")
        && TaskType::from_name(name).is_none()
    {
        return Err(unknown_type(name));
    }
    for key in ["destination", "intent", "ai_model"] {
        match map.get(key) {
            None | Some(Value::String(_) | Value::Null) => {}
            Some(other) => return Err(format!("`{key}` is {}; it must be a text", sort_of(other))),
        }
    }
    for key in ["texture_size", "max_files"] {
        match map.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Number(n)) if n.as_u64().is_some_and(|n| u32::try_from(n).is_ok()) => {}
            Some(other) => return Err(format!("`{key}` is {other}; it must be a whole number from 1 on")),
        }
    }
    match map.get("auto_generated") {
        None | Some(Value::Bool(_)) => {}
        Some(other) => {
            return Err(format!("`auto_generated` is {}; it must be true or false", sort_of(other)));
        }
    }
    match map.get("paths") {
        None => {}
        Some(Value::Array(paths)) if paths.iter().all(Value::is_string) => {}
        Some(_) => return Err("`paths` must be a list of texts".into()),
    }
    Ok(())
}

pub(super) fn unknown_type(name: &str) -> String {
    let names = TaskType::ALL.map(TaskType::name);
    let shown: String = name.chars().take(80).collect();
    format!("`type` {shown:?} is unknown{}", suggestion(name, &names))
}

/// `; did you mean ...`, or all there are.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    let best = known.iter().map(|each| (strsim::damerau_levenshtein(name, each), *each)).min();
    match best {
        Some((_, best)) if is_near(name, best) => format!("; did you mean `{best}`?"),
        _ => format!("; there are {}", known.join(", ")),
    }
}

fn is_near(name: &str, known: &str) -> bool {
    // The distance takes time by the product of both lengths.
    name.len() < 80 && strsim::damerau_levenshtein(name, known) <= known.len().div_ceil(NEAR)
}

fn sort_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
