//! Which rows are trained on, and which values are held back: copies, marks of failure and single broken rows.
//!
//! Columns whose largest value is far out beside their robust spread are gone through once more. A value such as -9999 or 10²⁰ that lies
//! beyond all others is a mark of failure, and its row a failed one. A few values beyond a gap ([`GAP`]) are broken rows: they must move
//! neither the standardisation nor the network.

use super::data::{RowBlock, VisitBlocks};
use super::options::Outliers;
use super::rows::Copies;
use crate::Result;
use crate::model::moments::{Moments, Robust};
use crate::notes::{FarValue, Note};
use ndarray::{Array2, ArrayView3, ArrayViewMut2, Axis};
use std::collections::BTreeSet;

/// Robust standard deviations beyond which a value is looked at, and beyond which it may be broken.
const FAR: f64 = 20.0;
const BROKEN: f64 = 50.0;

/// How many times as far out as the next value a broken one is. The largest of values with Cauchy tails is so in one of 15 sets.
const GAP: f64 = 15.0;

/// Largest share of values that are single broken ones; more are a second mode.
const RARE: f64 = 0.002;

/// Values that tools write for what is missing, up to their sign: the last is netCDF's.
const MARKS: [f64; 12] =
    [99.0, 999.0, 9999.0, 99_999.0, 999_999.0, 1e20, 1e30, 1e34, 1e35, 1e36, 1e37, 9.969_209_968_386_869e36];

/// Marks up to this may be values, and must come so often.
const CHANCE: f64 = 1000.0;
const OFTEN: usize = 3;

/// Goes through all rows; returns how many were left out before.
pub(super) type Blocks<'a> = dyn Fn(&mut VisitBlocks<'_>) -> Result<u64> + 'a;

/// Rows and values that are used.
#[derive(Debug)]
pub(super) struct Screened {
    /// Of the values that are used.
    pub moments: Moments,
    /// Rows that are left out although they are valid.
    pub dropped: BTreeSet<u64>,
    /// Of these, rows with a mark of failure.
    pub marked: BTreeSet<u64>,
    /// Lowest and highest value of each column that is used; others enter as these. Empty if all are used.
    pub bounds: Vec<(f64, f64)>,
    /// Rows that are used.
    pub rows: usize,
    /// Rows that were left out by the source.
    pub unseen: u64,
    /// What was found.
    pub notes: Vec<Note>,
}

impl Screened {
    /// Whether row number `row` is used.
    pub fn uses(&self, block: &RowBlock<'_>, index: usize) -> bool {
        block.valid[index] && !self.dropped.contains(&(block.first + index as u64))
    }

    /// A value of a column within the bounds.
    pub fn bound(&self, column: usize, value: f64) -> f64 {
        self.bounds.get(column).map_or(value, |&(low, high)| value.clamp(low, high))
    }
}

/// A value that is far out.
#[derive(Debug, Clone, Copy)]
struct Far {
    row: u64,
    value: f64,
    /// Distance from the median in robust standard deviations.
    distance: f64,
}

/// A column with values that are far out.
#[derive(Debug)]
struct Suspect {
    column: usize,
    robust: Robust,
    far: Vec<Far>,
    /// Largest distance of the others, and their lowest and highest value.
    inner: f64,
    range: (f64, f64),
}

