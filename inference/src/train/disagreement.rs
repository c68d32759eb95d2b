//! The error of an average of networks, each of which holds other rows out than the others.
//!
//! The networks' mean scores err by g_k(z) (see [`super::trust`]). A row i that network a holds out has the score s_a = ε + g_a under it, with noise ε that g_a does not know. Network b
//! was trained on the row: g_b has followed ε by E[ε · g_b] = -c (Efron 2004, *The estimation of prediction error*). With Δ = g_a - g_b at the same z,
//!
//! * E|Δ|² = 2 (e₁² - E[g_a · g_b]), e₁² the error of one network, and
//! * E[s_a · Δ] = e₁² - E[g_a · g_b] + c, so that c = E[s_a · Δ] - E|Δ|²/2.
//!
//! An average of K networks has e² = E|Δ|²/(2K) + E[g_a · g_b]. What networks err by in common is at least
//!
//! * c - E|Δ|²/2, if they differ by their rows alone and err elsewhere by all that they follow (least squares), and
//! * c/2, if they differ by where they started: a fit that follows a row's noise by the share s, in some direction, errs by s² elsewhere, so that E[g_a · g_b] = c Σs²/Σs, and networks
//!   follow few directions wholly ([`FOLLOWED`]).
//!
//! The larger is taken. No smoothness is asked of g. Scores whose *spread* is wrong do not count, for they do not move a posterior: Δ is the mean over observations drawn from network a at z ([`Committee`]).
//!
//! e² is by far not the same everywhere, and |Δ(z)|² tells where it is large: e²(z) = κ |Δ(z)|².

use super::data::{Split, TrainingData};
use crate::model::Committee;
use crate::small_matrix::dot;
use rayon::prelude::*;
use tallsbi_data::{Purpose, StreamKey};

/// Held-out rows of a network that are looked at.
const ROWS: usize = 2000;

/// Σs²/Σs: of Lotka–Volterra and SIR from 30 000 rows it is 0.45 and 0.53 (docs/lab/likelihood.md).
const FOLLOWED: f64 = 0.5;

/// Scores beyond so many standard deviations are bounded: single rows shall not decide.
const BOUND: f64 = 10.0;

/// e² and its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SquaredError {
    pub value: f64,
    pub error: f64,
}

/// What a held-out row says: s_a · Δ and |Δ|², a parameter, means over the other networks.
#[derive(Debug, Clone, Copy)]
struct Row {
    followed: f64,
    spread: f64,
}

/// What held-out rows say of the average of several networks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Averaged {
    pub rows: usize,
    pub error: SquaredError,
    /// κ.
    pub by_spread: f64,
    /// (1 - 1/K) E|Δ|²/2: by so much the average errs less than one network.
    gained: f64,
}

impl Averaged {
    /// e² of the average from that of each network, if it is more than chance.
    pub(super) fn common(&self, each: &[SquaredError]) -> Option<SquaredError> {
        let count = each.len() as f64;
        let value = each.iter().map(|error| error.value).sum::<f64>() / count - self.gained;
        let error = each.iter().map(|error| error.error.powi(2)).sum::<f64>().sqrt() / count;
        (value > 2.0 * error).then_some(SquaredError { value, error })
    }
}

/// Of the average of a committee, whose networks were trained with these splits.
pub(super) fn average(data: &TrainingData, committee: &Committee, splits: &[Split], key: StreamKey) -> Averaged {
    let key = key.child(Purpose::Replication);
    let of_one = |(own, split): (usize, &Split)| -> Vec<Row> {
        // Those that were trained on its rows.
        let others: Vec<usize> =
            (0..splits.len()).filter(|&other| splits[other].validation != split.validation).collect();
        let (key, rows) = (key.indexed(own as u64), &split.validation[..split.validation.len().min(ROWS)]);
        let look = |&row: &u32| {
            if others.is_empty() { None } else { look(data, committee, (own, &others), row as usize, key) }
        };
        rows.par_iter().filter_map(look).collect()
    };
    averaged(&splits.iter().enumerate().flat_map(of_one).collect::<Vec<_>>(), splits.len())
}

/// A row that network `own` holds out and `others` do not; nothing where a score is not finite.
fn look(
    data: &TrainingData,
    committee: &Committee,
    (own, others): (usize, &[usize]),
    row: usize,
    key: StreamKey,
) -> Option<Row> {
    let m = data.map.dim();
    let (z, condition) = data.latent_row(row).split_at(m);
    let z: Vec<f64> = z.iter().map(|&z| z.into()).collect();
    let own_key = key.child(Purpose::ValidationNoise);
    let (mut score, _) = committee.score(own, &z, condition, data.feature_row(row, 0), &mut own_key.rng(row as u64))?;
    score.iter_mut().for_each(|s| *s = s.clamp(-BOUND, BOUND));
    let mut sum = Row { followed: 0.0, spread: 0.0 };
    for [first, second] in committee.differences(own, others, &z, condition, &mut key.rng(row as u64))? {
        sum.followed += 0.5 * (dot(&score, &first) + dot(&score, &second));
        sum.spread += dot(&first, &second);
    }
    let of = (others.len() * m) as f64;
    Some(Row { followed: sum.followed / of, spread: sum.spread / of })
}

