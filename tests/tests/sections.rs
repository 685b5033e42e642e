//! Sections of ELF files as regions of their blocks, with readelf(1) as the witness.
//!
//! Needs the C compiler that SFD itself is built with, and its binutils.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sfd_tests::daemon::sfd;
use sfd_tests::reader::RawBrick;

/// Name, type, offset, bytes.
type Section = (String, String, u64, u64);

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {problem}");
    output.stdout
}

/// The sections that occupy something of a file, as readelf says.
fn readelf(file: &Path) -> Vec<Section> {
    let text = String::from_utf8(run(Command::new("readelf").arg("-SW").arg(file))).unwrap();
    let section = |line: &str| {
        let (_, rest) = line.trim_start().strip_prefix('[')?.split_once(']')?;
        let mut words = rest.split_whitespace();
        let (name, kind) = (words.next()?.to_owned(), words.next()?.to_lowercase());
        let mut number = |skip| u64::from_str_radix(words.nth(skip)?, 16).ok();
        let (offset, len) = (number(1)?, number(0)?);
        (kind != "nobits" && len > 0).then_some((name, kind, offset, len))
    };
    text.lines().filter_map(section).collect()
}

/// The same as a brick has them.
fn regions(artifact: &Value) -> Vec<Section> {
    let regions = artifact["regions"].as_array().unwrap_or_else(|| panic!("no regions in {artifact:#}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let number = |value: &Value| value.as_u64().unwrap();
    let section = |region: &Value| {
        (text(&region["name"]), text(&region["type"]), number(&region["start"]), number(&region["len"]))
    };
    regions.iter().map(section).collect()
}

fn artifact(brick: &Path, path: &Path) -> Value {
    let found: Value =
        serde_json::from_slice(&run(sfd(&["inspect", "--json"]).arg(brick).arg(path))).unwrap();
    assert_eq!(found["artifacts"].as_array().unwrap().len(), 1);
    found["artifacts"][0].clone()
}

fn extract(brick: &Path, path: &Path, section: &str) -> std::process::Output {
    sfd(&["extract", "--section", section]).arg(brick).arg(path).output().unwrap()
}

/// A directory with a program, a library, a stripped program, an object and what looks like a kernel module.
fn tree() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(dir.path()).unwrap().join("tree");
    fs::create_dir(&root).unwrap();
    let source = dir.path().join("source.c");
    fs::write(
        &source,
        "__attribute__((section(\".modinfo\"), used)) static const char info[] = \"license=GPL\\0depends=\";\n\
         int answer(void) { return 42; }\nint zeros[5000];\nint main(void) { return answer() - 42; }\n",
    )
    .unwrap();
    let cc = |args: &[&str], out: &str| {
        run(Command::new("cc").args(args).arg(&source).arg("-o").arg(root.join(out)));
    };
    cc(&[], "program");
    cc(&["-s", "-static-pie", "-nostartfiles", "-nostdlib", "-Wl,-e,main"], "stripped");
    cc(&["-shared", "-fPIC"], "libanswer.so.1");
    cc(&["-c", "-g", "-ffunction-sections"], "answer.o");
    cc(&["-c"], "answer.ko");
    (dir, root)
}

#[test]
fn a_sealed_brick_has_the_sections_that_readelf_finds() {
    let (dir, root) = tree();
    for name in ["ls", "true"] {
        fs::copy(Path::new("/bin").join(name), root.join(name)).unwrap();
    }
    for compress in [None, Some("--compress")] {
        let brick = dir.path().join("tree.brick");
        run(sfd(&["fold", "--exact"]).args(compress).arg(&root).arg("-o").arg(&brick));
        for entry in fs::read_dir(&root).unwrap() {
            let path = entry.unwrap().path();
            let artifact = artifact(&brick, &path);
            let (found, wanted) = (regions(&artifact), readelf(&path));
            assert!(wanted.len() > 5, "{}: {wanted:?}", path.display());
            assert_eq!(found, wanted, "{}", path.display());
            assert_eq!(artifact["regions_note"], Value::Null);
            // A region's cells are the bytes of the section, for a reader that knows nothing of ELF.
            let bytes = fs::read(&path).unwrap();
            for (name, _, start, len) in found {
                let range = start as usize..(start + len) as usize;
                if compress.is_none() {
                    let cells = RawBrick::open(&brick).unwrap();
                    assert_eq!(cells.cells(artifact["start"].as_u64().unwrap() + start, len), bytes[range]);
                    break;
                }
                let output = extract(&brick, &path, &format!("{name}@{start}"));
                assert_eq!(output.stdout, bytes[range], "{name} of {}", path.display());
                if name == ".text" {
                    break;
                }
            }
        }
        run(sfd(&["verify"]).arg(&brick));
    }
}

#[test]
fn one_section_is_extracted_and_what_is_wrong_is_said() {
    let (dir, root) = tree();
    let brick = dir.path().join("tree.brick");
    fs::write(root.join("text"), "just words\n").unwrap();
    fs::write(root.join("packed.ko.xz"), b"\xfd7zXZ\0 and so on").unwrap();
    fs::write(root.join("large"), [fs::read(root.join("program")).unwrap(), vec![7; 100_000]].concat())
        .unwrap();
    run(sfd(&["fold"]).arg(&root).arg("-o").arg(&brick));
    let module = root.join("answer.ko");
    assert_eq!(extract(&brick, &module, ".modinfo").stdout, b"license=GPL\0depends=\0");
    let refused = |path: &Path, section: &str, what: &str| {
        let output = extract(&brick, path, section);
        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{problem}");
        let named = problem.contains(&*path.to_string_lossy()) && problem.contains(section);
        assert!(problem.contains(what) && (named || what.contains("digest")), "{problem}");
        assert!(output.stdout.is_empty());
    };
    refused(&module, ".nothing", "has no section of that name");
    refused(&root.join("text"), ".text", "is not an ELF file");
    refused(&root.join("large"), ".text", "a digest");
    let shown =
        |name: &str| String::from_utf8(run(sfd(&["inspect"]).arg(&brick).arg(root.join(name)))).unwrap();
    assert!(shown("answer.ko").lines().any(|line| line.ends_with(" .modinfo")), "{}", shown("answer.ko"));
    assert!(shown("packed.ko.xz").contains("no sections: it is compressed"), "{}", shown("packed.ko.xz"));
    assert!(shown("large").contains("no sections: it is too large"), "{}", shown("large"));
    assert!(!shown("text").contains("section"), "{}", shown("text"));
    let output = sfd(&["inspect"]).arg(&brick).arg("/not/there").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/not/there: not in this brick"));
}

#[test]
fn a_live_brick_has_them_too_and_forgets_them_with_the_file() {
    let (dir, root) = tree();
    let state = dir.path().join("state");
    let fold =
        || run(sfd(&["run", "--once", "--source", "scan", "--watch"]).arg(&root).arg("--state").arg(&state));
    fold();
    let name = root.to_str().unwrap().trim_start_matches('/').replace('/', "-");
    let live = state.join("bricks").join(format!("{name}.brick"));
    let sealed = state.join("bricks").join(format!("{name}.sealed.brick"));
    let module = root.join("answer.ko");
    for brick in [&live, &sealed] {
        assert_eq!(regions(&artifact(brick, &module)), readelf(&module));
        assert_eq!(extract(brick, &module, ".modinfo").stdout, b"license=GPL\0depends=\0");
    }
    // Other sections, and none any more.
    fs::copy(root.join("stripped"), &module).unwrap();
    fs::write(root.join("libanswer.so.1"), "not what it was\n").unwrap();
    fs::remove_file(root.join("program")).unwrap();
    fold();
    for brick in [&live, &sealed] {
        assert_eq!(regions(&artifact(brick, &module)), readelf(&module));
        assert_eq!(artifact(brick, &root.join("libanswer.so.1"))["regions"], Value::Null);
    }
    let catalog = rusqlite::Connection::open(live.with_extension("catalog.sqlite")).unwrap();
    let sql = "SELECT count(*) FROM region WHERE artifact NOT IN (SELECT id FROM artifact)";
    assert_eq!(catalog.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    assert_eq!(catalog.query_row("SELECT count(*) FROM region", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
}

/// Modules as Debian's kernels have them, where this machine has any unpacked.
#[test]
fn real_kernel_modules() {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from("/var/tmp/kernels"), PathBuf::from("/lib/modules")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ko") {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no unpacked kernel modules on this machine");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, brick) = (fs::canonicalize(dir.path()).unwrap().join("tree"), dir.path().join("tree.brick"));
    fs::create_dir(&root).unwrap();
    // Every fiftieth: some dozens of all sizes.
    for (n, module) in found.iter().step_by(50).enumerate() {
        fs::copy(module, root.join(format!("{n}.ko"))).unwrap();
    }
    run(sfd(&["fold", "--exact"]).arg(&root).arg("-o").arg(&brick));
    let inspected: Value = serde_json::from_slice(&run(sfd(&["inspect", "--json"]).arg(&brick))).unwrap();
    let mut compared = 0;
    for artifact in inspected["artifacts"].as_array().unwrap() {
        let path = Path::new(artifact["path"].as_str().unwrap());
        if path != root {
            assert_eq!(regions(artifact), readelf(path), "{}", path.display());
            compared += 1;
        }
    }
    println!("{compared} modules of {}", found.len());
    assert_eq!(compared, found.len().div_ceil(50));
}
