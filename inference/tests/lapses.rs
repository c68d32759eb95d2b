//! Lapses: contaminated likelihoods against sums over both origins, posteriors against grids.

mod forms;

use forms::{Case, NAN, THETA, cases, evaluate, spec, summed, with_gaps};
use ndarray::{Array2, ArrayView2, Axis};
use rand_distr::{Distribution, StandardNormal};
use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};
use std::f64::consts::PI;
use tallsbi_data::{Silent, StreamKey, Symmetry};
use tallsbi_inference::model::{Lapse, Lapsing, LikelihoodModel, ObservationMap};
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::tempering::{Likelihood, TemperingOptions, sample_tempered};
use tallsbi_network::Mlp;

fn value(likelihood: &impl Likelihood, row: &[f32]) -> f64 {
    evaluate(likelihood, ArrayView2::from_shape((1, row.len()), row).unwrap(), &THETA).values[0]
}

fn lapsing(model: &LikelihoodModel, rate: f64) -> Lapsing<'_> {
    Lapsing::new(model, Lapse::Rate(rate)).unwrap()
}

/// b of one observation: what is left at a rate of nearly 1.
fn broad(case: &Case, row: &[f32]) -> f64 {
    value(&lapsing(&case.model, 1.0 - 1e-12), row)
}

#[test]
fn likelihoods_are_mixtures_with_a_density_of_the_data() {
    let student = StudentsT::new(0.0, 1.0, 2.0).unwrap();
    for (index, case) in cases().iter().enumerate() {
        let b = broad(case, &case.row).exp();
        let wanted = 0.7 * value(&case.model, &case.row).exp() + 0.3 * b;
        let found = value(&lapsing(&case.model, 0.3), &case.row).exp();
        assert!((found / wanted - 1.0).abs() < 1e-9, "case {index}: {found} {wanted}");
        // Given nothing else, each column sums to one; heavy tails lie beyond the sum.
        for column in 0..case.row.len() {
            let row = vec![NAN; case.row.len()];
            let sum = summed(&case.map, &row, column, |row| broad(case, row)).exp();
            assert!((sum - 1.0).abs() < 1e-3, "case {index}, {column}: {sum}");
        }
        if case.map.counts.is_empty() {
            let exact: f64 = case.row.iter().map(|&x| student.pdf(x.into()) * (2.0 * PI).sqrt()).product();
            assert!((b / exact - 1.0).abs() < 1e-6, "case {index}: {b} {exact}");
        }
    }
}

/// By θ, and by the latent coordinate of the rate; over several observations with gaps, some of them lapses for sure.
#[test]
fn gradients_are_finite_differences() {
    for (index, case) in cases().iter().enumerate() {
        let mut x = with_gaps(&case.row);
        if case.map.counts.is_empty() {
            x[[1, 0]] = 12.0;
        }
        for lapse in [Lapse::Rate(0.2), Lapse::Infer] {
            let lapsing = Lapsing::new(&case.model, lapse).unwrap();
            let m = lapsing.dim_theta();
            let theta = [THETA[0], THETA[1], 0.6];
            let all = evaluate(&lapsing, x.view(), &theta[..m]);
            let h = 0.01;
            for i in 0..m {
                let at = |shift: f64| {
                    let mut theta = theta;
                    theta[i] += shift;
                    evaluate(&lapsing, x.view(), &theta[..m]).values[0]
                };
                let (numeric, exact) = ((at(h) - at(-h)) / (2.0 * h), all.gradients[i]);
                assert!((numeric - exact).abs() < 2e-3 * exact.abs().max(1.0), "{index}, {i}: {numeric} {exact}");
                assert!(all.informations[i * m + i] > 0.0, "{index}, {i}");
            }
        }
    }
}

/// Location and spread of the training set of x ~ N(θ, 1), θ ~ N(0, 1), shifted.
const MEAN: f64 = 1.0;
const SD: f64 = std::f64::consts::SQRT_2;

/// x ~ N(θ + MEAN, 1) as networks of standardised values, θ first of two parameters of which the other does nothing.
fn location() -> LikelihoodModel {
    let layout = tallsbi_inference::model::MixtureLayout::gaussian(1);
    let spec = spec(layout, Vec::new());
    let parameters = vec![(1.0 / SD) as f32, 0.0, 0.0, 0.0, 0.0, SD.ln() as f32];
    let network = Mlp::from_parameters(spec, parameters).unwrap();
    let map = ObservationMap::standardize(vec![MEAN as f32], vec![SD as f32]);
    LikelihoodModel::new(&[network], layout, Symmetry::none(2), map)
}

/// 57 regular observations about θ = 0.4, and three at 9.
fn contaminated() -> Array2<f32> {
    let mut rng = StreamKey::root(4).rng(0);
    Array2::from_shape_fn((60, 1), |(row, _)| {
        let noise: f64 = StandardNormal.sample(&mut rng);
        if row % 20 == 7 { 9.0 } else { (0.4 + MEAN + noise) as f32 }
    })
}

