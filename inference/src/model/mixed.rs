//! Categories together with real numbers: p(c, y | θ) = p(c | θ) p(y | c, θ), in one softmax over all components of all categories.
//!
//! Choices with response times, responses with confidences: columns of few whole numbers say which block of components the real columns y
//! of the same observation come from, so that the category's probability is the sum of its block's weights and y depends on it in any way. Which real columns are at an
//! [atom](super::atoms) is a part of the category, the last one.
//!
//! Real columns may be seen through z = sinh(κ u)/κ with u = log softplus((y - s)/δ), whose edge s, width δ and power κ are outputs of the network
//! like means and precisions are: log-normal for small κ with an onset that moves with θ, a Birnbaum–Saunders distribution (that of a first
//! passage, nearly) at κ = ½. Softplus in place of y - s keeps a density, if next to none, beyond an edge that is not quite where the network has it.

use super::atoms::SeenAtoms;
use super::density::{Block, MixtureLayout, MixtureScratch};
use super::observation_map::ObservationMap;
use crate::{InferenceError, Result};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Most values of a column of categories, and most categories of an observation: each has a block of components of its own.
const MOST_VALUES: f32 = 8.0;
const MOST_CATEGORIES: usize = 8;

/// Numbers of a column's edge: s, log δ, log κ.
pub(super) const EDGE_OUTPUTS: usize = 3;

/// Where edges start, in standard deviations below the lowest value seen, and the power they start with.
const START: (f32, f32) = (0.25, 0.5);

/// Bounds of log κ; beyond u = LARGEST/κ the map goes on linearly.
const LOG_POWER: (f64, f64) = (-6.0, 1.5);
const LARGEST: f64 = 12.0;

/// Bounds of log δ.
const LOG_WIDTH: f64 = 8.0;

/// Below this (y - s)/δ, softplus is an exponential to all digits.
const FAR_BELOW: f64 = -30.0;

/// What a mixture has beside its components where categories are seen with real numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixed {
    /// Categories, each with as many of the components.
    pub categories: usize,
    /// Whether real columns have edges.
    pub edges: bool,
}

/// Which columns of an observation are categories, and which are real numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Categories {
    /// Lowest value and number of values of each column of categories.
    columns: Vec<Option<(f64, usize)>>,
    atoms: Option<SeenAtoms>,
    mean: Vec<f64>,
    sd: Vec<f64>,
    constant: f64,
}

impl Categories {
    /// Of a training set with both kinds of columns, or with atoms, and no more categories than can have components of their own; none otherwise. Counts of
    /// many values beside them are spread over their cells, and taken for real numbers.
    pub fn new(map: &ObservationMap) -> Option<Self> {
        let column = |i: usize| {
            let values = map.highest.get(i)? - map.lowest.get(i)? + 1.0;
            let few = map.counts[i] && (2.0..=MOST_VALUES).contains(&values);
            few.then(|| (f64::from(map.lowest[i]), values as usize))
        };
        let columns: Vec<_> = (0..map.dim()).map(column).collect();
        let atoms = SeenAtoms::new(map);
        let some = columns.iter().any(Option::is_some) || atoms.is_some();
        let real = (0..map.dim()).any(|i| map.sd[i] > 0.0 && !map.counts.get(i).copied().unwrap_or(false));
        // Masses in units of the density of standardised, spread numbers without ½ log 2π, as those of cells.
        let unit = |sd: f32| f64::from(sd).ln() + 0.5 * (2.0 * PI).ln();
        let constant =
            columns.iter().zip(&map.sd).filter(|(column, _)| column.is_some()).map(|(_, &sd)| unit(sd)).sum();
        let widen = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        let categories = Self { columns, atoms, mean: widen(&map.mean), sd: widen(&map.sd), constant };
        (some && real && categories.count() <= MOST_CATEGORIES).then_some(categories)
    }

    /// Number of categories.
    pub fn count(&self) -> usize {
        self.columns.iter().flatten().map(|(_, values)| values).product::<usize>() * self.patterns()
    }