/// Reads the rows once, and again where values are far out.
pub(super) fn screen(blocks: &Blocks<'_>, dim_x: usize, log: bool, outliers: Outliers) -> Result<Screened> {
    let mut moments = Moments::new(dim_x, log);
    let mut rows = 0;
    let mut copies = Copies::default();
    let mut marks = vec![BTreeSet::new(); dim_x];
    let unseen = blocks(&mut |block| {
        for (index, (theta, x)) in block.theta.outer_iter().zip(block.x.outer_iter()).enumerate() {
            if block.valid[index] {
                rows += 1;
                copies.add(block.first + index as u64, theta.iter(), x.iter());
                for ((_, column), &value) in x.indexed_iter().filter(|(_, value)| is_mark(**value)) {
                    marks[column].insert(value.to_bits());
                }
            }
        }
        add(&mut moments, (block.first, block.x, block.valid), |_| true)
    })?;
    let copies: BTreeSet<u64> = copies.found().into_iter().collect();
    let told = (!copies.is_empty()).then_some(Note::CopiedRows { copies: copies.len(), rows });
    let screened = |moments| Screened {
        moments,
        dropped: copies.clone(),
        marked: BTreeSet::new(),
        bounds: Vec::new(),
        rows,
        unseen,
        notes: told.clone().into_iter().collect(),
    };
    let mut suspects = if rows == 0 { Vec::new() } else { suspects(blocks, &moments, &marks, log)? };
    if suspects.is_empty() || outliers == Outliers::Keep {
        let found = moments.notes();
        let mut result = screened(moments);
        result.rows -= result.dropped.len();
        result.notes.extend(found);
        return Ok(result);
    }
    collect(blocks, log, &mut suspects)?;
    let mut result = screened(Moments::new(dim_x, log));
    for suspect in &mut suspects {
        judge(suspect, outliers, &mut result);
    }
    result.rows -= result.dropped.len();
    let (mut moments, dropped, bounds) = (Moments::new(dim_x, log), result.dropped.clone(), result.bounds.clone());
    blocks(&mut |block| {
        let used = |row: u64| !dropped.contains(&row);
        if bounds.is_empty() {
            return add(&mut moments, (block.first, block.x, block.valid), used);
        }
        let mut x = block.x.to_owned();
        for mut row in x.rows_mut() {
            row.iter_mut().zip(&bounds).for_each(|(value, &(low, high))| *value = value.clamp(low, high));
        }
        add(&mut moments, (block.first, x.view(), block.valid), used)
    })?;
    result.notes.extend(moments.notes());
    result.moments = moments;
    Ok(result)
}

/// Screens rows x (N, d) that are not a training set of a file: rows with a mark of failure become invalid, single values far beyond all others the most extreme of them.
///
/// # Errors
/// Values of x that have no logarithm where that is taken.
pub fn screen_rows(
    mut x: ArrayViewMut2<'_, f32>,
    valid: &mut [bool],
    log: bool,
    outliers: Outliers,
) -> Result<Vec<Note>> {
    let values = x.mapv(f64::from).insert_axis(Axis(1));
    // Rows that are alike are no copies here: parameters are drawn anew.
    let theta = Array2::from_shape_fn((x.nrows(), 1), |(row, _)| row as f64);
    let flags: Vec<bool> =
        valid.iter().zip(x.outer_iter()).map(|(&valid, x)| valid && x.iter().all(|v| v.is_finite())).collect();
    let blocks = |visit: &mut VisitBlocks<'_>| {
        visit(&RowBlock { first: 0, theta: theta.view(), x: values.view(), valid: &flags })?;
        Ok(0)
    };
    let screened = screen(&blocks, x.ncols(), log, outliers)?;
    for &row in &screened.dropped {
        valid[row as usize] = false;
    }
    for (column, &(low, high)) in screened.bounds.iter().enumerate() {
        x.column_mut(column).mapv_inplace(|value| f64::from(value).clamp(low, high) as f32);
    }
    Ok(screened.notes)
}

