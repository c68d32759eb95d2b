//! SOAP: what it is without matrices, that it sees through rotations and correlations, and that it resumes.

use tallsbi_network::{Adam, AdamSettings, MatrixPlace, NetworkError, Soap};

const SETTINGS: AdamSettings =
    AdamSettings { beta1: 0.95, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.0, l2_penalty: 0.0 };

/// Weights W (3, 4) and a bias (3), of which nothing is learned.
const ROWS: usize = 3;
const COLUMNS: usize = 4;
const COUNT: usize = ROWS * COLUMNS + ROWS;

fn matrix() -> [MatrixPlace; 1] {
    [MatrixPlace { place: 0..ROWS * COLUMNS, rows: ROWS, columns: COLUMNS }]
}

/// ½ tr(A W B Wᵀ) and its gradient A W B: curvature A ⊗ B.
fn quadratic(a: &[[f32; ROWS]; ROWS], b: &[[f32; COLUMNS]; COLUMNS], w: &[f32]) -> (f32, Vec<f32>) {
    let mut gradient = vec![0.0; COUNT];
    for i in 0..ROWS {
        for j in 0..COLUMNS {
            gradient[i * COLUMNS + j] = (0..ROWS)
                .flat_map(|k| (0..COLUMNS).map(move |l| (k, l)))
                .map(|(k, l)| a[i][k] * w[k * COLUMNS + l] * b[l][j])
                .sum();
        }
    }
    let loss = 0.5 * w.iter().zip(&gradient).map(|(w, g)| w * g).sum::<f32>();
    (loss, gradient)
}

/// 1 on the diagonal, `c` elsewhere: condition (1 + (n - 1) c)/(1 - c).
fn alike<const N: usize>(c: f32) -> [[f32; N]; N] {
    std::array::from_fn(|i| std::array::from_fn(|j| if i == j { 1.0 } else { c }))
}

fn start() -> Vec<f32> {
    (0..COUNT).map(|i| (i as f32 * 1.7).sin()).collect()
}

#[test]
fn without_matrices_it_is_adam() {
    let settings = AdamSettings { weight_decay: 0.1, ..SETTINGS };
    let mut adam = Adam::new(settings, COUNT).unwrap();
    let mut soap = Soap::new(settings, COUNT, []).unwrap();
    let (mut one, mut other) = (start(), start());
    for step in 0..50 {
        let gradient: Vec<f32> = one.iter().map(|value| (value * 3.0 + step as f32).cos()).collect();
        adam.update(&mut one, &gradient, 0.01);
        soap.update(&mut other, &gradient, 0.01);
    }
    assert_eq!(one, other);
    assert_eq!((adam.step(), adam.parameter_count()), (soap.step(), soap.parameter_count()));
}

/// Where curvature is a product of ill-conditioned matrices, Adam creeps along their common valley; in the eigenbases there is none.
#[test]
fn correlated_curvature_is_seen_through() {
    let (a, b) = (alike::<ROWS>(0.99), alike::<COLUMNS>(0.99));
    let run = |matrices: &[MatrixPlace]| {
        let mut soap = Soap::new(SETTINGS, COUNT, matrices.iter().cloned()).unwrap();
        let mut w = start();
        for step in 0..300 {
            let (_, gradient) = quadratic(&a, &b, &w);
            soap.update(&mut w, &gradient, 0.05 * (1.0 - step as f64 / 300.0));
        }
        w[..ROWS * COLUMNS].iter().fold(0.0_f32, |largest, value| largest.max(value.abs()))
    };
    let (adam, soap) = (run(&[]), run(&matrix()));
    assert!(soap < 0.02 && adam > 5.0 * soap, "largest weight left: {adam} with Adam, {soap} with SOAP");
}

