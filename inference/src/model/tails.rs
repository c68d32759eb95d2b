//! Heavy tails: components of a mixture that are Student t in place of Gaussians (Lange, Little & Taylor 1989, JASA 84).
//!
//! A component has degrees of freedom ν beside its location μ and the factor L of its inverse scale matrix P = L Lᵀ. Of D values that are seen, with
//! u = Lᵀ r and q = |u|², and the missing ones at their most probable as for a Gaussian (marginals of a multivariate t are t with the same ν),
//!
//!   log t = log Γ((ν+D)/2) - log Γ(ν/2) - D/2 log(ν/2) + Σ log L_ii - ½ log det P_MM - (ν+D)/2 log(1 + q/ν), less D/2 log 2π as everywhere.
//!
//! Its slope is that of a Gaussian with u times (ν+D)/(ν+q): values far out pull less. With a full factor all columns have one ν and share how far out an
//! observation lies; with a diagonal one they are independent, each with a ν of its own: groups of columns, D = 1 each.

use super::density::{Covariance, MixtureLayout};
use super::missing::Hidden;
use rand::Rng;
use rand_distr::{ChiSquared, Distribution};
use statrs::function::gamma::{digamma, ln_gamma};
use std::ops::Range;

/// Bounds of ν: heavier tails than those of ν = ½ are no noise but a transformation that is missing, and at 100 no observation tells a t from a Gaussian.
const FREEDOM: (f64, f64) = (0.5, 100.0);

/// From here on, the asymptotic series of ψ' has an error below 10⁻¹³.
const LARGE: f64 = 15.0;

/// The tails of a group of columns.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tail {
    /// ν.
    pub freedom: f64,
    /// ∂ν/∂output.
    by_output: f64,
    /// The term without q of all columns of the group, and its derivative by ν.
    complete: [f64; 2],
}

impl Tail {
    /// log ν is a logistic function of the output between its bounds.
    fn new(output: f32, columns: usize) -> Self {
        let (low, high) = (FREEDOM.0.ln(), FREEDOM.1.ln());
        let share = 1.0 / (1.0 + (-f64::from(output)).exp());
        let freedom = (low + (high - low) * share).exp();
        let by_output = freedom * (high - low) * share * (1.0 - share);
        Self { freedom, by_output, complete: normaliser(freedom, columns as f64) }
    }

    /// log t less Σ log L_ii, and its derivative by ν, of `seen` of the group's `columns` at the squared distance q.
    fn log(&self, q: f64, seen: usize, columns: usize) -> [f64; 2] {
        let (freedom, total) = (self.freedom, self.freedom + seen as f64);
        let [value, slope] = if seen == columns { self.complete } else { normaliser(freedom, seen as f64) };
        let log = (q / freedom).ln_1p();
        [value - 0.5 * total * log, slope - 0.5 * log + 0.5 * total * q / (freedom * (freedom + q))]
    }

    /// How much of a Gaussian's pull values at the squared distance q have.
    fn pull(&self, q: f64, seen: usize) -> f64 {
        (self.freedom + seen as f64) / (self.freedom + q)
    }

    /// The Fisher information of `seen` values.
    fn information(&self, seen: usize) -> TailInformation {
        TailInformation::new(self.freedom, seen as f64)
    }
}

/// What makes the information of a t of that of a Gaussian: times `gaussian`, plus products of tr L⁻¹∂L with itself, with ∂ν, and of ∂ν with itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TailInformation {
    pub(super) gaussian: f64,
    trace: f64,
    both: f64,
    freedom: f64,
}

/// A group's tr L⁻¹∂L over the values that are seen, and ∂ν, along one parameter.
pub(super) type TailTangent = [f64; 2];

impl TailInformation {
    /// That of `d` values that are seen, of ν degrees of freedom.
    pub(super) fn new(freedom: f64, d: f64) -> Self {
        let total = freedom + d;
        let curvature = 0.25 * (trigamma(0.5 * freedom) - trigamma(0.5 * total));
        Self {
            gaussian: total / (total + 2.0),
            trace: -2.0 / (total + 2.0),
            both: 2.0 / (total * (total + 2.0)),
            freedom: (curvature - d * (total + 4.0) / (2.0 * freedom * total * (total + 2.0))).max(0.0),
        }
    }

    /// The share that is not a Gaussian's, along two parameters.
    pub(super) fn product(&self, a: TailTangent, b: TailTangent) -> f64 {
        self.trace * a[0] * b[0] + self.both * (a[0] * b[1] + a[1] * b[0]) + self.freedom * a[1] * b[1]
    }
}

/// log Γ((ν+D)/2) - log Γ(ν/2) - D/2 log(ν/2) and its derivative by ν, of D values.
pub(super) fn normaliser(freedom: f64, d: f64) -> [f64; 2] {
    if d == 0.0 {
        return [0.0; 2];
    }
    let half = 0.5 * freedom;
    let value = ln_gamma(half + 0.5 * d) - ln_gamma(half) - 0.5 * d * half.ln();
    [value, 0.5 * (digamma(half + 0.5 * d) - digamma(half) - d / freedom)]
}

