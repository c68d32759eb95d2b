//! Densities of observations at one θ, whose parameters the networks gave.

use super::super::cells::term;
use super::super::observed::{Group, Observed};
use super::{LikelihoodModel, RowScratch};

impl LikelihoodModel {
    /// Σ_j log p(x_j|θ) of an expanded row; leaves its gradient with respect to the outputs in `row.slope`.
    pub(in super::super) fn log_likelihood(&self, group: &Group, row: &mut RowScratch) -> f64 {
        let mut value = 0.0;
        for (i, observed) in group.observed.iter().enumerate() {
            let part = self.log_likelihood_of(observed, row);
            value = if i == 0 { part } else { value + part };
        }
        value
    }

    /// The same of one part of them, its gradient added.
    pub(in super::super) fn log_likelihood_of(&self, observed: &Observed, row: &mut RowScratch) -> f64 {
        let (layout, d) = (self.layout, self.layout.dim);
        let RowScratch { mixture, slope, each, .. } = row;
        match observed {
            Observed::Points(points) => points.chunks(d).map(|x| layout.accumulate(x, 1.0, mixture, Some(slope))).sum(),
            Observed::Shared(sample) => layout.accumulate_shared(sample, 1.0, mixture, Some(slope)),
            Observed::Mixed(blocks, points) => {
                each.clear();
                each.resize(blocks.len() * slope.len(), 0.0);
                let rows = blocks.iter().zip(points.chunks(d)).zip(each.chunks_exact_mut(layout.outputs()));
                let value =
                    rows.map(|((&block, y), own)| layout.accumulate_mixed(block, y, 1.0, mixture, Some(own))).sum();
                for own in each.chunks_exact(layout.outputs()) {
                    slope.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
                }
                value
            }
            Observed::Intervals(cells) => {
                cells.chunks(d).map(|x| layout.accumulate_intervals(x, 1.0, mixture, Some(slope))).sum()
            }
            Observed::Moments { n, mean, scatter } => {
                let value = n * layout.accumulate(mean, *n, mixture, Some(slope));
                let spread = scatter.as_ref().map(|scatter| layout.accumulate_scatter(scatter, mixture, slope));
                value + spread.unwrap_or(0.0)
            }
            Observed::Columns(columns) => {
                let component = &mixture.components[0];
                let (means, factors) = slope.split_at_mut(d);
                let mut value = 0.0;
                for (i, column) in columns.iter().enumerate() {
                    for &(interval, count) in column {
                        let term = term(interval, component.mean[i], component.factor[i]);
                        value += count * term.value;
                        means[i] += count * term.mean;
                        factors[i] += count * term.log_precision;
                    }
                }
                value
            }
        }
    }
}
