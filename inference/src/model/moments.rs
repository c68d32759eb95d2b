//! What an [`ObservationMap`] is fitted to: sums over the training outputs, block by block.

use super::atoms::Atoms;
use super::observation_map::ObservationMap;
use crate::notes::Note;
use crate::{InferenceError, Result};
use ndarray::{Array3, ArrayView3};

/// Variance of a uniform distribution over a cell of width 1.
const CELL_VARIANCE: f64 = 1.0 / 12.0;

/// Squares beside which a variance has lost its digits in sums of squares, and beside which (f32 values) it is rounding.
const LARGE: f64 = 1e-10;
const ROUNDING: f64 = 1e-12;

/// Standard deviations below so many units in the last place of single precision are told where all values are single precision.
pub(super) const FEW_UNITS: f64 = 64.0;

/// How many times that of the quartiles a standard deviation of values with heavy tails is.
const HEAVY: f64 = 10.0;

/// Values kept to read quantiles off, all columns together, and rows of them at least and at most.
const KEPT: usize = 1 << 22;
const KEPT_ROWS: (usize, usize) = (256, 4096);

/// One column.
#[derive(Debug, Clone)]
struct Column {
    sum: f64,
    square: f64,
    /// Its first value, from which the next two are counted.
    first: f64,
    moved_sum: f64,
    moved_square: f64,
    whole: bool,
    /// Whether all values are single precision.
    single: bool,
    lowest: f64,
    highest: f64,
}

/// What a map needs to know of the training outputs, block by block. However they are split, the same result.
#[derive(Debug, Clone)]
pub struct Moments {
    log: bool,
    rows: u64,
    columns: Vec<Column>,
    /// Every `stride`-th row.
    kept: Vec<f64>,
    stride: u64,
}

/// Location and spread of a column that single rows do not move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Robust {
    /// The median of f(x).
    pub median: f64,
    /// Standard deviation by the quartiles, or by the 5 % and 95 % quantiles where these are equal.
    pub scale: f64,
    /// Standard deviation of the values between the 1 % and 99 % quantiles.
    pub central: f64,
    /// Lowest f(x).
    pub lowest: f64,
    /// Highest f(x).
    pub highest: f64,
}

/// Mean and standard deviation of a column, and what is subtracted in double precision before.
struct Scale {
    offset: f64,
    mean: f64,
    sd: f64,
    /// Standard deviation in units of the last place of single precision, where all values are single precision.
    units: Option<f64>,
}

impl Moments {
    /// Of no rows of `d` columns yet.
    pub fn new(d: usize, log: bool) -> Self {
        let column = Column {
            sum: 0.0,
            square: 0.0,
            first: f64::NAN,
            moved_sum: 0.0,
            moved_square: 0.0,
            whole: !log,
            single: true,
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
        };
        Self { log, rows: 0, columns: vec![column; d], kept: Vec::new(), stride: 1 }
    }

    /// Takes in more rows, (n, K, d).
    ///
    /// # Errors
    /// When `log` was asked for and an output is not positive.
    pub fn add<T: Copy + Into<f64>>(&mut self, x: ArrayView3<'_, T>) -> Result<()> {
        let d = self.columns.len();
        let most = (KEPT / d.max(1)).clamp(KEPT_ROWS.0, KEPT_ROWS.1);
        for row in x.rows() {
            let keep = self.rows.is_multiple_of(self.stride);
            for (i, (&value, column)) in row.iter().zip(&mut self.columns).enumerate() {
                let value: f64 = value.into();
                if self.log && value <= 0.0 {
                    return Err(InferenceError::TrainingSet(format!(
                        "x_transform is \"log\" but column {i} of x holds {value}; use \"identity\" or positive outputs"
                    )));
                }
                column.whole &= value.fract() == 0.0;
                column.single &= f64::from(value as f32) == value;
                column.lowest = column.lowest.min(value);
                column.highest = column.highest.max(value);
                let value = if self.log { value.ln() } else { value };
                column.sum += value;
                column.square += value * value;
                if self.rows == 0 {
                    column.first = value;
                }
                let moved = value - column.first;
                column.moved_sum += moved;
                column.moved_square += moved * moved;
                if keep {
                    self.kept.push(value);
                }
            }
            self.rows += 1;
            if self.kept.len() > 2 * most * d {
                let thinned = self.kept.chunks_exact(d).step_by(2).flatten().copied().collect();
                self.kept = thinned;
                self.stride *= 2;
            }
        }
        Ok(())
    }

