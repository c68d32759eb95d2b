//! Events and mass matrices against closed forms and the same equations without them, by every method that solves them.

use tallsbi_ode::{Method, Model, SolveError, Solver};

const METHODS: [Method; 5] = [Method::Auto, Method::Tsit45, Method::Bdf, Method::TrBdf2, Method::Esdirk34];

/// Values and derivatives by all inputs of a model's outputs at `times`.
fn solved(code: &str, method: Method, inputs: &[f64], times: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let model = Model::compile(code).unwrap();
    let solver = Solver { method, rtol: 1e-10, atol: 1e-12, times: times.to_vec(), ..Solver::default() };
    let count = times.len() * model.outputs().len();
    let (mut plain, mut values) = (vec![0.0; count], vec![0.0; count]);
    let mut derivatives = vec![0.0; count * inputs.len()];
    solver.solve(&model, inputs, &mut plain).unwrap();
    let by: Vec<usize> = (0..inputs.len()).collect();
    solver.solve_with_derivatives(&model, inputs, &by, &mut values, &mut derivatives).unwrap();
    for (plain, value) in plain.iter().zip(&values) {
        assert!((plain - value).abs() < 1e-6 * (1.0 + value.abs()), "{method:?}: {plain} and {value}");
    }
    (values, derivatives)
}

/// Holds a model against `expected`(inputs, time), and its derivatives against differences of that.
fn holds(code: &str, methods: &[Method], inputs: &[f64], times: &[f64], expected: &dyn Fn(&[f64], f64) -> Vec<f64>) {
    for &method in methods {
        let (values, derivatives) = solved(code, method, inputs, times);
        let outputs = values.len() / times.len();
        for (at, &time) in times.iter().enumerate() {
            let right = expected(inputs, time);
            for output in 0..outputs {
                let (value, right) = (values[at * outputs + output], right[output]);
                assert!(
                    (value - right).abs() < 1e-6 * (1.0 + right.abs()),
                    "{method:?}: {value} for {right} at {time}"
                );
            }
            for by in 0..inputs.len() {
                let shifted = |sign: f64| {
                    let mut inputs = inputs.to_vec();
                    inputs[by] += sign * 1e-5;
                    expected(&inputs, time)
                };
                let (up, down) = (shifted(1.0), shifted(-1.0));
                for output in 0..outputs {
                    let right = (up[output] - down[output]) / 2e-5;
                    let found = derivatives[(at * outputs + output) * inputs.len() + by];
                    let close = (found - right).abs() < 1e-4 * (1.0 + right.abs());
                    assert!(close, "{method:?}: output {output} at {time} by input {by}: {found} for {right}");
                }
            }
        }
    }
}

/// A drug leaves by k; where `low` is left of it, a dose comes.
#[test]
fn a_threshold_resets_the_state_again_and_again() {
    let code = "in_i { k = 1, start = 2, low = 1, dose = 1 } u_i { y = start } F_i { -k * y } stop_i { y - low } reset_i { y + dose } out_i { y }";
    let right = |inputs: &[f64], time: f64| {
        let [k, start, low, dose] = *inputs else { unreachable!() };
        let (mut from, mut at) = (start, 0.0);
        loop {
            let event = at + (from / low).ln() / k;
            if event > time {
                return vec![from * (-k * (time - at)).exp()];
            }
            (from, at) = (low + dose, event);
        }
    };
    holds(code, &METHODS, &[0.8, 2.0, 0.7, 1.1], &[0.0, 1.0, 1.5, 2.9, 7.3], &right);
}

/// At a time of its own, which is an input; and by a state that only the reset changes, once.
#[test]
fn a_time_resets_the_state() {
    let code = "in_i { k = 1, at = 1, dose = 1 } u_i { y = 1, z = 0 } F_i { -k * y, 0 } stop_i { t - at } reset_i { 0.5 * y + dose * k, z + t } out_i { y, z }";
    let right = |inputs: &[f64], time: f64| {
        let [k, at, dose] = *inputs else { unreachable!() };
        match time < at {
            true => vec![(-k * time).exp(), 0.0],
            false => vec![(0.5 * (-k * at).exp() + dose * k) * (-k * (time - at)).exp(), at],
        }
    };
    holds(code, &METHODS, &[0.8, 1.3, 2.0], &[0.5, 1.29, 1.31, 4.0], &right);
}

