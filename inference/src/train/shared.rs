//! How large an [error that observations share](crate::model::shared) is on rows that a network has not seen.
//!
//! Of rows it was trained on a network knows the error by heart. Two numbers, one added to all log β² and one to the output of ν, are fitted to held-out rows by scoring (Fisher's, with the empirical information)
//! and put into its biases.
//!
//! An average of M networks errs less than each of them: of β² = s² + c², s² the squared error that networks have each for itself and c² what they have in common, s²/M + c² is left. s² is half the mean
//! squared difference of two networks' means, whitened.

use super::density::{DensityObjective, Direction, Input};
use super::run::Run;
use crate::model::MixtureLayout;
use crate::model::density::MixtureScratch;
use crate::model::shared::Sample;
use rayon::prelude::*;
use tallsbi_data::Purpose;
use tallsbi_network::Mlp;

/// Held-out rows that are looked at, and fewest to say anything from.
const ROWS: (usize, usize) = (4000, 200);

/// Steps at most, their bound, and the step that ends them.
const STEPS: usize = 30;
const LONGEST: f64 = 1.0;
const SHORTEST: f64 = 1e-3;

/// Bound on what is added: outputs are logarithms.
const FURTHEST: f64 = 10.0;

impl Run<'_> {
    /// Fits what observations share to rows that `network`, of one observation's layout, holds out.
    pub(super) fn refit_shared(&self, network: &mut Mlp<f32>, layout: MixtureLayout, input: &Input, held_out: &[u32]) {
        let rows = &held_out[..held_out.len().min(ROWS.0)];
        if rows.len() < ROWS.1 {
            return;
        }
        let objective =
            DensityObjective::new(self.data, network, layout, Direction::Likelihood).with_input(input.clone());
        let (outputs, targets) = objective.outputs(rows, self.key.child(Purpose::ValidationNoise));
        let samples: Vec<Sample> = targets.iter().map(|target| Sample::new(target, layout.dim)).collect();
        let shift = fitted(layout, &outputs, &samples);
        let biases = network.parameters().len() - layout.outputs();
        add(layout, &mut network.parameters_mut()[biases..], shift);
    }

    /// Takes off what β² of `networks` loses by averaging them.
    pub(super) fn average_shared(&self, networks: &mut [(Mlp<f32>, usize)], layout: MixtureLayout, input: &Input) {
        let rows = &self.data.validation[..self.data.validation.len().min(ROWS.0)];
        if rows.len() < ROWS.1 || networks.len() < 2 {
            return;
        }
        let outputs = |(network, _): &(Mlp<f32>, usize)| {
            let objective =
                DensityObjective::new(self.data, network, layout, Direction::Likelihood).with_input(input.clone());
            objective.outputs(rows, self.key.child(Purpose::ValidationNoise)).0
        };
        let each: Vec<Vec<Vec<f32>>> = networks.iter().map(outputs).collect();
        let left = share_left(layout, &each);
        for (network, _) in networks {
            let biases = network.parameters().len() - layout.outputs();
            add(layout, &mut network.parameters_mut()[biases..], [left.ln(), 0.0]);
        }
    }
}

/// The share of β² that an average of networks with these outputs at the same rows has.
fn share_left(layout: MixtureLayout, networks: &[Vec<Vec<f32>>]) -> f64 {
    let count = networks.len() as f64;
    let (mut own, mut terms) = (0.0, 0.0);
    let mut scratch = MixtureScratch::default();
    for row in 0..networks[0].len() {
        let mut average = vec![0.0; layout.outputs()];
        for network in networks {
            average.iter_mut().zip(&network[row]).for_each(|(sum, value)| *sum += value / count as f32);
        }
        layout.expand(&average, &mut scratch);
        let component = &scratch.components[0];
        let squares = &component.shared.as_ref().expect("a layout with shared errors").squares;
        let mut variances = vec![0.0; layout.dim];
        for network in networks {
            let (mut difference, mut whitened) = (vec![0.0; layout.dim], vec![0.0; layout.dim]);
            let means = layout.mean_offset(0)..layout.mean_offset(0) + layout.dim;
            for (out, i) in difference.iter_mut().zip(means) {
                *out = f64::from(network[row][i] - average[i]);
            }
            layout.whiten(&component.factor, &difference, &mut whitened);
            variances.iter_mut().zip(&whitened).for_each(|(sum, u)| *sum += u * u / (count - 1.0));
        }
        for (variance, square) in variances.iter().zip(squares) {
            // Single rows shall not decide.
            own += (variance / square).min(1.0);
            terms += 1.0;
        }
    }
    let own = own / terms;
    (1.0 - (1.0 - 1.0 / count) * own).max(own / count)
}

