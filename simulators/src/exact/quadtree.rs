//! Independent draws from a density in the plane by rejection under an envelope that is constant on the squares of a quadtree.
//!
//! The density needs an upper bound on any square. The square that holds most of the envelope is quartered again and again until
//! the envelope holds little more than the density; then a square drawn by its share of the envelope, a uniform point in it and
//! a rejection step give exact draws, however concentrated or far apart the density's modes are.

use rand::RngExt;
use rand_pcg::Pcg64;
use std::collections::BinaryHeap;

/// The envelope is refined until it holds this many times the density's mass, estimated at the centres of the squares.
const LARGEST_EXCESS: f64 = 3.0;
/// The excess is estimated first after so many quarterings, then each time their number has grown by a third.
const FIRST_CHECK: usize = 256;
/// Squares after which refinement stops: draws are exact at any refinement, only slower.
const MOST_SQUARES: usize = 400_000;

/// A square [corner, corner + side)².
#[derive(Debug, Clone, Copy)]
pub(crate) struct Square {
    pub corner: [f64; 2],
    pub side: f64,
}

impl Square {
    /// Point at (u, v) ∈ [0, 1]² of the square.
    pub fn at(&self, u: f64, v: f64) -> [f64; 2] {
        [self.corner[0] + self.side * u, self.corner[1] + self.side * v]
    }

    /// Smallest and largest distance of `point` from the square's points.
    pub fn distances(&self, point: [f64; 2]) -> (f64, f64) {
        let axis = |i: usize| {
            let (low, high) = (self.corner[i] - point[i], self.corner[i] + self.side - point[i]);
            (low.max(-high).max(0.0), high.abs().max(low.abs()))
        };
        let (x, y) = (axis(0), axis(1));
        (x.0.hypot(y.0), x.1.hypot(y.1))
    }

    fn quarters(&self) -> [Self; 4] {
        [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
            .map(|(u, v)| Self { corner: self.at(u, v), side: 0.5 * self.side })
    }
}

/// A density in the plane, up to a factor, with bounds.
pub(crate) trait Bounded: Send + Sync {
    /// Logarithm of the density at `point`; -∞ where it is zero.
    fn log_density(&self, point: [f64; 2]) -> f64;

    /// A number that [`Bounded::log_density`] does not exceed on `square`.
    fn upper_bound(&self, square: &Square) -> f64;
}

/// A square with its bound, ordered by the logarithm of its share of the envelope.
struct Leaf {
    square: Square,
    bound: f64,
    log_mass: f64,
}

impl Leaf {
    fn new(density: &impl Bounded, square: Square) -> Option<Self> {
        let bound = density.upper_bound(&square);
        (bound > f64::NEG_INFINITY).then(|| Self { square, bound, log_mass: bound + 2.0 * square.side.ln() })
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Leaf {}

impl PartialOrd for Leaf {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Leaf {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.log_mass.total_cmp(&other.log_mass)
    }
}

/// A density with its envelope.
pub(crate) struct Quadtree<D> {
    density: D,
    squares: Vec<(Square, f64)>,
    /// Cumulative shares of the envelope.
    cumulative: Vec<f64>,
}

impl<D: Bounded> Quadtree<D> {
    /// The envelope of `density`, which is zero outside the union of `squares`; `None` if it is zero there too.
    pub(crate) fn new(density: D, squares: &[Square]) -> Option<Self> {
        let mut heap: BinaryHeap<Leaf> = squares.iter().filter_map(|square| Leaf::new(&density, *square)).collect();
        let (mut splits, mut check) = (0, FIRST_CHECK);
        while heap.len() < MOST_SQUARES {
            if splits == check {
                if tight(&density, &heap) {
                    break;
                }
                check += check / 3;
            }
            let largest = heap.pop()?;
            heap.extend(largest.square.quarters().into_iter().filter_map(|quarter| Leaf::new(&density, quarter)));
            splits += 1;
        }
        let leaves = heap.into_sorted_vec();
        let highest = leaves.last()?.log_mass;
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = leaves
            .iter()
            .map(|leaf| {
                sum += (leaf.log_mass - highest).exp();
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|value| *value /= sum);
        let squares = leaves.into_iter().map(|leaf| (leaf.square, leaf.bound)).collect();
        Some(Self { density, squares, cumulative })
    }

    /// An independent draw.
    pub(crate) fn sample(&self, rng: &mut Pcg64) -> [f64; 2] {
        loop {
            let u: f64 = rng.random();
            let index = self.cumulative.partition_point(|&value| value <= u).min(self.squares.len() - 1);
            let (square, bound) = self.squares[index];
            let point = square.at(rng.random(), rng.random());
            if rng.random::<f64>() < (self.density.log_density(point) - bound).exp() {
                return point;
            }
        }
    }
}

/// Whether the envelope's mass is near the density's, by the values at the centres.
fn tight(density: &impl Bounded, heap: &BinaryHeap<Leaf>) -> bool {
    let Some(highest) = heap.peek().map(|leaf| leaf.log_mass) else { return false };
    let envelope: f64 = heap.iter().map(|leaf| (leaf.log_mass - highest).exp()).sum();
    let inside: f64 = heap
        .iter()
        .map(|leaf| (leaf.log_mass - highest + density.log_density(leaf.square.at(0.5, 0.5)) - leaf.bound).exp())
        .sum();
    envelope <= LARGEST_EXCESS * inside
}
