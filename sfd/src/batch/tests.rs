use proptest::prelude::*;

use super::*;

const WINDOW: u64 = 50;

fn id(ino: u64) -> InodeId {
    InodeId { dev: 1, ino }
}

fn writer(pid: u32) -> Writer {
    Writer {
        pid,
        start_ns: 1,
        uid: 0,
        login_uid: None,
        comm: "sh".into(),
        cgroup: 0,
        origin: std::sync::Arc::default(),
    }
}

fn dirty(ino: u64, pid: u32, at_ns: i64) -> Event {
    Event {
        at_ns,
        change: Change::Inode { id: id(ino), op: Op::InodeDirty, mapped: false, crowded: false },
        writer: Some(writer(pid)),
    }
}

fn name(text: &str) -> Event {
    let change = Change::Name { base: Base::Absolute, name: text.into(), base_path: None, op: Op::RenameTo };
    Event { at_ns: 7, change, writer: None }
}

#[test]
fn the_window_starts_with_the_first_event_and_is_not_extended() {
    let mut batcher = Batcher::new(WINDOW);
    assert_eq!(batcher.due_ns(), None);
    batcher.push(dirty(1, 10, 5), 100);
    batcher.push(dirty(1, 10, 6), 149);
    assert_eq!(batcher.due_ns(), Some(150));
    assert!(batcher.take(149).is_empty());
    let batch = batcher.take(150);
    assert_eq!(batch.inodes[&id(1)].count, 2);
    assert_eq!(batch.inodes[&id(1)].first_ns, 5);
    assert_eq!(batcher.due_ns(), None);
}

#[test]
fn a_million_events_on_one_path_are_one_entry_with_a_bounded_writer_set() {
    let mut batcher = Batcher::new(WINDOW);
    for n in 0..1_000_000_u32 {
        batcher.push(dirty(1, n % 9, i64::from(n)), 0);
    }
    let batch = batcher.take(WINDOW);
    let entry = &batch.inodes[&id(1)];
    assert_eq!((batch.inodes.len(), entry.count), (1, 1_000_000));
    assert_eq!(entry.writers.len(), WRITERS_MAX);
    assert!(entry.more_writers);
}

#[test]
fn too_many_entries_become_a_loss_not_memory() {
    let mut batcher = Batcher::with_bound(WINDOW, 10);
    for n in 0..25 {
        batcher.push(dirty(n, 1, 0), 0);
    }
    let batch = batcher.take(WINDOW);
    assert_eq!(batch.lost[&LossReason::BatchFull], 22);
    assert_eq!(batch.inodes.len(), 3);
    assert_eq!(batch.events, 25);
}

#[test]
fn too_many_name_bytes_become_a_loss_too() {
    let mut batcher = Batcher::new(WINDOW);
    let long = "x".repeat(4000);
    for n in 0..(NAME_BYTES_MAX / 4000 + 2) {
        batcher.push(name(&format!("/{n}/{long}")), 0);
    }
    assert!(batcher.take(WINDOW).lost.contains_key(&LossReason::BatchFull));
}

#[test]
fn a_loss_alone_opens_a_batch() {
    let mut batcher = Batcher::new(WINDOW);
    let change = Change::Lost { reason: LossReason::FileRingFull, count: 3 };
    batcher.push(Event { at_ns: 0, change, writer: None }, 0);
    assert_eq!(batcher.take(WINDOW).lost[&LossReason::FileRingFull], 3);
}

proptest! {
    /// Whatever the order and duplication, every dirty inode comes out, or a loss says so.
    #[test]
    fn nothing_is_silently_missed(
        inos in proptest::collection::vec(0_u64..40, 0..200),
        bound in 1_usize..50,
        takes in proptest::collection::vec(0_usize..200, 0..5),
    ) {
        let mut batcher = Batcher::with_bound(WINDOW, bound);
        let mut seen = std::collections::HashSet::new();
        let mut since_loss = std::collections::HashSet::new();
        let mut now = 0;
        let mut lost = false;
        let drain = |batcher: &mut Batcher, now: u64, seen: &mut std::collections::HashSet<u64>| {
            let batch = batcher.take(now);
            seen.extend(batch.inodes.keys().map(|id| id.ino));
            !batch.lost.is_empty()
        };
        for (n, ino) in inos.iter().enumerate() {
            batcher.push(dirty(*ino, 1, 0), now);
            since_loss.insert(*ino);
            if takes.contains(&n) {
                now += WINDOW;
                lost |= drain(&mut batcher, now, &mut seen);
            }
        }
        lost |= drain(&mut batcher, now + WINDOW, &mut seen);
        prop_assert!(lost || since_loss.is_subset(&seen));
        prop_assert!(batcher.take(u64::MAX).is_empty());
    }
}