/// log p(x|θ) with lapses at the rate ε, from densities of x as it is.
fn exact(x: &Array2<f32>, theta: f64, rate: f64) -> f64 {
    let (kept, broad) = (Normal::new(theta + MEAN, 1.0).unwrap(), StudentsT::new(MEAN, SD, 2.0).unwrap());
    x.iter().map(|&x| ((1.0 - rate) * kept.pdf(x.into()) + rate * broad.pdf(x.into())).ln()).sum()
}

/// Mean and standard deviation of points with log weights.
fn moments(points: &[(f64, f64)]) -> (f64, f64) {
    let best = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let weight = |log: f64| (log - best).exp();
    let sum: f64 = points.iter().map(|&(_, log)| weight(log)).sum();
    let mean = points.iter().map(|&(value, log)| value * weight(log)).sum::<f64>() / sum;
    let variance = points.iter().map(|&(value, log)| (value - mean).powi(2) * weight(log)).sum::<f64>() / sum;
    (mean, variance.sqrt())
}

fn sample(likelihood: &impl Likelihood, x: &Array2<f32>) -> Array2<f64> {
    let groups = [x.view()];
    let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(3), covariances: None };
    let (samples, _) = sample_tempered(likelihood, &request, 4000, &TemperingOptions::default(), &Silent).unwrap();
    samples.latent.index_axis(Axis(0), 0).to_owned()
}

fn assert_moments(samples: &[f64], (mean, sd): (f64, f64)) {
    let n = samples.len() as f64;
    let found = samples.iter().sum::<f64>() / n;
    let spread = (samples.iter().map(|value| (value - found).powi(2)).sum::<f64>() / n).sqrt();
    assert!((found - mean).abs() < 0.1 * sd, "{found} for {mean} ± {sd}");
    assert!((spread / sd - 1.0).abs() < 0.05, "{spread} for {sd}");
}

#[test]
fn posteriors_with_outliers_are_those_on_a_grid() {
    let (model, x) = (location(), contaminated());
    let grid = || (0..600).map(|i| -1.0 + 0.005 * f64::from(i));
    let at = |rate: f64| moments(&grid().map(|t| (t, exact(&x, t, rate) - 0.5 * t * t)).collect::<Vec<_>>());
    let lapsing = lapsing(&model, 0.05);
    let samples = sample(&lapsing, &x);
    assert_moments(&samples.column(0).to_vec(), at(0.05));
    // Without lapses the three draw it away by three of its standard deviations.
    let plain = sample(&model, &x).column(0).mean().unwrap();
    assert!((plain - at(0.05).0).abs() > 2.0 * at(0.05).1, "{plain}");
    let probabilities =
        lapsing.probabilities(x.view(), samples.as_standard_layout().as_slice().unwrap(), &Silent).unwrap();
    for (row, probability) in probabilities.iter().enumerate() {
        assert_eq!(*probability > 0.99, row % 20 == 7, "{row}: {probability}");
    }
    let share = |t: f64| {
        let (kept, broad) = (Normal::new(t + MEAN, 1.0).unwrap(), StudentsT::new(MEAN, SD, 2.0).unwrap());
        let (kept, broad) = (0.95 * kept.pdf(x[[0, 0]].into()), 0.05 * broad.pdf(x[[0, 0]].into()));
        broad / (kept + broad)
    };
    let wanted = samples.column(0).iter().map(|&t| share(t)).sum::<f64>() / samples.nrows() as f64;
    assert!((probabilities[0] - wanted).abs() < 1e-5, "{} {wanted}", probabilities[0]);
}

#[test]
fn inferred_rates_are_those_on_a_grid() {
    let (model, x) = (location(), contaminated());
    let lapsing = Lapsing::new(&model, Lapse::Infer).unwrap();
    let (mut theta, mut rate) = (Vec::new(), Vec::new());
    for t in (0..120).map(|i| -0.6 + 0.02 * f64::from(i)) {
        for e in (0..400).map(|i| 0.0025 * (f64::from(i) + 0.5)) {
            let log = exact(&x, t, e) - 0.5 * t * t + 8.0 * (1.0 - e).ln();
            theta.push((t, log));
            rate.push((e, log));
        }
    }
    let samples = sample(&lapsing, &x);
    assert_eq!(samples.ncols(), 3);
    assert_moments(&samples.column(0).to_vec(), moments(&theta));
    // Beta(1, 9) has the distribution function 1 - (1 - ε)⁹.
    let normal = Normal::standard();
    let rates: Vec<f64> = samples.column(2).iter().map(|&z| 1.0 - normal.cdf(-z).powf(1.0 / 9.0)).collect();
    assert_moments(&rates, moments(&rate));
}
