//! Observations as a likelihood takes them: standardised, grouped by the conditions they were made under, and as far as there are any, their sufficient
//! statistics.

use super::cells::{Cells, Interval};
use super::density::{Block, MixtureLayout};
use super::missing::Hidden;
use super::mixed::Categories;
use super::observation_map::ObservationMap;
use super::shared::Sample;
use crate::{InferenceError, Result};
use ndarray::{ArrayView2, s};
use std::collections::BTreeMap;

/// How rows of conditions and of what was observed under them are standardised.
#[derive(Debug, Clone)]
pub struct Conditioned {
    conditions: Option<ObservationMap>,
    observed: ObservationMap,
}

impl Conditioned {
    /// Of rows whose first `conditions` values, fewer than all, are conditions.
    pub fn new(map: ObservationMap, conditions: usize) -> Self {
        if conditions == 0 {
            return Self { conditions: None, observed: map };
        }
        let (known, observed) = (map.columns(0..conditions), map.columns(conditions..map.dim()));
        Self { conditions: Some(known), observed }
    }

    /// Number of conditions.
    pub fn conditions(&self) -> usize {
        self.conditions.as_ref().map_or(0, ObservationMap::dim)
    }

    /// Of what is observed, (d).
    pub fn observed(&self) -> &ObservationMap {
        &self.observed
    }

    /// What is observed in the rows x (n, conditions + d).
    pub fn measured<'x>(&self, x: ArrayView2<'x, f32>) -> ArrayView2<'x, f32> {
        x.slice_move(s![.., self.conditions().min(x.ncols())..])
    }

    /// Standardised values (n, d) of rows x (n, conditions + d).
    ///
    /// # Errors
    /// As [`ObservationMap::features_or_missing`].
    pub fn features(&self, x: ArrayView2<'_, f32>) -> Result<Vec<f32>> {
        self.check(x)?;
        self.observed.features_or_missing(self.measured(x))
    }

    /// Standardised conditions that occur among rows x (n, conditions + d), each with its rows; without conditions all rows are one group.
    ///
    /// # Errors
    /// As [`ObservationMap::features`].
    pub fn groups(&self, x: ArrayView2<'_, f32>) -> Result<Vec<(Vec<f32>, Vec<usize>)>> {
        self.check(x)?;
        let Some(map) = &self.conditions else { return Ok(vec![(Vec::new(), (0..x.nrows()).collect())]) };
        let conditions = map.features(x.slice(s![.., ..map.dim()])).map_err(|error| match error {
            InferenceError::ObservationMissing { row } => InferenceError::ConditionMissing { row },
            other => other,
        })?;
        let mut groups = BTreeMap::<Vec<u32>, Vec<usize>>::new();
        for (row, condition) in conditions.chunks_exact(map.dim()).enumerate() {
            groups.entry(condition.iter().map(|value| value.to_bits()).collect()).or_default().push(row);
        }
        let values = |bits: Vec<u32>| bits.into_iter().map(f32::from_bits).collect();
        Ok(groups.into_iter().map(|(bits, rows)| (values(bits), rows)).collect())
    }

    fn check(&self, x: ArrayView2<'_, f32>) -> Result<()> {
        let expected = self.conditions() + self.observed.dim();
        if x.ncols() == expected {
            return Ok(());
        }
        Err(InferenceError::Shape {
            what: "observations",
            expected: format!("{expected} columns, as the model was trained on"),
            found: format!("{} columns", x.ncols()),
        })
    }
}

/// Standardised observations, as far as the likelihood needs them; those of which all values are missing are left out.
#[derive(Debug, Clone)]
pub struct LikelihoodContext {
    pub(super) groups: Vec<Group>,
}

/// Observations that were made under the same conditions.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Standardised conditions.
    pub(super) condition: Vec<f32>,
    pub(super) n: f64,
    /// Complete observations and others, where these are taken in different ways.
    pub(super) observed: Vec<Observed>,
    /// Which values are missing, and in how many observations.
    pub(super) patterns: Vec<Hidden>,
    pub(super) counts: Vec<f64>,
}

/// What a likelihood is evaluated for: n observations under one condition with these patterns of missing values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) condition: &'a [f32],
    pub(super) n: f64,
    pub(super) patterns: &'a [Hidden],
}

