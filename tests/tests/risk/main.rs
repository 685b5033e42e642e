//! Risk as an operator meets it: no false alarm on a fresh Debian, the right one for what is really bad, and the changes of
//! a running host in `sfd log`.
//!
//! Needs root, BPF, and mmdebstrap with a mirror in apt's own configuration (`apt-get install mmdebstrap`); fails and names
//! what is missing where it has not got them. The Debian is made once, in `target/`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod changes;
mod debian;
