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
fn a_writer_who_is_reported_after_the_look_that_saw_his_change_is_named_too() {
    let mut rig = Rig::new();
    let file = rig.at("file");
    rig.write(&file, b"one");
    rig.start();
    let writer = |pid| {
        let (comm, origin) = ("sh".to_owned(), std::sync::Arc::default());
        Some(crate::collect::Writer {
            pid,
            start_ns: 1,
            uid: 0,
            login_uid: None,
            comm: comm.into(),
            cgroup: 0,
            origin,
        })
    };
    rig.append(&file, b" two");
    for event in &mut rig.queue {
        event.writer = writer(7);
    }
    let mut late = rig.queue.last().unwrap().clone();
    rig.deliver();
    late.writer = writer(8);
    for _ in 0..2 {
        rig.deliver_these(&[late.clone()]);
    }
    assert_eq!(rig.history(), ["modified file", "modified file"], "once, though reported twice");
    let lines = rig.opened().brick.history(&crate::brick::HistoryQuery::default()).unwrap();
    let pids: Vec<u32> = lines.iter().flat_map(|(_, line)| &line.writers).map(|writer| writer.pid).collect();
    assert_eq!(pids, [7, 8]);
}

#[test]
fn what_nobody_reported_is_not_laid_at_the_door_of_who_was_reported() {
    let mut rig = Rig::new();
    rig.start();
    let (one, two) = (rig.at("one"), rig.at("two"));
    rig.write(&one, b"1");
    let (comm, origin) = ("sh".to_owned(), std::sync::Arc::default());
    let writer = crate::collect::Writer {
        pid: 7,
        start_ns: 1,
        uid: 0,
        login_uid: None,
        comm: comm.into(),
        cgroup: 0,
        origin,
    };
    for event in &mut rig.queue {
        event.writer = Some(writer.clone());
    }
    fs::write(&two, b"2").unwrap();
    rig.deliver().check();
    let lines = rig.opened().brick.history(&crate::brick::HistoryQuery::default()).unwrap();
    let by = |name: &[u8]| {
        let (_, line) = lines.iter().find(|(_, line)| line.path.ends_with(name)).unwrap();
        (line.writers.len(), line.unknown_writers)
    };
    assert_eq!((by(b"one"), by(b"two")), ((1, false), (0, true)));
}
