//! The law of residuals of a fit, and the means and spreads that are most likely under it.
//!
//! Least squares finds the means and variances of any law, but a law with edges or narrow crests knows its location better: E\[ψ ψᵀ\] > I, and squares of residuals with heavy tails know its scale
//! badly. So both move by Fisher scoring (one-step estimators, Le Cam 1956), and the law follows.

use super::fit::{MARGIN, Rows};
use super::local::LocalLikelihood;
use super::mixture::{Mixture, ResidualLaw};
use super::regression::solve;
use rayon::prelude::*;

/// Rounds of scoring.
const ROUNDS: usize = 3;

/// Coefficients of all means up to which they are scored together.
const MOST_COEFFICIENTS: usize = 200;

/// Rows evaluated together.
const CHUNK: usize = 512;

/// `likelihood` with a law of its residuals, if one predicts held-out rows better than N(0, I); and what it gains over all rows.
pub(super) fn shape(likelihood: &LocalLikelihood, rows: &Rows) -> Option<(LocalLikelihood, f64)> {
    let (gaussians, d) = (likelihood.gaussians(), likelihood.columns.len());
    let g = gaussians.len();
    // A mixture of narrow Gaussians on whole numbers gains without end and means nothing.
    let whole = |i: usize| rows.x.iter().skip(i).step_by(d).all(|x| x.fract() == 0.0);
    if g == 0 || gaussians.iter().any(|&(i, _)| !likelihood.log && whole(i)) {
        return None;
    }
    let residuals = residuals(likelihood, rows);
    let count = residuals.len() / g;
    let (mixture, gain) = Mixture::fit(&residuals, g, MARGIN / count as f64)?;
    let mut shaped = likelihood.clone();
    shaped.residual = Some(ResidualLaw::of(mixture, &residuals));
    for _ in 0..ROUNDS {
        let Some(next) = scored(&shaped, rows) else { break };
        shaped = next;
    }
    Some((shaped, gain * count as f64))
}

/// φ and the standardised values of the Gaussian columns, of the rows from `first` on.
fn chunk(likelihood: &LocalLikelihood, rows: &Rows, first: usize) -> Vec<(Vec<f64>, Vec<f64>)> {
    let (m, d) = (likelihood.chart.bounded.len(), likelihood.columns.len());
    let gaussians = likelihood.gaussians();
    let last = (first + CHUNK).min(rows.u.len() / m);
    (first..last)
        .map(|row| {
            let mut phi = vec![0.0; likelihood.basis.len()];
            likelihood.basis.evaluate(&likelihood.chart.at(&rows.u[row * m..(row + 1) * m]), &mut phi);
            let y = gaussians.iter().map(|&(i, c)| likelihood.standardised(c, f64::from(rows.x[row * d + i])));
            (phi, y.collect())
        })
        .collect()
}

fn chunks(likelihood: &LocalLikelihood, rows: &Rows) -> impl IndexedParallelIterator<Item = usize> {
    let count = rows.u.len() / likelihood.chart.bounded.len();
    (0..count.div_ceil(CHUNK)).into_par_iter().map(|chunk| chunk * CHUNK)
}

/// Whitened residuals of all rows, (N, g).
fn residuals(likelihood: &LocalLikelihood, rows: &Rows) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = chunks(likelihood, rows)
        .map(|first| {
            let mut out = Vec::new();
            for (phi, y) in chunk(likelihood, rows, first) {
                let mut r = vec![0.0; y.len()];
                likelihood.place(&phi).whiten(&y, &mut r);
                out.extend(r);
            }
            out
        })
        .collect();
    parts.concat()
}

