//! Laws of priors and latent maps.

use rand::RngExt;
use statrs::distribution::{ContinuousCDF, Normal};
use tallsbi_data::{Component, LatentMap, Prior, Purpose, StreamKey};

fn prior() -> Prior {
    Prior::new(vec![
        Component::Uniform { name: "u".into(), low: -2.0, high: 6.0 },
        Component::Lognormal { name: "l".into(), loc: -0.125, scale: 0.5 },
        Component::MultivariateNormal {
            names: vec!["a".into(), "b".into(), "c".into()],
            loc: vec![1.0, -2.0, 0.5],
            covariance: vec![vec![2.0, 0.9, -0.3], vec![0.9, 1.5, 0.2], vec![-0.3, 0.2, 0.7]],
        },
        Component::Normal { name: "n".into(), loc: 3.0, scale: 0.25 },
    ])
    .unwrap()
}

const M: usize = 6;

fn samples(count: u64) -> Vec<[f64; M]> {
    let key = StreamKey::root(11).child(Purpose::Prior);
    (0..count)
        .map(|i| {
            let mut theta = [0.0; M];
            prior().sample(&mut key.rng(i), &mut theta);
            theta
        })
        .collect()
}

#[test]
fn samples_have_the_moments() {
    let n = 200_000;
    let draws = samples(n);
    for (i, (mean, sd)) in prior().mean_and_sd().into_iter().enumerate() {
        let sample_mean = draws.iter().map(|d| d[i]).sum::<f64>() / n as f64;
        let sample_sd = (draws.iter().map(|d| (d[i] - sample_mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt();
        // 4.5 standard errors; the log-normal's kurtosis (8.9 at scale 0.5) widens the error of its sd.
        let error = sd / (n as f64).sqrt();
        assert!((sample_mean - mean).abs() < 4.5 * error, "parameter {i}: mean {sample_mean}, expected {mean}");
        assert!((sample_sd - sd).abs() < 4.5 * 1.5 * error, "parameter {i}: sd {sample_sd}, expected {sd}");
    }
    let covariance = |i: usize, j: usize| {
        let means = prior().mean_and_sd();
        draws.iter().map(|d| (d[i] - means[i].0) * (d[j] - means[j].0)).sum::<f64>() / n as f64
    };
    for (i, j, expected) in [(2, 3, 0.9), (2, 4, -0.3), (3, 4, 0.2), (0, 1, 0.0), (1, 5, 0.0)] {
        let found = covariance(i, j);
        assert!((found - expected).abs() < 0.025, "covariance ({i}, {j}): {found}, expected {expected}");
    }
}

/// ∫ λ = 1, per component, by the midpoint rule over all but 10⁻⁹ of the mass.
#[test]
fn densities_integrate_to_one() {
    let one_dimensional = [
        (r#"[{"name":"u","dist":"uniform","low":-2,"high":6}]"#, -3.0, 7.0),
        (r#"[{"name":"l","dist":"lognormal","loc":-0.125,"scale":0.5}]"#, 0.0, 40.0),
        (r#"[{"name":"n","dist":"normal","loc":3,"scale":0.25}]"#, 1.0, 5.0),
    ];
    for (json, low, high) in one_dimensional {
        let prior = Prior::from_json(json).unwrap();
        let n = 400_000;
        let step = (high - low) / n as f64;
        let total: f64 = (0..n).map(|i| prior.log_density(&[low + (i as f64 + 0.5) * step]).exp() * step).sum();
        assert!((total - 1.0).abs() < 1e-5, "{json}: {total}");
    }
    let json = r#"[{"dist":"multivariate_normal","names":["a","b"],"loc":[1,-2],"covariance":[[2,0.9],[0.9,1.5]]}]"#;
    let prior = Prior::from_json(json).unwrap();
    let (n, half) = (600, 12.0);
    let step = 2.0 * half / f64::from(n);
    let at = |center: f64, i: i32| center - half + (f64::from(i) + 0.5) * step;
    let total: f64 = (0..n)
        .flat_map(|i| (0..n).map(move |j| (i, j)))
        .map(|(i, j)| prior.log_density(&[at(1.0, i), at(-2.0, j)]).exp() * step * step)
        .sum();
    assert!((total - 1.0).abs() < 1e-6, "{total}");
}

#[test]
fn gradients_are_the_derivatives() {
    let prior = prior();
    for theta in samples(50) {
        let mut gradient = [0.0; M];
        prior.log_density_gradient(&theta, &mut gradient);
        for i in 0..M {
            let h = 1e-6 * (1.0 + theta[i].abs());
            let shifted = |s: f64| {
                let mut t = theta;
                t[i] += s;
                prior.log_density(&t)
            };
            let numeric = (shifted(h) - shifted(-h)) / (2.0 * h);
            assert!((numeric - gradient[i]).abs() < 1e-6 * (1.0 + numeric.abs()), "{i}: {numeric} {}", gradient[i]);
        }
    }
    assert_eq!(prior.log_density(&[7.0, 1.0, 0.0, 0.0, 0.0, 3.0]), f64::NEG_INFINITY);
    assert_eq!(prior.log_density(&[0.0, -1.0, 0.0, 0.0, 0.0, 3.0]), f64::NEG_INFINITY);
}

#[test]
fn json_round_trip_is_exact() {
    let third = 1.0 / 3.0;
    let mut components = prior().components().to_vec();
    components.push(Component::Uniform { name: "third".into(), low: -third, high: third.exp() });
    let prior = Prior::new(components).unwrap();
    assert_eq!(Prior::from_json(&prior.to_json()).unwrap(), prior);
}

#[test]
fn wrong_priors_are_refused() {
    let cases = [
        ("", "EOF"),
        ("[]", ""),
        (r#"{"name":"a"}"#, ""),
        (r#"[{"name":"a","dist":"uniform","low":1,"high":1}]"#, "low < high"),
        (r#"[{"name":"a","dist":"normal","loc":0,"scale":0}]"#, "scale > 0"),
        (r#"[{"name":"a","dist":"normal","loc":0}]"#, "scale"),
        (r#"[{"name":"a","dist":"normal","loc":0,"scale":1,"sd":2}]"#, "sd"),
        (r#"[{"name":"a","dist":"normal","loc":0,"scale":1},{"name":"a","dist":"normal","loc":0,"scale":1}]"#, "a"),
        (
            r#"[{"dist":"multivariate_normal","names":["a","b"],"loc":[0,0],"covariance":[[1,2],[2,1]]}]"#,
            "positive definite",
        ),
        (
            r#"[{"dist":"multivariate_normal","names":["a","b"],"loc":[0,0],"covariance":[[1,0.5],[0.1,1]]}]"#,
            "symmetric",
        ),
        (r#"[{"dist":"multivariate_normal","names":["a","b"],"loc":[0],"covariance":[[1,0],[0,1]]}]"#, "2x2"),
    ];
    for (json, expected) in cases {
        let message = Prior::from_json(json).unwrap_err().to_string();
        assert!(message.contains(expected) && message.starts_with("prior: ") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn fixing_a_parameter_removes_its_column() {
    let (without, column) = prior().without("l").unwrap();
    assert_eq!((without.names().join(","), column), ("u,a,b,c,n".to_owned(), 1));
    assert!(prior().without("a").unwrap_err().to_string().contains("drawn together"));
    assert!(prior().without("z").unwrap_err().to_string().contains("no parameter"));
    assert!(Prior::uniform(&[("a", 0.0, 1.0)]).unwrap().without("a").is_err());
}

fn maps() -> Vec<LatentMap> {
    let draws = samples(1000);
    let column = |i: usize| draws.iter().map(move |d| if i == 1 { d[i].ln() } else { d[i] });
    let mean: Vec<f64> = (0..M).map(|i| column(i).sum::<f64>() / 1000.0).collect();
    let sd = (0..M).map(|i| (column(i).map(|v| (v - mean[i]).powi(2)).sum::<f64>() / 1000.0).sqrt()).collect();
    vec![LatentMap::prior_gaussian(&prior()), LatentMap::standardized(&prior(), mean, sd).unwrap()]
}

#[test]
fn latent_round_trip() {
    for map in maps() {
        for theta in samples(2000) {
            let (mut z, mut back) = ([0.0; M], [0.0; M]);
            map.to_latent(&theta, &mut z);
            map.to_parameters(&z, &mut back);
            for i in 0..M {
                assert!((back[i] - theta[i]).abs() < 1e-9 * (1.0 + theta[i].abs()), "{i}: {} {}", theta[i], back[i]);
            }
        }
    }
}

/// Far out in latent space parameters stay inside the prior's support.
#[test]
fn parameters_respect_the_support() {
    let map = LatentMap::prior_gaussian(&prior());
    for z in [-60.0, -9.0, 9.0, 60.0] {
        let mut theta = [0.0; M];
        map.to_parameters(&[z; M], &mut theta);
        for (value, (low, high)) in theta.iter().zip(prior().support()) {
            assert!(*value >= low && *value <= high, "{theta:?}");
        }
    }
    let mut z = [0.0; M];
    for edge in [-2.0, 6.0] {
        map.to_latent(&[edge, 1.0, 0.0, 0.0, 0.0, 3.0], &mut z);
        assert!(z[0].is_finite() && z[0].abs() > 6.0, "the bound itself maps to {}", z[0]);
    }
}

/// Kolmogorov–Smirnov: the prior becomes N(0, I) (each coordinate, and 1-D projections for the independence).
#[test]
fn prior_samples_become_standard_normal() {
    let n = 20_000;
    let map = LatentMap::prior_gaussian(&prior());
    let latent: Vec<[f64; M]> = samples(n)
        .iter()
        .map(|theta| {
            let mut z = [0.0; M];
            map.to_latent(theta, &mut z);
            z
        })
        .collect();
    let mut rng = StreamKey::root(3).child(Purpose::Projection).rng(0);
    let mut directions: Vec<[f64; M]> = (0..M).map(|i| std::array::from_fn(|j| f64::from(u8::from(i == j)))).collect();
    directions.extend((0..6).map(|_| {
        let d: [f64; M] = std::array::from_fn(|_| rng.random::<f64>() - 0.5);
        let norm = d.iter().map(|v| v * v).sum::<f64>().sqrt();
        d.map(|v| v / norm)
    }));
    for direction in directions {
        let mut values: Vec<f64> = latent.iter().map(|z| z.iter().zip(&direction).map(|(a, b)| a * b).sum()).collect();
        values.sort_by(f64::total_cmp);
        let statistic = values
            .iter()
            .enumerate()
            .map(|(i, v)| {
                let cdf = Normal::standard().cdf(*v);
                (cdf - i as f64 / n as f64).abs().max(((i + 1) as f64 / n as f64 - cdf).abs())
            })
            .fold(0.0, f64::max);
        // P(√n D > 2.2) = 1.2e-4 a direction.
        assert!(statistic * (n as f64).sqrt() < 2.2, "KS {statistic} along {direction:?}");
    }
}

/// log |dθ/dz| against the determinant of finite differences (the Jacobian is lower triangular).
#[test]
fn log_jacobian_is_the_determinant() {
    for map in maps() {
        for theta in samples(100) {
            let mut z = [0.0; M];
            map.to_latent(&theta, &mut z);
            let numeric: f64 = (0..M)
                .map(|i| {
                    let h = 1e-5;
                    let at = |s: f64| {
                        let (mut shifted, mut theta) = (z, [0.0; M]);
                        shifted[i] += s;
                        map.to_parameters(&shifted, &mut theta);
                        theta[i]
                    };
                    ((at(h) - at(-h)) / (2.0 * h)).ln()
                })
                .sum();
            let exact = map.log_jacobian(&z);
            assert!((numeric - exact).abs() < 1e-5 * (1.0 + exact.abs()), "{numeric} {exact}");
        }
    }
}

/// Densities agree under the change of variables: log λ(θ) + log|dθ/dz| = log density of z.
#[test]
fn latent_prior_is_the_image_of_the_prior() {
    for map in maps() {
        for theta in samples(200) {
            let mut z = [0.0; M];
            map.to_latent(&theta, &mut z);
            let left = prior().log_density(&theta) + map.log_jacobian(&z);
            let right = map.latent_prior().log_density(&z);
            assert!((left - right).abs() < 1e-8 * (1.0 + left.abs()), "{left} {right}");
        }
    }
}

#[test]
fn maps_survive_json() {
    for map in maps() {
        let json = serde_json::to_string(&map).unwrap();
        assert_eq!(serde_json::from_str::<LatentMap>(&json).unwrap(), map);
    }
}

#[test]
fn support_is_checked_with_room_for_rounding() {
    let prior = Prior::uniform(&[("a", 0.0, 0.1)]).unwrap();
    let check = |value: f32| prior.check_support("theta", ndarray::array![[value]].view());
    assert!(check(0.1).is_ok() && check(0.0).is_ok());
    assert!(check(0.1001).unwrap_err().to_string().contains("row 0 has a"));
    assert!(check(-1e-6).is_err());
}
