//! Laws of every task: bytes that depend on the row alone, invalid rows, names, options.

mod support;

use ndarray::Array2;
use std::sync::atomic::{AtomicU64, Ordering};
use tallsbi_data::{Location, Monitor, Prior, Progress, Purpose, StreamKey, XTransform};
use tallsbi_simulators::jansen_rit::{Output, Recording, Solver};
use tallsbi_simulators::{Rows, SimulatorError, Task, TaskOptions, simulate_parallel, task, tasks};

/// Every task, with the neural mass model shortened to one second and by both solvers.
fn all_tasks() -> Vec<Box<dyn Task>> {
    let short = Recording { burn_in: 0.25, duration: 1.0, ..Recording::default() };
    let mut all = Vec::new();
    for name in tasks() {
        let solvers = if name.starts_with("jrnmm") { vec![Solver::EulerMaruyama, Solver::Strang] } else { vec![] };
        if solvers.is_empty() {
            all.push(task(name, &TaskOptions::default()).expect("built in"));
        }
        for solver in solvers {
            let recording = Some(short.clone());
            all.push(
                task(name, &TaskOptions { solver: Some(solver), recording, ..TaskOptions::default() }).expect("valid"),
            );
        }
    }
    all
}

fn prior_draws(prior: &Prior, n: usize) -> Array2<f64> {
    let mut theta = Array2::zeros((n, prior.dim()));
    for (i, mut row) in theta.outer_iter_mut().enumerate() {
        let key = StreamKey::root(2).child(Purpose::Prior);
        prior.sample(&mut key.rng(i as u64), row.as_slice_mut().expect("contiguous"));
    }
    theta
}

/// Bits of x and the valid flags.
type Simulated = (Vec<u32>, Vec<u8>);

fn simulate(task: &dyn Task, rows: &Rows<'_>) -> Simulated {
    let n = rows.theta.nrows();
    let (mut x, mut valid) = (vec![0.0; n * rows.n_obs * task.dim_x()], vec![7; n]);
    task.simulate_batch(rows, &mut x, &mut valid).expect("shapes fit");
    (x.iter().map(|v| v.to_bits()).collect(), valid)
}

#[test]
fn bytes_do_not_depend_on_the_batch() {
    for task in all_tasks() {
        // More rows than lanes, not a multiple of them, three observations each.
        let theta = prior_draws(task.prior(), 45);
        let key = StreamKey::root(5).child(Purpose::Simulator);
        let rows = Rows { theta: theta.view(), n_obs: 3, key, first_row: 1000 };
        let whole = simulate(&*task, &rows);
        assert!(whole.1.iter().all(|&v| v == 1), "{}: all valid", task.name());
        for piece in [1, 7, 32] {
            let mut parts: Simulated = (Vec::new(), Vec::new());
            for start in (0..45).step_by(piece) {
                let part = simulate(&*task, &rows.slice(start, (start + piece).min(45)));
                parts.0.extend(part.0);
                parts.1.extend(part.1);
            }
            assert_eq!(parts, whole, "{} in pieces of {piece}", task.name());
        }
    }
}

/// Observation k of a row does not depend on how many observations the row has, and no two are alike.
#[test]
fn observations_of_a_row_are_separate_streams() {
    for task in all_tasks() {
        let theta = prior_draws(task.prior(), 2);
        let key = StreamKey::root(5).child(Purpose::Simulator);
        let few = simulate(&*task, &Rows { theta: theta.view(), n_obs: 2, key, first_row: 0 });
        let many = simulate(&*task, &Rows { theta: theta.view(), n_obs: 5, key, first_row: 0 });
        let d = task.dim_x();
        assert_eq!(few.0[..2 * d], many.0[..2 * d], "{}", task.name());
        assert_ne!(many.0[..d], many.0[d..2 * d], "{}", task.name());
    }
}

/// The largest number of rows it heard of.
struct Counting(AtomicU64);