impl Group {
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { condition: &self.condition, n: self.n, patterns: &self.patterns }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Observed {
    /// Their number, mean (d) and Σ_j (x_j - x̄)(x_j - x̄)ᵀ (d, d), if n > 1: all that a single Gaussian needs.
    Moments { n: f64, mean: Vec<f64>, scatter: Option<Vec<f64>> },
    /// All of them, (n, d).
    Points(Vec<f64>),
    /// All of them, which share the network's error.
    Shared(Sample),
    /// The components that their categories leave (n), and their real columns (n, layout's d).
    Mixed(Vec<Block>, Vec<f64>),
    /// All of them as cells, (n, d).
    Intervals(Vec<Interval>),
    /// The different values of each column and how many observations have each: all that one Gaussian a column needs.
    Columns(Vec<Vec<(Interval, f64)>>),
}

impl Observed {
    pub(super) fn new(points: Vec<f64>, layout: MixtureLayout, cells: Option<&Cells>) -> Vec<Self> {
        let d = layout.dim;
        if layout.shared {
            return vec![Self::Shared(Sample::new(&points, d))];
        }
        let Some(cells) = cells else {
            if layout.components > 1 || layout.tails {
                return vec![Self::Points(points)];
            }
            let (complete, incomplete): (Vec<&[f64]>, _) =
                points.chunks(d).partition(|row| !row.iter().any(|value| value.is_nan()));
            let mut parts = Vec::new();
            if !complete.is_empty() {
                let (mean, scatter) = mean_and_scatter(&complete.concat(), d);
                parts.push(Self::Moments { n: complete.len() as f64, mean, scatter });
            }
            if !incomplete.is_empty() {
                parts.push(Self::Points(incomplete.concat()));
            }
            return parts;
        };
        if layout.components > 1 {
            return vec![Self::intervals(&points, cells)];
        }
        let column = |i: usize| {
            let mut values: Vec<f64> = points.iter().skip(i).step_by(d).copied().filter(|y| !y.is_nan()).collect();
            values.sort_by(f64::total_cmp);
            values.chunk_by(|a, b| a == b).map(|same| (cells.interval(i, same[0]), same.len() as f64)).collect()
        };
        vec![Self::Columns((0..d).map(column).collect())]
    }

    /// The mean of standardised real numbers (d), NaN where all of them miss a value; of the first where there are no moments.
    pub(super) fn mean(&self) -> &[f64] {
        match self {
            Self::Moments { mean, .. } => mean,
            Self::Shared(sample) => sample.mean(),
            Self::Points(points) | Self::Mixed(_, points) => points,
            Self::Intervals(_) | Self::Columns(_) => &[],
        }
    }

    pub(super) fn intervals(points: &[f64], cells: &Cells) -> Self {
        let rows = points.chunks(cells.dim());
        Self::Intervals(rows.flat_map(|row| (0..).zip(row).map(|(i, &y)| cells.interval(i, y))).collect())
    }

    pub(super) fn mixed(points: &[f64], layout: MixtureLayout, categories: &Categories) -> Self {
        let rows = || points.chunks(categories.dim());
        let real = rows().flat_map(|row| categories.real_values(row)).collect();
        Self::Mixed(rows().map(|row| categories.possible(&layout, row)).collect(), real)
    }
}

/// Which values are missing among the observations (n, d), and in how many.
pub(super) fn patterns(points: &[f64], d: usize) -> Vec<(Hidden, f64)> {
    let mut counts = BTreeMap::<Vec<usize>, f64>::new();
    for row in points.chunks(d) {
        *counts.entry((0..d).filter(|&i| row[i].is_nan()).collect()).or_default() += 1.0;
    }
    counts.into_iter().map(|(columns, count)| (Hidden::new(columns), count)).collect()
}

/// The mean of the rows (n, d), and their scatter about it.
fn mean_and_scatter(points: &[f64], d: usize) -> (Vec<f64>, Option<Vec<f64>>) {
    let n = points.len() / d;
    let mut mean = vec![0.0; d];
    for point in points.chunks(d) {
        mean.iter_mut().zip(point).for_each(|(sum, value)| *sum += value / n as f64);
    }
    if n == 1 {
        return (mean, None);
    }
    let mut scatter = vec![0.0; d * d];
    for point in points.chunks(d) {
        let residual: Vec<f64> = point.iter().zip(&mean).map(|(x, mean)| x - mean).collect();
        for (a, target) in residual.iter().zip(scatter.chunks_mut(d)) {
            target.iter_mut().zip(&residual).for_each(|(sum, b)| *sum += a * b);
        }
    }
    (mean, Some(scatter))
}
