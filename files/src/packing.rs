//! Packed numbers and missing ones, as the CF conventions have them (ch. 2.5.1, 8.1): what netCDF4, xarray and climate tools write.

use super::attributes;
use hdf5::Dataset;

/// How the numbers of a dataset are to be read: v · `scale` + `offset`, NaN where v is missing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Packing {
    scale: f64,
    offset: f64,
    /// `_FillValue` and `missing_value`.
    missing: Vec<f64>,
    /// `valid_range`, or `valid_min` and `valid_max`, of the numbers as they are stored.
    range: (f64, f64),
}

impl Packing {
    /// What the dataset's attributes say.
    pub fn of(dataset: &Dataset) -> Self {
        let read = |name: &str| attributes::floats(dataset, name).unwrap_or_default();
        let one = |name: &str, default: f64| read(name).first().copied().unwrap_or(default);
        let range = match read("valid_range")[..] {
            [low, high] => (low, high),
            _ => (one("valid_min", f64::NEG_INFINITY), one("valid_max", f64::INFINITY)),
        };
        Self {
            scale: one("scale_factor", 1.0),
            offset: one("add_offset", 0.0),
            missing: [read("_FillValue"), read("missing_value")].concat(),
            range,
        }
    }

    /// Whether numbers are what they are.
    pub fn is_plain(&self) -> bool {
        let unbounded = self.range == (f64::NEG_INFINITY, f64::INFINITY);
        (self.scale, self.offset) == (1.0, 0.0) && unbounded && self.missing.iter().all(|value| value.is_nan())
    }

    /// The number that is meant.
    pub fn decode(&self, value: f64) -> f64 {
        // Attributes of single precision are compared in it.
        let is = |missing: &f64| value == *missing || value as f32 == *missing as f32;
        if self.missing.iter().any(is) || value < self.range.0 || value > self.range.1 {
            return f64::NAN;
        }
        value * self.scale + self.offset
    }
}
