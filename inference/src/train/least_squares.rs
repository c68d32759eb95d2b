//! Linear Gaussian likelihoods in closed form: x = A z + b + noise, found by least squares and used if the rows cannot be told from them.
//!
//! A network that is trained by gradients errs by some thousandths of a standard deviation, which n observations make visible. Where the
//! simulator is linear in the latent parameters with Gaussian noise of one covariance, least squares are the maximum likelihood, and exact
//! as far as the rows tell, for any n. Whether it is so is tested on all rows: whitened residuals u are orthogonal to Hermite polynomials of
//! z up to the fourth degree, u_j² - 1 to those up to the second, and third and fourth moments of u are those of N(0, I).

use super::TrainingData;
use super::density::Input;
use super::options::DensityForm;
use super::run::Run;
use crate::Result;
use crate::model::trained::Networks;
use crate::model::{Covariance, MixtureLayout};
use crate::small_matrix::{cholesky, cholesky_solve};
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};
use tallsbi_data::Symmetry;
use tallsbi_network::{Activation, Mlp, MlpSpec};

/// Probability of refusing what is linear and Gaussian.
const LEVEL: f64 = 0.01;

/// Rows for each number that is fitted, at least.
const ROWS_A_NUMBER: usize = 2;

/// Rows whose sums one worker adds up: fixed, so that they do not depend on the number of threads.
const SUM_ROWS: usize = 4096;

/// A fitted model.
struct Linear {
    /// A and b, (m + 1, d), b last.
    coefficients: Vec<f64>,
    /// Lower triangle L of the precision L Lᵀ of the noise, (d, d).
    factor: Vec<f64>,
}

impl<'a> Run<'a> {
    /// The linear model, if the options want such ones and the rows cannot be told from it.
    pub(super) fn least_squares(&mut self) -> Result<Option<Networks>> {
        let (data, likelihood) = (self.data, &self.options.likelihood);
        let (m, d) = (data.dim_theta, data.dim_x);
        let rows = data.features.len() / d;
        let gaussian = DensityForm { components: 1, covariance: Covariance::Full };
        let wanted = likelihood.linear && likelihood.candidates.contains(&gaussian);
        let counts = data.observation_map.counts.contains(&true) || data.observation_map.sd.contains(&0.0);
        if !wanted
            || counts
            || !data.observation_map.atoms.is_empty()
            || !data.locations.is_empty()
            || rows < ROWS_A_NUMBER * (m + 2 + d)
        {
            return Ok(None);
        }
        let pairs = Pairs(data);
        let Some(linear) = pairs.fit() else { return Ok(None) };
        if pairs.linearity(&linear) < LEVEL {
            return Ok(None);
        }
        let layout = MixtureLayout::gaussian(d);
        let network = linear.network(layout, m)?;
        let loss = pairs.mean_loss(&linear);
        self.take_fitted("likelihood, one full Gaussian, linear by least squares", &network, rows, loss);
        let success = self.success(&Input::Plain)?;
        Ok(Some(Networks::Likelihood {
            members: vec![network],
            layout,
            symmetry: Symmetry::none(data.map.dim()),
            success,
            region: None,
            locations: Vec::new(),
            mean_scores: None,
        }))
    }
}

/// All observations with the parameters they belong to.
struct Pairs<'a>(&'a TrainingData);

