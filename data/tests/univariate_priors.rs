//! Laws of the priors that are mapped to N(0, 1) by their distribution function, and of correlated log-normals.

use errorfunctions::RealErrorFunctions;
use statrs::distribution::{self, ContinuousCDF};
use tallsbi_data::{LatentMap, Prior, Purpose, StreamKey, parse_component};

/// Priors of every kind, among them shapes below one, heavy tails and truncations far out.
const KINDS: [&str; 24] = [
    "truncated_normal(1, 2, 0, 4)",
    "truncated_normal(1, 2, 0, inf)",
    "truncated_normal(1, 2, -inf, 0.5)",
    "truncated_normal(0, 1, 6, inf)",
    "truncated_normal(0, 1, -60, -50)",
    "truncated_normal(3, 0.1, -100, 100)",
    "half_normal(2.5)",
    "loguniform(1e-4, 30)",
    "beta(2, 5)",
    "beta(0.3, 0.2)",
    "beta(300, 2)",
    "gamma(2, 3)",
    "gamma(0.2, 0.01)",
    "gamma(500, 1)",
    "inverse_gamma(3, 2)",
    "inverse_gamma(0.7, 1)",
    "exponential(0.1)",
    "student_t(3, 1, 2)",
    "student_t(0.5, 0, 1)",
    "student_t(200, 0, 1)",
    "cauchy(-1, 0.5)",
    "half_cauchy(25)",
    "beta(5, 1)",
    "student_t(2, 0, 1)",
];

fn prior(kind: &str) -> Prior {
    Prior::new(vec![parse_component(&format!("a={kind}")).unwrap()]).unwrap()
}

fn map(kind: &str) -> LatentMap {
    LatentMap::prior_gaussian(&prior(kind))
}

fn theta(map: &LatentMap, z: f64) -> f64 {
    let mut theta = [0.0];
    map.to_parameters(&[z], &mut theta);
    theta[0]
}

fn latent(map: &LatentMap, theta: f64) -> f64 {
    let mut z = [0.0];
    map.to_latent(&[theta], &mut z);
    z[0]
}

