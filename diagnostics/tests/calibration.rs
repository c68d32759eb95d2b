//! SBC and TARP on a Gaussian whose posterior is known.

use ndarray::{Array2, Array3};
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Silent, StreamKey};
use tallsbi_diagnostics::DiagnosticsError;
use tallsbi_diagnostics::sbc::{RankOptions, rank_test, ranks, sbc};
use tallsbi_diagnostics::tarp::{tarp, tarp_with_references};

/// θ ~ N(0, I₂), x = θ + N(0, I): draws from N(x/2, I/2), the mean moved by `shift` and the deviation times `scale`, both in
/// units of the posterior's deviation.
fn pairs(count: usize, draws: usize, shift: f64, scale: f64, seed: u64) -> (Array2<f64>, Array3<f64>, Array2<f64>) {
    let mut rng = StreamKey::root(seed).rng(0);
    let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
    let theta = Array2::from_shape_simple_fn((count, 2), &mut normal);
    let x = &theta + &Array2::from_shape_simple_fn((count, 2), &mut normal);
    let sd = 0.5f64.sqrt();
    let samples =
        Array3::from_shape_fn((count, draws, 2), |(i, _, k)| x[(i, k)] / 2.0 + sd * (shift + scale * normal()));
    (theta, samples, x)
}

#[test]
fn sbc_accepts_the_posterior_and_rejects_others() {
    let p = |shift: f64, scale: f64| {
        let (theta, draws, _) = pairs(300, 63, shift, scale, 1);
        sbc(theta.view(), draws.view(), &RankOptions::default(), StreamKey::root(0), &Silent).unwrap()
    };
    let exact = p(0.0, 1.0);
    assert!(exact.p_value > 0.05, "{}", exact.p_value);
    for test in &exact.parameters {
        assert!(test.histogram.p_value > 0.01);
        assert_eq!(test.histogram.counts.iter().sum::<usize>(), 300);
        assert!((test.histogram.expected.iter().sum::<f64>() - 300.0).abs() < 1e-9);
    }
    assert!(p(0.4, 1.0).p_value < 1e-3);
    assert!(p(0.0, 1.5).p_value < 1e-3);
    assert!(p(0.0, 0.7).p_value < 1e-3);
}

/// Ranks of known numbers; the sign of a shift shows in them.
#[test]
fn ranks_count_draws_below() {
    let draws = Array2::from_shape_vec((2, 3), vec![0.0, 1.0, 2.0, 5.0, 5.0, 5.0]).unwrap();
    assert_eq!(ranks(&[1.5, 4.0], draws.view(), StreamKey::root(0)).unwrap(), [2, 0]);
    let tied: Vec<usize> =
        (0..200).map(|seed| ranks(&[1.5, 5.0], draws.view(), StreamKey::root(seed)).unwrap()[1]).collect();
    assert!((0..=3).all(|rank| (25..80).contains(&tied.iter().filter(|&&r| r == rank).count())), "{tied:?}");
}

#[test]
fn tarp_accepts_the_posterior_and_rejects_others() {
    let test = |shift: f64, scale: f64| {
        let (theta, draws, _) = pairs(500, 63, shift, scale, 2);
        tarp(theta.view(), draws.view(), &RankOptions::default(), StreamKey::root(0), &Silent).unwrap()
    };
    let exact = test(0.0, 1.0);
    assert!(exact.p_value > 0.05 && exact.largest_deviation < 0.08, "{} {}", exact.p_value, exact.largest_deviation);
    assert_eq!((exact.coverage[0], exact.coverage[100]), (0.0, 1.0));
    let (wide, narrow) = (test(0.0, 1.6), test(0.0, 0.6));
    assert!(wide.p_value < 1e-3 && wide.area_to_curve > 0.02, "{} {}", wide.p_value, wide.area_to_curve);
    assert!(narrow.p_value < 1e-3 && narrow.area_to_curve < -0.02, "{} {}", narrow.p_value, narrow.area_to_curve);
    assert!(test(1.0, 1.0).p_value < 1e-3);
}

