//! A task whose observations are made under conditions: known quantities, such as a stimulus, a dose or a time, each observation's own.

use crate::external::ModelSource;
use crate::task::{as_inner, on_all_threads};
use crate::{LogLikelihood, Result, Rows, SimulatorError, Task};
use ndarray::{Array2, ArrayView2};
use std::sync::Arc;
use tallsbi_data::{Prior, Purpose, Stage, XTransform};

/// A task some of whose parameters are conditions: they leave the prior, differ from observation to observation, and are known. An observation is their
/// values, then what the inner task gives under them.
///
/// In simulations they are drawn from the distribution that was their prior, unless they are [given](Task::under).
pub struct ConditionedTask {
    inner: Arc<dyn Task>,
    prior: Prior,
    conditions: Prior,
    /// Inner columns of the parameters, then of the conditions.
    columns: Vec<usize>,
    given: Option<Array2<f64>>,
}

impl ConditionedTask {
    /// `inner` with these parameters as conditions.
    ///
    /// # Errors
    /// When one does not exist, is named twice, is drawn together with others, or no parameter would be left; when observations enter networks as
    /// logarithms and a condition has none.
    pub fn new(inner: Box<dyn Task>, names: &[String]) -> Result<Self> {
        let mut prior = inner.prior().clone();
        let mut free: Vec<usize> = (0..prior.dim()).collect();
        let (mut components, mut taken) = (Vec::new(), Vec::new());
        for name in names {
            let (rest, column) = prior.without(name)?;
            let own = prior.components().iter().find(|component| component.names().contains(name));
            components.extend(own.cloned());
            taken.push(free.remove(column));
            prior = rest;
        }
        let conditions = Prior::new(components)?;
        let positive = |(low, _): &(f64, f64)| *low >= 0.0;
        if inner.x_transform() == XTransform::Log && !conditions.support().iter().all(positive) {
            let message = format!(
                "its observations enter networks as logarithms, and the conditions {} may be negative; draw them from a positive distribution",
                names.join(", ")
            );
            return Err(SimulatorError::Option { task: inner.name().into(), message });
        }
        let columns = free.into_iter().chain(taken).collect();
        Ok(Self { inner: Arc::from(inner), prior, conditions, columns, given: None })
    }

    /// Conditions of the observations of rows, (N K, conditions), in single precision: what stands in files is what was simulated under.
    fn conditions_of(&self, rows: &Rows<'_>) -> Array2<f64> {
        let (total, count) = (rows.theta.nrows() * rows.n_obs, self.conditions.dim());
        let first = rows.first_row * rows.n_obs as u64;
        let key = rows.key.child(Purpose::Condition);
        let mut values = Array2::zeros((total, count));
        for (index, mut row) in values.outer_iter_mut().enumerate() {
            let number = first + index as u64;
            match &self.given {
                Some(given) => row.assign(&given.row((number % given.nrows() as u64) as usize)),
                None => {
                    let mut one = vec![0.0; count];
                    self.conditions.sample(&mut key.rng(number), &mut one);
                    row.iter_mut().zip(one).for_each(|(to, value)| *to = value);
                }
            }
            row.mapv_inplace(|value| f64::from(value as f32));
        }
        values
    }

    /// The inner task's parameters of each observation, (N K, m).
    fn full(&self, rows: &Rows<'_>, conditions: &Array2<f64>) -> Array2<f64> {
        let mut full = Array2::zeros((conditions.nrows(), self.columns.len()));
        for (index, mut row) in full.outer_iter_mut().enumerate() {
            let values = rows.theta.row(index / rows.n_obs).into_iter().chain(conditions.row(index)).copied();
            self.columns.iter().zip(values).for_each(|(&column, value)| row[column] = value);
        }
        full
    }

