//! The daemon ends in the middle of things, and what it left is damaged.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::Rig;

fn some_files(rig: &mut Rig) {
    for n in 0..40 {
        let file = rig.at(&format!("dir{}/file{n}", n % 4));
        rig.mkdir_all(file.parent().unwrap());
        rig.write(&file, format!("contents of {n}").repeat(n + 1).as_bytes());
    }
}

fn change_everything(rig: &mut Rig) {
    for n in 0..20 {
        let file = rig.at(&format!("dir{}/file{n}", n % 4));
        rig.append(&file, b", more");
    }
    let (a, b, c) = (rig.at("dir0"), rig.at("renamed"), rig.at("dir1/file1"));
    rig.rename(&a, &b);
    rig.remove(&c);
}

#[test]
fn nothing_is_verified_until_it_was_compared() {
    let mut rig = Rig::new();
    some_files(&mut rig);
    rig.open();
    assert_eq!(rig.root().inventory().unverified(), 45);
    rig.scan().check();
    rig.open();
    assert_eq!(rig.root().inventory().unverified(), 45);
    rig.scan().check();
}

#[test]
fn killed_in_the_middle_of_a_baseline() {
    let mut rig = Rig::new();
    some_files(&mut rig);
    for _ in 0..5 {
        rig.open().scan_step(Duration::from_micros(1));
        rig.kill();
    }
    rig.start().check();
}

#[test]
fn changed_while_it_was_away() {
    let mut rig = Rig::new();
    some_files(&mut rig);
    rig.start().kill();
    change_everything(&mut rig);
    let block = {
        rig.open();
        rig.block("dir0/file4")
    };
    rig.scan().check();
    assert_eq!(rig.block("renamed/file4").start, block.start, "it was only renamed");
}

#[test]
fn changed_during_the_scan_after_a_restart() {
    let mut rig = Rig::new();
    some_files(&mut rig);
    rig.start().kill().open().scan_step(Duration::from_micros(1));
    change_everything(&mut rig);
    rig.deliver().scan_step(Duration::from_micros(1));
    let file = rig.at("renamed/file4");
    rig.append(&file, b", more");
    rig.settle().check();
}

#[test]
fn a_loss_in_the_middle_of_a_scan() {
    let mut rig = Rig::new();
    some_files(&mut rig);
    rig.start();
    for _ in 0..3 {
        rig.root().heal().unwrap();
        rig.scan_step(Duration::from_micros(1));
        change_everything_again(&mut rig);
    }
    rig.queue.clear();
    rig.heal().settle().check();
}

fn change_everything_again(rig: &mut Rig) {
    for n in 0..8 {
        let file = rig.at(&format!("dir{}/file{n}", n % 4));
        rig.append(&file, b", more");
    }
}

/// Losses that never end must not keep the scan at its beginning for ever.
#[test]
fn a_scan_goes_on_where_a_loss_interrupted_it() {
    let mut rig = Rig::new();
    some_files(&mut rig);
    rig.start();
    let mut looked = std::collections::BTreeSet::new();
    for _ in 0..200 {
        rig.root().heal().unwrap();
        rig.scan_step(Duration::from_micros(1));
        let root = rig.root();
        looked.extend(root.inventory().rows().filter(|row| row.unverified.is_none()).map(|row| row.id));
    }
    assert_eq!(looked.len(), rig.root().inventory().len());
}

type Damage = fn(&Rig);

const DAMAGES: [(&str, Damage); 6] = [
    ("flipped bytes", |rig| {
        let file = fs::File::options().write(true).open(rig.brick_path()).unwrap();
        file.write_all_at(&[0x5a; 300], 132 + 64).unwrap();
    }),
    ("a damaged header", |rig| {
        let file = fs::File::options().write(true).open(rig.brick_path()).unwrap();
        file.write_all_at(b"nonsense", 0).unwrap();
    }),
    ("truncated", |rig| {
        let file = fs::File::options().write(true).open(rig.brick_path()).unwrap();
        file.set_len(1000).unwrap();
    }),
    ("no brick", |rig| fs::remove_file(rig.brick_path()).unwrap()),
    ("no catalog", |rig| fs::remove_file(rig.catalog_path()).unwrap()),
    ("a catalog of noise", |rig| fs::write(rig.catalog_path(), [0xa5; 8192]).unwrap()),
];

