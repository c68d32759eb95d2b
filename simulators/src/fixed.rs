//! A task with some of its parameters fixed, as when JRNMM is studied at gain 0.

use crate::external::ModelSource;
use crate::task::as_inner;
use crate::{LogLikelihood, Result, Rows, TallLogLikelihood, Task};
use ndarray::{Array2, ArrayView2};
use tallsbi_data::{Location, Prior, SignalWindow, Stage, Symmetry, XTransform};

/// A task whose named parameters are held at given values and leave the prior.
pub struct FixedParameters {
    name: String,
    inner: Box<dyn Task>,
    prior: Prior,
    /// The inner task's parameters, with the fixed ones filled in.
    template: Vec<f64>,
    /// Inner column of each free parameter.
    free: Vec<usize>,
}

impl FixedParameters {
    /// `inner` under a new name, with each of `values` = (parameter, value) fixed.
    ///
    /// # Errors
    /// When a parameter does not exist, is named twice, none would be left, or it cannot be separated from the prior.
    pub fn new(name: &str, inner: Box<dyn Task>, values: &[(String, f64)]) -> Result<Self> {
        let mut prior = inner.prior().clone();
        let mut template = vec![0.0; prior.dim()];
        let mut free: Vec<usize> = (0..prior.dim()).collect();
        for (parameter, value) in values {
            let (rest, column) = prior.without(parameter)?;
            prior = rest;
            template[free.remove(column)] = *value;
        }
        Ok(Self { name: name.into(), inner, prior, template, free })
    }

    /// The inner task's parameters of rows.
    fn full(&self, rows: &Rows<'_>) -> Array2<f64> {
        let mut theta = Array2::zeros((rows.theta.nrows(), self.template.len()));
        for (mut full, given) in theta.outer_iter_mut().zip(rows.theta.outer_iter()) {
            full.iter_mut().zip(self.expand(given.iter().copied())).for_each(|(to, from)| *to = from);
        }
        theta
    }

    fn expand(&self, theta: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut full = self.template.clone();
        self.free.iter().zip(theta).for_each(|(&column, value)| full[column] = value);
        full
    }
}

impl Task for FixedParameters {
    as_inner! {
        description -> &str,
        dim_x -> usize,
        observation_names -> Vec<String>,
        x_transform -> XTransform,
        signal_window -> Option<SignalWindow>,
        source -> Option<&ModelSource>,
        failure -> Option<String>,
        preferred_batch -> usize,
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn parameter_units(&self) -> Vec<String> {
        let units = self.inner.parameter_units();
        self.free.iter().map(|&column| units[column].clone()).collect()
    }

    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<()> {
        rows.check(self, x, valid)?;
        self.inner.simulate_batch(&Rows { theta: self.full(rows).view(), ..*rows }, x, valid)
    }

    fn simulate_all(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8], stage: &Stage<'_>) -> Result<usize> {
        self.inner.simulate_all(&Rows { theta: self.full(rows).view(), ..*rows }, x, valid, stage)
    }

    fn log_likelihood(&self) -> Option<&dyn LogLikelihood> {
        self.inner.log_likelihood().map(|_| self as &dyn LogLikelihood)
    }

    fn symmetry(&self) -> Symmetry {
        let fixed: Vec<usize> = (0..self.template.len()).filter(|column| !self.free.contains(column)).collect();
        self.inner.symmetry().without(&fixed)
    }

    fn locations(&self) -> Vec<Location> {
        let free = |location: Location| {
            let parameter = self.free.iter().position(|&column| column == location.parameter)?;
            Some(Location { parameter, ..location })
        };
        self.inner.locations().into_iter().filter_map(free).collect()
    }
}

/// The inner likelihood of fixed observations, as a function of the free parameters.
struct FixedTall<'a> {
    task: &'a FixedParameters,
    inner: Box<dyn TallLogLikelihood + 'a>,
}

impl TallLogLikelihood for FixedTall<'_> {
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        let mut full = vec![0.0; self.task.template.len()];
        let value = self.inner.log_likelihood_gradient(&self.task.expand(theta.iter().copied()), &mut full);
        self.task.free.iter().zip(gradient).for_each(|(&column, out)| *out = full[column]);
        value
    }
}

impl LogLikelihood for FixedParameters {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        self.shrink(theta, gradient, |inner, theta, gradient| inner.log_likelihood_gradient(theta, x, gradient))
    }

    fn tall_log_likelihood_gradient(&self, theta: &[f64], x: ArrayView2<'_, f32>, gradient: &mut [f64]) -> f64 {
        self.shrink(theta, gradient, |inner, theta, gradient| inner.tall_log_likelihood_gradient(theta, x, gradient))
    }

    fn given(&self, x: ArrayView2<'_, f32>) -> Box<dyn TallLogLikelihood + '_> {
        // A task without likelihood does not hand this one out; a constant stands for it.
        struct Unknown;
        impl TallLogLikelihood for Unknown {
            fn log_likelihood_gradient(&self, _theta: &[f64], gradient: &mut [f64]) -> f64 {
                gradient.fill(0.0);
                f64::NAN
            }
        }
        match self.inner.log_likelihood() {
            Some(likelihood) => Box::new(FixedTall { task: self, inner: likelihood.given(x) }),
            None => Box::new(Unknown),
        }
    }

    fn integrates_missing(&self) -> bool {
        self.inner.log_likelihood().is_some_and(LogLikelihood::integrates_missing)
    }
}

impl FixedParameters {
    /// The inner likelihood at the expanded θ, with the free part of its gradient.
    fn shrink(
        &self,
        theta: &[f64],
        gradient: &mut [f64],
        inner: impl FnOnce(&dyn LogLikelihood, &[f64], &mut [f64]) -> f64,
    ) -> f64 {
        let Some(likelihood) = self.inner.log_likelihood() else {
            gradient.fill(0.0);
            return f64::NAN;
        };
        let mut full = vec![0.0; self.template.len()];
        let value = inner(likelihood, &self.expand(theta.iter().copied()), &mut full);
        self.free.iter().zip(gradient).for_each(|(&column, out)| *out = full[column]);
        value
    }
}
