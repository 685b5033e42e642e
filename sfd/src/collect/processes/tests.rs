use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A made-up system: who is there, and what is where.
#[derive(Default)]
struct Fake {
    live: HashMap<u32, Found>,
    files: HashMap<Vec<u8>, u64>,
    asked: usize,
}

impl Source for Fake {
    fn find(&mut self, pid: u32) -> Option<Found> {
        self.asked += 1;
        self.live.get(&pid).cloned()
    }

    fn exe_path(&mut self, _: u32, exe: InodeId, named: &[&[u8]]) -> Option<(String, bool)> {
        let found = named.iter().find(|name| self.files.get(**name) == Some(&exe.ino));
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        found.map(|name| (text(name), true)).or_else(|| named.first().map(|name| (text(name), false)))
    }

    fn cgroup_path(&mut self, id: u64, _: u32) -> Option<String> {
        (id > 1).then(|| format!("/docker/{id:064}"))
    }
}

fn found(start_ns: u64, parent: u32, comm: &str) -> Found {
    let exe = Some(format!("/bin/{comm}").into_bytes());
    let args = format!("{comm}\0-x\0").into_bytes();
    Found { start_ns, parent, comm: comm.into(), exe, args, args_cut: false }
}

fn seen(pid: u32, start_ns: u64, at_ns: u64, comm: &str) -> Sighting {
    let exe = InodeId { dev: 1, ino: 0 };
    let login_uid = None;
    Sighting { pid, start_ns, at_ns, uid: 0, login_uid, comm: comm.into(), cgroup: 0, exe, parent: 0 }
}

fn ran(mut seen: Sighting, ino: u64) -> Sighting {
    seen.exe.ino = ino;
    seen
}

fn child(mut seen: Sighting, parent: u32) -> Sighting {
    seen.parent = parent;
    seen
}

fn exec<'a>(name: &'a str, args: &'a str) -> Exec<'a> {
    Exec { name: name.as_bytes(), args: args.as_bytes(), args_cut: false }
}

fn table() -> Processes {
    Processes::new(Redactor::ephemeral(&[]).unwrap())
}

/// init, sshd and bash from before; bash runs `sh -c`, which runs `mv`; all but bash are gone when the change is read.
fn session() -> (Processes, Fake) {
    let (mut table, mut fake) = (table(), Fake::default());
    for (pid, parent, comm) in [(1, 0, "init"), (20, 1, "sshd"), (30, 20, "bash")] {
        fake.live.insert(pid, found(u64::from(pid) * TICK_NS, parent, comm));
    }
    fake.files.extend([(b"/bin/sh".to_vec(), 501), (b"/bin/mv".to_vec(), 502)]);
    table.seed([30, 1, 20], &mut fake);
    table.fork(&child(seen(40, 1_000_000_007, 1_000_000_008, "bash"), 30), &mut fake);
    table.exec(
        &ran(seen(40, 1_000_000_007, 1_000_000_100, "sh"), 501),
        exec("/bin/sh", "sh\0-c\0mv a b; true\0"),
        &mut fake,
    );
    table.fork(&child(seen(41, 1_000_000_200, 1_000_000_201, "sh"), 40), &mut fake);
    table.exec(
        &ran(seen(41, 1_000_000_200, 1_000_000_300, "mv"), 502),
        exec("/bin/mv", "mv\0a\0b\0"),
        &mut fake,
    );
    table.exit(&seen(41, 1_000_000_200, 1_000_000_500, "mv"));
    table.exit(&seen(40, 1_000_000_007, 1_000_000_600, "sh"));
    (table, fake)
}

fn line(writer: &Writer) -> Vec<(u32, &str, Option<&str>)> {
    let parents = writer.origin.parents.iter();
    parents.map(|parent| (parent.pid, parent.comm.as_str(), parent.exe.as_deref())).collect()
}

#[test]
fn a_process_that_is_gone_is_known_with_its_program_and_all_its_parents() {
    let (mut table, mut fake) = session();
    let writer = table.writer(&ran(seen(41, 1_000_000_200, 1_000_000_400, "mv"), 502), &mut fake);
    assert_eq!((writer.origin.exe.as_deref(), writer.origin.exe_checked), (Some("/bin/mv"), true));
    assert_eq!(writer.origin.args.as_deref().unwrap(), ["mv", "a", "b"]);
    let expected = [
        (40, "sh", Some("/bin/sh")),
        (30, "bash", Some("/bin/bash")),
        (20, "sshd", Some("/bin/sshd")),
        (1, "init", Some("/bin/init")),
    ];
    assert_eq!(line(&writer), expected);
    assert!(!writer.origin.parents_cut);
    let again = table.writer(&ran(seen(41, 1_000_000_200, 1_000_000_401, "mv"), 502), &mut fake);
    assert!(Arc::ptr_eq(&writer.origin, &again.origin), "the answer is made once");
}

