//! The classifier two-sample test against scikit-learn's accuracies, and its classifiers.

mod common;

use common::{golden, matrix, vector};
use linfa::Dataset;
use linfa::traits::{Fit, Predict};
use ndarray::{Array1, Array2};
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Monitor, Named, Silent, StreamKey};
use tallsbi_diagnostics::classifier::{
    ClassifierKind, ClassifierParams, FittedClassifier, MlpClassifierParams, RandomForestParams,
};
use tallsbi_diagnostics::{C2stOptions, DiagnosticsError, c2st};

fn gaussian(rows: usize, columns: usize, shift: f64, seed: u64) -> Array2<f64> {
    let mut rng = StreamKey::root(seed).rng(0);
    Array2::from_shape_simple_fn((rows, columns), || {
        let z: f64 = StandardNormal.sample(&mut rng);
        z + shift
    })
}

/// Mean of scikit-learn 1.9.1 over seeds 1..=6 on the ten-dimensional pairs, of which the golden file has one seed only. One seed
/// of either side has a standard deviation of up to 0.009 there.
const TEN_DIMENSIONAL: [(&str, f64); 3] = [("d10_same", 0.5076), ("d10_shift0.5", 0.7235), ("d10_scaled1.5", 0.7344)];

/// Over three seeds each, but one in ten dimensions.
#[test]
fn accuracies_agree_with_scikit_learn() {
    let Some(file) = golden("metrics.h5") else { return };
    // Of unequal samples sbibm's accuracy is that of guessing the larger; ours compares equal numbers.
    for pair in file.member_names().unwrap().into_iter().filter(|pair| !pair.contains("unequal")) {
        let (x, y) = (matrix(&file, &format!("{pair}/X")), matrix(&file, &format!("{pair}/Y")));
        let theirs = match TEN_DIMENSIONAL.iter().find(|(name, _)| *name == pair) {
            Some((_, mean)) => *mean,
            None => vector(&file, &format!("{pair}/c2st_seeds")).mean().unwrap(),
        };
        let seeds = if x.ncols() < 10 { 3 } else { 1 };
        let options = C2stOptions { seeds, ..C2stOptions::default() };
        let ours = c2st(x.view(), y.view(), &options, StreamKey::root(1), &Silent).unwrap();
        assert!((ours.accuracy - theirs).abs() < 0.02, "{pair}: {ours:?} against {theirs}");
    }
}

#[test]
fn bytes_are_equal_for_any_number_of_threads() {
    let (x, y) = (gaussian(150, 2, 0.0, 1), gaussian(120, 2, 0.7, 2));
    let mlp = MlpClassifierParams::default().max_epochs(200);
    for classifier in [ClassifierParams::Mlp(mlp), ClassifierKind::Logistic.into(), ClassifierKind::RandomForest.into()]
    {
        let options = C2stOptions { folds: 3, seeds: 2, classifier };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| c2st(x.view(), y.view(), &options, StreamKey::root(5), &Silent).unwrap())
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(7));
        assert!(one.accuracy > 0.6, "{:?} sees a shift of 0.7: {one:?}", options.classifier.kind());
        assert_eq!(one.fold_accuracies.len(), 2);
    }
}

/// Every classifier, through linfa's traits, recovers an oblique boundary, and survives a round trip through JSON.
#[test]
fn classifiers_work_through_linfa() {
    let records = gaussian(600, 3, 0.0, 3);
    let targets: Array1<bool> = records.outer_iter().map(|row| row[0] - 0.5 * row[2] > 0.2).collect();
    let dataset = Dataset::new(records.clone(), targets.clone());
    for kind in [ClassifierKind::Mlp, ClassifierKind::Logistic, ClassifierKind::RandomForest] {
        let fitted = ClassifierParams::from(kind).fit(&dataset).unwrap();
        let labels: Array1<bool> = fitted.predict(&records);
        let right = labels.iter().zip(&targets).filter(|(a, b)| a == b).count();
        assert!(right > 560, "{kind:?}: {right} of 600");
        let probabilities = fitted.probabilities(records.view()).unwrap();
        assert!(probabilities.iter().zip(&labels).all(|(p, label)| (*p > 0.5) == *label && (0.0..=1.0).contains(p)));
        let json = serde_json::to_string(&fitted).unwrap();
        let read: FittedClassifier = serde_json::from_str(&json).unwrap();
        assert_eq!(read, fitted);
        assert!(fitted.probabilities(records.slice(ndarray::s![.., ..2])).is_err());
    }
}

