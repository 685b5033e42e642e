//! Anything, in any order.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::Rig;
use crate::batch::ENTRIES_MAX;

#[derive(Clone, Debug)]
enum Step {
    /// Something happens: what, and which of the things there are.
    Happen(Happening, u8, u8, u8),
    /// Some of the waiting events become a batch; with `true` each may come again later.
    Deliver(Vec<u8>, bool),
    /// An event is lost, and the loss is told.
    Lose(u8),
    /// A record vanishes uncounted on the way; the hole it leaves is told later.
    Vanish(u8),
    Scan,
    /// The daemon is killed and started again.
    Restart,
    /// The same, and some pixels are damaged meanwhile.
    Damage(u16),
    /// Everything gets the place of a first fold.
    Compact,
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Write,
    Append,
    Remove,
    Rename,
    Exchange,
    Mkdir,
    Symlink,
    Link,
    Chmod,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        4 => Just(Write),
        2 => Just(Append),
        2 => Just(Remove),
        6 => Just(Rename),
        2 => Just(Exchange),
        3 => Just(Mkdir),
        1 => Just(Symlink),
        1 => Just(Link),
        1 => Just(Chmod),
    ]
}

fn step(with_losses: bool) -> impl Strategy<Value = Step> {
    let rare = u32::from(with_losses);
    prop_oneof![
        12 => (happening(), any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(what, a, b, c)| Step::Happen(what, a, b, c)),
        4 => (prop::collection::vec(any::<u8>(), 1..6), any::<bool>()).prop_map(|(which, again)| Step::Deliver(which, again)),
        rare * 2 => any::<u8>().prop_map(Step::Lose),
        rare * 2 => any::<u8>().prop_map(Step::Vanish),
        1 + rare => Just(Step::Scan),
        rare => Just(Step::Restart),
        rare => any::<u16>().prop_map(Step::Damage),
        1 => Just(Step::Compact),
    ]
}

/// Everything in the tree, directories before what is in them.
fn everything(tree: &Path) -> Vec<PathBuf> {
    let mut found = vec![tree.to_path_buf()];
    let mut next = 0;
    while let Some(dir) = found.get(next).cloned() {
        next += 1;
        if fs::symlink_metadata(&dir).unwrap().is_dir() {
            let mut names: Vec<PathBuf> =
                fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            found.extend(names);
        }
    }
    found
}

fn pick(from: &[PathBuf], which: u8) -> Option<PathBuf> {
    (!from.is_empty()).then(|| from[usize::from(which) % from.len()].clone())
}

const SIZES: [usize; 8] = [0, 10, 64, 65, 130, 300, 1000, 5000];
const NAMES: [&str; 5] = ["a", "b", "c", "d.key", "e"];

fn happen(rig: &mut Rig, what: Happening, a: u8, b: u8, c: u8) {
    let all = everything(&rig.tree);
    let kind = |wanted: fn(&fs::FileType) -> bool| -> Vec<PathBuf> {
        all.iter().filter(|path| wanted(&fs::symlink_metadata(path).unwrap().file_type())).cloned().collect()
    };
    let (dirs, files) = (kind(fs::FileType::is_dir), kind(fs::FileType::is_file));
    let Some(dir) = pick(&dirs, a) else { return };
    let place = dir.join(NAMES[usize::from(b) % NAMES.len()]);
    let there = fs::symlink_metadata(&place).ok();
    let bytes = vec![c; SIZES[usize::from(c) % SIZES.len()]];
    match what {
        Happening::Write if there.as_ref().is_none_or(fs::Metadata::is_file) => rig.write(&place, &bytes),
        Happening::Append => {
            if let Some(file) = pick(&files, a) {
                rig.append(&file, &bytes);
            }
        }
        Happening::Remove => {
            if let Some(path) = pick(&all[1..], c) {
                rig.remove(&path);
            }
        }
        Happening::Rename => {
            if let Some(path) = pick(&all[1..], c) {
                // Not possible: a directory into itself, over one that is not empty.
                let _ = rig.try_rename(&path, &place);
            }
        }
        Happening::Exchange => {
            if let (Some(one), Some(other)) = (pick(&all[1..], a), pick(&all[1..], b)) {
                let _ = rig.try_exchange(&one, &other);
            }
        }
        Happening::Mkdir if there.is_none() => rig.mkdir(&place),
        Happening::Symlink if there.is_none() => {
            let target = pick(&all, c).unwrap_or_default();
            rig.symlink(&target, &place);
        }
        Happening::Link if there.is_none() => {
            if let Some(file) = pick(&files, c) {
                rig.link(&file, &place);
            }
        }
        Happening::Chmod => {
            if let Some(path) = pick(&[dirs.clone(), files.clone()].concat(), c) {
                rig.chmod(&path, [0o755, 0o700, 0o4711][usize::from(a) % 3]);
            }
        }
        _ => {}
    }
}

