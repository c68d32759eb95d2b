//! Heavy tails of the noise: when Student t's are tried in place of Gaussians, and how.
//!
//! Training sets without heavy tails are trained as if there were no such form. It is tried where it can matter: where normal scores Φ⁻¹(F(x_j|θ)) of held-out
//! rows under the form that was chosen are t rather than Gaussian by more than a form must gain, beyond chance; or where a mixture was chosen and the single
//! Gaussian's scores have no fourth moment (ν ≤ 4): some Gaussians follow such tails as far as the training rows go, and no further.
//!
//! A t's likelihood is robust, so that its networks start afresh, not from a Gaussian's that outliers have moved.

use super::candidates::Candidate;
use super::density::{DensityObjective, Direction, Input};
use super::optimizer::OptimizerOptions;
use super::options::DensityForm;
use super::run::Run;
use super::selection::{GROWTH, Tried, WORTH};
use crate::Result;
use crate::model::density::MAX_COMPONENTS;
use statrs::distribution::{Continuous, Normal, StudentsT};

/// Held-out rows that are looked at, and fewest to say anything from.
const ROWS: (usize, usize) = (5000, 200);

/// Degrees of freedom that are tried on scores, and the most of scores without a fourth moment.
const FREEDOMS: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];
const NO_KURTOSIS: f64 = 4.0;

/// Steps to the location and scale of each, some digits more than needed.
const STEPS: usize = 40;

/// Logarithm of a likelihood ratio that chance hardly has: twice that is beyond χ² of one degree of freedom once in 100 000.
const CHANCE: f64 = 10.0;

/// A column's scores as a t.
#[derive(Debug, Clone, Copy)]
struct Tails {
    freedom: f64,
    /// What it gains over a Gaussian, in nats a score.
    gain: f64,
}

impl<'a> Run<'a> {
    /// Trains Student t's, and mixtures of them, if the form `chosen` among those `tried` leaves heavy tails; the one to use.
    pub(super) fn tails(
        &mut self,
        variants: &[(String, OptimizerOptions)],
        tried: &[Tried],
        chosen: Tried,
    ) -> Result<Tried> {
        if !self.leaves_tails(tried, chosen)? {
            return Ok(chosen);
        }
        let mixtures = self.options.likelihood.candidates.iter().any(|form| form.components > 1);
        let mut next: Vec<Candidate> = self.single_tails(tried);
        let (mut all, start) = (Vec::new(), self.next_network());
        // A single t is simpler than a mixture of Gaussians.
        let simplest = chosen.candidate.form.components == 1;
        all.extend(simplest.then_some(chosen));
        loop {
            let rival = all.iter().map(|tried: &Tried| self.loss(tried.network)).fold(f64::INFINITY, f64::min);
            all.extend(self.try_all(&next, variants, rival)?);
            if !simplest && next[0].form.components == 1 {
                all.push(chosen);
            }
            let loss = |tried: &Tried| self.loss(tried.network);
            let better = |best: Tried, next: Tried| if loss(&next) < loss(&best) - WORTH { next } else { best };
            let best = all.iter().copied().reduce(better).expect("some were trained");
            let largest = next.iter().map(|candidate| candidate.form.components).max().unwrap_or(1);
            let components = GROWTH * largest;
            let grows = largest == 1 || (best.candidate.tails && best.candidate.form.components == largest);
            let deep = all.iter().filter(|tried| tried.candidate.is_deep_tail());
            let origin = deep.min_by(|a, b| loss(a).total_cmp(&loss(b))).copied();
            let Some(origin) = origin.filter(|_| mixtures && grows && components <= MAX_COMPONENTS) else {
                self.keep(chosen.network, best.network);
                self.keep(self.since(start), best.network);
                return Ok(best);
            };
            next = vec![Candidate {
                form: DensityForm { components, ..origin.candidate.form },
                stream: origin.candidate.stream.grown(all.len()),
                origin: Some(origin.network),
                ..origin.candidate
            }];
        }
    }

    /// Single t's of the shapes that were tried.
    fn single_tails(&self, tried: &[Tried]) -> Vec<Candidate> {
        let singles = tried.iter().map(|tried| tried.candidate).filter(|candidate| candidate.form.components == 1);
        let mut found: Vec<Candidate> = Vec::new();
        for single in singles {
            let same = |other: &Candidate| {
                // One column has one shape.
                other.linear == single.linear && (other.form == single.form || self.data.dim_x == 1)
            };
            if !found.iter().any(same) {
                found.push(Candidate { tails: true, stream: self.tails_stream(found.len()), ..single });
            }
        }
        found
    }

    fn leaves_tails(&self, tried: &[Tried], chosen: Tried) -> Result<bool> {
        let asked = self.options.likelihood.candidates.len();
        let counts = self.data.observation_map.counts.contains(&true);
        if asked < 2 || counts || chosen.candidate.mixed.is_some() || self.data.validation.len() < ROWS.1 {
            return Ok(false);
        }
        if self.scores_tails(chosen)?.iter().any(|tails| tails.gain > WORTH) {
            return Ok(true);
        }
        let alike = |single: &&Tried| {
            let (single, chosen) = (single.candidate, chosen.candidate);
            single.form == DensityForm { components: 1, ..chosen.form } && !single.linear
        };
        let single = tried.iter().find(alike).filter(|_| chosen.candidate.form.components > 1);
        let Some(&single) = single else { return Ok(false) };
        Ok(self.scores_tails(single)?.iter().any(|tails| tails.gain > WORTH && tails.freedom <= NO_KURTOSIS))
    }

