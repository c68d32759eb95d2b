//! Which observations a fitted model finds implausible.

use crate::{Error, Model, Result};
use ndarray::{ArrayView2, s};
use tallsbi_data::{Monitor, Purpose, StreamKey};
use tallsbi_inference::model::PreparedModel;
use tallsbi_inference::notes::Note;

/// Draws of the posterior that replications are drawn at.
const DRAWS: usize = 400;

/// Probability that one of n plausible observations is called implausible, by chance.
const LEVEL: f64 = 0.05;

/// Observations at least from which a misfit is judged, and standard errors of their mean p-value that are one.
const ENOUGH: usize = 5;
const MISFIT: f64 = 4.0;

/// Mean p-value below which observations that share an error are a misfit.
const SELDOM: f64 = 0.001;

/// Standard deviation of a uniform distribution.
const UNIFORM_SD: f64 = 0.288_675_134_594_812_9;

/// Posterior predictive p-values of observations.
#[derive(Debug, Clone, PartialEq)]
pub struct Surprise {
    /// How probable an observation as improbable as each is, (n); NaN of those of which nothing is known.
    pub p_values: Vec<f64>,
    /// Whether observations share an error of the network, so that their p-values go together.
    pub together: bool,
}

impl Surprise {
    /// Observations with a p-value below 0.05/n, the smallest first: of n plausible ones any is among them in one data set of twenty.
    pub fn implausible(&self) -> Vec<usize> {
        let level = LEVEL / self.p_values.len() as f64;
        let mut found: Vec<usize> = (0..self.p_values.len()).filter(|&row| self.p_values[row] < level).collect();
        found.sort_by(|&a, &b| self.p_values[a].total_cmp(&self.p_values[b]));
        found
    }

    /// A note if the p-values' mean is not that of uniform ones: observations in other units, or of other noise, than the simulations. Where p-values go together, only if it is as small as
    /// that of one observation seldom is.
    pub fn misfit(&self) -> Option<Note> {
        let known: Vec<f64> = self.p_values.iter().copied().filter(|p| p.is_finite()).collect();
        let of = known.len();
        let mean = known.iter().sum::<f64>() / of as f64;
        let standard_error = UNIFORM_SD / (of as f64).sqrt();
        let misfit = if self.together { mean < SELDOM } else { (mean - 0.5).abs() > MISFIT * standard_error };
        (of >= ENOUGH && misfit).then_some(Note::Misfit { mean, of })
    }
}

/// So many observations are judged for a misfit.
const JUDGED: usize = 200;

impl Model {
    /// Whether the first of the observations (n, d) are such as the fitted model has, by their [p-values](Self::surprise) at samples (S, m) of the posterior; nothing of models that
    /// learned no likelihood.
    ///
    /// # Errors
    /// As [`Model::surprise`].
    pub fn misfit(
        &self,
        observations: ArrayView2<'_, f32>,
        theta: ArrayView2<'_, f64>,
        seed: u64,
        monitor: &dyn Monitor,
    ) -> Result<Option<Note>> {
        if self.trained().architecture() != "likelihood" {
            return Ok(None);
        }
        let first = observations.slice(s![..observations.nrows().min(JUDGED), ..]);
        Ok(self.surprise(first, theta, seed, monitor)?.misfit())
    }

    /// The posterior predictive p-value of each observation (n, d), [centred](Model::centre): the share of replications, drawn from the learned likelihood at
    /// samples (S, m) of the posterior, that are no more probable. Of samples with a rate of lapses it is about observations that are none.
    ///
    /// # Errors
    /// When the model did not learn a likelihood by networks, shapes do not fit, or the monitor asked to stop.
    pub fn surprise(
        &self,
        observations: ArrayView2<'_, f32>,
        theta: ArrayView2<'_, f64>,
        seed: u64,
        monitor: &dyn Monitor,
    ) -> Result<Surprise> {
        self.check_width("observations", observations.ncols())?;
        let PreparedModel::Likelihood(model) = self.prepared() else {
            let message = format!(
                "of architecture {} cannot replicate observations; train one of the likelihood",
                self.trained().architecture()
            );
            return Err(Error::Input { origin: "the model".into(), message });
        };
        let map = &self.trained().latent;
        let (rows, m) = (theta.nrows(), map.dim());
        if theta.ncols() < m || rows == 0 {
            let expected = format!("samples of the parameters {}", self.names().join(", "));
            return Err(Error::Shape { what: "theta".into(), expected, found: format!("{:?}", theta.dim()) });
        }
        let count = rows.min(DRAWS);
        let mut latent = vec![0.0; count * m];
        for (draw, out) in latent.chunks_exact_mut(m).enumerate() {
            map.to_latent(&theta.slice(s![draw * rows / count, ..m]).to_vec(), out);
        }
        let key = StreamKey::root(seed).child(Purpose::Replication);
        Ok(Surprise { p_values: model.p_values(observations, &latent, key, monitor)?, together: model.shares_error() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Independent p-values have a mean of ½; those that go together may have any but a tiny one.
    #[test]
    fn p_values_that_go_together_are_a_misfit_where_they_are_tiny() {
        let misfit = |p: f64, together: bool| Surprise { p_values: vec![p; 30], together }.misfit().is_some();
        assert!(misfit(0.95, false) && misfit(1e-4, false) && !misfit(0.5, false));
        assert!(!misfit(0.95, true) && !misfit(0.05, true) && misfit(1e-4, true));
    }
}
