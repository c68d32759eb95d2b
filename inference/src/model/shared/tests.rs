use super::super::density::Covariance;
use super::*;
use crate::small_matrix::{cholesky, dot, lower_solve};
use rand_distr::StandardNormal;
use statrs::function::gamma::ln_gamma;
use tallsbi_data::StreamKey;

const D: usize = 3;

fn layout(covariance: Covariance) -> MixtureLayout {
    MixtureLayout { covariance, shared: true, ..MixtureLayout::gaussian(D) }
}

fn outputs(layout: MixtureLayout) -> Vec<f32> {
    (0..layout.outputs()).map(|i| 0.7 * (i as f32 * 1.7 + 0.3).sin() - 0.2).collect()
}

fn points(n: usize, hidden: &[usize]) -> Vec<f64> {
    let mut rng = StreamKey::root(3).rng(n as u64);
    let hide = |(i, x): (usize, f64)| if hidden.contains(&(i % D)) { f64::NAN } else { x };
    (0..n * D).map(|_| 1.5 * Distribution::<f64>::sample(&StandardNormal, &mut rng)).enumerate().map(hide).collect()
}

fn density(layout: MixtureLayout, outputs: &[f32], points: &[f64], gradient: Option<&mut [f64]>) -> f64 {
    let mut scratch = MixtureScratch::default();
    layout.expand(outputs, &mut scratch);
    layout.accumulate_shared(&Sample::new(points, D), 1.0, &scratch, gradient)
}

/// The multivariate t of all values that are seen together, whose scale matrix has E + B on the diagonal and B = L⁻ᵀ diag(β²) L⁻¹ between observations.
fn joint(layout: MixtureLayout, outputs: &[f32], points: &[f64]) -> f64 {
    let mut scratch = MixtureScratch::default();
    layout.expand(outputs, &mut scratch);
    let component = &scratch.components[0];
    let shared = component.shared.as_ref().unwrap();
    // Rows of L⁻¹ as columns: L⁻¹ e_i.
    let mut factor = vec![0.0; D * D];
    for i in 0..D {
        for (entry, k) in (layout.row_offset(i)..).zip(layout.columns(i)) {
            factor[i * D + k] = component.factor[entry];
        }
    }
    let inverse: Vec<Vec<f64>> = (0..D)
        .map(|i| {
            let mut unit = vec![0.0; D];
            unit[i] = 1.0;
            lower_solve(&factor, &mut unit);
            unit
        })
        .collect();
    let seen: Vec<usize> = (0..points.len()).filter(|&i| !points[i].is_nan()).collect();
    let scale = |a: usize, b: usize| {
        let own = f64::from(u8::from(a / D == b / D));
        (0..D).map(|k| (own + shared.squares[k]) * inverse[a % D][k] * inverse[b % D][k]).sum::<f64>()
    };
    let mut sigma: Vec<f64> = seen.iter().flat_map(|&a| seen.iter().map(move |&b| scale(a, b))).collect();
    let size = seen.len();
    assert!(cholesky(&mut sigma, size));
    let mut residual: Vec<f64> = seen.iter().map(|&i| points[i] - component.mean[i % D]).collect();
    lower_solve(&sigma, &mut residual);
    let (nu, total) = (shared.freedom, size as f64);
    let half = 0.5 * (nu + total);
    let determinant: f64 = (0..size).map(|i| sigma[i * size + i].ln()).sum();
    ln_gamma(half)
        - ln_gamma(0.5 * nu)
        - 0.5 * total * (0.5 * nu).ln()
        - determinant
        - half * (dot(&residual, &residual) / nu).ln_1p()
}

#[test]
fn observations_have_the_joint_density_of_a_t_whose_scale_they_share() {
    for covariance in [Covariance::Full, Covariance::Diagonal] {
        let layout = layout(covariance);
        for (n, hidden) in [(1, vec![]), (2, vec![]), (7, vec![]), (1, vec![1]), (3, vec![0, 2]), (6, vec![1])] {
            let (outputs, points) = (outputs(layout), points(n, &hidden));
            let (found, expected) = (density(layout, &outputs, &points, None), joint(layout, &outputs, &points));
            assert!((found - expected).abs() < 1e-9, "{covariance:?} {n} {hidden:?}: {found} {expected}");
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    for covariance in [Covariance::Full, Covariance::Diagonal] {
        let layout = layout(covariance);
        for (n, hidden) in [(1, vec![]), (2, vec![]), (7, vec![]), (3, vec![0, 2]), (6, vec![1])] {
            let (outputs, points) = (outputs(layout), points(n, &hidden));
            let mut gradient = vec![0.0; layout.outputs()];
            density(layout, &outputs, &points, Some(&mut gradient));
            for i in 0..layout.outputs() {
                let h = 1e-2f32;
                let at = |shift: f32| {
                    let mut moved = outputs.clone();
                    moved[i] += shift;
                    density(layout, &moved, &points, None)
                };
                let numeric = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * f64::from(h));
                let tolerance = 2e-5 * (1.0 + gradient[i].abs());
                assert!((numeric - gradient[i]).abs() < tolerance, "{n} {hidden:?} {i}: {numeric} {}", gradient[i]);
            }
        }
    }
}

/// The information is the covariance of scores, over samples drawn as the model says.
#[test]
fn the_information_is_the_scores_covariance() {
    let layout = layout(Covariance::Full);
    let outputs = outputs(layout);
    let mut scratch = MixtureScratch::default();
    layout.expand(&outputs, &mut scratch);
    let component = &scratch.components[0];
    let shared = component.shared.as_ref().unwrap();
    // A direction of the outputs that moves μ, log β² and ν, but not L, whose part in the mean is left out.
    let direction: Vec<f32> = (0..layout.outputs())
        .map(|i| if (D..D + layout.factor_entries()).contains(&i) { 0.0 } else { (i as f32 * 2.3).cos() })
        .collect();
    let n = 4;
    let (mut sum, mut rng) = (0.0, StreamKey::root(5).rng(0));
    let samples = 20_000;
    for _ in 0..samples {
        let chi = ChiSquared::new(shared.freedom).unwrap().sample(&mut rng);
        let scale = (shared.freedom / chi).sqrt();
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let common: Vec<f64> = shared.squares.iter().map(|square| square.sqrt() * normal()).collect();
        let mut points = Vec::new();
        for _ in 0..n {
            let mut u: Vec<f64> = common.iter().map(|common| scale * (common + normal())).collect();
            // Lᵀ r = u, from the last row.
            for i in (0..D).rev() {
                let start = layout.row_offset(i);
                u[i] /= component.factor[start + i];
                (0..i).for_each(|k| u[k] -= component.factor[start + k] * u[i]);
            }
            points.extend(u.iter().zip(&component.mean).map(|(r, mean)| r + mean));
        }
        let mut gradient = vec![0.0; layout.outputs()];
        density(layout, &outputs, &points, Some(&mut gradient));
        let score: f64 = gradient.iter().zip(&direction).map(|(g, &d)| g * f64::from(d)).sum();
        sum += score * score / f64::from(samples);
    }
    let mut mean = vec![0.0; D];
    let of_mean: Vec<f64> = direction[..D].iter().map(|&v| v.into()).collect();
    layout.whiten(&component.factor, &of_mean, &mut mean);
    let relative = vec![0.0; layout.factor_entries()];
    let tangent = SharedTangent { mean: &mean, relative: &relative, outputs: &direction };
    let told = layout.shared_information(component, (f64::from(n), D), [tangent; 2]);
    assert!((told / sum - 1.0).abs() < 0.1, "{told} {sum}");
}
