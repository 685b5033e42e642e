//! The agent's side of the language model: what is worth a description, what may be asked, and where words go.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::lanes::Lane;
use super::root::Root;
use super::worker::{Order, Worker};
use super::{AgentError, RootKind};
use crate::artifact::{Answered, FileType, Risk, Semantics, SemanticsSource};
use crate::brick::Row;
use crate::enrich::answer::OF_MODEL;
use crate::enrich::queue::{Holder, Interest, Reason, Subject, Want, worth};
use crate::enrich::service::{Host, Label, SweepPoint};
use crate::enrich::{Answer, Excerpt, PROMPT_VERSION, Question, apply};

/// What the service of the language model wants of the worker.
#[derive(Debug)]
pub(super) enum Words {
    /// Where an artifact is, if it still is what the question would be about.
    Locate {
        /// Which.
        holder: Holder,
        /// What.
        subject: Subject,
        /// Its path.
        reply: oneshot::Sender<Option<PathBuf>>,
    },
    /// Artifacts get these words.
    Label {
        /// Which, and which words.
        labels: Vec<Label>,
        /// They are on the brick.
        done: oneshot::Sender<()>,
    },
    /// Artifacts that a model has not described.
    Undescribed {
        /// By which model.
        model: String,
        /// Those that come after this one.
        after: Option<SweepPoint>,
        /// At most so many.
        max: usize,
        /// The most interesting first.
        reply: oneshot::Sender<Vec<Want>>,
    },
    /// Somebody wants to know about a path.
    Find {
        /// Absolute.
        path: PathBuf,
        /// What to ask for; else why nothing can be asked.
        reply: oneshot::Sender<Result<Want, String>>,
    },
}

/// Makes what is needed to look at the files of one root.
pub(super) type LaneMaker = Arc<dyn Fn() -> Result<Lane, AgentError> + Send + Sync>;

/// The worker, as the service reaches it.
pub(super) struct Labeller {
    orders: mpsc::Sender<Order>,
    /// By name of the brick; directory trees only.
    lanes: HashMap<Arc<str>, LaneMaker>,
}

impl Labeller {
    pub(super) fn new(orders: mpsc::Sender<Order>, lanes: HashMap<Arc<str>, LaneMaker>) -> Self {
        Self { orders, lanes }
    }

    /// Gives an order and waits for what comes of it; `None` when the daemon is ending.
    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Words) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Words(order(reply))).await.ok()?;
        answer.await.ok()
    }
}

impl Host for Labeller {
    async fn question(&self, holder: Holder, subject: Subject) -> Option<Question> {
        let lane = Arc::clone(self.lanes.get(&holder.brick)?);
        let path = self.order(|reply| Words::Locate { holder, subject, reply }).await??;
        // Not the worker's thread: a slow disk must not keep changes waiting. What is read here goes through the same
        // rules of redaction as what goes into a brick, and must be the very contents that the question is about.
        let question = tokio::task::spawn_blocking(move || {
            let (mut view, mut looker) = lane().ok()?;
            let examined = looker.examine(view.as_mut(), &path)?;
            let artifact = &examined.artifact;
            let same = artifact.content_hash == subject.content_hash
                && artifact.semantics.kind == subject.kind
                && artifact.unverified.is_none()
                && !artifact.redacted;
            same.then(|| {
                let (kind, len) = (subject.kind, artifact.len);
                Question { kind, facts: examined.facts, excerpt: Excerpt::of(&examined.head), len }
            })
        });
        question.await.ok()?
    }

    async fn label(&self, labels: Vec<Label>) {
        // Without an answer the daemon is ending; the words are in the cache.
        let _ = self.order(|done| Words::Label { labels, done }).await;
    }

    async fn more(&self, model: String, after: Option<SweepPoint>, max: usize) -> Vec<Want> {
        self.order(|reply| Words::Undescribed { model, after, max, reply }).await.unwrap_or_default()
    }
}

