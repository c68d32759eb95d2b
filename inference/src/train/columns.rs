//! Columns of real numbers that a density does not fit: steps, many decades, functions of other columns.

use crate::model::moments::Moments;
use crate::notes::Note;

/// Rows that are needed to tell.
const ENOUGH: usize = 500;

/// Fewer different values than this, all multiples of one step, are cells rather than numbers.
const FEW: usize = 100;

/// How far from multiples of the step values may be, as a share of it.
const ROUNDING: f64 = 1e-3;

/// Ratio of the 95 % to the 5 % quantile of positive values whose logarithm is the better scale.
const DECADES: f64 = 1e3;

/// Turns that angles are given in: lowest value and period.
const TURNS: [(f64, f64); 4] =
    [(0.0, 360.0), (-180.0, 360.0), (0.0, std::f64::consts::TAU), (-std::f64::consts::PI, std::f64::consts::TAU)];

/// How near both ends of a turn angles come, as a share of it.
const ENDS: f64 = 0.01;

/// Columns at most of which every pair is looked at.
const PAIRS: usize = 64;

/// A column that is a smooth function of another differs from its neighbours' mean, in order of the other, by about f″/n², n rows: times this many, in
/// standard deviations. Rows needed so that noise of 10⁻⁵ of them is not taken for none.
const CURVED: f64 = 50.0;
const ENOUGH_FOR_PAIRS: usize = 2000;

/// Columns that differ by less than this share of their spread, but by more than rounding, hide their difference.
const ALIKE: f64 = 1e-3;
const SINGLE: f64 = 1e-6;

/// What is to be said of the columns from number `first` on, of whose values those `apart` (d) are not looked at.
pub(super) fn notes(moments: &Moments, first: usize, apart: &[Vec<f64>]) -> Vec<Note> {
    let columns = moments.kept_columns();
    let rows = columns.first().map_or(0, Vec::len);
    if rows < ENOUGH {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for (index, values) in columns.iter().enumerate().skip(first) {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !apart[index].contains(value)).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let whole = moments.is_whole(index);
        notes.extend(stepped(index, &sorted, whole));
        if !whole {
            notes.extend(decades(index, &sorted));
            notes.extend(wrapped(index, &sorted));
        }
    }
    if rows >= ENOUGH_FOR_PAIRS && columns.len() - first <= PAIRS {
        let real: Vec<usize> =
            (first..columns.len()).filter(|&i| !moments.is_whole(i) && apart[i].is_empty()).collect();
        notes.extend(functions(&columns, &real));
        notes.extend(alike(&columns, &real));
    }
    notes
}

/// Values with a step that is not 1.
fn stepped(column: usize, sorted: &[f64], whole: bool) -> Option<Note> {
    let distinct: Vec<f64> = sorted.chunk_by(|a, b| a == b).map(|run| run[0]).collect();
    if !(3..=FEW).contains(&distinct.len()) {
        return None;
    }
    let gaps = distinct.windows(2).map(|pair| pair[1] - pair[0]);
    let step = gaps.clone().fold(f64::INFINITY, f64::min);
    let digits = 8.0 * f64::from(f32::EPSILON) * sorted.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let multiple = |gap: f64| ((gap / step).round() * step - gap).abs() < ROUNDING * step + digits;
    (!(whole && step == 1.0) && digits < ROUNDING * step && gaps.clone().all(multiple)).then_some(Note::Stepped {
        column,
        step,
        first: distinct[0],
        values: distinct.len(),
    })
}

fn decades(column: usize, sorted: &[f64]) -> Option<Note> {
    let at = |p: f64| sorted[((sorted.len() - 1) as f64 * p).round() as usize];
    let ratio = at(0.95) / at(0.05);
    (sorted[0] > 0.0 && ratio > DECADES).then(|| Note::ManyDecades { column, decades: ratio.log10() })
}

fn wrapped(column: usize, sorted: &[f64]) -> Option<Note> {
    let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
    let near = |value: f64, end: f64, period: f64| (value - end).abs() < ENDS * period;
    // Single precision rounds π up.
    let within = |start: f64, period: f64| low > start - 1e-6 * period && high < start + period * (1.0 + 1e-6);
    let turn = TURNS.into_iter().find(|&(start, period)| {
        within(start, period) && near(low, start, period) && near(high, start + period, period)
    });
    turn.map(|(_, period)| Note::Wrapped { column, period })
}

/// Columns that are functions of an earlier one, or of a later one that is none itself.
fn functions(columns: &[Vec<f64>], real: &[usize]) -> Vec<Note> {
    let rows = columns[0].len();
    let mut found: Vec<(usize, usize)> = Vec::new();
    for &of in real {
        if found.iter().any(|&(column, _)| column == of) {
            continue;
        }
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_by(|&a, &b| columns[of][a].total_cmp(&columns[of][b]));
        for &column in real.iter().filter(|&&column| column != of) {
            if !found.iter().any(|&(known, _)| known == column) && follows(&columns[of], &columns[column], &order) {
                found.push((column, of));
            }
        }
    }
    found.into_iter().map(|(column, of)| Note::FunctionOf { column, of }).collect()
}

