//! Things that get other names.

use std::fs;

use super::Rig;

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
