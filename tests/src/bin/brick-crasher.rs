//! Writes to a brick until it is killed: `brick-crasher DIR SEED`.
//!
//! One line per commit that returned: the numbers and versions it wrote, `7:12 8:3`. A deleted one has version 0.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use sfd::brick::{ArtifactId, BrickError, Commit, LiveBrick, Row};
use sfd::fold::layout::Resize;
use sfd::fold::{FoldOp, FoldPlan, Layout, k_for_len};
use sfd_tests::bricks::{Random, contents, file, fill, root, unread};

const CAP: u8 = 14;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().context("DIR")?;
    let seed = args.next().context("SEED")?.parse()?;
    let (mut brick, rows) = open(Path::new(&dir))?;
    let mut state = State::new(&brick, rows)?;
    let mut random = Random::new(seed);
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    loop {
        let mut batch = Commit::default();
        let mut line = String::new();
        if random.below(40) == 0 {
            brick.set_unverified_all("a test says so")?;
            for row in state.rows.values_mut() {
                row.unverified.get_or_insert_with(|| "a test says so".into());
            }
        }
        if random.below(12) == 0 {
            let rows = brick.compact()?.rows;
            state = State::new(&brick, rows)?;
        }
        for _ in 0..=random.below(6) {
            let id = 1 + random.below(40) as u32;
            if batch.upserts.iter().any(|row| row.id.0 == id) || batch.deletes.contains(&ArtifactId(id)) {
                continue;
            }
            let version = state.change(&mut batch, id, &mut random)?;
            write!(line, "{id}:{version} ")?;
        }
        brick.commit(&batch)?;
        writeln!(out, "{line}")?;
    }
}

fn open(dir: &Path) -> Result<(LiveBrick, Vec<Row>)> {
    match LiveBrick::open(dir, "t") {
        Ok((brick, rows, _)) => Ok((brick, rows)),
        Err(error) if BrickError::needs_baseline(&error) => {
            let rows = vec![unread(root("/t"))];
            let plan = FoldPlan { ops: rows.iter().map(Row::blank).collect() };
            Ok((LiveBrick::create(dir, "t", b"/t", (4, CAP), &rows, &plan)?, rows))
        }
        Err(error) => Err(error.into()),
    }
}

struct State {
    layout: Layout,
    rows: BTreeMap<u32, Row>,
    version: i64,
}

impl State {
    fn new(brick: &LiveBrick, rows: Vec<Row>) -> Result<Self> {
        let layout =
            Layout::from_blocks(brick.order(), brick.cap(), rows.iter().map(|row| (row.block, row.id)))?;
        let version = rows.iter().map(|row| row.meta.mtime_ns).max().unwrap_or(0);
        Ok(Self { layout, rows: rows.into_iter().map(|row| (row.id.0, row)).collect(), version })
    }

    /// Writes, resizes or removes one artifact. Returns its new version, 0 when it is gone.
    fn change(&mut self, batch: &mut Commit, id: u32, random: &mut Random) -> Result<i64> {
        let old = self.rows.remove(&id);
        if let (Some(old), 0) = (&old, random.below(8)) {
            self.layout.free(old.block);
            batch.plan.ops.push(FoldOp::Clear { block: old.block });
            batch.deletes.push(old.id);
            return Ok(0);
        }
        self.version += 1;
        // Small ones mostly; above 2^14 bytes they are digests.
        let len = 1 << random.below(15);
        let bytes = contents(id, self.version, random.below(len) as usize + random.below(3000) as usize);
        let k = k_for_len(bytes.len() as u64, self.layout.cap());
        let block = loop {
            let block = match &old {
                Some(old) => match self.layout.resize_needed(old.block.k, bytes.len() as u64) {
                    Resize::Stay => Some(old.block),
                    Resize::Change { k } => self.layout.resize(old.block, k),
                },
                None => self.layout.alloc(k, random.below(self.layout.cells()), ArtifactId(id)),
            };
            match block {
                Some(block) => break block,
                None => batch.grow_to = Some(self.layout.grow()?),
            }
        };
        if let Some(old) = old.filter(|old| old.block != block) {
            batch.plan.ops.push(FoldOp::Clear { block: old.block });
        }
        let row = file(id, &format!("f{id}"), &bytes, block, self.version);
        batch.plan.ops.push(fill(&row, &bytes));
        batch.upserts.push(row.clone());
        self.rows.insert(id, row);
        Ok(self.version)
    }
}
