//! The layout over a long life: what it promises at every moment, and how much it wastes.
//!
//! `cargo test -p sfd-tests --test layout -- --nocapture` prints the figures of `docs/decisions/0004-layout.md`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sfd::agent::{Survey, disk_view, survey};
use sfd::artifact::FileType;
use sfd::artifact::view::{ProcView, View};
use sfd::brick::ArtifactId;
use sfd::collect::Unwatched;
use sfd::fold::layout::Resize;
use sfd::fold::{Block, FirstFoldItem, K_CAP, K_MIN, Layout, first_fold, k_for_len};
use sfd_tests::bricks::Random;

/// Operations of a soak.
const OPERATIONS: u32 = 100_000;
/// Between two checks of everything.
const CHECK_EVERY: u32 = 5_000;
/// The used run of a first fold is less than 17/8 of the used cells: proved in `docs/decisions/0004-layout.md`.
const FIRST_FOLD_MAX: f64 = 17.0 / 8.0;
/// The used run after any number of operations, as a multiple of the most cells that were ever used (what is removed leaves
/// its place free, and the run as long as it was). Not proved (a buddy allocator has no useful bound against an opponent);
/// chosen from the figures that this file prints, with a margin of a quarter.
const SOAK_MAX: f64 = 1.8;

#[derive(Clone, Debug)]
struct Node {
    parent: Option<u32>,
    name: Vec<u8>,
    is_dir: bool,
    len: u64,
    block: Block,
    children: BTreeSet<u32>,
}

/// A tree with its places, changed as the agent changes them.
struct Tree {
    layout: Layout,
    nodes: BTreeMap<u32, Node>,
    /// Sizes that files have here; new ones are as large.
    sizes: Vec<u64>,
    /// How many artifacts, and directories among them, there were at first: there will always be about as many.
    target: (usize, usize),
    dirs: usize,
    /// Most cells ever used.
    peak: u64,
    next: u32,
    growths: u32,
    random: Random,
}

/// How full a layout is.
#[derive(Clone, Copy, Debug)]
struct Fill {
    used: u64,
    /// Most cells ever used.
    peak: u64,
    run: u64,
    curve: u64,
}

impl Fill {
    fn of(layout: &Layout, peak: u64) -> Self {
        Self { used: layout.used_cells(), peak, run: layout.used_end(), curve: layout.cells() }
    }

    /// The used run as a multiple of the most cells ever used.
    fn waste(self) -> f64 {
        self.run as f64 / self.peak as f64
    }
}

impl Tree {
    fn of_survey(rows: &Survey, seed: u64) -> Self {
        let mut nodes: BTreeMap<u32, Node> = BTreeMap::new();
        for row in &rows.rows {
            let is_dir = row.meta.file_type == FileType::Directory;
            let (parent, name, len) = (row.parent.map(|id| id.0), row.name.clone(), row.to_place().len);
            nodes.insert(
                row.id.0,
                Node { parent, name, is_dir, len, block: row.block, children: BTreeSet::new() },
            );
        }
        Self::new(rows.layout.clone(), nodes, seed)
    }

    /// Directories of 0 to 40 files, most of them small, some large: as in /etc, and what /usr adds to it.
    fn made_up(artifacts: u32, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let node = |parent, name: &str, is_dir, len| Node {
            parent,
            name: name.into(),
            is_dir,
            len,
            block: Block { start: 0, k: K_MIN },
            children: BTreeSet::new(),
        };
        let mut nodes = BTreeMap::from([(0, node(None, "/t", true, 0))]);
        let mut dirs = vec![0];
        for id in 1..artifacts {
            let parent = dirs[random.below(dirs.len() as u64) as usize];
            let is_dir = random.below(12) == 0;
            if is_dir {
                dirs.push(id);
            }
            let log2 = 2 + random.below(7) + random.below(7);
            let len = random.below(1 << log2);
            nodes.insert(id, node(Some(parent), &format!("n{id}"), is_dir, len));
        }
        let items: Vec<_> = nodes.iter().map(|(id, node)| item(*id, node)).collect();
        let fold = first_fold(&items, K_CAP, false).unwrap();
        for (id, block) in fold.blocks {
            nodes.get_mut(&id.0).unwrap().block = block;
        }
        Self::new(fold.layout, nodes, seed)
    }

    fn new(layout: Layout, mut nodes: BTreeMap<u32, Node>, seed: u64) -> Self {
        let links: Vec<_> = nodes.iter().filter_map(|(id, node)| Some((node.parent?, *id))).collect();
        for (parent, id) in links {
            nodes.get_mut(&parent).unwrap().children.insert(id);
        }
        let sizes: Vec<u64> = nodes.values().filter(|node| !node.is_dir).map(|node| node.len).collect();
        let dirs = nodes.values().filter(|node| node.is_dir).count();
        let (target, next) = ((nodes.len(), dirs), nodes.keys().last().unwrap() + 1);
        let peak = layout.used_cells();
        Self { layout, nodes, sizes, target, dirs, peak, next, growths: 0, random: Random::new(seed) }
    }

