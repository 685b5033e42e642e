//! Event records: a fixed header, and for some kinds a few bytes after it.

use core::mem::{offset_of, size_of};

use crate::Op;

/// Length of a command name, the kernel's `TASK_COMM_LEN`.
pub const COMM_LEN: usize = 16;
/// Longest path in a record, without the terminating zero: the kernel's `PATH_MAX` includes it.
pub const PATH_MAX: usize = 4096;
/// Length of [`RecordHeader`] in bytes.
pub const HEADER_LEN: usize = size_of::<RecordHeader>();
/// Longest record there can be.
pub const RECORD_LEN_MAX: usize = HEADER_LEN + PATH_MAX;
/// Most bytes of an exec's file name in a record, one less than is read of it: longer ones are rare, and are cut.
pub const EXEC_NAME_MAX: usize = 255;
/// Most bytes of an exec's arguments in a record. Half of all command lines on a host have less than 100.
pub const EXEC_ARGS_MAX: usize = 1023;
/// `AT_FDCWD`: the base of a relative path is the working directory.
pub const AT_FDCWD: i32 = -100;

/// Bits of [`RecordHeader::flags`].
pub mod flag {
    /// The task is a kernel thread (or io_uring worker without a user of its own): its identity names no writer.
    pub const KERNEL_THREAD: u32 = 1;
    /// The path is absolute: its base is the process's root directory.
    pub const ABSOLUTE: u32 = 1 << 1;
    /// The base directory was in the map of watched inodes.
    pub const BASE_WATCHED: u32 = 1 << 2;
    /// The call named an open file instead of a path (`AT_EMPTY_PATH`, or a null path with a descriptor).
    pub const EMPTY_PATH: u32 = 1 << 3;
    /// The call followed a symbolic link in the last component, so the object may live elsewhere.
    pub const FOLLOWS: u32 = 1 << 4;
    /// The path was longer than what could be kept; what is there is its beginning.
    pub const TRUNCATED: u32 = 1 << 5;
    /// Reported by io_uring; identity of the task is that of the submitter.
    pub const IO_URING: u32 = 1 << 6;
    /// The object has a mapping through which it can be written: later stores may fire no hook.
    pub const MAPPED: u32 = 1 << 7;
    /// Exec records: the arguments were longer than what could be kept; what is there is their beginning.
    pub const ARGS_CUT: u32 = 1 << 16;
    /// Exec records: the same of the file name.
    pub const NAME_CUT: u32 = 1 << 17;
    /// The kernel side will not report further writers of this object until the agent has looked at it.
    pub const LAST_WRITER: u32 = 1 << 18;
}

/// What follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Nothing: `object` is the inode that changed.
    Object = 1,
    /// Path bytes: `object` is the directory the path is relative to, or the root directory of the process.
    Path = 2,
    /// Nothing: the header's task is the subject.
    Process = 3,
    /// The module's name.
    Module = 4,
    /// A program started: its file name (`aux` bytes), then its arguments as they lie in its memory, each ended by a
    /// zero byte.
    Exec = 6,
}

/// The fixed part of every record, in the byte order of the machine.
///
/// All padding is explicit and written by the kernel side, so that nothing of kernel memory leaks through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RecordHeader {
    /// Length of the whole record in bytes, header included.
    pub total_len: u32,
    /// A [`Kind`].
    pub kind: u16,
    /// An [`Op`].
    pub op: u16,
    /// Number of this record in its stream on its CPU, counting from 0.
    pub sequence: u64,
    /// When, nanoseconds since boot including suspend (`bpf_ktime_get_boot_ns`).
    pub boot_ns: u64,
    /// Start of the process, nanoseconds since boot (`task_struct.start_boottime`).
    pub start_ns: u64,
    /// Cgroup v2 id of the task, 0 when unknown.
    pub cgroup: u64,
    /// `i_ino` of the object (see [`Kind`]).
    pub ino: u64,
    /// `i_ino` of the program file the task runs, 0 when it has none.
    pub exe_ino: u64,
    /// `s_dev` of the object.
    pub dev: u32,
    /// `i_generation` of the object.
    pub generation: u32,
    /// `s_dev` of the program file.
    pub exe_dev: u32,
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// Audit login user id, `u32::MAX` when not set.
    pub loginuid: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Path records: the directory descriptor the path is relative to ([`AT_FDCWD`] included), as `i32`. Exec records:
    /// the length of the file name.
    pub aux: u32,
    /// CPU that wrote the record.
    pub cpu: u16,
    /// Which hook: below `0x8000` a system call number, else a [`crate::Hook`].
    pub hook: u16,
    /// Command name, zero-terminated.
    pub comm: [u8; COMM_LEN],
    /// A [`crate::Stream`].
    pub stream: u8,
    /// Zero.
    pub padding: [u8; 3],
    /// Process id of the parent: where the agent looks for a working directory when the process is gone.
    pub parent: u32,
}

const _: () = assert!(HEADER_LEN == 120, "the header's layout is an ABI: see docs/event-abi.md");
const _: () = assert!(HEADER_LEN <= 128, "two cache lines");