    /// Patterns of atoms.
    fn patterns(&self) -> usize {
        self.atoms.as_ref().map_or(1, SeenAtoms::patterns)
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.columns.len()
    }

    /// Whether a column is one of categories.
    pub fn has(&self, column: usize) -> bool {
        self.columns[column].is_some()
    }

    /// How many values a column of categories has.
    pub fn values(&self, column: usize) -> Option<usize> {
        self.columns[column].map(|(_, values)| values)
    }

    /// Columns of real numbers.
    pub fn real(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.columns.len()).filter(|&column| !self.has(column))
    }

    /// Standardised values (d) of which those at an atom are missing, NaN, and the share of the patterns of atoms that are possible.
    pub fn apart(&self, features: &[f64]) -> (Vec<f64>, f64) {
        let Some(atoms) = &self.atoms else { return (features.to_vec(), 1.0) };
        (atoms.apart(features), atoms.possible(features).len() as f64 / atoms.patterns() as f64)
    }

    /// The real columns among standardised values (d), as far as they are at no atom; those that end above with the other sign, so that their edge is below.
    pub fn real_values(&self, features: &[f64]) -> Vec<f64> {
        match &self.atoms {
            None => self.real().map(|column| features[column]).collect(),
            Some(atoms) => {
                let apart = atoms.apart(features);
                self.real().map(|column| self.sign(column) * apart[column]).collect()
            }
        }
    }

    /// -1 for a column that ends above.
    fn sign(&self, column: usize) -> f64 {
        if self.atoms.as_ref().is_some_and(|atoms| atoms.above(column)) { -1.0 } else { 1.0 }
    }

    /// Where each real column starts, given the `ranges` of standardised values (d).
    pub fn starts(&self, ranges: &[[f32; 2]]) -> impl Iterator<Item = f32> {
        self.real().map(|column| if self.sign(column) < 0.0 { -ranges[column][1] } else { ranges[column][0] })
    }

    /// What makes the logarithm of a category's probability comparable with the density of its standardised values.
    pub fn constant(&self) -> f64 {
        self.constant
    }

    /// The categories that standardised values (d) may be of: one, or all that missing values leave possible. Numbers not in the training set count as the
    /// nearest.
    fn categories(&self, features: &[f64]) -> Vec<usize> {
        let columns = self.columns.iter().enumerate().filter_map(|(i, column)| column.map(|column| (i, column)));
        let categories = columns.fold(vec![0], |categories, (i, (lowest, values))| {
            let value = (features[i] * self.sd[i] + self.mean[i] - lowest).round();
            let last = values - 1;
            let seen = if value.is_nan() {
                0..=last
            } else {
                let at = value.clamp(0.0, last as f64) as usize;
                at..=at
            };
            categories.iter().flat_map(|category| seen.clone().map(move |value| category * values + value)).collect()
        });
        let Some(atoms) = &self.atoms else { return categories };
        let patterns = atoms.possible(features);
        let with = |category: usize| patterns.iter().map(move |pattern| category * atoms.patterns() + pattern);
        categories.into_iter().flat_map(with).collect()
    }

    /// The components of `layout` that standardised values (d) may come from.
    pub fn possible(&self, layout: &MixtureLayout, features: &[f64]) -> Block {
        let block = |category: usize| layout.block_of(category).0;
        Block(self.categories(features).into_iter().fold(0, |bits, category| bits | block(category)))
    }

    /// Standardised values (d) of a category and real columns.
    pub fn complete(&self, category: usize, real: &[f64]) -> Vec<f64> {
        let mut features = vec![0.0; self.dim()];
        self.real().zip(real).for_each(|(column, &value)| features[column] = self.sign(column) * value);
        if let Some(atoms) = &self.atoms {
            atoms.put(category % self.patterns(), &mut features);
        }
        let mut left = category / self.patterns();
        for (i, column) in self.columns.iter().enumerate().rev() {
            if let Some((lowest, values)) = column {
                features[i] = ((left % values) as f64 + lowest - self.mean[i]) / self.sd[i];
                left /= values;
            }
        }
        features
    }

    /// Checks that categories are whole numbers in the observations `x` (n, d).
    ///
    /// # Errors
    /// Naming the first that is not.
    pub fn check(&self, x: ArrayView2<'_, f32>) -> Result<()> {
        let fault =
            x.indexed_iter().find(|&((_, column), value)| self.has(column) && !value.is_nan() && value.fract() != 0.0);
        let Some(((row, column), &value)) = fault else { return Ok(()) };
        Err(InferenceError::ObservationNotWhole { row, column, value })
    }
}