    /// Any artifact of a sort, the root excepted.
    fn pick(&mut self, dir: bool) -> Option<u32> {
        for _ in 0..50 {
            let from = self.random.below(u64::from(self.next)) as u32;
            let found = self
                .nodes
                .range(from..)
                .next()
                .filter(|(_, node)| node.is_dir == dir && node.parent.is_some());
            if let Some((id, _)) = found {
                return Some(*id);
            }
        }
        None
    }

    fn some_dir(&mut self) -> u32 {
        self.pick(true).unwrap_or_else(|| *self.nodes.keys().next().unwrap())
    }

    /// Retries after growing, which must move nothing.
    fn with_room<T>(&mut self, mut f: impl FnMut(&mut Layout) -> Option<T>) -> T {
        loop {
            if let Some(done) = f(&mut self.layout) {
                return done;
            }
            let before: Vec<_> = self.layout.iter().collect();
            self.layout.grow().unwrap();
            assert!(self.layout.iter().eq(before), "growth moves nothing");
            self.growths += 1;
        }
    }

    fn step(&mut self) {
        let full = self.nodes.len() > self.target.0;
        match self.random.below(100) {
            0..=2 if self.dirs < self.target.1 => self.insert(true),
            0..=34 if !full => self.insert(false),
            0..=62 => {
                if full || self.random.below(2) == 0 {
                    self.remove(false);
                }
            }
            // A small directory with everything in it.
            63 => self.remove(true),
            64..=69 => self.rename(),
            _ => self.resize(),
        }
        self.peak = self.peak.max(self.layout.used_cells());
    }

    fn fill(&self) -> Fill {
        Fill::of(&self.layout, self.peak)
    }

    fn insert(&mut self, is_dir: bool) {
        let dir = self.some_dir();
        let at = self.random.below(self.sizes.len() as u64) as usize;
        let len = if is_dir { 0 } else { self.sizes[at] };
        let id = self.next;
        self.next += 1;
        self.dirs += usize::from(is_dir);
        // As `Root::place` does.
        let goal = self.nodes[&dir].block.end();
        let k = if is_dir { K_MIN } else { k_for_len(len, self.layout.cap()) };
        let block = self.with_room(|layout| layout.alloc(k, goal, ArtifactId(id)));
        let node = Node {
            parent: Some(dir),
            name: format!("n{id}").into(),
            is_dir,
            len,
            block,
            children: BTreeSet::new(),
        };
        self.nodes.get_mut(&dir).unwrap().children.insert(id);
        self.nodes.insert(id, node);
    }

    fn remove(&mut self, dir: bool) {
        let Some(id) = self.pick(dir) else { return };
        if dir && self.nodes[&id].children.len() > 20 {
            return;
        }
        let parent = self.nodes[&id].parent.unwrap();
        self.nodes.get_mut(&parent).unwrap().children.remove(&id);
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let node = self.nodes.remove(&id).unwrap();
            self.dirs -= usize::from(node.is_dir);
            assert_eq!(self.layout.free(node.block), Some(ArtifactId(id)));
            open.extend(node.children);
        }
    }

    /// To another directory: no block has a part in it.
    fn rename(&mut self) {
        let (Some(id), to) = (self.pick(false), self.some_dir()) else { return };
        let from = self.nodes[&id].parent.unwrap();
        self.nodes.get_mut(&from).unwrap().children.remove(&id);
        self.nodes.get_mut(&to).unwrap().children.insert(id);
        let node = self.nodes.get_mut(&id).unwrap();
        (node.parent, node.name) = (Some(to), format!("r{id}").into());
    }

    /// Mostly by a little, now and then to any size.
    fn resize(&mut self) {
        let Some(id) = self.pick(false) else { return };
        let (len, old) = (self.nodes[&id].len, self.nodes[&id].block);
        let at = self.random.below(self.sizes.len() as u64) as usize;
        let len = match self.random.below(4) {
            0 => self.sizes[at],
            _ => len * (80 + self.random.below(45)) / 100 + self.random.below(20),
        };
        let block = match self.layout.resize_needed(old.k, len) {
            Resize::Stay => old,
            Resize::Change { k } => self.with_room(|layout| layout.resize(old, k)),
        };
        let node = self.nodes.get_mut(&id).unwrap();
        (node.len, node.block) = (len, block);
    }

    /// Every promise, at once.
    fn check(&mut self) {
        let layout = &self.layout;
        let believed: BTreeMap<u64, (Block, u32)> =
            self.nodes.iter().map(|(id, node)| (node.block.start, (node.block, *id))).collect();
        assert!(
            layout.iter().map(|(block, id)| (block, id.0)).eq(believed.values().copied()),
            "only subjects move"
        );
        let mut all: Vec<Block> = layout.iter().map(|(block, _)| block).chain(layout.free_blocks()).collect();
        all.sort_unstable();
        assert!(all.iter().all(|block| block.is_aligned()));
        assert!(
            all.windows(2).all(|two| two[0].end() == two[1].start),
            "used and free blocks tile the curve"
        );
        assert_eq!((all[0].start, all[all.len() - 1].end()), (0, layout.cells()));
        assert_eq!(layout.used_cells(), self.nodes.values().map(|node| node.block.cells()).sum::<u64>());
        assert!(
            self.nodes.values().all(|node| node.is_dir || node.block.k == k_for_len(node.len, layout.cap()))
        );
        for _ in 0..2000 {
            let cell = self.random.below(layout.cells());
            let scan = all.partition_point(|block| block.start <= cell) - 1;
            let owner = believed.get(&all[scan].start).map(|(block, id)| (*block, ArtifactId(*id)));
            assert_eq!(layout.owner_of(cell), owner, "cell {cell}");
        }
        let again = Layout::from_blocks(layout.order(), layout.cap(), layout.iter()).unwrap();
        assert!(again == *layout, "the free space follows from the used blocks: buddies are merged");
    }

    /// Runs the operations; returns the worst and the last fill.
    fn soak(&mut self) -> (Fill, Fill) {
        let mut worst = self.fill();
        for n in 1..=OPERATIONS {
            self.step();
            if n % CHECK_EVERY == 0 {
                self.check();
                let now = self.fill();
                worst = if now.waste() > worst.waste() { now } else { worst };
            }
        }
        (worst, self.fill())
    }

    /// What compaction would make of it.
    fn folded_first(&self) -> Layout {
        let items: Vec<_> = self.nodes.iter().map(|(id, node)| item(*id, node)).collect();
        let fold = first_fold(&items, K_CAP, false).unwrap();
        let mut back = items;
        back.reverse();
        assert!(first_fold(&back, K_CAP, false).unwrap() == fold, "the order of operations does not matter");
        fold.layout
    }
}

