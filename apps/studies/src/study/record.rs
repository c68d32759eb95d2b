//! What is known of every study, whatever it asks: where it came from and what its steps took.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tallsbi::Session;

/// How a study was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    /// Title.
    pub title: String,
    /// Name of the preset or file it came from.
    pub preset: String,
    /// Version of tallsbi.
    pub version: String,
    /// The command.
    pub command: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// When the study was completed, RFC 3339 in UTC.
    pub created: String,
    /// Threads used.
    pub threads: usize,
    /// The options as they were used.
    pub settings: Value,
    /// The steps and their times, in order.
    pub steps: Vec<StepRecord>,
}

impl StudyRecord {
    /// The record of a study that is complete.
    ///
    /// # Errors
    /// When the options cannot be represented as JSON.
    pub fn new(
        session: &Session<'_>,
        title: &str,
        preset: &str,
        options: &impl Serialize,
        steps: Vec<StepRecord>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            title: title.to_owned(),
            preset: preset.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: session.command.clone(),
            seed: session.seed,
            created: session.provenance("").created,
            threads: rayon::current_num_threads(),
            settings: serde_json::to_value(options)?,
            steps,
        })
    }
}

/// One step of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// What it makes.
    pub name: String,
    /// Hash of its options and of the keys of what it is made from.
    pub key: String,
    /// Its folder, relative to the study's.
    pub folder: String,
    /// Seconds it took when it was made (since its last interruption).
    pub seconds: f64,
}
