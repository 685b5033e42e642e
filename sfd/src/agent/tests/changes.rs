//! One kind of change at a time.

use std::fs;
use std::path::Path;

use super::Rig;
use crate::collect::Op;
use crate::fold::K_MIN;

#[test]
fn create_modify_chmod_delete() {
    let mut rig = Rig::new();
    let file = rig.at("file");
    rig.start().check();
    rig.write(&file, b"one");
    rig.deliver().check();
    let block = rig.block("file");
    rig.append(&file, b" two");
    rig.deliver().check();
    assert_eq!(rig.block("file"), block, "its size class is the same");
    rig.chmod(&file, 0o600);
    rig.deliver().check();
    rig.remove(&file);
    rig.deliver().check();
    assert!(!rig.knows("file"));
    assert_eq!(rig.history(), ["created file", "modified file", "attributes file", "deleted file"]);
}

#[test]
fn contents_of_one_size_with_the_stamps_the_kernel_gives() {
    let mut rig = Rig::with_real_stamps();
    let file = rig.at("file");
    rig.write(&file, b"aaaa");
    rig.start().check();
    for bytes in [b"bbbb", b"cccc", b"dddd"] {
        rig.write(&file, bytes);
        rig.deliver();
        rig.write(&file, b"late");
        rig.write(&file, bytes);
        rig.settle().check();
    }
}

#[test]
fn a_loss_within_one_tick_of_the_clock_is_found_by_the_scan() {
    let mut rig = Rig::with_real_stamps();
    let file = rig.at("file");
    rig.start();
    for round in 0..20_u8 {
        // Twice within one tick, the second unseen: size and most likely both time stamps are the same.
        rig.write(&file, &[round; 8]);
        rig.deliver();
        fs::write(&file, [round + 100; 8]).unwrap();
        rig.queue.clear();
        rig.heal();
        let id = rig.row("file").content_hash;
        assert_eq!(id, *blake3::hash(&[round + 100; 8]).as_bytes());
    }
    rig.settle().check();
}

#[test]
fn a_rename_moves_nothing() {
    let mut rig = Rig::new();
    let (a, b) = (rig.at("a"), rig.at("b"));
    rig.write(&a, b"contents");
    rig.start();
    let block = rig.block("a");
    rig.rename(&a, &b);
    rig.deliver().check();
    assert_eq!(rig.block("b"), block);
    assert_eq!(rig.history(), ["renamed a -> b"]);
}

#[test]
fn a_rename_over_a_file_keeps_the_place_of_the_name() {
    let mut rig = Rig::new();
    let (file, aside) = (rig.at("file"), rig.at(".file.new"));
    rig.write(&file, b"old");
    rig.start();
    let block = rig.block("file");
    // As an editor does it; all at once, and step by step.
    rig.write(&aside, b"new");
    rig.rename(&aside, &file);
    rig.deliver().check();
    assert_eq!(rig.block("file"), block);
    rig.write(&aside, b"newer");
    rig.rename(&aside, &file);
    rig.deliver_singly().check();
    assert_eq!(rig.block("file"), block);
    rig.append(&file, b"!");
    rig.deliver().check();
}

#[test]
fn a_log_is_rotated_and_begun_anew_in_one_window() {
    let mut rig = Rig::new();
    let (log, old) = (rig.at("log"), rig.at("log.1"));
    rig.write(&log, b"yesterday");
    rig.start();
    let block = rig.block("log");
    rig.rename(&log, &old);
    rig.write(&log, b"today");
    rig.deliver().check();
    assert_eq!(rig.block("log.1"), block);
    // Only one of the events arrives in time.
    for keep in 0..3 {
        rig.remove(&old);
        rig.rename(&log, &old);
        rig.write(&log, &[b'x'; 20 + 1]);
        let all = std::mem::take(&mut rig.queue);
        let first = all[keep].clone();
        rig.deliver_these(&[first]);
        rig.deliver_these(&all).check();
    }
}