/// Φ(-z), to relative precision.
fn upper(z: f64) -> f64 {
    0.5 * RealErrorFunctions::erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// A function of one number.
type Function = Box<dyn Fn(f64) -> f64>;

/// The distribution functions as statrs has them, or by those of the normal.
fn distribution_function(kind: &str) -> Option<Function> {
    let (dist, rest) = kind.split_once('(').unwrap();
    let v: Vec<f64> = rest.trim_end_matches(')').split(',').map(|v| v.trim().parse().unwrap()).collect();
    fn boxed(law: impl ContinuousCDF<f64, f64> + 'static) -> Option<Function> {
        Some(Box::new(move |x| law.cdf(x)))
    }
    match dist {
        "beta" => boxed(distribution::Beta::new(v[0], v[1]).unwrap()),
        "gamma" => boxed(distribution::Gamma::new(v[0], v[1]).unwrap()),
        "inverse_gamma" => boxed(distribution::InverseGamma::new(v[0], v[1]).unwrap()),
        "exponential" => boxed(distribution::Exp::new(v[0]).unwrap()),
        "student_t" => boxed(distribution::StudentsT::new(v[1], v[2], v[0]).unwrap()),
        "cauchy" => boxed(distribution::Cauchy::new(v[0], v[1]).unwrap()),
        "half_cauchy" => Some(Box::new(move |x| 2.0 / std::f64::consts::PI * (x / v[0]).atan())),
        "half_normal" => Some(Box::new(move |x| 1.0 - 2.0 * upper(x / v[0]))),
        "loguniform" => Some(Box::new(move |x| (x / v[0]).ln() / (v[1] / v[0]).ln())),
        // Between upper tails, which do not cancel for the bounds above; those below are mirrored.
        "truncated_normal" => Some(Box::new(move |x| {
            let tail = |y: f64| upper((y - v[0]) / v[1]);
            if v[3] < v[0] {
                let tail = |y: f64| upper((v[0] - y) / v[1]);
                return (tail(x) - tail(v[2])) / (tail(v[3]) - tail(v[2]));
            }
            (tail(v[2]) - tail(x)) / (tail(v[2]) - tail(v[3]))
        })),
        _ => None,
    }
}

/// Kolmogorov–Smirnov of 20 000 draws: P(√n D > 2.2) = 1.2e-4 a prior.
#[test]
fn draws_have_the_distribution_function() {
    let n = 20_000;
    for kind in KINDS {
        let cdf = distribution_function(kind).unwrap();
        let (prior, key) = (prior(kind), StreamKey::root(5).child(Purpose::Prior));
        let mut draws: Vec<f64> = (0..n)
            .map(|i| {
                let mut theta = [0.0];
                prior.sample(&mut key.rng(i), &mut theta);
                theta[0]
            })
            .collect();
        draws.sort_by(f64::total_cmp);
        let distance = |(i, x): (usize, &f64)| {
            let (below, above) = (i as f64 / n as f64, (i + 1) as f64 / n as f64);
            (cdf(*x) - below).abs().max((above - cdf(*x)).abs())
        };
        let statistic = draws.iter().enumerate().map(distance).fold(0.0, f64::max) * (n as f64).sqrt();
        assert!(statistic < 2.2, "{kind}: {statistic}");
    }
}

/// θ → z → θ everywhere, z → θ → z where θ has digits left to tell it by.
#[test]
fn round_trips_are_exact() {
    for kind in KINDS {
        let map = map(kind);
        for step in -80..=80 {
            let z = f64::from(step) / 10.0;
            let there = theta(&map, z);
            assert!(there.is_finite(), "{kind} at {z}: {there}");
            let (low, high) = prior(kind).support()[0];
            if there == low || there == high {
                continue; // Taken for what single precision rounds there.
            }
            let again = theta(&map, latent(&map, there));
            assert!((again - there).abs() <= 1e-10 * there.abs(), "{kind} at {z}: {there} {again}");
            // The rounding of θ, as seen by z.
            let mut slope = map.log_jacobian(&[z]).exp();
            slope = if slope > 0.0 { slope } else { f64::MIN_POSITIVE };
            // Truncated normals are told by their distance from loc.
            let offset = if kind.starts_with("truncated") { 3.0 } else { 0.0 };
            let told = 4.0 * f64::EPSILON * (there.abs() + offset) / slope;
            let back = latent(&map, there);
            assert!((back - z).abs() < 1e-10 * (1.0 + z.abs()) + told || told > 1.0, "{kind} at {z}: {back}");
        }
    }
}

/// What has a formula, in both tails: to 1e-12 of the value, eight standard deviations out.
#[test]
fn tails_have_their_formulas() {
    let sinh = |p: f64| (1.0 - 2.0 * p) / (2.0 * p * (1.0 - p)).sqrt();
    let cases: Vec<(&str, Function)> = vec![
        ("gamma(1, 3)", Box::new(|z| if z > 0.0 { -upper(z).ln() / 3.0 } else { -(-upper(-z)).ln_1p() / 3.0 })),
        ("inverse_gamma(1, 3)", Box::new(|z| if z > 0.0 { -3.0 / (-upper(z)).ln_1p() } else { -3.0 / upper(-z).ln() })),
        ("beta(5, 1)", Box::new(|z| if z > 0.0 { (-upper(z)).ln_1p() / 5.0 } else { upper(-z).ln() / 5.0 }.exp())),
        (
            "beta(0.5, 0.5)",
            Box::new(|z| {
                if z > 0.0 {
                    (upper(z) * std::f64::consts::FRAC_PI_2).cos().powi(2)
                } else {
                    (upper(-z) * std::f64::consts::FRAC_PI_2).sin().powi(2)
                }
            }),
        ),
        ("student_t(2, 0, 1)", Box::new(move |z| if z > 0.0 { sinh(upper(z)) } else { -sinh(upper(-z)) })),
        (
            "student_t(1, 0, 1)",
            Box::new(|z| (if z > 0.0 { 1.0 } else { -1.0 }) / (std::f64::consts::PI * upper(z.abs())).tan()),
        ),
    ];
    for (kind, formula) in cases {
        let map = map(kind);
        for step in -80..=80 {
            let z = f64::from(step) / 10.0 + 0.01;
            let (found, expected) = (theta(&map, z), formula(z));
            let near_zero = if kind.starts_with('s') { 1e-15 } else { 0.0 };
            assert!((found - expected).abs() < 2e-12 * expected.abs() + near_zero, "{kind} at {z}: {found} {expected}");
        }
    }
    // erfc(8/√2)/2 of the C library.
    assert!((upper(8.0) / 6.220_960_574_271_819e-16 - 1.0).abs() < 1e-13);
    // A half-normal's square is a gamma of shape 1/2: two implementations of one law.
    let (half, chi) = (map("half_normal(1)"), map("gamma(0.5, 0.5)"));
    for step in -80..=80 {
        let z = f64::from(step) / 10.0;
        assert!((theta(&half, z).powi(2) / theta(&chi, z) - 1.0).abs() < 1e-11, "{z}");
    }
}

/// log |dθ/dz| and ∇ log λ against differences: the density is the distribution function's derivative.
#[test]
fn derivatives_are_differences() {
    for kind in KINDS {
        let (map, prior) = (map(kind), prior(kind));
        for step in -8..=8 {
            let z = f64::from(step) / 2.0 + 0.03;
            let h = 1e-3;
            let at = |s: f64| theta(&map, z + s);
            let numeric = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            let exact = map.log_jacobian(&[z]).exp();
            let rounding = 1e-12 * at(0.0).abs() / exact;
            assert!((numeric / exact - 1.0).abs() < 1e-7 + rounding, "{kind} at {z}: {numeric} {exact}");
            let mut pulled = [0.5];
            map.pull_back(&[z], &[at(0.0)], &[2.0], &mut pulled);
            assert!((pulled[0] - 0.5 - 2.0 * exact).abs() < 1e-12 * (1.0 + exact), "{kind}");
            let (mut gradient, value) = ([0.0], at(0.0));
            prior.log_density_gradient(&[value], &mut gradient);
            let (low, high) = prior.support()[0];
            let room = (value - low).min(high - value).min(exact);
            // Rounded to its bound, or next to it, there is no room for differences.
            if room < 1e-9 * value.abs() {
                continue;
            }
            let h = 1e-4 * room;
            let shifted = |s: f64| prior.log_density(&[value + s]);
            let slope = (8.0 * (shifted(h) - shifted(-h)) - (shifted(2.0 * h) - shifted(-2.0 * h))) / (12.0 * h);
            let rounding = 1e-13 * (1.0 + shifted(0.0).abs() + value.abs() / room) / h;
            assert!(
                (slope - gradient[0]).abs() < 1e-6 * gradient[0].abs() + rounding,
                "{kind} at {value}: {slope} {gradient:?}"
            );
        }
    }
}

/// Moments by the midpoint rule over z; where there are none, the median and half of the central 68 %.
#[test]
fn moments_are_integrals() {
    for kind in KINDS {
        let (map, (mean, sd)) = (map(kind), prior(kind).mean_and_sd()[0]);
        if ["inverse_gamma(0.7, 1)", "student_t(0.5, 0, 1)", "student_t(2, 0, 1)", "cauchy(-1, 0.5)", "half_cauchy(25)"]
            .contains(&kind)
        {
            assert_eq!((mean, sd), (theta(&map, 0.0), 0.5 * (theta(&map, 1.0) - theta(&map, -1.0))), "{kind}");
            continue;
        }
        let (step, reach) = (1e-3, 12_000);
        let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
            (-reach..reach)
                .map(|i| {
                    let z = (f64::from(i) + 0.5) * step;
                    step * (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt() * f(theta(&map, z))
                })
                .sum()
        };
        let expected = moment(&|theta| theta);
        let spread = moment(&|theta| (theta - expected).powi(2)).sqrt();
        // The variance of Student's t with three degrees of freedom and of an inverse gamma of shape three lies far out.
        let tolerance = if kind.contains("(3,") && !kind.starts_with("tr") { 1e-3 } else { 1e-6 };
        assert!((mean - expected).abs() < 1e-6 * (expected.abs() + spread), "{kind}: {mean} {expected}");
        assert!((sd / spread - 1.0).abs() < tolerance, "{kind}: {sd} {spread}");
    }
}

#[test]
fn bounds_and_what_lies_beyond() {
    for (kind, edges, outside) in [
        ("beta(2, 0.1)", vec![0.0, 1.0], vec![-0.1, 1.1]),
        ("truncated_normal(0, 1, 1, 2)", vec![1.0, 2.0], vec![0.9, 2.1]),
        ("gamma(2, 1)", vec![0.0], vec![-1.0]),
        ("loguniform(1, 10)", vec![1.0, 10.0], vec![0.5, 11.0]),
    ] {
        let (map, prior) = (map(kind), prior(kind));
        for edge in edges {
            // Single precision rounds draws to bounds: their z is that of values near by, not an infinity.
            assert!(latent(&map, edge).abs() < 25.0, "{kind} {edge}: {}", latent(&map, edge));
            assert!(prior.log_density(&[edge]).is_finite());
        }
        for theta in outside {
            assert_eq!(prior.log_density(&[theta]), f64::NEG_INFINITY);
            assert!(prior.check_support("theta", ndarray::array![[theta]].view()).is_err(), "{kind} {theta}");
        }
        for z in [-60.0, 60.0] {
            let (low, high) = prior.support()[0];
            assert!((low..=high).contains(&theta(&map, z)), "{kind} {z}");
        }
        assert!(theta(&map, f64::NAN).is_nan() && latent(&map, f64::NAN).is_nan());
    }
    // Half of f32's spacing below one holds 19 % of this prior: a draw rounded to one must not become an outlier.
    assert!(latent(&map("beta(2, 0.1)"), 1.0) < 2.0);
}

#[test]
fn wrong_shapes_and_bounds_are_refused() {
    for (kind, expected) in [
        ("gamma(0, 1)", "shape between"),
        ("gamma(1, -1)", "rate > 0"),
        ("inverse_gamma(1, 0)", "scale > 0"),
        ("beta(-1, 1)", "alpha between"),
        ("beta(1, 1e9)", "beta between"),
        ("exponential(0)", "rate > 0"),
        ("half_normal(-1)", "scale > 0"),
        ("half_cauchy(0)", "scale > 0"),
        ("student_t(0, 0, 1)", "df between"),
        ("cauchy(0, 0)", "scale > 0"),
        ("loguniform(0, 1)", "0 < low < high"),
        ("truncated_normal(0, 1, 2, 1)", "low < high"),
        ("truncated_normal(0, 1, 1e6, inf)", "scales from loc"),
    ] {
        let message = Prior::new(vec![parse_component(&format!("a={kind}")).unwrap()]).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("\"a\"") && !message.contains('\n'), "{message}");
    }
    let message = LatentMap::standardized(&prior("gamma(1, 1)"), vec![0.0], vec![1.0]).unwrap_err().to_string();
    assert!(message.contains("\"a\" has no standardized"), "{message}");
}

