//! What held-out residuals say of the noise, where a Gaussian or a mixture of some cannot follow: none at all, heavy tails, hard edges.

use super::candidates::Candidate;
use super::density::{DensityObjective, Direction, Input};
use super::networks::NetworkId;
use super::run::Run;
use crate::Result;
use crate::notes::Note;

/// Held-out rows that are looked at, and fewest to say anything from.
const ROWS: (usize, usize) = (5000, 200);

/// Noise below this share of a column's spread may be none: a network errs by some thousandths of it.
const NO_NOISE: f64 = 0.02;

/// Standard deviations beyond which a Gaussian has 6 of 100 000 values.
const TAIL: f64 = 4.0;
const GAUSSIAN_TAIL: f64 = 6.3e-5;

/// Mean fourth power below which noise has edges: 3 for a Gaussian, 1.8 for a uniform distribution.
const EDGE: f64 = 2.2;

impl<'a> Run<'a> {
    /// Notes what the residuals of the trained network say.
    pub(super) fn note_residuals(&mut self, candidate: &Candidate, trained: NetworkId, input: &Input) -> Result<()> {
        let data = self.data;
        // Forms of categories with real numbers have edges of their own, and no mean in closed form.
        if candidate.mixed.is_some() {
            return Ok(());
        }
        let network = self.trained(candidate, trained)?;
        let layout = self.layout(candidate);
        let objective = DensityObjective::new(data, &network, layout, Direction::Likelihood).with_input(input.clone());
        let noise = self.validation_noise(candidate);
        let rows = &data.validation[..data.validation.len().min(ROWS.0)];
        if rows.len() < ROWS.1 {
            return Ok(());
        }
        let d = data.dim_x;
        let (mut residuals, mut spreads) = (vec![Vec::new(); d], vec![Vec::new(); d]);
        objective.residuals(rows, noise, |residual, sd| {
            for j in 0..d {
                residuals[j].push(residual[j] / sd[j]);
                spreads[j].push(sd[j]);
            }
        });
        let map = &data.observation_map;
        for column in (0..d).filter(|&i| map.sd[i] > 0.0 && !map.counts.get(i).copied().unwrap_or(false)) {
            let place = data.whole_range.len() - d + column;
            self.notes.extend(judge(place, &residuals[column], &mut spreads[column], Tails::of(candidate)));
        }
        Ok(())
    }
}

/// Whether a form has no tails but a Gaussian's.
#[derive(PartialEq)]
enum Tails {
    Gaussian,
    Own,
}

impl Tails {
    fn of(candidate: &Candidate) -> Self {
        if candidate.tails || candidate.form.components > 1 { Self::Own } else { Self::Gaussian }
    }
}

fn judge(column: usize, residuals: &[f64], spreads: &mut [f64], tails: Tails) -> Option<Note> {
    spreads.sort_unstable_by(f64::total_cmp);
    let share = spreads[spreads.len() / 2];
    if share < NO_NOISE {
        return Some(Note::NoNoise { column, share });
    }
    let n = residuals.len() as f64;
    let beyond = residuals.iter().filter(|u| u.abs() > TAIL).count();
    if tails == Tails::Gaussian && beyond >= 4 && beyond as f64 > 10.0 * GAUSSIAN_TAIL * n {
        return Some(Note::HeavyTails { column, beyond, rows: residuals.len() });
    }
    // About their own mean and in their own spread: a network may be off in both.
    let mean = residuals.iter().sum::<f64>() / n;
    let variance = residuals.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / n;
    let kurtosis = residuals.iter().map(|u| (u - mean).powi(4)).sum::<f64>() / n / (variance * variance);
    (kurtosis < EDGE).then_some(Note::Edges { column, kurtosis })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small, toy_seen};
    use super::super::{Architecture, DensityForm, LikelihoodOptions, OptimizerOptions, TrainOptions, train};
    use super::*;
    use crate::model::Covariance;
    use tallsbi_data::{Silent, StreamKey};

    fn notes(see: impl Fn(f64, f64) -> f64) -> Vec<Note> {
        let optimizer = OptimizerOptions { epochs: 25, learning_rate: 3e-3, ..OptimizerOptions::default() };
        let candidates = vec![DensityForm { components: 1, covariance: Covariance::Diagonal }];
        let likelihood = LikelihoodOptions {
            hidden: vec![32; 2],
            candidates,
            optimizer,
            members: 1,
            symmetries: false,
            ..LikelihoodOptions::default()
        };
        let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() };
        let data = toy_seen(6000, 1, &options, see);
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        model.info.notes.into_iter().filter(Note::is_warning).collect()
    }

    #[test]
    fn noise_that_no_gaussian_follows_is_told() {
        assert!(notes(|mean, noise| mean + 0.5 * noise).is_empty());
        let uniform = |noise: f64| (noise.clamp(-1.5, 1.5) * 10.0).sin();
        assert!(notes(|mean, noise| mean + 0.5 * uniform(noise)).iter().all(|note| matches!(note, Note::Edges { .. })));
        let heavy = notes(|mean, noise| mean + 0.3 * noise * (0.3 * noise * noise).exp());
        assert!(heavy.iter().any(|note| matches!(note, Note::HeavyTails { .. })), "{heavy:?}");
        let none = notes(|mean, _| mean);
        assert!(none.iter().all(|note| matches!(note, Note::NoNoise { .. })) && none.len() == 2, "{none:?}");
    }
}
