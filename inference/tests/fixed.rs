//! Likelihoods some of whose parameters are known.

use ndarray::{Array2, Array3};
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Location, Prior, Purpose, SignedPermutation, Silent, StreamKey, Symmetry};
use tallsbi_inference::model::{LikelihoodModel, Networks, PreparedModel, Success, TrainedModel};
use tallsbi_inference::notes::Note;
use tallsbi_inference::tempering::{Likelihood, Local};
use tallsbi_inference::train::{Architecture, LikelihoodOptions, OptimizerOptions, TrainOptions, TrainingData, train};
use tallsbi_network::{Activation, LastLayer, Mlp, MlpSpec};

fn prior() -> Prior {
    Prior::uniform(&[("a", -2.0, 2.0), ("g", -1.0, 5.0), ("c", 0.0, 1.0)]).unwrap()
}

/// x = (sin 2a + c, a c) + (0.5, -0.2) g + noise; g is declared to move x. With a probability of success that depends on all three.
fn model() -> TrainedModel {
    let likelihood = LikelihoodOptions {
        hidden: vec![16; 2],
        locations: vec![Location { parameter: 1, steps: vec![0.5, -0.2] }],
        members: 2,
        optimizer: OptimizerOptions { epochs: 5, ..OptimizerOptions::default() },
        ..LikelihoodOptions::default()
    };
    let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..TrainOptions::default() };
    let (n, key) = (1000, StreamKey::root(4));
    let mut theta = Array2::<f64>::zeros((n, 3));
    for (i, mut row) in theta.outer_iter_mut().enumerate() {
        prior().sample(&mut key.child(Purpose::Prior).rng(i as u64), row.as_slice_mut().unwrap());
    }
    let mut rng = key.child(Purpose::Simulator).rng(0);
    let x = Array3::from_shape_fn((n, 1, 2), |(i, _, column)| {
        let (noise, row): (f64, _) = (StandardNormal.sample(&mut rng), theta.row(i));
        let mean = [(2.0 * row[0]).sin() + row[2], row[0] * row[2]][column];
        mean + row[1] * [0.5, -0.2][column] + 0.3 * noise
    });
    let data = TrainingData::prepare(theta.view(), x.view(), &prior(), false, &options, key).unwrap();
    let mut model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
    let Networks::Likelihood { success, .. } = &mut model.networks else { panic!("a likelihood") };
    let spec = MlpSpec::plain(3, [8], 1, Activation::Silu);
    let network = Mlp::random(spec, LastLayer::Random, &mut StreamKey::root(9).rng(0)).unwrap();
    *success = Some(Success { network, observations: 1 });
    model
}

fn evaluate(model: &TrainedModel, theta: &[f64]) -> Local {
    let PreparedModel::Likelihood(likelihood): PreparedModel = model.prepare() else { panic!("a likelihood") };
    let likelihood: LikelihoodModel = likelihood;
    let x = ndarray::array![[0.4f32, 0.1], [1.3, -0.2], [0.9, f32::NAN]];
    let mut z = vec![0.0; theta.len()];
    model.latent.to_latent(theta, &mut z);
    let mut local = Local::default();
    likelihood.evaluate(&likelihood.context(x.view()).unwrap(), &z, &mut likelihood.workspace(), &mut local);
    local
}

fn known(name: &str, value: f64) -> [(String, f64); 1] {
    [(name.to_owned(), value)]
}

