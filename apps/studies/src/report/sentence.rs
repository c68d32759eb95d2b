//! Pieces of sentences.

use crate::study::results::ObservationResults;

/// "1, 8 and 30".
pub fn listed(values: impl IntoIterator<Item = String>) -> String {
    let mut values: Vec<String> = values.into_iter().collect();
    match values.pop() {
        None => String::new(),
        Some(last) if values.is_empty() => last,
        Some(last) => format!("{} and {last}", values.join(", ")),
    }
}

/// The value `value` after `conditions` columns.
pub fn column_name(observations: &ObservationResults, conditions: usize, value: usize) -> String {
    match (observations.bin_hz, observations.names.get(conditions + value)) {
        (Some(width), _) => format!("the power at {:.1} Hz", width * value as f64),
        (None, Some(name)) => name.clone(),
        (None, None) => format!("x[{value}]"),
    }
}