/// Takes in the valid rows of a block that are used.
fn add(
    moments: &mut Moments,
    (first, x, valid): (u64, ArrayView3<'_, f64>, &[bool]),
    used: impl Fn(u64) -> bool,
) -> Result<()> {
    let kept: Vec<usize> = (0..valid.len()).filter(|&i| valid[i] && used(first + i as u64)).collect();
    if kept.len() == valid.len() {
        return moments.add(x);
    }
    moments.add(x.select(Axis(0), &kept).view())
}

/// Columns whose extremes are far out, with the `marks` that each has: they are judged beside the rows without any, since they may be many.
fn suspects(blocks: &Blocks<'_>, moments: &Moments, marks: &[BTreeSet<u64>], log: bool) -> Result<Vec<Suspect>> {
    let enters = |bits: &u64| if log { f64::from_bits(*bits).ln() } else { f64::from_bits(*bits) };
    let far = |(column, robust): (usize, Robust)| {
        let values = marks[column].iter().map(enters).chain([robust.lowest, robust.highest]);
        let reach = values.map(|value| (value - robust.median).abs()).fold(0.0, f64::max);
        let suspect = robust.scale > 0.0 && reach > BROKEN * robust.scale;
        let range = (f64::INFINITY, f64::NEG_INFINITY);
        suspect.then(|| Suspect { column, robust, far: Vec::new(), inner: 0.0, range })
    };
    let of = |moments: &Moments| moments.robust().into_iter().enumerate().filter_map(far).collect();
    if marks.iter().all(BTreeSet::is_empty) {
        return Ok(of(moments));
    }
    let (mut unmarked, mut any) = (Moments::new(marks.len(), log), false);
    blocks(&mut |block| {
        let clean: Vec<bool> = block.x.outer_iter().map(|x| !x.iter().any(|&value| is_mark(value))).collect();
        any |= clean.iter().zip(block.valid).any(|(&clean, &valid)| clean && valid);
        add(&mut unmarked, (block.first, block.x, block.valid), |row| clean[(row - block.first) as usize])
    })?;
    Ok(if any { of(&unmarked) } else { of(moments) })
}

/// Whether tools write this value, up to its sign, for what is missing.
fn is_mark(value: f64) -> bool {
    value.abs() > 0.99 * MARKS[0] && MARKS.iter().any(|mark| (value.abs() / mark - 1.0).abs() < 1e-6)
}

fn collect(blocks: &Blocks<'_>, log: bool, suspects: &mut [Suspect]) -> Result<()> {
    blocks(&mut |block: &RowBlock<'_>| {
        let x: ArrayView3<'_, f64> = block.x;
        for (index, row) in x.outer_iter().enumerate().filter(|(index, _)| block.valid[*index]) {
            for suspect in suspects.iter_mut() {
                let Robust { median, scale, .. } = suspect.robust;
                for &value in row.column(suspect.column) {
                    let distance = ((if log { value.ln() } else { value }) - median).abs() / scale;
                    if distance > FAR {
                        suspect.far.push(Far { row: block.first + index as u64, value, distance });
                    } else {
                        suspect.keep(value, distance);
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(())
}

impl Suspect {
    fn keep(&mut self, value: f64, distance: f64) {
        self.inner = self.inner.max(distance);
        self.range = (self.range.0.min(value), self.range.1.max(value));
    }
}

/// Decides about the far values of a column.
fn judge(suspect: &mut Suspect, outliers: Outliers, result: &mut Screened) {
    suspect.far.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    let marked = |far: &Far| is_mark(far.value);
    let (marks, others): (Vec<Far>, Vec<Far>) = std::mem::take(&mut suspect.far).into_iter().partition(marked);
    // A mark stands alone: where other values are as far out, it is one of them.
    let alone =
        |far: &Far| others.iter().all(|other| !(far.distance / GAP..=far.distance * GAP).contains(&other.distance));
    let often =
        |far: &Far| far.value.abs() > CHANCE || marks.iter().filter(|other| other.value == far.value).count() >= OFTEN;
    let is_failure: Vec<bool> = marks
        .iter()
        .map(|far| far.distance > BROKEN && far.distance > GAP * suspect.inner && alone(far) && often(far))
        .collect();
    let of = |failure: bool| marks.iter().zip(&is_failure).filter(move |(_, is)| **is == failure).map(|(far, _)| *far);
    let (marks, unmarked): (Vec<Far>, Vec<Far>) = (of(true).collect(), of(false).collect());
    if !marks.is_empty() {
        result.marked.extend(marks.iter().map(|far| far.row));
        result.dropped.extend(marks.iter().map(|far| far.row));
        result.notes.push(Note::Marks { column: suspect.column, values: distinct(&marks), rows: marks.len() });
    }
    let mut others = [others, unmarked].concat();
    others.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    let mut inner = suspect.inner;
    let mut first = others.len();
    for (index, far) in others.iter().enumerate() {
        if far.distance > BROKEN && far.distance > GAP * inner {
            first = index;
            break;
        }
        inner = inner.max(far.distance);
    }
    let broken = others.split_off(first);
    others.iter().for_each(|far| suspect.keep(far.value, far.distance));
    if broken.is_empty() {
        return;
    }
    let rare = broken.len() <= 3 || (broken.len() as f64) < RARE * result.rows as f64;
    let dropped = rare && outliers == Outliers::Drop;
    if dropped {
        result.dropped.extend(broken.iter().map(|far| far.row));
    } else if rare {
        let everything = (f64::NEG_INFINITY, f64::INFINITY);
        let columns = result.moments.columns();
        if result.bounds.is_empty() {
            result.bounds = vec![everything; columns];
        }
        result.bounds[suspect.column] = suspect.range;
    }
    let mut first: Vec<FarValue> =
        broken.iter().map(|far| FarValue { row: far.row, value: far.value, distance: far.distance }).collect();
    first.sort_by_key(|far| far.row);
    first.truncate(3);
    result.notes.push(Note::FarRows { column: suspect.column, rows: broken.len(), first, bounded: rare, dropped });
}

/// The different values, in order of their first row.
fn distinct(far: &[Far]) -> Vec<f64> {
    let mut values: Vec<f64> = Vec::new();
    for far in far {
        if !values.contains(&far.value) {
            values.push(far.value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Array3};

    /// 4000 rows of a normal column, a constant rate of the other, some values replaced.
    fn screened(outliers: Outliers, replaced: &[(usize, f64)]) -> Screened {
        let mut x = Array3::from_shape_fn((4000, 1, 2), |(i, _, j)| 3.0 + ((i * 37 + j) as f64 * 0.7).sin());
        replaced.iter().for_each(|&(row, value)| x[[row, 0, 1]] = value);
        let theta = Array2::zeros((4000, 1));
        let valid = vec![true; 4000];
        let blocks = |visit: &mut VisitBlocks<'_>| {
            for first in [0, 1500] {
                let range = ndarray::s![first..if first == 0 { 1500 } else { 4000 }, .., ..];
                let part = x.slice(range);
                let count = part.dim().0;
                let theta = theta.slice(ndarray::s![..count, ..]);
                visit(&RowBlock { first: first as u64, theta, x: part, valid: &valid[..count] })?;
            }
            Ok(0)
        };
        screen(&blocks, 2, false, outliers).unwrap()
    }

    #[test]
    fn a_broken_row_is_named_and_held_back() {
        for (value, decimal) in [(1e10, "1e10"), (-5e3, "-5000")] {
            let found = screened(Outliers::Bound, &[(1234, value)]);
            let plain = screened(Outliers::Bound, &[]);
            let map = |screened: Screened| screened.moments.finish();
            let text = found.notes[0].to_string();
            assert!(text.starts_with(&format!("row 1234, column 1: {decimal}")), "{text}");
            assert_eq!((found.rows, found.dropped.len(), plain.notes.len()), (4000, 0, 0));
            assert!((found.bound(1, value) - 3.0).abs() < 1.1);
            let (found, plain) = (map(found), map(plain));
            assert!((found.sd[1] / plain.sd[1] - 1.0).abs() < 1e-3 && found.sd[0] == plain.sd[0]);
        }
        let dropped = screened(Outliers::Drop, &[(1234, 1e10)]);
        assert_eq!((dropped.rows, dropped.dropped.len(), dropped.marked.len()), (3999, 1, 0));
        let kept = screened(Outliers::Keep, &[(1234, 1e10)]);
        assert!(kept.notes.is_empty() && kept.moments.finish().sd[1] > 1e6);
    }

    #[test]
    fn marks_of_failure_are_failures_and_second_modes_are_not() {
        let marks: Vec<(usize, f64)> = (0..400).map(|i| (10 * i, if i % 2 == 0 { -9999.0 } else { 1e20 })).collect();
        let found = screened(Outliers::Bound, &marks);
        assert_eq!((found.rows, found.marked.len()), (3600, 400));
        assert!(matches!(&found.notes[..], [Note::Marks { column: 1, rows: 400, values }] if values.len() == 2));
        // 99 may be a count: once, or among others as large, it is one.
        let once = screened(Outliers::Bound, &[(70, 999.0)]);
        assert_eq!((once.rows, once.marked.len()), (4000, 0));
        let among: Vec<(usize, f64)> =
            (0..20).map(|i| (i, if i < 5 { 999.0 } else { 400.0 + 90.0 * i as f64 })).collect();
        assert_eq!(screened(Outliers::Bound, &among).marked.len(), 0);
        let often: Vec<(usize, f64)> = (0..5).map(|i| (i, 999.0)).collect();
        assert_eq!(screened(Outliers::Bound, &often).marked.len(), 5);
        // Most rows may have one.
        let marks: Vec<(usize, f64)> = (0..3000).map(|i| (i, -9999.0)).collect();
        let found = screened(Outliers::Bound, &marks);
        assert_eq!((found.rows, found.marked.len(), found.notes.len()), (1000, 3000, 1));
        let mode: Vec<(usize, f64)> = (0..100).map(|i| (10 * i, 80.0 + 0.01 * i as f64)).collect();
        let found = screened(Outliers::Bound, &mode);
        assert_eq!((found.rows, found.bounds.len()), (4000, 0));
        assert!(matches!(found.notes[..], [Note::FarRows { bounded: false, rows: 100, .. }]));
    }
}
