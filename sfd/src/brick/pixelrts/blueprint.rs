//! The Blueprint: what the artifacts are and mean, in the words of the public format.

use serde::Serialize;
use serde_json::Value;

use super::write::Segment;
use crate::artifact::FileType;
use crate::artifact::kinds::Kind;
use crate::brick::Row;
use crate::fold::Curve;

/// Most components: the public reader refuses a Blueprint with more.
pub const COMPONENTS_MAX: usize = 10_000;
/// Bits a byte below which the public format calls contents low in entropy ...
const ENTROPY_MEDIUM: f32 = 2.0;
/// ... and from which on high.
const ENTROPY_HIGH: f32 = 7.5;

#[derive(Serialize)]
pub(super) struct Blueprint<'a> {
    #[serde(rename = "blueprint_version")]
    version: &'static str,
    system_name: &'a str,
    system_type: &'static str,
    architecture: &'static str,
    components: Vec<Component<'a>>,
    memory_map: [Value; 0],
    entry_point: Option<&'static str>,
}

#[derive(Serialize)]
struct Component<'a> {
    /// The name under which the metadata has its offset.
    id: &'a str,
    #[serde(rename = "type")]
    sort: &'static str,
    description: &'a str,
    hilbert_range: HilbertRange,
    entropy_profile: &'static str,
    visual_hint: &'static str,
    dependencies: [&'static str; 0],
    semantic_tags: Vec<String>,
    security: Security,
    // From here on SFD's own; the public reader ignores what it does not know.
    title: &'a str,
    kind: &'static str,
    risk: &'a crate::artifact::Risk,
}

/// Pixels of the picture, by their places on the curve and in it.
#[derive(Serialize)]
struct HilbertRange {
    start_index: u64,
    /// One past the last.
    end_index: u64,
    pixel_start: (u32, u32),
    /// The last pixel.
    pixel_end: (u32, u32),
}

#[derive(Serialize)]
struct Security {
    /// A file with an execute permission.
    executable: bool,
    /// Any write permission.
    writable: bool,
    signature: Option<&'static str>,
}

impl<'a> Blueprint<'a> {
    /// Describes the artifacts of highest risk first, in the order of their places; not more than
    /// [`COMPONENTS_MAX`]. `curve` is the picture's.
    pub(super) fn new(system_name: &'a str, rows: &'a [Row], segments: &'a [Segment], curve: Curve) -> Self {
        let mut both: Vec<(&Row, &Segment)> = rows.iter().zip(segments).collect();
        if both.len() > COMPONENTS_MAX {
            both.sort_by_key(|(row, _)| std::cmp::Reverse(row.semantics.risk.level));
            both.truncate(COMPONENTS_MAX);
            both.sort_by_key(|(row, _)| row.block);
        }
        Self {
            version: "1.0",
            system_name,
            system_type: "directory tree",
            architecture: "",
            components: both.into_iter().map(|(row, segment)| Component::new(row, segment, curve)).collect(),
            memory_map: [],
            entry_point: None,
        }
    }
}

impl<'a> Component<'a> {
    fn new(row: &'a Row, segment: &'a Segment, curve: Curve) -> Self {
        let (start_index, end_index) = (segment.start / 4, segment.end.div_ceil(4));
        let last = if end_index > start_index { end_index - 1 } else { start_index };
        let (entropy_profile, visual_hint) = match segment.entropy {
            bits if bits < ENTROPY_MEDIUM => ("low", "blue_dominant"),
            bits if bits < ENTROPY_HIGH => ("medium", "textured_green"),
            _ => ("high", "red_dominant"),
        };
        let semantics = &row.semantics;
        let mut semantic_tags = semantics.tags.clone();
        let marks =
            [(row.redacted, "redacted"), (!row.exact, "digest"), (row.unverified.is_some(), "unverified")];
        for (_, mark) in marks.into_iter().filter(|(is_so, _)| *is_so) {
            if !semantic_tags.iter().any(|tag| tag == mark) {
                semantic_tags.push(mark.to_owned());
            }
        }
        semantic_tags.push(format!("risk:{}", semantics.risk.level));
        Self {
            id: &segment.name,
            sort: component_type(semantics.kind),
            description: &semantics.summary,
            hilbert_range: HilbertRange {
                start_index,
                end_index,
                pixel_start: curve.xy(start_index),
                pixel_end: curve.xy(last),
            },
            entropy_profile,
            visual_hint,
            dependencies: [],
            semantic_tags,
            security: Security {
                executable: row.meta.file_type == FileType::File && row.meta.mode & 0o111 != 0,
                writable: row.meta.mode & 0o222 != 0,
                signature: None,
            },
            title: &semantics.title,
            kind: semantics.kind.name(),
            risk: &semantics.risk,
        }
    }
}

/// The public format knows five types.
fn component_type(kind: Kind) -> &'static str {
    match kind {
        Kind::ElfExecutable | Kind::KernelModule | Kind::Script => "executable",
        Kind::SharedLibrary => "library",
        Kind::Archive => "archive",
        kind if kind.is_configuration() => "config",
        _ => "data",
    }
}