/// A column's map at one value: z and log dz/dy, with their derivatives by (s, log δ, log κ).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Seen {
    z: f64,
    log_slope: f64,
    by_edge: [f64; EDGE_OUTPUTS],
    slope_by_edge: [f64; EDGE_OUTPUTS],
}

fn see(y: f64, [edge, log_width, log_power]: [f64; EDGE_OUTPUTS]) -> Seen {
    let (width, power) = (log_width.exp(), log_power.exp());
    let r = (y - edge) / width;
    // Softplus p, u = log p, h = u' and the logistic function.
    let (u, h, logistic) = if r < FAR_BELOW {
        (r, 1.0, r.exp())
    } else {
        let p = r.max(0.0) + (-r.abs()).exp().ln_1p();
        let logistic = 1.0 / (1.0 + (-r).exp());
        (p.ln(), logistic / p, logistic)
    };
    let bounded = (power * u).clamp(-LARGEST, LARGEST);
    let (sinh, cosh) = (bounded.sinh(), bounded.cosh());
    let z = (sinh + cosh * (power * u - bounded)) / power;
    let bend = if bounded == power * u { bounded.tanh() } else { 0.0 };
    // By r: that of u, and that of log cosh + log h.
    let slope_by_r = power * bend * h + 1.0 - logistic - h;
    Seen {
        z,
        log_slope: cosh.ln() + h.ln() - log_width,
        by_edge: [-cosh * h / width, -cosh * h * r, cosh * u - z],
        slope_by_edge: [-slope_by_r / width, -slope_by_r * r - 1.0, power * u * bend],
    }
}

/// The y that is seen at z.
fn unsee(z: f64, [edge, log_width, log_power]: [f64; EDGE_OUTPUTS]) -> f64 {
    let power = log_power.exp();
    let scaled = power * z;
    let largest = LARGEST.sinh();
    let beyond = scaled - scaled.clamp(-largest, largest);
    let u = ((scaled - beyond).asinh() + beyond / LARGEST.cosh()) / power;
    // The inverse of softplus at p = e^u, log(e^p - 1).
    let p = u.exp();
    let r = if p > -FAR_BELOW {
        p
    } else if u < FAR_BELOW {
        u
    } else {
        p.exp_m1().ln()
    };
    edge + log_width.exp() * r
}

impl MixtureLayout {
    /// From what is seen of real columns to their standardised values.
    pub(super) fn undo_edges(&self, scratch: &MixtureScratch, values: &mut [f64]) {
        values.iter_mut().zip(&scratch.edges).for_each(|(value, &edge)| *value = unsee(*value, edge));
    }

    /// Components of each category.
    pub fn block(&self) -> usize {
        self.components / self.mixed.map_or(1, |mixed| mixed.categories)
    }

    /// The components of a category.
    pub fn block_of(&self, category: usize) -> Block {
        Block::range(category * self.block()..(category + 1) * self.block())
    }

    pub(super) fn edge_outputs(&self) -> usize {
        self.mixed.map_or(0, |mixed| if mixed.edges { EDGE_OUTPUTS * self.dim } else { 0 })
    }

    /// Where the edges' numbers start in the outputs.
    pub fn edge_offset(&self) -> usize {
        self.outputs() - self.edge_outputs()
    }

    /// Initial biases of edges for columns with these lowest standardised values.
    pub fn start_edges(&self, bias: &mut [f32], lowest: impl Iterator<Item = f32>) {
        let edges = &mut bias[self.edge_offset()..];
        for (edge, lowest) in edges.chunks_exact_mut(EDGE_OUTPUTS).zip(lowest) {
            edge.copy_from_slice(&[lowest - START.0, 0.0, START.1.ln()]);
        }
    }

