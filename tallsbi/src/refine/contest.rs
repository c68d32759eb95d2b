//! Which of two likelihoods predicts simulations at a posterior better: a network or the local one.

use super::refined::{Refined, to_latent};
use super::simulator::Simulator;
use crate::{Model, Posterior, Result, SampleOptions};
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use tallsbi_data::{Monitor, Purpose, Silent, StreamKey};
use tallsbi_inference::model::PreparedModel;
use tallsbi_inference::refine::{Frame, Simulate, Verdict, moments};
use tallsbi_inference::tempering::{Likelihood, Local};

/// Standard errors by which a network must be better: where they are alike, the local likelihood has the smaller error that all observations share.
const CLEARLY: f64 = 2.0;

/// What is needed to decide.
pub(super) struct Contest<'a> {
    pub observations: ArrayView2<'a, f32>,
    pub simulator: &'a Simulator<'a>,
    /// Simulations that decide.
    pub deciding: usize,
    pub sampling: SampleOptions,
    pub seed: u64,
    pub monitor: &'a dyn Monitor,
}

/// Parameters (N, m) and one observation (N, d) of each.
type Pairs = (Array2<f64>, Array2<f32>);

impl Contest<'_> {
    /// Keeps the base's posterior if its network is clearly better at draws of the local posterior: where that is another's than the base's, the base must show there that it
    /// knows better.
    ///
    /// # Errors
    /// Those of the simulator and the sampler.
    pub fn base(&self, base: &Model, refined: Refined) -> Result<Refined> {
        let theta = thinned(refined.posterior.theta.view(), self.deciding);
        let simulations = refined.simulations + theta.nrows();
        let pairs = self.simulate(theta, refined.simulations)?;
        let Some(gain) = gain(base, &refined.model, &pairs)? else { return Ok(Refined { simulations, ..refined }) };
        let (model, posterior) = (Model::new(base.trained().clone()), self.sample(base)?);
        Ok(Refined { model, posterior, verdict: Verdict::BaseKept { gain }, simulations, ..refined })
    }

    /// Keeps a network that was trained on the refinement's simulations if it is clearly better at draws of both posteriors.
    ///
    /// # Errors
    /// Those of the simulator and the sampler.
    pub fn network(&self, network: Model, refined: Refined) -> Result<Refined> {
        let reason = refined.verdict.reason();
        let posterior = self.sample(&network)?;
        let half = self.deciding.div_ceil(2);
        let [own, other] = [&posterior, &refined.posterior].map(|of| thinned(of.theta.view(), half));
        let first = refined.simulations + own.nrows();
        let simulations = first + other.nrows();
        let (own, other) = (self.simulate(own, refined.simulations)?, self.simulate(other, first)?);
        let both = (concatenate![Axis(0), own.0, other.0], concatenate![Axis(0), own.1, other.1]);
        let Some(gain) = gain(&network, &refined.model, &both)? else { return Ok(Refined { simulations, ..refined }) };
        let (bias, bias_error) = bias(&network, &own, posterior.theta.view(), self.observations.nrows())?;
        let verdict = Verdict::NetworkKept { gain, bias, bias_error, reason };
        Ok(Refined { model: network, posterior, verdict, simulations, ..refined })
    }

    fn sample(&self, network: &Model) -> Result<Posterior> {
        let centred = network.centre("observations", self.observations.mapv(f64::from).view())?;
        network.sample(centred.view(), &self.sampling, self.seed, self.monitor)
    }

    /// The simulations at `theta` that have a result.
    fn simulate(&self, theta: Array2<f64>, first_row: usize) -> Result<Pairs> {
        let key = StreamKey::root(self.seed).child(Purpose::Calibration);
        let (x, valid) = self.simulator.simulate(theta.view(), first_row as u64, key)?;
        let kept: Vec<usize> = (0..valid.len()).filter(|&row| valid[row]).collect();
        Ok((theta.select(Axis(0), &kept), x.select(Axis(0), &kept)))
    }
}

/// At most `count` rows, evenly spaced.
fn thinned(theta: ArrayView2<'_, f64>, count: usize) -> Array2<f64> {
    let spaced = theta.slice(s![..;(theta.nrows() / count).max(1), ..]);
    spaced.slice(s![..count.min(spaced.nrows()), ..]).to_owned()
}

/// By how many nats an observation `network` predicts pairs better than `local`, if it clearly does. Pairs at which one of them has no density do not count.
///
/// # Errors
/// When shapes do not fit, or a model has no density.
fn gain(network: &Model, local: &Model, (theta, x): &Pairs) -> Result<Option<f64>> {
    let mut gains = Vec::with_capacity(theta.nrows());
    for (theta, x) in theta.axis_chunks_iter(Axis(0), 1).zip(x.axis_chunks_iter(Axis(0), 1)) {
        let centred = network.centre("simulations", x.mapv(f64::from).view())?;
        let gain =
            network.log_likelihood(centred.view(), theta, &Silent)?[0] - local.log_likelihood(x, theta, &Silent)?[0];
        gains.extend(gain.is_finite().then_some(gain));
    }
    Ok(clear(&gains))
}

/// n Lᵀ E\[∇ log p(x|u)\] over pairs at draws of the network's posterior given n observations, with L Lᵀ its covariance: root mean square over directions, and what chance makes of it.
/// A likelihood that is right there has 0; one that extrapolates has not.
fn bias(network: &Model, (theta, x): &Pairs, posterior: ArrayView2<'_, f64>, n: usize) -> Result<(f64, f64)> {
    let PreparedModel::Likelihood(likelihood) = network.prepared() else { return Ok((f64::INFINITY, 0.0)) };
    let (latent, m) = (&network.trained().latent, theta.ncols());
    let draws: Vec<f64> = to_latent(latent, posterior).into_iter().collect();
    let (mean, covariance) = moments(&draws, m, None);
    let factor = Frame::new(mean, covariance)?.factor;
    let (mut workspace, mut local) = (likelihood.workspace(), Local::default());
    let (mut sum, mut squares) = (vec![0.0; m], vec![0.0; m]);
    let u = to_latent(latent, theta.view());
    for (u, x) in u.outer_iter().zip(x.axis_chunks_iter(Axis(0), 1)) {
        let centred = network.centre("simulations", x.mapv(f64::from).view())?;
        likelihood.evaluate(&likelihood.context(centred.view())?, &u.to_vec(), &mut workspace, &mut local);
        for a in 0..m {
            let score: f64 = (0..m).map(|i| factor[i * m + a] * local.gradients[i]).sum();
            sum[a] += score;
            squares[a] += score * score;
        }
    }
    let (rows, n) = (theta.nrows() as f64, n as f64);
    let size = sum.iter().map(|sum| (n * sum / rows).powi(2)).sum::<f64>() / m as f64;
    let variance = squares.iter().zip(&sum).map(|(square, sum)| square / rows - (sum / rows).powi(2)).sum::<f64>();
    Ok((size.sqrt(), n * (variance / (rows * m as f64)).sqrt()))
}

/// The mean, if it is clearly positive.
fn clear(gains: &[f64]) -> Option<f64> {
    let n = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / n;
    let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (gains.len() > 1 && mean > CLEARLY * (variance / n).sqrt()).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clear_gains_count() {
        let gains = |shift: f64| (0..100).map(|i| shift + (f64::from(i) * 1.7).sin()).collect::<Vec<_>>();
        assert!(clear(&gains(0.05)).is_none() && clear(&gains(-1.0)).is_none() && clear(&[]).is_none());
        assert!((clear(&gains(0.5)).unwrap() - 0.5).abs() < 0.02);
    }
}