impl Monitor for Counting {
    fn progress(&self, progress: &Progress<'_>) {
        self.0.fetch_max(progress.done, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        false
    }
}

/// Stops at once.
struct Stopped;

impl Monitor for Stopped {
    fn progress(&self, _: &Progress<'_>) {}

    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    for task in all_tasks() {
        let n = 2 * task.preferred_batch() + 5;
        let theta = prior_draws(task.prior(), n);
        let key = StreamKey::root(6).child(Purpose::Simulator);
        let rows = Rows { theta: theta.view(), n_obs: 1, key, first_row: 0 };
        let run = |threads| {
            let (mut x, mut valid) = (vec![0.0; n * task.dim_x()], vec![0; n]);
            let monitor = Counting(AtomicU64::new(0));
            let stage = (&monitor as &dyn Monitor).stage("simulate", "rows", n as u64);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let invalid = pool.install(|| simulate_parallel(&*task, &rows, &mut x, &mut valid, &stage));
            assert_eq!((invalid.expect("shapes fit"), monitor.0.into_inner()), (0, n as u64));
            x.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(one == run(2) && one == run(7), "{}", task.name());
    }
}

#[test]
fn failed_rows_are_marked_and_stop_nothing() {
    for task in all_tasks() {
        let mut theta = prior_draws(task.prior(), 3);
        theta.row_mut(1).fill(f64::NAN);
        let key = StreamKey::root(5);
        let good = simulate(&*task, &Rows { theta: prior_draws(task.prior(), 3).view(), n_obs: 2, key, first_row: 0 });
        let rows = Rows { theta: theta.view(), n_obs: 2, key, first_row: 0 };
        let (x, valid) = simulate(&*task, &rows);
        let width = 2 * task.dim_x();
        assert_eq!(valid, [1, 0, 1], "{}", task.name());
        // Conditions stay known.
        let known = |place: usize| place % task.dim_x() < task.conditions();
        let failed = x[width..2 * width].iter().map(|&bits| f32::from_bits(bits).is_nan()).enumerate();
        failed.for_each(|(place, nan)| assert_eq!(nan, !known(place), "{}", task.name()));
        assert_eq!(x[..width], good.0[..width], "{}", task.name());
        assert_eq!(x[2 * width..], good.0[2 * width..], "{}", task.name());
    }
}

#[test]
fn wrong_shapes_and_cancellation_are_errors() {
    let task = task("slcp", &TaskOptions::default()).expect("built in");
    let theta = prior_draws(task.prior(), 4);
    let rows = Rows { theta: theta.view(), n_obs: 1, key: StreamKey::root(0), first_row: 0 };
    let error = task.simulate_batch(&rows, &mut [0.0; 31], &mut [0; 4]).expect_err("x is too short");
    assert_eq!(error.to_string(), "task slcp: x needs 32 values, got 31");
    let stopped =
        simulate_parallel(&*task, &rows, &mut [0.0; 32], &mut [0; 4], &(&Stopped as &dyn Monitor).stage("", "", 4));
    assert!(matches!(stopped, Err(SimulatorError::Cancelled(_))));
}

#[test]
fn names_and_dimensions_fit() {
    for task in all_tasks() {
        assert_eq!(task.observation_names().len(), task.dim_x(), "{}", task.name());
        assert_eq!(task.parameter_units().len(), task.prior().dim(), "{}", task.name());
        assert!(!task.description().is_empty(), "{}", task.name());
        assert!(tasks().contains(&task.name()));
    }
}

#[test]
fn unknown_names_and_options_are_refused() {
    let refused = |name: &str, options: TaskOptions| task(name, &options).map(|_| ()).expect_err("refused").to_string();
    let message = refused("slpc", TaskOptions::default());
    assert!(message.contains("\"slpc\"") && message.contains("slcp, sir"), "{message}");
    let message = refused("slcp", TaskOptions { solver: Some(Solver::Strang), ..TaskOptions::default() });
    assert!(message.contains("no option solver"), "{message}");
    let message = refused("gmm_toy", TaskOptions { correlation: Some(0.5), ..TaskOptions::default() });
    assert!(message.contains("no option correlation"), "{message}");
    let message = refused("gaussian_toy", TaskOptions { correlation: Some(1.0), ..TaskOptions::default() });
    assert!(message.contains("correlation"), "{message}");
    refused("gaussian_toy", TaskOptions { dimension: Some(0), ..TaskOptions::default() });
    let message = refused("sir", TaskOptions { fix: vec![("alpha".into(), 1.0)], ..TaskOptions::default() });
    assert!(message.contains("alpha") && message.contains("beta, gamma"), "{message}");
    let message = refused("sir", TaskOptions { fix: vec![("beta".into(), f64::NAN)], ..TaskOptions::default() });
    assert!(message.contains("finite"), "{message}");
}

/// jrnmm_3d is jrnmm at g = 0, and fixing by hand is the same.
#[test]
fn fixing_a_parameter_is_simulating_at_its_value() {
    let recording = Some(Recording { burn_in: 0.0, duration: 1.0, output: Output::Signal, ..Recording::default() });
    let options = TaskOptions { recording, ..TaskOptions::default() };
    let full = task("jrnmm", &options).expect("valid");
    let three = task("jrnmm_3d", &options).expect("valid");
    let by_hand = task("jrnmm", &TaskOptions { fix: vec![("g".into(), 0.0)], ..options.clone() }).expect("valid");
    assert_eq!(three.prior().names(), ["C", "mu", "sigma"]);
    assert_eq!(by_hand.prior(), three.prior());
    let theta = prior_draws(three.prior(), 5);
    let mut padded = Array2::zeros((5, 4));
    padded.slice_mut(ndarray::s![.., ..3]).assign(&theta);
    let key = StreamKey::root(1);
    let run = |task: &dyn Task, theta: &Array2<f64>| {
        simulate(task, &Rows { theta: theta.view(), n_obs: 1, key, first_row: 0 })
    };
    assert_eq!(run(&*full, &padded), run(&*three, &theta));
    assert_eq!(run(&*full, &padded), run(&*by_hand, &theta));
}

/// A fixed parameter leaves the gradient of the others as it was.
#[test]
fn fixing_a_parameter_keeps_the_likelihood() {
    let fix = vec![("beta".to_owned(), 0.06)];
    let fixed = task("lotka_volterra", &TaskOptions { fix, ..TaskOptions::default() }).expect("valid");
    let full = task("lotka_volterra", &TaskOptions::default()).expect("built in");
    let x = [10.0f32; 20];
    let (mut g3, mut g4) = ([0.0; 3], [0.0; 4]);
    let a = fixed.log_likelihood().expect("has one").log_likelihood_gradient(&[0.9, 0.8, 0.04], &x, &mut g3);
    let b = full.log_likelihood().expect("has one").log_likelihood_gradient(&[0.9, 0.06, 0.8, 0.04], &x, &mut g4);
    assert_eq!((a, g3), (b, [g4[0], g4[2], g4[3]]));
}

/// The priors are those of the published networks' training sets (the authors draw JRNMM's σ from 100 on).
#[test]
fn priors_are_the_published_ones() {
    let expected = [
        ("slcp", r#"[{"dist":"uniform","name":"theta_1","low":-3.0,"high":3.0}"#),
        (
            "sir",
            r#"[{"dist":"lognormal","name":"beta","loc":-0.916290731874155,"scale":0.5},{"dist":"lognormal","name":"gamma","loc":-2.0794415416798357,"scale":0.2}]"#,
        ),
        (
            "lotka_volterra",
            r#"[{"dist":"lognormal","name":"alpha","loc":-0.125,"scale":0.5},{"dist":"lognormal","name":"beta","loc":-3.0,"scale":0.5},{"dist":"lognormal","name":"gamma","loc":-0.125,"scale":0.5},{"dist":"lognormal","name":"delta","loc":-3.0,"scale":0.5}]"#,
        ),
        (
            "jrnmm",
            r#"[{"dist":"uniform","name":"C","low":10.0,"high":250.0},{"dist":"uniform","name":"mu","low":50.0,"high":500.0},{"dist":"uniform","name":"sigma","low":0.0,"high":5000.0},{"dist":"uniform","name":"g","low":-20.0,"high":20.0}]"#,
        ),
        ("gaussian_mixture_uniform", r#"[{"dist":"uniform","name":"theta_1","low":-10.0,"high":10.0}"#),
        (
            "two_moons",
            r#"[{"dist":"uniform","name":"theta_1","low":-1.0,"high":1.0},{"dist":"uniform","name":"theta_2","low":-1.0,"high":1.0}]"#,
        ),
        ("gaussian_linear", r#"[{"dist":"normal","name":"theta_1","loc":0.0,"scale":1.0}"#),
    ];
    for (name, json) in expected {
        let prior = task(name, &TaskOptions::default()).expect("built in").prior().to_json();
        assert!(prior.starts_with(json), "{name}: {prior}");
    }
}

/// The GLM's prior precision is the one the authors store beside their observations.
#[test]
fn bernoulli_glm_prior_matches_the_authors() {
    let Some(folder) = support::reference_data() else { return };
    let file = hdf5::File::open(folder.join("reference/bernoulli_glm.h5")).expect("readable file");
    let expected: Array2<f32> = file.dataset("prior_cov").expect("prior_cov").read().expect("two dimensions");
    let task = task("bernoulli_glm", &TaskOptions::default()).expect("built in");
    let [tallsbi_data::Component::MultivariateNormal { covariance, .. }] = task.prior().components() else {
        panic!("one multivariate normal");
    };
    for (i, row) in covariance.iter().enumerate() {
        for (j, value) in row.iter().enumerate() {
            assert!((value - f64::from(expected[(i, j)])).abs() < 1e-4 * (1.0 + value.abs()), "{i} {j}: {value}");
        }
    }
}

#[test]
fn location_parameters_move_observations_and_do_nothing_else() {
    let mut found = Vec::new();
    for task in all_tasks() {
        let (n, key) = (20, StreamKey::root(3).child(Purpose::Simulator));
        let theta = prior_draws(task.prior(), n);
        let log = task.x_transform() == XTransform::Log;
        let simulated = |theta: &Array2<f64>| -> Vec<f64> {
            let rows = Rows { theta: theta.view(), n_obs: 1, key, first_row: 0 };
            let (mut x, mut valid) = (vec![0.0; n * task.dim_x()], vec![0; n]);
            task.simulate_batch(&rows, &mut x, &mut valid).expect("shapes fit");
            x.into_iter().map(|x| if log { f64::from(x).ln() } else { f64::from(x) }).collect()
        };
        for Location { parameter, steps } in task.locations() {
            let (by, mut moved) = (1.7, theta.clone());
            moved.column_mut(parameter).mapv_inplace(|value| value + by);
            let pairs = simulated(&theta).into_iter().zip(simulated(&moved)).enumerate();
            for (index, (here, there)) in pairs {
                let expected = here + by * steps[index % task.dim_x()];
                assert!(
                    (there - expected).abs() < 1e-5 * expected.abs().max(1.0),
                    "{}: {there} {expected}",
                    task.name()
                );
            }
            found.push((task.name().to_owned(), task.prior().names()[parameter].clone()));
        }
    }
    // Of both solvers; with the gain fixed there is none.
    assert_eq!(found, vec![("jrnmm".to_owned(), "g".to_owned()); 2]);
    let options = TaskOptions { fix: vec![("C".into(), 135.0)], ..TaskOptions::default() };
    assert_eq!(task("jrnmm", &options).expect("builds").locations()[0].parameter, 2);
}
