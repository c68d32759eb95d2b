//! How long work tells how far it is and is asked to stop: the libraries never print.

use crate::cancelled::Cancelled;
use crate::team::{Alone, Team};
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a piece of work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done, such as "simulate slcp"; a new stage has a new name.
    pub stage: &'a str,
    /// What is counted, in the plural.
    pub unit: &'static str,
    /// Units finished.
    pub done: u64,
    /// Units in all; 0 where that is not known.
    pub total: u64,
    /// What else is worth knowing: a loss, a count of failures. May be empty.
    pub note: &'a str,
}

/// Sees the progress of simulating, training, sampling, diagnosing and merging, and stops it.
///
/// Both methods are called from any thread, several times a second; work ends with [`Cancelled`], as an error of its library, soon after
/// `cancelled` returns true.
pub trait Monitor: Sync {
    /// Hears how far the work is.
    fn progress(&self, progress: &Progress<'_>);

    /// Whether to stop.
    fn cancelled(&self) -> bool;

    /// The processes that do the work together; this one alone, unless it says otherwise.
    fn team(&self) -> &dyn Team {
        &Alone
    }
}

impl dyn Monitor + '_ {
    /// Stops here if the caller wants it.
    ///
    /// # Errors
    /// [`Cancelled`] if so.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Starts a stage of `total` units, and says so.
    pub fn stage<'a>(&'a self, stage: &'a str, unit: &'static str, total: u64) -> Stage<'a> {
        self.stage_from(0, stage, unit, total)
    }

    /// The same where `done` of its units were there before: the first that is heard, so that rates are those of this run.
    pub fn stage_from<'a>(&'a self, done: u64, stage: &'a str, unit: &'static str, total: u64) -> Stage<'a> {
        let stage = Stage { monitor: self, stage, unit, total, done: AtomicU64::new(done) };
        stage.advance(0);
        stage
    }
}

/// Counts the finished units of one stage over all threads.
pub struct Stage<'a> {
    monitor: &'a dyn Monitor,
    stage: &'a str,
    unit: &'static str,
    total: u64,
    done: AtomicU64,
}

impl Stage<'static> {
    /// One that nobody hears of and nothing stops.
    pub fn silent() -> Self {
        (&Silent as &dyn Monitor).stage("", "", 0)
    }
}

impl Stage<'_> {
    /// Takes `units` as finished.
    pub fn advance(&self, units: u64) {
        self.advance_noting(units, "");
    }

    /// Takes `units` as finished and says `note` beside it.
    pub fn advance_noting(&self, units: u64, note: &str) {
        let done = self.done.fetch_add(units, Ordering::Relaxed) + units;
        self.monitor.progress(&Progress { stage: self.stage, unit: self.unit, done, total: self.total, note });
    }

    /// Stops here if the caller wants it.
    ///
    /// # Errors
    /// [`Cancelled`] if so.
    pub fn check(&self) -> Result<(), Cancelled> {
        self.monitor.check()
    }

    /// Who hears of it.
    pub fn monitor(&self) -> &dyn Monitor {
        self.monitor
    }
}

/// Passes on that work shall stop and who does it, but not how far it is.
pub struct Quiet<'a>(pub &'a dyn Monitor);

impl Monitor for Quiet<'_> {
    fn progress(&self, _: &Progress<'_>) {}

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    fn team(&self) -> &dyn Team {
        self.0.team()
    }
}

/// Hears nothing and never stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn progress(&self, _: &Progress<'_>) {}

    fn cancelled(&self) -> bool {
        false
    }
}
