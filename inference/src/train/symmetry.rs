//! Symmetries of a likelihood: which maps of θ are taken for exact, and on what evidence.
//!
//! A posterior given n observations multiplies what a false symmetry costs by n, so that it must not be used because it costs little: it is
//! used if the rows cannot be told from symmetric ones. Latent priors N(0, I) are left by all signed permutations g. If the likelihood is
//! too, a row (θ, x) is as probable as (gθ, x), and
//!
//! * log p(x|θ) - log p(x|gθ) has the mean 0 over held-out rows, whatever network gives p;
//! * the sum of h(θ) s(x, orbit of θ) over *all* rows is symmetric about 0 for every h with h(gθ) = -h(θ) and every s, also one fitted to
//!   the rows as long as it does not know which point of its orbit θ is: a test by changes of sign (Fisher), valid for any N.
//!
//! s is the score of a network trained with the symmetry: the gradient of log p with respect to its outputs (Rao's score test), h a
//! polynomial. The tails of a sum of independent signs are at most [`TAILS`] times those of a Gaussian.

use super::candidates::Candidate;
use super::density::{DensityObjective, Direction, Input};
use super::networks::NetworkId;
use super::run::Run;
use super::selection::WORTH;
use super::trainer::{Batch, CHUNK_ROWS, Objective};
use crate::notes::{Note, SymmetryGround};
use crate::{InferenceError, Result};
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};
use tallsbi_data::{SignedPermutation, Symmetry};

/// What a map of θ may cost a network that was trained without it, in nats, to be looked at: more than its errors on the two sides of a
/// true symmetry.
const SUSPECTED: f64 = 0.1;

/// Standard errors from 0 that the mean difference over held-out rows may be; a little more than chance, as they chose the epoch.
const PAIRED: f64 = 4.0;

/// Held-out rows of the paired test at most.
const PAIRED_ROWS: usize = 20_000;

/// Held-out rows that tell most maps from symmetries.
const FIRST_ROWS: usize = 500;

/// Probability of refusing a true symmetry that is not declared, and one that is.
const LEVELS: [f64; 2] = [0.01, 1e-6];

/// Of sums of signs against a Gaussian (Pinelis 2007).
const TAILS: f64 = 3.18;

/// Largest group that is tried: all changes of sign of five parameters. A larger one means that the network ignores θ.
const MAX_SYMMETRIES: usize = 32;

/// Most parameters whose signs are changed to look for symmetries: a thousand validations cost some tens of epochs.
const MAX_FLIPPED: usize = 1000;

/// Most parameters among which exchanges are looked for: 32 have 992.
const MAX_EXCHANGED: usize = 32;

/// Rows whose sums one worker adds up: fixed, so that they do not depend on the number of threads.
const SUM_ROWS: usize = 64 * CHUNK_ROWS;

