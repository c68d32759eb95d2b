//! Model files with differential equations.

use ndarray::{Array2, Axis};
use std::path::{Path, PathBuf};
use tallsbi_data::{Purpose, Stage, StreamKey};
use tallsbi_simulators::external::ODE_TEMPLATE;
use tallsbi_simulators::{Rows, Task, TaskOptions, simulate_parallel, task};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models")
}

fn example(name: &str) -> Box<dyn Task> {
    let path = examples().join(name);
    task(path.to_str().unwrap(), &TaskOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The task of a model file of this text, or its error without the path.
fn written(text: &str) -> Result<Box<dyn Task>, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("decay.diffsl"), "in { k = 1 }\nu { y = 1 }\nF { -k * z }\nout { y }").unwrap();
    let path: PathBuf = folder.path().join("m.toml");
    std::fs::write(&path, text).unwrap();
    let place = path.to_str().unwrap().to_owned();
    task(&place, &TaskOptions::default()).map_err(|error| error.to_string().replace(&place, "m.toml"))
}

/// N draws from the prior and an observation of each, with the number of invalid rows.
fn simulated(task: &dyn Task, n: usize, seed: u64) -> (Array2<f64>, Array2<f32>, usize) {
    let key = StreamKey::root(seed);
    let mut theta = Array2::zeros((n, task.prior().dim()));
    for (i, mut row) in theta.outer_iter_mut().enumerate() {
        task.prior().sample(&mut key.child(Purpose::Prior).rng(i as u64), row.as_slice_mut().unwrap());
    }
    let (mut x, mut valid) = (vec![0.0; n * task.dim_x()], vec![0; n]);
    let rows = Rows { theta: theta.view(), n_obs: 1, key: key.child(Purpose::Simulator), first_row: 0 };
    let invalid = simulate_parallel(task, &rows, &mut x, &mut valid, &Stage::silent()).unwrap();
    (theta, Array2::from_shape_vec((n, task.dim_x()), x).unwrap(), invalid)
}

/// The same parameters, observations, likelihood and gradient as the built-in task: to the tolerance of the example, and closely with a small one.
#[test]
fn text_and_built_in_tasks_are_the_same() {
    for (file, name) in [("sir_ode.toml", "sir"), ("lotka_volterra_ode.toml", "lotka_volterra")] {
        let text = std::fs::read_to_string(examples().join(file)).unwrap();
        let exact = written(&format!(
            "{}\n",
            text.replace("atol = 1e-10\n", "").replacen("times =", "rtol = 1e-9\natol = 1e-13\ntimes =", 1)
        ));
        let (text, exact, built_in) = (example(file), exact.unwrap(), task(name, &TaskOptions::default()).unwrap());
        assert_eq!(text.prior().names(), built_in.prior().names());
        assert_eq!((text.dim_x(), text.x_transform()), (built_in.dim_x(), built_in.x_transform()));
        assert_eq!(text.parameter_units(), built_in.parameter_units());
        let m = text.prior().dim();
        let (theta, x, invalid) = simulated(&*built_in, 40, 3);
        let (theta_of_text, x_of_text, invalid_of_text) = simulated(&*text, 40, 3);
        assert_eq!((invalid, invalid_of_text), (0, 0));
        theta.iter().zip(&theta_of_text).for_each(|(a, b)| assert!((a - b).abs() < 1e-12 * a));
        // The same random numbers: x agree to the solver's tolerance, counts but for single steps.
        for (a, b) in x.iter().zip(&x_of_text) {
            let near = if name == "sir" { 1.0 } else { 2e-4 * a };
            assert!((a - b).abs() <= near, "{name}: {a}, {b}");
        }
        let likelihoods = [&built_in, &exact, &text].map(|task| task.log_likelihood().unwrap());
        for (row, theta) in theta.outer_iter().enumerate() {
            let theta = theta.to_vec();
            let x = x.slice_axis(Axis(0), (row..row + 1).into());
            let [known, exact, text] = likelihoods.map(|likelihood| {
                let mut gradient = vec![0.0; m];
                (likelihood.given(x).log_likelihood_gradient(&theta, &mut gradient), gradient)
            });
            let largest = known.1.iter().fold(1.0, |most: f64, slope| most.max(slope.abs()));
            for ((value, gradient), near, nearly) in [(exact, 1e-5, 1e-4), (text, 1e-3, 1e-2)] {
                assert!((value - known.0).abs() < near, "{name} at {theta:?}: {value} for {}", known.0);
                for (slope, known) in gradient.iter().zip(&known.1) {
                    assert!((slope - known).abs() < nearly * largest, "{name} at {theta:?}: {slope} for {known}");
                }
            }
        }
    }
}

