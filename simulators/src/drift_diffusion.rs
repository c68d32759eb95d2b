//! The drift-diffusion model of choices and response times (Ratcliff 1978, Psychological Review 85).
//!
//! Evidence starts at w a and follows dX = v dt + dW until it leaves (0, a); the choice is 1 if it leaves at a and 0 if at 0, and the
//! response time is t0 after that. The prior is that of Boelts, Lueckmann, Gao & Macke (2022, eLife 11:e77220), who compare likelihood networks on it: the
//! boundary separation a, the relative starting point w and the non-decision time t0 are the ones of HDDM (Wiecki, Sofer & Frank 2013), diffusion has
//! variance 1 a second.

use crate::{LogLikelihood, Result, Simulator, SimulatorError, SimulatorTask};
use rand::RngExt;
use rand_distr::{Distribution, Exp1, StandardNormal};
use rand_pcg::Pcg64;
use statrs::distribution::{ContinuousCDF, Normal};
use std::f64::consts::PI;
use tallsbi_data::Prior;

const LN_2PI: f64 = 1.837_877_066_409_345_3;

/// Where the density's series for short times gives way to the one for long times, in units of a². Either has a relative error below
/// e⁻⁵⁰ there with the terms below.
const SHORT: f64 = 0.5;

/// Terms k = -4 .. 4 of the series for short times, 1 .. 5 of the one for long times.
const SHORT_TERMS: i32 = 4;
const LONG_TERMS: i32 = 5;

/// Where the proposal of an exit time changes from an inverse Gaussian to an exponential (Devroye 2009), in units of the squared distance.
const SPLIT: f64 = 0.64;

/// The drift-diffusion simulator.
#[derive(Debug, Clone, Copy, Default)]
pub struct DriftDiffusion;

/// The task `drift_diffusion`: m = 4 (v, a, w, t0), d = 2 (choice, response time in seconds).
///
/// # Errors
/// None; the signature is that of every task.
pub fn drift_diffusion() -> Result<SimulatorTask<DriftDiffusion>> {
    let prior = Prior::uniform(&[("v", -2.0, 2.0), ("a", 0.5, 2.0), ("w", 0.3, 0.7), ("t0", 0.2, 1.8)])?;
    let names = ["choice", "response_time"].map(String::from).to_vec();
    Ok(SimulatorTask::new("drift_diffusion", prior, names, DriftDiffusion)?
        .described("Choices and response times of a diffusion between two boundaries")
        .with_units(&["1/s", "", "", "s"])
        .with_likelihood())
}

/// The drift-diffusion simulator with a drift rate that is proportional to the strength of a stimulus (Palmer, Huk & Shadlen 2005, J Vision 5:1):
/// θ = (k, a, w, t0) and the strength s, v = k s.
#[derive(Debug, Clone, Copy, Default)]
pub struct StimulusDriftDiffusion;

/// The task `drift_diffusion_stimulus`: m = 4 (k, a, w, t0), one condition (stimulus, drawn from U(-1, 1)), d = 3 with it. Registered with all
/// five as parameters, the last of which is made a condition.
///
/// # Errors
/// None; the signature is that of every task.
pub fn drift_diffusion_stimulus() -> Result<SimulatorTask<StimulusDriftDiffusion>> {
    let own = [("k", 0.0, 4.0), ("a", 0.5, 2.0), ("w", 0.3, 0.7), ("t0", 0.2, 1.8), ("stimulus", -1.0, 1.0)];
    let names = ["choice", "response_time"].map(String::from).to_vec();
    Ok(SimulatorTask::new("drift_diffusion_stimulus", Prior::uniform(&own)?, names, StimulusDriftDiffusion)?
        .described("Choices and response times under stimuli of known strength")
        .with_units(&["1/s", "", "", "s", ""])
        .with_likelihood())
}

impl Simulator for StimulusDriftDiffusion {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        DriftDiffusion.simulate(&[theta[0] * theta[4], theta[1], theta[2], theta[3]], rng, &mut (), x)
    }
}

