//! ℓ-C2ST against the published code's classifiers and statistics, and its laws.

mod common;

use common::{golden, matrix, vector};
use ndarray::{Array1, Array2, Axis, concatenate, s};
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Silent, StreamKey};
use tallsbi_diagnostics::DiagnosticsError;
use tallsbi_diagnostics::classifier::{
    ClassifierKind, ClassifierParams, FittedClassifier, FittedMlp, MlpClassifierParams, RandomForestParams,
};
use tallsbi_diagnostics::local_c2st::{LocalC2st, LocalC2stOptions, probability_map, statistic};
use tallsbi_network::{Activation, MlpSpec};

/// The published classifier's weights through our network and statistic give the published probabilities and statistic.
#[test]
fn published_classifiers_give_the_published_statistics() {
    let Some(file) = golden("lc2st.h5") else { return };
    let x_o = vector(&file, "x_o");
    for case in ["exact", "shift0.5", "scaled1.5"] {
        let mut parameters = Vec::new();
        for layer in 0..3 {
            let weight = matrix(&file, &format!("{case}/clf_seed5/w{layer}"));
            parameters.extend(weight.t().iter().map(|&w| w as f32));
            parameters.extend(vector(&file, &format!("{case}/clf_seed5/b{layer}")).iter().map(|&b| b as f32));
        }
        let spec = MlpSpec::plain(4, vec![20, 20], 1, Activation::Relu);
        let model = FittedClassifier::Mlp(FittedMlp::from_parameters(spec, parameters, 0).unwrap());
        let theta = matrix(&file, &format!("{case}/theta_o"));
        let x = x_o.broadcast((theta.nrows(), 2)).unwrap();
        let records = concatenate(Axis(1), &[theta.view(), x]).unwrap();
        let class0: Vec<f64> = model.probabilities(records.view()).unwrap().iter().map(|p| 1.0 - p).collect();
        let golden = matrix(&file, &format!("{case}/probs_class0_seed5"));
        for (ours, theirs) in class0.iter().zip(&golden) {
            assert!((ours - theirs).abs() < 2e-6, "{case}: {ours} against {theirs}");
        }
        let theirs = vector(&file, &format!("{case}/stat_seeds1_5"))[4];
        assert!((statistic(&class0) - theirs).abs() < 1e-6, "{case}: {} against {theirs}", statistic(&class0));
    }
}

/// Our own training on the published calibration sets: wrong posteriors give statistics in the published range and are rejected,
/// the exact one gives a small one and is not.
#[test]
fn own_classifiers_reject_what_is_wrong() {
    let Some(file) = golden("lc2st.h5") else { return };
    let (theta, x, x_o) = (matrix(&file, "thetas"), matrix(&file, "xs"), vector(&file, "x_o"));
    for case in ["exact", "shift0.5", "scaled1.5"] {
        let theta_q = matrix(&file, &format!("{case}/posterior_samples"));
        let options = LocalC2stOptions { trials: 19, ..LocalC2stOptions::default() };
        let key = StreamKey::root(3);
        let test = LocalC2st::train(theta.view(), theta_q.view(), x.view(), &options, key, &Silent).unwrap();
        let samples = matrix(&file, &format!("{case}/theta_o"));
        let result = test.evaluate(samples.view(), x_o.as_slice().unwrap(), &Silent).unwrap();
        let theirs = vector(&file, &format!("{case}/stat_seeds1_5"));
        if case == "exact" {
            assert!(result.statistic < 0.01 && result.p_value > 0.05, "{case}: {result:?}");
        } else {
            let mean = theirs.mean().unwrap();
            assert!((0.6 * mean..1.6 * mean).contains(&result.statistic), "{case}: {} of {theirs}", result.statistic);
            assert_eq!(result.p_value, 0.05, "{case}");
        }
        let band = result.pp_plot.band(0.9).unwrap();
        let inside = (0..101).filter(|&i| (band.low[i]..=band.high[i]).contains(&result.pp_plot.observed[i])).count();
        assert_eq!(case == "exact", inside > 80, "{case}: {inside} of 101 points inside the band");
    }
}

struct Toy {
    theta: Array2<f64>,
    theta_q: Array2<f64>,
    x: Array2<f64>,
}

/// θ ~ N(0, I₂), x_j = θ + noise, n = 3: posterior N(Σ x_j/4, I/4), the mean moved by `shift`.
fn toy(pairs: usize, shift: f64, seed: u64) -> Toy {
    let mut rng = StreamKey::root(seed).rng(0);
    let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
    let theta = Array2::from_shape_simple_fn((pairs, 2), &mut normal);
    let noise = Array2::from_shape_simple_fn((pairs, 6), &mut normal);
    let x = concatenate(Axis(1), &[theta.view(), theta.view(), theta.view()]).unwrap() + noise;
    let sums = &x.slice(s![.., ..2]) + &x.slice(s![.., 2..4]) + x.slice(s![.., 4..]);
    let theta_q = sums / 4.0 + Array2::from_shape_simple_fn((pairs, 2), &mut normal) * 0.5 + shift;
    Toy { theta, theta_q, x }
}