/// Gradients and weights whose rows are turned: once the bases are found, steps are turned likewise.
#[test]
fn steps_do_not_depend_on_the_coordinates() {
    let (c, s) = (0.8_f32, 0.6_f32);
    let turn = |w: &[f32]| {
        let mut turned = w.to_vec();
        for j in 0..COLUMNS {
            turned[j] = c * w[j] - s * w[COLUMNS + j];
            turned[COLUMNS + j] = s * w[j] + c * w[COLUMNS + j];
        }
        turned
    };
    let gradient = |step: usize| -> Vec<f32> {
        (0..COUNT).map(|i| ((i * i + 3 * step) as f32 * 0.37).sin() / (1.0 + i as f32)).collect()
    };
    let (mut soap, mut turned) =
        (Soap::new(SETTINGS, COUNT, matrix()).unwrap(), Soap::new(SETTINGS, COUNT, matrix()).unwrap());
    let (mut w, mut w_turned) = (start(), turn(&start()));
    // After the bases have been found.
    for step in 0..400 {
        soap.update(&mut w, &gradient(step), 1e-3);
        turned.update(&mut w_turned, &turn(&gradient(step)), 1e-3);
        if step == 200 {
            w_turned = turn(&w);
        }
    }
    let expected = turn(&w);
    let moved = w.iter().zip(start()).map(|(w, start)| (w - start).abs()).fold(0.0, f32::max);
    let apart = expected.iter().zip(&w_turned).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 0.02 * moved, "{apart} apart after {moved}");
}

#[test]
fn a_state_that_was_written_goes_on_alike() {
    let (a, b) = (alike::<ROWS>(0.5), alike::<COLUMNS>(0.7));
    let step = |soap: &mut Soap, w: &mut Vec<f32>| {
        let gradient = quadratic(&a, &b, w).1;
        soap.update(w, &gradient, 0.01);
    };
    let (mut soap, mut w) = (Soap::new(SETTINGS, COUNT, matrix()).unwrap(), start());
    (0..33).for_each(|_| step(&mut soap, &mut w));
    let mut read: Soap = serde_json::from_str(&serde_json::to_string(&soap).unwrap()).unwrap();
    assert_eq!(read, soap);
    let mut again = w.clone();
    (0..33).for_each(|_| step(&mut soap, &mut w));
    (0..33).for_each(|_| step(&mut read, &mut again));
    assert_eq!((again, read), (w, soap));
}

#[test]
fn parts_that_do_not_fit_are_seen() {
    let soap = Soap::new(SETTINGS, COUNT, matrix()).unwrap();
    assert_eq!(soap.parameter_count(), COUNT);
    let good = serde_json::to_value(&soap).unwrap();
    for (pointer, value) in [
        ("/first", "[]"),
        ("/second", "[0.0]"),
        ("/matrices/0/left/vectors", "[0.0]"),
        ("/matrices/0/right/statistics", "[]"),
        ("/matrices/0/right/size", "18446744073709551615"),
        ("/matrices/0/place/place", r#"{"start":4,"end":16}"#),
        ("/matrices/0/place/place", r#"{"start":9,"end":3}"#),
        ("/matrices/0/place/rows", "4"),
    ] {
        let mut json = good.clone();
        *json.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
        let read: Soap = serde_json::from_value(json).unwrap();
        assert_eq!(read.parameter_count(), 0, "{pointer} = {value}");
    }
    let refused = Soap::new(AdamSettings { beta2: 1.0, ..SETTINGS }, COUNT, matrix());
    assert!(matches!(refused, Err(NetworkError::InvalidSetting { name: "beta2", .. })));
}

/// Sides of more than 256 keep their coordinates: with one column beside them, a matrix is moved as by Adam.
#[test]
fn wide_sides_keep_their_coordinates() {
    let count = 257;
    let mut adam = Adam::new(SETTINGS, count).unwrap();
    let mut soap = Soap::new(SETTINGS, count, [MatrixPlace { place: 0..count, rows: count, columns: 1 }]).unwrap();
    let mut one: Vec<f32> = (0..count).map(|i| (i as f32 * 1.7).sin()).collect();
    let mut other = one.clone();
    for step in 0..50 {
        let gradient: Vec<f32> = one.iter().map(|value| (value * 3.0 + step as f32).cos()).collect();
        adam.update(&mut one, &gradient, 0.01);
        soap.update(&mut other, &gradient, 0.01);
    }
    let apart = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-5, "{apart}");
}

/// Row-major product of an (n, k) and a (k, m) matrix.
fn product(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let m = b.len() / k;
    let entry = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * m + j]).sum();
    (0..a.len() / k).flat_map(|i| (0..m).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect()
}

