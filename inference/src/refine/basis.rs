//! Polynomials of several variables: products of Hermite polynomials, orthonormal under N(0, I).
//!
//! φ_α(v) = Π_i h_{α_i}(v_i), |α| ≤ degree, with h_0 = 1, h_1 = v, √(k+1) h_{k+1} = v h_k - √k h_{k-1}; then h_k' = √k h_{k-1}. Sorted
//! by degree, so that the polynomials of a lower degree are the first ones.

use crate::{InferenceError, Result};

/// Highest degree that is offered.
pub const MOST_DEGREE: usize = 4;

/// All polynomials of `dim` variables up to a degree, of which the last `linear` variables enter by themselves only.
#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    dim: usize,
    linear: usize,
    exponents: Vec<Vec<usize>>,
    /// Number of polynomials up to each degree.
    counts: Vec<usize>,
}

impl Basis {
    /// The polynomials of `dim` variables up to `degree`.
    ///
    /// # Errors
    /// No variables, or a degree above [`MOST_DEGREE`].
    pub fn new(dim: usize, degree: usize) -> Result<Self> {
        Self::partly_linear(dim, 0, degree)
    }

    /// The polynomials up to `degree` of all variables but the last `linear` ones, and those by themselves.
    ///
    /// # Errors
    /// No variables that are not linear, or a degree above [`MOST_DEGREE`].
    pub fn partly_linear(dim: usize, linear: usize, degree: usize) -> Result<Self> {
        if linear >= dim || degree > MOST_DEGREE {
            let message = format!("needs at least one variable and a degree up to {MOST_DEGREE}");
            return Err(InferenceError::Option { option: "degree", message });
        }
        let (mut exponents, mut counts) = (Vec::new(), Vec::new());
        for total in 0..=degree {
            let of = if total == 1 { dim } else { dim - linear };
            let first = exponents.len();
            extend(&mut vec![0; of], 0, total, &mut exponents);
            exponents[first..].iter_mut().for_each(|own| own.resize(dim, 0));
            counts.push(exponents.len());
        }
        Ok(Self { dim, linear, exponents, counts })
    }

    /// Number of polynomials.
    pub fn len(&self) -> usize {
        self.exponents.len()
    }

    /// Whether there are none; never.
    pub fn is_empty(&self) -> bool {
        self.exponents.is_empty()
    }

    /// Number of variables.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many of the last variables enter by themselves only.
    pub fn linear(&self) -> usize {
        self.linear
    }

    /// The highest degree.
    pub fn degree(&self) -> usize {
        self.counts.len() - 1
    }

    /// Number of polynomials up to `degree`: the first ones.
    pub fn count(&self, degree: usize) -> usize {
        self.counts[degree]
    }

    /// The degree whose polynomials number `count`, if there is one.
    pub fn degree_of(&self, count: usize) -> Option<usize> {
        self.counts.iter().position(|&known| known == count)
    }

    /// h_k(v_i), (dim, degree + 1).
    fn table(&self, v: &[f64]) -> Vec<f64> {
        let width = self.degree() + 1;
        let mut table = vec![1.0; self.dim * width];
        for (row, &v) in table.chunks_exact_mut(width).zip(v) {
            for k in 1..width {
                let before = if k > 1 { ((k - 1) as f64).sqrt() * row[k - 2] } else { 0.0 };
                row[k] = (v * row[k - 1] - before) / (k as f64).sqrt();
            }
        }
        table
    }

    /// φ(v) into `out`.
    pub fn evaluate(&self, v: &[f64], out: &mut [f64]) {
        let (width, table) = (self.degree() + 1, self.table(v));
        for (out, exponents) in out.iter_mut().zip(&self.exponents) {
            *out = exponents.iter().enumerate().map(|(i, &k)| table[i * width + k]).product();
        }
    }