#[test]
fn a_chain_of_renames_in_one_window() {
    let mut rig = Rig::new();
    let name = |n: u32| format!("log.{n}");
    for n in 0..4 {
        let path = rig.at(&name(n));
        rig.write(&path, format!("generation {n}").as_bytes());
    }
    rig.start();
    let blocks: Vec<_> = (0..4).map(|n| rig.block(&name(n))).collect();
    for n in (0..4).rev() {
        let (from, to) = (rig.at(&name(n)), rig.at(&name(n + 1)));
        rig.rename(&from, &to);
    }
    let fresh = rig.at(&name(0));
    rig.write(&fresh, b"the newest");
    rig.deliver().check();
    // The name that is free now went first, so every one of them is a plain rename.
    let moved: Vec<_> = (1..5).map(|n| rig.block(&name(n))).collect();
    assert!(moved.iter().any(|block| blocks.contains(block)));
}

#[test]
fn names_exchanged() {
    let mut rig = Rig::new();
    let (a, b) = (rig.at("a"), rig.at("b"));
    rig.write(&a, b"contents of a");
    rig.write(&b, &[b'b'; 500]);
    rig.start();
    rig.try_exchange(&a, &b).unwrap();
    rig.deliver().check();
    rig.try_exchange(&a, &b).unwrap();
    rig.deliver_singly().check();
    rig.append(&a, b", more");
    rig.append(&b, b", more");
    rig.deliver().check();
}

#[test]
fn directories_exchanged() {
    let mut rig = Rig::new();
    for (path, bytes) in
        [("a/same", "1"), ("b/same", "2"), ("a/only", "3"), ("b/sub/deep", "4"), ("a/sub/deep", "5")]
    {
        let path = rig.at(path);
        rig.mkdir_all(path.parent().unwrap());
        rig.write(&path, bytes.as_bytes());
    }
    rig.start();
    let block = rig.block("a/only");
    let (a, b) = (rig.at("a"), rig.at("b"));
    rig.try_exchange(&a, &b).unwrap();
    rig.deliver().check();
    assert_eq!(rig.block("b/only"), block, "it only has another name");
    rig.try_exchange(&a, &b).unwrap();
    rig.deliver_singly().check();
    let deep = rig.at("a/sub/deep");
    rig.append(&deep, b"!");
    rig.deliver().check();
}

#[test]
fn a_file_and_a_directory_exchanged() {
    let mut rig = Rig::new();
    let (dir, file) = (rig.at("x"), rig.at("y"));
    rig.mkdir(&dir);
    let inner = rig.at("x/inner");
    rig.write(&inner, b"inner");
    rig.write(&file, b"file");
    rig.start();
    rig.try_exchange(&dir, &file).unwrap();
    rig.deliver().check();
    rig.try_exchange(&dir, &file).unwrap();
    rig.deliver_singly().check();
}

#[test]
fn a_directory_is_renamed_with_all_that_is_in_it() {
    let mut rig = Rig::new();
    let (old, new) = (rig.at("old"), rig.at("new"));
    let deep = rig.at("old/one/two");
    rig.mkdir_all(&deep);
    for n in 0..100 {
        let file = rig.at(&format!("old/one/file{n}"));
        rig.write(&file, format!("{n}").as_bytes());
    }
    rig.start();
    let block = rig.block("old/one/file42");
    let cells = rig.root().counters().cells_written;
    rig.rename(&old, &new);
    rig.deliver().check();
    assert_eq!(rig.block("new/one/file42"), block);
    assert_eq!(rig.history(), ["renamed old -> new"]);
    assert!(rig.root().counters().cells_written - cells <= 1024, "only the directory itself was repainted");
    let file = rig.at("new/one/file42");
    rig.append(&file, b", changed");
    let fresh = rig.at("new/one/two/fresh");
    rig.write(&fresh, b"fresh");
    rig.deliver().check();
}

