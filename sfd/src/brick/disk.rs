//! Domain values in the forms in which catalog and index keep them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::artifact::kinds::Kind;
use crate::artifact::{FileType, Semantics};
use crate::collect::{Origin, Parent, Writer};

/// Name of a kind, such as `systemd_unit`.
pub(crate) fn kind_name(kind: Kind) -> String {
    enum_name(&kind)
}

/// Name of a unit variant as serde writes it.
pub(crate) fn enum_name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// The variant of a name.
pub(crate) fn enum_of_name<T: for<'de> Deserialize<'de>>(name: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).map_err(|error| error.to_string())
}

pub(crate) fn file_type(name: &str) -> Result<FileType, String> {
    enum_of_name(name)
}

pub(crate) fn semantics_to_json(semantics: &Semantics) -> String {
    // Strings, numbers and unit variants only: nothing in it can fail to serialize.
    serde_json::to_string(semantics).unwrap_or_default()
}

pub(crate) fn semantics_of_json(json: &str) -> Result<Semantics, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// Lines of text as a JSON array.
pub(crate) fn lines_to_json(lines: &[String]) -> String {
    serde_json::to_string(lines).unwrap_or_default()
}

pub(crate) fn lines_of_json(json: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// A [`Writer`] in the catalog. What version 1 did not have is empty when it is missing.
#[derive(Serialize, Deserialize)]
struct WriterRecord {
    pid: u32,
    start_ns: u64,
    uid: u32,
    login_uid: Option<u32>,
    comm: String,
    cgroup: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exe: Option<String>,
    #[serde(default)]
    exe_checked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Vec<String>>,
    #[serde(default)]
    args_cut: bool,
    #[serde(default)]
    parents: Vec<ParentRecord>,
    #[serde(default)]
    parents_cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cgroup_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<String>,
}

/// A [`Parent`] in the catalog.
#[derive(Serialize, Deserialize)]
struct ParentRecord {
    pid: u32,
    start_ns: u64,
    comm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exe: Option<String>,
}

pub(crate) fn writer_to_json(writer: &Writer) -> String {
    let Writer { pid, start_ns, uid, login_uid, comm, cgroup, origin } = writer.clone();
    let Origin { exe, exe_checked, args, args_cut, parents, parents_cut, cgroup_path, container } =
        Arc::unwrap_or_clone(origin);
    let parent = |Parent { pid, start_ns, comm, exe }| ParentRecord { pid, start_ns, comm, exe };
    let parents = parents.into_iter().map(parent).collect();
    let record = WriterRecord {
        pid,
        start_ns,
        uid,
        login_uid,
        comm: comm.to_string(),
        cgroup,
        exe,
        exe_checked,
        args,
        args_cut,
        parents,
        parents_cut,
        cgroup_path,
        container,
    };
    // Strings and numbers only: nothing in it can fail to serialize.
    serde_json::to_string(&record).unwrap_or_default()
}

pub(crate) fn writers_of_json(json: &str) -> Result<Vec<Writer>, String> {
    let records: Vec<WriterRecord> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let parent = |ParentRecord { pid, start_ns, comm, exe }| Parent { pid, start_ns, comm, exe };
    let writer = |record: WriterRecord| Writer {
        pid: record.pid,
        start_ns: record.start_ns,
        uid: record.uid,
        login_uid: record.login_uid,
        comm: record.comm.into(),
        cgroup: record.cgroup,
        origin: Arc::new(Origin {
            exe: record.exe,
            exe_checked: record.exe_checked,
            args: record.args,
            args_cut: record.args_cut,
            parents: record.parents.into_iter().map(parent).collect(),
            parents_cut: record.parents_cut,
            cgroup_path: record.cgroup_path,
            container: record.container,
        }),
    };
    Ok(records.into_iter().map(writer).collect())
}