#[test]
fn an_event_gets_the_program_of_its_time() {
    let (mut table, mut fake) = session();
    let before = table.writer(&ran(seen(40, 1_000_000_007, 1_000_000_050, "bash"), 0), &mut fake);
    assert_eq!(before.origin.exe.as_deref(), Some("/bin/bash"), "forked and not executed anything yet");
    assert_eq!(before.origin.args.as_deref().unwrap(), ["bash", "-x"]);
    let after = table.writer(&ran(seen(40, 1_000_000_007, 1_000_000_150, "sh"), 501), &mut fake);
    assert_eq!(after.origin.exe.as_deref(), Some("/bin/sh"));
    assert_eq!(line(&after), line(&before));
    // Another program file than the one remembered: an exec was missed.
    let other = table.writer(&ran(seen(40, 1_000_000_007, 1_000_000_160, "x"), 777), &mut fake);
    assert_eq!((other.origin.exe.as_deref(), other.origin.args.as_deref()), (None, None));
    assert_eq!(line(&other), line(&before));
}

#[test]
fn a_number_used_again_is_another_process() {
    let (mut table, mut fake) = (table(), Fake::default());
    // In one and the same tick of the clock of /proc.
    let (first, second) = (5_000_000_001, 5_000_000_900);
    for (start, name) in [(first, "/bin/a"), (second, "/bin/b")] {
        table.fork(&child(seen(77, start, start, "p"), 0), &mut fake);
        table.exec(&seen(77, start, start + 10, "p"), exec(name, "p\0"), &mut fake);
        table.exit(&seen(77, start, start + 500, "p"));
    }
    for (start, name) in [(second, "/bin/b"), (first, "/bin/a")] {
        let writer = table.writer(&seen(77, start, start + 20, "p"), &mut fake);
        assert_eq!(writer.origin.exe.as_deref(), Some(name));
    }
    // A third one, of which /proc tells; and a fourth that nobody knows.
    fake.live.insert(77, found(6_000_000_000, 0, "c"));
    let writer = table.writer(&seen(77, 6_000_000_123, 6_000_000_200, "c"), &mut fake);
    assert_eq!(writer.origin.exe.as_deref(), Some("/bin/c"));
    let writer = table.writer(&seen(77, 7_000_000_123, 7_000_000_200, "d"), &mut fake);
    assert_eq!(*writer.origin, Origin { parents_cut: true, ..Origin::default() });
    assert_eq!(writer.comm, "d");
}

#[test]
fn an_owner_whose_end_was_missed_gives_way_to_the_next() {
    let (mut table, mut fake) = (table(), Fake::default());
    fake.live.insert(50, found(TICK_NS, 0, "old"));
    table.seed([50], &mut fake);
    table.fork(&child(seen(50, 9_000_000_000, 9_000_000_001, "new"), 0), &mut fake);
    table.fork(&child(seen(51, 9_000_000_100, 9_000_000_101, "new"), 50), &mut fake);
    let writer = table.writer(&seen(51, 9_000_000_100, 9_000_000_200, "new"), &mut fake);
    assert_eq!(writer.origin.parents[0].start_ns, 9_000_000_000);
    let old = table.writer(&seen(50, TICK_NS, 8_000_000_000, "old"), &mut fake);
    assert_eq!(old.origin.exe.as_deref(), Some("/bin/old"));
}

#[test]
fn a_loss_makes_the_table_ask_proc_again() {
    let (mut table, mut fake) = session();
    table.forget();
    fake.asked = 0;
    let gone = table.writer(&ran(seen(41, 1_000_000_200, 1_000_000_400, "mv"), 502), &mut fake);
    assert_eq!(*gone.origin, Origin { parents_cut: true, ..Origin::default() }, "never guessed");
    let bash = table.writer(&seen(30, 30 * TICK_NS + 5, 1_000_000_400, "bash"), &mut fake);
    assert_eq!(bash.origin.exe.as_deref(), Some("/bin/bash"));
    assert_eq!(line(&bash).len(), 2);
    let asked = fake.asked;
    table.writer(&seen(30, 30 * TICK_NS + 5, 1_000_000_500, "bash"), &mut fake);
    assert_eq!(fake.asked, asked, "remembered");
}

#[test]
fn a_renamed_parent_has_its_new_name_in_its_later_children() {
    let (mut table, mut fake) = session();
    table.fork(&child(seen(60, 2_000_000_000, 2_000_000_001, "worker"), 30), &mut fake);
    let writer = table.writer(&seen(60, 2_000_000_000, 2_000_000_002, "worker"), &mut fake);
    assert_eq!(line(&writer)[0], (30, "worker", Some("/bin/bash")));
}

