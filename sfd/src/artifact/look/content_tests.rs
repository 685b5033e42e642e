use super::*;
use crate::artifact::Meta;
use proptest::prelude::*;

/// A file made of a function of the offset, that counts what is read of it.
struct Made {
    len: u64,
    byte: fn(u64) -> u8,
    read: u64,
    per_call: usize,
}

impl Source for Made {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = usize::try_from(self.len.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len())
            .min(self.per_call);
        for (i, b) in buf[..n].iter_mut().enumerate() {
            *b = (self.byte)(offset + i as u64);
        }
        self.read += n as u64;
        Ok(n)
    }
    fn meta(&self) -> io::Result<Meta> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn noise(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn made(len: u64) -> Made {
    Made { len, byte: noise, read: 0, per_call: usize::MAX }
}

fn options(cap: u8, full: u64) -> LookOptions {
    LookOptions { cap, full_hash_max: full, ..LookOptions::default() }
}

fn read_with(source: &mut Made, options: &LookOptions, redactor: Option<&Redactor>) -> Contents {
    let plan = Plan { options, len: source.len, head: 64 << 10, form: Form::Any, scan: redactor };
    read(source, &plan).unwrap()
}

#[test]
fn up_to_the_cap_bytes_are_exact() {
    for len in [0, 1, 63, 64, 65_535, 65_536] {
        let got = read_with(&mut made(len), &LookOptions::default(), None);
        let want: Vec<u8> = (0..len).map(noise).collect();
        assert_eq!((got.exact, got.len, got.problem), (true, len, None));
        assert_eq!(got.hash, *blake3::hash(&want).as_bytes());
        assert_eq!(got.cells, want);
    }
    let got = read_with(&mut made(65_537), &LookOptions::default(), None);
    assert_eq!((got.exact, got.cells.len(), got.len), (false, 65_536, 65_537));
    let exact = LookOptions { exact: true, ..LookOptions::default() };
    assert_eq!(read_with(&mut made(100_000), &exact, None).cells.len(), 100_000);
}

#[test]
fn reading_through_and_sampling_give_the_same_cells() {
    for (len, cap) in [(65_537, 16), (1_000_003, 16), (1025, 10), (9_999_999, 10), (70, 6)] {
        let through = read_with(&mut made(len), &options(cap, u64::MAX), None);
        let samples = read_with(&mut made(len), &options(cap, 0), None);
        assert_eq!(through.cells, samples.cells, "{len} {cap}");
        assert!(!through.partial_hash && samples.partial_hash);
    }
}

#[test]
fn one_look_at_a_file_of_any_size_is_bounded() {
    for len in [65 << 20, 1 << 40, u64::MAX >> 1] {
        let mut source = made(len);
        let got = read_with(&mut source, &LookOptions::default(), Some(&Redactor::ephemeral(&[]).unwrap()));
        assert_eq!((got.cells.len(), got.len, got.exact, got.partial_hash), (65_536, len, false, true));
        assert!(source.read <= DIGEST_BYTES_MAX + SAMPLED_HEAD_BYTES as u64, "{} bytes read", source.read);
    }
}

#[test]
fn claimed_sizes_are_not_trusted() {
    let redactor = Redactor::ephemeral(&[]).unwrap();
    let options = LookOptions::default();
    let plan = Plan { options: &options, len: 10, head: 100, form: Form::Any, scan: Some(&redactor) };
    let longer = read(&mut made(1000), &plan).unwrap();
    assert_eq!((longer.len, longer.cells.len()), (10, 10));
    assert_eq!(longer.problem.as_deref(), Some("longer than its size says"));
    let shorter = read(&mut made(3), &plan).unwrap();
    assert_eq!((shorter.len, shorter.cells.len()), (3, 3));
    assert_eq!(shorter.problem.as_deref(), Some("its size says 10 bytes, 3 could be read"));
    let none = read(&mut made(5), &Plan { len: 0, ..plan }).unwrap();
    assert_eq!(none.problem.as_deref(), Some("longer than its size says"));
}

#[test]
fn a_key_at_any_place_is_found() {
    fn key(at: u64) -> u8 {
        const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n";
        let start = 2 * CHUNK_BYTES as u64 - 30;
        at.checked_sub(start).and_then(|i| KEY.get(usize::try_from(i).ok()?)).copied().unwrap_or(b'.')
    }
    let redactor = Redactor::ephemeral(&[]).unwrap();
    for per_call in [usize::MAX, 7919, 13] {
        let mut source = Made { len: 3 * CHUNK_BYTES as u64, byte: key, read: 0, per_call };
        let got = read_with(&mut source, &LookOptions::default(), Some(&redactor));
        assert_eq!(got.secret, Some(Redaction::PrivateKey), "{per_call} bytes a call");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn digests_are_means_of_their_strides(len in 65_u64..20_000, cap in 6_u8..9, per_call in 1_usize..5000) {
        prop_assume!(len > 1 << cap);
        let mut source = Made { per_call, ..made(len) };
        let got = read_with(&mut source, &options(cap, u64::MAX), None);
        let n = 1_u64 << cap;
        let want: Vec<u8> = (0..n).map(|i| {
            let (from, to) = (i * len / n, (i + 1) * len / n);
            let sum: u64 = (from..to).map(|o| u64::from(noise(o))).sum();
            u8::try_from((2 * sum + (to - from)) / (2 * (to - from))).unwrap()
        }).collect();
        prop_assert_eq!(got.cells, want);
    }
}