    /// d.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Values of each column, of every so many rows: some thousands.
    pub fn kept_columns(&self) -> Vec<Vec<f64>> {
        let d = self.columns.len();
        (0..d).map(|i| self.kept.iter().skip(i).step_by(d).copied().collect()).collect()
    }

    /// Whether a column has whole numbers only.
    pub fn is_whole(&self, column: usize) -> bool {
        self.columns[column].whole
    }

    /// Robust location and spread of each column, and its extremes.
    pub fn robust(&self) -> Vec<Robust> {
        let d = self.columns.len();
        let transform = |value: f64| if self.log { value.ln() } else { value };
        let column = |(i, column): (usize, &Column)| {
            let mut sorted: Vec<f64> = self.kept.iter().skip(i).step_by(d).copied().collect();
            sorted.sort_unstable_by(f64::total_cmp);
            let at = |p: f64| sorted[((sorted.len() - 1) as f64 * p).round() as usize];
            // The distances of a normal distribution's quantiles.
            let quartiles = (at(0.75) - at(0.25)) / 1.349;
            let scale = if quartiles > 0.0 { quartiles } else { (at(0.95) - at(0.05)) / 3.290 };
            let inner = &sorted[((sorted.len() - 1) as f64 * 0.01) as usize..];
            let inner = &inner[..inner.len().min((sorted.len() as f64 * 0.98).ceil() as usize)];
            let mean = inner.iter().sum::<f64>() / inner.len() as f64;
            let central = (inner.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / inner.len() as f64).sqrt();
            Robust {
                median: at(0.5),
                scale,
                central,
                lowest: transform(column.lowest),
                highest: transform(column.highest),
            }
        };
        self.columns.iter().enumerate().map(column).collect()
    }

    fn scale(&self, column: &Column) -> Scale {
        let rows = self.rows as f64;
        let mean = column.sum / rows;
        // Counts as they are spread out: else a column that is nearly always 0 would have no scale.
        let cells = if column.whole { CELL_VARIANCE } else { 0.0 };
        let unbiased = rows / (rows - 1.0).max(1.0);
        let square = column.square / rows + cells;
        let variance = (square - mean * mean) * unbiased;
        if variance > LARGE * square {
            return Scale { offset: 0.0, mean, sd: variance.sqrt(), units: None };
        }
        // The sums of squares have no digits left: those counted from the first value have.
        let moved = column.moved_sum / rows;
        let variance = (column.moved_square / rows - moved * moved + cells) * unbiased;
        let unit = f64::from(f32::EPSILON) * mean.abs();
        let units = (column.single && !column.whole && unit > 0.0).then(|| variance.max(0.0).sqrt() / unit);
        let rounding = column.single && !column.whole && variance <= ROUNDING * square;
        if rounding || variance <= (4.0 * f64::EPSILON * mean).powi(2) || variance <= f64::MIN_POSITIVE {
            return Scale { offset: 0.0, mean, sd: 0.0, units };
        }
        if self.log {
            return Scale { offset: 0.0, mean, sd: variance.sqrt(), units };
        }
        let offset = if column.whole { (column.first + moved).round() } else { column.first + moved };
        Scale { offset, mean: column.first - offset + moved, sd: variance.sqrt(), units }
    }