#[test]
fn it_is_the_same_likelihood_of_the_others() {
    let whole = model();
    let theta = [0.7, 3.5, 0.8];
    let full = evaluate(&whole, &theta);
    for (index, name) in ["a", "g", "c"].into_iter().enumerate() {
        let fixed = whole.with_fixed(&known(name, theta[index])).unwrap();
        let others: Vec<usize> = (0..3).filter(|i| *i != index).collect();
        let left: Vec<f64> = others.iter().map(|&i| theta[i]).collect();
        assert_eq!(fixed.latent.prior().names().len(), 2);
        let local = evaluate(&fixed, &left);
        let close = |found: f64, exact: f64| {
            assert!((found - exact).abs() < 1e-4 * exact.abs().max(1.0), "{name}: {found} {exact}")
        };
        close(local.values[0], full.values[0]);
        for (i, &a) in others.iter().enumerate() {
            close(local.gradients[i], full.gradients[a]);
            others
                .iter()
                .enumerate()
                .for_each(|(j, &b)| close(local.informations[2 * i + j], full.informations[3 * a + b]));
        }
        // At another value it is another likelihood.
        let other = whole.with_fixed(&known(name, theta[index] - 0.5)).unwrap();
        assert!((evaluate(&other, &left).values[0] - full.values[0]).abs() > 0.01, "{name}");
        assert_eq!(TrainedModel::from_bytes(&fixed.to_bytes()).unwrap(), fixed);
        assert_eq!(fixed.info.fixed, known(name, theta[index]));
    }
}

#[test]
fn several_are_fixed_in_any_order() {
    let whole = model();
    let [a, g] = [known("a", 0.7), known("g", 3.5)];
    let both = whole.with_fixed(&[a.clone(), g.clone()].concat()).unwrap();
    let other = whole.with_fixed(&[g, a].concat()).unwrap();
    assert_eq!(both.latent, other.latent);
    let (full, left) = (evaluate(&whole, &[0.7, 3.5, 0.8]).values[0], evaluate(&both, &[0.8]).values[0]);
    assert!((full - left).abs() < 1e-4 * full.abs().max(1.0), "{full} {left}");
    assert!((evaluate(&other, &[0.8]).values[0] - left).abs() < 1e-4 * full.abs().max(1.0));
}

#[test]
fn notes_are_of_the_parameters_that_are_left() {
    let mut whole = model();
    whole.info.notes = vec![
        Note::Location { parameter: 1, rows: 9 },
        Note::OtherPrior { parameter: 2, mean: 1.0, sd: 1.0 },
        Note::Failed { failed: 1, rows: 2, differs: Some((1, 0.5)) },
    ];
    let fixed = whole.with_fixed(&known("g", 0.0)).unwrap();
    let expected =
        [Note::OtherPrior { parameter: 1, mean: 1.0, sd: 1.0 }, Note::Failed { failed: 1, rows: 2, differs: None }];
    assert_eq!(fixed.info.notes, expected);
    assert_eq!(whole.with_fixed(&known("a", 0.0)).unwrap().info.notes[0], Note::Location { parameter: 0, rows: 9 });
}

#[test]
fn what_is_no_likelihood_there_is_refused() {
    let mut whole = model();
    let refused =
        |model: &TrainedModel, name: &str, value| model.with_fixed(&known(name, value)).unwrap_err().to_string();
    assert!(refused(&whole, "z", 0.0).contains("no parameter \"z\"; it has a, g, c"));
    assert!(refused(&whole, "a", 2.5).contains("fix: a: 2.5 is outside of the prior's [-2, 2]"));
    assert!(refused(&whole, "a", f64::NAN).contains("outside of the prior"));
    assert!(refused(&whole, "a", 1.999).contains("hardly a simulation was"));
    // What only moves observations does so anywhere.
    assert!(whole.with_fixed(&known("g", 5.0)).is_ok());
    assert!(whole.with_fixed(&[known("a", 0.0), known("g", 0.0), known("c", 0.5)].concat()).is_err());
    let Networks::Likelihood { symmetry, .. } = &mut whole.networks else { panic!("a likelihood") };
    *symmetry = Symmetry::generated(3, &[SignedPermutation::flip(3, &[0])]).unwrap();
    assert!(refused(&whole, "a", 0.0).contains("a symmetry of the likelihood moves it"));
    let Networks::Likelihood { symmetry, .. } = &whole.with_fixed(&known("c", 0.5)).unwrap().networks else { panic!() };
    assert_eq!(symmetry.elements(), Symmetry::generated(2, &[SignedPermutation::flip(2, &[0])]).unwrap().elements());
}
