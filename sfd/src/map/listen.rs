//! Connections: how many, and how long one may stand still.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tracing::warn;

use super::counters::{Counters, Present};

/// Connections at a time: a browser opens six for a page and one for its events. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Ports tried, from the one asked for on.
const PORTS_TRIED: u16 = 10;
/// Bytes that the kernel keeps for a client that does not read (it takes twice that for its own accounts). By itself it
/// would keep some megabytes, minutes of events.
const SEND_BYTES: u32 = 128 << 10;
/// How long nothing may move on a connection that something is to be written to: a client that does not read is cut off.
const WRITE_STALL_MAX: Duration = Duration::from_secs(20);
/// How long a request may take to arrive, and to be answered.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// How long an idle connection is kept for the next request. A stream of events writes a line every 15 s.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// Binds the address, or the next free port above it. To be called within a runtime.
///
/// # Errors
/// None of them can be had.
pub(super) fn bind(wanted: SocketAddr) -> io::Result<TcpListener> {
    let mut last = None;
    for step in 0..PORTS_TRIED {
        let Some(port) = wanted.port().checked_add(step) else { break };
        match bind_one(SocketAddr::new(wanted.ip(), port)) {
            Ok(listener) => {
                if step > 0 {
                    warn!(
                        wanted = wanted.port(),
                        port, "the port of the map is taken; using the next free one"
                    );
                }
                return Ok(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse)))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // A daemon that is started again at once gets its port.
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BYTES)?;
    socket.bind(address)?;
    socket.listen(CONNECTIONS_MAX as u32)
}

/// Accepts connections, a bounded number at a time.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, counters: Arc<Counters>) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), counters }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            if self.places.available_permits() == 0 {
                Counters::count(&self.counters.connections_waited);
            }
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                // Nobody closes it.
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    // Tiles are small and wanted at once.
                    let _ = stream.set_nodelay(true);
                    return (Connection::new(stream, place, &self.counters), from);
                }
                Err(error) => {
                    // No more file descriptors, most likely: the next try must not be at once.
                    warn!(%error, "map: accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by itself when nothing moves on it.
pub(super) struct Connection {
    stream: TcpStream,
    /// Fires when it has stood still for too long.
    deadline: Pin<Box<Sleep>>,
    /// Part of a request has come, and no byte of an answer has gone since.
    owes_answer: bool,
    /// Something is to be written and the other side does not take it.
    stalled: bool,
    counters: Arc<Counters>,
    _here: Present,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, counters: &Arc<Counters>) -> Self {
        Self {
            stream,
            deadline: Box::pin(tokio::time::sleep(IDLE_MAX)),
            owes_answer: false,
            stalled: false,
            counters: Arc::clone(counters),
            _here: Present::new(counters, |counters| &counters.connections),
            _place: place,
        }
    }

    fn allow(&mut self, time: Duration) {
        self.deadline.as_mut().reset(Instant::now() + time);
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.deadline.as_mut().poll(context).is_pending() {
            return false;
        }
        Counters::count(&self.counters.cut_off);
        true
    }
}

fn too_slow<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing has moved for too long")))
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(result) => {
                // Not by every byte of it: who sends one now and then must not keep the place for ever.
                if buffer.filled().len() > before && !this.owes_answer {
                    this.owes_answer = true;
                    this.allow(ANSWER_WITHIN);
                }
                Poll::Ready(result)
            }
            Poll::Pending if this.is_late(context) => too_slow(),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Ready(result) => {
                this.owes_answer = false;
                this.stalled = false;
                this.allow(IDLE_MAX);
                Poll::Ready(result)
            }
            Poll::Pending => {
                if !this.stalled {
                    this.stalled = true;
                    this.allow(WRITE_STALL_MAX);
                }
                if this.is_late(context) { too_slow() } else { Poll::Pending }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