impl<'a> Run<'a> {
    /// Trains a network with the symmetries that are declared or that the network `first` shows, puts it in its place unless it is worse or
    /// the rows contradict it, and notes why; the symmetries in use and the input that they mean.
    pub(super) fn symmetric(&mut self, candidate: &Candidate, first: &mut NetworkId) -> Result<(Symmetry, Input)> {
        let options = &self.options.likelihood;
        let m = self.data.map.dim();
        let none = (Symmetry::none(m), Input::Plain);
        // Maps of θ alone say nothing of networks that see conditions too.
        let wanted = options.symmetries && self.data.conditions == 0;
        let declared = wanted && !options.declared.is_empty();
        let mut maps = match (wanted, declared) {
            (false, _) => return Ok(none),
            (true, true) => options.declared.iter().filter(|map| self.leaves_locations(map)).cloned().collect(),
            (true, false) => match self.suspected(candidate, *first) {
                Err(InferenceError::Cancelled(_)) => return Err(self.stopped(&Vec::new)),
                suspected => suspected?,
            },
        };
        let rows = self.data.training.len() + self.data.validation.len();
        loop {
            let Some(symmetry) = Symmetry::generated_within(m, &maps, MAX_SYMMETRIES)? else { return Ok(none) };
            if symmetry.order() == 1 {
                return Ok(none);
            }
            let input = Input::Canonical(symmetry.clone());
            let name = format!("likelihood, {}, with {} symmetries", self.describe(candidate), symmetry.order());
            let own = Candidate { stream: self.symmetric_stream(), ..*candidate };
            let optimizer = self.optimizer_of(*first);
            let job = self.job(name, &own, input.clone(), &optimizer)?;
            let trained = self.next_network();
            self.fit("likelihood, symmetric", vec![job])?;
            let worse = self.loss(*first) < self.loss(trained) - WORTH;
            let tested = maps.iter().map(|map| self.score_test(candidate, trained, &input, map));
            let p_values = tested.collect::<Result<Vec<f64>>>()?;
            let p_value = (p_values.iter().copied().fold(1.0, f64::min) * maps.len() as f64).min(1.0);
            let level = LEVELS[usize::from(declared)] / maps.len() as f64;
            if !worse && p_values.iter().all(|&p| p >= level) {
                self.keep(*first, trained);
                *first = trained;
                let ground = if declared { SymmetryGround::Declared } else { SymmetryGround::Tested };
                self.notes.push(Note::Symmetry { order: symmetry.order(), ground, rows, p_value });
                return Ok((symmetry, input));
            }
            self.keep(trained, *first);
            if declared {
                self.notes.push(Note::SymmetryRefuted { p_value, rows });
            }
            if declared || worse {
                return Ok(none);
            }
            maps = maps.into_iter().zip(p_values).filter(|(_, p)| *p >= level).map(|(map, _)| map).collect();
        }
    }

    /// Whether a map leaves the parameters as they are that networks do not see: to them any change of those is one that changes nothing.
    fn leaves_locations(&self, map: &SignedPermutation) -> bool {
        let locations = self.data.locations.iter().map(|location| location.parameter);
        locations.into_iter().all(|k| map.source[k] == k && !map.negate[k])
    }

    /// The changes of sign and exchanges of latent parameters that hardly change the loss of a trained network on held-out rows.
    fn suspected(&self, candidate: &Candidate, trained: NetworkId) -> Result<Vec<SignedPermutation>> {
        let own = self.row_losses(candidate, trained, Input::Plain, PAIRED_ROWS)?;
        let m = self.data.dim_theta;
        let mut maps = Vec::new();
        for map in maps_to_try(m).filter(|map| self.leaves_locations(map)) {
            self.monitor.check()?;
            let difference = |rows: usize| -> Result<(f64, f64)> {
                let there = self.row_losses(candidate, trained, Input::Image(map.clone()), rows)?;
                Ok(mean_and_error(there.iter().zip(&own).map(|(there, own)| there - own)))
            };
            // Most maps change so much that some rows are enough.
            let (mean, error) = difference(FIRST_ROWS)?;
            if mean - PAIRED * error > SUSPECTED {
                continue;
            }
            let (mean, error) = difference(PAIRED_ROWS)?;
            if mean < SUSPECTED && mean <= PAIRED * error {
                maps.push(map);
                if Symmetry::generated_within(m, &maps, MAX_SYMMETRIES)?.is_none() {
                    break;
                }
            }
        }
        Ok(maps)
    }

    /// The loss of each of at most `most` held-out rows under a trained network.
    fn row_losses(&self, candidate: &Candidate, trained: NetworkId, input: Input, most: usize) -> Result<Vec<f64>> {
        let data = self.data;
        let network = self.trained(candidate, trained)?;
        let layout = self.layout(candidate);
        let objective = DensityObjective::new(data, &network, layout, Direction::Likelihood).with_input(input);
        let rows = &data.validation[..data.validation.len().min(most)];
        let noise = self.validation_noise(candidate);
        let batch = Batch { rows, noise, level_offset: 0.0, validation: true };
        let losses = (0..rows.len())
            .into_par_iter()
            .map_init(|| objective.workspace(), |workspace, row| objective.loss(&batch, row..row + 1, workspace, None));
        Ok(losses.collect())
    }