/// The state stays what it is where the first of two events is, and so do its derivatives.
#[test]
fn without_a_reset_the_state_stays() {
    let code = "in_i { k = 1, low = 1 } u_i { y = 2, all = 0 } F_i { -k * y, y } stop_i { y - low, all - 100 } out_i { y, all, all * t }";
    let right = |inputs: &[f64], time: f64| {
        let [k, low] = *inputs else { unreachable!() };
        let held = time.min((2.0 / low).ln() / k);
        let all = 2.0 * (1.0 - (-k * held).exp()) / k;
        vec![2.0 * (-k * held).exp(), all, all * time]
    };
    holds(code, &METHODS, &[0.8, 0.7], &[0.5, 1.3, 1.4, 5.0], &right);
    let code = code.replace("stop_i { y - low, all - 100 }", "stop_i { 100 - all, low - y }");
    holds(&code, &METHODS, &[0.8, 0.7], &[0.5, 1.3, 1.4, 5.0], &right);
}

const IMPLICIT: [Method; 4] = [Method::Auto, Method::Bdf, Method::TrBdf2, Method::Esdirk34];

/// x' = -z / 2 with z = k x, where the code guesses z wrong at the start.
#[test]
fn singular_mass_matrices_are_algebraic_equations() {
    let code = "in_i { k = 1, start = 1 } u_i { x = start, z = 0 } dudt_i { dx = 0, dz = 0 } M_i { 2 * dx, 0 } F_i { -z, z - k * x } out_i { x, z }";
    let right = |inputs: &[f64], time: f64| {
        let [k, start] = *inputs else { unreachable!() };
        let x = start * (-k * time / 2.0).exp();
        vec![x, k * x]
    };
    holds(code, &IMPLICIT, &[0.8, 1.5], &[0.0, 0.5, 4.0], &right);
    let solver = Solver { method: Method::Tsit45, ..Solver::default() };
    let error = solver.solve(&Model::compile(code).unwrap(), &[1.0, 1.0], &mut [0.0; 2]).unwrap_err();
    assert!(matches!(error, SolveError::Stopped { .. }), "{error}");
}

/// The algebraic state follows a jump of the other.
#[test]
fn algebraic_equations_hold_after_events() {
    let code = "in_i { k = 1, dose = 1 } u_i { x = 1, z = 1 } dudt_i { dx = 0, dz = 0 } M_i { dx, 0 } F_i { -z, z - k * x } stop_i { t - 1 } reset_i { x + dose, z } out_i { x, z }";
    let right = |inputs: &[f64], time: f64| {
        let [k, dose] = *inputs else { unreachable!() };
        let x = (-k * time).exp() + if time > 1.0 { dose * (-k * (time - 1.0)).exp() } else { 0.0 };
        vec![x, k * x]
    };
    holds(code, &IMPLICIT, &[0.8, 1.5], &[0.5, 1.01, 4.0], &right);
}

/// Robertson's reactions with the conservation of mass in place of the third equation.
#[test]
fn robertson_as_an_algebraic_problem_is_robertson() {
    let ode = "in_i { k1 = 0.04, k3 = 10000 } u_i { a = 1, b = 0, c = 0 }
        F_i { -k1 * a + k3 * b * c, k1 * a - k3 * b * c - 30000000 * b * b, 30000000 * b * b } out_i { a, c, 10000 * b }";
    let dae = ode
        .replace("F_i", "dudt_i { da = 0, db = 0, dc = 0 } M_i { da, db, 0 } F_i")
        .replace(", 30000000 * b * b }", ", 1 - a - b - c }");
    let (inputs, times) = ([0.04, 1e4], [0.4, 40.0, 4000.0]);
    let (values, derivatives) = solved(ode, Method::Bdf, &inputs, &times);
    for method in [Method::Auto, Method::Bdf, Method::Esdirk34] {
        let (found, found_derivatives) = solved(&dae, method, &inputs, &times);
        for (found, right) in found.iter().zip(&values) {
            assert!((found - right).abs() < 1e-6 * (1.0 + right.abs()), "{method:?}: {found} for {right}");
        }
        for (found, right) in found_derivatives.iter().zip(&derivatives) {
            assert!((found - right).abs() < 1e-4 * (1e-4 + right.abs()), "{method:?}: {found} for {right}");
        }
    }
}