#[test]
fn a_file_moves_into_a_directory_that_is_renamed_in_the_same_window() {
    for relative in [false, true] {
        for before in [false, true] {
            let mut rig = Rig::new();
            rig.relative = relative;
            let (dir, new, file) = (rig.at("dir"), rig.at("renamed"), rig.at("other/file"));
            rig.mkdir(&dir);
            rig.mkdir_all(file.parent().unwrap());
            rig.write(&file, b"moves twice");
            rig.start();
            let block = rig.block("other/file");
            if before {
                rig.rename(&file, &dir.join("file"));
                rig.rename(&dir, &new);
            } else {
                rig.rename(&dir, &new);
                rig.rename(&file, &new.join("file"));
            }
            rig.deliver().check();
            assert_eq!(rig.block("renamed/file"), block);
        }
    }
}

#[test]
fn a_file_moves_into_a_new_directory_in_the_same_window() {
    let mut rig = Rig::new();
    let (dir, file) = (rig.at("new/deep"), rig.at("file"));
    rig.write(&file, b"keeps its place");
    rig.start();
    let block = rig.block("file");
    rig.mkdir_all(&dir);
    rig.rename(&file, &dir.join("file"));
    rig.deliver().check();
    assert_eq!(rig.block("new/deep/file"), block);
}

#[test]
fn a_directory_replaces_an_empty_one() {
    let mut rig = Rig::new();
    let (from, to) = (rig.at("from"), rig.at("to"));
    let file = rig.at("from/file");
    rig.mkdir(&from);
    rig.mkdir(&to);
    rig.write(&file, b"keeps its place");
    rig.start();
    let block = rig.block("from/file");
    rig.rename(&from, &to);
    rig.deliver().check();
    assert_eq!(rig.block("to/file"), block);
}

#[test]
fn parent_and_child_change_places() {
    for singly in [false, true] {
        let mut rig = Rig::new();
        let (a, b, swap) = (rig.at("a"), rig.at("a/b"), rig.at("swap"));
        rig.mkdir_all(&b);
        for path in ["a/in a", "a/b/in b"] {
            let path = rig.at(path);
            rig.write(&path, b"x");
        }
        rig.start();
        rig.rename(&b, &swap);
        rig.rename(&a, &swap.join("a"));
        rig.rename(&swap, &a);
        if singly {
            rig.deliver_singly()
        } else {
            rig.deliver()
        };
        rig.check();
        assert!(rig.knows("a/a/in a") && rig.knows("a/in b"));
    }
}

#[test]
fn a_file_becomes_a_directory_and_back() {
    let mut rig = Rig::new();
    let (path, inner) = (rig.at("x"), rig.at("x/y/z"));
    rig.write(&path, b"file");
    rig.start();
    for singly in [false, true] {
        rig.remove(&path);
        rig.mkdir_all(inner.parent().unwrap());
        rig.write(&inner, b"inner");
        if singly {
            rig.deliver_singly()
        } else {
            rig.deliver()
        };
        rig.check();
        rig.remove(&path);
        rig.write(&path, b"file");
        if singly {
            rig.deliver_singly()
        } else {
            rig.deliver()
        };
        rig.check();
    }
    // Only the name at the bottom is told at first.
    rig.remove(&path);
    rig.mkdir_all(inner.parent().unwrap());
    rig.write(&inner, b"inner");
    let last = rig.queue.pop().unwrap();
    rig.deliver_these(&[last]).check();
}

#[test]
fn a_deep_tree_of_which_one_event_arrives() {
    for top in [false, true] {
        let mut rig = Rig::new();
        rig.start();
        let file = rig.at("a/b/c/d/e/file");
        rig.mkdir_all(file.parent().unwrap());
        rig.write(&file, b"deep");
        let index = if top { 0 } else { rig.queue.len() - 1 };
        let event = rig.queue[index].clone();
        rig.queue.clear();
        rig.deliver_these(&[event]).check();
    }
}