/// References that do not depend on x accept the prior in the posterior's place; references that do reject it.
#[test]
fn tarp_tells_posterior_from_prior_by_references_that_know_x() {
    let (theta, _, x) = pairs(500, 1, 0.0, 1.0, 3);
    let mut rng = StreamKey::root(8).rng(0);
    let prior = Array3::from_shape_simple_fn((500, 63, 2), || -> f64 { StandardNormal.sample(&mut rng) });
    let options = RankOptions::default();
    let key = StreamKey::root(0);
    let blind = tarp(theta.view(), prior.view(), &options, key, &Silent).unwrap();
    let seeing = tarp_with_references(theta.view(), prior.view(), x.view(), &options, key, &Silent).unwrap();
    assert!(blind.p_value > 0.05, "{}", blind.p_value);
    assert!(seeing.p_value < 1e-6, "{}", seeing.p_value);
}

#[test]
fn bytes_are_equal_for_any_number_of_threads() {
    let (theta, draws, _) = pairs(100, 31, 0.1, 1.1, 4);
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let (options, key) = (RankOptions::default(), StreamKey::root(1));
            (
                sbc(theta.view(), draws.view(), &options, key, &Silent).unwrap(),
                tarp(theta.view(), draws.view(), &options, key, &Silent).unwrap(),
            )
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(7));
}

#[test]
fn bad_input_is_named() {
    let (theta, draws, _) = pairs(50, 10, 0.0, 1.0, 5);
    let run = |theta: &Array2<f64>, draws: &Array3<f64>| {
        let (options, key) = (RankOptions::default(), StreamKey::root(0));
        let a = sbc(theta.view(), draws.view(), &options, key, &Silent).unwrap_err();
        let b = tarp(theta.view(), draws.view(), &options, key, &Silent).unwrap_err();
        assert_eq!(a.to_string(), b.to_string());
        a
    };
    let mut bad = draws.clone();
    bad[(3, 2, 1)] = f64::NAN;
    assert!(matches!(run(&theta, &bad), DiagnosticsError::NotFinite { row: 2, column: 1, .. }));
    let mut constant = theta.clone();
    constant.column_mut(1).fill(0.0);
    assert!(matches!(run(&constant, &draws), DiagnosticsError::ConstantColumn { what: "theta", column: 1, .. }));
    let one = theta.slice(ndarray::s![..1, ..]).to_owned();
    assert!(matches!(run(&one, &draws), DiagnosticsError::TooFewSamples { found: 1, .. }));
    let narrow = draws.slice(ndarray::s![.., .., ..1]).to_owned();
    assert!(matches!(run(&theta, &narrow), DiagnosticsError::Width { found: 1, expected: 2, .. }));
    let short = draws.slice(ndarray::s![..40, .., ..]).to_owned();
    assert!(matches!(run(&theta, &short), DiagnosticsError::Rows { found: 40, expected: 50, .. }));
    let none = draws.slice(ndarray::s![.., ..0, ..]).to_owned();
    assert!(matches!(run(&theta, &none), DiagnosticsError::TooFewSamples { found: 0, .. }));
    assert!(rank_test(vec![0, 11], 10, &RankOptions::default()).is_err());
    assert!(rank_test(vec![0, 1], 10, &RankOptions { bins: 1, ..RankOptions::default() }).is_err());
    assert!(rank_test(vec![0, 1], 10, &RankOptions { confidence: 1.0, ..RankOptions::default() }).is_err());
}

/// What pairs and draws can show is told with the p-value; draws that are copies of one another are refused.
#[test]
fn power_is_told_and_collapsed_draws_are_refused() {
    let options = RankOptions::default();
    let test = |pairs_: usize, draws_: usize, shift: f64| {
        let (theta, draws, _) = pairs(pairs_, draws_, shift, 1.0, 5);
        sbc(theta.view(), draws.view(), &options, StreamKey::root(3), &Silent).unwrap()
    };
    assert!(test(500, 99, 0.0).visible_shift < 0.14 && test(2, 99, 0.0).visible_shift > 2.0);
    assert!(test(500, 1, 0.0).visible_shift > 0.23);
    let seen = test(500, 99, test(500, 99, 0.0).visible_shift * 1.2);
    assert!(seen.p_value < 0.05, "{}", seen.p_value);

    let (theta, mut draws, _) = pairs(60, 40, 0.0, 1.0, 5);
    for mut pair in draws.outer_iter_mut() {
        let first = pair.row(0).to_owned();
        pair.outer_iter_mut().for_each(|mut draw| draw.assign(&first));
    }
    let error = sbc(theta.view(), draws.view(), &options, StreamKey::root(3), &Silent).unwrap_err();
    assert_eq!(error, DiagnosticsError::Collapsed { what: "posterior draws", distinct: 1, rows: 40 });
}
