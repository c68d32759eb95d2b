//! The exact median of all pairwise distances without storing them.

use super::kernel::{Blocks, LANES};
use crate::Result;
use pulp::{Arch, Simd, WithSimd};
use rand::RngExt;
use rayon::prelude::*;
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// Bins the bracket is divided into at every pass.
const BINS: usize = 1 << 14;

/// Distances left in the last bracket that are sorted rather than counted again: a constant amount of memory.
const SORT: u64 = 1 << 16;

/// Distances a bracket is expected to hold at most for them to be collected in the first pass: a constant 8 MiB.
const COLLECT: f64 = (1 << 20) as f64;

/// Random pairs that bracket the median before the first pass: this share of all, within limits.
const PILOT_SHARE: u64 = 64;
const PILOT: (u64, u64) = (1 << 12, 1 << 18);

/// What a pass over all pairs is called.
const STAGE: &str = "median distance";

/// Half-width of the pilot's bracket in standard errors of its quantile: missed once in 10⁹ times, which costs one more
/// pass and nothing else.
const PILOT_ERRORS: f64 = 6.0;

/// Lower median of the N(N-1)/2 distances.
pub(super) fn median_distance(x: &Blocks, monitor: &dyn Monitor) -> Result<f64> {
    let pairs = (x.rows() as u64 * (x.rows() as u64 - 1)) / 2;
    let rank = (pairs - 1) / 2;
    let (bracket, share) = pilot(x, rank as f64 / pairs as f64, pairs);
    if share * pairs as f64 <= COLLECT {
        let (below, mut values) = collect(x, bracket, monitor)?;
        if let Some(left) = rank.checked_sub(below).filter(|&left| left < values.len() as u64) {
            let (_, value, _) = values.select_nth_unstable_by(left as usize, f64::total_cmp);
            return Ok(value.sqrt());
        }
        // Missed: the search finds it wherever it is.
    }
    search(x, bracket, rank, monitor)
}

/// The distance of rank `rank` (from 0), by counting pairs in ever smaller brackets.
fn search(x: &Blocks, mut bracket: Bracket, rank: u64, monitor: &dyn Monitor) -> Result<f64> {
    loop {
        let counts = count(x, bracket, monitor)?;
        if rank < counts.below {
            bracket = Bracket { low: 0.0, high: bracket.low.next_down() };
            continue;
        }
        if rank >= counts.below + counts.inside() {
            bracket = Bracket { low: bracket.high.next_up(), high: f64::MAX };
            continue;
        }
        let mut left = rank - counts.below;
        let mut bin = 0;
        while left >= counts.bins[bin] {
            left -= counts.bins[bin];
            bin += 1;
        }
        let inner = bracket.bin(bin);
        if inner.low >= inner.high {
            return Ok(inner.low.sqrt());
        }
        if counts.bins[bin] <= SORT {
            let (_, mut values) = collect(x, inner, monitor)?;
            let (_, value, _) = values.select_nth_unstable_by(left as usize, f64::total_cmp);
            return Ok(value.sqrt());
        }
        bracket = inner;
    }
}

/// A closed interval of squared distances.
#[derive(Clone, Copy)]
struct Bracket {
    low: f64,
    high: f64,
}

impl Bracket {
    /// Bin of a value inside. Monotone, so that every bin holds an interval.
    #[inline(always)]
    fn index(self, value: f64) -> usize {
        let position = (value - self.low) / (self.high - self.low) * BINS as f64;
        (position as usize).min(BINS - 1)
    }

    /// The largest interval whose values fall into bin `bin`, found by bisection over the floats: what [`Self::index`]
    /// rounds where is then of no concern.
    fn bin(self, bin: usize) -> Self {
        let first_at_least = |target: usize| {
            let (mut low, mut high) = (self.low.to_bits(), self.high.to_bits());
            while low < high {
                let middle = low + (high - low) / 2;
                if self.index(f64::from_bits(middle)) >= target { high = middle } else { low = middle + 1 }
            }
            f64::from_bits(low)
        };
        let low = if bin == 0 { self.low } else { first_at_least(bin) };
        let high = if bin == BINS - 1 { self.high } else { first_at_least(bin + 1).next_down() };
        Self { low, high }
    }
}

