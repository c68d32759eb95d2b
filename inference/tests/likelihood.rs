//! Laws of likelihood models.

use ndarray::{Array2, ArrayView2, Axis, arr2, s};
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::PI;
use tallsbi_data::{Purpose, SignedPermutation, StreamKey, Symmetry};
use tallsbi_inference::model::density::{MixtureScratch, log_sum_exp};
use tallsbi_inference::model::{Covariance, LikelihoodModel, MixtureLayout, ObservationMap};
use tallsbi_inference::small_matrix::{cholesky, dot};
use tallsbi_inference::tempering::{Likelihood, Local};
use tallsbi_network::{Activation, LastLayer, Mlp, MlpSpec};

fn network(layout: MixtureLayout, m: usize) -> Mlp<f32> {
    let spec = MlpSpec {
        input: m,
        hidden: vec![24, 24],
        output: layout.outputs(),
        activation: Activation::Silu,
        layer_norm: true,
        residual: false,
    };
    Mlp::random(spec, LastLayer::Random, &mut StreamKey::root(5).child(Purpose::Initialization).rng(0)).unwrap()
}

fn model(layout: MixtureLayout, m: usize) -> LikelihoodModel {
    LikelihoodModel::new(&[network(layout, m)], layout, Symmetry::none(m), map(layout))
}

/// Standardised already; where there are cells, fitted to observations.
fn map(layout: MixtureLayout) -> ObservationMap {
    let d = layout.dim;
    if layout.cells {
        let x = observations(400, layout).insert_axis(Axis(1));
        return ObservationMap::fit(x.view(), false).unwrap();
    }
    ObservationMap::standardize(vec![0.0; d], vec![1.0; d])
}

/// Normal variables; where there are cells, all but the last are counts that are never 0, that often are, categories.
fn observations(n: usize, layout: MixtureLayout) -> Array2<f32> {
    let mut rng = StreamKey::root(6).child(Purpose::Observation).rng(0);
    Array2::from_shape_fn((n, layout.dim), |(_, column)| {
        let z: f64 = StandardNormal.sample(&mut rng);
        let count = match column {
            0 => (30.0 + 2.0 * z).round(),
            1 => (1.0 + 1.5 * z).round().max(0.0),
            2 => z.signum(),
            _ => z,
        };
        (if layout.cells { count } else { z }) as f32
    })
}

fn evaluate(model: &LikelihoodModel, x: ArrayView2<'_, f32>, theta: &[f64]) -> Local {
    let mut local = Local::default();
    model.evaluate(&model.context(x).unwrap(), theta, &mut model.workspace(), &mut local);
    local
}

const LAYOUTS: [MixtureLayout; 7] = [
    MixtureLayout::gaussian(4),
    MixtureLayout { components: 3, ..MixtureLayout::gaussian(4) },
    MixtureLayout { components: 2, covariance: Covariance::Diagonal, ..MixtureLayout::gaussian(4) },
    MixtureLayout { covariance: Covariance::Diagonal, cells: true, ..MixtureLayout::gaussian(4) },
    MixtureLayout { components: 2, covariance: Covariance::Diagonal, cells: true, ..MixtureLayout::gaussian(4) },
    MixtureLayout { tails: true, ..MixtureLayout::gaussian(4) },
    MixtureLayout { components: 2, covariance: Covariance::Diagonal, tails: true, ..MixtureLayout::gaussian(4) },
];