fn item(id: u32, node: &Node) -> FirstFoldItem<'_> {
    let parent = node.parent.map(ArtifactId);
    FirstFoldItem { id: ArtifactId(id), parent, name: &node.name, is_dir: node.is_dir, len: node.len }
}

fn report(name: &str, artifacts: usize, first: Fill, tree: &Tree, worst: Fill, last: Fill) {
    let percent = |a: u64, b: u64| 100.0 * a as f64 / b as f64;
    println!(
        "| {name} | {artifacts} | {} | {:.0} % | {:.1} | {:.0} % | {:.0} % | {:.1} | {} | {:.0} % |",
        tree.layout.cap(),
        percent(first.used, first.run),
        first.curve as f64 / first.run as f64,
        percent(worst.peak, worst.run),
        percent(last.used, last.run),
        last.curve as f64 / last.run as f64,
        tree.growths,
        {
            let again = tree.folded_first();
            percent(again.used_cells(), again.used_end())
        },
    );
}

const HEAD: &str = "| tree | artifacts | cap | first fold: used of the run | curve / run | soak: most ever used, of the run, at worst | used of the run at last | curve / run | growths | compacted |";

/// Checks a whole life; returns how often the curve grew.
fn live(name: &str, mut tree: Tree) -> u32 {
    let first = tree.fill();
    let artifacts = tree.nodes.len();
    tree.check();
    assert!(first.waste() < FIRST_FOLD_MAX, "{name}: {first:?}");
    let (worst, last) = tree.soak();
    report(name, artifacts, first, &tree, worst, last);
    assert!(worst.waste() < SOAK_MAX, "{name}: {worst:?}");
    let again = tree.folded_first();
    assert!(Fill::of(&again, again.used_cells()).waste() < FIRST_FOLD_MAX);
    tree.growths
}

#[test]
fn a_hundred_thousand_operations_keep_every_promise() {
    println!("{HEAD}");
    live("made up, small", Tree::made_up(300, 1));
    live("made up", Tree::made_up(3000, 2));
    let mut grows = Tree::made_up(60, 3);
    grows.target = (6000, 500);
    let grows = live("made up, grows a hundredfold", grows);
    assert!(grows > 0, "it was to outgrow its curve");
}

#[test]
fn real_trees_stay_within_the_bounds() {
    println!("{HEAD}");
    for path in ["/etc", "/usr/bin", "/proc", "/usr"] {
        let path = Path::new(path);
        if !path.is_dir() {
            println!("skipped: there is no {}", path.display());
            continue;
        }
        let mut view: Box<dyn View> = if path == Path::new("/proc") {
            Box::new(ProcView::new(path))
        } else {
            Box::new(disk_view(path, &[]).unwrap())
        };
        let roots = [PathBuf::from(path)];
        let found =
            survey(&roots, false, view.as_mut(), &mut Unwatched, &|_| ControlFlow::Continue(())).unwrap();
        live(&path.to_string_lossy(), Tree::of_survey(&found, 3));
    }
}
