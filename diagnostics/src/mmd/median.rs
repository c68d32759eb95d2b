//! The exact median of all pairwise distances without storing them.

use super::kernel::{Blocks, LANES, TILE};
use crate::{Monitor, Result};
use pulp::{Arch, Simd, WithSimd};
use rand::RngExt;
use rayon::prelude::*;
use tallsbi_data::{Purpose, StreamKey};

/// Bins the bracket is divided into at every pass.
const BINS: usize = 1 << 14;

/// Distances left in the last bracket that are sorted rather than counted again: a constant amount of memory.
const SORT: u64 = 1 << 16;

/// Random pairs that bracket the median before the first pass.
const PILOT: usize = 1 << 15;

/// Half-width of the pilot's bracket in standard errors of its quantile: missed once in 10⁹ times, which costs one more
/// pass and nothing else.
const PILOT_ERRORS: f64 = 6.0;

/// Lower median of the N(N-1)/2 distances.
pub(super) fn median_distance(x: &Blocks, monitor: Monitor<'_>) -> Result<f64> {
    let pairs = (x.rows() as u64 * (x.rows() as u64 - 1)) / 2;
    let rank = (pairs - 1) / 2;
    let mut bracket = pilot(x, rank as f64 / pairs as f64);
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
            let mut values = collect(x, inner, monitor)?;
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

/// An interval that holds the quantile `level` of the squared distances almost surely, from random pairs.
fn pilot(x: &Blocks, level: f64) -> Bracket {
    // The answer does not depend on these pairs, only how fast it is found.
    let mut rng = StreamKey::root(0).child(Purpose::Subset).rng(0);
    let (mut a, mut b) = (vec![0.0; x.dim()], vec![0.0; x.dim()]);
    let mut values: Vec<f64> = (0..PILOT)
        .map(|_| {
            let i = rng.random_range(0..x.rows());
            let j = (i + rng.random_range(1..x.rows())) % x.rows();
            x.point(i, &mut a);
            x.point(j, &mut b);
            a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum()
        })
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    let spread = PILOT_ERRORS * (level.max(0.25) * (1.0 - level).max(0.25) * PILOT as f64).sqrt();
    let middle = level * PILOT as f64;
    let at = |position: f64| values[position.clamp(0.0, (PILOT - 1) as f64) as usize];
    Bracket { low: at(middle - spread), high: at(middle + spread) }
}

/// Counts all pairs below the bracket and in each of its bins.
fn count(x: &Blocks, bracket: Bracket, monitor: Monitor<'_>) -> Result<Counts> {
    let nothing = || Counts { below: 0, bins: vec![0; BINS] };
    (0..x.tile_count())
        .into_par_iter()
        .try_fold(nothing, |mut counts, tile| {
            monitor.check()?;
            Arch::new().dispatch(CountTile { x, tile, bracket, counts: &mut counts });
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

/// All squared distances inside the bracket, in no particular order.
fn collect(x: &Blocks, bracket: Bracket, monitor: Monitor<'_>) -> Result<Vec<f64>> {
    let found = (0..x.tile_count())
        .into_par_iter()
        .map(|tile| {
            monitor.check()?;
            Ok(Arch::new().dispatch(CollectTile { x, tile, bracket }))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(found.concat())
}

struct CollectTile<'a> {
    x: &'a Blocks,
    tile: usize,
    bracket: Bracket,
}

impl WithSimd for CollectTile<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<f64> {
        let mut values = Vec::new();
        visit(self.x, self.tile, self.bracket, |value| values.push(value));
        values
    }
}

/// Calls `inside` for every pair i < j, i in tile `tile`, whose squared distance lies in the bracket; returns the number of those
/// under it.
#[inline(always)]
fn visit(x: &Blocks, tile: usize, bracket: Bracket, mut inside: impl FnMut(f64)) -> u64 {
    let mut point = vec![0.0; x.dim()];
    let mut under = [0u64; LANES];
    for row in tile * TILE..((tile + 1) * TILE).min(x.rows()) {
        x.point(row, &mut point);
        for block in row / LANES..x.block_count() {
            let mut values = x.squared_distances(&point, block);
            if block == row / LANES || block + 1 == x.block_count() {
                // Lanes that are no pair i < j: set above every bracket.
                let first = if block == row / LANES { row % LANES + 1 } else { 0 };
                values[..first].fill(f64::INFINITY);
                values[x.lanes(block)..].fill(f64::INFINITY);
            }
            let mut found = 0;
            for (count, &value) in under.iter_mut().zip(&values) {
                *count += u64::from(value < bracket.low);
                found += u64::from((value >= bracket.low) & (value <= bracket.high));
            }
            if found > 0 {
                for value in values {
                    if value >= bracket.low && value <= bracket.high {
                        inside(value);
                    }
                }
            }
        }
    }
    under.iter().sum()
}
