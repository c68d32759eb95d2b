//! Values of real columns that many observations share exactly: zeros, the end of a detector's range, what one class always has.
//!
//! No density gives a single value a probability. Which columns of an observation are at which of such values (atoms) is therefore a category a of the observation,
//! beside those that [whole numbers](super::mixed) are, and real columns have a density only where they are at none:
//!
//!   p(x | θ) = p(a | θ) p(y | a, θ), y the columns that are at no atom
//!
//! (a hurdle model, Cragg 1971, Econometrica 39, 829–844). In p(y | a, θ) a column at an atom is a value that is [missing](super::missing).

use super::observation_map::ObservationMap;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Units in the last place of single precision by which a value at an atom may differ from it: observations are rounded to it, training rows need not be.
const ROUNDING: f64 = 2.0;

/// The atoms of observations, as a training set has them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Atoms {
    /// Those of each column, (d), in units of f(x), less the offset.
    pub values: Vec<Vec<f64>>,
    /// Which columns are at an atom together, (patterns, d): 0 for a column that is at none, k for one at its k-th.
    pub patterns: Vec<Vec<usize>>,
}

impl Atoms {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether a column has some.
    pub fn has(&self, column: usize) -> bool {
        self.values.get(column).is_some_and(|values| !values.is_empty())
    }

    /// The first column that has some.
    pub fn first(&self) -> Option<usize> {
        (0..self.values.len()).find(|&column| self.has(column))
    }

    /// Those of some of the columns.
    #[must_use]
    pub fn columns(&self, range: &Range<usize>) -> Self {
        if !range.clone().any(|column| self.has(column)) {
            return Self::default();
        }
        let patterns = self.patterns.iter().map(|pattern| pattern[range.clone()].to_vec());
        Self { values: self.values[range.clone()].to_vec(), patterns: patterns.collect() }
    }

    /// Whether they are atoms of d columns: finite numbers in some of them, and patterns of these.
    pub fn are_of(&self, d: usize) -> bool {
        let named = |pattern: &Vec<usize>| {
            pattern.len() == d && pattern.iter().zip(&self.values).all(|(&place, values)| place <= values.len())
        };
        self.values.len() == d
            && self.values.iter().any(|values| !values.is_empty())
            && self.values.iter().flatten().all(|value| value.is_finite())
            && !self.patterns.is_empty()
            && self.patterns.iter().all(named)
    }
}

/// Where an atom lies among the standardised values of its column, and how far from it they may be.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    feature: f64,
    rounding: f64,
}

/// The atoms among standardised observations.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenAtoms {
    places: Vec<Vec<Place>>,
    patterns: Vec<Vec<usize>>,
}

impl SeenAtoms {
    /// Those of a map's observations, if there are any.
    pub fn new(map: &ObservationMap) -> Option<Self> {
        if map.atoms.is_empty() {
            return None;
        }
        let column = |(i, values): (usize, &Vec<f64>)| {
            let (mean, sd) = (f64::from(map.mean[i]), f64::from(map.sd[i]));
            let place = |&value: &f64| Place {
                feature: f64::from(((value - mean) / sd) as f32),
                rounding: ROUNDING * f64::from(f32::EPSILON) * (value.abs() + (value - mean).abs()) / sd,
            };
            values.iter().map(place).collect()
        };
        let places = map.atoms.values.iter().enumerate().map(column).collect();
        Some(Self { places, patterns: map.atoms.patterns.clone() })
    }

    /// Number of patterns.
    pub fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// Which atom a column's standardised value is at, from 1; 0 if it is at none, or missing.
    pub fn at(&self, column: usize, feature: f64) -> usize {
        let near = |place: &Place| (feature - place.feature).abs() <= place.rounding;
        self.places[column].iter().position(near).map_or(0, |index| index + 1)
    }

    /// Whether a column ends above at its atoms, as far as these tell: they lie above the mean of all other values.
    pub fn above(&self, column: usize) -> bool {
        let places = &self.places[column];
        !places.is_empty() && places.iter().all(|place| place.feature > 0.0)
    }

