//! Stage 7: the map: the bricks of this daemon in a browser.
//!
//! ```text
//! feed      what the worker tells of commits    slot     one brick: readers, index, Merkle tree
//! listen    connections                         index    names, places, times of its artifacts
//! access    token, Host, Origin, headers        labels   which names are shown in a view
//! api       the requests                        tiles    which tile, from the cache or made now
//! events    what changes, to each client        paint    from pixels to colours, pure
//! pool      threads that read                   palette  which colour what has
//! assets    the front end                 districts  where bricks are on the plane
//! infinite  for the public Infinite Map   json     what is said of artifacts
//! ```
//!
//! It only reads, on threads that yield to the worker, and nothing in it is ever waited for by the worker. It holds nothing
//! of a brick while nobody looks, or has looked for ten minutes. The choice is explained in `docs/decisions/0011-map-server.md`.
#![forbid(unsafe_code)]

mod access;
mod api;
mod assets;
mod counters;
mod districts;
mod error;
mod events;
pub mod feed;
mod geometry;
mod index;
mod infinite;
mod json;
mod labels;
mod listen;
mod paint;
mod palette;
mod pool;
mod slot;
mod tiles;

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, oneshot};
use tracing::{debug, error, warn};

pub use access::Token;
pub use counters::MapStatus;

use crate::agent::{RootKind, Status, StatusSource};
use crate::brick::{ArtifactId, NewFile};
use access::Access;
use counters::Counters;
use districts::Districts;
use error::ApiError;
use events::Event;
use feed::Feed;
use labels::Area;
use pool::Pool;
use slot::{Slot, State};
use tiles::Tiles;

/// Where the map is served unless the configuration says otherwise.
pub const LISTEN: &str = "127.0.0.1:7317";
/// File in the state directory that holds the address with the token.
pub const URL_FILE: &str = "map-url";
/// File beside it that sends a browser there: an address among the arguments of a process could be read by everybody.
pub const PAGE_FILE: &str = "map-open.html";
/// Empty file in the state directory: somebody has been at the map, so that nobody needs to be told of it any more.
pub const OPENED_FILE: &str = "map-opened";
/// How often it is looked whether a brick has grown, closed or become unverified.
const STATE_EVERY: Duration = Duration::from_millis(500);
/// After so long without a request and without a client, nothing is kept of the bricks.
const FORGET_AFTER: Duration = Duration::from_mins(10);
/// How old the areas of directories may be while a brick changes all the time; making them costs some milliseconds.
const AREAS_FOR: Duration = Duration::from_secs(1);

/// Where and how the map is served.
#[derive(Clone, Debug)]
pub struct MapConfig {
    /// The address; when its port is taken, the next free one of ten.
    pub listen: SocketAddr,
    /// What a client must know.
    pub token: Token,
    /// Pictures for the public Infinite Map are made too.
    pub with_pictures: bool,
}

/// What the map needs of the agent.
pub(crate) struct Served {
    pub(crate) config: MapConfig,
    pub(crate) state: PathBuf,
    /// Name, path and sort of each root.
    pub(crate) roots: Vec<(String, PathBuf, RootKind)>,
    pub(crate) feed: Feed,
}

/// What all requests share.
struct App {
    slots: Vec<Arc<Slot>>,
    pool: Pool,
    tiles: Tiles,
    areas: Mutex<HashMap<String, Areas>>,
    districts: Districts,
    /// [`OPENED_FILE`].
    opened: PathBuf,
    access: Access,
    counters: Arc<Counters>,
    events: broadcast::Sender<Arc<Event>>,
    status: StatusSource,
    host: String,
    /// Messages for the public Infinite Map, and where its files are if there are any.
    public: broadcast::Sender<Arc<str>>,
    public_dir: Option<PathBuf>,
}

