//! Is a fitted likelihood right where the posterior is? The mean score of simulations there is zero if it is.
//!
//! For the true likelihood E\[∇ log p(x|u)\] = 0 under x ~ p(·|u), at every u. A fitted one whose mean score around the posterior is g moves the posterior by n Σ g, or
//! n Bᵀ g in its own standard deviation (Σ = B Bᵀ): a direct estimate of the fit's bias, with standard error √(n/N), N rows counting. Fits make the
//! mean score zero over all their rows, wherever they lie; here rows are weighted towards the posterior.

use super::fit::Rows;
use super::frame::{Frame, moments};
use super::local::{LocalLikelihood, LocalScratch};
use super::near::weights;
use crate::Result;
use crate::small_matrix::dot;
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Rows evaluated together.
const CHUNK: usize = 256;

/// A fit's bias in the posterior's sd, root mean square over directions, and what chance alone gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bias {
    /// |n Bᵀ g| / √m.
    pub size: f64,
    /// √(n/N).
    pub error: f64,
}

/// The bias of `likelihood` at the posterior `draws` (draw, m) of `worth` observations, from rows of its own that were drawn from about `frame`.
///
/// # Errors
/// When draws have no width in some direction.
pub fn bias(likelihood: &LocalLikelihood, frame: &Frame, rows: &Rows, draws: &[f64], worth: f64) -> Result<Bias> {
    let m = frame.dim();
    let d = likelihood.columns.len();
    let (mean, covariance) = moments(draws, m, None);
    let posterior = Frame::new(mean, covariance)?;
    let weights = weights(frame, rows, draws)?;
    let parts: Vec<(Vec<f64>, f64, f64)> = (0..weights.len().div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let (mut score, mut sum, mut square) = (vec![0.0; m], 0.0, 0.0);
            let (mut gradient, mut information) = (vec![0.0; m], vec![0.0; m * m]);
            let mut scratch = LocalScratch::default();
            for i in chunk * CHUNK..((chunk + 1) * CHUNK).min(weights.len()) {
                let weight = weights[i];
                if weight == 0.0 {
                    continue;
                }
                let x = ArrayView2::from_shape((1, d), &rows.x[i * d..(i + 1) * d]).expect("one row");
                let Ok(statistics) = likelihood.statistics(x) else { continue };
                let buffers = (&mut gradient[..], &mut information[..]);
                let u = &rows.u[i * m..(i + 1) * m];
                if likelihood.evaluate(&statistics, u, &posterior.factor, &mut scratch, buffers).is_finite() {
                    score.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += weight * g);
                    sum += weight;
                    square += weight * weight;
                }
            }
            (score, sum, square)
        })
        .collect();
    let (mut score, mut sum, mut square) = (vec![0.0; m], 0.0, 0.0);
    for (part, weights, squares) in parts {
        score.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        sum += weights;
        square += squares;
    }
    let size = worth * (dot(&score, &score) / m as f64).sqrt() / sum;
    Ok(Bias { size, error: (worth * square).sqrt() / sum })
}

#[cfg(test)]
mod tests {
    use super::super::Chart;
    use super::super::fit::{Forms, fit};
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::{Silent, StreamKey};

    /// x ~ N(u + c u³, 1): a line is biased where the posterior is off the centre of its rows, a cubic is not.
    #[test]
    fn a_line_through_a_cubic_is_biased_by_what_it_misses() {
        let mut rng = StreamKey::root(5).rng(0);
        let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
        let u: Vec<f64> = (0..20_000).map(|_| normal()).collect();
        let x: Vec<f32> = u.iter().map(|u| (u + 0.2 * u.powi(3) + normal()) as f32).collect();
        let rows = Rows { u, x, ..Rows::default() };
        let frame = Frame::standard(1, 1.0);
        let worth: f64 = 25.0;
        let draws: Vec<f64> = (0..500).map(|i| 0.5 + 0.1 * f64::from(i % 7 - 3)).collect();
        let found = |degree| {
            let forms = Forms { mean: degree, ..Forms::default() };
            let chart = Chart { bounded: vec![false], frame: frame.clone() };
            let fitted = fit(chart, &rows, false, 10.0, forms, &Silent).unwrap();
            bias(&fitted.likelihood, &frame, &rows, &draws, worth).unwrap()
        };
        let (line, cubic) = (found(1), found(3));
        assert!(cubic.size < 3.0 * cubic.error, "{cubic:?}");
        // The line is 1.6 u, the truth 0.525 at 0.5 (and a little more around it): off by 0.27 in x, times 1.6 · 25 · 0.2.
        assert!(line.size > 1.0 && line.size > 5.0 * line.error, "{line:?}");
    }
}