impl LogLikelihood for StimulusDriftDiffusion {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        let mut slope = [0.0; 4];
        let inner = [theta[0] * theta[4], theta[1], theta[2], theta[3]];
        let value = DriftDiffusion.log_likelihood_gradient(&inner, x, &mut slope);
        gradient[0] = slope[0] * theta[4];
        gradient[1..4].copy_from_slice(&slope[1..]);
        gradient[4] = slope[0] * theta[0];
        value
    }
}

fn has_meaning([v, a, w, t0]: [f64; 4]) -> bool {
    v.is_finite() && a > 0.0 && a.is_finite() && w > 0.0 && w < 1.0 && t0.is_finite()
}

/// Exactly, by first exits from symmetric intervals about where the evidence stands, each as wide as the nearer boundary allows: their
/// times and sides are independent (Drugowitsch 2016, Scientific Reports 6:20490, embeds them likewise).
impl Simulator for DriftDiffusion {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        let [v, a, mut at, t0] = [theta[0], theta[1], theta[2], theta[3]];
        if !has_meaning([v, a, at, t0]) {
            return Err(SimulatorError::Failed("needs a > 0 and 0 < w < 1".into()));
        }
        let mut time = 0.0;
        let choice = loop {
            let half = at.min(1.0 - at);
            let distance = half * a;
            time += distance * distance * exit_time(distance * v.abs(), rng);
            let up = rng.random::<f64>() < 1.0 / (1.0 + (-2.0 * v * distance).exp());
            match (up, at <= 0.5, at >= 0.5) {
                (true, _, true) => break 1.0,
                (false, true, _) => break 0.0,
                (true, ..) => at += half,
                (false, ..) => at -= half,
            }
        };
        (x[0], x[1]) = (choice, t0 + time);
        Ok(())
    }
}

/// When a Brownian motion with drift ±`z` first leaves (-1, 1) from 0: the tilted Jacobi distribution J*(1, z), drawn as in Polson, Scott & Windle
/// (2013, JASA 108, appendix): from an inverse Gaussian below [`SPLIT`], an exponential beyond, accepted by partial sums of an alternating series.
fn exit_time(z: f64, rng: &mut Pcg64) -> f64 {
    let rate = PI * PI / 8.0 + 0.5 * z * z;
    let beyond = PI / (2.0 * rate) * (-rate * SPLIT).exp();
    // 2 e^-z times the probability that the inverse Gaussian lies below.
    let normal = Normal::standard();
    let root = SPLIT.sqrt();
    let below = 2.0 * ((-z).exp() * normal.cdf(z * root - 1.0 / root) + z.exp() * normal.cdf(-z * root - 1.0 / root));
    loop {
        let time = if rng.random::<f64>() * (below + beyond) < beyond {
            let wait: f64 = Exp1.sample(rng);
            SPLIT + wait / rate
        } else {
            inverse_gaussian_below(z, rng)
        };
        let mut sum = coefficient(0, time);
        let level = rng.random::<f64>() * sum;
        for n in 1.. {
            if n % 2 == 1 {
                sum -= coefficient(n, time);
                if level <= sum {
                    return time;
                }
            } else {
                sum += coefficient(n, time);
                if level > sum {
                    break;
                }
            }
        }
    }
}

/// Coefficients of the alternating series of J*(1)'s density at `time`.
fn coefficient(n: i32, time: f64) -> f64 {
    let k = f64::from(n) + 0.5;
    if time > SPLIT {
        PI * k * (-0.5 * k * k * PI * PI * time).exp()
    } else {
        PI * k * (2.0 / (PI * time)).powf(1.5) * (-2.0 * k * k / time).exp()
    }
}

