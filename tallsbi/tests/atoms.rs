//! Likelihoods with values of a probability of their own (atoms), in the simulator's units.

use ndarray::{Array2, Array3, arr2};
use rand_distr::{Distribution, StandardNormal};
use tallsbi::data::{Prior, XTransform};
use tallsbi::{
    Model, RefineFrom, RefineOptions, Silent, Simulations, StreamKey, TaskOptions, TrainOptions, refine, task, train,
};

/// x = min(e^(θ + noise), 1) beside e^noise, hardly trained.
fn model(x_transform: XTransform) -> Model {
    let prior = Prior::from_json(r#"[{"name":"a","dist":"normal","loc":0,"scale":1}]"#).unwrap();
    let mut rng = StreamKey::root(1).rng(0);
    let z = Array2::from_shape_fn((1500, 3), |_| -> f64 { StandardNormal.sample(&mut rng) });
    let value =
        |i: usize, j: usize| if j == 0 { (z[(i, 0)] + 0.5 * z[(i, 1)]).exp().min(1.0) } else { z[(i, 2)].exp() };
    let x = Array3::from_shape_fn((1500, 1, 2), |(i, _, j)| value(i, j));
    let theta = z.slice(ndarray::s![.., ..1]).to_owned();
    let simulations = Simulations { x_transform, ..Simulations::new(prior, theta, x).unwrap() };
    let mut options = TrainOptions::default();
    options.likelihood.members = 1;
    options.likelihood.hidden = vec![16];
    options.likelihood.optimizer.epochs = 3;
    train(&simulations, &options, 0, &Silent).unwrap()
}

/// Probability of the atom and of all other values, given the second column and with it missing.
#[test]
fn probabilities_of_an_atom_and_of_the_rest_sum_to_one() {
    for transform in [XTransform::Identity, XTransform::Log] {
        let model = model(transform);
        let atoms = &model.trained().observation_map.atoms;
        assert!(atoms.has(0) && !atoms.has(1));
        let theta = arr2(&[[0.3]]);
        let density = |x: [f32; 2]| model.log_likelihood(arr2(&[x]).view(), theta.view(), &Silent).unwrap()[0].exp();
        // By the logarithm of x, over which the density has no spikes.
        let step = 0.01;
        for second in [f32::NAN, 0.7] {
            let total = if second.is_nan() { 1.0 } else { density([f32::NAN, second]) };
            let grid = (-1200..1200).map(|i| step * (f64::from(i) + 0.5));
            let negative = match transform {
                XTransform::Identity => grid.clone().map(|x| density([-x.exp() as f32, second]) * x.exp() * step).sum(),
                XTransform::Log => 0.0,
            };
            let rest: f64 = grid.map(|x| density([x.exp() as f32, second]) * x.exp() * step).sum();
            let atom = density([1.0, second]);
            let sum = (rest + negative + atom) / total;
            assert!(atom / total > 0.1 && (sum - 1.0).abs() < 2e-3, "{transform:?} {second}: {atom} {rest} {sum}");
        }
    }
}

/// Local likelihoods know no atoms, and the mean of one network's score is not Gaussian.
#[test]
fn refinement_of_atoms_by_one_observation_is_refused() {
    let model = model(XTransform::Identity);
    let task = task("gaussian_linear", &TaskOptions::default()).unwrap();
    let x = Array2::zeros((1, task.dim_x()));
    let from = RefineFrom { base: Some(&model), ..RefineFrom::default() };
    let Err(error) = refine(&*task, x.view(), from, &RefineOptions::default(), 0, &Silent) else { panic!("refused") };
    assert!(error.to_string().contains("single values of column 0 that have a probability of their own: only the mean scores of a network serve, and a mean of 1 observations is not Gaussian"), "{error}");
}
