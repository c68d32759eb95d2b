//! Fisher information of fitted densities: the metric of moves.

use super::super::density::MixtureLayout;
use super::super::missing::Hidden;
use super::super::shared::SharedTangent;
use super::{LikelihoodModel, RowScratch};
use crate::small_matrix::dot;
use crate::tempering::Likelihood;
use tallsbi_data::SignedPermutation;

impl LikelihoodModel {
    /// n Σ_c w_c F_c, F_c the Fisher information of component c: ∂_aμᵀ P ∂_bμ + ½ tr(P⁻¹ ∂_aP P⁻¹ ∂_bP), P = L Lᵀ. With
    /// A_a = L⁻¹ ∂_aL the trace is that of (A_a + A_aᵀ)(A_b + A_bᵀ). Of cells, the sum of the columns' information; of Student t their own. An upper bound for mixtures whose components overlap.
    ///
    /// Where values are missing, P is that of the others' marginal, and rows of A_a of missing values are left out (exact for diagonal factors).
    pub(super) fn information(&self, patterns: &[Hidden], tangents: &[f32], row: &mut RowScratch, out: &mut [f64]) {
        let (layout, d, m) = (self.layout, self.layout.dim, self.dim_theta());
        if layout.mixed.is_some() {
            return empirical_information(tangents, &row.each, layout.outputs(), out);
        }
        out.fill(0.0);
        row.whitened.resize(m * d, 0.0);
        if layout.shared {
            return self.information_of_shared(patterns, tangents, row, out);
        }
        for (index, c) in (0..patterns.len()).flat_map(|index| (0..layout.components).map(move |c| (index, c))) {
            let (hidden, n) = (&patterns[index], row.counts[index]);
            let weight = n * layout.log_weight(&row.mixture, c).exp();
            let entries = self.whiten_tangents(hidden, c, tangents, row);
            let RowScratch { whitened, relative, tails, tail_tangents, .. } = row;
            for a in 0..m {
                for b in 0..=a {
                    let mut value = dot(&whitened[a * d..(a + 1) * d], &whitened[b * d..(b + 1) * d])
                        + dot(&relative[a * entries..(a + 1) * entries], &relative[b * entries..(b + 1) * entries]);
                    for (group, tail) in tails.iter().enumerate() {
                        let of = |parameter: usize| tail_tangents[parameter * tails.len() + group];
                        value += tail.product(of(a), of(b));
                    }
                    out[a * m + b] += weight * value;
                    out[b * m + a] = out[a * m + b];
                }
            }
        }
    }

    /// The same of observations that share the network's error; where values are missing, of the others' marginal as above.
    fn information_of_shared(&self, patterns: &[Hidden], tangents: &[f32], row: &mut RowScratch, out: &mut [f64]) {
        let (layout, d, m, outputs) = (self.layout, self.layout.dim, self.dim_theta(), self.layout.outputs());
        let Some(hidden) = patterns.first() else { return };
        let (n, seen) = (row.counts[0], d - hidden.columns().len());
        let entries = self.whiten_tangents(hidden, 0, tangents, row);
        let of = |a: usize| SharedTangent {
            mean: &row.whitened[a * d..(a + 1) * d],
            relative: &row.relative[a * entries..(a + 1) * entries],
            outputs: &tangents[a * outputs..(a + 1) * outputs],
        };
        for (a, b) in (0..m).flat_map(|a| (0..=a).map(move |b| (a, b))) {
            out[a * m + b] = layout.shared_information(&row.mixture.components[0], (n, seen), [of(a), of(b)]);
            out[b * m + a] = out[a * m + b];
        }
    }

    /// Leaves in `row` what the information of component c is made of, scalar products of `whitened` and of `relative`; returns the length of a row of the
    /// latter.
    fn whiten_tangents(&self, hidden: &Hidden, c: usize, tangents: &[f32], row: &mut RowScratch) -> usize {
        let (layout, d, m) = (self.layout, self.layout.dim, self.dim_theta());
        let RowScratch { mixture, whitened, relative, tangent, roots, tails, tail_tangents, .. } = row;
        let factor = &mixture.components[c].factor;
        let entries = factor.len();
        relative.resize(m * entries, 0.0);
        let at = layout.mean_offset(c);
        if let Some(cells) = &self.cells {
            let parameters = mixture.components[c].mean.iter().zip(factor).enumerate();
            roots.clear();
            roots.extend(parameters.map(|(i, (&mean, &precision))| cells.information_root(i, mean, precision)));
        }
        let mut hidden = hidden.clone();
        hidden.condition(layout, factor);
        layout.tail_informations(&mixture.components[c].tails, &hidden, tails);
        tail_tangents.clear();
        for (a, line) in tangents.chunks(layout.outputs()).enumerate() {
            tangent.clear();
            tangent.extend(line[at..at + d].iter().map(|&value| f64::from(value)));
            if !hidden.is_empty() {
                hidden.complete(layout, factor, tangent);
            }
            layout.whiten(factor, tangent, &mut whitened[a * d..(a + 1) * d]);
            let own = &mut relative[a * entries..(a + 1) * entries];
            own.iter_mut().zip(&line[at + d..]).for_each(|(out, &value)| *out = f64::from(value));
            if self.cells.is_some() {
                hidden.columns().iter().for_each(|&i| own[i] = 0.0);
                weigh(roots, &mut whitened[a * d..(a + 1) * d], own);
            } else {
                relative_factor(layout, factor, own);
                let rows = hidden
                    .columns()
                    .iter()
                    .map(|&i| layout.row_offset(i)..layout.row_offset(i) + layout.columns(i).len());
                rows.for_each(|row| own[row].fill(0.0));
            }
            let own = (&mut whitened[a * d..(a + 1) * d], own);
            let of_freedom = &line[layout.tail_offset(c)..];
            layout.weigh_tails((&mixture.components[c].tails, tails), of_freedom, own, tail_tangents);
        }
        entries
    }
}