/// The first column that nearly is a linear function of an earlier one.
fn alike(columns: &[Vec<f64>], real: &[usize]) -> Option<Note> {
    let standard: Vec<Vec<f64>> = real.iter().map(|&index| standardised(&columns[index])).collect();
    let pairs = (0..real.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
    pairs.into_iter().find_map(|(i, j)| {
        let (a, b) = (&standard[i], &standard[j]);
        let rows = a.len() as f64;
        let slope = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / rows;
        let rest = (a.iter().zip(b).map(|(a, b)| (b - slope * a).powi(2)).sum::<f64>() / rows).sqrt();
        (SINGLE..ALIKE).contains(&rest).then(|| Note::Alike { column: real[j], of: real[i], rest })
    })
}

/// With mean 0 and variance 1, or constant 0.
fn standardised(values: &[f64]) -> Vec<f64> {
    let rows = values.len() as f64;
    let mean = values.iter().sum::<f64>() / rows;
    let sd = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / rows).sqrt();
    values.iter().map(|value| if sd > 0.0 { (value - mean) / sd } else { 0.0 }).collect()
}

/// Whether `y` lies on a smooth curve over `x`, whose order is given: the median distance from the line through the neighbours.
fn follows(x: &[f64], y: &[f64], order: &[usize]) -> bool {
    let rows = y.len() as f64;
    let mean = y.iter().sum::<f64>() / rows;
    let sd = (y.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / rows).sqrt();
    let distance = |places: &[usize]| {
        let [a, b, c] = [places[0], places[1], places[2]];
        let share = if x[c] > x[a] { (x[b] - x[a]) / (x[c] - x[a]) } else { 0.5 };
        (y[b] - y[a] - share * (y[c] - y[a])).abs()
    };
    let bound = CURVED * sd / (rows * rows);
    let near = order.windows(3).filter(|places| distance(places) <= bound).count();
    sd > 0.0 && 2 * near > order.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    const ROWS: usize = 4000;

    /// What is said of columns (f(z₁, z₂), ..) of standard normal z.
    fn said<const D: usize>(f: impl Fn(f64, f64) -> [f64; D]) -> Vec<Note> {
        let mut rng = StreamKey::root(5).rng(0);
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let rows: Vec<[f64; D]> = (0..ROWS).map(|_| f(normal(), normal())).collect();
        let mut moments = Moments::new(D, false);
        moments.add(Array3::from_shape_fn((ROWS, 1, D), |(i, _, j)| rows[i][j]).view()).unwrap();
        notes(&moments, 0, &vec![Vec::new(); D])
    }

    #[test]
    fn what_a_density_cannot_hold_is_told() {
        assert_eq!(said(|a, b| [a, b]), []);
        assert!(
            matches!(said(|a, _| [(10.0 * a).round() / 10.0])[..], [Note::Stepped { step, .. }] if (step - 0.1).abs() < 1e-9)
        );
        assert!(matches!(said(|a, _| [5.0 * a.abs().floor()])[..], [Note::Stepped { step: 5.0, first: 0.0, .. }]));
        assert_eq!(said(|a, b| [(3.0 * a).round(), (10.0 * b).round()]), []);
        let turn = std::f64::consts::TAU;
        assert_eq!(said(|a, b| [(3.0 * a).rem_euclid(turn), b])[..], [Note::Wrapped { column: 0, period: turn }]);
        assert_eq!(said(|a, b| [30.0 * a + 180.0, b]), []);
        assert!(matches!(said(|a, b| [(3.0 * a).exp(), b.exp()])[..], [Note::ManyDecades { column: 0, .. }]));
    }

    #[test]
    fn functions_of_other_columns_are_told_and_narrow_noise_is_none() {
        assert_eq!(said(|a, b| [b, a, a * a])[..], [Note::FunctionOf { column: 2, of: 1 }]);
        assert_eq!(said(|a, b| [a * a, b, a])[..], [Note::FunctionOf { column: 0, of: 2 }]);
        assert_eq!(said(|a, b| [a, f64::from((2.0 * a - 7.0) as f32), b])[..], [Note::FunctionOf { column: 1, of: 0 }]);
        assert_eq!(said(|a, b| [a, a + 3e-3 * b]), []);
        let found = said(|a, b| [3.0 * a, 7.0 - a + 1e-4 * b]);
        assert!(
            matches!(found[..], [Note::Alike { column: 1, of: 0, rest }] if (rest - 1e-4).abs() < 5e-6),
            "{found:?}"
        );
        assert_eq!(said(|a, b| [a, b, a * b]), []);
    }
}
