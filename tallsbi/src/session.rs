//! What work on files knows beside its options.

use tallsbi_data::{Monitor, Purpose, StreamKey};
use tallsbi_files::Provenance;

/// The user's seed, the command that files are said to come from, and who watches.
#[derive(Clone)]
pub struct Session<'a> {
    /// Seed of all random numbers.
    pub seed: u64,
    /// The command, for provenance.
    pub command: String,
    /// Hears of progress and stops the work.
    pub monitor: &'a dyn Monitor,
}

impl Session<'_> {
    /// The root of all random streams.
    pub fn key(&self) -> StreamKey {
        StreamKey::root(self.seed)
    }

    /// Provenance of a file that is made of `task`, or of no task ("").
    pub fn provenance(&self, task: &str) -> Provenance {
        Provenance::new(&self.command, self.seed, task)
    }

    /// The same with a seed of its own for one purpose, so that no two steps share random numbers.
    #[must_use]
    pub fn seeded(&self, purpose: Purpose) -> Self {
        Self { seed: self.key().child(purpose).seed(0), ..self.clone() }
    }
}