const CORRELATED: &str =
    r#"[{"dist":"multivariate_lognormal","names":["a","b"],"loc":[0.5,-1],"covariance":[[0.5,0.2],[0.2,0.3]]}]"#;

#[test]
fn correlated_log_normals_are_exponentials_of_normals() {
    let prior = Prior::from_json(CORRELATED).unwrap();
    assert_eq!(prior.to_json(), Prior::from_json(&prior.to_json()).unwrap().to_json());
    let normal = Prior::from_json(&CORRELATED.replace("lognormal", "normal")).unwrap();
    let key = StreamKey::root(2).child(Purpose::Prior);
    let standardized = LatentMap::standardized(&prior, vec![0.4, -0.9], vec![0.6, 0.5]).unwrap();
    for map in [LatentMap::prior_gaussian(&prior), standardized] {
        for i in 0..200 {
            let (mut theta, mut log, mut z, mut back) = ([0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]);
            prior.sample(&mut key.rng(i), &mut theta);
            normal.sample(&mut key.rng(i), &mut log);
            for j in 0..2 {
                assert!((theta[j].ln() - log[j]).abs() < 1e-14 * (1.0 + log[j].abs()));
            }
            let (mut gradient, mut of_log) = ([0.0; 2], [0.0; 2]);
            let density = prior.log_density_gradient(&theta, &mut gradient);
            let expected = normal.log_density_gradient(&log, &mut of_log) - log[0] - log[1];
            assert!((density - expected).abs() < 1e-12 * (1.0 + expected.abs()));
            for j in 0..2 {
                assert!((gradient[j] - (of_log[j] - 1.0) / theta[j]).abs() < 1e-11 * (1.0 + gradient[j].abs()));
            }
            map.to_latent(&theta, &mut z);
            map.to_parameters(&z, &mut back);
            (0..2).for_each(|j| assert!((back[j] / theta[j] - 1.0).abs() < 1e-12));
            let image = map.latent_prior().log_density(&z);
            assert!((density + map.log_jacobian(&z) - image).abs() < 1e-10 * (1.0 + image.abs()));
            // Jᵀ of either unit vector, by differences.
            for j in 0..2 {
                let mut unit = [0.0; 2];
                unit[j] = 1.0;
                let mut pulled = [0.0; 2];
                map.pull_back(&z, &theta, &unit, &mut pulled);
                for k in 0..2 {
                    let at = |s: f64| {
                        let (mut moved, mut theta) = (z, [0.0; 2]);
                        moved[k] += s;
                        map.to_parameters(&moved, &mut theta);
                        theta[j]
                    };
                    let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!((numeric - pulled[k]).abs() < 1e-8 * (1.0 + numeric.abs()), "{j} {k}");
                }
            }
        }
    }
    let (mean, sd) = prior.mean_and_sd()[0];
    assert!((mean - 0.75f64.exp()).abs() < 1e-12 && (sd - mean * 0.5f64.exp_m1().sqrt()).abs() < 1e-12);
    assert_eq!(prior.support(), [(0.0, f64::INFINITY); 2]);
}
