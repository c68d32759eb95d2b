//! Runs of one problem side by side: what every table and figure of this report takes from them.

use crate::study::named_sampler::{NamedMethod, NamedSampler};
use crate::study::toy::paper::TABLE_CELL;
use crate::study::toy::{CellResults, ToyResults, ToyRun};
use std::collections::{BTreeMap, BTreeSet};
use tallsbi::inference::analytic::ToyProblem;

/// Mean and standard deviation over seeds; a single value has none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) sd: f64,
}

pub(super) fn spread(values: &[f64]) -> Spread {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Spread { mean, sd: if values.len() > 1 { variance.sqrt() } else { f64::NAN } }
}

/// Cells of one problem.
pub(super) struct Study<'a> {
    pub(super) problem: ToyProblem,
    pub(super) cells: Vec<&'a CellResults>,
}

impl<'a> Study<'a> {
    pub(super) fn new(problem: ToyProblem, results: &'a ToyResults) -> Self {
        Self { problem, cells: results.cells.iter().filter(|cell| cell.problem == problem).collect() }
    }

    pub(super) fn at(&self, m: usize, n: usize, amplitude: f64) -> Vec<&'a CellResults> {
        let here = |cell: &&CellResults| (cell.dimension, cell.n_obs) == (m, n) && cell.amplitude == amplitude;
        self.cells.iter().copied().filter(here).collect()
    }

    /// m, n and ε with the most samplers; the paper's where there are several.
    pub(super) fn table_cell(&self) -> (usize, usize, f64) {
        let place = |cell: &&&CellResults| {
            let at = (cell.dimension, cell.n_obs, cell.amplitude);
            (cell.runs.len(), at == TABLE_CELL)
        };
        self.cells.iter().max_by_key(place).map_or(TABLE_CELL, |cell| (cell.dimension, cell.n_obs, cell.amplitude))
    }

    pub(super) fn dimensions(&self) -> Vec<usize> {
        self.cells.iter().map(|cell| cell.dimension).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Values of ε in dimension m, increasing.
    pub(super) fn amplitudes(&self, m: usize) -> Vec<f64> {
        let cells = self.cells.iter().filter(|cell| cell.dimension == m);
        let bits: BTreeSet<u64> = cells.map(|cell| cell.amplitude.to_bits()).collect();
        bits.into_iter().map(f64::from_bits).collect()
    }

    pub(super) fn n_obs(&self, m: usize, amplitude: f64) -> Vec<usize> {
        let cells = self.cells.iter().filter(|cell| cell.dimension == m && cell.amplitude == amplitude);
        cells.map(|cell| cell.n_obs).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// For each method the number of steps that most cells have: the one to compare over n and ε with.
    pub(super) fn compared(&self) -> Vec<NamedSampler> {
        let mut counts: BTreeMap<NamedSampler, usize> = BTreeMap::new();
        for run in self.cells.iter().flat_map(|cell| &cell.runs) {
            *counts.entry(run.sampler).or_default() += 1;
        }
        let widest = counts.values().copied().max().unwrap_or(0);
        let of = |method: NamedMethod| {
            let candidates = counts.iter().filter(|(sampler, _)| sampler.method == method);
            let (sampler, count) = candidates.max_by_key(|(sampler, count)| (**count, sampler.steps))?;
            // What only the table has is no curve.
            (2 * count > widest).then_some(*sampler)
        };
        NamedMethod::ALL.into_iter().filter_map(of).collect()
    }
}

pub(super) fn of(cell: &CellResults, sampler: NamedSampler) -> Option<&ToyRun> {
    cell.runs.iter().find(|run| run.sampler == sampler)
}

pub(super) fn max_sliced(cells: &[&CellResults], sampler: NamedSampler) -> Vec<f64> {
    cells.iter().filter_map(|cell| Some(of(cell, sampler)?.distances?.max_sliced)).collect()
}

/// Times of `sampler` over that of LANGEVIN with `steps` steps in the same cell.
pub(super) fn time_ratios(cells: &[&CellResults], sampler: NamedSampler, steps: usize) -> Vec<f64> {
    let reference = NamedSampler::new(NamedMethod::Langevin, steps);
    cells.iter().filter_map(|cell| Some(of(cell, sampler)?.seconds / of(cell, reference)?.seconds)).collect()
}

pub(super) fn samplers(cells: &[&CellResults]) -> Vec<NamedSampler> {
    let all: BTreeSet<NamedSampler> = cells.iter().flat_map(|cell| cell.runs.iter().map(|run| run.sampler)).collect();
    let mut all: Vec<NamedSampler> = all.into_iter().collect();
    all.sort_by_key(|sampler| (sampler.steps, sampler.method));
    all
}

/// T of LANGEVIN that times are relative to: the paper's equivalent setting, or the largest there is.
pub(super) fn reference_steps(cells: &[&CellResults]) -> Option<usize> {
    let steps: Vec<usize> = samplers(cells)
        .into_iter()
        .filter(|sampler| sampler.method == NamedMethod::Langevin)
        .map(|sampler| sampler.steps)
        .collect();
    steps.iter().copied().find(|&steps| steps == 400).or(steps.last().copied())
}