impl App {
    /// Somebody has come with the token.
    fn note_visit(&self) {
        if let Err(error) = std::fs::File::create(&self.opened) {
            debug!(path = %self.opened.display(), %error, "it is not noted that the map was opened");
        }
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>, ApiError> {
        let found = self.slots.iter().find(|slot| slot.name == name);
        found.map(Arc::clone).ok_or_else(|| {
            let names: Vec<&str> = self.slots.iter().map(|slot| slot.name.as_str()).collect();
            ApiError::not_found(format!("no brick {name:?}; there are: {}", names.join(", ")))
        })
    }
}

/// Areas of directories, and of which state of a brick.
struct Areas {
    version: u64,
    made: std::time::Instant,
    by_directory: Arc<HashMap<ArtifactId, Area, FixedState>>,
}

/// The areas of the directories of a brick, as old as they may be.
fn label_areas(app: &App, brick: &str, state: &State) -> Arc<HashMap<ArtifactId, Area, FixedState>> {
    let mut all = app.areas.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(brick)
        && (known.version == state.version || known.made.elapsed() < AREAS_FOR)
    {
        return Arc::clone(&known.by_directory);
    }
    let areas = Arc::new(labels::areas(&state.index));
    let made = std::time::Instant::now();
    let known = Areas { version: state.version, made, by_directory: Arc::clone(&areas) };
    all.insert(brick.to_owned(), known);
    areas
}

/// A runtime that may be dropped anywhere, in another runtime too. Nothing that still runs in it is worth waiting for.
struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A map that is bound but not served yet.
pub(crate) struct Bound {
    /// Of its own: whatever clients do costs its thread, and not the agent's.
    runtime: OwnRuntime,
    listener: TcpListener,
    served: Served,
    counters: Arc<Counters>,
    access: Access,
}

impl Bound {
    /// Takes the address. `None`, with a warning, when it cannot be had: the daemon has more to do than to be looked at.
    pub(crate) fn new(served: Served) -> Option<Self> {
        let wanted = served.config.listen;
        let bound = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let listener = {
                let _inside = runtime.enter();
                listen::bind(wanted)?
            };
            Ok((listener.local_addr()?, listener, OwnRuntime(Some(runtime))))
        });
        match bound {
            Ok((address, listener, runtime)) => {
                if !address.ip().is_loopback() {
                    warn!(%address, "the map is not encrypted: whoever can listen on this network can read it and its token");
                }
                let access = Access::new(served.config.token.clone(), address);
                Some(Self { runtime, listener, served, counters: Arc::default(), access })
            }
            Err(error) => {
                warn!(address = %wanted, %error, "no map; name another address with --listen");
                None
            }
        }
    }

    /// What `sfd status` shows, whenever called.
    pub(crate) fn status(&self) -> Arc<dyn Fn() -> MapStatus + Send + Sync> {
        let (counters, address) = (Arc::clone(&self.counters), self.access.address());
        Arc::new(move || counters.status(&address))
    }

    /// The address to open, with the token.
    pub(crate) fn url(&self) -> String {
        self.access.url()
    }

    /// Serves it on threads of its own until the returned value is dropped.
    ///
    /// # Errors
    /// A thread or a file cannot be made.
    pub(crate) fn serve(self, status: StatusSource) -> io::Result<Running> {
        let Self { runtime, listener, served, counters, access } = self;
        let bricks = served.state.join("bricks");
        keep_url(&served.state, &access.url())?;
        let slots =
            served.roots.iter().map(|(name, root, kind)| Arc::new(Slot::new(&bricks, name, root, *kind)));
        let app = Arc::new(App {
            slots: slots.collect(),
            pool: Pool::start(Arc::clone(&counters))?,
            tiles: Tiles::new(Arc::clone(&counters)),
            areas: Mutex::default(),
            districts: Districts::open(&served.state),
            access,
            counters,
            events: broadcast::channel(events::EVENTS_MAX).0,
            status,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            public: broadcast::channel(infinite::MESSAGES_MAX).0,
            opened: served.state.join(OPENED_FILE),
            public_dir: served.config.with_pictures.then(|| infinite::dir(&served.state)),
        });
        let notes = served.feed.listen();
        let listening = Arc::clone(&app);
        std::thread::Builder::new()
            .name("sfd-map-feed".into())
            .spawn(move || events::listen(&listening, notes))?;
        let mut publisher = None;
        if served.config.with_pictures {
            let (stop, stopped) = std::sync::mpsc::channel();
            let making = infinite::Publisher::new(Arc::clone(&app), &served.state)?;
            std::thread::Builder::new().name("sfd-map-public".into()).spawn(move || making.run(&stopped))?;
            publisher = Some(stop);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("sfd-map".into()).spawn(move || {
            pool::be_nice();
            let Some(inside) = &runtime.0 else { return };
            inside.block_on(async move {
                tokio::select! {
                    result = run(app, listener) => if let Err(error) = result {
                        error!(%error, "the map has ended");
                    },
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Running { stop: Some(stop), _publisher: publisher, state: served.state })
    }
}

async fn run(app: Arc<App>, listener: TcpListener) -> io::Result<()> {
    let listener = listen::Bounded::new(listener, Arc::clone(&app.counters));
    tokio::spawn(tell_state(Arc::clone(&app)));
    axum::serve(listener, api::router(app)).await
}

/// What clients are told of when it changes, other than pixels.
fn outline(status: &Status) -> Vec<(String, u8, u64, Option<String>)> {
    let root = |root: &crate::agent::RootStatus| {
        (root.path.clone(), root.order, root.unverified, root.error.clone())
    };
    let llm = (format!("{:?}", status.llm.state), 0, 0, status.llm.why.clone());
    status.roots.iter().map(root).chain([llm]).collect()
}

/// Tells clients when a brick has grown, closed or has more to doubt; forgets everything when nobody has looked for long.
async fn tell_state(app: Arc<App>) {
    let mut before = Vec::new();
    let (mut requests, mut looked) = (0, tokio::time::Instant::now());
    let mut ticks = tokio::time::interval(STATE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let is_heard = app.events.receiver_count() > 0;
        let asked = app.counters.requests.load(Ordering::Relaxed);
        if is_heard || asked != requests {
            (requests, looked) = (asked, tokio::time::Instant::now());
        } else if looked.elapsed() >= FORGET_AFTER {
            looked = tokio::time::Instant::now();
            app.slots.iter().for_each(|slot| slot.forget());
            app.tiles.forget();
            app.areas.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        if !is_heard {
            before.clear();
            continue;
        }
        let now = outline(&(app.status)());
        if now == before {
            continue;
        }
        let of = Arc::clone(&app);
        let document = app.pool.run(move || Ok(api::bricks_document(&of))).await;
        // Too busy: the next tick tries again.
        let Ok(document) = document else { continue };
        before = now;
        let _ = app.events.send(Arc::new(Event::State { json: document.to_string() }));
    }
}

/// Ends the map when dropped.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    /// Ends the making of pictures when dropped.
    _publisher: Option<std::sync::mpsc::Sender<()>>,
    state: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        for name in [URL_FILE, PAGE_FILE] {
            let _ = std::fs::remove_file(self.state.join(name));
        }
        if let Some(stop) = self.stop.take() {
            // Fails when it has ended by itself.
            let _ = stop.send(());
        }
    }
}

/// Writes the address where only the owner of the state directory may read it.
fn keep_url(state: &Path, url: &str) -> io::Result<()> {
    let page = format!(
        "<!doctype html><meta http-equiv=\"refresh\" content=\"0; url={url}\"><a href=\"{url}\">SFD map</a>"
    );
    for (name, text) in [(URL_FILE, url), (PAGE_FILE, &page)] {
        let file = NewFile::create(&state.join(name)).map_err(io::Error::other)?;
        writeln!(file.file(), "{text}")?;
        file.finish().map_err(io::Error::other)?;
    }
    Ok(())
}