#[test]
fn hard_links() {
    let mut rig = Rig::new();
    let (a, b, c) = (rig.at("a"), rig.at("dir/b"), rig.at("c"));
    rig.mkdir_all(b.parent().unwrap());
    rig.write(&a, b"one inode");
    rig.start();
    rig.link(&a, &b);
    rig.deliver().check();
    rig.append(&b, b", two names");
    rig.deliver().check();
    assert_eq!(rig.row("a").content_hash, rig.row("dir/b").content_hash);
    let (of_a, of_b) = (rig.block("a"), rig.block("dir/b"));
    rig.rename(&b, &c);
    rig.deliver().check();
    assert_eq!((rig.block("a"), rig.block("c")), (of_a, of_b), "the one that was renamed");
    rig.remove(&a);
    rig.deliver().check();
    rig.append(&c, b", one name");
    rig.deliver().check();
    rig.remove(&c);
    rig.deliver().check();
}

#[test]
fn symbolic_links() {
    let mut rig = Rig::new();
    let (link, dir, file) = (rig.at("link"), rig.at("dir"), rig.at("dir/file"));
    rig.mkdir(&dir);
    rig.write(&file, b"x");
    rig.symlink(Path::new("dir"), &link);
    let dangling = rig.at("dangling");
    rig.symlink(Path::new("nowhere"), &dangling);
    rig.start().check();
    // What is done through a link happens in the directory it leads to.
    let through = rig.at("link/new");
    rig.write(&through, b"through the link");
    rig.deliver().check();
    let gone = rig.at("link/file");
    rig.remove(&gone);
    rig.deliver().check();
    // Another target under the same name.
    rig.remove(&link);
    rig.symlink(Path::new("elsewhere"), &link);
    rig.deliver().check();
    // A directory becomes a link to itself, moved.
    let moved = rig.at("moved");
    rig.rename(&dir, &moved);
    rig.symlink(&moved, &dir);
    rig.deliver().check();
}

