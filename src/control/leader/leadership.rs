//! What writers see of the election.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::clock;
use crate::domain::election::Term;

/// How far ahead a term without an election reaches; it is counted anew at each question.
const UNCONTESTED: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether this process may write, asked by every writer before every write.
///
/// Cheap to clone. It keeps the end of the term, not a flag: when the election's task is stuck,
/// or dead, the leadership still ends in time.
#[derive(Clone, Debug)]
pub struct Leadership(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Set when there is no election.
    always: Option<Instant>,
    term: watch::Sender<Option<Term>>,
    leading: watch::Sender<bool>,
    holder: ArcSwapOption<String>,
    trouble: ArcSwapOption<String>,
}

impl Leadership {
    /// For `--leader-elect=false`: the only replica, which always leads.
    pub fn always() -> Self {
        Self::new(Some(clock::now()))
    }

    /// For a candidate, which does not lead yet.
    pub(super) fn none() -> Self {
        Self::new(None)
    }

    fn new(always: Option<Instant>) -> Self {
        Self(Arc::new(Shared {
            always,
            term: watch::Sender::new(None),
            leading: watch::Sender::new(always.is_some()),
            holder: ArcSwapOption::empty(),
            trouble: ArcSwapOption::empty(),
        }))
    }

    /// The term under which may be written at `now`; `None` from its `valid_until` on.
    ///
    /// A write must be given up at `valid_until` too: it is decided, sent and answered within it.
    pub fn held(&self, now: Instant) -> Option<Term> {
        if let Some(since) = self.0.always {
            return Some(Term { since, valid_until: now + UNCONTESTED, transitions: 0 });
        }
        self.0.term.borrow().filter(|term| now < term.valid_until)
    }

    /// Waits until this process leads, and returns the term.
    pub async fn acquired(&self) -> Term {
        let mut terms = self.0.term.subscribe();
        loop {
            terms.mark_unchanged();
            if let Some(term) = self.held(clock::now()) {
                return term;
            }
            // Cannot fail: `self` keeps the sender. Should it ever, this looks again.
            let _ = terms.changed().await;
        }
    }

    /// Waits until `term` has ended, however it ends.
    pub async fn lost(&self, term: Term) {
        let mut terms = self.0.term.subscribe();
        loop {
            terms.mark_unchanged();
            let Some(held) = self.held(clock::now()).filter(|held| held.since == term.since) else {
                return;
            };
            tokio::select! {
                _ = terms.changed() => {}
                () = sleep_until(held.valid_until.into()) => {}
            }
        }
    }

    /// Says when the leadership comes and goes. Only a notice: while the election's task is stuck it
    /// stays `true` after the term has ended, so writers ask [`Leadership::held`].
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.0.leading.subscribe()
    }

    /// Whose name the Lease bore when last seen.
    pub fn holder(&self) -> Option<String> {
        self.0.holder.load().as_deref().cloned()
    }

    /// Why the last call about the Lease failed, until one succeeds.
    pub fn last_error(&self) -> Option<String> {
        self.0.trouble.load().as_deref().cloned()
    }

    pub(super) fn set_term(&self, term: Option<Term>) {
        self.0.term.send_replace(term);
        self.0.leading.send_if_modified(|leading| std::mem::replace(leading, term.is_some()) != term.is_some());
    }

    /// True when it is another than before.
    pub(super) fn set_holder(&self, holder: Option<&str>) -> bool {
        let before = self.0.holder.swap(holder.map(|holder| Arc::new(holder.to_owned())));
        before.as_deref().map(String::as_str) != holder
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        self.0.trouble.store(trouble.map(Arc::new));
    }

    #[cfg(test)]
    pub(super) fn terms(&self) -> watch::Receiver<Option<Term>> {
        self.0.term.subscribe()
    }
}