#[test]
fn a_chain_that_never_ends_is_cut_and_says_so() {
    let (mut table, mut fake) = (table(), Fake::default());
    fake.live.insert(1, found(TICK_NS, 0, "init"));
    table.seed([1], &mut fake);
    for n in 2..100_u32 {
        let start = u64::from(n) * 1_000_000_000;
        table.fork(&child(seen(n, start, start, "hop"), n - 1), &mut fake);
        table.exit(&seen(n - 1, if n == 2 { TICK_NS } else { start - 1_000_000_000 }, start + 1, "hop"));
    }
    let writer = table.writer(&seen(99, 99_000_000_000, 99_000_000_002, "hop"), &mut fake);
    assert_eq!(writer.origin.parents.len(), PARENTS_MAX);
    assert!(writer.origin.parents_cut);
    assert_eq!(writer.origin.parents[0].pid, 98);
    assert!(table.known.len() < 10, "ended ones are forgotten in time: {}", table.known.len());
    assert_eq!(table.forgotten(), 0, "that is no want of room");
}

#[test]
fn full_of_live_processes_the_table_asks_proc_instead() {
    let (mut table, mut fake) = (table(), Fake::default());
    table.max = 3;
    for pid in 1..=5 {
        fake.live.insert(pid, found(u64::from(pid) * TICK_NS, 0, "p"));
    }
    table.seed(1..=5, &mut fake);
    assert_eq!((table.known.len(), table.forgotten()), (3, 2));
    let writer = table.writer(&seen(5, 5 * TICK_NS, 1_000_000_000, "p"), &mut fake);
    assert_eq!(*writer.origin, Origin { parents_cut: true, ..Origin::default() });
    table.exit(&seen(1, TICK_NS, 1_000_000_000, "p"));
    let writer = table.writer(&seen(5, 5 * TICK_NS, 1_000_000_000, "p"), &mut fake);
    assert_eq!(writer.origin.exe.as_deref(), Some("/bin/p"));
}

#[test]
fn cut_arguments_end_before_the_one_that_was_cut() {
    let (mut table, mut fake) = (table(), Fake::default());
    for (pid, args, args_cut, expected) in [
        (10, "a\0b\0--tok", true, Some(&["a", "b"][..])),
        (11, "a\0b\0last", false, Some(&["a", "b", "last"])),
        (12, "a\0\0b\0", false, Some(&["a", "", "b"])),
        (13, "", true, None),
        (14, "", false, None),
        (15, "app\0--password=hunter2\0", false, Some(&["app", "--password=***"])),
    ] {
        let who = seen(pid, 1_000_000_000, 1_000_000_001, "a");
        table.exec(&who, Exec { args_cut, ..exec("a", args) }, &mut fake);
        let writer = table.writer(&who, &mut fake);
        let expected = expected.map(|args| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!((&writer.origin.args, writer.origin.args_cut), (&expected, args_cut));
        assert_eq!((writer.origin.exe.as_deref(), writer.origin.exe_checked), (Some("a"), false));
    }
}

#[test]
fn cgroups_and_containers() {
    let (mut table, mut fake) = (table(), Fake::default());
    let mut who = seen(10, 1_000_000_000, 1_000_000_001, "a");
    for (cgroup, container) in [(0, None), (1, None), (2, Some(format!("{:064}", 2)))] {
        who.cgroup = cgroup;
        let writer = table.writer(&who, &mut fake);
        assert_eq!(writer.origin.container, container, "{cgroup}");
        assert_eq!(writer.origin.cgroup_path.is_some(), container.is_some());
    }
}

proptest! {
    /// Whatever the records say and in whatever order they come, bounds hold, and whoever is known was reported so.
    #[test]
    fn any_records_keep_the_bounds(
        records in proptest::collection::vec((0_u8..5, 1_u32..12, 0_u64..4, 0_u32..12), 0..300),
        max in 1_usize..8,
    ) {
        let (mut table, mut fake) = (table(), Fake::default());
        table.max = max;
        let mut said: HashMap<(u32, u64), Vec<String>> = HashMap::new();
        for (n, (what, pid, start, parent)) in records.into_iter().enumerate() {
            let start_ns = start * 1_000_003 + 17;
            let who = child(seen(pid, start_ns, 1_000_000 + n as u64, "p"), parent);
            match what {
                0 => table.fork(&who, &mut fake),
                1 => {
                    let name = format!("/bin/{pid}-{start}-{n}");
                    table.exec(&who, exec(&name, "p\0"), &mut fake);
                    said.entry((pid, start_ns)).or_default().push(name);
                }
                2 => table.exit(&who),
                3 => {
                    let writer = table.writer(&who, &mut fake);
                    prop_assert!(writer.origin.parents.len() <= PARENTS_MAX);
                    if let Some(exe) = &writer.origin.exe {
                        // Its own, or inherited from one that reported it before.
                        let known = said.values().flatten().any(|name| name == exe);
                        prop_assert!(known, "{exe}");
                    }
                }
                _ => table.forget(),
            }
            prop_assert!(table.known.len() <= max);
            prop_assert!(table.live.iter().all(|(pid, start_ns)| table.known.contains_key(&(*pid, *start_ns))));
            for process in table.known.values() {
                prop_assert!(process.images.len() <= PROGRAMS_MAX);
            }
        }
    }
}