    /// The p-value of the test that `map` leaves the likelihood as it is, by the scores of a network that was trained with it.
    fn score_test(
        &self,
        candidate: &Candidate,
        trained: NetworkId,
        input: &Input,
        map: &SignedPermutation,
    ) -> Result<f64> {
        let data = self.data;
        let network = self.trained(candidate, trained)?;
        let layout = self.layout(candidate);
        let objective = DensityObjective::new(data, &network, layout, Direction::Likelihood).with_input(input.clone());
        let noise = self.validation_noise(candidate);
        let terms = odd_terms(map, data.dim_theta);
        let outputs = layout.outputs();
        let rows: Vec<u32> = (0..(data.training.len() + data.validation.len()) as u32).collect();
        let sums: Vec<Vec<[f64; 2]>> = rows
            .par_chunks(SUM_ROWS)
            .map(|rows| {
                let mut sums = vec![[0.0; 2]; terms.len() * outputs];
                objective.scores(rows, noise, |row, score| {
                    let z: Vec<f64> = data.latent_row(row as usize).iter().map(|&value| value.into()).collect();
                    let mut image = z.clone();
                    map.apply(&z, &mut image);
                    for (term, sums) in terms.iter().zip(sums.chunks_exact_mut(outputs)) {
                        let odd = monomial(&z, term) - monomial(&image, term);
                        for (sum, score) in sums.iter_mut().zip(score) {
                            let value = odd * score;
                            sum[0] += value;
                            sum[1] += value * value;
                        }
                    }
                });
                sums
            })
            .collect();
        let statistic = |index: usize| {
            let (sum, square) = sums.iter().fold((0.0, 0.0), |(a, b), part| (a + part[index][0], b + part[index][1]));
            if square > 0.0 { (sum / f64::sqrt(square)).abs() } else { 0.0 }
        };
        // Half of the level for the terms of degree 1, half for the others.
        let linear = terms.iter().filter(|term| term.len() == 1).count() * outputs;
        let corrected = |range: std::ops::Range<usize>| {
            let largest = range.clone().map(statistic).fold(0.0, f64::max);
            2.0 * range.len() as f64 * 2.0 * TAILS * Normal::standard().sf(largest)
        };
        let p_value = corrected(0..linear).min(corrected(linear..terms.len() * outputs));
        Ok(p_value.min(1.0))
    }
}

/// Changes of sign of each of `m` parameters, then exchanges of two, with and without a change of both signs.
fn maps_to_try(m: usize) -> impl Iterator<Item = SignedPermutation> {
    let flips = (0..m.min(MAX_FLIPPED)).map(move |i| SignedPermutation::flip(m, &[i]));
    let exchanged = if m <= MAX_EXCHANGED { m } else { 0 };
    let pairs = (0..exchanged).flat_map(|i| (0..i).map(move |j| (j, i)));
    let both = move |pair| [false, true].map(|negate| SignedPermutation::exchange(m, pair, negate));
    flips.chain(pairs.flat_map(both))
}