impl Pairs<'_> {
    /// z of the row that observation `index` belongs to, with a 1 behind it, and the observation.
    fn pair(&self, index: usize) -> (impl Iterator<Item = f64>, &[f32]) {
        let (row, k) = (index / self.0.n_obs, index % self.0.n_obs);
        let z = self.0.latent_row(row).iter().map(|&value| f64::from(value)).chain([1.0]);
        (z, self.0.feature_row(row, k))
    }

    fn observations(&self) -> usize {
        self.0.features.len() / self.0.dim_x
    }

    /// Sums over all observations of what `add` adds for each, in an order that does not depend on threads.
    fn sums(&self, length: usize, add: impl Fn(usize, &mut [f64]) + Sync) -> Vec<f64> {
        let n = self.observations();
        let parts: Vec<Vec<f64>> = (0..n.div_ceil(SUM_ROWS))
            .into_par_iter()
            .map(|chunk| {
                let mut sums = vec![0.0; length];
                (chunk * SUM_ROWS..((chunk + 1) * SUM_ROWS).min(n)).for_each(|index| add(index, &mut sums));
                sums
            })
            .collect();
        parts.into_iter().fold(vec![0.0; length], |mut all, part| {
            all.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            all
        })
    }

    fn fit(&self) -> Option<Linear> {
        let (m, d) = (self.0.dim_theta, self.0.dim_x);
        let p = m + 1;
        let moments = self.sums(p * p + p * d, |index, sums| {
            let (z, x) = self.pair(index);
            let z: Vec<f64> = z.collect();
            let (square, cross) = sums.split_at_mut(p * p);
            for (a, (square, cross)) in z.iter().zip(square.chunks_exact_mut(p).zip(cross.chunks_exact_mut(d))) {
                square.iter_mut().zip(&z).for_each(|(sum, b)| *sum += a * b);
                cross.iter_mut().zip(x).for_each(|(sum, &x)| *sum += a * f64::from(x));
            }
        });
        let (mut square, cross) = (moments[..p * p].to_vec(), &moments[p * p..]);
        if !cholesky(&mut square, p) {
            return None;
        }
        let mut coefficients = vec![0.0; p * d];
        for j in 0..d {
            let mut column: Vec<f64> = (0..p).map(|a| cross[a * d + j]).collect();
            cholesky_solve(&square, &mut column);
            column.iter().enumerate().for_each(|(a, &value)| coefficients[a * d + j] = value);
        }
        let mut linear = Linear { coefficients, factor: Vec::new() };
        let scatter = self.sums(d * d, |index, sums| {
            let residual = self.residual(&linear, index);
            for (a, row) in residual.iter().zip(sums.chunks_exact_mut(d)) {
                row.iter_mut().zip(&residual).for_each(|(sum, b)| *sum += a * b);
            }
        });
        let freedom = (self.observations() - p) as f64;
        let mut covariance: Vec<f64> = scatter.iter().map(|value| value / freedom).collect();
        // Noise that is next to none in some direction has no density.
        let scale = (0..d).map(|i| covariance[i * d + i]).collect::<Vec<f64>>();
        if !cholesky(&mut covariance, d) || (0..d).any(|i| covariance[i * d + i].powi(2) < 1e-8 * scale[i].max(1e-8)) {
            return None;
        }
        // The precision, a column at a time, and its factor.
        let mut precision = vec![0.0; d * d];
        for i in 0..d {
            let mut unit = vec![0.0; d];
            unit[i] = 1.0;
            cholesky_solve(&covariance, &mut unit);
            unit.iter().enumerate().for_each(|(j, &value)| precision[j * d + i] = value);
        }
        if !cholesky(&mut precision, d) {
            return None;
        }
        linear.factor = precision;
        Some(linear)
    }

    fn residual(&self, linear: &Linear, index: usize) -> Vec<f64> {
        let d = self.0.dim_x;
        let (z, x) = self.pair(index);
        let mut residual: Vec<f64> = x.iter().map(|&value| value.into()).collect();
        for (z, row) in z.zip(linear.coefficients.chunks_exact(d)) {
            residual.iter_mut().zip(row).for_each(|(r, a)| *r -= z * a);
        }
        residual
    }

    /// u = Lᵀ (x - A z - b).
    fn whitened(&self, linear: &Linear, index: usize) -> Vec<f64> {
        let d = self.0.dim_x;
        let residual = self.residual(linear, index);
        (0..d).map(|k| (k..d).map(|i| linear.factor[i * d + k] * residual[i]).sum()).collect()
    }

    /// The p-value, corrected for the number of tests, that the rows are linear and Gaussian.
    fn linearity(&self, linear: &Linear) -> f64 {
        let (m, d) = (self.0.dim_theta, self.0.dim_x);
        let terms = hermite(&vec![0.0; m]).len();
        let (first, means, variances) = (m, terms - m, m + m * (m + 1) / 2);
        // Of each column: orthogonality of means and variances, third moments with all others, fourth moments; then squares of the terms.
        let each = means + variances + 2 * d;
        let sums = self.sums(d * each + terms, |index, sums| {
            let u = self.whitened(linear, index);
            let z: Vec<f64> = self.pair(index).0.take(m).collect();
            let terms = hermite(&z);
            let (columns, squares) = sums.split_at_mut(d * each);
            for (u_j, sums) in u.iter().zip(columns.chunks_exact_mut(each)) {
                let square = (u_j * u_j - 1.0) / std::f64::consts::SQRT_2;
                let mean = terms[first..].iter().map(|h| h * u_j);
                let variance = terms[..variances].iter().map(|h| h * square);
                let third = u.iter().map(|u_k| square * u_k);
                let fourth = u.iter().map(|u_k| square * (u_k * u_k - 1.0) / std::f64::consts::SQRT_2);
                let values = mean.chain(variance).chain(third).chain(fourth);
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
            squares.iter_mut().zip(&terms).for_each(|(sum, h)| *sum += h * h);
        });
        let n = self.observations() as f64;
        let (columns, squares) = sums.split_at(d * each);
        let mut largest = 0.0f64;
        for (j, sums) in columns.chunks_exact(each).enumerate() {
            let scales = squares[first..].iter().chain(&squares[..variances]).copied();
            let orthogonal = sums.iter().zip(scales).map(|(sum, square)| sum / square.sqrt());
            let moments = &sums[means + variances..];
            // Var (u² - 1) u / √2 = 3 after u is made orthogonal to it; of (u² - 1)²/2 - 1: mean 1, variance 14.
            let third = (0..d).map(|k| moments[k] / (n * if k == j { 3.0 } else { 1.0 }).sqrt());
            let fourth = (0..d).map(|k| {
                let own = k == j;
                (moments[d + k] - if own { n } else { 0.0 }) / (n * if own { 6.0 } else { 1.0 }).sqrt()
            });
            largest = orthogonal.chain(third).chain(fourth).map(f64::abs).fold(largest, f64::max);
        }
        (2.0 * (d * each) as f64 * Normal::standard().sf(largest)).min(1.0)
    }

    /// The mean loss of all observations, as networks have it.
    fn mean_loss(&self, linear: &Linear) -> f64 {
        let d = self.0.dim_x;
        let log_determinant: f64 = (0..d).map(|i| linear.factor[i * d + i].ln()).sum();
        let square = self.sums(1, |index, sum| {
            sum[0] += 0.5 * self.whitened(linear, index).iter().map(|u| u * u).sum::<f64>();
        });
        square[0] / self.observations() as f64 - log_determinant
    }
}