/// Adds to log β² and to the output of ν.
fn add(layout: MixtureLayout, outputs: &mut [f32], [squares, freedom]: [f64; 2]) {
    let own = &mut outputs[layout.shared_range()];
    own[..layout.dim].iter_mut().for_each(|value| *value += squares as f32);
    own[layout.dim] += freedom as f32;
}

/// What to add for the highest likelihood of `samples` at the rows of `outputs`.
fn fitted(layout: MixtureLayout, outputs: &[Vec<f32>], samples: &[Sample]) -> [f64; 2] {
    let mut shift = [0.0; 2];
    for _ in 0..STEPS {
        let score = |(outputs, sample): (&Vec<f32>, &Sample)| {
            let mut moved = outputs.clone();
            add(layout, &mut moved, shift);
            let (mut scratch, mut gradient) = (MixtureScratch::default(), vec![0.0; layout.outputs()]);
            layout.expand(&moved, &mut scratch);
            layout.accumulate_shared(sample, 1.0, &scratch, Some(&mut gradient));
            let own = &gradient[layout.shared_range()];
            [own[..layout.dim].iter().sum::<f64>(), own[layout.dim]]
        };
        // In the order of rows, whatever the threads.
        let scores: Vec<[f64; 2]> = outputs.par_iter().zip(samples).map(score).collect();
        let (mut sum, mut information) = ([0.0; 2], [f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE]);
        for [a, b] in scores {
            sum[0] += a;
            sum[1] += b;
            information[0] += a * a;
            information[1] += a * b;
            information[2] += b * b;
        }
        let determinant = information[0] * information[2] - information[1] * information[1];
        let step = [
            (information[2] * sum[0] - information[1] * sum[1]) / determinant,
            (information[0] * sum[1] - information[1] * sum[0]) / determinant,
        ];
        if step.iter().any(|step| !step.is_finite()) {
            break;
        }
        for (shift, step) in shift.iter_mut().zip(step) {
            *shift = (*shift + step.clamp(-LONGEST, LONGEST)).clamp(-FURTHEST, FURTHEST);
        }
        if step.iter().all(|step| step.abs() < SHORTEST) {
            break;
        }
    }
    shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Covariance;
    use rand_distr::{ChiSquared, Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    /// Means that differ by s² = 0.1 of β² = 0.4 in each direction: 0.1/4 and 0.3 are left.
    #[test]
    fn an_average_of_networks_has_their_common_error_and_a_share_of_their_own() {
        const D: usize = 5;
        let layout = MixtureLayout { shared: true, covariance: Covariance::Diagonal, ..MixtureLayout::gaussian(D) };
        let mut rng = StreamKey::root(9).rng(0);
        let mut outputs = vec![0.0; layout.outputs()];
        // A precision of 4.
        outputs[D..2 * D].fill(2f32.ln());
        outputs[layout.shared_range()][..D].fill(0.4f32.ln());
        let mut network = || {
            let mut row = || {
                let mut outputs = outputs.clone();
                for mean in &mut outputs[..D] {
                    let normal: f64 = StandardNormal.sample(&mut rng);
                    *mean = (0.5 * (0.1f64).sqrt() * normal) as f32;
                }
                outputs
            };
            (0..2000).map(|_| row()).collect::<Vec<_>>()
        };
        let left = share_left(layout, &[network(), network(), network(), network()]);
        assert!((left - 0.325 / 0.4).abs() < 0.02, "{left}");
    }

    /// Samples of β² = 0.4 and ν = 20 of networks that say 0.05 and 50.
    #[test]
    fn held_out_rows_tell_what_observations_share() {
        const D: usize = 5;
        let layout = MixtureLayout { shared: true, ..MixtureLayout::gaussian(D) };
        let mut outputs = vec![0.0; layout.outputs()];
        layout.start_shared(&mut outputs);
        let mut rng = StreamKey::root(8).rng(0);
        let samples: Vec<Sample> = (0..4000)
            .map(|_| {
                let chi: f64 = ChiSquared::new(20.0).unwrap().sample(&mut rng);
                let scale = (20.0 / chi).sqrt();
                let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
                let common: Vec<f64> = (0..D).map(|_| 0.4f64.sqrt() * normal()).collect();
                let points: Vec<f64> = (0..3 * D).map(|i| scale * (common[i % D] + normal())).collect();
                Sample::new(&points, D)
            })
            .collect();
        let shift = fitted(layout, &vec![outputs.clone(); samples.len()], &samples);
        add(layout, &mut outputs, shift);
        let mut scratch = MixtureScratch::default();
        layout.expand(&outputs, &mut scratch);
        let shared = scratch.components[0].shared.as_ref().unwrap();
        assert!((shared.squares[0] / 0.4 - 1.0).abs() < 0.08, "{shared:?}");
        assert!((shared.freedom / 20.0).ln().abs() < 0.25, "{shared:?}");
    }
}