/// Of the average of so many networks.
fn averaged(rows: &[Row], members: usize) -> Averaged {
    let own = 0.5 / members as f64;
    let n = rows.len() as f64;
    let mean = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / n;
    let by_rows = |row: &Row| row.followed - (1.0 - own) * row.spread;
    let by_starts = |row: &Row| FOLLOWED * (row.followed - 0.5 * row.spread) + own * row.spread;
    let of_row: &dyn Fn(&Row) -> f64 = if mean(&by_rows) > mean(&by_starts) { &by_rows } else { &by_starts };
    let value = mean(of_row);
    let variance = mean(&|row| (of_row(row) - value).powi(2));
    // By least squares, rows' variances growing like their spread: those of little tell as much.
    let mut spreads: Vec<f64> = rows.iter().map(|row| row.spread.max(0.0)).collect();
    spreads.sort_unstable_by(f64::total_cmp);
    let median = spreads.get(rows.len() / 2).copied().unwrap_or(0.0);
    let weight = |row: &Row| 1.0 / (row.spread.max(0.0) + median).max(f64::MIN_POSITIVE);
    let by_spread = mean(&|row| weight(row) * of_row(row)) / mean(&|row| weight(row) * row.spread);
    // What networks have each for itself is there at least.
    let by_spread = if by_spread > own { by_spread } else { own };
    let error = SquaredError { value, error: (variance / (n - 1.0)).sqrt() };
    Averaged { rows: rows.len(), error, by_spread, gained: (0.5 - own) * mean(&|row| row.spread) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_matrix::{cholesky, cholesky_solve};
    use rand_distr::{Distribution, StandardNormal};

    const FUNCTIONS: usize = 12;
    const ROWS: usize = 240;
    const MEMBERS: usize = 4;

    fn least_squares(phi: &[[f64; FUNCTIONS]], x: &[f64], rows: impl Fn(usize) -> bool) -> Vec<f64> {
        let (mut gram, mut right) = (vec![0.0; FUNCTIONS * FUNCTIONS], vec![0.0; FUNCTIONS]);
        for (i, phi) in phi.iter().enumerate().filter(|(i, _)| rows(*i)) {
            for a in 0..FUNCTIONS {
                right[a] += phi[a] * x[i];
                (0..FUNCTIONS).for_each(|b| gram[a * FUNCTIONS + b] += phi[a] * phi[b]);
            }
        }
        assert!(cholesky(&mut gram, FUNCTIONS));
        cholesky_solve(&gram, &mut right);
        right
    }

    /// Noise fitted by least squares on twelve functions, four times with a quarter of the rows left out: the error of the average is known.
    #[test]
    fn the_error_of_an_average_of_fits_is_told_by_the_rows_they_leave_out() {
        let (mut told, mut is) = (0.0, 0.0);
        for repetition in 0..200 {
            let mut rng = StreamKey::root(7).rng(repetition);
            let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
            let phi: Vec<[f64; FUNCTIONS]> = (0..ROWS).map(|_| std::array::from_fn(|_| normal())).collect();
            let x: Vec<f64> = (0..ROWS).map(|_| normal()).collect();
            let fits: Vec<Vec<f64>> = (0..MEMBERS).map(|k| least_squares(&phi, &x, |i| i % MEMBERS != k)).collect();
            let rows: Vec<Row> = (0..ROWS)
                .map(|i| {
                    let own = i % MEMBERS;
                    let at = |k: usize| dot(&fits[k], &phi[i]);
                    let mut row = Row { followed: 0.0, spread: 0.0 };
                    for other in (0..MEMBERS).filter(|&k| k != own) {
                        // The score of a mean of noise 1 is its residual.
                        let difference = at(other) - at(own);
                        row.followed += (x[i] - at(own)) * difference / (MEMBERS - 1) as f64;
                        row.spread += difference * difference / (MEMBERS - 1) as f64;
                    }
                    row
                })
                .collect();
            told += averaged(&rows, MEMBERS).error.value / 200.0;
            let mean = |a: usize| fits.iter().map(|fit| fit[a]).sum::<f64>() / MEMBERS as f64;
            is += (0..FUNCTIONS).map(|a| mean(a).powi(2)).sum::<f64>() / 200.0;
        }
        assert!((told / is - 1.0).abs() < 0.08, "{told} for {is}");
    }
}
