//! Reads rings that something else fills, by the thread that reads the daemon's own: `cargo xtask bench drain`
//! measures with it how fast that is.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use tokio::sync::mpsc;

use super::ring;
use crate::artifact::redact::Redactor;
use crate::collect::{CollectError, Counters, Event};

/// Maps as the eBPF programs have them (`docs/event-abi.md`).
pub struct Rings {
    /// Ring buffer of file events.
    pub files: OwnedFd,
    /// Ring buffer of process events.
    pub processes: OwnedFd,
    /// Per-CPU array of `u64`: records for which there was no room, by [`sfd_common::DropReason`].
    pub drops: OwnedFd,
}

/// The thread; stopped when dropped.
pub struct Replay {
    /// Events in chunks, as the agent gets them.
    pub events: mpsc::Receiver<Vec<Event>>,
    /// What the thread counted.
    pub counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Replay {
    /// Starts reading. `chunks_max` bounds the channel, as in [`crate::collect::CollectConfig`].
    ///
    /// # Errors
    /// When the descriptors are not such maps, or no thread can be started.
    pub fn start(rings: Rings, chunks_max: usize) -> Result<Self, CollectError> {
        let refused = |error: MapError| CollectError::Load(error.to_string());
        let data = |fd| MapData::from_fd(fd).map_err(refused);
        let files = RingBuf::try_from(Map::RingBuf(data(rings.files)?)).map_err(refused)?;
        let processes = RingBuf::try_from(Map::RingBuf(data(rings.processes)?)).map_err(refused)?;
        let drops = PerCpuArray::try_from(Map::PerCpuArray(data(rings.drops)?)).map_err(refused)?;
        let (counters, stop) = (Arc::new(Counters::default()), Arc::new(AtomicBool::new(false)));
        let (sender, events) = mpsc::channel(chunks_max.max(1));
        let waker =
            ring::Waker::new([files.as_raw_fd(), processes.as_raw_fd()]).map_err(CollectError::Thread)?;
        let reader = ring::Reader {
            files,
            processes,
            drops,
            // Nobody counts what this producer numbers.
            sequences: None,
            asleep: None,
            sender,
            counters: Arc::clone(&counters),
            stop: Arc::clone(&stop),
            waker,
            log: None,
            redactor: Redactor::disabled(),
        };
        let thread = std::thread::Builder::new()
            .name("sfd-collect".to_owned())
            .spawn(move || reader.run())
            .map_err(CollectError::Thread)?;
        Ok(Self { events, counters, stop, thread: Some(thread) })
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads events had panicked");
        }
    }
}