struct Counts {
    below: u64,
    bins: Vec<u64>,
}

impl Counts {
    fn inside(&self) -> u64 {
        self.bins.iter().sum()
    }
}

/// An interval that holds the quantile `level` of the squared distances almost surely, from random pairs, and the share of all
/// pairs it is expected to hold.
fn pilot(x: &Blocks, level: f64, pairs: u64) -> (Bracket, f64) {
    let count = (pairs / PILOT_SHARE).clamp(PILOT.0, PILOT.1) as usize;
    // The answer does not depend on these pairs, only how fast it is found.
    let mut rng = StreamKey::root(0).child(Purpose::Subset).rng(0);
    let (mut a, mut b) = (vec![0.0; x.dim()], vec![0.0; x.dim()]);
    let mut values: Vec<f64> = (0..count)
        .map(|_| {
            let i = rng.random_range(0..x.rows());
            let j = (i + rng.random_range(1..x.rows())) % x.rows();
            x.point(i, &mut a);
            x.point(j, &mut b);
            squared_distance(&a, &b)
        })
        .collect();
    let spread = PILOT_ERRORS * (level.max(0.25) * (1.0 - level).max(0.25) * count as f64).sqrt();
    let middle = level * count as f64;
    let mut at = |position: f64| {
        let index = position.clamp(0.0, (count - 1) as f64) as usize;
        *values.select_nth_unstable_by(index, f64::total_cmp).1
    };
    let bracket = Bracket { low: at(middle - spread), high: at(middle + spread) };
    // Counted, not taken from the spread: many distances may be equal.
    let inside = values.iter().filter(|&&value| value >= bracket.low && value <= bracket.high).count();
    (bracket, inside as f64 / count as f64)
}

/// ‖a - b‖², rounded as [`Blocks::squared_distances`] rounds it: equal distances stay equal.
fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| (b - a).mul_add(b - a, sum))
}

/// Counts all pairs below the bracket and in each of its bins.
fn count(x: &Blocks, bracket: Bracket, monitor: &dyn Monitor) -> Result<Counts> {
    let nothing = || Counts { below: 0, bins: vec![0; BINS] };
    let stage = monitor.stage(STAGE, "tiles", x.tile_count() as u64);
    (0..x.tile_count())
        .into_par_iter()
        .try_fold(nothing, |mut counts, tile| {
            stage.check()?;
            Arch::new().dispatch(CountTile { x, tile, bracket, counts: &mut counts });
            stage.advance(1);
            Ok(counts)
        })
        // Counts are integers: their sum does not depend on the order of the tiles.
        .try_reduce(nothing, |mut a, b| {
            a.below += b.below;
            a.bins.iter_mut().zip(b.bins).for_each(|(a, b)| *a += b);
            Ok(a)
        })
}

struct CountTile<'a> {
    x: &'a Blocks,
    tile: usize,
    bracket: Bracket,
    counts: &'a mut Counts,
}

impl WithSimd for CountTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { x, tile, bracket, counts } = self;
        let bins = &mut counts.bins;
        counts.below += visit(x, tile, bracket, |value| bins[bracket.index(value)] += 1);
    }
}

/// How many squared distances lie below the bracket, and all inside it, in no particular order.
fn collect(x: &Blocks, bracket: Bracket, monitor: &dyn Monitor) -> Result<(u64, Vec<f64>)> {
    let stage = monitor.stage(STAGE, "tiles", x.tile_count() as u64);
    let found = (0..x.tile_count())
        .into_par_iter()
        .map(|tile| {
            stage.check()?;
            let found = Arch::new().dispatch(CollectTile { x, tile, bracket });
            stage.advance(1);
            Ok(found)
        })
        .collect::<Result<Vec<_>>>()?;
    let (below, values): (Vec<u64>, Vec<Vec<f64>>) = found.into_iter().unzip();
    Ok((below.iter().sum(), values.concat()))
}

