//! Whether a program works at all: some rows fail, but a program that always does is an error.

use crate::first_failure::FirstFailure;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows that may fail one after the other, by anything but a time-out and by time-outs, before a program has ever answered.
const NEVER: usize = 10;
const NEVER_IN_TIME: usize = 3;
/// Rows that may fail one after the other once it has.
const NO_MORE: usize = 100;

/// How a row failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The program says so: it answered NaN.
    Declared,
    /// It did not answer in time.
    TimedOut(String),
    /// It ended, or answered what cannot be understood.
    Broken(String),
}

impl Fault {
    /// What happened, in words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Declared => "it answered NaN or an infinite value",
            Self::TimedOut(reason) | Self::Broken(reason) => reason,
        }
    }
}

/// What all workers of a program know of it.
#[derive(Default)]
pub(super) struct Health {
    /// Whether it has ever answered.
    answered: OnceLock<()>,
    /// Rows that failed since.
    broken: AtomicUsize,
    timed_out: AtomicUsize,
    /// Why nothing is asked of it any more.
    hopeless: OnceLock<String>,
    /// A row that failed.
    pub example: FirstFailure,
}

impl Health {
    /// A row was answered.
    pub fn works(&self) {
        self.answered.get_or_init(|| ());
        self.broken.store(0, Ordering::Relaxed);
        self.timed_out.store(0, Ordering::Relaxed);
    }

    /// A row failed. Says so if there is no hope.
    pub fn failed(&self, fault: &Fault) -> Result<(), String> {
        let often = |count: &AtomicUsize, most: usize| {
            let most = if self.answered.get().is_some() { NO_MORE } else { most };
            count.fetch_add(1, Ordering::Relaxed) + 1 >= most
        };
        let hopeless = match fault {
            Fault::Declared => {
                self.works();
                false
            }
            Fault::TimedOut(_) => often(&self.timed_out, NEVER_IN_TIME),
            Fault::Broken(_) => often(&self.broken, NEVER),
        };
        if !hopeless {
            return Ok(());
        }
        Err(match self.answered.get() {
            None => format!("no row succeeds: {}", fault.reason()),
            Some(()) => format!("the last {NO_MORE} rows failed: {}", fault.reason()),
        })
    }

    /// Nothing is asked of the program any more, for this reason.
    pub fn give_up(&self, reason: String) {
        self.hopeless.get_or_init(|| reason);
    }

    /// Why nothing is asked of it any more.
    pub fn hopeless(&self) -> Option<&str> {
        self.hopeless.get().map(String::as_str)
    }
}
