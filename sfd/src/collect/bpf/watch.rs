//! Registering watched inodes in the kernel's map, one system call each.

use std::{path::Path, sync::Arc};

use aya::maps::{Array, HashMap, MapData};
use sfd_common::{InodeKey, WatchedValue, device_bit};

use super::load::{Key, Value};
use crate::collect::{Counters, InodeId, LossReason, Watch};

/// `BPF_NOEXIST` and `BPF_EXIST` of include/uapi/linux/bpf.h.
const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;

/// The map of watched inodes.
///
/// # Why no change is lost
/// Entries are replaced whole ([`Watch::rearm`] writes a clean value), while a program on another CPU may hold the
/// old entry. Two things can happen, and both are harmless given the order *rearm, stat, read*:
/// - the program reported, and its mark lands in the old entry: the new one stays clean, and the next change is
///   reported again. One record too many.
/// - the program found the old entry marked and stayed silent: that was before the replacement became visible, so
///   the change it stood for came before the read that follows the rearm, which sees it.
///
/// The stat in between is part of it. A write that changes no field of the inode (same clock tick, same length,
/// page already dirty) fires no hook at all. Since Linux 6.13 the kernel gives a change after a stat a time of its
/// own (multigrain timestamps), so it fires. On older kernels, and for a hook that fires before the data is in
/// place (the time stamp of a write, on tmpfs the only one), a reader can be as fast as the clock: then the change
/// time it sees is less than a tick (10 ms at most) old, which is when the object has to be looked at once more.
pub(super) struct WatchedMap {
    map: HashMap<MapData, Key, Value>,
    /// Bits of the devices that something was ever watched on, and the same as the kernel side has it.
    devices: u64,
    device_map: Array<MapData, u64>,
    counters: Arc<Counters>,
}

impl WatchedMap {
    pub(super) fn new(
        map: HashMap<MapData, Key, Value>,
        device_map: Array<MapData, u64>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { map, devices: 0, device_map, counters }
    }

    /// Lets changes on a device through. Before the object is watched, so that none is missed; `false` when that failed.
    fn let_through(&mut self, dev: u32) -> bool {
        let devices = self.devices | device_bit(dev);
        if devices == self.devices {
            return true;
        }
        let done = self.device_map.set(0, devices, 0).is_ok();
        if done {
            self.devices = devices;
        }
        done
    }

    /// Watches an object so that every hook reports it, or stops: for the self-test. `false` when it could not.
    pub(super) fn watch_every(&mut self, id: InodeId, on: bool) -> bool {
        const EVERY: Value = Value(WatchedValue { flags: WatchedValue::EVERY, ..WatchedValue::CLEAN });
        if on && !self.let_through(id.dev) {
            return false;
        }
        if on { self.map.insert(key(id), EVERY, 0).is_ok() } else { self.map.remove(&key(id)).is_ok() }
    }
}

fn key(id: InodeId) -> Key {
    Key(InodeKey::new(id.dev, id.ino))
}

const CLEAN: Value = Value(WatchedValue::CLEAN);

impl Watch for WatchedMap {
    fn watch(&mut self, id: InodeId, _: &Path, _: bool) -> Result<(), LossReason> {
        if !self.let_through(id.dev) {
            self.counters.lost(LossReason::WatchedFull, 1);
            return Err(LossReason::WatchedFull);
        }
        match self.map.insert(key(id), CLEAN, NO_EXIST) {
            Ok(()) => {
                self.counters.watch();
                Ok(())
            }
            Err(error) if errno(&error) == Some(libc::EEXIST) => {
                if self.rearm(id) {
                    Ok(())
                } else {
                    Err(LossReason::WatchedFull)
                }
            }
            // E2BIG: the bound is reached. ENOMEM: the kernel has no memory for an entry.
            Err(error) => {
                tracing::debug!(?id, %error, "cannot be watched");
                self.counters.lost(LossReason::WatchedFull, 1);
                Err(LossReason::WatchedFull)
            }
        }
    }

    fn unwatch(&mut self, id: InodeId) {
        // Fails only when it is not there.
        if self.map.remove(&key(id)).is_ok() {
            self.counters.unwatch();
        }
    }

    fn rearm(&mut self, id: InodeId) -> bool {
        // Fails when it is not watched any more (nothing to do), or when the kernel has no memory for the new
        // entry. Then the mark would stay and keep every later change silent; without an entry the caller knows that
        // nobody reports the object.
        match self.map.insert(key(id), CLEAN, EXIST) {
            Err(error) if errno(&error) != Some(libc::ENOENT) => {
                self.counters.lost(LossReason::WatchedFull, 1);
                self.unwatch(id);
                false
            }
            _ => true,
        }
    }
}

/// The system's error behind a map error.
fn errno(error: &aya::maps::MapError) -> Option<i32> {
    match error {
        aya::maps::MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}