/// The inverse Gaussian with mean 1/z and shape 1, below [`SPLIT`].
fn inverse_gaussian_below(z: f64, rng: &mut Pcg64) -> f64 {
    if z < 1.0 / SPLIT {
        // 1/χ² below the split, thinned by the drift.
        loop {
            let (e, other): (f64, f64) = (Exp1.sample(rng), Exp1.sample(rng));
            if e * e <= 2.0 * other / SPLIT {
                let time = SPLIT / (1.0 + SPLIT * e).powi(2);
                if rng.random::<f64>() <= (-0.5 * z * z * time).exp() {
                    return time;
                }
            }
        }
    }
    let mean = 1.0 / z;
    loop {
        // Michael, Schucany & Haas (1976).
        let normal: f64 = StandardNormal.sample(rng);
        let y = normal * normal;
        let root = mean + 0.5 * mean * mean * y - 0.5 * mean * (4.0 * mean * y + (mean * y).powi(2)).sqrt();
        let time = if rng.random::<f64>() <= mean / (mean + root) { root } else { mean * mean / root };
        if time < SPLIT {
            return time;
        }
    }
}

/// log f with its derivatives by τ and w, f the density of the time τ at which a Brownian motion from w first leaves (0, 1), at 0: the two series of
/// Navarro & Fuss (2009, J. Math. Psychology 53, equations 5 and 6), each where it converges fast.
fn first_passage(tau: f64, w: f64) -> [f64; 3] {
    let (mut sum, mut by_tau, mut by_w) = (0.0, 0.0, 0.0);
    if tau < SHORT {
        for k in -SHORT_TERMS..=SHORT_TERMS {
            let shift = 2.0 * f64::from(k);
            // (w + 2k)² = w² + 2 · exponent.
            let exponent = shift * (w + 0.5 * shift);
            let term = (-exponent / tau).exp();
            sum += (w + shift) * term;
            by_tau += (w + shift) * exponent / (tau * tau) * term;
            by_w += (1.0 - (w + shift) * shift / tau) * term;
        }
        let value = -0.5 * LN_2PI - 1.5 * tau.ln() - 0.5 * w * w / tau + sum.ln();
        [value, -1.5 / tau + 0.5 * (w / tau).powi(2) + by_tau / sum, -w / tau + by_w / sum]
    } else {
        for k in 1..=LONG_TERMS {
            let k = f64::from(k);
            let rate = 0.5 * (k * k - 1.0) * PI * PI;
            let decay = (-rate * tau).exp();
            let (sine, cosine) = (k * PI * w).sin_cos();
            sum += k * sine * decay;
            by_tau -= k * rate * sine * decay;
            by_w += k * k * PI * cosine * decay;
        }
        let slowest = 0.5 * PI * PI;
        [PI.ln() - slowest * tau + sum.ln(), -slowest + by_tau / sum, by_w / sum]
    }
}

/// p(choice, rt | θ) = e^(-v a w - v² t/2) f(t/a² | w)/a² with t = rt - t0 at the lower boundary; at the upper one with -v and 1 - w.
impl LogLikelihood for DriftDiffusion {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let [v, a, w, t0] = [theta[0], theta[1], theta[2], theta[3]];
        if !has_meaning([v, a, w, t0]) {
            return f64::NAN;
        }
        let time = f64::from(x[1]) - t0;
        let upper = x[0] == 1.0;
        if !(upper || x[0] == 0.0) || time.is_nan() || time <= 0.0 || time.is_infinite() {
            return f64::NEG_INFINITY;
        }
        let (sign, start) = if upper { (-1.0, 1.0 - w) } else { (1.0, w) };
        let [log, by_tau, by_start] = first_passage(time / (a * a), start);
        let value = log - 2.0 * a.ln() - sign * v * a * start - 0.5 * v * v * time;
        if !value.is_finite() {
            return f64::NEG_INFINITY;
        }
        gradient[0] = -sign * a * start - v * time;
        gradient[1] = -2.0 / a - sign * v * start - by_tau * 2.0 * time / a.powi(3);
        gradient[2] = sign * by_start - v * a;
        gradient[3] = 0.5 * v * v - by_tau / (a * a);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tallsbi_data::StreamKey;

