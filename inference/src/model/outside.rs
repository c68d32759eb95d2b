//! Observations that a model knows nothing about.

use super::atoms::SeenAtoms;
use super::trained::{Networks, TrainedModel};
use crate::Result;
use crate::notes::{Note, Outside, SymmetryGround};
use ndarray::{ArrayView2, s};
use std::collections::HashSet;

/// How far beyond the range of the simulations a value is unlike them: standard deviations, and a share of the range. The next of as many
/// simulations lies beyond by less.
const BEYOND: f64 = 0.5;
const SHARE: f64 = 0.1;

/// Relative difference from a constant that is no rounding.
const ROUNDING: f64 = 1e-5;

/// The farthest values that are told.
const TOLD: usize = 3;

/// Training rows for each observation that a network needs: of P effective parameters, N rows leave an error of P/2N nats an observation.
const ROWS_AN_OBSERVATION: usize = 50;

/// The same of a linear network, which has few.
const LINEAR_ROWS_AN_OBSERVATION: usize = 5;

impl TrainedModel {
    /// What is to be said about observations `x` (n, d), [centred](super::ObservationMap::centre), before their posterior is sampled.
    ///
    /// # Errors
    /// When they do not fit the model, are infinite, or miss values that the model needs.
    pub fn examine(&self, x: ArrayView2<'_, f32>) -> Result<Vec<Note>> {
        let features = match &self.networks {
            Networks::Likelihood { .. } => self.observation_map.features_or_missing(x)?,
            _ => self.observation_map.features(x)?,
        };
        let missing = Note::missing(x.slice(s![.., self.info.conditions..]));
        let left_out = if let Some(Note::Missing { left_out, .. }) = missing { left_out } else { 0 };
        let mut notes: Vec<Note> = missing.into_iter().collect();
        notes.extend(self.unlike(x, &features));
        notes.extend(self.constant_differs(x));
        notes.extend(self.copies(x, &features));
        notes.extend(self.many(x.nrows() - left_out));
        Ok(notes)
    }

    /// A value of a column as it was observed.
    fn observed(&self, column: usize, value: f32) -> f64 {
        f64::from(value) + self.observation_map.offset.get(column).copied().unwrap_or(0.0)
    }

    fn unlike(&self, x: ArrayView2<'_, f32>, features: &[f32]) -> Option<Note> {
        let d = x.ncols();
        let atoms = SeenAtoms::new(&self.observation_map);
        let at_atom = |column: usize, z: f32| atoms.as_ref().is_some_and(|atoms| atoms.at(column, z.into()) > 0);
        let mut outside = Vec::new();
        let mut unlike = 0;
        for (observation, row) in features.chunks_exact(d).enumerate() {
            let worst = row
                .iter()
                .zip(&self.info.range)
                .enumerate()
                .map(|(column, (&z, &[low, high]))| {
                    let beyond = f64::from((z - high).max(low - z));
                    // What differs from a constant is told apart.
                    let far = high > low && beyond > BEYOND + SHARE * f64::from(high - low);
                    (column, if far && !at_atom(column, z) { beyond } else { 0.0 })
                })
                .max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((column, beyond)) = worst.filter(|(_, beyond)| *beyond > 0.0) {
                unlike += 1;
                let value = self.observed(column, x[[observation, column]]);
                outside.push(Outside { observation, column, value, beyond });
            }
        }
        outside.sort_by(|a, b| b.beyond.total_cmp(&a.beyond));
        outside.truncate(TOLD);
        (unlike > 0).then_some(Note::Unlike { observations: unlike, of: x.nrows(), farthest: outside })
    }

    fn constant_differs(&self, x: ArrayView2<'_, f32>) -> Option<Note> {
        let map = &self.observation_map;
        let constant = |column: usize| {
            // Of whole numbers the spread is that of a cell: theirs are constant if lowest and highest are one.
            let ends = map.lowest.get(column).zip(map.highest.get(column)).filter(|_| map.counts[column]);
            match ends {
                Some((low, high)) => (low == high).then_some(f64::from(*low)),
                None if map.sd[column] == 0.0 => {
                    let mean = f64::from(map.mean[column]);
                    Some(if map.log { mean.exp() } else { mean })
                }
                None => None,
            }
        };
        let mut values = x.indexed_iter();
        values.find_map(|((observation, column), &value)| {
            let constant = constant(column)?;
            let differs = (f64::from(value) - constant).abs() > ROUNDING * constant.abs().max(f64::MIN_POSITIVE);
            let (value, constant) = (self.observed(column, value), self.observed(column, constant as f32));
            differs.then_some(Note::ConstantDiffers { observation, column, value, constant })
        })
    }

    fn copies(&self, x: ArrayView2<'_, f32>, features: &[f32]) -> Option<Note> {
        let map = &self.observation_map;
        let real = |column: usize| map.sd[column] > 0.0 && !map.counts.get(column).copied().unwrap_or(false);
        if !(0..x.ncols()).any(real) {
            return None;
        }
        let atoms = SeenAtoms::new(map);
        // Observations that are at atoms in all real columns are alike without being copies.
        let varies = |row: &[f32]| {
            atoms.as_ref().is_none_or(|atoms| (0..row.len()).any(|i| real(i) && atoms.at(i, row[i].into()) == 0))
        };
        let rows = x.outer_iter().zip(features.chunks_exact(x.ncols())).filter(|(_, features)| varies(features));
        let bits: Vec<Vec<u32>> = rows.map(|(row, _)| row.iter().map(|value| value.to_bits()).collect()).collect();
        let copies = bits.len() - bits.iter().collect::<HashSet<_>>().len();
        (copies > 0).then_some(Note::Copies { copies, of: x.nrows() })
    }