/// What follows the header of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The inode in the header changed.
    Object,
    /// A name was changed.
    Path(&'a [u8]),
    /// A process started, ended, or changed its name.
    Process,
    /// A module was loaded, freed or asked for.
    Module(&'a [u8]),
    /// A program started.
    Exec {
        /// What was executed, as the caller named it: may be relative, and of a script it is the script. Empty when
        /// it could not be read.
        name: &'a [u8],
        /// Arguments, each ended by a zero byte, but perhaps the last.
        args: &'a [u8],
    },
}

/// A decoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The fixed part.
    pub header: RecordHeader,
    /// What was done; the checked form of [`RecordHeader::op`].
    pub op: Op,
    /// What follows the header; the checked form of [`RecordHeader::kind`].
    pub body: Body<'a>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than a header has.
    Short(usize),
    /// The header says another length than there is.
    Length {
        /// What the header says.
        said: u32,
        /// How many bytes there are.
        got: usize,
    },
    /// No such kind.
    Kind(u16),
    /// No such operation.
    Op(u16),
    /// The bytes after the header are too many, too few, or hold a zero byte.
    Payload {
        /// Kind of the record.
        kind: Kind,
        /// How many bytes follow the header.
        len: usize,
    },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short(len) => write!(f, "{len} bytes are too few for a record header of {HEADER_LEN}"),
            Self::Length { said, got } => write!(f, "the record says {said} bytes, there are {got}"),
            Self::Kind(kind) => write!(f, "no record kind has number {kind}"),
            Self::Op(op) => write!(f, "no operation has number {op}"),
            Self::Payload { kind, len } => write!(f, "a {kind:?} record cannot carry these {len} bytes"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl Kind {
    /// The kind with this number on the wire; `None` when there is none.
    #[must_use]
    pub const fn from_wire(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Object,
            2 => Self::Path,
            3 => Self::Process,
            4 => Self::Module,
            6 => Self::Exec,
            _ => return None,
        })
    }
}

/// Copies `N` bytes at `offset`; zeroes when there are fewer, which [`decode`] has excluded.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// Decodes one record as the ring delivers it.
///
/// # Errors
/// When length, kind, operation or payload are not those of a record. Nothing in `bytes` is trusted.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    if bytes.len() < HEADER_LEN {
        return Err(DecodeError::Short(bytes.len()));
    }
    let header = RecordHeader::from_bytes(&field(bytes, 0));
    if usize::try_from(header.total_len) != Ok(bytes.len()) {
        return Err(DecodeError::Length { said: header.total_len, got: bytes.len() });
    }
    let kind = Kind::from_wire(header.kind).ok_or(DecodeError::Kind(header.kind))?;
    let op = Op::from_wire(header.op).ok_or(DecodeError::Op(header.op))?;
    let payload = bytes.get(HEADER_LEN..).unwrap_or_default();
    let bad = DecodeError::Payload { kind, len: payload.len() };
    let body = match kind {
        Kind::Path | Kind::Module => {
            if payload.is_empty() || payload.len() > PATH_MAX || payload.contains(&0) {
                return Err(bad);
            }
            if matches!(kind, Kind::Path) { Body::Path(payload) } else { Body::Module(payload) }
        }
        Kind::Exec => {
            let name = usize::try_from(header.aux).ok().and_then(|len| payload.split_at_checked(len));
            match name {
                Some((name, args))
                    if name.len() <= EXEC_NAME_MAX && args.len() <= EXEC_ARGS_MAX && !name.contains(&0) =>
                {
                    Body::Exec { name, args }
                }
                _ => return Err(bad),
            }
        }
        _ if !payload.is_empty() => return Err(bad),
        Kind::Object => Body::Object,
        Kind::Process => Body::Process,
    };
    Ok(Record { header, op, body })
}

/// Writes and reads every field at its own offset, so that both directions come from one list.
macro_rules! wire {
    ($($name:ident: $type:ty),* $(,)?) => {
        impl RecordHeader {
            /// Reads a header; any bytes are some header.
            #[must_use]
            pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Self {
                let mut header = Self::default();
                $(header.$name = <$type>::from_ne_bytes(field(bytes, offset_of!(Self, $name)));)*
                header.comm = field(bytes, offset_of!(Self, comm));
                header.padding = field(bytes, offset_of!(Self, padding));
                header
            }

            /// The bytes of this header as the kernel side writes them.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
                let mut bytes = [0; HEADER_LEN];
                let mut put = |offset: usize, value: &[u8]| {
                    if let Some(place) = bytes.get_mut(offset..offset + value.len()) {
                        place.copy_from_slice(value);
                    }
                };
                $(put(offset_of!(Self, $name), &self.$name.to_ne_bytes());)*
                put(offset_of!(Self, comm), &self.comm);
                put(offset_of!(Self, padding), &self.padding);
                bytes
            }
        }
    };
}