    /// By numerical inversion of the Laplace transform e^(-v a w) sinh((1 - w) a q)/sinh(a q), q = √(v² + 2s), of the passage at the lower
    /// boundary (mpmath 1.3, Talbot's contour of degree 60 with 30 digits).
    #[test]
    fn densities_are_those_of_the_inverted_laplace_transform() {
        let golden: [(f32, f32, [f64; 4], f64); 6] = [
            (1.0, 1.0, [0.5, 1.2, 0.5, 0.3], -1.406_275_422_446_221_7),
            (0.0, 1.0, [0.5, 1.2, 0.5, 0.3], -2.006_275_422_446_221_7),
            (1.0, 0.5, [-1.5, 0.7, 0.35, 0.4], -0.152_277_685_267_950_23),
            (0.0, 2.75, [1.75, 1.9, 0.65, 1.5], -6.049_265_014_286_747),
            (1.0, 7.0, [0.1, 2.0, 0.4, 0.25], -8.532_974_978_628_726),
            (0.0, 0.375, [-2.0, 1.5, 0.3, 0.25], 1.241_716_083_032_876_8),
        ];
        for (choice, time, theta, expected) in golden {
            let found = DriftDiffusion.log_likelihood_gradient(&theta, &[choice, time], &mut [0.0; 4]);
            assert!((found - expected).abs() < 1e-12, "{theta:?}: {found} for {expected}");
        }
        for x in [[0.5, 1.0], [1.0, 0.25], [0.0, 0.0]] {
            assert_eq!(
                DriftDiffusion.log_likelihood_gradient(&[0.5, 1.2, 0.5, 0.3], &x, &mut [0.0; 4]),
                f64::NEG_INFINITY
            );
        }
    }

    /// The two series are one function.
    #[test]
    fn series_for_short_and_long_times_agree() {
        for w in [0.05, 0.3, 0.5, 0.93] {
            let (short, long) = (first_passage(SHORT * (1.0 - 1e-14), w), first_passage(SHORT, w));
            for (short, long) in short.iter().zip(long) {
                assert!((short - long).abs() < 1e-11 * long.abs().max(1.0), "{w}: {short} {long}");
            }
        }
    }

    /// Laplace transforms at 1 of the exit time: 1/cosh √2 without drift, cosh z/cosh √(z² + 2) with it; both proposals are used.
    #[test]
    fn exit_times_have_their_laplace_transform() {
        let n = 40_000;
        for (index, z) in [0.0f64, 0.4, 1.5, 1.7, 4.0].into_iter().enumerate() {
            let mut rng = StreamKey::root(3).rng(index as u64);
            let (mut sum, mut square) = (0.0, 0.0);
            for _ in 0..n {
                let value = (-exit_time(z, &mut rng)).exp();
                sum += value;
                square += value * value;
            }
            let mean = sum / f64::from(n);
            let error = ((square / f64::from(n) - mean * mean) / f64::from(n)).sqrt();
            let exact = z.cosh() / (z * z + 2.0).sqrt().cosh();
            assert!((mean - exact).abs() < 4.0 * error, "{z}: {mean} ± {error} for {exact}");
        }
    }

    /// Probabilities of the choices, and the mean decision time (a/v)(P(1) - w) (Wald's identity).
    #[test]
    fn choices_and_means_are_walds() {
        let n = 40_000;
        for (index, [v, a, w, t0]) in [[0.8f64, 1.5, 0.35, 0.4], [-2.0, 2.0, 0.7, 1.0]].into_iter().enumerate() {
            let mut rng = StreamKey::root(4).rng(index as u64);
            let (mut chosen, mut time, mut square) = (0.0, 0.0, 0.0);
            for _ in 0..n {
                let mut x = [0.0; 2];
                DriftDiffusion.simulate(&[v, a, w, t0], &mut rng, &mut (), &mut x).unwrap();
                chosen += x[0];
                time += x[1] - t0;
                square += (x[1] - t0).powi(2);
            }
            let [chosen, time, square] = [chosen, time, square].map(|sum: f64| sum / f64::from(n));
            let upper = (-2.0 * v * w * a).exp_m1() / (-2.0 * v * a).exp_m1();
            let error = (upper * (1.0 - upper) / f64::from(n)).sqrt();
            assert!((chosen - upper).abs() < 4.0 * error, "{chosen} for {upper}");
            let (exact, error) = (a / v * (upper - w), ((square - time * time) / f64::from(n)).sqrt());
            assert!((time - exact).abs() < 4.0 * error, "{time} for {exact}");
        }
    }
}