#[test]
fn names_with_dots_name_the_link_and_not_its_target() {
    let mut rig = Rig::new();
    let (sub, target) = (rig.at("sub"), rig.at("target"));
    rig.mkdir(&sub);
    rig.write(&target, b"x");
    rig.start();
    let link = rig.at("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    rig.report_name(&sub.join("../link"), Op::Symlink);
    rig.deliver().check();
    fs::create_dir(rig.at("made")).unwrap();
    let slash = rig.at("sub/.././made/");
    rig.report_name(&slash, Op::Mkdir);
    rig.deliver().check();
    fs::rename(rig.at("target"), rig.at("sub/moved")).unwrap();
    rig.report_name(&sub.join("../target"), Op::RenameFrom);
    rig.report_name(&sub.join("../sub/moved"), Op::RenameTo);
    rig.deliver().check();
}

#[test]
fn a_name_whose_directory_is_gone() {
    let mut rig = Rig::new();
    let (sub, made) = (rig.at("sub"), rig.at("made"));
    rig.mkdir(&sub);
    rig.start();
    fs::write(&made, b"x").unwrap();
    rig.report_name(&sub.join("../made"), Op::Create);
    rig.remove(&sub);
    rig.deliver().check();
}

#[test]
fn the_root_goes_and_comes_back() {
    let mut rig = Rig::new();
    let (tree, file) = (rig.tree.clone(), rig.at("dir/file"));
    rig.mkdir_all(file.parent().unwrap());
    rig.write(&file, b"before");
    rig.start().check();
    rig.remove(&tree);
    rig.deliver();
    assert_eq!(rig.root().inventory().len(), 1);
    assert_eq!(rig.root().inventory().unverified(), 1, "it is not there, and that shows");
    rig.heal();
    assert_eq!(rig.root().inventory().unverified(), 1);
    rig.mkdir(&tree);
    rig.mkdir_all(file.parent().unwrap());
    rig.write(&file, b"after");
    rig.deliver().check();
}

#[test]
fn a_directory_above_the_root_is_renamed() {
    let mut rig = Rig::new();
    let file = rig.at("file");
    rig.write(&file, b"x");
    rig.start().check();
    let (above, aside) = (rig.tree.parent().unwrap().to_path_buf(), rig.elsewhere("aside"));
    rig.rename(&above, &aside);
    rig.deliver();
    assert_eq!(rig.root().inventory().len(), 1);
    assert_eq!(rig.root().inventory().unverified(), 1);
    rig.rename(&aside, &above);
    rig.deliver().check();
}

#[test]
fn a_directory_that_cannot_be_listed_shows_it() {
    let mut rig = Rig::new();
    let (dir, file, locked) = (rig.at("dir"), rig.at("dir/file"), rig.at("locked"));
    rig.mkdir(&dir);
    rig.mkdir(&locked);
    rig.write(&file, b"x");
    rig.tricks.lock().unwrap().unlistable.insert(locked.clone());
    rig.start().check_except(&["locked"]);
    assert!(rig.row("locked").unverified.unwrap().contains("cannot be listed"));
    // A look at the directory itself does not tell what is in it.
    rig.report_inode(&locked);
    rig.deliver().check_except(&["locked"]);
    rig.tricks.lock().unwrap().unlistable.insert(dir.clone());
    rig.chmod(&dir, 0o000);
    rig.deliver().check_except(&["locked", "dir"]);
    rig.heal().check_except(&["locked", "dir"]);
    rig.start().check_except(&["locked", "dir"]);
    let fresh = rig.at("fresh");
    rig.tricks.lock().unwrap().unlistable.insert(fresh.clone());
    rig.mkdir(&fresh);
    rig.deliver().check_except(&["locked", "dir", "fresh"]);
    rig.tricks.lock().unwrap().unlistable.clear();
    for path in [&dir, &locked, &fresh] {
        rig.chmod(path, 0o750);
    }
    rig.deliver().check();
}

#[test]
fn out_of_the_root_and_into_it() {
    let mut rig = Rig::new();
    let (dir, file, out) = (rig.at("dir"), rig.at("dir/file"), rig.elsewhere("out"));
    rig.mkdir(&dir);
    rig.write(&file, b"travels");
    rig.start();
    rig.rename(&dir, &out);
    rig.deliver().check();
    assert!(!rig.knows("dir"));
    fs::write(out.join("file"), b"changed meanwhile").unwrap();
    let back = rig.at("back");
    rig.rename(&out, &back);
    rig.deliver().check();
    let file = rig.at("back/file");
    rig.append(&file, b", and again");
    rig.deliver().check();
    // Out and in again within one window.
    rig.rename(&back, &out);
    rig.rename(&out, &dir);
    rig.deliver().check();
}

#[test]
fn a_file_becomes_a_secret_by_its_name_and_back() {
    let mut rig = Rig::new();
    let (plain, secret) = (rig.at("notes"), rig.at("server.key"));
    let text = b"correct horse battery staple";
    rig.write(&plain, text);
    rig.start().check();
    assert!(!rig.row("notes").redacted);
    let on_disk = |rig: &Rig| {
        [rig.brick_path(), rig.catalog_path()].iter().any(|path| {
            let bytes = fs::read(path).unwrap();
            bytes.windows(text.len()).any(|window| window == text)
        })
    };
    rig.rename(&plain, &secret);
    rig.deliver().check();
    let row = rig.row("server.key");
    assert!(row.redacted);
    let cells = rig.root().brick.cells(row.block.start, row.len);
    assert_ne!(cells, text);
    assert!(!on_disk(&rig));
    rig.rename(&secret, &plain);
    rig.deliver().check();
    assert!(!rig.row("notes").redacted);
    // By the name of a directory above it.
    let (dir, private) = (rig.at("ssl/public"), rig.at("ssl/private"));
    rig.mkdir_all(&dir);
    rig.rename(&plain, &dir.join("notes"));
    rig.deliver().check();
    rig.rename(&dir, &private);
    rig.deliver().check();
    assert!(rig.row("ssl/private/notes").redacted);
}

#[test]
fn the_brick_grows_and_nobody_moves() {
    let mut rig = Rig::new();
    let first = rig.at("first");
    rig.write(&first, b"first");
    rig.start();
    let (order, block) = (rig.root().layout.order(), rig.block("first"));
    for n in 0..4 {
        let file = rig.at(&format!("large{n}"));
        rig.write(&file, &vec![n; 60_000]);
        rig.deliver().check();
    }
    // Beyond the largest block: a digest.
    let digest = rig.at("digest");
    rig.write(&digest, &vec![7; 200_000]);
    rig.deliver().check();
    assert!(!rig.row("digest").exact);
    assert!(rig.root().layout.order() >= order + 2);
    assert_eq!(rig.block("first"), block);
    let small = rig.at("large0");
    rig.write(&small, b"small");
    rig.deliver().check();
    assert_eq!(rig.block("large0").k, K_MIN);
    rig.write(&small, &vec![1; 50_000]);
    rig.deliver().check();
}

#[test]
fn a_batch_of_several_commits() {
    let mut rig = Rig::new();
    rig.strict = false;
    let keep = rig.at("dir/0/file0");
    rig.start();
    for n in 0..1500 {
        let file = rig.at(&format!("dir/{}/file{n}", n % 7));
        if n < 7 {
            rig.mkdir_all(file.parent().unwrap());
        }
        rig.write(&file, format!("{n}").as_bytes());
    }
    let commits = rig.root().counters().commits;
    rig.deliver().check();
    assert!(rig.root().counters().commits - commits >= 2);
    let (dir, aside) = (rig.at("dir"), rig.at("aside"));
    rig.rename(&dir, &aside);
    let fresh = rig.at("aside/fresh");
    rig.write(&fresh, b"fresh");
    rig.deliver().check();
    assert!(!keep.exists());
    rig.remove(&aside);
    rig.deliver().check();
    assert_eq!(rig.root().inventory().len(), 1);
}

#[test]
fn a_full_brick_shows_less_and_says_so() {
    let mut rig = Rig::new();
    let (file, other) = (rig.at("file"), rig.at("other"));
    rig.write(&file, &[b'a'; 64]);
    rig.write(&other, &[b'b'; 64]);
    rig.start().check();
    // Somebody has all the rest of a curve that cannot grow.
    let layout = &mut rig.root().layout;
    while layout.grow().is_ok() {}
    let somebody = crate::brick::ArtifactId(u32::MAX);
    let mut taken = Vec::new();
    for k in (K_MIN..=16).rev() {
        while let Some(block) = layout.alloc(k, 0, somebody) {
            taken.push(block);
        }
    }
    assert_eq!(layout.free_cells(), 0);
    let block = rig.block("file");
    rig.append(&file, &[b'a'; 100]);
    rig.deliver();
    let row = rig.row("file");
    assert_eq!((row.block, row.len, row.exact), (block, 164, false));
    assert_eq!(rig.root().brick.cells(block.start, 64), [b'a'; 64]);
    // What changes nothing about the contents leaves them where they are.
    rig.chmod(&file, 0o600);
    rig.deliver();
    assert_eq!(rig.root().brick.cells(block.start, 64), [b'a'; 64]);
    assert_eq!(rig.root().counters().no_room, 1);
    // Something new has no place at all: its directory says that it is not all there.
    let new = rig.at("new");
    rig.write(&new, b"new");
    rig.deliver();
    assert!(!rig.knows("new"));
    assert!(rig.row("").unverified.is_some());
    rig.remove(&other);
    for block in taken {
        rig.root().layout.free(block);
    }
    rig.append(&file, b"!");
    rig.deliver();
    rig.heal().settle();
    assert!(rig.row("").unverified.is_none());
    assert!(rig.row("new").exact && rig.row("file").exact);
    assert_eq!(rig.block("file").k, 8);
}

#[test]
fn what_is_replaced_while_it_is_looked_at_is_watched() {
    for fresh in [false, true] {
        let mut rig = Rig::new();
        let (file, aside) = (rig.at("file"), rig.elsewhere("aside"));
        if !fresh {
            rig.write(&file, b"first");
        }
        rig.start();
        if fresh {
            rig.write(&file, b"first");
        } else {
            rig.append(&file, b" changed");
        }
        fs::write(&aside, b"second").unwrap();
        let (from, to) = (aside.clone(), file.clone());
        let replace = Box::new(move || fs::rename(from, to).unwrap());
        rig.tricks.lock().unwrap().before_open = Some((file.clone(), replace));
        rig.settle();
        rig.report_name(&file, Op::RenameTo);
        rig.settle().check();
        rig.append(&file, b" and third");
        rig.settle().check();
    }
}

#[test]
fn what_goes_while_it_is_looked_at_is_not_watched_for_ever() {
    let mut rig = Rig::new();
    let file = rig.at("file");
    rig.start();
    rig.write(&file, b"short-lived");
    let path = file.clone();
    rig.tricks.lock().unwrap().before_open =
        Some((file.clone(), Box::new(move || fs::remove_file(path).unwrap())));
    rig.deliver();
    rig.report_name(&file, Op::Unlink);
    rig.deliver().check();
}

#[test]
fn what_comes_while_its_directory_is_listed_is_reported() {
    // The directory's inode is all that is reported: io_uring on some kernels.
    let mut rig = Rig::new();
    let (dir, first, second) = (rig.at("dir"), rig.at("dir/first"), rig.at("dir/second"));
    rig.mkdir(&dir);
    rig.start();
    fs::write(&first, b"first").unwrap();
    rig.report_inode(&dir);
    let kernel = rig.kernel.clone();
    let id = rig.inode(&dir).unwrap();
    let reported = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&reported);
    rig.tricks.lock().unwrap().after_list = Some((
        dir.clone(),
        Box::new(move || {
            fs::write(second, b"second").unwrap();
            seen.store(kernel.touch(id), std::sync::atomic::Ordering::Relaxed);
        }),
    ));
    rig.deliver();
    assert!(reported.load(std::sync::atomic::Ordering::Relaxed), "rearmed before it was listed");
}

#[test]
fn what_cannot_be_watched_is_counted_once() {
    let mut rig = Rig::new();
    for n in 0..5 {
        let file = rig.at(&format!("file{n}"));
        rig.write(&file, b"x");
    }
    rig.kernel.room = Some(3);
    rig.start().check();
    assert_eq!(rig.root().counters().unwatched, 3);
    rig.heal();
    rig.heal().check();
    assert_eq!(rig.root().counters().unwatched, 3);
}

#[test]
fn a_file_that_is_costly_to_read_is_not_read_all_the_time() {
    let mut rig = Rig::with_real_stamps();
    let file = rig.at("file");
    rig.start();
    rig.write(&file, &vec![1; 30 << 20]);
    rig.deliver();
    let looks = rig.tricks.lock().unwrap().opened[&file];
    // It never rests, and names are all that is reported: inotify.
    for n in 0..20 {
        rig.append(&file, &[n]);
        rig.report_name(&file, Op::InodeDirty);
        rig.deliver();
    }
    let more = rig.tricks.lock().unwrap().opened[&file] - looks;
    assert!(more <= 5, "{more} times");
    rig.settle().check();
}