    /// The tails of each column's scores that differ from a Gaussian's beyond chance.
    fn scores_tails(&self, tried: Tried) -> Result<Vec<Tails>> {
        let (data, candidate) = (self.data, tried.candidate);
        let network = self.trained(&candidate, tried.network)?;
        let objective = DensityObjective::new(data, &network, self.layout(&candidate), Direction::Likelihood)
            .with_input(Input::Plain);
        let noise = self.validation_noise(&candidate);
        let rows = &data.validation[..data.validation.len().min(ROWS.0)];
        let mut scores = vec![Vec::with_capacity(rows.len()); data.dim_x];
        objective.normal_scores(rows, noise, |row| {
            scores.iter_mut().zip(row).for_each(|(column, &score)| column.push(score));
        });
        let columns = scores.into_iter().zip(&data.observation_map.sd).filter(|(_, sd)| **sd > 0.0);
        Ok(columns.filter_map(|(column, _)| judge(column)).collect())
    }
}

/// The t that fits scores best, if it fits better than a Gaussian beyond chance.
fn judge(mut scores: Vec<f64>) -> Option<Tails> {
    let n = scores.len() as f64;
    scores.sort_unstable_by(f64::total_cmp);
    let at = |p: f64| scores[((n - 1.0) * p) as usize];
    let (median, spread) = (at(0.5), 0.5 * (at(0.75) - at(0.25)));
    let mean = scores.iter().sum::<f64>() / n;
    let sd = (scores.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / n).sqrt();
    if !(spread > 0.0 && sd.is_finite()) {
        return None;
    }
    let gaussian = Normal::new(mean, sd).ok()?;
    let log_gaussian: f64 = scores.iter().map(|&u| gaussian.ln_pdf(u)).sum();
    let fitted = |freedom: f64| {
        let (mut location, mut scale) = (median, spread);
        for _ in 0..STEPS {
            let weight = |u: f64| (freedom + 1.0) / (freedom + ((u - location) / scale).powi(2));
            let total: f64 = scores.iter().map(|&u| weight(u)).sum();
            let next = scores.iter().map(|&u| weight(u) * u).sum::<f64>() / total;
            scale = (scores.iter().map(|&u| weight(u) * (u - next).powi(2)).sum::<f64>() / n).sqrt();
            location = next;
        }
        let t = StudentsT::new(location, scale, freedom).ok()?;
        Some(Tails { freedom, gain: (scores.iter().map(|&u| t.ln_pdf(u)).sum::<f64>() - log_gaussian) / n })
    };
    let best = FREEDOMS.into_iter().filter_map(fitted).max_by(|a, b| a.gain.total_cmp(&b.gain))?;
    (best.gain * n > CHANCE).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small, toy_seen};
    use super::super::{Architecture, LikelihoodOptions, TrainOptions, train};
    use super::*;
    use rand_distr::{Distribution, StandardNormal, StudentT};
    use tallsbi_data::{Silent, StreamKey};

    #[test]
    fn scores_are_judged_by_what_a_t_gains() {
        let mut rng = StreamKey::root(7).rng(0);
        let gaussian: Vec<f64> =
            (0..5000).map(|_| 1.2 * Distribution::<f64>::sample(&StandardNormal, &mut rng)).collect();
        assert!(judge(gaussian).is_none_or(|tails| tails.gain < 0.002));
        for freedom in [1.0, 4.0] {
            let law = StudentT::new(freedom).unwrap();
            let found = judge((0..5000).map(|_| 0.3 + law.sample(&mut rng)).collect()).unwrap();
            assert!(found.freedom == freedom && found.gain > 0.02, "{found:?}");
        }
        assert!(judge(vec![0.5; 300]).is_none());
    }

    /// Noise whose size depends on θ, and with it tails of all rows together.
    #[test]
    fn nothing_is_tried_without_heavy_tails() {
        let optimizer = OptimizerOptions { epochs: 25, learning_rate: 3e-3, ..OptimizerOptions::default() };
        let candidates = LikelihoodOptions::default().candidates[..2].to_vec();
        let likelihood = LikelihoodOptions {
            hidden: vec![32; 2],
            candidates,
            optimizer,
            members: 1,
            linear: false,
            symmetries: false,
            ..LikelihoodOptions::default()
        };
        let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() };
        let tried = |see: &dyn Fn(f64, f64) -> f64| {
            let model = train(&toy_seen(4000, 1, &options, see), &options, StreamKey::root(0), &Silent).unwrap();
            model.info.training.iter().any(|record| record.network.contains("Student t"))
        };
        assert!(!tried(&|mean, noise| mean + 0.5 * (0.6 * mean).exp() * noise));
        assert!(tried(&|mean, noise| mean + 0.3 * noise * (0.3 * noise * noise).exp()));
    }
}
