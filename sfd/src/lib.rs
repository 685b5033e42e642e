//! SFD keeps a live, explorable picture of a Linux host.
//!
//! The folders are the pipeline, in the order data flows; one type crosses each arrow:
//!
//! ```text
//! collect/   ring bytes -> Event      the only place with aya
//! batch/     Event      -> Batch      per path, keeps the last state, bounded
//! artifact/  Batch      -> Artifact   stat + read + hash; unchanged ones stop here
//! enrich/    Artifact   -> Semantics  a language model, off the hot path; rules are in artifact/kinds/
//! fold/      Artifact   -> FoldPlan   layout and the affected Hilbert intervals; pure
//! brick/     FoldPlan   -> bytes      V2BR file, catalog, crash safety
//! map/       brick      -> browser    HTTP: tiles, what is where, what changes
//! agent      wires them together
//! tasks/     OpenSpec   -> jobs       a second way in, to the same stages
//! cli/       the commands
//! ```

pub mod agent;
pub mod artifact;
pub mod batch;
pub mod brick;
pub mod cli;
pub mod collect;
pub mod enrich;
pub mod fold;
pub mod map;
pub mod tasks;
