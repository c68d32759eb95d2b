//! How far the particles of one posterior have come, for whoever waits.

use std::cell::Cell;
use std::time::Duration;
use tallsbi_data::Stage;

/// Evaluations that a run takes, 54 to 91 in what was measured.
const USUAL_EVALUATIONS: f64 = 80.0;

/// Runs shorter than this, s, are over before they need an estimate.
const WORTH_TELLING: f64 = 20.0;

/// A time to be read, which is known roughly.
fn rounded(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} minutes", seconds / 60.0),
        _ => format!("{:.0} hours", seconds / 3600.0),
    }
}

/// Counts one posterior's samples of a stage as its temperature falls.
///
/// Increments of β are about in proportion to β + β₁, with β₁ the first of them, so that levels go as log(1 + β/β₁): that tells after a few of
/// them how many there will be. The moves at β = 1 count as many levels as they are longer.
pub(super) struct Course<'a> {
    stage: &'a Stage<'a>,
    /// Samples that the whole way counts for.
    samples: u64,
    /// Levels that the moves at β = 1 are worth.
    settling: f64,
    /// β₁, once it is known.
    first: Cell<f64>,
    levels: Cell<f64>,
    told: Cell<u64>,
}

impl<'a> Course<'a> {
    /// Of a posterior of which nothing was counted yet.
    pub fn new(stage: &'a Stage<'a>, samples: usize, settling: f64) -> Self {
        let zero = || Cell::new(0.0);
        Self { stage, samples: samples as u64, settling, first: zero(), levels: zero(), told: Cell::new(0) }
    }

    /// Tells how long one evaluation of all particles took, and with how many a run usually gets there: long before the first level has ended, if there are many observations.
    pub fn evaluated(&self, took: Duration) {
        let all = took.as_secs_f64() * USUAL_EVALUATIONS;
        if all < WORTH_TELLING {
            return;
        }
        let (all, one) = (rounded(all), rounded(took.as_secs_f64()));
        self.stage.advance_noting(0, &format!("about {all} in all: one evaluation of all particles takes {one}, and some {USUAL_EVALUATIONS} are usual"));
    }

    /// `level` levels have led to `beta`.
    pub fn at(&self, beta: f64, level: u64) {
        if beta <= 0.0 {
            return;
        }
        if self.first.get() <= 0.0 {
            self.first.set(beta);
        }
        let way = |beta: f64| (beta / self.first.get()).ln_1p();
        let all = level as f64 * way(1.0) / way(beta);
        self.levels.set(all);
        self.tell(
            level as f64 / (all + self.settling),
            &format!("level {level}, {:.2} % of the likelihood", 100.0 * beta),
        );
    }

    /// A share of the moves at β = 1 is done.
    pub fn settled(&self, share: f64) {
        let levels = self.levels.get();
        self.tell((levels + self.settling * share) / (levels + self.settling), "moves at all of the likelihood");
    }

    /// Samples that are not counted yet.
    pub fn rest(&self) -> u64 {
        self.samples - self.told.get()
    }

    /// Counts what is new; what was estimated too high before waits.
    fn tell(&self, share: f64, note: &str) {
        let count = ((share * self.samples as f64) as u64).clamp(self.told.get(), self.samples);
        self.stage.advance_noting(count - self.told.replace(count), note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tallsbi_data::{Monitor, Progress};

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, String)>>);

    impl Monitor for Heard {
        fn progress(&self, progress: &Progress<'_>) {
            self.0.lock().unwrap().push((progress.done, progress.note.to_owned()));
        }

        fn cancelled(&self) -> bool {
            false
        }
    }

    /// Of levels that each double β + β₁ the counts are evenly spaced, from the second on, and the last moves take what they are worth.
    #[test]
    fn counts_rise_as_the_work_does() {
        let heard = Heard::default();
        let stage = (&heard as &dyn Monitor).stage("sample", "samples", 1000);
        let course = Course::new(&stage, 1000, 4.0);
        let levels = 16;
        for level in 1..=levels {
            course.at((2f64.powi(level) - 1.0) / (2f64.powi(levels) - 1.0), level as u64);
        }
        course.settled(0.5);
        course.settled(2.0);
        assert_eq!(course.rest(), 0);
        let heard = heard.0.lock().unwrap();
        let counts: Vec<u64> = heard.iter().map(|(count, _)| *count).collect();
        let expected = (0..=16).map(|level| 50 * level).chain([900, 1000]);
        assert!(counts.iter().zip(expected).all(|(count, expected)| count.abs_diff(expected) <= 1), "{counts:?}");
        assert_eq!(heard[16].1, "level 16, 100.00 % of the likelihood");
    }

    /// What takes minutes is told as soon as one evaluation is known, what takes seconds is not.
    #[test]
    fn long_runs_are_told_beforehand() {
        let heard = Heard::default();
        let stage = (&heard as &dyn Monitor).stage("sample", "samples", 1000);
        let course = Course::new(&stage, 1000, 4.0);
        course.evaluated(Duration::from_millis(100));
        course.evaluated(Duration::from_millis(4500));
        course.evaluated(Duration::from_secs(360));
        let notes: Vec<String> =
            heard.0.into_inner().unwrap().into_iter().map(|(_, note)| note).filter(|note| !note.is_empty()).collect();
        let told = |all: &str, one: &str| {
            format!("about {all} in all: one evaluation of all particles takes {one}, and some 80 are usual")
        };
        assert_eq!(notes, [told("6 minutes", "4 s"), told("8 hours", "6 minutes")]);
    }
}