fn run(steps: &[Step], settled: bool, relative: bool, nameless: bool, entries_max: usize) {
    let mut rig = if settled { Rig::new() } else { Rig::with_real_stamps() };
    rig.relative = relative;
    rig.nameless = nameless;
    rig.entries_max = entries_max;
    for dir in ["a", "b/c"] {
        let dir = rig.at(dir);
        rig.mkdir_all(&dir);
        rig.write(&dir.join("a"), b"here from the start");
    }
    rig.start();
    for step in steps {
        match step {
            Step::Happen(what, a, b, c) => {
                let n = rig.queue.len();
                happen(&mut rig, *what, *a, *b, *c);
                // Shown for a case that fails.
                println!(
                    "{what:?} {:?}",
                    rig.queue[n..].iter().map(|event| &event.change).collect::<Vec<_>>()
                );
            }
            Step::Deliver(which, again) => {
                let mut batch = Vec::new();
                for which in which {
                    if rig.queue.is_empty() {
                        break;
                    }
                    let index = usize::from(*which) % rig.queue.len();
                    let event = if *again { rig.queue[index].clone() } else { rig.queue.remove(index) };
                    batch.push(event);
                }
                rig.deliver_these(&batch);
            }
            Step::Lose(which) if !rig.queue.is_empty() => {
                let index = usize::from(*which) % rig.queue.len();
                rig.lose(index);
            }
            Step::Vanish(which) if !rig.queue.is_empty() => {
                let index = usize::from(*which) % rig.queue.len();
                rig.vanish(index);
            }
            Step::Lose(_) | Step::Vanish(_) => {}
            Step::Scan => {
                rig.scan_step(Duration::from_micros(1));
            }
            Step::Restart => {
                rig.kill().open();
            }
            Step::Damage(at) => {
                rig.kill();
                let file = fs::File::options().write(true).open(rig.brick_path()).unwrap();
                let len = file.metadata().unwrap().len();
                file.write_all_at(&[0x5a; 40], (132 + u64::from(*at)).min(len - 40)).unwrap();
                rig.open();
            }
            Step::Compact => {
                rig.compact();
            }
        }
    }
    rig.settle().check();
    // Laid out anew, it is what somebody makes who sees the tree for the first time.
    let hash = rig.compact().check().opened().brick.root_hash();
    assert_eq!(rig.forget().start().check().opened().brick.root_hash(), hash);
}

/// Found by the test below. All in one batch: a directory gets another name, a file is made in it under that name, and the
/// directory gets its name back. The file's own event names a path that is not there any more; only the directory
/// itself still says that something in it is new.
#[test]
fn a_file_made_in_a_directory_that_was_elsewhere_for_a_moment() {
    use Happening::{Rename, Write};
    let steps = [(Rename, 4, 2, 25), (Write, 42, 1, 0), (Rename, 20, 105, 55)];
    for relative in [false, true] {
        run(&steps.map(|(what, a, b, c)| Step::Happen(what, a, b, c)), true, relative, false, ENTRIES_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(96) })]

    /// As long as nothing is lost, events alone keep the brick true, in whatever order and number they come.
    #[test]
    fn events_in_any_order_lead_to_the_truth(
        steps in prop::collection::vec(step(false), 1..60), settled in prop::bool::weighted(0.9), relative: bool,
        nameless: bool,
    ) {
        run(&steps, settled, relative, nameless, ENTRIES_MAX);
    }

    /// With losses (told at once or late, or by a batch stage that was full), kills and damaged pixels, the scans that
    /// follow do.
    #[test]
    fn after_losses_and_kills_scans_lead_to_the_truth(
        steps in prop::collection::vec(step(true), 1..60), settled in prop::bool::weighted(0.9), relative: bool,
        nameless: bool,
        entries_max in prop_oneof![3 => Just(ENTRIES_MAX), 1 => 1_usize..4],
    ) {
        run(&steps, settled, relative, nameless, entries_max);
    }
}