impl Worker {
    /// Does what the service asks for.
    pub(super) fn words(&mut self, words: Words) {
        // Whoever does not wait any more needs no answer.
        match words {
            Words::Locate { holder, subject, reply } => {
                let path = self.root_called(&holder.brick, |root, _| {
                    let inventory = root.inventory();
                    let is_it = inventory.get(holder.id).and_then(subject_of) == Some(subject);
                    Ok(is_it.then(|| inventory.path(holder.id)))
                });
                let _ = reply.send(path.ok().flatten());
            }
            Words::Label { labels, done } => {
                self.each(|root, _| {
                    let name = root.name.clone();
                    root.label(labels.iter().filter(|label| *label.holder.brick == *name))
                });
                let _ = done.send(());
            }
            Words::Undescribed { model, after, max, reply } => {
                let mut wants = Vec::new();
                self.each(|root, _| {
                    root.undescribed(&model, after.as_ref(), &mut wants);
                    Ok(())
                });
                most_wanted(&mut wants, max);
                let _ = reply.send(wants);
            }
            Words::Find { path, reply } => {
                let mut found = Err(format!("{}: no watched directory has it", path.display()));
                self.each(|root, _| {
                    if path.starts_with(root.path())
                        && !(root.kind == RootKind::Tree && path.starts_with("/proc"))
                    {
                        found = root.wanted(&path);
                    }
                    Ok(())
                });
                let _ = reply.send(found);
            }
        }
    }
}

/// The order of a sweep: descending interest, then ascending brick and number.
fn order(a: (Interest, &Holder), b: (Interest, &Holder)) -> Ordering {
    b.0.cmp(&a.0).then_with(|| (&*a.1.brick, a.1.id).cmp(&(&*b.1.brick, b.1.id)))
}

/// Leaves the first `max` in the order of a sweep.
pub(super) fn most_wanted(wants: &mut Vec<Want>, max: usize) {
    let by_order = |a: &Want, b: &Want| order((a.interest, &a.holder), (b.interest, &b.holder));
    if wants.len() > max {
        wants.select_nth_unstable_by(max, by_order);
        wants.truncate(max);
    }
    wants.sort_unstable_by(by_order);
}

impl Root {
    /// What has changed wants a description, once the first comparison is over: until then the sweep that follows it
    /// finds everything.
    pub(super) fn want_words(&self, row: &Row) {
        if let (Some(enricher), Some(_)) = (&self.enricher, self.counters().last_full_verification_ns)
            && row.semantics.answered.is_none()
            && let Some(want) = self.want(row, Reason::Changed)
        {
            enricher.want(want);
        }
    }

    /// Contents that were readable are secret from now on.
    pub(super) fn forget_words(&self, old: &Row, new: &Row) {
        if let Some(enricher) = self.enricher.as_ref().filter(|_| new.redacted && !old.redacted) {
            enricher.forget(old.content_hash);
        }
    }

    fn want(&self, row: &Row, reason: Reason) -> Option<Want> {
        let subject = subject_of(row).filter(|_| self.kind == RootKind::Tree)?;
        let risk = rules_risk(&row.semantics);
        let interest = Interest { reason, risk, worth: worth(subject.kind)? };
        Some(Want { holder: Holder { brick: self.name.as_str().into(), id: row.id }, subject, interest })
    }

    /// What somebody who asks about a path wants.
    pub(super) fn wanted(&self, path: &Path) -> Result<Want, String> {
        let shown = path.display();
        let row = self.inventory().by_path(path).and_then(|id| self.inventory().get(id));
        let row = row.ok_or_else(|| format!("{shown}: not in brick {}", self.name))?;
        let why = if row.redacted {
            "its contents are secret, and secrets are not sent to a model"
        } else if self.kind == RootKind::Proc {
            "what /proc shows changes faster than a model answers"
        } else if row.len == 0 || worth(row.semantics.kind).is_none() {
            "rules say all there is to say of this kind"
        } else {
            "its contents cannot be read"
        };
        self.want(row, Reason::Asked).ok_or_else(|| format!("{shown}: a model is not asked about it: {why}"))
    }