    /// Columns that are constant, or so nearly that single precision hardly tells their values apart.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        let constant = |column: &Column| column.lowest == column.highest;
        let columns: Vec<usize> = (0..self.columns.len()).filter(|&i| constant(&self.columns[i])).collect();
        if !columns.is_empty() {
            notes.push(Note::ConstantColumns { columns });
        }
        for (index, column) in self.columns.iter().enumerate().filter(|(_, column)| !constant(column)) {
            let scale = self.scale(column);
            if let Some(units) = scale.units.filter(|units| *units < FEW_UNITS || scale.sd == 0.0) {
                notes.push(Note::CoarseColumn {
                    column: index,
                    mean: scale.mean + scale.offset,
                    units,
                    used: scale.sd > 0.0,
                });
            }
        }
        notes
    }

    /// The same with the median and the quartiles' scale in columns of real numbers whose standard deviation is that of a few values far out: 10 times
    /// the quartiles', but not without one of a hundred at either end. Beside such a standard deviation all other values would look alike to a network.
    pub fn finish_robust(self) -> ObservationMap {
        let robust = self.robust();
        let scales: Vec<Scale> = self.columns.iter().map(|column| self.scale(column)).collect();
        let whole: Vec<bool> = self.columns.iter().map(|column| column.whole).collect();
        let mut map = self.finish();
        for (i, (robust, scale)) in robust.iter().zip(&scales).enumerate() {
            let bound = HEAVY * robust.scale;
            if !whole[i] && robust.scale > 0.0 && scale.sd > bound && robust.central < bound {
                map.mean[i] = (robust.median - scale.offset) as f32;
                map.sd[i] = robust.scale as f32;
            }
        }
        map
    }

    /// The same with the atoms of `values` (d), values of f(x), taken apart in these `patterns`: their columns are standardised by the kept values that are at none, so
    /// that an atom far from the others does not hide what they differ by.
    ///
    /// # Errors
    /// None but those of an internal fault.
    pub fn finish_apart(self, mut values: Vec<Vec<f64>>, patterns: Vec<Vec<usize>>) -> Result<ObservationMap> {
        let (kept, log) = (self.kept_columns(), self.log);
        let mut map = self.finish_robust();
        for (i, atoms) in values.iter_mut().enumerate().filter(|(_, atoms)| !atoms.is_empty()) {
            let rest: Vec<f64> = kept[i].iter().copied().filter(|value| !atoms.contains(value)).collect();
            let mut own = Self::new(1, false);
            own.add(Array3::from_shape_fn((rest.len(), 1, 1), |(row, ..)| rest[row]).view())?;
            let own = own.finish_robust();
            let offset = own.offset.first().copied().unwrap_or(0.0);
            // Of logarithms nothing is subtracted before.
            let mean = f64::from(own.mean[0]) + if log { offset } else { 0.0 };
            (map.mean[i], map.sd[i]) = (mean as f32, own.sd[0]);
            if !log && (offset != 0.0 || !map.offset.is_empty()) {
                map.offset.resize(map.mean.len(), 0.0);
                map.offset[i] = offset;
                atoms.iter_mut().for_each(|value| *value -= offset);
            }
        }
        map.atoms = Atoms { values, patterns };
        Ok(map)
    }

    /// The map that standardises what was seen.
    pub fn finish(self) -> ObservationMap {
        let scales: Vec<Scale> = self.columns.iter().map(|column| self.scale(column)).collect();
        let offset: Vec<f64> = scales.iter().map(|scale| scale.offset).collect();
        let (mean, sd) = scales.iter().map(|scale| (scale.mean as f32, scale.sd as f32)).unzip();
        let (mut counts, mut lowest, mut highest) = (Vec::new(), Vec::new(), Vec::new());
        if self.columns.iter().any(|column| column.whole) {
            for (column, offset) in self.columns.iter().zip(&offset) {
                counts.push(column.whole);
                lowest.push((column.lowest - offset) as f32);
                highest.push((column.highest - offset) as f32);
            }
        }
        let offset = if offset.iter().all(|&value| value == 0.0) { Vec::new() } else { offset };
        ObservationMap { log: self.log, mean, sd, counts, lowest, highest, offset, atoms: Atoms::default() }
    }
}