    /// φ(v) into `values` and ∂φ/∂v into `gradients` (polynomials, dim).
    pub fn evaluate_with_gradient(&self, v: &[f64], values: &mut [f64], gradients: &mut [f64]) {
        let (width, table) = (self.degree() + 1, self.table(v));
        for ((value, gradient), exponents) in
            values.iter_mut().zip(gradients.chunks_exact_mut(self.dim)).zip(&self.exponents)
        {
            let factor = |i: usize| table[i * width + exponents[i]];
            *value = (0..self.dim).map(factor).product();
            for (i, slope) in gradient.iter_mut().enumerate() {
                *slope = match exponents[i] {
                    0 => 0.0,
                    k => {
                        let others: f64 = (0..self.dim).filter(|&j| j != i).map(factor).product();
                        (k as f64).sqrt() * table[i * width + k - 1] * others
                    }
                };
            }
        }
    }
}

/// All exponents from variable `i` on that sum to `left`.
fn extend(current: &mut Vec<usize>, i: usize, left: usize, all: &mut Vec<Vec<usize>>) {
    if i + 1 == current.len() {
        current[i] = left;
        all.push(current.clone());
        return;
    }
    for k in (0..=left).rev() {
        current[i] = k;
        extend(current, i + 1, left - k, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_degrees_come_first_and_gradients_are_finite_differences() {
        let basis = Basis::new(3, 3).unwrap();
        assert_eq!((0..=3).map(|k| basis.count(k)).collect::<Vec<_>>(), [1, 4, 10, 20]);
        assert_eq!((basis.degree_of(10), basis.degree_of(11)), (Some(2), None));
        let v = [0.7, -1.3, 0.2];
        let (mut values, mut gradients) = (vec![0.0; 20], vec![0.0; 60]);
        basis.evaluate_with_gradient(&v, &mut values, &mut gradients);
        let at = |v: &[f64]| {
            let mut out = vec![0.0; 20];
            basis.evaluate(v, &mut out);
            out
        };
        assert_eq!(at(&v), values);
        let h = 1e-5;
        for i in 0..3 {
            let (mut up, mut down) = (v, v);
            up[i] += h;
            down[i] -= h;
            for (j, (up, down)) in at(&up).iter().zip(at(&down)).enumerate() {
                assert!(((up - down) / (2.0 * h) - gradients[j * 3 + i]).abs() < 1e-8, "{j} by {i}");
            }
        }
    }

    /// Those of the variables that are not linear are as they are alone, sorted by degree, and the others follow the linear ones.
    #[test]
    fn linear_variables_enter_by_themselves() {
        let (partly, alone) = (Basis::partly_linear(3, 1, 3).unwrap(), Basis::new(2, 3).unwrap());
        assert_eq!((0..=3).map(|k| partly.count(k)).collect::<Vec<_>>(), [1, 4, 7, 11]);
        let v = [0.7, -1.3, 0.2];
        let (mut values, mut slopes, mut expected) = (vec![0.0; 11], vec![0.0; 33], vec![0.0; 10]);
        partly.evaluate_with_gradient(&v, &mut values, &mut slopes);
        alone.evaluate(&v[..2], &mut expected);
        expected.insert(3, 0.2);
        assert_eq!(values, expected);
        let by_last: Vec<f64> = slopes.iter().skip(2).step_by(3).copied().collect();
        assert!(by_last.iter().enumerate().all(|(k, slope)| *slope == if k == 3 { 1.0 } else { 0.0 }), "{by_last:?}");
        assert!(Basis::partly_linear(2, 2, 1).is_err());
    }

    /// Gauss–Hermite rules would do; a fine grid does too.
    #[test]
    fn polynomials_are_orthonormal_under_the_standard_normal() {
        let basis = Basis::new(1, 4).unwrap();
        let mut gram = [0.0; 25];
        let mut phi = [0.0; 5];
        for step in -2000..=2000 {
            let v = f64::from(step) * 0.005;
            basis.evaluate(&[v], &mut phi);
            let weight = 0.005 * (-0.5 * v * v).exp() / (2.0 * std::f64::consts::PI).sqrt();
            for i in 0..5 {
                for j in 0..5 {
                    gram[i * 5 + j] += weight * phi[i] * phi[j];
                }
            }
        }
        for i in 0..5 {
            for j in 0..5 {
                assert!((gram[i * 5 + j] - f64::from(u8::from(i == j))).abs() < 1e-9);
            }
        }
    }
}