fn train(toy: &Toy, options: &LocalC2stOptions) -> LocalC2st {
    let key = StreamKey::root(9);
    LocalC2st::train(toy.theta.view(), toy.theta_q.view(), toy.x.view(), options, key, &Silent).unwrap()
}

#[test]
fn bytes_are_equal_for_any_number_of_threads_and_survive_a_file() {
    let toy = toy(120, 0.0, 1);
    let mlp = ClassifierParams::Mlp(MlpClassifierParams::local_c2st(2).max_epochs(10));
    let options =
        LocalC2stOptions { trials: 3, ensemble: 2, folds: Some(2), classifier: Some(mlp), ..Default::default() };
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| train(&toy, &options))
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(7));
    let read: LocalC2st = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    let x_o = toy.x.row(0).to_vec();
    let evaluate = |test: &LocalC2st| test.evaluate(toy.theta_q.view(), &x_o, &Silent).unwrap();
    assert_eq!(evaluate(&one), evaluate(&read));
    assert_eq!((one.trials(), one.dim_theta(), one.dim_x()), (3, 2, 6));
    assert_eq!(evaluate(&one).null_statistics.len(), 3);
}

/// Every classifier, ensembles, folds and unscaled inputs see a posterior that is off by two of its standard deviations.
#[test]
fn every_option_has_power() {
    let toy = toy(300, 1.0, 2);
    let of = |classifier: ClassifierParams| LocalC2stOptions { classifier: Some(classifier), ..Default::default() };
    for options in [
        LocalC2stOptions::default(),
        LocalC2stOptions { ensemble: 2, ..Default::default() },
        LocalC2stOptions { folds: Some(3), ..Default::default() },
        LocalC2stOptions { standardize: false, ..Default::default() },
        of(ClassifierKind::Logistic.into()),
        of(ClassifierParams::RandomForest(RandomForestParams { trees: 20, ..Default::default() })),
    ] {
        let options = LocalC2stOptions { trials: 19, ..options };
        let x_o = toy.x.row(5).to_vec();
        let result = train(&toy, &options).evaluate(toy.theta_q.view(), &x_o, &Silent).unwrap();
        assert_eq!(result.p_value, 0.05, "{options:?}: {} of {:?}", result.statistic, result.null_statistics);
    }
}

#[test]
fn probability_map_averages_bins() {
    let samples = Array2::from_shape_vec((4, 2), vec![0.0, 0.0, 0.1, 1.0, 1.0, 0.0, 0.9, 1.0]).unwrap();
    let map = probability_map(samples.view(), &[0.1, 0.3, 0.5, 0.9], 2).unwrap();
    assert_eq!(map.marginals[0].edges, [0.0, 0.5, 1.0]);
    assert_eq!(map.marginals[0].counts, [2, 2]);
    assert_eq!(map.marginals[0].probabilities, [Some(0.2), Some(0.7)]);
    assert_eq!(map.pairs[0].probabilities, [[Some(0.1), Some(0.3)], [Some(0.5), Some(0.9)]]);
    assert!(probability_map(samples.view(), &[0.1], 2).is_err());
    assert!(probability_map(samples.view(), &[0.1; 4], 0).is_err());
}

#[test]
fn bad_input_is_named() {
    let toy = toy(60, 0.0, 3);
    let options = LocalC2stOptions { trials: 1, ..Default::default() };
    let run = |theta: &Array2<f64>, theta_q: &Array2<f64>, x: &Array2<f64>| {
        LocalC2st::train(theta.view(), theta_q.view(), x.view(), &options, StreamKey::root(0), &Silent).unwrap_err()
    };
    let Toy { theta, theta_q, x } = &toy;
    let mut bad = x.clone();
    bad[(3, 4)] = f64::INFINITY;
    assert!(matches!(run(theta, theta_q, &bad), DiagnosticsError::NotFinite { what: "x", row: 3, column: 4, .. }));
    bad.column_mut(4).fill(2.0);
    assert!(matches!(run(theta, theta_q, &bad), DiagnosticsError::ConstantColumn { what: "x", column: 4, .. }));
    let one = theta.slice(s![..1, ..]).to_owned();
    assert!(matches!(run(&one, theta_q, x), DiagnosticsError::TooFewSamples { what: "theta", .. }));
    let short = x.slice(s![..50, ..]).to_owned();
    assert!(matches!(run(theta, theta_q, &short), DiagnosticsError::Rows { what: "x", found: 50, .. }));
    assert!(matches!(run(theta, x, x), DiagnosticsError::Width { what: "theta_q", .. }));
    let test = train(&toy, &options);
    let x_o = Array1::zeros(5).to_vec();
    assert!(matches!(
        test.evaluate(theta_q.view(), &x_o, &Silent).unwrap_err(),
        DiagnosticsError::Width { what: "observation", found: 5, expected: 6, .. }
    ));
}
