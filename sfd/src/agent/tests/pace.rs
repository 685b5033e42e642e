//! What nobody reports, and scans that follow one another.

use std::fs;
use std::time::{Duration, Instant};

use super::Rig;
use crate::agent::root::EVENTS_LOST;
use crate::agent::scan::{REST_MAX, UNWATCHED_EVERY};

fn files(rig: &mut Rig, count: usize) {
    for n in 0..count {
        let file = rig.at(&format!("file{n}"));
        rig.write(&file, format!("{n}").as_bytes());
    }
}

/// The comparison that is due by then, to its end.
fn compare_unwatched(rig: &mut Rig) {
    let at = rig.root().next_scan().expect("something is not watched");
    assert!(at <= Instant::now() + UNWATCHED_EVERY, "the stated bound");
    rig.root().start_due_scan(at);
    rig.scan();
}

#[test]
fn what_does_not_fit_the_map_of_watched_inodes_is_compared_every_few_seconds() {
    let mut rig = Rig::new();
    files(&mut rig, 8);
    rig.kernel.room = Some(4);
    rig.start().check();
    assert_eq!(rig.root().unwatched.len(), 5);
    for n in 0..8 {
        let file = rig.at(&format!("file{n}"));
        rig.append(&file, b" changed");
    }
    assert_eq!(rig.queue.len(), 3, "one is the directory");
    rig.settle();
    let looks = rig.root().counters().looks;
    let verified = rig.root().counters().last_full_verification_ns;
    compare_unwatched(&mut rig);
    rig.check();
    assert_eq!(rig.root().counters().looks - looks, 5, "the others are not looked at");
    assert_eq!(rig.root().counters().last_full_verification_ns, verified, "that was not everything");
    // What is full is asked once, not for each of them.
    let asked = rig.kernel.refused();
    compare_unwatched(&mut rig);
    assert_eq!(rig.kernel.refused() - asked, 1);
    // Again and again; and when there is room, it is used.
    rig.kernel.room = None;
    compare_unwatched(&mut rig);
    assert!(rig.root().unwatched.is_empty());
    rig.check();
    assert!(rig.root().next_scan().is_none_or(|at| at > Instant::now()));
}

#[test]
fn a_new_object_that_does_not_fit_is_compared_too() {
    let mut rig = Rig::new();
    rig.start();
    rig.kernel.room = Some(1);
    let (dir, inside) = (rig.at("dir"), rig.at("dir/inside"));
    rig.mkdir(&dir);
    rig.settle();
    // In a directory that nobody watches; inotify would say nothing.
    fs::write(&inside, b"unseen").unwrap();
    compare_unwatched(&mut rig);
    rig.check();
}

#[test]
fn a_rearm_that_fails_does_not_silence_a_file() {
    let mut rig = Rig::new();
    files(&mut rig, 1);
    rig.start();
    let file = rig.at("file0");
    rig.append(&file, b" once");
    *rig.kernel.no_memory.lock().unwrap() = true;
    rig.settle();
    rig.append(&file, b" twice");
    assert!(rig.queue.is_empty(), "nobody reports it");
    compare_unwatched(&mut rig);
    rig.check();
    rig.append(&file, b" three times");
    assert_eq!(rig.queue.len(), 1, "it is watched again");
    rig.settle().check();
}

/// The daemon's log in a root that it watches: the kernel side leaves the daemon's own writes out, or each line that it
/// logs about a change would be a change.
#[test]
fn a_file_that_the_daemon_itself_writes_is_compared_every_few_seconds() {
    let mut rig = Rig::new();
    files(&mut rig, 2);
    rig.own = rig.inode(&rig.at("file0")).into_iter().collect();
    rig.start().check();
    assert_eq!(rig.root().unwatched.len(), 1);
    let commits = rig.root().counters().commits;
    for _ in 0..3 {
        compare_unwatched(&mut rig);
    }
    assert_eq!(rig.root().counters().commits, commits, "nothing has changed, so nothing is written");
    let file = rig.at("file0");
    rig.append(&file, b" a line of the log");
    rig.queue.clear();
    compare_unwatched(&mut rig);
    rig.check();
}

#[test]
fn a_loss_in_the_middle_of_a_scan_costs_one_more_look_at_what_it_had_passed() {
    let mut rig = Rig::new();
    files(&mut rig, 200);
    rig.start();
    rig.root().heal().unwrap();
    while rig.root().scan_progress().is_none_or(|(done, _)| done < 50) {
        rig.scan_step(Duration::from_micros(1));
    }
    let all = rig.root().inventory().len() as u64;
    let done = rig.root().scan_progress().unwrap().0;
    let looks = rig.root().counters().looks;
    for _ in 0..1000 {
        rig.root().heal().unwrap();
    }
    assert_eq!(rig.root().inventory().unverified(), all, "what was verified before the loss is not any more");
    rig.scan().check();
    assert!(done < all);
    assert_eq!(rig.root().counters().looks - looks, all, "each once after the last loss");
}

#[test]
fn a_loss_marks_what_was_verified_and_does_not_repaint_everything() {
    let mut rig = Rig::new();
    files(&mut rig, 200);
    rig.start();
    rig.root().heal().unwrap();
    while rig.root().inventory().len() as u64 - rig.root().inventory().unverified() < 5 {
        rig.scan_step(Duration::from_micros(1));
    }
    let verified = rig.root().inventory().len() as u64 - rig.root().inventory().unverified();
    let (cells, commits) = (rig.root().counters().cells_written, rig.root().counters().commits);
    rig.root().heal().unwrap();
    assert_eq!(rig.root().inventory().unverified(), rig.root().inventory().len() as u64);
    let written = rig.root().counters().cells_written - cells;
    assert!(written > 0 && written <= verified * 256, "{written} cells for {verified} artifacts");
    // On the brick and in the catalog as well.
    let rows = rig.root().brick.rows().unwrap();
    assert!(rows.iter().all(|row| row.unverified.as_deref() == Some(EVENTS_LOST)));
    rig.root().heal().unwrap();
    assert_eq!(rig.root().counters().commits, commits + 1, "nothing is left to be marked");
    rig.scan().check();
}

#[test]
fn scans_after_losses_that_never_end_rest_between() {
    let mut rig = Rig::new();
    files(&mut rig, 50);
    rig.start();
    rig.heal();
    // The rig takes no rests; the daemon does.
    rig.root().heal().unwrap();
    let at = rig.root().next_scan().expect("a rest");
    assert!(at <= Instant::now() + REST_MAX);
    rig.root().start_due_scan(at.checked_sub(Duration::from_nanos(1)).unwrap());
    assert!(rig.root().scan_progress().is_none(), "it rests");
    assert!(rig.root().inventory().unverified() > 0, "and says so");
    rig.root().start_due_scan(at);
    assert!(rig.root().scan_progress().is_some());
    // A loss while it goes on: it comes to its end, rests, and only then looks at the rest once more.
    let mut kernel = rig.kernel.clone();
    rig.root().scan_step(Duration::from_micros(1), &mut kernel).unwrap();
    rig.root().heal().unwrap();
    while rig.root().scan_step(Duration::from_secs(1), &mut kernel).unwrap() {}
    assert!(rig.root().scan_progress().is_none() && rig.root().pace.wanted, "it rests");
    assert!(rig.root().inventory().unverified() > 0, "what it had passed is in doubt");
    rig.scan().check();
}