/// A model with every law, parameters as numbers of laws, an output as a number, and an input that two names share.
const EVERY_LAW: &str = r#"
name = "all"
parameters = ["k = lognormal(0, 0.3)", "s = uniform(0.2, 0.4)", "r = gamma(40, 10)"]
[ode]
code = '''
in_i { k = 1, size = 1, other = 1 }
u_i { y = size, w = 1 }
F_i { -k * y, other * y - w }
out_i { a = y, b = 1 + w, c = w, d = 3 * y, e = 20 * w, f = y / (1 + y), spread = 1 / 10 + y * y / 10 }
'''
inputs = { size = 2.0, other = "k" }
times = [0, 0.5, 2]
rtol = 1e-9
atol = 1e-9
[noise]
a = { dist = "normal", scale = "s" }
b = { dist = "lognormal", scale = "spread" }
c = { dist = "student_t", df = "r", scale = "s" }
d = { dist = "poisson" }
e = { dist = "negative_binomial", dispersion = "r" }
f = { dist = "binomial", trials = 20 }
"#;

#[test]
fn every_law_has_the_gradient_of_its_likelihood() {
    let task = written(EVERY_LAW).unwrap();
    assert_eq!(task.observation_names()[..4], ["a_t0", "a_t0.5", "a_t2", "b_t0"]);
    assert_eq!(task.dim_x(), 18);
    let (theta, x, invalid) = simulated(&*task, 5, 8);
    assert_eq!(invalid, 0);
    let likelihood = task.log_likelihood().unwrap();
    let given = likelihood.given(x.view());
    for theta in theta.outer_iter() {
        let theta = theta.to_vec();
        let (mut gradient, mut unread) = (vec![0.0; 3], vec![0.0; 3]);
        let total = given.log_likelihood_gradient(&theta, &mut gradient);
        let one =
            |row: usize| likelihood.log_likelihood_gradient(&theta, x.row(row).as_slice().unwrap(), &mut [0.0; 3]);
        assert!((total - (0..5).map(one).sum::<f64>()).abs() < 1e-9 * total.abs());
        for at in 0..3 {
            let h = 1e-4 * theta[at];
            let mut value = |step: f64| {
                let mut theta = theta.clone();
                theta[at] += step;
                given.log_likelihood_gradient(&theta, &mut unread)
            };
            let expected = (value(h) - value(-h)) / (2.0 * h);
            assert!((gradient[at] - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{at}: {gradient:?}, {expected}");
        }
    }
    let mut impossible = x.clone();
    impossible[[0, 9]] = 0.5;
    assert_eq!(
        likelihood.given(impossible.view()).log_likelihood_gradient(&[1.0, 0.3, 4.0], &mut [0.0; 3]),
        f64::NEG_INFINITY
    );
}

/// Rows without a solution are invalid, the others are not, and the first is told.
#[test]
fn solvers_that_give_up_make_rows_invalid() {
    let text = r#"
name = "blow-up"
parameters = ["k = uniform(0.5, 1.5)"]
ode = { code = "in { k = 1 } u { y = 1 } F { k * y * y } out { y }", times = [1.0] }
noise = { dist = "normal", scale = 1 }
"#;
    let task = written(text).unwrap();
    let (theta, x, invalid) = simulated(&*task, 200, 1);
    let beyond = |row: usize| theta[[row, 0]] > 1.0;
    assert_eq!(invalid, (0..200).filter(|&row| beyond(row)).count());
    (0..200).for_each(|row| assert_eq!(x[[row, 0]].is_nan(), beyond(row)));
    let first = (0..200).find(|&row| beyond(row)).unwrap();
    let failure = task.failure().unwrap();
    assert!(failure.starts_with(&format!("row {first} (k = 1.")) && failure.contains("the solver"), "{failure}");
    assert!(task.log_likelihood().unwrap().log_likelihood_gradient(&[1.4], &[1.0], &mut [0.0]).is_nan());
}

/// log p(x | θ) of an example and its gradient.
fn log_likelihood(task: &dyn Task, theta: &[f64], x: &[f32]) -> (f64, Vec<f64>) {
    let mut gradient = vec![0.0; theta.len()];
    (task.log_likelihood().unwrap().log_likelihood_gradient(theta, x, &mut gradient), gradient)
}

/// Doses every twelve hours are the sum of what each leaves, and so is the likelihood.
#[test]
fn events_have_the_likelihood_of_the_closed_form() {
    let task = example("dosing.toml");
    let (theta, x, invalid) = simulated(&*task, 20, 4);
    assert_eq!(invalid, 0, "{}", task.failure().unwrap_or_default());
    let times = [1.0, 6.0, 11.0, 13.0, 20.0, 25.0, 40.0, 47.0];
    let exact = |theta: &[f64], x: &[f32]| -> f64 {
        let [clearance, volume, sd] = *theta else { unreachable!() };
        let of_time = |(&time, &x): (&f64, &f32)| {
            let left = (0..4).map(|dose| time - 12.0 * f64::from(dose)).filter(|&since| since > 0.0);
            let amount: f64 = left.map(|since| 100.0 * (-clearance / volume * since).exp()).sum();
            let x = f64::from(x);
            let z = (x.ln() - (amount / volume).ln()) / sd;
            -0.5 * z * z - (x * sd * (2.0 * std::f64::consts::PI).sqrt()).ln()
        };
        times.iter().zip(x).map(of_time).sum()
    };
    for (theta, x) in theta.outer_iter().zip(x.outer_iter()) {
        let (theta, x) = (theta.to_vec(), x.as_slice().unwrap());
        let (value, gradient) = log_likelihood(&*task, &theta, x);
        assert!((value - exact(&theta, x)).abs() < 1e-3, "{value} for {}", exact(&theta, x));
        for at in 0..3 {
            let shifted = |step: f64| {
                let mut theta = theta.clone();
                theta[at] += step;
                exact(&theta, x)
            };
            let h = 1e-5 * theta[at];
            let right = (shifted(h) - shifted(-h)) / (2.0 * h);
            assert!((gradient[at] - right).abs() < 1e-2 * (1.0 + right.abs()), "{at}: {} for {right}", gradient[at]);
        }
    }
}

/// A conservation law in place of an equation changes neither simulations nor likelihoods.
#[test]
fn a_mass_matrix_has_the_likelihood_of_the_equations_without_it() {
    let [ode, dae] = ["robertson.toml", "robertson_dae.toml"].map(example);
    let ((theta, x, _), (_, same, invalid)) = (simulated(&*ode, 10, 5), simulated(&*dae, 10, 5));
    assert_eq!(invalid, 0, "{}", dae.failure().unwrap_or_default());
    x.iter().zip(&same).for_each(|(a, b)| assert!((a - b).abs() < 1e-3 * a, "{a}, {b}"));
    for (theta, x) in theta.outer_iter().zip(x.outer_iter()) {
        let (theta, x) = (theta.to_vec(), x.as_slice().unwrap());
        let [(value, gradient), (found, by_dae)] = [&ode, &dae].map(|task| log_likelihood(&**task, &theta, x));
        assert!((value - found).abs() < 1e-2 * (1.0 + value.abs()), "{found} for {value}");
        for (slope, right) in by_dae.iter().zip(&gradient) {
            assert!((slope - right).abs() < 2e-2 * (1.0 + right.abs()), "{slope} for {right}");
        }
    }
}

#[test]
fn examples_and_template_simulate() {
    for task in [example("robertson.toml"), example("pharmacokinetics.toml"), written(ODE_TEMPLATE).unwrap()] {
        let (theta, x, invalid) = simulated(&*task, 20, 2);
        assert_eq!(invalid, 0, "{}", task.failure().unwrap_or_default());
        let likelihood = task.log_likelihood().unwrap();
        for (theta, x) in theta.outer_iter().zip(x.outer_iter()) {
            let mut gradient = vec![0.0; theta.len()];
            let value = likelihood.log_likelihood_gradient(&theta.to_vec(), x.as_slice().unwrap(), &mut gradient);
            assert!(value.is_finite() && gradient.iter().all(|slope| slope.is_finite()));
        }
    }
}

/// A model file without mistakes.
const GOOD: &str = r#"name = "decay"
parameters = ["k = lognormal(0, 1)", "s = uniform(0.1, 1)"]
[ode]
code = '''
in { k = 1 }
u { y = 1 }
F { -k * y }
out { y }
'''
times = [0, 1, 2]
[noise]
dist = "normal"
scale = "s"
"#;

#[test]
fn mistakes_are_one_line() {
    written(GOOD).map(|_| ()).unwrap();
    let mass = GOOD.replace("u { y = 1 }", "u { y = 1 } dudt { dy = 0 } M { dy }");
    written(&mass).map(|_| ()).unwrap();
    let explicit = mass.replace("times =", "method = \"tsit45\"\ntimes =");
    let error = written(&explicit).map(|_| ()).unwrap_err();
    assert!(error.contains("ode.method: tsit45 is explicit") && !error.contains('\n'), "{error}");
    let cases = [
        ("F { -k * y }", "F { -k * }", "m.toml: line 7: ode.code: column 10: expected"),
        ("F { -k * y }", "F { -q * y }", "m.toml: line 7: ode.code: column 6: cannot find variable q"),
        ("u { y = 1 }", "u { y = 1 } reset { 2 * y }", "line 6: ode.code: column 13: reset requires stop"),
        ("parameters = [", "parameters = [\"k = normal(0, 1)\", ", "line 2: parameters: \"k\" is named twice"),
        ("in { k = 1 }", "in_i { q = 1, k = 1 }", "line 4: ode: the code's input q is no parameter"),
        ("scale = \"s\"", "scale = 1", "line 2: parameters: s is used nowhere; the code's inputs are k"),
        (
            "scale = \"s\"",
            "scale = \"t\"",
            "line 13: noise.scale: \"t\" is neither a parameter (k, s) nor an output (y)",
        ),
        ("scale = \"s\"", "scale = -1", "line 13: noise.scale: must be positive"),
        ("scale = \"s\"", "df = 3", "line 11: noise: scale is missing"),
        ("scale = \"s\"", "scale = \"s\"\ndf = 3", "line 14: noise: df is unknown; this law takes scale"),
        ("\"normal\"", "\"gauss\"", "line 12: noise.dist: unknown variant `gauss`"),
        ("\"normal\"\nscale = \"s\"", "\"binomial\"\ntrials = 2.5", "line 13: noise.trials: give a whole number"),
        ("dist = \"normal\"\nscale = \"s\"", "z = { dist = \"poisson\" }", "line 12: noise: \"z\" is no output (y)"),
        ("dist = \"normal\"\nscale = \"s\"", "y = 3", "line 12: noise.y: give a table"),
        ("[noise]\ndist = \"normal\"\nscale = \"s\"\n", "", "line 3: ode: [noise] is missing"),
        ("times = [0, 1, 2]", "times = [0, 2, 2]", "line 10: ode.times: 2 comes after 2; they must increase"),
        ("times = [0, 1, 2]", "times = [-1, 2]", "line 10: ode.times: -1 is before the start, 0"),
        ("times = [0, 1, 2]", "times = []", "line 10: ode.times: give at least one"),
        (
            "times = [0, 1, 2]",
            "times = [1]\noutputs = [\"a\", \"b\"]",
            "line 11: ode.outputs: there are 2 names for 1 outputs",
        ),
        (
            "times = [0, 1, 2]",
            "times = [1]\ninputs = { q = 1 }",
            "line 11: ode.inputs: the code has no input \"q\"; its inputs are k",
        ),
        (
            "times = [0, 1, 2]",
            "times = [1]\ninputs = { k = \"y\" }",
            "line 11: ode.inputs.k: an output cannot be an input",
        ),
        ("times = [0, 1, 2]", "times = [1]\nrtol = 2", "line 11: ode.rtol: must be above 0 and below 1, got 2"),
        ("times = [0, 1, 2]", "times = [1]\nmethod = \"euler\"", "line 11: unknown variant `euler`"),
        (
            "[ode]",
            "observations = [\"a\", \"b\"]\n[ode]",
            "line 3: observations: there are 2 names for 3 values (y_t0, ..)",
        ),
        ("[ode]", "[command]\nrun = [\"true\"]\n[ode]", "line 5: [command] and [ode] are two ways to simulate"),
        ("out { y }", "out { 2 * y }", "line 4: ode: not every output of the code is a name"),
        ("out { y }", "", "line 4: ode.code: out: there is none"),
        ("[ode]\n", "[ode]\nfile = \"decay.diffsl\"\n", "line 4: ode: code and file are given"),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = written(&GOOD.replacen(from, to, 1)).map(|_| ()).expect_err(expected);
        assert!(error.contains(expected) && !error.contains('\n'), "{expected}:\n{error}");
    }
}

#[test]
fn mistakes_in_files_of_equations_name_both_files() {
    let file =
        GOOD.replace(&GOOD[GOOD.find("code").unwrap()..GOOD.find("times").unwrap()], "file = \"decay.diffsl\"\n");
    let error = written(&file).map(|_| ()).unwrap_err();
    assert!(
        error.contains("m.toml: line 4: ode.file: decay.diffsl: line 3: column 10: cannot find variable z"),
        "{error}"
    );
    let error = written(&file.replace("decay.diffsl", "none.diffsl")).map(|_| ()).unwrap_err();
    assert!(error.contains("ode.file: none.diffsl: No such file"), "{error}");
    let error = written("name = \"x\"\nparameters = [\"k = normal(0, 1)\"]\n").map(|_| ()).unwrap_err();
    assert!(error.contains("neither [command]"), "{error}");
}