/// Σ_j g_j g_jᵀ of the observations' own gradients, given their `slopes` with respect to the outputs: the empirical information, for densities whose own
/// has no closed form.
fn empirical_information(tangents: &[f32], slopes: &[f64], outputs: usize, out: &mut [f64]) {
    let m = tangents.len() / outputs;
    let tangents: Vec<f64> = tangents.iter().map(|&tangent| f64::from(tangent)).collect();
    let mut gradient = vec![0.0; m];
    out.fill(0.0);
    for slope in slopes.chunks_exact(outputs) {
        for (gradient, tangent) in gradient.iter_mut().zip(tangents.chunks_exact(outputs)) {
            *gradient = long_dot(slope, tangent);
        }
        for (a, row) in gradient.iter().zip(out.chunks_exact_mut(m)) {
            row.iter_mut().zip(&gradient).for_each(|(sum, b)| *sum += a * b);
        }
    }
}

/// x · y by eight sums side by side: twenty outputs and more are worth vector instructions.
fn long_dot(x: &[f64], y: &[f64]) -> f64 {
    const SUMS: usize = 8;
    let mut sums = [0.0; SUMS];
    let (x, y) = (x.chunks_exact(SUMS), y.chunks_exact(SUMS));
    let rest = dot(x.remainder(), y.remainder());
    for (x, y) in x.zip(y) {
        for k in 0..SUMS {
            sums[k] += x[k] * y[k];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// From τ ∂μ and ∂ log τ of each column to Rᵀ (τ ∂μ, ∂ log τ), R the root of the column's information.
fn weigh(roots: &[[f64; 3]], whitened: &mut [f64], relative: &mut [f64]) {
    for ((root, mean), log) in roots.iter().zip(whitened).zip(relative) {
        *mean = root[0] * *mean + root[1] * *log;
        *log *= root[2];
    }
}

/// From the tangent of the outputs (∂L by rows, its diagonal as ∂ log L_ii) to L⁻¹ ∂L with the diagonal times √2, so that the
/// scalar product of two is half the trace.
fn relative_factor(layout: MixtureLayout, factor: &[f64], tangent: &mut [f64]) {
    if layout.columns(layout.dim - 1).len() > 1 {
        // Forward substitution by rows of the packed triangle: (L⁻¹ ∂L)_ik = (∂L_ik - Σ_{k≤j<i} L_ij (L⁻¹∂L)_jk) / L_ii.
        let start = |i: usize| i * (i + 1) / 2;
        for i in 0..layout.dim {
            let own = &factor[start(i)..=start(i) + i];
            let (done, rest) = tangent.split_at_mut(start(i));
            let row = &mut rest[..i];
            for (j, l) in own[..i].iter().enumerate() {
                let above = &done[start(j)..=start(j) + j];
                row[..=j].iter_mut().zip(above).for_each(|(out, value)| *out -= l * value);
            }
            row.iter_mut().for_each(|value| *value /= own[i]);
        }
        // Only now: the substitution needs the diagonal as it is.
        for i in 0..layout.dim {
            tangent[start(i) + i] *= std::f64::consts::SQRT_2;
        }
    } else {
        tangent.iter_mut().for_each(|value| *value *= std::f64::consts::SQRT_2);
    }
}

/// From derivatives at the image of a point to those at the point.
pub(super) fn transpose(image: &SignedPermutation, gradient: &mut [f64], information: &mut [f64]) {
    let m = gradient.len();
    let own = gradient.to_vec();
    image.apply_transposed(&own, gradient);
    let own = information.to_vec();
    let mut row = vec![0.0; m];
    for (i, from) in own.chunks_exact(m).enumerate() {
        image.apply_transposed(from, &mut row);
        let sign = if image.negate[i] { -1.0 } else { 1.0 };
        let to = &mut information[image.source[i] * m..][..m];
        to.iter_mut().zip(&row).for_each(|(out, value)| *out = sign * value);
    }
}