/// Mean and standard error.
fn mean_and_error(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

/// Monomials of degree 1, 2 and single cubes, as the parameters they multiply, whose difference between a point and its image is not 0 for
/// all points, each once up to sign; those of degree 1 first.
fn odd_terms(map: &SignedPermutation, m: usize) -> Vec<Vec<usize>> {
    let singles = (0..m).map(|i| vec![i]);
    let pairs = (0..m).flat_map(|i| (i..m).map(move |j| vec![i, j]));
    let cubes = (0..m).map(|i| vec![i; 3]);
    // Points without relations: terms that differ there are different.
    let point: Vec<f64> = (0..m).map(|i| 0.3 + (1.7 * i as f64 + 0.9).sin()).collect();
    let mut image = point.clone();
    map.apply(&point, &mut image);
    let mut seen: Vec<f64> = Vec::new();
    let mut new = |term: &Vec<usize>| {
        let value = (monomial(&point, term) - monomial(&image, term)).abs();
        let first = value > 1e-9 && seen.iter().all(|known| (known - value).abs() > 1e-9);
        if first {
            seen.push(value);
        }
        first
    };
    singles.chain(pairs).chain(cubes).filter(|term| new(term)).collect()
}

fn monomial(z: &[f64], term: &[usize]) -> f64 {
    term.iter().map(|&i| z[i]).product()
}

#[cfg(test)]
mod tests {
    use super::super::features::Features;
    use super::super::tests::{small, toy};
    use super::super::{
        Architecture, DensityForm, LikelihoodOptions, OptimizerOptions, TrainOptions, TrainingData, train,
    };
    use super::*;
    use crate::model::Covariance;
    use crate::model::trained::{Networks, TrainedModel};
    use tallsbi_data::{Silent, StreamKey};

    fn options() -> TrainOptions {
        let optimizer = OptimizerOptions { epochs: 12, learning_rate: 3e-3, ..OptimizerOptions::default() };
        let candidates = vec![DensityForm { components: 1, covariance: Covariance::Diagonal }];
        let likelihood = LikelihoodOptions {
            hidden: vec![32; 2],
            candidates,
            optimizer,
            members: 1,
            ..LikelihoodOptions::default()
        };
        TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() }
    }

    /// a, b ~ N(0, 1); x = (f(a) , b) + 0.5 noise.
    fn seen(rows: usize, options: &TrainOptions, f: impl Fn(f32) -> f32) -> TrainingData {
        let mut data = toy(rows, 1, options);
        let sd = data.observation_map.sd[0];
        let Features::Memory(features) = &mut data.features else { panic!("in memory") };
        for (z, x) in data.latent.chunks_exact(2).zip(features.chunks_exact_mut(2)) {
            x[0] += (f(z[0]) - z[0]) / sd;
        }
        data
    }

    fn trained(data: &TrainingData, options: &TrainOptions) -> TrainedModel {
        train(data, options, StreamKey::root(0), &Silent).unwrap()
    }

    /// All but how far the model can be trusted, which these tests are not about.
    fn notes(model: &TrainedModel) -> Vec<&Note> {
        model.info.notes.iter().filter(|note| !matches!(note, Note::Trusted { .. })).collect()
    }

    fn order(model: &TrainedModel) -> usize {
        let Networks::Likelihood { symmetry, .. } = &model.networks else { panic!("a likelihood") };
        symmetry.order()
    }

    /// An effect of 0.05 sd of the noise costs 0.0025 nats an observation, 2.5 of a thousand: it is no symmetry.
    #[test]
    fn a_weak_effect_is_no_symmetry() {
        let options = options();
        // Of the size, of its square, and in one direction only.
        for f in [|a: f32| 0.025 * a, |a: f32| 0.5 * a * a + 0.02 * a, |a: f32| 0.05 * a.max(0.0)] {
            let model = trained(&seen(20_000, &options, f), &options);
            assert_eq!((order(&model), notes(&model).len()), (1, 0), "{:?}", model.info.notes);
        }
    }

    #[test]
    fn exact_symmetries_are_used_and_said() {
        let options = options();
        let model = trained(&seen(20_000, &options, |a| 0.5 * a * a), &options);
        assert_eq!(order(&model), 2);
        let [note @ Note::Symmetry { order: 2, ground: SymmetryGround::Tested, rows: 20_000, .. }] = notes(&model)[..]
        else {
            panic!("{:?}", model.info.notes)
        };
        assert!(note.to_string().contains("2.3e-3 nats"), "{note}");
    }

    #[test]
    fn declared_symmetries_are_used_unless_contradicted() {
        let mut options = options();
        options.likelihood.declared = vec![SignedPermutation::flip(2, &[0])];
        let model = trained(&seen(2000, &options, |a| a.abs()), &options);
        assert!(matches!(notes(&model)[..], [Note::Symmetry { ground: SymmetryGround::Declared, .. }]));
        let model = trained(&seen(20_000, &options, |a| 0.05 * a), &options);
        assert_eq!(order(&model), 1);
        assert!(matches!(notes(&model)[..], [Note::SymmetryRefuted { p_value, .. }] if *p_value < 1e-6));
    }
}
