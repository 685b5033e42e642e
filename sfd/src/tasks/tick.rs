//! tasks.md: which lines are tasks, and how one of them is ticked without losing anything.
//!
//! The rules are those of OpenSpec's own parser (`task-progress.ts` of 1.13): a list item of any sort with a box that
//! holds at most one character, wherever it is, code fences included; only `x` and `X` are done.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::TaskError;
use super::dir::{Dir, Readable, Stamp, temporary};

/// Longest tasks.md in bytes.
const BYTES_MAX: u64 = 8 << 20;
/// How often a file that somebody else keeps writing is tried to be ticked.
const TRIES: u32 = 1000;
/// How often it is read again when the task is not in it: whoever writes it may have only begun.
const REFUSALS_MAX: u32 = 20;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a replaced file is looked at: an editor that writes a file in place opens, cuts and writes it within a
/// millisecond.
const GRACE: Duration = Duration::from_millis(20);

/// A task of tasks.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Whether its box is ticked.
    pub done: bool,
    /// The text's leading number, such as `1.1`; empty if it has none.
    pub number: &'a str,
    /// Line, from 1 on.
    pub line: usize,
    /// What is put in the place of which bytes of the file to tick it.
    mark: std::ops::Range<usize>,
}

/// The tasks in a file.
pub fn lines(text: &[u8]) -> Vec<Line<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        // What follows bytes that are no text is looked at by nobody; the box is before it.
        let valid = match std::str::from_utf8(line) {
            Ok(line) => line,
            Err(error) => std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default(),
        };
        if let Some((done, mark, rest)) = task(valid) {
            let mark = start + mark.start..start + mark.end;
            found.push(Line { done, number: leading_number(rest), line: number, mark });
        }
        start += line.len() + 1;
    }
    found
}

/// Whether it is done, where the mark goes, and the text behind the box.
fn task(line: &str) -> Option<(bool, std::ops::Range<usize>, &str)> {
    let space = |c: char| c.is_whitespace() || c == '\u{feff}';
    let rest = line.trim_start_matches(space);
    let rest = match rest.strip_prefix(['-', '*', '+']) {
        Some(rest) => rest,
        None => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            rest[digits..].strip_prefix(['.', ')'])?
        }
    };
    let inside = rest.trim_start_matches(space).strip_prefix('[')?;
    let (content, after) = inside.split_once(']')?;
    let start = line.len() - inside.len();
    let mark = content.trim_matches(space);
    let at = match mark.chars().count() {
        // The first blank of an empty box; a box of nothing gets a mark put in.
        0 => {
            let blank = content.chars().next().map_or(0, char::len_utf8);
            start..start + blank
        }
        1 => {
            // A link of one letter is no task.
            if after.starts_with(['(', '[']) {
                return None;
            }
            let before = content.len() - content.trim_start_matches(space).len();
            start + before..start + before + mark.len()
        }
        _ => return None,
    };
    if content.is_empty() && after.starts_with(['(', '[']) {
        return None;
    }
    Some((mark.eq_ignore_ascii_case("x"), at, after.trim_start_matches(space)))
}

/// `1.1` of `1.1 Fold it`, `**1.1** ...`, `1.1. ...`.
fn leading_number(text: &str) -> &str {
    let text = text.trim_start_matches(['*', '_', '`', '~']);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    // `2nd thing` has no number.
    if rest.starts_with(char::is_alphanumeric) {
        return "";
    }
    let number = number.trim_end_matches('.');
    if number.starts_with('.') || number.contains("..") { "" } else { number }
}

/// What ticking has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// The file with the one mark set.
    Now(Vec<u8>),
    /// It is ticked.
    Already,
}

/// Ticks the task of a number. Everything but its mark stays byte for byte.
///
/// # Errors
/// No task has the number, or several have.
pub fn tick(text: &[u8], number: &str) -> Result<Ticked, String> {
    let all = lines(text);
    let mut matching = all.iter().filter(|line| line.number == number);
    let Some(line) = matching.next() else { return Err(format!("no task in it has the number {number}")) };
    if let Some(other) = matching.next() {
        let (one, two) = (line.line, other.line);
        return Err(format!("lines {one} and {two} both have the number {number}; give each its own"));
    }
    if line.done {
        return Ok(Ticked::Already);
    }
    let mut new = Vec::with_capacity(text.len() + 1);
    new.extend_from_slice(&text[..line.mark.start]);
    new.push(b'x');
    new.extend_from_slice(&text[line.mark.end..]);
    Ok(Ticked::Now(new))
}

/// Reads a tasks.md; `None`: there is none yet.
pub(super) fn read(dir: &Dir, name: &str) -> Result<Option<Vec<u8>>, TaskError> {
    Ok(dir.read(Path::new(name), BYTES_MAX)?.map(|(bytes, _)| bytes))
}

