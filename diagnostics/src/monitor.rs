//! How long work reports progress and is stopped: the libraries themselves never print.

use crate::{DiagnosticsError, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How far a diagnostic has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: &'static str,
    /// Units finished.
    pub done: usize,
    /// Units in all.
    pub total: usize,
}

/// A progress sink and a cancellation check, both called from worker threads.
#[derive(Clone, Copy)]
pub struct Monitor<'a> {
    progress: &'a (dyn Fn(Progress) + Sync),
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Monitor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Monitor")
    }
}

impl Default for Monitor<'_> {
    fn default() -> Self {
        Self::silent()
    }
}

impl<'a> Monitor<'a> {
    /// Reports to `progress`; work stops with [`DiagnosticsError::Cancelled`] soon after `cancelled` returns true.
    pub fn new(progress: &'a (dyn Fn(Progress) + Sync), cancelled: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { progress, cancelled }
    }

    /// Reports nothing and is never cancelled.
    pub fn silent() -> Self {
        Self { progress: &|_| {}, cancelled: &|| false }
    }

    /// Stops here if the caller wants it.
    pub(crate) fn check(&self) -> Result<()> {
        if (self.cancelled)() { Err(DiagnosticsError::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn stage(self, stage: &'static str, total: usize) -> Stage<'a> {
        Stage { monitor: self, stage, total, done: AtomicUsize::new(0) }
    }
}

/// Counts finished units of one stage over all threads.
pub(crate) struct Stage<'a> {
    pub(crate) monitor: Monitor<'a>,
    stage: &'static str,
    total: usize,
    done: AtomicUsize,
}

impl Stage<'_> {
    /// One more unit is finished.
    pub(crate) fn finish_one(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        (self.monitor.progress)(Progress { stage: self.stage, done, total: self.total });
    }
}