/// ψ', by recurrence and its asymptotic series.
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < LARGE {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    sum + 1.0 / x + 0.5 * r + r / x * (1.0 / 6.0 - r * (1.0 / 30.0 - r * (1.0 / 42.0 - r / 30.0)))
}

impl MixtureLayout {
    /// Numbers of degrees of freedom that a component has.
    pub(super) fn tail_outputs(&self) -> usize {
        match (self.tails, self.covariance) {
            (false, _) => 0,
            (true, Covariance::Full) => 1,
            (true, Covariance::Diagonal) => self.dim,
        }
    }

    /// The columns of a component's groups, as many as it has degrees of freedom.
    pub(super) fn tail_groups(&self) -> impl Iterator<Item = Range<usize>> {
        let width = self.dim / self.tail_outputs().max(1);
        (0..self.tail_outputs()).map(move |group| group * width..(group + 1) * width)
    }

    /// Where component c's degrees of freedom start in the outputs.
    pub fn tail_offset(&self, c: usize) -> usize {
        self.mean_offset(c) + self.dim + self.factor_entries()
    }

    /// Initial biases for ν degrees of freedom in all components.
    pub fn start_tails(&self, bias: &mut [f32], freedom: f64) {
        let share = (freedom / FREEDOM.0).ln() / (FREEDOM.1 / FREEDOM.0).ln();
        for c in 0..self.components {
            bias[self.tail_offset(c)..][..self.tail_outputs()].fill((share / (1.0 - share)).ln() as f32);
        }
    }

    /// The tails of one component's outputs.
    pub(super) fn expand_tails(&self, outputs: &[f32], c: usize, tails: &mut Vec<Tail>) {
        tails.clear();
        let outputs = &outputs[self.tail_offset(c)..];
        tails.extend(self.tail_groups().zip(outputs).map(|(columns, &output)| Tail::new(output, columns.len())));
    }

    /// log t less Σ log L_ii and ½ log det P_MM, of whitened residuals.
    pub(super) fn log_tails(&self, tails: &[Tail], whitened: &[f64], hidden: &Hidden) -> f64 {
        let groups = self.tail_groups().zip(tails);
        groups
            .map(|(columns, tail)| {
                tail.log(square(&whitened[columns.clone()]), hidden.seen(&columns), columns.len())[0]
            })
            .sum()
    }

    /// Makes whitened residuals what the slope is made of, and adds `weight` times the gradient by the outputs of the degrees of freedom.
    pub(super) fn pull_tails(
        &self,
        (tails, hidden): (&[Tail], &Hidden),
        weight: f64,
        whitened: &mut [f64],
        gradient: &mut [f64],
    ) {
        for ((columns, tail), gradient) in self.tail_groups().zip(tails).zip(gradient) {
            let (seen, q) = (hidden.seen(&columns), square(&whitened[columns.clone()]));
            *gradient += weight * tail.log(q, seen, columns.len())[1] * tail.by_output;
            let pull = tail.pull(q, seen);
            whitened[columns].iter_mut().for_each(|u| *u *= pull);
        }
    }

    /// What the groups' products of tangents need.
    pub(super) fn tail_informations(&self, tails: &[Tail], hidden: &Hidden, out: &mut Vec<TailInformation>) {
        out.clear();
        out.extend(self.tail_groups().zip(tails).map(|(columns, tail)| tail.information(hidden.seen(&columns))));
    }

    /// From the factors of a Gaussian's information along one parameter to those of a t's; adds what else it needs to `own`. `outputs` is the tangent of
    /// a component's degrees of freedom.
    pub(super) fn weigh_tails(
        &self,
        (tails, informations): (&[Tail], &[TailInformation]),
        outputs: &[f32],
        (whitened, relative): (&mut [f64], &mut [f64]),
        own: &mut Vec<TailTangent>,
    ) {
        for (((columns, tail), information), &output) in self.tail_groups().zip(tails).zip(informations).zip(outputs) {
            let share = information.gaussian.sqrt();
            let mut trace = 0.0;
            whitened[columns.clone()].iter_mut().for_each(|u| *u *= share);
            for i in columns {
                let row = self.row_offset(i)..self.row_offset(i) + self.columns(i).len();
                // The diagonal has a √2 there.
                trace += relative[row.end - 1] / std::f64::consts::SQRT_2;
                relative[row].iter_mut().for_each(|value| *value *= share);
            }
            own.push([trace, tail.by_output * f64::from(output)]);
        }
    }

    /// Makes Gaussian noise (d) that of the tails: each group over √(χ²/ν).
    pub(super) fn spread_tails(&self, tails: &[Tail], noise: &mut [f64], rng: &mut impl Rng) {
        for (columns, tail) in self.tail_groups().zip(tails) {
            let squares = ChiSquared::new(tail.freedom).expect("degrees of freedom are positive").sample(rng);
            let factor = (tail.freedom / squares).sqrt();
            noise[columns].iter_mut().for_each(|value| *value *= factor);
        }
    }
}

