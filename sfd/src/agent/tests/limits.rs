//! What cannot be read, placed or watched, and what changes in the very moment in which it is looked at.

use std::fs;

use super::Rig;
use crate::collect::Op;
use crate::fold::K_MIN;

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
    assert_eq!(rig.root().unwatched.len(), 3);
    rig.heal();
    rig.heal().check();
    assert_eq!(rig.root().unwatched.len(), 3);
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
    // What is on the brick is old, and that shows.
    assert!(rig.row("file").unverified.unwrap().contains("costly"));
    rig.settle().check();
    // Another file of that name has not cost anything yet.
    let aside = rig.at("aside");
    rig.append(&file, b"!");
    rig.deliver();
    rig.write(&aside, b"small");
    rig.rename(&aside, &file);
    rig.deliver().check();
}
