//! Which values are taken apart from the density of a likelihood's columns: those that many rows share exactly.

use super::columns;
use crate::Result;
use crate::model::ObservationMap;
use crate::model::mixed::Categories;
use crate::model::moments::Moments;
use crate::notes::Note;
use std::collections::BTreeMap;

/// Rows that are needed to tell.
const ENOUGH: usize = 500;

/// A value that this share of the rows has is none that a density gives; nor is one that all rows but this share have a value among others.
const SHARED: f64 = 0.01;

/// Where more than this share of the other values have a copy too, all are rounded.
const ROUNDED: f64 = 0.5;

/// Kept rows that a pattern of atoms is learned from, at least.
const ROWS: usize = 3;

/// A value with the share of rows that have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shared {
    pub value: f64,
    pub share: f64,
}

/// How observations of a likelihood are standardised, and what is to be said of the columns from number `first` on. Where values may be taken `apart`, those that many
/// rows share are, if the patterns in which they come together are few.
///
/// # Errors
/// None but those of an internal fault.
pub(super) fn standardisation(moments: &Moments, first: usize, apart: bool) -> Result<(ObservationMap, Vec<Note>)> {
    let columns = moments.kept_columns();
    let real = |column: usize| column >= first && !moments.is_whole(column);
    let shared: Vec<Vec<Shared>> = columns
        .iter()
        .enumerate()
        .map(|(column, values)| if real(column) { shared(values) } else { Vec::new() })
        .collect();
    let told = |map: ObservationMap, values: &[Vec<f64>]| (map, columns::notes(moments, first, values));
    let usual = || told(moments.clone().finish_robust(), &vec![Vec::new(); columns.len()]);
    if shared.iter().all(Vec::is_empty) {
        return Ok(usual());
    }
    let values: Vec<Vec<f64>> =
        shared.iter().map(|shared| shared.iter().map(|shared| shared.value).collect()).collect();
    let map = moments.clone().finish_apart(values.clone(), patterns(&columns, &values))?;
    let varies = (0..columns.len()).all(|column| map.sd[column] > 0.0 || values[column].is_empty());
    let fits = !map.atoms.patterns.is_empty() && Categories::new(&map.columns(first..columns.len())).is_some();
    let of = |(column, shared): (usize, &Vec<Shared>)| -> Vec<Note> {
        let note = |&Shared { value, share }: &Shared| {
            // Whether values are logarithms.
            let value = if map.log { value.exp() } else { value };
            if apart && fits && varies {
                Note::Atom { column, value, share }
            } else {
                Note::SharedValue { column, value, share }
            }
        };
        shared.iter().map(note).collect()
    };
    let notes: Vec<Note> = shared.iter().enumerate().flat_map(of).collect();
    let (map, others) = if apart && fits && varies { told(map, &values) } else { usual() };
    Ok((map, [notes, others].concat()))
}

/// The values of a column that many rows share, in order, where the others are different.
fn shared(values: &[f64]) -> Vec<Shared> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rows = sorted.len() as f64;
    let many = |run: &&[f64]| run.len() as f64 > SHARED * rows;
    let found: Vec<&[f64]> = sorted.chunk_by(|a, b| a == b).filter(many).collect();
    let rest: Vec<&[f64]> = sorted.chunk_by(|a, b| a == b).filter(|run| !many(run)).collect();
    let others: usize = rest.iter().map(|run| run.len()).sum();
    let copied: usize = rest.iter().map(|run| run.len()).filter(|&length| length > 1).sum();
    let differ = others as f64 > SHARED * rows && (copied as f64) < ROUNDED * others as f64;
    if sorted.len() < ENOUGH || !differ {
        return Vec::new();
    }
    found.into_iter().map(|run| Shared { value: run[0], share: run.len() as f64 / rows }).collect()
}