/// Ticks the task of a number in a file that others may be writing. Nothing of theirs is lost: the new file changes places
/// with the old one in one step, and what was replaced is looked at afterwards; if it was not what had been read, it gets
/// its name back and all begins again.
///
/// An editor that writes into the file itself and had opened it before the exchange writes into the replaced one. So that
/// is looked at for [`GRACE`]; a writer that holds the file open longer than that before it writes is not seen.
pub(super) fn tick_file(dir: &Dir, name: &str, number: &str) -> Result<(), TaskError> {
    let path = dir.path().join(name);
    let refused = |what: String| TaskError::malformed(format!("{}: {what}", path.display()));
    let mut refusals = 0;
    for _ in 0..TRIES {
        let read = dir.read(Path::new(name), BYTES_MAX)?;
        let ticked = match &read {
            Some((old, _)) => tick(old, number),
            None => Err("it is gone".into()),
        };
        match (ticked, read) {
            (Ok(Ticked::Already), _) => return Ok(()),
            (Ok(Ticked::Now(new)), Some((old, before))) => {
                if swap(dir, name, &old, before, &new)? {
                    return Ok(());
                }
            }
            // It may be half written just now.
            (Err(what), _) if refusals == REFUSALS_MAX => return Err(refused(what)),
            _ => {
                refusals += 1;
                std::thread::sleep(PAUSE);
            }
        }
    }
    Err(refused(format!("somebody else wrote it {TRIES} times in a row while it was to be ticked")))
}

/// Removes what a run left beside a list that was killed while it ticked it: the list before or after the tick. Anything
/// else may be somebody's work, and stays.
pub(super) fn remove_leftover(dir: &Dir, name: &str) -> Result<(), TaskError> {
    let aside = temporary(name);
    let (Some((left, _)), Some(list)) = (dir.read(Path::new(&aside), BYTES_MAX)?, read(dir, name)?) else {
        return Ok(());
    };
    if without_marks(&left) == without_marks(&list) {
        return dir.remove(&aside);
    }
    tracing::warn!(
        "{}: not what {name} was; look whether it is worth keeping",
        dir.path().join(&aside).display()
    );
    Ok(())
}

/// The bytes of a list but for its marks.
fn without_marks(text: &[u8]) -> Vec<u8> {
    let (mut rest, mut at) = (Vec::with_capacity(text.len()), 0);
    for line in lines(text) {
        rest.extend_from_slice(&text[at..line.mark.start]);
        at = line.mark.end;
    }
    rest.extend_from_slice(&text[at..]);
    rest
}

