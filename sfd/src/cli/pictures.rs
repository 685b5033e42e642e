//! `sfd inspect` of a PixelRTS picture.

use super::inspect::not_found;
use super::out::{human_bytes, human_count, printable};
use super::{CliError, Exit, Out};
use crate::brick::PixelRts;

/// Shows a PixelRTS picture, or of its artifacts the one that was asked for.
pub(super) fn show_picture(picture: &PixelRts, path: Option<&[u8]>, out: Out) -> Result<Exit, CliError> {
    let mut found = picture.inspect();
    if let Some(path) = path {
        found.artifacts.retain(|each| each.is_of(path));
        if found.artifacts.is_empty() {
            return Err(not_found(path));
        }
    }
    if out.json {
        out.json_line(&found)?;
        return Ok(Exit::Done);
    }
    out.write(|out| {
        writeln!(
            out,
            "{}, {}x{} pixels (order {}), {} of data, {}",
            found.format,
            found.side,
            found.side,
            found.order,
            human_bytes(found.data_size),
            match &found.data_hash {
                Some(hash) => format!("hash {}", printable(hash)),
                None => "no hash".into(),
            },
        )?;
        if found.artifacts.is_empty() {
            return writeln!(out, "without artifacts; sfd extract gives its `content`");
        }
        writeln!(
            out,
            "{} artifacts, {}",
            human_count(found.artifacts.len() as u64),
            if found.blueprint.is_some() { "with a Blueprint (--json shows it)" } else { "no Blueprint" }
        )?;
        writeln!(out, "{:>11} {:>10}  {:<5} {:<16} path", "start", "bytes", "marks", "kind")?;
        for each in &found.artifacts {
            let mark = |set: bool, letter: char| if set { letter } else { '-' };
            let marks: String = [
                mark(each.redacted, 'r'),
                mark(each.digest_of.is_some() && !each.redacted, 'd'),
                mark(each.unverified.is_some(), 'u'),
                mark(each.sha256.is_none(), 'n'),
            ]
            .iter()
            .collect();
            writeln!(
                out,
                "{:>11} {:>10}  {marks:<5} {:<16} {}",
                each.start,
                each.len,
                printable(each.kind.as_deref().unwrap_or("-")),
                printable(&each.path)
            )?;
        }
        writeln!(out, "marks: r redacted, d digest (not byte-exact), u unverified, n no hash")
    })?;
    Ok(Exit::Done)
}