    /// What held-out rows said in training of the n up to which the model can be trusted; else a rule of thumb.
    fn many(&self, n: usize) -> Option<Note> {
        // These say by themselves where they do not hold, or how well they are known.
        if matches!(&self.networks, Networks::Refined(_)) || self.mean_scores().is_some() || self.shares_error() {
            return None;
        }
        let measured = self.info.notes.iter().find_map(|note| match note {
            Note::Trusted { n, .. } => Some(*n),
            _ => None,
        });
        if let Some(trusted) = measured.filter(|trusted| n > *trusted) {
            return Some(Note::BeyondTrust { n, trusted, included: self.info.error.is_some() });
        }
        let rows = self.info.n_train;
        let linear = match &self.networks {
            Networks::Likelihood { members, .. } => members.iter().all(|member| member.spec().hidden.is_empty()),
            _ => false,
        };
        let trusted = rows / if linear { LINEAR_ROWS_AN_OBSERVATION } else { ROWS_AN_OBSERVATION };
        let tested = |note: &Note| matches!(note, Note::Symmetry { ground: SymmetryGround::Tested, .. });
        let symmetry = self.info.notes.iter().any(tested);
        (rows > 0 && n > trusted.max(1)).then_some(Note::ManyObservations {
            n,
            rows,
            trusted: trusted.max(1),
            symmetry,
        })
    }
}

impl Note {
    /// What is to be said of the values that observations (n, d) miss, NaN; `None` where they are complete.
    #[must_use]
    pub fn missing(x: ArrayView2<'_, f32>) -> Option<Self> {
        let counts: Vec<usize> = x
            .outer_iter()
            .map(|row| row.iter().filter(|value| value.is_nan()).count())
            .filter(|&count| count > 0)
            .collect();
        let left_out = counts.iter().filter(|&&count| count == x.ncols()).count();
        let (values, incomplete) = (counts.iter().sum(), counts.len() - left_out);
        (values > 0).then_some(Self::Missing { values, incomplete, left_out, of: x.nrows() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Covariance, MixtureLayout, ModelInfo, ObservationMap};
    use ndarray::arr2;
    use tallsbi_data::{LatentMap, Prior, StreamKey, Symmetry};
    use tallsbi_network::{Activation, LastLayer, Mlp, MlpSpec};

    /// Two columns within ±3 sd about 10 and 1.7·10⁹, a third that is always 4.
    fn model() -> TrainedModel {
        let layout = MixtureLayout { covariance: Covariance::Diagonal, ..MixtureLayout::gaussian(3) };
        let spec = MlpSpec {
            input: 1,
            hidden: vec![3],
            output: layout.outputs(),
            activation: Activation::Gelu,
            layer_norm: false,
            residual: false,
        };
        let member = Mlp::random(spec, LastLayer::Random, &mut StreamKey::root(0).rng(0)).unwrap();
        let prior = Prior::from_json(r#"[{"name":"a","dist":"normal","loc":0,"scale":1}]"#).unwrap();
        let map = ObservationMap::standardize(vec![10.0, 0.0, 4.0], vec![2.0, 0.5, 0.0]);
        TrainedModel {
            networks: Networks::Likelihood {
                members: vec![member],
                layout,
                symmetry: Symmetry::none(1),
                success: None,
                region: None,
                locations: Vec::new(),
                mean_scores: None,
            },
            latent: LatentMap::prior_gaussian(&prior),
            observation_map: ObservationMap { offset: vec![0.0, 1.7e9, 0.0], ..map },
            info: ModelInfo {
                n_train: 5000,
                range: vec![[-3.0, 3.0], [-3.0, 3.0], [0.0, 0.0]],
                ..ModelInfo::default()
            },
        }
    }

    fn notes(x: &[[f64; 3]]) -> Vec<String> {
        let model = model();
        let x = model.observation_map.centre(arr2(x).view());
        model.examine(x.view()).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_lies_outside_is_told() {
        assert!(notes(&[[10.0, 1.7e9, 4.0], [16.5, 1.7e9 + 1.6, 4.0]]).is_empty());
        let said = notes(&[[30.0, 1.7e9, 4.0], [10.0, 1.7e9 + 4.0, 4.0]]);
        assert!(
            said[0].starts_with(
                "2 of 2 observations are unlike the simulations (observation 0, column 0: 30, 7.0 sd beyond"
            )
        );
        assert!(said[0].contains("observation 1, column 1: 1.7e9, 5.0 sd beyond"), "{}", said[0]);
        let said = notes(&[[10.0, 1.7e9, 5.0]]);
        assert!(said[0].starts_with("observation 0 has 5 in column 2, which is 4 in all simulations"), "{}", said[0]);
    }

    #[test]
    fn missing_values_are_counted() {
        let nan = f64::NAN;
        let said = notes(&[[nan, 1.7e9, 4.0], [nan; 3], [10.0, 1.7e9, 4.0], [9.0, nan, nan]]);
        let expected = "6 values of 4 observations are missing: 2 observations enter by their other values, 1 are wholly missing and left out";
        assert_eq!(said, [expected]);
    }

    #[test]
    fn copies_and_too_many_observations_are_told() {
        assert!(notes(&[[9.0, 1.7e9, 4.0]; 5])[0].starts_with("4 of 5 observations are copies"));
        let many: Vec<[f64; 3]> = (0..200).map(|i| [10.0 + 0.01 * f64::from(i), 1.7e9, 4.0]).collect();
        assert!(notes(&many)[0].starts_with("200 observations, but 5000 training rows: a network"));
        assert!(notes(&many[..100]).is_empty());
    }
}
