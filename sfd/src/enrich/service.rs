//! Asks the model, a few questions at a time, and hands its words to the agent.
//!
//! ```text
//! worker --want--> Queue --take--> cache? --no--> question from the disk --> Client --> answer
//!                                    |                                                    |
//!                                    +----------------> label <---- cache <---------------+
//! ```
//!
//! Nothing here is on the way from a change to the brick: the worker only adds to a bounded queue. What the queue has
//! forgotten, and what was there before the daemon, is found by a *sweep*: the agent is asked for the artifacts that
//! want a description, the most interesting first, whenever the queue has run empty.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::answer::Answer;
use super::breaker::Breaker;
use super::budget::Budget;
use super::cache::{Cache, CacheError, Stored};
use super::client::{AskError, Client, LlmConfig, Reply};
use super::enricher::{Enricher, Forget, LlmState};
use super::question::Question;
use super::queue::{Holder, Interest, QUEUE_MAX, Reason, Subject, Taken, Want};

/// Questions about one subject that may come to nothing before it is left to rules for good. The questions are the same,
/// but servers sample, and a half-loaded one answers nonsense.
const TRIES_MAX: u32 = 3;
/// Invalid answers in a row after which the server is taken to be in trouble: it is not the questions.
const BAD_IN_A_ROW_MAX: u32 = 5;
/// Artifacts handed to the worker in one order: some milliseconds of its time.
const LABELS_MAX: usize = 64;
/// Artifacts that a sweep asks for at a time.
const SWEEP_MAX: usize = QUEUE_MAX / 4;
/// Longest time between two looks at clock, budget and server when nothing happens.
const TICK: Duration = Duration::from_secs(30);
/// Weight of the newest answer in the time that an answer is said to take.
const NEWEST: f64 = 0.2;

/// What the service is started with.
#[derive(Clone, Debug)]
pub struct EnrichConfig {
    /// Which server, which model.
    pub client: LlmConfig,
    /// Questions under way at a time.
    pub concurrency: usize,
    /// Tokens that may be spent in an hour of the clock; 0: no limit.
    pub tokens_per_hour: u64,
    /// Tokens that may be spent in 24 hours; 0: no limit.
    pub tokens_per_day: u64,
    /// Where answers are kept.
    pub state: PathBuf,
}

/// A model's words for one artifact.
#[derive(Clone, Debug)]
pub struct Label {
    /// Which artifact.
    pub holder: Holder,
    /// What it must still be.
    pub subject: Subject,
    /// The words.
    pub answer: Arc<Answer>,
    /// Which model's.
    pub model: Arc<str>,
    /// When they were given, nanoseconds since the epoch.
    pub at_ns: i64,
}

/// Where a sweep goes on: what comes after this interest and, among equals, this artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepPoint {
    /// Of the last one handed out.
    pub interest: Interest,
    /// The last one handed out.
    pub holder: Holder,
}

/// What the service needs of the agent.
pub trait Host: Send + Sync + 'static {
    /// The question about an artifact, from its contents as they are on disk now; `None`: it is gone, or something else, or
    /// secret.
    fn question(&self, holder: Holder, subject: Subject) -> impl Future<Output = Option<Question>> + Send;
    /// Artifacts get these words, if they are still what was asked about.
    fn label(&self, labels: Vec<Label>) -> impl Future<Output = ()> + Send;
    /// At most `max` artifacts that this model has not described, in order of [`Interest`], from `after` on.
    fn more(
        &self,
        model: String,
        after: Option<SweepPoint>,
        max: usize,
    ) -> impl Future<Output = Vec<Want>> + Send;
}

/// How a question ended.
enum Done {
    /// Its words were known; so many artifacts have them now.
    FromCache {
        labelled: usize,
    },
    /// It was asked before, to no avail.
    KnownBad(String),
    /// Nothing to ask about any more.
    Gone,
    /// A valid answer, which is with everything that carries the subject.
    Answered {
        tokens: u64,
        took: Duration,
        labelled: usize,
    },
    Failed(AskError),
}

/// Where a sweep is.
#[derive(Debug, Default)]
enum Sweep {
    /// None is under way.
    #[default]
    Done,
    Begins,
    After(SweepPoint),
}

/// The service. One task runs it.
pub struct Service<H> {
    config: EnrichConfig,
    enricher: Enricher,
    host: Arc<H>,
    client: Option<Arc<Client>>,
    breaker: Breaker,
    budget: Budget,
    cache: Option<Arc<Mutex<Cache>>>,
    /// The clock that the breaker goes by.
    started: Instant,
    bad_in_a_row: u32,
    sweep: Sweep,
    /// The state last logged.
    told: LlmState,
}