    /// The edges' numbers within their bounds.
    pub(super) fn expand_edges(&self, outputs: &[f32], edges: &mut Vec<[f64; EDGE_OUTPUTS]>) {
        edges.clear();
        edges.extend(outputs[self.edge_offset()..].chunks_exact(EDGE_OUTPUTS).map(|edge| {
            let [edge, width, power] = [edge[0], edge[1], edge[2]].map(f64::from);
            [edge, width.clamp(-LOG_WIDTH, LOG_WIDTH), power.clamp(LOG_POWER.0, LOG_POWER.1)]
        }));
    }

    /// log p(c, y) under the expanded row of the categories c with components `block`, marginal where `y` is NaN, without ½ log 2π a column; adds
    /// `weight` times its gradient with respect to the outputs.
    pub fn accumulate_mixed(
        &self,
        block: Block,
        y: &[f64],
        weight: f64,
        scratch: &mut MixtureScratch,
        gradient: Option<&mut [f64]>,
    ) -> f64 {
        if self.edge_outputs() == 0 {
            return self.accumulate_block(block, y, weight, scratch, gradient);
        }
        let missing = Seen { z: f64::NAN, ..Seen::default() };
        let see = |y: f64, edge| if y.is_nan() { missing } else { see(y, edge) };
        let (mut seen, mut z) = (std::mem::take(&mut scratch.seen), std::mem::take(&mut scratch.z));
        seen.clear();
        seen.extend(y.iter().zip(&scratch.edges).map(|(&y, &edge)| see(y, edge)));
        z.clear();
        z.extend(seen.iter().map(|seen| seen.z));
        let slopes: f64 = seen.iter().map(|seen| seen.log_slope).sum();
        let value = slopes
            + match gradient {
                Some(gradient) => self.accumulate_seen(block, (&seen, &z), weight, scratch, gradient),
                None => self.accumulate_block(block, &z, weight, scratch, None),
            };
        (scratch.seen, scratch.z) = (seen, z);
        value
    }