    /// The patterns that standardised values (d) leave possible, those in which the fewest of the values that are there differ: of a combination that no
    /// simulation had, these are the nearest ones.
    pub fn possible(&self, features: &[f64]) -> Vec<usize> {
        let seen: Vec<Option<usize>> =
            features.iter().enumerate().map(|(i, &value)| (!value.is_nan()).then(|| self.at(i, value))).collect();
        let differs = |(seen, place): &(&Option<usize>, &usize)| seen.is_some_and(|seen| seen != **place);
        let differences = |pattern: &Vec<usize>| seen.iter().zip(pattern).filter(differs).count();
        let differences: Vec<usize> = self.patterns.iter().map(differences).collect();
        let fewest = differences.iter().min();
        (0..self.patterns.len()).filter(|&pattern| fewest == Some(&differences[pattern])).collect()
    }

    /// Standardised values (d) with NaN in the columns that have no density: those at an atom, and those that are at one in all patterns that are possible.
    pub fn apart(&self, features: &[f64]) -> Vec<f64> {
        let possible = self.possible(features);
        let always = |column: usize| possible.iter().all(|&pattern| self.patterns[pattern][column] > 0);
        let value = |(column, &value): (usize, &f64)| {
            if self.at(column, value) > 0 || always(column) { f64::NAN } else { value }
        };
        features.iter().enumerate().map(value).collect()
    }

    /// Puts the atoms of a pattern in standardised values (d).
    pub fn put(&self, pattern: usize, features: &mut [f64]) {
        for ((places, &index), feature) in self.places.iter().zip(&self.patterns[pattern]).zip(features) {
            if index > 0 {
                *feature = places[index - 1].feature;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three columns: ends at 0 and 1, a zero, none; the patterns that were simulated.
    fn seen() -> SeenAtoms {
        let map = ObservationMap::standardize(vec![0.3, 5.0, 0.0], vec![0.2, 3.0, 1.0]);
        let atoms = Atoms {
            values: vec![vec![0.0, 1.0], vec![0.0], vec![]],
            patterns: vec![vec![0, 0, 0], vec![1, 0, 0], vec![2, 0, 0], vec![2, 1, 0]],
        };
        assert!(atoms.are_of(3) && !atoms.are_of(2));
        assert!(atoms.columns(&(2..3)).is_empty() && atoms.columns(&(1..3)).patterns[3] == [1, 0]);
        SeenAtoms::new(&ObservationMap { atoms, ..map }).unwrap()
    }

    fn features(x: [f32; 3]) -> Vec<f64> {
        let [mean, sd] = [[0.3f32, 5.0, 0.0], [0.2, 3.0, 1.0]];
        (0..3).map(|i| f64::from(((f64::from(x[i]) - f64::from(mean[i])) / f64::from(sd[i])) as f32)).collect()
    }

    #[test]
    fn values_at_atoms_are_missing_in_a_known_pattern() {
        let seen = seen();
        let known = |x: [f32; 3]| {
            let features = features(x);
            let there: Vec<bool> = seen.apart(&features).iter().map(|value| !value.is_nan()).collect();
            (seen.possible(&features), there)
        };
        assert_eq!(known([0.5, 2.0, 1.0]), (vec![0], vec![true; 3]));
        assert_eq!([0, 1, 2].map(|column| seen.above(column)), [false; 3]);
        // A neighbour of an atom is none; a third's rounding is.
        assert_eq!(known([1.0 - 1e-5, 2.0, 0.0]).0, [0]);
        assert_eq!(known([1.0, 2.0, 0.0]), (vec![2], vec![false, true, true]));
        assert_eq!(known([1.0, 0.0, 0.0]), (vec![3], vec![false, false, true]));
        // What is missing leaves several possible.
        assert_eq!(known([f32::NAN, 2.0, 0.0]), (vec![0, 1, 2], vec![false, true, true]));
        assert_eq!(known([1.0, f32::NAN, 0.0]), (vec![2, 3], vec![false, false, true]));
        // No simulation had both at 0.
        assert_eq!(known([0.0, 0.0, 0.0]), (vec![1, 3], vec![false, false, true]));
    }

    #[test]
    fn atoms_are_put_back() {
        let seen = seen();
        let mut drawn = vec![0.1, 0.2, 0.3];
        seen.put(3, &mut drawn);
        assert_eq!((seen.possible(&drawn), drawn[2]), (vec![3], 0.3));
        assert_eq!([0, 1].map(|column| seen.at(column, drawn[column])), [2, 1]);
    }
}