struct CollectTile<'a> {
    x: &'a Blocks,
    tile: usize,
    bracket: Bracket,
}

impl WithSimd for CollectTile<'_> {
    type Output = (u64, Vec<f64>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> (u64, Vec<f64>) {
        let mut values = Vec::new();
        let below = visit(self.x, self.tile, self.bracket, |value| values.push(value));
        (below, values)
    }
}

/// Calls `inside` for every pair i < j, i in tile `tile`, whose squared distance lies in the bracket; returns the number of those
/// under it.
#[inline(always)]
fn visit(x: &Blocks, tile: usize, bracket: Bracket, mut inside: impl FnMut(f64)) -> u64 {
    let mut point = vec![0.0; x.dim()];
    let mut under = [0u64; LANES];
    let rows = x.tile(tile);
    for row in rows.clone() {
        x.point(row, &mut point);
        let mut values = x.squared_distances(&point, row / LANES);
        // Lanes that are no pair i < j: above every bracket.
        values[..=row % LANES].fill(f64::INFINITY);
        sort_out(&values, bracket, &mut under, &mut inside);
    }
    for span in x.spans(rows.start / LANES + 1) {
        for row in rows.clone() {
            x.point(row, &mut point);
            for block in span.start.max(row / LANES + 1)..span.end {
                sort_out(&x.squared_distances(&point, block), bracket, &mut under, &mut inside);
            }
        }
    }
    under.iter().sum()
}

/// Counts the values under the bracket, lane by lane, and calls `inside` for those in it.
#[inline(always)]
fn sort_out(values: &[f64; LANES], bracket: Bracket, under: &mut [u64; LANES], inside: &mut impl FnMut(f64)) {
    let mut any = false;
    for (count, &value) in under.iter_mut().zip(values) {
        *count += u64::from(value < bracket.low);
        any |= (value >= bracket.low) & (value <= bracket.high);
    }
    if any {
        for &value in values {
            if value >= bracket.low && value <= bracket.high {
                inside(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use tallsbi_data::Silent;

    /// The search that large samples need, from brackets that hold the median, miss it, or hold all; with and without ties.
    #[test]
    fn search_finds_the_median_from_any_bracket() {
        for (rows, grid) in [(70, 1e6), (333, 1e6), (333, 3.0)] {
            let value = |i: usize, k: usize| ((((i * 7919 + k * 104_729) as f64).sin() * grid).round()) / grid;
            let x = Array2::from_shape_fn((rows, 3), |(i, k)| value(i, k));
            let mut all: Vec<f64> = (0..rows)
                .flat_map(|i| (0..i).map(move |j| (i, j)))
                .map(|(i, j)| squared_distance(&[0, 1, 2].map(|k| value(i, k)), &[0, 1, 2].map(|k| value(j, k))))
                .collect();
            all.sort_unstable_by(f64::total_cmp);
            let rank = (all.len() - 1) / 2;
            let blocks = Blocks::new(x.view());
            let middle = all[rank];
            for (low, high) in [
                (0.0, f64::MAX),
                (0.9 * middle, 1.1 * middle),
                (1.5 * middle, 2.0 * middle),
                (0.1 * middle, 0.2 * middle),
            ] {
                let found = search(&blocks, Bracket { low, high }, rank as u64, &Silent).unwrap();
                assert_eq!(found, middle.sqrt(), "{rows} rows from {low}..{high}");
            }
            assert_eq!(median_distance(&blocks, &Silent).unwrap(), middle.sqrt());
        }
    }
}