    /// Adds what `model` has not described and comes after a point of a sweep.
    pub(super) fn undescribed(&self, model: &str, after: Option<&SweepPoint>, wants: &mut Vec<Want>) {
        if self.kind != RootKind::Tree {
            return;
        }
        let is_described = |row: &Row| {
            let answered = row.semantics.answered.as_deref();
            answered
                .is_some_and(|answered| answered.model == model && answered.prompt_version == PROMPT_VERSION)
        };
        let rows = self.inventory().rows().filter(|row| !is_described(row));
        wants.extend(rows.filter_map(|row| self.want(row, Reason::Baseline)).filter(|want| {
            after.is_none_or(|after| {
                order((want.interest, &want.holder), (after.interest, &after.holder)).is_gt()
            })
        }));
    }

    /// Gives artifacts a model's words, where they are still what it was asked about: title, summary, tags and risk in
    /// the catalog, and G and B of their cells.
    pub(super) fn label<'a>(&mut self, labels: impl Iterator<Item = &'a Label>) -> Result<(), AgentError> {
        for Label { holder, subject, answer, model, at_ns } in labels {
            let Some(row) = self.inventory().get(holder.id) else { continue };
            if subject_of(row) != Some(*subject) {
                debug!(path = %String::from_utf8_lossy(&row.name), "changed since the model was asked");
                continue;
            }
            let mut row = row.clone();
            let answered = Answered {
                model: (**model).to_owned(),
                prompt_version: PROMPT_VERSION,
                at_ns: *at_ns,
                ..Answered::default()
            };
            row.semantics = apply(answer, &by_rules(&row.semantics), answered);
            self.draft.repaint(&row);
            self.keep(row);
            self.flush_if_large()?;
        }
        self.flush()
    }
}

/// The risk by rules alone.
fn rules_risk(semantics: &Semantics) -> u8 {
    semantics.answered.as_ref().map_or(semantics.risk.level, |answered| answered.rules_risk)
}

/// What rules say, as far as an earlier answer has left it: the risk and its reasons.
fn by_rules(semantics: &Semantics) -> Semantics {
    let mut semantics = semantics.clone();
    if let Some(answered) = semantics.answered.take() {
        semantics.source = SemanticsSource::Heuristic;
        semantics.risk.level = answered.rules_risk;
        semantics.risk.reasons.retain(|reason| !reason.starts_with(OF_MODEL));
        semantics.tags.truncate(usize::from(answered.rules_tags));
    }
    semantics
}

/// A model's words stay with contents that have not changed, whatever else has: a file that is moved or gets another owner
/// is what it was. Kind and risk by rules are those of now.
pub(super) fn keep_words(old: &Row, new: &mut Row) {
    let same = old.content_hash == new.content_hash
        && old.redacted == new.redacted
        && old.semantics.kind == new.semantics.kind;
    let (true, Some(answered)) = (same, &old.semantics.answered) else { return };
    let raised = old.semantics.risk.level > answered.rules_risk;
    let reasons = old.semantics.risk.reasons.iter().filter_map(|reason| reason.strip_prefix(OF_MODEL));
    let answer = Answer {
        title: old.semantics.title.clone(),
        summary: old.semantics.summary.clone(),
        tags: old.semantics.tags.iter().skip(usize::from(answered.rules_tags)).cloned().collect(),
        risk: Risk {
            level: if raised { old.semantics.risk.level } else { 0 },
            reasons: reasons.map(str::to_owned).collect(),
        },
    };
    new.semantics = apply(&answer, &new.semantics, (**answered).clone());
}

/// What a question about an artifact would be about; `None`: there is nothing to ask.
fn subject_of(row: &Row) -> Option<Subject> {
    let kind = row.semantics.kind;
    let asks = row.meta.file_type == FileType::File
        && !row.redacted
        && row.len > 0
        && !row.was_never_read()
        && worth(kind).is_some();
    asks.then_some(Subject { content_hash: row.content_hash, kind })
}