#[test]
fn bad_input_is_named() {
    let x = gaussian(50, 2, 0.0, 1);
    let run = |x: &Array2<f64>, y: &Array2<f64>| {
        c2st(x.view(), y.view(), &C2stOptions::default(), StreamKey::root(0), &Silent).unwrap_err()
    };
    let mut bad = x.clone();
    bad[(7, 1)] = f64::NAN;
    assert!(matches!(run(&x, &bad), DiagnosticsError::NotFinite { what: "samples", row: 7, column: 1, .. }));
    let one = x.slice(ndarray::s![..1, ..]).to_owned();
    assert!(matches!(run(&one, &x), DiagnosticsError::TooFewSamples { what: "reference", found: 1, needed: 5 }));
    let mut constant = x.clone();
    constant.column_mut(0).fill(3.0);
    assert!(matches!(run(&constant, &x), DiagnosticsError::ConstantColumn { column: 0, .. }));
    assert!(matches!(run(&x, &gaussian(50, 3, 0.0, 1)), DiagnosticsError::Width { found: 3, expected: 2, .. }));
    assert!(ClassifierKind::from_name("svm").is_none());
    let options = C2stOptions { folds: 1, ..C2stOptions::default() };
    assert!(c2st(x.view(), x.view(), &options, StreamKey::root(0), &Silent).is_err());
    let options = C2stOptions {
        classifier: ClassifierParams::Mlp(MlpClassifierParams::default().learning_rate(-1.0)),
        ..C2stOptions::default()
    };
    assert!(c2st(x.view(), x.view(), &options, StreamKey::root(0), &Silent).is_err());
    cancelled_is_an_error();
}

/// Beyond 2 × 30 000 rows an assertion of linfa's failed; and what is drawn for a tree does not cost the forest its power.
#[test]
fn a_forest_of_many_rows_is_grown() {
    let forest = RandomForestParams { trees: 4, ..RandomForestParams::default() };
    let options = C2stOptions { classifier: ClassifierParams::RandomForest(forest), ..C2stOptions::default() };
    let accuracy = |shift: f64| {
        let (x, y) = (gaussian(40_000, 2, 0.0, 1), gaussian(40_000, 2, shift, 2));
        c2st(x.view(), y.view(), &options, StreamKey::root(0), &Silent).unwrap().accuracy
    };
    assert!((accuracy(0.0) - 0.5).abs() < 0.02);
    assert!(accuracy(2.0) > 0.85);
}

fn cancelled_is_an_error() {
    let x = gaussian(50, 2, 0.0, 1);
    struct Cancel;
    impl Monitor for Cancel {
        fn progress(&self, _: &tallsbi_data::Progress<'_>) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let result = c2st(x.view(), (&x + 1.0).view(), &C2stOptions::default(), StreamKey::root(0), &Cancel);
    assert_eq!(result.unwrap_err(), DiagnosticsError::Cancelled(tallsbi_data::Cancelled));
}

/// sbibm's definition gives 0.95 for 100 against 2000 of the same distribution, whatever the classifier sees.
#[test]
fn unequal_samples_are_compared_in_equal_numbers() {
    let (few, many) = (gaussian(200, 2, 0.0, 3), gaussian(2000, 2, 0.0, 4));
    let options = C2stOptions { classifier: ClassifierKind::Logistic.into(), ..C2stOptions::default() };
    let run = |x: &Array2<f64>, y: &Array2<f64>| c2st(x.view(), y.view(), &options, StreamKey::root(5), &Silent);
    for (x, y) in [(&few, &many), (&many, &few)] {
        let same = run(x, y).unwrap();
        assert!((same.accuracy - 0.5).abs() < 0.1, "{same:?}");
        assert_eq!((same.rows, same.reference.rows, same.samples.rows), (200, x.nrows(), y.nrows()));
    }
    let moved = run(&gaussian(200, 2, 1.0, 3), &many).unwrap().accuracy;
    // Φ(√2/2) for a shift of one in both coordinates.
    assert!((moved - 0.76).abs() < 0.06, "{moved}");
}

#[test]
fn copies_are_counted() {
    let (x, few) = (gaussian(300, 2, 0.0, 3), gaussian(30, 2, 0.0, 4));
    let copied = Array2::from_shape_fn((300, 2), |(i, j)| few[[i / 10, j]]);
    let options = C2stOptions { classifier: ClassifierKind::Logistic.into(), ..C2stOptions::default() };
    let result = c2st(x.view(), copied.view(), &options, StreamKey::root(5), &Silent).unwrap();
    assert_eq!((result.reference.distinct, result.samples.distinct), (300, 30));
}