/// In which patterns the rows have the values: see [`Atoms::patterns`](crate::model::atoms::Atoms).
fn patterns(columns: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<Vec<usize>> {
    let mut counts = BTreeMap::<Vec<usize>, usize>::new();
    for row in 0..columns.first().map_or(0, Vec::len) {
        let place = |(column, values): (&Vec<f64>, &Vec<f64>)| {
            values.iter().position(|value| *value == column[row]).map_or(0, |index| index + 1)
        };
        *counts.entry(columns.iter().zip(values).map(place).collect()).or_default() += 1;
    }
    counts.into_iter().filter(|(_, rows)| *rows >= ROWS).map(|(pattern, _)| pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    const ROWS: usize = 4000;

    /// The map of columns f(z) of standard normal z, and what is said of them.
    fn of<const D: usize>(log: bool, apart: bool, f: impl Fn([f64; 5]) -> [f64; D]) -> (ObservationMap, Vec<Note>) {
        let mut rng = StreamKey::root(5).rng(0);
        let rows: Vec<[f64; D]> =
            (0..ROWS).map(|_| f(std::array::from_fn(|_| StandardNormal.sample(&mut rng)))).collect();
        let mut moments = Moments::new(D, log);
        moments.add(Array3::from_shape_fn((ROWS, 1, D), |(i, _, j)| rows[i][j]).view()).unwrap();
        standardisation(&moments, 0, apart).unwrap()
    }

    #[test]
    fn ends_of_a_column_and_their_patterns_are_found() {
        let (map, notes) = of(false, true, |z| [z[0].clamp(0.0, 1.0), if z[1] > 1.0 { -7.5 } else { z[2] }]);
        assert_eq!(map.atoms.values, [vec![0.0, 1.0], vec![-7.5]]);
        let patterns = [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]].map(Vec::from);
        assert_eq!(map.atoms.patterns, patterns);
        // The others are standardised for themselves.
        assert!((map.mean[1]).abs() < 0.1 && (map.sd[1] - 1.0).abs() < 0.05, "{map:?}");
        let near = |share: f64, wanted: f64| (share - wanted).abs() < 0.03;
        assert!(
            matches!(notes[..], [
                Note::Atom { column: 0, value: 0.0, share: zero },
                Note::Atom { column: 0, value: 1.0, share: one },
                Note::Atom { column: 1, value: -7.5, .. },
            ] if near(zero, 0.5) && near(one, 0.159)),
            "{notes:?}"
        );
    }

    #[test]
    fn far_offsets_and_logarithms_have_atoms_too() {
        let (map, _) = of(false, true, |z| [if z[0] > 1.0 { 0.0 } else { 1.7e9 + z[1] }]);
        assert!((map.offset[0] - 1.7e9).abs() < 0.1 && (map.sd[0] - 1.0).abs() < 0.05, "{map:?}");
        assert_eq!(map.atoms.values[0][0], -map.offset[0]);
        let (map, notes) = of(true, true, |z| [(0.1 * z[0]).exp().min(1.05)]);
        assert!(matches!(notes[..], [Note::Atom { value, .. }] if (value - 1.05).abs() < 1e-12), "{notes:?}");
        assert!((map.atoms.values[0][0] - 1.05f64.ln()).abs() < 1e-12 && map.offset.is_empty());
    }

    #[test]
    fn what_cannot_be_taken_apart_is_told() {
        for (apart, censored) in [(false, 1), (true, 4)] {
            let (map, notes) = of(false, apart, |z| {
                std::array::from_fn::<_, 5, _>(|i| if i < censored { z[i].min(0.5) } else { z[i] })
            });
            assert!(map.atoms.is_empty());
            assert_eq!(notes.len(), censored);
            assert!(
                matches!(notes[0], Note::SharedValue { column: 0, value: 0.5, share } if (share - 0.31).abs() < 0.03)
            );
        }
    }

    #[test]
    fn rounded_and_whole_numbers_have_none() {
        assert_eq!(of(false, true, |z| [z[0], z[1]]).1, []);
        assert!(of(false, true, |z| [z[0].max(0.0).round()]).0.atoms.is_empty());
        assert!(matches!(of(false, true, |z| [(10.0 * z[0]).round() / 10.0]).1[..], [Note::Stepped { .. }]));
        assert!(of(false, true, |z| [if z[0] > 2.5 { 0.0 } else { z[1] }]).0.atoms.is_empty());
    }
}
