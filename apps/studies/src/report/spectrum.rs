//! Recordings against simulated signals, in words: what was used, and at which frequencies their power differs.

use super::finding::{Finding, Verdict, number};
use super::sentence::listed;
use crate::study::results::{ObservationResults, RecordingResults};

/// Bands of the electroencephalogram, Hz, and what often explains power there that a model lacks.
const BANDS: [(&str, f64, f64, &str); 5] = [
    ("delta", 0.5, 4.0, "drifts, eye movements, or slow waves"),
    ("theta", 4.0, 8.0, "drowsiness, or a rhythm that the model lacks"),
    ("alpha", 8.0, 13.0, "a rhythm stronger than the model's"),
    ("beta", 13.0, 30.0, "muscle activity"),
    ("gamma", 30.0, f64::INFINITY, "muscle activity or the mains (50 or 60 Hz: take it out with a notch)"),
];

/// A difference of log10 power at (nearly) all frequencies that only a unit or an amplifier explains: a factor of 10 in voltage.
const SCALE: f64 = 2.0;

/// Windows that are left out and named one by one.
const SHOWN: usize = 3;

/// What there is to say of observations that are power spectra.
pub(super) fn findings(observations: &ObservationResults) -> Vec<Finding> {
    let mut findings: Vec<Finding> = observations.windows.iter().map(used).collect();
    let order = observations.windows.iter().flat_map(|recording| &recording.order);
    findings.extend(order.map(|said| (Verdict::Caution, format!("In it {said}."))));
    if let Some(width) = observations.bin_hz {
        findings.extend(scale(observations).or_else(|| bands(observations, width)));
    }
    findings
}

fn used(recording: &RecordingResults) -> Finding {
    let all = recording.starts.len() + recording.rejected.len();
    let mut text = format!(
        "Of {} (standard deviation {} mV), {} of {all} windows of {} s are used",
        recording.origin,
        number(recording.sd),
        recording.starts.len(),
        number(recording.seconds)
    );
    if recording.rejected.is_empty() {
        return (Verdict::Neutral, text + ".");
    }
    let one = |(start, fault): &(f64, String)| format!("the one at {} s ({fault})", number(*start));
    let shown: Vec<String> = recording.rejected.iter().take(SHOWN).map(one).collect();
    let rest = recording.rejected.len() - shown.len();
    let rest = if rest > 0 { format!(", and {rest} more") } else { String::new() };
    text += &format!("; left out: {}{rest}.", listed(shown));
    let verdict = if recording.rejected.len() * 4 > all { Verdict::Caution } else { Verdict::Neutral };
    (verdict, text)
}

/// Where the middle observation lies against the simulations' 99 % at a bin: 1 above, -1 below.
fn side(observations: &ObservationResults, bin: usize) -> i8 {
    let [low, _, high] = observations.support.quantiles[bin];
    let [_, middle, _] = observations.support.observed[bin];
    i8::from(middle > high) - i8::from(middle < low)
}

/// That the whole spectrum is too high or too low by orders of magnitude.
fn scale(observations: &ObservationResults) -> Option<Finding> {
    let support = &observations.support;
    // Not the mean, which is removed.
    let bins = 1..support.observed.len();
    let mut differences: Vec<f64> = bins.map(|bin| support.observed[bin][1] - support.quantiles[bin][1]).collect();
    if differences.is_empty() {
        return None;
    }
    differences.sort_unstable_by(f64::total_cmp);
    let (low, middle, high) = (
        differences[differences.len() / 10],
        differences[differences.len() / 2],
        differences[differences.len() * 9 / 10],
    );
    if !(low > SCALE || high < -SCALE) {
        return None;
    }
    let text = format!(
        "The power is 10 to the {} of the simulations' at all frequencies: is the unit right (the model's signal is in mV), or does the recording need a gain that the prior does not allow?",
        number(middle)
    );
    Some((Verdict::Caution, text))
}

/// Bands in which at least half of the bins lie beyond the simulations.
fn bands(observations: &ObservationResults, width: f64) -> Option<Finding> {
    let mut parts = Vec::new();
    for (name, from, to, cause) in BANDS {
        let bins: Vec<usize> = (1..observations.support.observed.len())
            .filter(|&bin| (from..to).contains(&(bin as f64 * width)))
            .collect();
        for (sign, word) in [(1, "higher"), (-1, "lower")] {
            let beyond: Vec<f64> =
                bins.iter().filter(|&&bin| side(observations, bin) == sign).map(|&bin| bin as f64 * width).collect();
            let (Some(first), Some(last)) = (beyond.first(), beyond.last()) else { continue };
            if 2 * beyond.len() > bins.len() || beyond.len() >= 3 {
                let cause = if sign > 0 { format!(": {cause}") } else { String::new() };
                parts.push(format!(
                    "{name} ({first:.0} to {last:.0} Hz) {word} than in 99.5 % of the simulations{cause}"
                ));
            }
        }
    }
    if parts.is_empty() {
        return None;
    }
    Some((Verdict::Caution, format!("Power of the middle window is {}.", listed(parts))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::SupportCheck;

    /// Simulations within ±1 of 0 at all of 33 bins; observations where told.
    fn observed(value: impl Fn(usize) -> f64) -> ObservationResults {
        let support = SupportCheck {
            distances: vec![],
            tail: vec![],
            outside: 0,
            quantiles: vec![[-1.0, 0.0, 1.0]; 33],
            observed: (0..33).map(|bin| [value(bin) - 0.1, value(bin), value(bin) + 0.1]).collect(),
        };
        let bin_hz = Some(128.0 / 65.0);
        ObservationResults { source: String::new(), count: 1, names: vec![], bin_hz, support, windows: None }
    }

    #[test]
    fn bands_beyond_the_simulations_are_named() {
        assert!(findings(&observed(|_| 0.5)).is_empty());
        let muscle = findings(&observed(|bin| if bin >= 10 { 1.5 } else { 0.0 }));
        assert_eq!(muscle.len(), 1);
        let text = &muscle[0].1;
        assert!(text.contains("beta (20 to 30 Hz) higher") && text.contains("gamma (32 to 63 Hz) higher"), "{text}");
        assert!(!text.contains("alpha"), "{text}");
        let quiet = findings(&observed(|bin| if (4..7).contains(&bin) { -1.5 } else { 0.0 }));
        assert!(quiet[0].1.contains("alpha (10 to 12 Hz) lower than"), "{quiet:?}");
    }

    #[test]
    fn a_wrong_unit_is_told_as_one() {
        let micro = findings(&observed(|_| 6.0));
        assert!(micro[0].1.contains("is the unit right") && micro.len() == 1, "{micro:?}");
    }

    #[test]
    fn what_is_left_out_of_a_recording_is_told() {
        let recording = RecordingResults {
            origin: "a.edf, channel Oz".into(),
            seconds: 8.0,
            starts: vec![0.0, 8.0, 24.0],
            rejected: vec![(16.0, "flat".into())],
            sd: 0.0123,
            order: Vec::new(),
        };
        let (verdict, text) = used(&recording);
        assert_eq!(verdict, Verdict::Neutral);
        assert!(text.contains("3 of 4 windows of 8.000 s") && text.contains("the one at 16.00 s (flat)"), "{text}");
    }
}