impl Linear {
    /// As a network without hidden layers.
    fn network(&self, layout: MixtureLayout, m: usize) -> Result<Mlp<f32>> {
        let d = layout.dim;
        let spec = MlpSpec {
            input: m,
            hidden: Vec::new(),
            output: layout.outputs(),
            activation: Activation::Gelu,
            layer_norm: false,
            residual: false,
        };
        let mut parameters = vec![0.0f32; spec.output * (m + 1)];
        let (weights, biases) = parameters.split_at_mut(spec.output * m);
        for j in 0..d {
            (0..m).for_each(|a| weights[j * m + a] = self.coefficients[a * d + j] as f32);
            biases[j] = self.coefficients[m * d + j] as f32;
        }
        let mut entry = d;
        for i in 0..d {
            for k in layout.columns(i) {
                let value = self.factor[i * d + k];
                biases[entry] = if k == i { value.ln() } else { value } as f32;
                entry += 1;
            }
        }
        Ok(Mlp::from_parameters(spec, parameters)?)
    }
}

/// Hermite polynomials of z: z_i; z_i z_j and (z_i² - 1)/√2; those of third and fourth degree of each z_i. All have variance 1 under
/// N(0, I), and all but the first are orthogonal to 1 and z.
fn hermite(z: &[f64]) -> Vec<f64> {
    let m = z.len();
    let mut terms = z.to_vec();
    for i in 0..m {
        for j in i..m {
            terms.push(if i == j { (z[i] * z[i] - 1.0) / std::f64::consts::SQRT_2 } else { z[i] * z[j] });
        }
    }
    terms.extend(z.iter().map(|z| (z.powi(3) - 3.0 * z) / 6f64.sqrt()));
    terms.extend(z.iter().map(|z| (z.powi(4) - 6.0 * z * z + 3.0) / 24f64.sqrt()));
    terms
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small, toy, toy_seen};
    use super::super::{Architecture, LikelihoodOptions, TrainOptions, train};
    use crate::model::PreparedModel;
    use crate::sample::SampleRequest;
    use crate::tempering::{TemperingOptions, sample_tempered};
    use ndarray::Array2;
    use tallsbi_data::{Silent, StreamKey};

    fn options() -> TrainOptions {
        let likelihood = LikelihoodOptions { hidden: vec![8], ..LikelihoodOptions::default() };
        TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() }
    }

    /// Whether the rows are taken for linear ones.
    fn linear(rows: usize, see: impl Fn(f64, f64) -> f64) -> bool {
        let mut options = options();
        options.likelihood.optimizer.epochs = 1;
        options.likelihood.members = 1;
        let data = toy_seen(rows, 1, &options, see);
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        model.info.training.len() == 1
    }

    #[test]
    fn only_linear_gaussian_rows_are_taken_for_such() {
        assert!(linear(5000, |mean, noise| mean + 0.5 * noise) && linear(300, |mean, noise| 2.0 * noise - mean));
        for see in [
            |mean: f64, noise: f64| mean + 0.05 * mean * mean + 0.5 * noise,
            |mean: f64, noise: f64| mean + 0.5 * (0.15 * mean).exp() * noise,
            |mean: f64, noise: f64| mean + 0.5 * noise + 0.05 * noise * noise,
            |mean: f64, noise: f64| mean + 0.5 * noise * (0.1 * noise * noise).exp().min(5.0),
            |mean: f64, noise: f64| mean.sin() + 0.5 * noise,
        ] {
            assert!(!linear(5000, see));
        }
    }

    /// n = 1000 observations from 5000 rows: the posterior is N(Σx/(n + ¼), ¼/(n + ¼)); also 30 prior sd away from all rows.
    #[test]
    fn a_linear_model_is_exact_at_any_n_and_any_place() {
        let options = options();
        let data = toy(5000, 1, &options);
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        let PreparedModel::Likelihood(likelihood) = model.prepare() else { panic!("a likelihood") };
        for (n, centre, tolerance) in [(1000, 0.7, 1.5), (1, 30.0, 1.0)] {
            let x = Array2::from_shape_fn((n, 2), |(i, _)| (centre + 0.5 * ((i as f64 + 0.5) * 2.4).sin()) as f32);
            let groups = [x.view()];
            let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(2), covariances: None };
            let (samples, _) =
                sample_tempered(&likelihood, &request, 500, &TemperingOptions::default(), &Silent).unwrap();
            let latent = samples.latent.index_axis(ndarray::Axis(0), 0);
            let precision = n as f64 + 0.25;
            for j in 0..2 {
                let exact = x.column(j).iter().map(|&value| f64::from(value)).sum::<f64>() / precision;
                let (mean, sd) = (latent.column(j).mean().unwrap(), latent.column(j).std(1.0));
                let error = (mean - exact) / (0.25 / precision).sqrt();
                let spread = sd / (0.25 / precision).sqrt();
                assert!(error.abs() < tolerance && (spread - 1.0).abs() < 0.2, "n = {n}: {error} sd, {spread}");
            }
        }
    }
}