#[test]
fn many_observations_count_as_their_sum() {
    for layout in LAYOUTS {
        let model = model(layout, 2);
        let theta = [0.4, -0.3];
        // Fewer than d + 1, and more: for one Gaussian the second are summed up as mean and scatter.
        for n in [3, 40] {
            let x = observations(n, layout);
            let all = evaluate(&model, x.view(), &theta);
            let mut sum = (0.0, [0.0; 2]);
            for j in 0..n {
                let one = evaluate(&model, x.slice(s![j..=j, ..]), &theta);
                sum.0 += one.values[0];
                sum.1.iter_mut().zip(&one.gradients).for_each(|(sum, g)| *sum += g);
            }
            assert!((all.values[0] - sum.0).abs() < 1e-9 * sum.0.abs(), "{layout:?}: {} {}", all.values[0], sum.0);
            for i in 0..2 {
                assert!((all.gradients[i] - sum.1[i]).abs() < 1e-7 * sum.1[i].abs().max(1.0), "{layout:?}");
            }
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    for layout in LAYOUTS {
        let model = model(layout, 2);
        let x = observations(6, layout);
        let h = 0.01;
        let centre = [0.4, -0.3];
        let local = evaluate(&model, x.view(), &centre);
        for i in 0..2 {
            let at = |shift: f64| {
                let mut theta = centre;
                theta[i] += shift;
                evaluate(&model, x.view(), &theta).values[0]
            };
            let numeric = (at(h) - at(-h)) / (2.0 * h);
            let exact = local.gradients[i];
            assert!((numeric - exact).abs() < 2e-3 * exact.abs().max(1.0), "{layout:?} {i}: {numeric} {exact}");
        }
    }
}

/// With a symmetry, the same value at all points of an orbit, and derivatives of that function.
#[test]
fn symmetries_hold_exactly_with_their_derivatives() {
    let turn = SignedPermutation::exchange(2, (0, 1), false);
    let symmetry = Symmetry::generated(2, &[turn, SignedPermutation::flip(2, &[0])]).unwrap();
    assert_eq!(symmetry.order(), 8);
    let layout = LAYOUTS[0];
    let model = LikelihoodModel::new(&[network(layout, 2)], layout, symmetry.clone(), map(layout));
    let x = observations(6, layout);
    let centre = [0.4, -0.7];
    let own = evaluate(&model, x.view(), &centre);
    for element in symmetry.elements() {
        let mut image = [0.0; 2];
        element.apply(&centre, &mut image);
        let there = evaluate(&model, x.view(), &image);
        assert_eq!(there.values[0], own.values[0], "{element:?}");
        let h = 0.01;
        for i in 0..2 {
            let at = |shift: f64| {
                let mut theta = image;
                theta[i] += shift;
                evaluate(&model, x.view(), &theta).values[0]
            };
            let (numeric, exact) = ((at(h) - at(-h)) / (2.0 * h), there.gradients[i]);
            assert!((numeric - exact).abs() < 2e-3 * exact.abs().max(1.0), "{element:?} {i}: {numeric} {exact}");
        }
        // The length of a vector that moves with the point stays as it is.
        let length =
            |information: &[f64], v: [f64; 2]| (0..4).map(|e| information[e] * v[e / 2] * v[e % 2]).sum::<f64>();
        let direction = [0.6, 0.3];
        let mut moved = [0.0; 2];
        element.apply(&direction, &mut moved);
        let (here, there) = (length(&own.informations, direction), length(&there.informations, moved));
        assert!((here - there).abs() < 1e-9 * here, "{element:?}: {here} {there}");
    }
}

/// KL(N(θ) ‖ N(θ+δ)) of the network's Gaussian, from its own outputs.
fn divergence(layout: MixtureLayout, network: &Mlp<f32>, theta: [f64; 2], moved: [f64; 2]) -> f64 {
    let d = layout.dim;
    let engine = tallsbi_network::Engine::new(&network.cast::<f64>());
    let expand = |theta: [f64; 2]| {
        let mut out = vec![0.0f64; layout.outputs()];
        let mut workspace = tallsbi_network::ForwardWorkspace::new(engine.spec(), 1);
        engine.forward(&theta, &mut workspace, &mut out);
        let mut scratch = MixtureScratch::default();
        let out: Vec<f32> = out.into_iter().map(|value| value as f32).collect();
        layout.expand(&out, &mut scratch);
        let component = scratch.components[0].clone();
        let mut factor = vec![0.0; d * d];
        let mut entry = 0;
        for i in 0..d {
            for k in layout.columns(i) {
                factor[i * d + k] = component.factor[entry];
                entry += 1;
            }
        }
        (component, factor)
    };
    let ((p, lp), (q, lq)) = (expand(theta), expand(moved));
    // Covariance of p is (Lp Lpᵀ)⁻¹ = Mᵀ M with M = Lp⁻¹; tr(Pq Σp) = |Lqᵀ Mᵀ|².
    let mut trace = 0.0;
    for k in 0..d {
        let mut column = vec![0.0; d];
        column[k] = 1.0;
        tallsbi_inference::small_matrix::lower_transpose_solve(&lp, &mut column);
        let image: Vec<f64> = (0..d).map(|j| (j..d).map(|i| lq[i * d + j] * column[i]).sum()).collect();
        trace += dot(&image, &image);
    }
    let shift: Vec<f64> = p.mean.iter().zip(&q.mean).map(|(a, b)| a - b).collect();
    let image: Vec<f64> = (0..d).map(|j| (j..d).map(|i| lq[i * d + j] * shift[i]).sum()).collect();
    0.5 * (trace - d as f64 + dot(&image, &image)) + p.log_determinant - q.log_determinant
}

#[test]
fn the_metric_is_the_fisher_information() {
    for covariance in [Covariance::Full, Covariance::Diagonal] {
        let layout = MixtureLayout { covariance, ..MixtureLayout::gaussian(4) };
        let (network, model) = (network(layout, 2), model(layout, 2));
        let local = evaluate(&model, observations(5, layout).view(), &[0.4, -0.3]);
        for direction in [[1.0, 0.0], [0.0, 1.0], [0.7, -0.7]] {
            let h = 0.05;
            let at =
                |h: f64| divergence(layout, &network, [0.4, -0.3], [0.4 + h * direction[0], -0.3 + h * direction[1]]);
            // The odd third order cancels.
            let numeric = 5.0 * (at(h) + at(-h)) / (h * h);
            let f = &local.informations;
            let exact: f64 = (0..4).map(|e| f[e] * direction[e / 2] * direction[e % 2]).sum();
            assert!((numeric - exact).abs() < 0.01 * exact, "{covariance:?} {direction:?}: {numeric} {exact}");
        }
        assert!(cholesky(&mut local.informations.clone(), 2));
    }
}

/// KL(p(θ) ‖ p(θ+δ)) of a Student t in two columns, integrated along rays by r = tan φ, against the metric; with one value missing, in one column.
#[test]
fn the_metric_of_student_t_is_their_fisher_information() {
    let centre = [0.4, -0.3];
    for (covariance, missing) in
        [(Covariance::Full, false), (Covariance::Diagonal, false), (Covariance::Diagonal, true)]
    {
        let layout = MixtureLayout { covariance, tails: true, ..MixtureLayout::gaussian(2) };
        let model = model(layout, 2);
        let steps = 400;
        let radius = |i: usize| (0.5 * PI * (i as f64 + 0.5) / steps as f64).tan();
        // Points and their shares of the area.
        let mut points: Vec<([f32; 2], f64)> = Vec::new();
        for i in 0..steps {
            let (r, width) = (radius(i), 0.5 * PI / steps as f64);
            let dr = (1.0 + r * r) * width;
            if missing {
                points.extend([1.0, -1.0].map(|sign| ([(sign * r) as f32, f32::NAN], dr)));
            } else {
                let angle = |k: usize| 2.0 * PI * (k as f64 + 0.5) / 64.0;
                let at = |k: usize| [(r * angle(k).cos()) as f32, (r * angle(k).sin()) as f32];
                points.extend((0..64).map(|k| (at(k), r * dr * 2.0 * PI / 64.0)));
            }
        }
        let logs = |theta: &[f64; 2]| -> Vec<f64> {
            points.iter().map(|(x, _)| evaluate(&model, arr2(&[*x]).view(), theta).values[0]).collect()
        };
        let own = logs(&centre);
        let total: f64 = own.iter().zip(&points).map(|(log, (_, area))| log.exp() * area).sum();
        let expected = if missing { (2.0 * PI).sqrt() } else { 2.0 * PI };
        assert!((total / expected - 1.0).abs() < 2e-3, "{total} {expected}");
        let metric = evaluate(&model, arr2(&[points[0].0]).view(), &centre).informations;
        for direction in [[1.0, 0.0], [0.0, 1.0], [0.7, -0.7]] {
            let h = 0.03;
            let at = |h: f64| -> f64 {
                let moved = logs(&[centre[0] + h * direction[0], centre[1] + h * direction[1]]);
                let terms = own.iter().zip(&moved).zip(&points);
                // With p' - p, whose integral is 0, so that errors of the sums cancel.
                terms
                    .map(|((log, moved), (_, area))| (log.exp() * (log - moved) + moved.exp() - log.exp()) * area)
                    .sum()
            };
            let numeric = (at(h) + at(-h)) / (h * h) / expected;
            let exact: f64 = (0..4).map(|e| metric[e] * direction[e / 2] * direction[e % 2]).sum();
            assert!(
                (numeric - exact).abs() < 0.01 * exact,
                "{covariance:?} {missing} {direction:?}: {numeric} {exact}"
            );
        }
    }
}

/// KL(p(θ) ‖ p(θ+δ)) of counts, summed over all cells, against the metric.
#[test]
fn the_metric_of_cells_is_their_fisher_information() {
    let layout = MixtureLayout { covariance: Covariance::Diagonal, cells: true, ..MixtureLayout::gaussian(3) };
    let model = model(layout, 2);
    let centre = [0.4, -0.3];
    let x = Array2::from_shape_fn((1, 3), |(_, column)| [30.0, 1.0, -1.0][column]);
    let metric = evaluate(&model, x.view(), &centre).informations;
    // The columns are independent: those that are not varied cancel.
    let log_mass = |theta: &[f64; 2], column: usize, k: f32| {
        let mut x = x.clone();
        x[[0, column]] = k;
        evaluate(&model, x.view(), theta).values[0]
    };
    // The outermost cells own all beyond.
    let range = map(layout);
    let ranges: Vec<(i32, i32)> = (0..3).map(|i| (range.lowest[i] as i32, range.highest[i] as i32)).collect();
    let divergence = |moved: [f64; 2]| {
        let mut sum = 0.0;
        for (column, &(low, high)) in ranges.iter().enumerate() {
            let logs: Vec<[f64; 2]> =
                (low..=high).map(|k| [&centre, &moved].map(|theta| log_mass(theta, column, k as f32))).collect();
            let total = [0, 1].map(|i| log_sum_exp(&logs.iter().map(|log| log[i]).collect::<Vec<_>>()));
            sum +=
                logs.iter().map(|log| (log[0] - total[0]).exp() * (log[0] - total[0] - log[1] + total[1])).sum::<f64>();
        }
        sum
    };
    for direction in [[1.0, 0.0], [0.0, 1.0], [0.7, -0.7]] {
        let h = 0.03;
        let at = |h: f64| divergence([centre[0] + h * direction[0], centre[1] + h * direction[1]]);
        let numeric = (at(h) + at(-h)) / (h * h);
        let exact: f64 = (0..4).map(|e| metric[e] * direction[e / 2] * direction[e % 2]).sum();
        assert!((numeric - exact).abs() < 0.02 * exact, "{direction:?}: {numeric} {exact}");
    }
}

#[test]
fn counts_with_fractions_are_refused() {
    let model = model(LAYOUTS[3], 2);
    let mut x = observations(3, LAYOUTS[3]);
    x[[1, 3]] = 0.25;
    assert!(model.context(x.view()).is_ok());
    x[[2, 1]] = 1.5;
    let message = model.context(x.view()).unwrap_err().to_string();
    assert!(message.starts_with("observation 2, column 1: 1.5"), "{message}");
}
