//! A row that failed, kept as the example that users are told.

use std::sync::{Mutex, PoisonError};

/// The failed row of the smallest number, in words: the same whatever the order in which rows fail.
#[derive(Debug, Default)]
pub(crate) struct FirstFailure(Mutex<Option<(u64, String)>>);

impl FirstFailure {
    /// Keeps `row` if its number is the smallest.
    pub fn keep(&self, row: u64, describe: impl FnOnce() -> String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|(known, _)| row < *known) {
            *kept = Some((row, describe()));
        }
    }

    /// The row, in words.
    pub fn describe(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, text)| text.clone())
    }
}

/// Parameters by name, in words.
pub(crate) fn named(names: &[String], theta: &[f64]) -> String {
    let values = names.iter().zip(theta).map(|(name, value)| format!("{name} = {value}"));
    values.collect::<Vec<_>>().join(", ")
}