impl<H: Host> Service<H> {
    /// A service that answers what comes through `enricher`.
    pub fn new(config: EnrichConfig, enricher: Enricher, host: Arc<H>) -> Self {
        let cache = Cache::open(&config.state)
            .inspect_err(
                |error| warn!(%error, "answers are not kept: all will be asked again after a restart"),
            )
            .ok();
        let spent = cache.as_ref().and_then(|cache| cache.spent().ok()).unwrap_or_default();
        let budget = Budget::new(config.tokens_per_hour, config.tokens_per_day, spent);
        Self {
            config,
            enricher,
            host,
            client: None,
            breaker: Breaker::default(),
            budget,
            cache: cache.map(|cache| Arc::new(Mutex::new(cache))),
            started: Instant::now(),
            bad_in_a_row: 0,
            sweep: Sweep::default(),
            told: LlmState::Off,
        }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let mut asking: JoinSet<(Taken, Done)> = JoinSet::new();
        loop {
            self.forget();
            if self.client.is_none() && self.may_ask() {
                self.connect().await;
            }
            if let Some(client) = self.client.clone() {
                while asking.len() < self.slots() {
                    let Some(taken) = self.enricher.lock().queue.take() else { break };
                    asking.spawn(one(
                        Arc::clone(&self.host),
                        Arc::clone(&client),
                        self.cache.clone(),
                        self.enricher.clone(),
                        taken,
                    ));
                }
                if asking.len() < self.slots() && self.fill(client.model()).await {
                    continue;
                }
            }
            let wait = self.publish();
            let enricher = self.enricher.clone();
            tokio::select! {
                Some(done) = asking.join_next(), if !asking.is_empty() => match done {
                    Ok((taken, done)) => self.finish(&taken, done),
                    // A panic while one artifact was looked at; its entry stays in flight and is asked about no more.
                    Err(error) => warn!(%error, "a question ended unexpectedly"),
                },
                () = enricher.news.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn asked(&self) -> bool {
        self.enricher.lock().queue.next_reason() == Some(Reason::Asked)
    }

    /// Whether the server may be looked for: not while it rests, unless a person waits.
    fn may_ask(&self) -> bool {
        self.breaker.allows(self.now_ns()) > 0 || self.asked()
    }

    /// Questions that may be under way now.
    fn slots(&self) -> usize {
        if self.asked() {
            // A person does not wait for a budget, nor behind what is under way.
            return self.config.concurrency + 1;
        }
        if self.budget.wait_until(crate::agent::now_ns()).is_some() {
            return 0;
        }
        self.breaker.allows(self.now_ns()).min(self.config.concurrency)
    }

    async fn connect(&mut self) {
        match Client::connect(&self.config.client).await {
            Ok(client) => {
                info!(url = client.endpoint(), model = client.model(), "a model describes artifacts");
                {
                    let mut inner = self.enricher.lock();
                    inner.status.url = Some(client.endpoint().to_owned());
                    inner.status.protocol = serde_json::to_value(client.protocol())
                        .ok()
                        .and_then(|name| name.as_str().map(str::to_owned));
                    if inner.status.model.as_deref() != Some(client.model()) {
                        inner.status.model = Some(client.model().to_owned());
                        inner.sweep = true;
                    }
                    inner.status.why = None;
                }
                self.client = Some(Arc::new(client));
            }
            Err(error) => {
                let why = error.to_string();
                self.breaker.failed(self.now_ns(), chance(), error.retry_after());
                let mut inner = self.enricher.lock();
                while inner.queue.next_reason() == Some(Reason::Asked) {
                    let Some(taken) = inner.queue.take() else { break };
                    inner.queue.put_back(&taken.subject, false, &why);
                }
                inner.status.why = Some(why);
            }
        }
    }

    /// Asks the agent for artifacts to describe when nothing waits. Whether there were any.
    async fn fill(&mut self, model: &str) -> bool {
        {
            let mut inner = self.enricher.lock();
            if std::mem::take(&mut inner.sweep) {
                self.sweep = Sweep::Begins;
            }
            if inner.queue.len() > inner.queue.in_flight() || inner.queue.len() >= QUEUE_MAX {
                return false;
            }
            if matches!(self.sweep, Sweep::Done) && inner.queue.take_incomplete() {
                self.sweep = Sweep::Begins;
            }
        }
        let after = match std::mem::take(&mut self.sweep) {
            Sweep::Done => return false,
            Sweep::Begins => None,
            Sweep::After(point) => Some(point),
        };
        let wants = self.host.more(model.to_owned(), after, SWEEP_MAX).await;
        let Some(last) = wants.last() else { return false };
        self.sweep = Sweep::After(SweepPoint { interest: last.interest, holder: last.holder.clone() });
        let mut inner = self.enricher.lock();
        for want in wants {
            inner.queue.push(want);
        }
        true
    }

    fn forget(&mut self) {
        let forget = std::mem::take(&mut self.enricher.lock().forget);
        let Some(cache) = &self.cache else { return };
        match forget {
            Forget::Some(hashes) => {
                for hash in hashes {
                    let result = lock(cache).forget(&hash);
                    note_cache(&self.enricher, result);
                }
            }
            Forget::All => {
                let result = lock(cache).forget_all();
                note_cache(&self.enricher, result);
            }
        }
    }

    fn finish(&mut self, taken: &Taken, done: Done) {
        let subject = &taken.subject;
        let enricher = self.enricher.clone();
        match done {
            Done::FromCache { labelled } => {
                enricher.lock().status.from_cache += 1;
                self.end(subject, labelled);
            }
            Done::KnownBad(why) => {
                enricher.lock().queue.finish(subject, &Err(why));
            }
            Done::Gone => {
                let why = "it has changed, or is secret, or its contents cannot be read";
                let mut inner = enricher.lock();
                inner.status.stale += 1;
                inner.queue.finish(subject, &Err(why.into()));
            }
            Done::Answered { tokens, took, labelled } => {
                self.breaker.succeeded();
                self.bad_in_a_row = 0;
                let (hour, sum) = self.budget.spend(crate::agent::now_ns(), tokens);
                if let Some(cache) = &self.cache {
                    let result = lock(cache).set_spent(hour, sum);
                    note_cache(&enricher, result);
                }
                {
                    let status = &mut enricher.lock().status;
                    status.asked += 1;
                    status.answered += 1;
                    status.why = None;
                    let took = took.as_secs_f64();
                    let before = status.seconds_per_answer.unwrap_or(took);
                    status.seconds_per_answer = Some(before + NEWEST * (took - before));
                }
                self.end(subject, labelled);
            }
            Done::Failed(error) => self.failed(taken, &error),
        }
    }

    fn failed(&mut self, taken: &Taken, error: &AskError) {
        let why = error.to_string();
        debug!(%error, "no answer");
        let of_the_server = error.is_of_the_server();
        self.bad_in_a_row = if of_the_server { 0 } else { self.bad_in_a_row + 1 };
        if of_the_server || self.bad_in_a_row >= BAD_IN_A_ROW_MAX {
            self.breaker.failed(self.now_ns(), chance(), error.retry_after());
            if self.breaker.is_open() {
                // Looked for anew after the rest: it may speak another protocol by then, or have another model.
                self.client = None;
            }
        } else {
            self.breaker.succeeded();
        }
        let give_up = !of_the_server && taken.failures + 1 >= TRIES_MAX;
        {
            let mut inner = self.enricher.lock();
            inner.status.asked += 1;
            inner.status.why = Some(why.clone());
            if of_the_server {
                inner.status.server_failures += 1;
            } else {
                inner.status.bad_answers += 1;
            }
            if !give_up {
                inner.queue.put_back(&taken.subject, !of_the_server, &why);
                return;
            }
            inner.status.given_up += 1;
        }
        if let (Some(cache), Some(model)) = (&self.cache, self.enricher.status().model) {
            let result = lock(cache).put(&taken.subject, &model, Err(&why), 0, crate::agent::now_ns());
            note_cache(&self.enricher, result);
        }
        self.enricher.lock().queue.finish(&taken.subject, &Err(why));
    }

    /// Ends a question that was answered. What has come to carry the subject since the last label was handed out waits
    /// again; the cache has its words.
    fn end(&self, subject: &Subject, labelled: usize) {
        let interest = Interest { reason: Reason::Changed, risk: 0, worth: 0 };
        let mut inner = self.enricher.lock();
        let late = inner.queue.finish(subject, &Ok(())).into_iter().skip(labelled);
        late.for_each(|holder| inner.queue.push(Want { holder, subject: *subject, interest }));
    }

    /// Publishes how it does; returns how long to wait when nothing happens.
    fn publish(&mut self) -> Duration {
        let (now, now_ns) = (self.now_ns(), crate::agent::now_ns());
        let rest = self.breaker.wait_until(now).map(|until| Duration::from_nanos(until.saturating_sub(now)));
        let budget = self.budget.wait_until(now_ns);
        let state = match (&self.client, rest) {
            (None, _) => LlmState::Unreachable,
            (Some(_), Some(_)) => LlmState::Resting,
            (Some(_), None) if budget.is_some() => LlmState::BudgetSpent,
            (Some(_), None) => LlmState::Ready,
        };
        let until =
            |wait: Duration| now_ns.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
        let mut inner = self.enricher.lock();
        let status = &mut inner.status;
        status.state = state;
        status.next_try_ns = rest.map(until).or(budget.filter(|_| state == LlmState::BudgetSpent));
        (status.tokens_hour, status.tokens_day) = self.budget.spent(now_ns);
        (status.tokens_hour_max, status.tokens_day_max) = self.budget.limits();
        if state != self.told {
            // Once a change; the status has the rest.
            info!(?state, why = status.why.as_deref().unwrap_or_default(), "language model");
            self.told = state;
        }
        let budget =
            budget.map(|at| Duration::from_nanos(u64::try_from(at.saturating_sub(now_ns)).unwrap_or(0)));
        [rest, budget].into_iter().flatten().min().unwrap_or(TICK).min(TICK)
    }
}

/// Comes to words for one subject, and gives them to everything that carries it.
async fn one<H: Host>(
    host: Arc<H>,
    client: Arc<Client>,
    cache: Option<Arc<Mutex<Cache>>>,
    enricher: Enricher,
    taken: Taken,
) -> (Taken, Done) {
    let subject = taken.subject;
    let known = cache.as_ref().and_then(|cache| {
        let known = lock(cache).get(&subject, client.model());
        note_cache(&enricher, known).flatten()
    });
    match known {
        Some(Stored::Answer(answer, at_ns)) => {
            let labelled = label(&*host, &enricher, &client, subject, answer, at_ns).await;
            return (taken, Done::FromCache { labelled });
        }
        // A person may try his luck.
        Some(Stored::Nothing(why)) if taken.reason != Reason::Asked => return (taken, Done::KnownBad(why)),
        _ => {}
    }
    let mut question = None;
    for holder in &taken.holders {
        question = host.question(holder.clone(), subject).await;
        if question.is_some() {
            break;
        }
    }
    let Some(question) = question else { return (taken, Done::Gone) };
    let done = match client.ask(&question).await {
        Ok(Reply { answer, tokens_in, tokens_out, took, loading }) => {
            let (tokens, at_ns) = (tokens_in.saturating_add(tokens_out), crate::agent::now_ns());
            if let Some(cache) = &cache {
                let result = lock(cache).put(&subject, client.model(), Ok(&answer), tokens, at_ns);
                note_cache(&enricher, result);
            }
            let labelled = label(&*host, &enricher, &client, subject, answer, at_ns).await;
            // The next answer will not have to wait for the model to be loaded.
            Done::Answered { tokens, took: took.saturating_sub(loading), labelled }
        }
        Err(error) => Done::Failed(error),
    };
    (taken, done)
}

/// Gives words to everything that carries a subject, and to what comes to carry it meanwhile; returns how many that are.
async fn label<H: Host>(
    host: &H,
    enricher: &Enricher,
    client: &Client,
    subject: Subject,
    answer: Answer,
    at_ns: i64,
) -> usize {
    let (answer, model) = (Arc::new(answer), Arc::<str>::from(client.model()));
    let mut done = 0;
    loop {
        // In order of arrival; none leaves before the end.
        let holders: Vec<Holder> =
            enricher.lock().queue.holders_of(&subject).into_iter().skip(done).take(LABELS_MAX).collect();
        if holders.is_empty() {
            return done;
        }
        done += holders.len();
        let labels = holders.into_iter().map(|holder| Label {
            holder,
            subject,
            answer: Arc::clone(&answer),
            model: Arc::clone(&model),
            at_ns,
        });
        host.label(labels.collect()).await;
    }
}

fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    // SQLite rolls back what a panic left.
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cache that fails costs questions, nothing else.
fn note_cache<T>(enricher: &Enricher, result: Result<T, CacheError>) -> Option<T> {
    result
        .inspect_err(|error| {
            debug!(%error, "answers");
            enricher.lock().status.cache_errors += 1;
        })
        .ok()
}

/// A number from 0 to 1, different on each host and each time.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}
