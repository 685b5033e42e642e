//! Domain values in the forms in which catalog and index keep them.

use serde::{Deserialize, Serialize};

use crate::artifact::kinds::Kind;
use crate::artifact::{FileType, Semantics};
use crate::collect::Writer;

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

/// A [`Writer`] in the history table.
#[derive(Serialize, Deserialize)]
struct WriterRecord {
    pid: u32,
    start_ns: u64,
    uid: u32,
    login_uid: Option<u32>,
    comm: String,
    cgroup: u64,
}

pub(crate) fn writers_to_json(writers: &[Writer]) -> String {
    let record = |w: &Writer| WriterRecord {
        pid: w.pid,
        start_ns: w.start_ns,
        uid: w.uid,
        login_uid: w.login_uid,
        comm: w.comm.to_string(),
        cgroup: w.cgroup,
    };
    serde_json::to_string(&writers.iter().map(record).collect::<Vec<_>>()).unwrap_or_default()
}

pub(crate) fn writers_of_json(json: &str) -> Result<Vec<Writer>, String> {
    let records: Vec<WriterRecord> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let writer = |w: WriterRecord| Writer {
        pid: w.pid,
        start_ns: w.start_ns,
        uid: w.uid,
        login_uid: w.login_uid,
        comm: w.comm.into(),
        cgroup: w.cgroup,
    };
    Ok(records.into_iter().map(writer).collect())
}