    /// The same of columns as they are seen, without their slopes' logarithms, with the gradient.
    fn accumulate_seen(
        &self,
        block: Block,
        (seen, z): (&[Seen], &[f64]),
        weight: f64,
        scratch: &mut MixtureScratch,
        gradient: &mut [f64],
    ) -> f64 {
        let mut own = std::mem::take(&mut scratch.own);
        own.clear();
        own.resize(self.outputs(), 0.0);
        let value = self.accumulate_block(block, z, 1.0, scratch, Some(&mut own));
        for (i, seen) in seen.iter().enumerate() {
            // Moving z is moving all means the other way.
            let within = (0..self.components).filter(|&c| block.contains(c));
            let by_z = -within.map(|c| own[self.mean_offset(c) + i]).sum::<f64>();
            for k in 0..EDGE_OUTPUTS {
                own[self.edge_offset() + EDGE_OUTPUTS * i + k] = by_z * seen.by_edge[k] + seen.slope_by_edge[k];
            }
        }
        gradient.iter_mut().zip(&own).for_each(|(sum, slope)| *sum += weight * slope);
        scratch.own = own;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Covariance;
    use ndarray::Array3;

    const LAYOUT: MixtureLayout = MixtureLayout {
        components: 4,
        dim: 2,
        covariance: Covariance::Full,
        cells: false,
        mixed: Some(Mixed { categories: 2, edges: true }),
        tails: false,
        shared: false,
    };

    fn outputs(layout: MixtureLayout) -> Vec<f32> {
        (0..layout.outputs()).map(|i| 0.4 * (i as f32 * 1.7 + 0.3).sin()).collect()
    }

    fn density(layout: MixtureLayout, outputs: &[f32], category: usize, y: &[f64], slope: Option<&mut [f64]>) -> f64 {
        let mut scratch = MixtureScratch::default();
        layout.expand(outputs, &mut scratch);
        layout.accumulate_mixed(layout.block_of(category), y, 1.0, &mut scratch, slope)
    }

    #[test]
    fn gradient_is_the_finite_difference() {
        let plain = MixtureLayout { mixed: Some(Mixed { categories: 2, edges: false }), ..LAYOUT };
        for (layout, category, y) in [(LAYOUT, 0, [0.3, -0.7]), (LAYOUT, 1, [2.0, -45.0]), (plain, 1, [0.3, -0.7])] {
            let outputs = outputs(layout);
            let mut gradient = vec![0.0; layout.outputs()];
            let value = density(layout, &outputs, category, &y, Some(&mut gradient));
            for i in 0..layout.outputs() {
                let h = 1e-2f32;
                let at = |shift: f32| {
                    let mut moved = outputs.clone();
                    moved[i] += shift;
                    density(layout, &moved, category, &y, None)
                };
                let h2 = 2.0 * f64::from(h);
                let numeric = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (6.0 * h2);
                let error = (numeric - gradient[i]).abs();
                assert!(error < 2e-5 * (1.0 + value.abs()), "{layout:?} {i}: {numeric} {}", gradient[i]);
            }
        }
    }

    /// Over both categories and all y, which a plain midpoint rule reaches since the edges are soft.
    #[test]
    fn density_integrates_to_one() {
        let layout = MixtureLayout { dim: 1, ..LAYOUT };
        let mut outputs = outputs(layout);
        outputs[layout.edge_offset()..].copy_from_slice(&[-0.5, -1.0, -1.0]);
        let step = 1e-3;
        let mut sum = 0.0;
        for category in 0..2 {
            for i in -20_000..200_000 {
                sum += density(layout, &outputs, category, &[f64::from(i) * step], None).exp() * step;
            }
        }
        let normalised = sum / (2.0 * PI).sqrt();
        assert!((normalised - 1.0).abs() < 1e-5, "{normalised}");
    }

    #[test]
    fn edges_are_undone() {
        for edge in [[-0.4, -1.0, -0.7], [0.3, 2.0, 1.0], [0.0, 0.0, -6.0]] {
            for y in [-60.0, -3.0, -0.4, 0.0, 0.1, 2.0, 40.0, 5000.0] {
                let found = unsee(see(y, edge).z, edge);
                assert!((found - y).abs() < 1e-9 * y.abs().max(1.0), "{edge:?}: {found} {y}");
            }
        }
    }

    /// Columns: -1, 0, 1; real numbers; 0, 1; a constant.
    #[test]
    fn categories_are_those_of_few_whole_numbers() {
        let column = |i: usize, j: usize| [(i % 3) as f32 - 1.0, i as f32 - 0.3, ((i / 3) % 2) as f32, 0.3][j];
        let x = Array3::from_shape_fn((400, 1, 4), |(i, _, j)| column(i, j));
        let map = ObservationMap::fit(x.view(), false).unwrap();
        let categories = Categories::new(&map).unwrap();
        assert_eq!((categories.count(), categories.real().collect::<Vec<_>>()), (6, vec![1, 3]));
        let category = |row: [f32; 4]| {
            let features = map.features(ndarray::arr2(&[row]).view()).unwrap();
            let found = categories.categories(&features.into_iter().map(f64::from).collect::<Vec<_>>());
            assert_eq!(found.len(), 1);
            found[0]
        };
        assert_eq!(category([-1.0, 0.0, 0.0, 0.3]), 0);
        assert_eq!(category([0.0, 5.0, 1.0, 0.3]), 3);
        assert_eq!(category([7.0, 5.0, 1.0, 0.3]), 5);
        // Without a real column, or with too many categories, there are none.
        assert!(Categories::new(&ObservationMap::fit(x.slice(ndarray::s![.., .., ..1]), false).unwrap()).is_none());
        let many = Array3::from_shape_fn((400, 1, 2), |(i, _, j)| if j == 0 { (i % 9) as f32 } else { 0.1 + i as f32 });
        assert!(Categories::new(&ObservationMap::fit(many.view(), false).unwrap()).is_none());
    }
}
