//! Training sets: parameters and simulated observations.

mod merge;
mod reader;
mod schema;
mod writer;

pub use merge::merge;
pub use reader::{RawRows, TrainingRows, TrainingSet};
pub use writer::{Opened, Summary, TrainingSetWriter};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tallsbi_data::{Prior, XTransform};

/// Which rows of a whole simulation run a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRange {
    /// Number of the first row.
    pub first: u64,
    /// Number of rows.
    pub count: u64,
    /// Rows of the whole run.
    pub total: u64,
}

impl RowRange {
    /// All rows.
    pub fn whole(total: u64) -> Self {
        Self { first: 0, count: total, total }
    }

    /// Shard `index` (1 to `shards`) of a run: contiguous, of sizes that differ by at most one.
    ///
    /// Returns `None` where the index is out of range.
    pub fn shard(total: u64, index: u64, shards: u64) -> Option<Self> {
        if index == 0 || index > shards {
            return None;
        }
        let bound = |i: u64| (u128::from(total) * u128::from(i) / u128::from(shards)) as u64;
        Some(Self { first: bound(index - 1), count: bound(index) - bound(index - 1), total })
    }

    /// One past the last row.
    pub fn end(self) -> u64 {
        self.first + self.count
    }

    /// Whether these are all rows of the run.
    pub fn is_whole(self) -> bool {
        self.count == self.total
    }
}

/// What a training set is, apart from its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingSetSpec {
    /// The prior the parameters are drawn from; its names are the names of the columns of theta.
    pub prior: Prior,
    /// Values per observation, d.
    pub dim_x: usize,
    /// Observations a row: `None` for x of shape (N, d), `Some(K)` for (N, K, d).
    pub n_obs: Option<usize>,
    /// How many of the leading values of an observation are conditions, known quantities that the others were observed under.
    pub conditions: usize,
    /// Names of the values of an observation; may be empty.
    pub observation_names: Vec<String>,
    /// How observations enter a network.
    pub x_transform: XTransform,
    /// Which rows of the whole run these are.
    pub rows: RowRange,
    /// Rows of a chunk at most, fewer than fit its bytes where rows take long: what an interruption may lose. Not kept in the file.
    pub keep: Option<usize>,
    /// The simulator's options, whatever they are: data simulated with different ones do not belong together.
    pub settings: Map<String, Value>,
}

impl TrainingSetSpec {
    /// Values of x in a row, K·d.
    pub fn x_width(&self) -> usize {
        self.n_obs.unwrap_or(1) * self.dim_x
    }

    /// All that decides the contents, for comparison: what a resumed run must agree with, and, but for `rows`, shards.
    fn identity(&self, seed: u64, task: &str) -> Value {
        let mut identity = json!({
            "task": task,
            "seed": seed,
            "prior": self.prior,
            "dim_x": self.dim_x,
            "n_obs": self.n_obs,
            "observation_names": self.observation_names,
            "x_transform": self.x_transform,
            "rows": self.rows,
            "settings": self.settings,
        });
        if self.conditions > 0 {
            identity["conditions"] = self.conditions.into();
        }
        identity
    }
}

/// The first difference between two identities, in words.
fn difference(ours: &Value, theirs: &Value) -> Option<String> {
    // Names of observations are optional in files.
    let named = |value: &Value| value["observation_names"].as_array().is_some_and(|names| !names.is_empty());
    let both_named = named(ours) && named(theirs);
    let fields = ours.as_object()?;
    let differs = |(name, value): &(&String, &Value)| {
        (both_named || name.as_str() != "observation_names") && theirs.get(name.as_str()) != Some(value)
    };
    fields.iter().find(differs).map(|(name, value)| {
        let shown = |value: &Value| {
            let text = value.to_string();
            if text.chars().count() > 120 { format!("{}…", text.chars().take(120).collect::<String>()) } else { text }
        };
        format!("{name} is {} there and {} here", shown(theirs.get(name).unwrap_or(&Value::Null)), shown(value))
    })
}

#[cfg(test)]
mod tests;