wire! {
    total_len: u32, kind: u16, op: u16, sequence: u64, boot_ns: u64, start_ns: u64, cgroup: u64, ino: u64,
    exe_ino: u64, dev: u32, generation: u32, exe_dev: u32, tgid: u32, pid: u32, uid: u32, loginuid: u32, flags: u32,
    aux: u32, cpu: u16, hook: u16, stream: u8,
    parent: u32,
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn header(kind: u16, op: u16, payload: usize) -> RecordHeader {
        RecordHeader { total_len: (HEADER_LEN + payload) as u32, kind, op, ..RecordHeader::default() }
    }

    fn record(header: &RecordHeader, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn no_implicit_padding() {
        let sum = 4 + 2 + 2 + 8 * 6 + 4 * 10 + 2 * 2 + COMM_LEN + 1 + 3;
        assert_eq!(HEADER_LEN, sum);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert_eq!(decode(&[0; 7]), Err(DecodeError::Short(7)));
        let mut bytes = record(&header(1, 1, 0), b"");
        bytes.push(0);
        assert_eq!(decode(&bytes), Err(DecodeError::Length { said: 120, got: 121 }));
        assert_eq!(decode(&record(&header(9, 1, 0), b"")), Err(DecodeError::Kind(9)));
        assert_eq!(decode(&record(&header(1, 30, 0), b"")), Err(DecodeError::Op(30)));
        for (kind, payload) in [(1, &b"x"[..]), (2, b""), (2, b"a\0b"), (3, b"x")] {
            let bytes = record(&header(kind, 1, payload.len()), payload);
            let result = decode(&bytes);
            assert!(matches!(result, Err(DecodeError::Payload { .. })), "{kind} {payload:?}: {result:?}");
        }
    }

    #[test]
    fn an_exec_is_a_name_and_arguments() {
        let exec =
            |aux: u32, payload: &[u8]| record(&RecordHeader { aux, ..header(6, 32, payload.len()) }, payload);
        let bytes = exec(7, b"/bin/mvmv\0a b\0\0");
        let body = Body::Exec { name: b"/bin/mv", args: b"mv\0a b\0\0" };
        assert_eq!(decode(&bytes).map(|record| record.body), Ok(body));
        assert_eq!(decode(&exec(0, b"")).map(|record| record.body), Ok(Body::Exec { name: b"", args: b"" }));
        let long = |name: usize, args: usize| exec(name as u32, &std::vec![b'x'; name + args]);
        assert!(decode(&long(EXEC_NAME_MAX, EXEC_ARGS_MAX)).is_ok());
        for bytes in [
            exec(8, b"/bin/mv"),
            exec(u32::MAX, b"x"),
            exec(3, b"a\0b"),
            long(EXEC_NAME_MAX + 1, 0),
            long(0, EXEC_ARGS_MAX + 1),
        ] {
            assert!(
                matches!(decode(&bytes), Err(DecodeError::Payload { kind: Kind::Exec, .. })),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn longest_path() {
        let path = std::vec![b'a'; PATH_MAX];
        assert!(decode(&record(&header(2, 6, PATH_MAX), &path)).is_ok());
        let path = std::vec![b'a'; PATH_MAX + 1];
        assert!(decode(&record(&header(2, 6, PATH_MAX + 1), &path)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_plausible_header_never_panics(kind in 0u16..8, op in 0u16..70, payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = record(&header(kind, op, payload.len()), &payload);
            if let Ok(decoded) = decode(&bytes) {
                prop_assert_eq!(decoded.header.kind, kind);
                prop_assert_eq!(decoded.op as u16, op);
            }
        }

        #[test]
        fn encode_then_decode(bytes in any::<[[u8; 30]; 4]>(), op in proptest::sample::select(&Op::ALL[..]), path in "[a-z/\u{e9}]{1,60}") {
            let flat: Vec<u8> = bytes.concat();
            let mut header = RecordHeader::from_bytes(flat.first_chunk().unwrap());
            header.kind = Kind::Path as u16;
            header.op = op as u16;
            header.total_len = (HEADER_LEN + path.len()) as u32;
            let bytes = record(&header, path.as_bytes());
            let decoded = decode(&bytes).unwrap();
            prop_assert_eq!(decoded, Record { header, op, body: Body::Path(path.as_bytes()) });
        }

        #[test]
        fn an_exec_gives_back_exactly_what_it_holds(aux in 0_u32..40, payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            let bytes = record(&RecordHeader { aux, ..header(6, 32, payload.len()) }, &payload);
            match decode(&bytes).map(|record| record.body) {
                Ok(Body::Exec { name, args }) => {
                    prop_assert_eq!(name.len(), aux as usize);
                    prop_assert_eq!([name, args].concat(), payload);
                }
                other => {
                    let refused = matches!(other, Err(DecodeError::Payload { .. }));
                    prop_assert!(refused);
                    let wrong = payload.get(..aux as usize).is_none_or(|name| name.contains(&0));
                    prop_assert!(wrong);
                }
            }
        }

        #[test]
        fn operations_round_trip(number in any::<u16>()) {
            if let Some(op) = Op::from_wire(number) {
                prop_assert_eq!(op as u16, number);
                prop_assert!(Op::ALL.contains(&op));
            }
        }
    }
}
