//! `sfd tasks init`: the `foundry-v2` schema in a repository, as OpenSpec's own program reads it.

use std::path::{Path, PathBuf};

use super::TaskError;
use super::dir::{Dir, Readable};
use super::found::TASK_DIR;
use super::job::json_schema;

/// Longest file that is compared, in bytes.
const BYTES_MAX: u64 = 1 << 20;
/// Says that the schema is the one for new changes.
const CONFIG: &str = "schema: foundry-v2\n";

/// What has become of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Installed {
    /// Relative to the root of the repository.
    pub path: PathBuf,
    /// `new`, `same`, `replaced` or `kept`.
    pub what: &'static str,
}

/// Makes `openspec/` in `dir` where it is missing, and puts the schema and its templates there. A `config.yaml` that is
/// there is kept.
///
/// # Errors
/// Something cannot be written.
pub fn install(dir: &Path) -> Result<Vec<Installed>, TaskError> {
    let root = Dir::open(dir)?;
    let schema = format!("{:#}\n", json_schema());
    let files: [(&str, &str, &str); 4] = [
        ("openspec/schemas/foundry-v2", "schema.yaml", include_str!("schema/schema.yaml")),
        (
            "openspec/schemas/foundry-v2/templates",
            "foundry.yaml",
            include_str!("schema/templates/foundry.yaml"),
        ),
        ("openspec/schemas/foundry-v2/templates", "tasks.md", include_str!("schema/templates/tasks.md")),
        ("openspec/schemas/foundry-v2", "foundry-task.schema.json", &schema),
    ];
    let mut installed = Vec::new();
    for (dir, name, contents) in files {
        let target = root.make(Path::new(dir))?;
        let before = target.read(Path::new(name), BYTES_MAX)?.map(|(bytes, _)| bytes);
        let what = match before {
            Some(before) if before == contents.as_bytes() => "same",
            Some(_) => "replaced",
            None => "new",
        };
        if what != "same" {
            target.write(name, contents.as_bytes(), Readable::ByAll)?;
        }
        installed.push(Installed { path: Path::new(dir).join(name), what });
    }
    for dir in ["openspec/changes/archive", "openspec/specs"] {
        root.make(Path::new(dir))?;
    }
    root.make(&Path::new("openspec").join(TASK_DIR))?;
    let openspec = root.sub(Path::new("openspec"))?;
    let path = PathBuf::from("openspec/config.yaml");
    if openspec.has("config.yaml") {
        installed.push(Installed { path, what: "kept" });
    } else {
        openspec.write("config.yaml", CONFIG.as_bytes(), Readable::ByAll)?;
        installed.push(Installed { path, what: "new" });
    }
    Ok(installed)
}