fn transposed(a: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|j| a.iter().skip(j).step_by(columns).copied()).collect()
}

/// The Q of a square matrix, by Gram and Schmidt.
fn orthonormal(a: &[f64], n: usize) -> Vec<f64> {
    let mut q = a.to_vec();
    for column in 0..n {
        for before in 0..column {
            let along: f64 = (0..n).map(|i| q[i * n + before] * q[i * n + column]).sum();
            (0..n).for_each(|i| q[i * n + column] -= along * q[i * n + before]);
        }
        let norm = (0..n).map(|i| q[i * n + column].powi(2)).sum::<f64>().sqrt();
        (0..n).for_each(|i| q[i * n + column] /= norm);
    }
    q
}

/// The paper's Algorithm 3 in double precision, with the mean gradient in its own coordinates, and this crate's intervals.
#[test]
fn soap_equals_its_equations() {
    let gradient = |step: usize| -> Vec<f32> {
        (0..COUNT)
            .map(|i| {
                (((i * i) as f32 * 0.37).sin() + (step as f32 * (0.02 + 0.01 * i as f32)).cos()) / (1.0 + i as f32)
            })
            .collect()
    };
    let due = |step: usize, interval: usize| {
        if step < interval { step.is_power_of_two() } else { step.is_multiple_of(interval) }
    };
    let (mut soap, mut w) = (Soap::new(SETTINGS, COUNT, matrix()).unwrap(), start());
    let size = ROWS * COLUMNS;
    let mut expected: Vec<f64> = start()[..size].iter().map(|&value| value.into()).collect();
    let (mut mean, mut square) = (vec![0.0; size], vec![0.0; size]);
    let identity = |n: usize| -> Vec<f64> { (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect() };
    let (mut left, mut right) = (identity(ROWS), identity(COLUMNS));
    let (mut left_square, mut right_square) = (vec![0.0; ROWS * ROWS], vec![0.0; COLUMNS * COLUMNS]);
    let mut from = Vec::new();
    let (beta, rate) = (0.95, 0.01);
    for step in 1..=400 {
        if step == 300 {
            // The first gradients' bases are not determined, and forgotten by now.
            from.clone_from(&w);
            expected = w[..size].iter().map(|&value| value.into()).collect();
        }
        soap.update(&mut w, &gradient(step), rate);
        let g: Vec<f64> = gradient(step)[..size].iter().map(|&value| value.into()).collect();
        let turned = transposed(&g, COLUMNS);
        if due(step, 5) {
            let decay = if step == 1 { 0.0 } else { 0.8 };
            for (sum, new) in
                [(&mut left_square, product(&g, &turned, COLUMNS)), (&mut right_square, product(&turned, &g, ROWS))]
            {
                sum.iter_mut().zip(new).for_each(|(sum, new)| *sum = decay * *sum + (1.0 - decay) * new);
            }
        }
        if due(step, 20) {
            left = orthonormal(&product(&left_square, &left, ROWS), ROWS);
            right = orthonormal(&product(&right_square, &right, COLUMNS), COLUMNS);
        }
        let inside = |m: &[f64]| product(&product(&transposed(&left, ROWS), m, ROWS), &right, COLUMNS);
        mean.iter_mut().zip(&g).for_each(|(mean, g)| *mean = beta * *mean + (1.0 - beta) * g);
        square.iter_mut().zip(inside(&g)).for_each(|(square, g)| *square = beta * *square + (1.0 - beta) * g * g);
        let correction = 1.0 - f64::powi(beta, step as i32);
        let direction: Vec<f64> = inside(&mean)
            .iter()
            .zip(&square)
            .map(|(mean, square)| (mean / correction) / ((square / correction).sqrt() + 1e-8))
            .collect();
        let direction = product(&product(&left, &direction, ROWS), &transposed(&right, COLUMNS), COLUMNS);
        expected.iter_mut().zip(&direction).for_each(|(value, direction)| *value -= rate * direction);
    }
    let moved = w.iter().zip(&from).map(|(w, from)| (w - from).abs()).fold(0.0, f32::max);
    let apart = w.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(apart < 1e-3 * f64::from(moved), "{apart} apart after {moved}");
}