#[test]
fn damaged_while_it_was_away() {
    for (name, damage) in DAMAGES {
        let mut rig = Rig::new();
        some_files(&mut rig);
        rig.start().kill();
        damage(&rig);
        println!("{name}");
        rig.start().check();
    }
}

/// The pixels that a damage took are blank until their files were read again, whoever dies in between: they must
/// never count as verified because their files have not changed.
#[test]
fn damaged_and_killed_again_before_it_was_healed() {
    for (name, damage) in DAMAGES {
        for scanned in [false, true] {
            println!("{name}, {scanned}");
            let mut rig = Rig::new();
            some_files(&mut rig);
            rig.start();
            // Everything is doubtful for another reason already.
            rig.root().heal().unwrap();
            rig.kill();
            damage(&rig);
            rig.open();
            if scanned {
                rig.scan_step(Duration::from_micros(1));
            }
            rig.kill().open().kill().start().check();
        }
    }
}

#[test]
fn damaged_and_reported_before_it_was_healed() {
    for (name, damage) in DAMAGES {
        println!("{name}");
        let mut rig = Rig::new();
        some_files(&mut rig);
        rig.start();
        rig.root().heal().unwrap();
        rig.kill();
        damage(&rig);
        rig.open();
        // An event about a file that did not change.
        let path = rig.at("dir3/file3");
        rig.report_name(&path, crate::collect::Op::Utime);
        rig.deliver();
        if rig.row("dir3/file3").unverified.is_none() {
            let row = rig.row("dir3/file3");
            let cells = rig.root().brick.cells(row.block.start, row.len);
            assert_eq!(cells, fs::read(&path).unwrap(), "called verified");
        }
        rig.settle().check();
    }
}

#[test]
fn history_is_bounded() {
    let mut rig = Rig::new();
    rig.strict = false;
    let file = rig.at("file");
    rig.start().root().history_max = 50;
    for n in 0..30_u8 {
        rig.write(&file, &[n]);
        rig.deliver();
        rig.remove(&file);
        rig.deliver();
    }
    assert_eq!(rig.history().len(), 60);
    rig.heal();
    assert_eq!(rig.history().len(), 50);
}

#[test]
fn a_restart_is_not_news() {
    let mut rig = Rig::with_real_stamps();
    some_files(&mut rig);
    // Just written, so that nothing is settled.
    rig.start().start().check();
    rig.heal().check();
    assert_eq!(rig.history(), [""; 0]);
}

#[test]
fn stopped_in_the_middle_of_a_batch() {
    let mut rig = Rig::new();
    some_files(&mut rig);
    rig.start();
    change_everything(&mut rig);
    rig.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    rig.deliver();
    rig.stop.store(false, std::sync::atomic::Ordering::Relaxed);
    rig.kill().start().check();
    let (a, b) = (rig.at("dir1"), rig.at("dir2"));
    rig.try_exchange(&a, &b).unwrap();
    rig.deliver().check();
}

/// A directory that has given up its name and not found its new one yet, as the catalog may have it after a kill.
#[test]
fn killed_while_a_directory_had_no_name() {
    let mut rig = Rig::new();
    some_files(&mut rig);
    rig.start();
    let block = rig.block("dir1/file1");
    let (a, b) = (rig.at("dir1"), rig.at("dir2"));
    rig.try_exchange(&a, &b).unwrap();
    let root = rig.root();
    let id = root.inventory().by_path(&a).unwrap();
    let mut tasks = crate::agent::reconcile::Tasks::default();
    assert!(root.displace(id, &crate::batch::Dirty::default(), &mut tasks));
    root.flush().unwrap();
    rig.kill().start().check();
    assert_eq!(rig.block("dir2/file1"), block);
    assert!(rig.history().iter().all(|line| !line.contains('\0')), "{:?}", rig.history());
}
