//! Solutions and derivatives against closed forms, by every method.

use tallsbi_ode::{Method, Model, SolveError, Solver};

const METHODS: [Method; 5] = [Method::Auto, Method::Tsit45, Method::Bdf, Method::TrBdf2, Method::Esdirk34];

/// Two compartments in a row: an amount A at t = 0 leaves the first by a, and the second by b.
const CHAIN: &str = "
    in_i { a = 1, b = 1, dose = 1 }
    twice { 2 * a }
    u_i { first = dose * a, second = 0 }
    F_i { -a * first, twice * first / 2 - b * second }
    out_i { first, shown = second * b + a * t }
";

/// Outputs at t, and their derivatives by a, b and dose, from the closed form.
fn chain([a, b, dose]: [f64; 3], t: f64) -> ([f64; 2], [[f64; 3]; 2]) {
    let (ea, eb) = ((-a * t).exp(), (-b * t).exp());
    let (k, d) = (a * a / (b - a), ea - eb);
    let (k_a, k_b) = ((2.0 * a * (b - a) + a * a) / (b - a).powi(2), -a * a / (b - a).powi(2));
    let second = dose * k * d;
    let by_a = dose * (k_a * d - k * t * ea);
    let by_b = dose * (k_b * d + k * t * eb);
    let first = [dose * (1.0 - a * t) * ea, 0.0, a * ea];
    ([dose * a * ea, second * b + a * t], [first, [by_a * b + t, by_b * b + second, k * d * b]])
}

#[test]
fn every_method_agrees_with_the_closed_form() {
    let model = Model::compile(CHAIN).unwrap();
    assert_eq!(model.inputs(), ["a", "b", "dose"]);
    assert_eq!(model.outputs(), [Some("first".to_owned()), Some("shown".to_owned())]);
    let inputs = [0.7, 1.9, 3.0];
    let times = vec![0.0, 0.4, 1.1, 1.1001, 6.0];
    for method in METHODS {
        let solver = Solver { method, rtol: 1e-9, atol: 1e-9, times: times.clone(), ..Solver::default() };
        let (mut plain, mut values, mut derivatives) = ([0.0; 10], [0.0; 10], [0.0; 20]);
        solver.solve(&model, &inputs, &mut plain).unwrap();
        // By dose and a, in this order.
        solver.solve_with_derivatives(&model, &inputs, &[2, 0], &mut values, &mut derivatives).unwrap();
        for (at, &time) in times.iter().enumerate() {
            let (expected, by) = chain(inputs, time);
            for output in 0..2 {
                let place = 2 * at + output;
                let close = |value: f64, expected: f64, what: &str| {
                    assert!((value - expected).abs() < 1e-6, "{method:?}, {what} at {time}: {value} for {expected}");
                };
                close(plain[place], expected[output], "plain");
                close(values[place], expected[output], "value");
                close(derivatives[2 * place], by[output][2], "by dose");
                close(derivatives[2 * place + 1], by[output][0], "by a");
            }
        }
    }
}

#[test]
fn a_later_start_is_the_time_of_the_initial_state() {
    let model = Model::compile("u { y = 1 } F { t } out { y }").unwrap();
    let solver = Solver { start: 2.0, times: vec![2.0, 4.0], ..Solver::default() };
    let mut values = [0.0; 2];
    solver.solve(&model, &[], &mut values).unwrap();
    assert_eq!(values[0], 1.0);
    assert!((values[1] - 7.0).abs() < 1e-5, "{values:?}");
    let only = Solver { start: 2.0, times: vec![2.0], ..Solver::default() };
    only.solve(&model, &[], &mut values[..1]).unwrap();
    assert_eq!(values[0], 1.0);
}

/// dy/dt = y² from 1 has no solution beyond t = 1.
#[test]
fn solvers_that_give_up_say_where() {
    let model = Model::compile("u { y = 1 } F { y * y } out { y }").unwrap();
    for method in METHODS {
        let solver = Solver { method, times: vec![2.0], ..Solver::default() };
        match solver.solve(&model, &[], &mut [0.0]) {
            Err(SolveError::Stopped { time, .. } | SolveError::Steps { time, .. }) => {
                assert!((time - 1.0).abs() < 1e-3, "{method:?}: {time}");
            }
            other => panic!("{method:?}: {other:?}"),
        }
    }
}

/// dy/dt = -10⁶ (y - cos t): explicit steps are bounded by stability.
#[test]
fn stiff_equations_are_left_to_the_implicit_method() {
    let model = Model::compile("u { y = 1 } F { -1000000 * (y - cos(t)) } out { y }").unwrap();
    let solve = |method| {
        let mut values = [0.0];
        let solver = Solver { method, times: vec![3.0], ..Solver::default() };
        solver.solve(&model, &[], &mut values).map(|()| values[0])
    };
    assert!(matches!(solve(Method::Tsit45), Err(SolveError::Steps { steps: 100_000, .. })));
    for method in [Method::Auto, Method::Bdf, Method::Esdirk34] {
        assert!((solve(method).unwrap() - 3f64.cos()).abs() < 1e-5, "{method:?}");
    }
}

#[test]
fn what_is_no_model_is_said_with_its_line() {
    let cases = [
        ("u { y = 1 }\nF { -y \nout { y }", Some(3), "expected"),
        ("u { y = 1 }\nF { -k * y }\nout { y }", Some(2), "k"),
        ("u { y = 1 }\nF { -y }\nu { y = 2 }\nout { y }", Some(3), "already defined"),
        ("u { y = 1 } F { -y }", None, "out: there is none"),
        ("in { 1 } u { y = 1 } F { -y } out { y }", None, "give each input a name"),
        ("u { y = 1 } F { -y } out { y } reset { 2 * y }", Some(1), "requires stop"),
        (
            "in_i { k = 1 } u { y = 1 } dudt { dy = 0 } M { k * dy } F { -y } out { y }",
            None,
            "mass matrix depends on inputs",
        ),
        ("u_i { x = 1, y = 1 } F_i { -y } out { y }", Some(1), "must have the same shape"),
        ("", None, "missing 'u'"),
        ("out { y }", Some(1), "cannot find variable y"),
        ("u { y = 1 } F { frob(y) } out { y }", None, "unknown function call 'frob'"),
        ("in_i { k = 1, k = 2 } u { y = 1 } F { -k * y } out { y }", None, "in: k is named twice"),
        ("u_i { x = 1, x = 2 } F_i { -x, x } out { x }", None, "u: x is named twice"),
    ];
    for (code, line, message) in cases {
        let error = Model::compile(code).map(|_| ()).unwrap_err();
        assert_eq!(error.line.filter(|_| line.is_some()), line, "{code}: {error}");
        assert!(error.message.contains(message) && !error.message.contains('\n'), "{code}: {error}");
    }
}
