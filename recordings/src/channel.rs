//! Channels of a recording.

/// One channel of a recording.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Channel {
    /// Its label, as the file has it.
    pub label: String,
    /// Unit of its values, as the file has it; may be empty.
    pub unit: String,
    /// Samples per second, Hz.
    pub rate: f64,
    /// Samples in the file.
    pub samples: u64,
    /// Smallest and largest value that the file can hold, in `unit`, where the format says so: values there are clipped.
    #[serde(skip)]
    pub limits: Option<(f64, f64)>,
}

impl Channel {
    /// Seconds of signal.
    pub fn seconds(&self) -> f64 {
        self.samples as f64 / self.rate
    }

    /// Whether `wanted` names this channel: upper and lower case alike, without the prefix "EEG" and the dots that some files pad labels
    /// with ("Oz" finds "EEG Oz" and "Oz..").
    pub fn is_called(&self, wanted: &str) -> bool {
        plain(&self.label) == plain(wanted)
    }
}

fn plain(label: &str) -> String {
    let label = label.trim().trim_end_matches('.').to_lowercase();
    label.strip_prefix("eeg ").map(|rest| rest.trim().to_owned()).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_field_are_found() {
        let channel =
            |label: &str| Channel { label: label.into(), unit: "uV".into(), rate: 160.0, samples: 1, limits: None };
        for label in ["Oz", "EEG Oz", "Oz..", "EEG OZ", " oz "] {
            assert!(channel(label).is_called("Oz"), "{label}");
        }
        assert!(!channel("EEG Oz-A1").is_called("Oz"));
        assert!(channel("EEG Oz-A1").is_called("Oz-A1"));
    }
}
