//! Where a network of the likelihood was given simulations, if that is not the whole prior.
//!
//! A network extrapolates where it has seen nothing, and n observations multiply what it makes up there by n. So a region bounds it: ellipsoids around the Gaussians that parameters were drawn from.
//! Outside of all of them an observation's log-likelihood falls with the squared distance,
//!     log p(x|u) - STEEP/2 min_k(|C_k⁻¹(u - c_k)|² - R²),
//! which is smooth where one ellipsoid is nearest, so that tempering from the whole prior finds its way in.

use crate::refine::Frame;
use crate::small_matrix::{dot, lower_solve, lower_transpose_solve};
use crate::tempering::Local;
use serde::{Deserialize, Serialize};
use tallsbi_data::SignedPermutation;

/// Loss of log-likelihood, an observation and half a unit of squared distance in standard deviations of what parameters were drawn from: at twice the radius in five dimensions 300 nats.
const STEEP: f64 = 10.0;

/// Share of a radius beyond which a point is at the edge.
const EDGE: f64 = 0.85;

/// Ellipsoids |C_k⁻¹(u - c_k)| ≤ R in latent space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// c_k and C_k.
    frames: Vec<Frame>,
    /// R.
    radius: f64,
}

impl Region {
    /// Around `frames` and their images under `elements`.
    ///
    /// # Errors
    /// When an image has no width, by rounding.
    pub fn new(frames: &[Frame], radius: f64, elements: &[SignedPermutation]) -> crate::Result<Self> {
        let image = |(frame, element): (&Frame, &SignedPermutation)| {
            let m = frame.dim();
            let mapped = |v: &[f64]| {
                let mut out = vec![0.0; m];
                element.apply(v, &mut out);
                out
            };
            let column = |a: usize| (0..m).map(|i| frame.factor[i * m + a]).collect::<Vec<f64>>();
            let columns: Vec<Vec<f64>> = (0..m).map(|a| mapped(&column(a))).collect();
            let entry = |i: usize, j: usize| columns.iter().map(|column| column[i] * column[j]).sum::<f64>();
            let covariance = (0..m * m).map(|k| entry(k / m, k % m)).collect();
            Frame::new(mapped(&frame.center), covariance)
        };
        let pairs = frames.iter().flat_map(|frame| elements.iter().map(move |element| (frame, element)));
        Ok(Self { frames: pairs.map(image).collect::<crate::Result<_>>()?, radius })
    }

    /// Whether it has ellipsoids of `m` dimensions and finite numbers.
    pub(super) fn is_valid(&self, m: usize) -> bool {
        !self.frames.is_empty()
            && self.frames.iter().all(|frame| frame.is_valid(m))
            && self.radius > 0.0
            && self.radius.is_finite()
    }

    /// The share of points `u` (rows, m) that lie at its edge or beyond.
    pub fn at_edge(&self, u: &[f64], m: usize) -> f64 {
        let beyond = |u: &&[f64]| {
            let square = self.nearest(u).1;
            square.is_nan() || square > (EDGE * self.radius).powi(2)
        };
        u.chunks_exact(m).filter(beyond).count() as f64 / (u.len() / m).max(1) as f64
    }

    /// The nearest ellipsoid's frame, and |C⁻¹(u - c)|².
    fn nearest(&self, u: &[f64]) -> (&Frame, f64) {
        let square = |frame: &Frame| {
            let mut v = u.to_vec();
            frame.to_local(&mut v);
            dot(&v, &v)
        };
        let squares = self.frames.iter().map(|frame| (frame, square(frame)));
        squares.min_by(|a, b| a.1.total_cmp(&b.1)).expect("at least one")
    }

    /// Adds what n observations lose at `u` to row `index`.
    pub(super) fn bound(&self, n: f64, u: &[f64], local: &mut Local, index: usize) {
        let m = u.len();
        let (frame, square) = self.nearest(u);
        let excess = square - self.radius * self.radius;
        if excess <= 0.0 {
            return;
        }
        let steep = n * STEEP;
        local.values[index] -= 0.5 * steep * excess;
        let mut slope = u.to_vec();
        frame.to_local(&mut slope);
        lower_transpose_solve(&frame.factor, &mut slope);
        let gradient = &mut local.gradients[index * m..(index + 1) * m];
        gradient.iter_mut().zip(&slope).for_each(|(sum, slope)| *sum -= steep * slope);
        let information = &mut local.informations[index * m * m..(index + 1) * m * m];
        for a in 0..m {
            // A column of C⁻ᵀ C⁻¹.
            let mut column: Vec<f64> = (0..m).map(|i| f64::from(u8::from(i == a))).collect();
            lower_solve(&frame.factor, &mut column);
            lower_transpose_solve(&frame.factor, &mut column);
            (0..m).for_each(|b| information[b * m + a] += steep * column[b]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_the_likelihood_falls_with_its_derivatives_and_inside_it_is_as_it_was() {
        let frame = Frame::new(vec![1.0, -0.5], vec![0.04, 0.01, 0.01, 0.09]).unwrap();
        let flips = [SignedPermutation::identity(2), SignedPermutation::flip(2, &[0])];
        let region = Region::new(&[frame], 3.0, &flips).unwrap();
        let at = |u: [f64; 2]| {
            let mut local = Local::default();
            local.resize(1, 2);
            local.values[0] = 1.0;
            local.gradients.fill(0.0);
            local.informations.fill(0.0);
            region.bound(4.0, &u, &mut local, 0);
            local
        };
        for inside in [[1.1, -0.4], [-1.1, -0.4]] {
            assert_eq!((at(inside).values[0], at(inside).gradients[0]), (1.0, 0.0));
        }
        // Along the first axis of a frame of width 0.2: 1 + 0.2 · 5 is 4 radii² beyond.
        for outside in [[2.4, -0.3], [-2.2, 0.9]] {
            let exact = at(outside);
            assert!(exact.values[0] < -20.0);
            for a in 0..2 {
                let moved = |h: f64| {
                    let mut moved = outside;
                    moved[a] += h;
                    at(moved)
                };
                let (up, down) = (moved(1e-5), moved(-1e-5));
                let slope = (up.values[0] - down.values[0]) / 2e-5;
                assert!((slope - exact.gradients[a]).abs() < 1e-4 * slope.abs(), "{slope} {}", exact.gradients[a]);
                let curvature = (up.gradients[a] - down.gradients[a]) / 2e-5;
                assert!((curvature + exact.informations[3 * a]).abs() < 1e-4 * curvature.abs());
            }
        }
        assert_eq!(region.at_edge(&[1.0, -0.5, -1.0, -0.5, 0.0, 0.0, 1.55, -0.5], 2), 0.5);
    }
}