/// One step of scoring and the law after it, if that is more likely.
fn scored(likelihood: &LocalLikelihood, rows: &Rows) -> Option<LocalLikelihood> {
    let law = likelihood.residual.as_ref()?;
    let channels = Channels::new(likelihood, law, &residuals(likelihood, rows))?;
    let (gradient, information) = system(likelihood, law, rows, &channels);
    let step = solve(&information, &gradient, 0.0)?;
    let mut next = likelihood.clone();
    let mut steps = step.iter();
    let mut take =
        |coefficients: &mut Vec<f64>| coefficients.iter_mut().zip(&mut steps).for_each(|(c, step)| *c += step);
    next.gaussian_columns().for_each(|own| take(&mut own.mean));
    if channels.spreads {
        next.gaussian_columns().for_each(|own| take(&mut own.log_variance));
    }
    let before = law.mixture.total(&residuals(likelihood, rows)) - 0.5 * spreads(likelihood, rows);
    let moved = residuals(&next, rows);
    let mixture = law.mixture.clone().improve(&moved);
    if !(mixture.total(&moved) - 0.5 * spreads(&next, rows) > before) {
        return None;
    }
    next.residual = Some(ResidualLaw::of(mixture, &moved));
    Some(next)
}

/// Σ s over rows and columns.
fn spreads(likelihood: &LocalLikelihood, rows: &Rows) -> f64 {
    let sums: Vec<f64> = chunks(likelihood, rows)
        .map(|first| chunk(likelihood, rows, first).iter().map(|(phi, _)| likelihood.place(phi).spread()).sum())
        .collect();
    sums.iter().sum()
}

/// What is scored: the means of all Gaussian columns, and their log-variances if they are not too many.
struct Channels {
    widths: Vec<usize>,
    spreads: bool,
    /// E\[c cᵀ\] of c = (ψ, 1 + ψ r), (2 g, 2 g).
    moments: Vec<f64>,
}

impl Channels {
    /// None where there are too many means.
    fn new(likelihood: &LocalLikelihood, law: &ResidualLaw, residuals: &[f64]) -> Option<Self> {
        let gaussians = likelihood.gaussians();
        let g = gaussians.len();
        let mut widths: Vec<usize> = gaussians.iter().map(|(_, column)| column.mean.len()).collect();
        let all: usize = widths.iter().sum();
        let more: usize = gaussians.iter().map(|(_, column)| column.log_variance.len()).sum();
        if all > MOST_COEFFICIENTS {
            return None;
        }
        let spreads = all + more <= MOST_COEFFICIENTS;
        if spreads {
            widths.extend(gaussians.iter().map(|(_, column)| column.log_variance.len()));
        }
        let (mut moments, mut c, mut scorer) = (vec![0.0; 4 * g * g], vec![0.0; 2 * g], law.mixture.scorer());
        let share = g as f64 / residuals.len() as f64;
        for r in residuals.chunks_exact(g) {
            scorer.log_density(r, &mut c[..g]);
            (0..g).for_each(|i| c[g + i] = 1.0 + c[i] * r[i]);
            for (i, row) in moments.chunks_exact_mut(2 * g).enumerate() {
                row.iter_mut().zip(&c).for_each(|(sum, value)| *sum += share * c[i] * value);
            }
        }
        Some(Self { widths, spreads, moments })
    }
}