fn square(whitened: &[f64]) -> f64 {
    whitened.iter().map(|u| u * u).sum()
}

#[cfg(test)]
mod tests {
    use super::super::density::MixtureScratch;
    use super::*;

    fn layout(components: usize, dim: usize, covariance: Covariance) -> MixtureLayout {
        MixtureLayout { components, covariance, tails: true, ..MixtureLayout::gaussian(dim) }
    }

    fn density(layout: MixtureLayout, outputs: &[f32], y: &[f64], gradient: Option<&mut [f64]>) -> f64 {
        let mut scratch = MixtureScratch::default();
        layout.expand(outputs, &mut scratch);
        layout.accumulate(y, 1.0, &mut scratch, gradient)
    }

    /// Outputs of a component without tails, and then of the given degrees of freedom.
    fn outputs(layout: MixtureLayout, gaussian: &[f32], freedom: f64) -> Vec<f32> {
        let mut outputs = gaussian.to_vec();
        outputs.resize(layout.outputs(), 0.0);
        layout.start_tails(&mut outputs, freedom);
        outputs
    }

    /// scipy 1.17: stats.t.logpdf, stats.multivariate_t.logpdf, with D/2 log 2π added.
    #[test]
    fn densities_are_those_of_scipy() {
        let one = layout(1, 1, Covariance::Full);
        for (freedom, y, expected) in [
            (1.0, 4.25, -3.521_112_196_307_043_5),
            (3.0, -0.5, -0.405_742_874_317_813_3),
            (50.0, 1.0, -0.273_120_898_061_606_4),
        ] {
            let found = density(one, &outputs(one, &[0.25, 0.5], freedom), &[y], None);
            assert!((found - expected).abs() < 1e-6, "{freedom}: {found} {expected}");
        }
        // L = [[2, 0], [1, 4]]; complete, without the second value, and with independent columns.
        let (full, diagonal) = (layout(1, 2, Covariance::Full), layout(1, 2, Covariance::Diagonal));
        let (two, four) = (2f32.ln(), 4f32.ln());
        for (freedom, y, expected) in [
            (2.0, [1.5, 0.0], [-3.125_937_829_208_932, -1.045_857_799_065_133_2, -3.105_878_232_597_148_3]),
            (4.5, [-3.0, 2.0], [-9.616_766_271_964_913, -6.047_900_192_186_432, -14.454_110_271_619_871]),
        ] {
            let joint = outputs(full, &[0.5, -1.0, two, 1.0, four], freedom);
            let apart = outputs(diagonal, &[0.5, -1.0, two, four], freedom);
            let found = [
                density(full, &joint, &y, None),
                density(full, &joint, &[y[0], f64::NAN], None),
                density(diagonal, &apart, &y, None),
            ];
            assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 3e-6), "{freedom}: {found:?} {expected:?}");
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (components, covariance) in [(1, Covariance::Full), (3, Covariance::Full), (2, Covariance::Diagonal)] {
            let layout = layout(components, 3, covariance);
            let outputs: Vec<f32> = (0..layout.outputs()).map(|i| 0.6 * (i as f32 * 1.7 + 0.3).sin()).collect();
            for y in [[0.3, -0.7, 0.2], [14.0, f64::NAN, -3.0], [f64::NAN, f64::NAN, 5.0]] {
                let mut gradient = vec![0.0; layout.outputs()];
                density(layout, &outputs, &y, Some(&mut gradient));
                for i in 0..layout.outputs() {
                    let h = 1e-2f32;
                    let at = |shift: f32| {
                        let mut moved = outputs.clone();
                        moved[i] += shift;
                        density(layout, &moved, &y, None)
                    };
                    let numeric = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * f64::from(h));
                    assert!((numeric - gradient[i]).abs() < 2e-5, "{layout:?} {y:?} {i}: {numeric} {}", gradient[i]);
                }
            }
        }
    }

    /// ψ'(1) = π²/6, ψ'(½) = π²/2, ψ'(20) = π²/6 - Σ 1/k² up to 19.
    #[test]
    fn trigamma_has_its_closed_forms() {
        let squared = std::f64::consts::PI.powi(2);
        let tail: f64 = (1..20).map(|k| 1.0 / f64::from(k * k)).sum();
        for (x, expected) in [(1.0, squared / 6.0), (0.5, squared / 2.0), (20.0, squared / 6.0 - tail)] {
            assert!((trigamma(x) - expected).abs() < 1e-13 * expected.max(1.0), "{x}: {}", trigamma(x));
        }
    }

    /// Bounds hold far out, where nothing overflows.
    #[test]
    fn far_values_have_a_density_and_a_slope() {
        for output in [-500.0, 500.0] {
            let layout = layout(1, 2, Covariance::Full);
            let outputs = [0.0, 0.0, 14.0, 0.3, 14.0, output];
            let mut gradient = vec![0.0; 6];
            let value = density(layout, &outputs, &[1e30, -1e20], Some(&mut gradient));
            assert!(value.is_finite() && gradient.iter().all(|slope| slope.is_finite()), "{value} {gradient:?}");
        }
    }
}