    /// Simulates each observation as a row of the inner task's by `simulate`.
    fn simulate(
        &self,
        rows: &Rows<'_>,
        (x, valid): (&mut [f32], &mut [u8]),
        simulate: &mut Simulate<'_>,
    ) -> Result<()> {
        rows.check(self, x, valid)?;
        let conditions = self.conditions_of(rows);
        let full = self.full(rows, &conditions);
        let (total, count, d) = (full.nrows(), conditions.ncols(), self.inner.dim_x());
        let (mut inner_x, mut inner_valid) = (vec![0.0; total * d], vec![0; total]);
        let first_row = rows.first_row * rows.n_obs as u64;
        let inner = Rows { theta: full.view(), n_obs: 1, key: rows.key, first_row };
        simulate(&inner, &mut inner_x, &mut inner_valid)?;
        let observed = inner_x.chunks_exact(d).zip(conditions.outer_iter());
        for (row, (inner, conditions)) in x.chunks_exact_mut(count + d).zip(observed) {
            row.iter_mut().zip(conditions).for_each(|(to, &value)| *to = value as f32);
            row[count..].copy_from_slice(inner);
        }
        for (valid, inner) in valid.iter_mut().zip(inner_valid.chunks_exact(rows.n_obs)) {
            *valid = u8::from(inner.iter().all(|&valid| valid != 0));
        }
        // Of a row that failed all observations are none; the conditions stay known.
        for (row, _) in x.chunks_exact_mut((count + d) * rows.n_obs).zip(&*valid).filter(|(_, valid)| **valid == 0) {
            row.chunks_exact_mut(count + d).for_each(|observation| observation[count..].fill(f32::NAN));
        }
        Ok(())
    }
}

/// Simulates rows into x and valid.
type Simulate<'a> = dyn FnMut(&Rows<'_>, &mut [f32], &mut [u8]) -> Result<()> + 'a;

impl Task for ConditionedTask {
    as_inner! {
        name -> &str,
        description -> &str,
        x_transform -> XTransform,
        source -> Option<&ModelSource>,
        failure -> Option<String>,
        preferred_batch -> usize,
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn parameter_units(&self) -> Vec<String> {
        let units = self.inner.parameter_units();
        self.columns[..self.prior.dim()].iter().map(|&column| units[column].clone()).collect()
    }

    fn observation_names(&self) -> Vec<String> {
        self.conditions.names().iter().cloned().chain(self.inner.observation_names()).collect()
    }

    fn conditions(&self) -> usize {
        self.conditions.dim()
    }

    fn under(&self, conditions: ArrayView2<'_, f32>) -> Result<Box<dyn Task>> {
        if conditions.ncols() != self.conditions.dim() || conditions.nrows() == 0 {
            let (expected, found) = (self.conditions.dim(), conditions.ncols());
            return Err(SimulatorError::Shape {
                task: self.name().into(),
                what: "a row of conditions",
                expected,
                found,
            });
        }
        Ok(Box::new(Self {
            inner: Arc::clone(&self.inner),
            prior: self.prior.clone(),
            conditions: self.conditions.clone(),
            columns: self.columns.clone(),
            given: Some(conditions.mapv(f64::from)),
        }))
    }

    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<()> {
        self.simulate(rows, (x, valid), &mut |rows, x, valid| self.inner.simulate_batch(rows, x, valid))
    }

    fn simulate_all(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8], stage: &Stage<'_>) -> Result<usize> {
        // The inner task counts observations; the caller's stage, rows.
        if rows.n_obs > 1 {
            return on_all_threads(self, rows, x, valid, stage);
        }
        self.simulate(rows, (x, valid), &mut |rows, x, valid| {
            self.inner.simulate_all(rows, x, valid, stage).map(|_| ())
        })?;
        Ok(valid.iter().filter(|&&valid| valid == 0).count())
    }

    fn log_likelihood(&self) -> Option<&dyn LogLikelihood> {
        self.inner.log_likelihood().map(|_| self as &dyn LogLikelihood)
    }
}

/// Of what is observed, given the conditions that an observation starts with.
impl LogLikelihood for ConditionedTask {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        let Some(inner) = self.inner.log_likelihood() else { return f64::NAN };
        let (conditions, observed) = x.split_at(self.conditions.dim());
        let (mut full, mut slope) = (vec![0.0; self.columns.len()], vec![0.0; self.columns.len()]);
        let values = theta.iter().copied().chain(conditions.iter().map(|&value| f64::from(value)));
        self.columns.iter().zip(values).for_each(|(&column, value)| full[column] = value);
        let value = inner.log_likelihood_gradient(&full, observed, &mut slope);
        gradient.iter_mut().zip(&self.columns).for_each(|(out, &column)| *out = slope[column]);
        value
    }
}