/// Gradient and expected information of the log-likelihood in the coefficients of all channels. With c = (ψ, 1 + ψ r) and T = diag(∂r/∂a, -½ I) the score of what a channel's polynomial
/// is at a row is (Tᵀ c)_a, and its information (Tᵀ E\[c cᵀ\] T)_ab.
fn system(likelihood: &LocalLikelihood, law: &ResidualLaw, rows: &Rows, channels: &Channels) -> (Vec<f64>, Vec<f64>) {
    let (widths, width) = (&channels.widths, channels.widths.iter().sum::<usize>());
    let g = law.mixture.dim();
    let parts: Vec<(Vec<f64>, Vec<f64>)> = chunks(likelihood, rows)
        .map(|first| {
            let (mut gradient, mut information) = (vec![0.0; width], vec![0.0; width * width]);
            let (mut r, mut c, mut scorer) = (vec![0.0; g], vec![0.0; 2 * g], law.mixture.scorer());
            for (phi, y) in chunk(likelihood, rows, first) {
                let place = likelihood.place(&phi);
                place.whiten(&y, &mut r);
                scorer.log_density(&r, &mut c[..g]);
                (0..g).for_each(|i| c[g + i] = 1.0 + c[i] * r[i]);
                let t = transfer(&place.of_means(), g);
                let pull = |a: usize| (0..2 * g).map(|i| c[i] * t[i * 2 * g + a]).sum::<f64>();
                let along = |i: usize, b: usize| -> f64 {
                    (0..2 * g).map(|k| channels.moments[i * 2 * g + k] * t[k * 2 * g + b]).sum()
                };
                let mut offset = 0;
                for a in 0..widths.len() {
                    let own = pull(a);
                    gradient[offset..].iter_mut().zip(&phi[..widths[a]]).for_each(|(sum, phi)| *sum += own * phi);
                    let mut other = 0;
                    for b in 0..=a {
                        let metric: f64 = (0..2 * g).map(|i| t[i * 2 * g + a] * along(i, b)).sum();
                        for k in 0..widths[a] {
                            let scaled = metric * phi[k];
                            let row = &mut information[(offset + k) * width + other..];
                            row.iter_mut().zip(&phi[..widths[b]]).for_each(|(sum, phi)| *sum += scaled * phi);
                        }
                        other += widths[b];
                    }
                    offset += widths[a];
                }
            }
            (gradient, information)
        })
        .collect();
    let (mut gradient, mut information) = (vec![0.0; width], vec![0.0; width * width]);
    for (g, i) in parts {
        gradient.iter_mut().zip(g).for_each(|(sum, value)| *sum += value);
        information.iter_mut().zip(i).for_each(|(sum, value)| *sum += value);
    }
    (gradient, information)
}

/// diag(∂r/∂a, -½ I), (2 g, 2 g).
fn transfer(of_means: &[f64], g: usize) -> Vec<f64> {
    let mut t = vec![0.0; 4 * g * g];
    for i in 0..g {
        t[i * 2 * g..i * 2 * g + g].copy_from_slice(&of_means[i * g..(i + 1) * g]);
        t[(g + i) * 2 * g + g + i] = -0.5;
    }
    t
}

#[cfg(test)]
mod tests {
    use super::super::Chart;
    use super::super::fit::{Forms, fit};
    use super::super::frame::Frame;
    use super::*;
    use rand_distr::{Distribution, Exp1, StandardNormal};
    use tallsbi_data::{Silent, StreamKey};

    /// Two values with exponential noise whose spread varies with u; the second follows the first.
    fn rows() -> Rows {
        let mut rng = StreamKey::root(6).rng(0);
        let mut rows = Rows::default();
        for _ in 0..4000 {
            let u: f64 = StandardNormal.sample(&mut rng);
            let [first, second]: [f64; 2] = std::array::from_fn(|_| Exp1.sample(&mut rng));
            let x = 0.5 * u + (0.3 * u).exp() * first;
            rows.u.push(u);
            rows.x.extend([x as f32, (0.4 * x - u + (-0.2 * u).exp() * second) as f32]);
        }
        rows
    }

    #[test]
    fn scores_are_derivatives_of_the_likelihood_in_means_and_spreads() {
        let rows = rows();
        let chart = Chart { bounded: vec![false], frame: Frame::standard(1, 1.0) };
        let forms = Forms { mean: 1, variance: 1, coupling: Some(0), linear: 0 };
        let plain = fit(chart, &rows, false, 10.0, forms, &Silent).unwrap().likelihood;
        let shaped = shape(&plain, &rows).expect("exponential noise is no Gaussian").0;
        let law = shaped.residual.clone().unwrap();
        let channels = Channels::new(&shaped, &law, &residuals(&shaped, &rows)).unwrap();
        assert!(channels.spreads && channels.widths == [2, 2, 2, 2], "{:?}", channels.widths);
        let (gradient, _) = system(&shaped, &law, &rows, &channels);
        for (k, expected) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut moved = shaped.clone();
                let column = moved.gaussian_columns().nth(k / 2 % 2).unwrap();
                let coefficients = if k < 4 { &mut column.mean } else { &mut column.log_variance };
                coefficients[k % 2] += step;
                law.mixture.total(&residuals(&moved, &rows)) - 0.5 * spreads(&moved, &rows)
            };
            let found = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((found - expected).abs() < 1e-3 * expected.abs().max(10.0), "{k}: {expected} {found}");
        }
    }
}