/// Puts `new` in the place of a file that is `old`; `false`: it was something else by then, and that is in its place.
fn swap(dir: &Dir, name: &str, old: &[u8], before: Stamp, new: &[u8]) -> Result<bool, TaskError> {
    let failed = |name: &str, errno| TaskError::io(&dir.path().join(name), errno);
    let aside = dir.write_aside(name, new, Readable::ByAll)?;
    dir.copy_owner(name, &aside);
    // Cheap, and saves most of what would have to be undone.
    if dir.stamp(name) != Ok(before) {
        dir.remove(&aside)?;
        return Ok(false);
    }
    let mine = dir.stamp(&aside).map_err(|errno| failed(&aside, errno))?;
    match dir.exchange(&aside, name) {
        Ok(()) => {}
        // An editor is between removing and writing.
        Err(Errno::NOENT) => {
            dir.remove(&aside)?;
            return Ok(false);
        }
        Err(errno) => return Err(failed(name, errno)),
    }
    let until = Instant::now() + GRACE;
    loop {
        let last = Instant::now() >= until;
        let replaced = dir.read(Path::new(&aside), BYTES_MAX)?;
        if replaced.is_none_or(|(bytes, stamp)| bytes != old || stamp != before) {
            put_back(dir, name, &aside, mine, new)?;
            return Ok(false);
        }
        if last {
            dir.remove(&aside)?;
            dir.sync()?;
            // What has the name now is ours, or what somebody has made of it.
            return Ok(true);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Gives the replaced file its name back, unless somebody has put a newer one in its place meanwhile: then that one stays.
fn put_back(dir: &Dir, name: &str, aside: &str, mine: Stamp, new: &[u8]) -> Result<(), TaskError> {
    let failed = |errno| TaskError::io(&dir.path().join(name), errno);
    let mut placed = mine;
    for round in 0..TRIES {
        let putting = dir.stamp(aside).map_err(failed)?;
        match dir.exchange(aside, name) {
            Ok(()) => {}
            // Removed meanwhile: what we have is the newest there is.
            Err(Errno::NOENT) => return dir.rename(aside, name),
            Err(errno) => return Err(failed(errno)),
        }
        let out = dir.stamp(aside).map_err(failed)?;
        let expected = (out.dev, out.ino) == (placed.dev, placed.ino);
        // Ours, but somebody has written into it: that is newer than what we put back.
        let written = round == 0
            && expected
            && dir.read(Path::new(aside), BYTES_MAX)?.is_none_or(|(bytes, _)| bytes != new);
        if expected && !written {
            return dir.remove(aside);
        }
        placed = putting;
    }
    Err(TaskError::malformed(format!("{}: replaced without end", dir.path().join(name).display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticked(text: &str, number: &str) -> String {
        match tick(text.as_bytes(), number).unwrap() {
            Ticked::Now(bytes) => String::from_utf8(bytes).unwrap(),
            Ticked::Already => "already".to_owned(),
        }
    }

    #[test]
    fn only_the_mark_changes() {
        let text = "# Tâches\r\n\r\n- [ ] 1.1 Über\r\n  * [x] 1.2 b\r\n\t+ [ ] 1.10 c\r\n```\r\n1. [ ] 2.1 d\r\n```\r\n12) [~] **2.2** e\r\n- [] 2.3\r\n- [  ] 3. f";
        let numbers: Vec<&str> = lines(text.as_bytes()).iter().map(|line| line.number).collect();
        assert_eq!(numbers, ["1.1", "1.2", "1.10", "2.1", "2.2", "2.3", "3"]);
        assert_eq!(ticked(text, "1.1"), text.replace("[ ] 1.1 ", "[x] 1.1 "));
        assert_eq!(ticked(text, "1.10"), text.replace("[ ] 1.10", "[x] 1.10"));
        assert_eq!(ticked(text, "2.1"), text.replace("[ ] 2.1", "[x] 2.1"));
        assert_eq!(ticked(text, "2.2"), text.replace("[~]", "[x]"));
        assert_eq!(ticked(text, "2.3"), text.replace("[]", "[x]"));
        assert_eq!(ticked(text, "3"), text.replace("[  ]", "[x ]"));
        assert_eq!(ticked(text, "1.2"), "already");
    }

    #[test]
    fn what_is_no_task_is_left_alone() {
        let text = "- [a](link)\n- [WIP] 1.1\nx [ ] 1.1\n1234567890. [ ] 1.1\n- [1][ref]\n- text [ ] 1.1\n";
        assert_eq!(lines(text.as_bytes()), []);
        assert_eq!(tick(b"- [ ] 1.1 a\n", "1").unwrap_err(), "no task in it has the number 1");
        let twice = tick(b"- [ ] 1.1 a\n- [x] 1.1 b\n", "1.1").unwrap_err();
        assert!(twice.contains("lines 1 and 2"), "{twice}");
        assert_eq!(lines(b"- [ ] 2nd thing\n")[0].number, "");
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let text = b"\xff\xfe\n- [ ] 1.1 a\xff\n\0";
        let Ticked::Now(new) = tick(text, "1.1").unwrap() else { panic!() };
        assert_eq!(new, b"\xff\xfe\n- [x] 1.1 a\xff\n\0");
    }

    /// Whole files that an editor saves while a task is ticked are there afterwards, whichever way it writes.
    #[test]
    fn nothing_of_an_editor_is_lost() {
        use std::sync::Barrier;
        const ROUNDS: u32 = 1000;
        let place = tempfile::tempdir().unwrap();
        let (path, aside) = (place.path().join("tasks.md"), place.path().join("editor.tmp"));
        let dir = Dir::open(place.path()).unwrap();
        let mut met = 0;
        for round in 0..ROUNDS {
            let first = format!("# R\u{e9}sum\u{e9}\r\n- [ ] 1.1 Fold\r\n- [ ] 1.2 round {round}\r\n");
            // The editor has read the file before, so it knows of no tick.
            let saved = format!("{first}- [ ] 2.1 written by an editor in round {round}\r\n");
            std::fs::write(&path, &first).unwrap();
            let barrier = Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    barrier.wait();
                    // From nothing to longer than the whole tick takes, so that every step of it is met.
                    let until = Instant::now() + Duration::from_micros(u64::from(round % 50) * 60);
                    while Instant::now() < until {
                        std::hint::spin_loop();
                    }
                    if round % 2 == 0 {
                        std::fs::write(&aside, &saved).unwrap();
                        std::fs::rename(&aside, &path).unwrap();
                    } else {
                        std::fs::write(&path, &saved).unwrap();
                    }
                });
                barrier.wait();
                tick_file(&dir, "tasks.md", "1.1").unwrap();
            });
            let after = std::fs::read_to_string(&path).unwrap();
            let ticked = saved.replace("[ ] 1.1", "[x] 1.1");
            assert!(after == saved || after == ticked, "round {round}: {after:?}");
            met += u32::from(after == ticked);
            // What an old buffer has taken away comes back with the next look.
            tick_file(&dir, "tasks.md", "1.1").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), ticked, "round {round}");
            assert_eq!(
                std::fs::read_dir(place.path()).unwrap().count(),
                1,
                "round {round}: something is left"
            );
        }
        println!("{ROUNDS} rounds, in {met} of them the tick came after the editor");
        // Else the two never met.
        assert!(met > 0 && met < ROUNDS);
    }
}
