//! Small dense matrices (m ≤ some tens), most of them symmetric positive definite, in row-major slices: what covariances and precisions of
//! posteriors need, without an allocation a call.
//!
//! A matrix of a few rows is a handful of cache lines; general linear algebra libraries spend more on their interface than on
//! the arithmetic at this size. Everything runs in a fixed order, so results are the same bytes everywhere. Priors and simulators factor
//! their matrices once by `faer`, whose last digits are others.

/// `out` = A x for A (m, m).
pub fn multiply(a: &[f64], x: &[f64], out: &mut [f64]) {
    let m = x.len();
    for (row, value) in a.chunks_exact(m).zip(out) {
        *value = dot(row, x);
    }
}

/// `out` += c A x for A (m, m).
pub fn add_multiply(c: f64, a: &[f64], x: &[f64], out: &mut [f64]) {
    let m = x.len();
    for (row, value) in a.chunks_exact(m).zip(out) {
        *value += c * dot(row, x);
    }
}

/// xᵀ y.
pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}

/// `to` += c `from`.
pub fn add_scaled(c: f64, from: &[f64], to: &mut [f64]) {
    for (target, value) in to.iter_mut().zip(from) {
        *target += c * value;
    }
}

/// Replaces A by (A + Aᵀ)/2.
pub fn symmetrize(a: &mut [f64], m: usize) {
    for i in 0..m {
        for j in 0..i {
            let mean = 0.5 * (a[i * m + j] + a[j * m + i]);
            a[i * m + j] = mean;
            a[j * m + i] = mean;
        }
    }
}

/// Replaces the lower triangle of A by its Cholesky factor L, A = L Lᵀ; false (and A spoiled) when A is not positive
/// definite or not finite. Only the lower triangle is read.
#[must_use]
pub fn cholesky(a: &mut [f64], m: usize) -> bool {
    for j in 0..m {
        let (above, row) = a.split_at_mut(j * m);
        for k in 0..j {
            row[k] = (row[k] - dot(&row[..k], &above[k * m..k * m + k])) / above[k * m + k];
        }
        let pivot = row[j] - dot(&row[..j], &row[..j]);
        // Written so that NaN fails too.
        if !(pivot > 0.0 && pivot.is_finite()) {
            return false;
        }
        row[j] = pivot.sqrt();
    }
    true
}

/// Replaces b by A⁻¹ b, A = L Lᵀ.
pub fn cholesky_solve(l: &[f64], b: &mut [f64]) {
    lower_solve(l, b);
    lower_transpose_solve(l, b);
}

/// Replaces b by L⁻¹ b.
pub fn lower_solve(l: &[f64], b: &mut [f64]) {
    let m = b.len();
    for i in 0..m {
        b[i] = (b[i] - dot(&l[i * m..i * m + i], &b[..i])) / l[i * m + i];
    }
}

/// Replaces b by L⁻ᵀ b.
pub fn lower_transpose_solve(l: &[f64], b: &mut [f64]) {
    let m = b.len();
    for i in (0..m).rev() {
        let mut value = b[i];
        for k in i + 1..m {
            value -= l[k * m + i] * b[k];
        }
        b[i] = value / l[i * m + i];
    }
}

/// A⁻¹ into `out` from the Cholesky factor L of A.
pub fn cholesky_inverse(l: &[f64], m: usize, out: &mut [f64]) {
    for (i, column) in out.chunks_exact_mut(m).enumerate() {
        column.fill(0.0);
        column[i] = 1.0;
        cholesky_solve(l, column);
    }
    symmetrize(out, m);
}

/// Replaces B (m, columns) by A⁻¹ B with Gaussian elimination and partial pivoting, spoiling A; false when A is singular or not
/// finite. For matrices that need not be symmetric.
#[must_use]
pub fn general_solve(a: &mut [f64], b: &mut [f64], m: usize) -> bool {
    let columns = b.len() / m;
    for k in 0..m {
        let mut pivot = k;
        for i in k + 1..m {
            if a[i * m + k].abs() > a[pivot * m + k].abs() {
                pivot = i;
            }
        }
        let size = a[pivot * m + k].abs();
        if !(size > 0.0 && size.is_finite()) {
            return false;
        }
        if pivot != k {
            for j in 0..m {
                a.swap(k * m + j, pivot * m + j);
            }
            for j in 0..columns {
                b.swap(k * columns + j, pivot * columns + j);
            }
        }
        for i in k + 1..m {
            let factor = a[i * m + k] / a[k * m + k];
            for j in k + 1..m {
                a[i * m + j] -= factor * a[k * m + j];
            }
            for j in 0..columns {
                b[i * columns + j] -= factor * b[k * columns + j];
            }
        }
    }
    for i in (0..m).rev() {
        for j in 0..columns {
            let mut value = b[i * columns + j];
            for k in i + 1..m {
                value -= a[i * m + k] * b[k * columns + j];
            }
            b[i * columns + j] = value / a[i * m + i];
        }
    }
    true
}

/// Sweeps of cyclic Jacobi rotations after which convergence is certain in practice: it is quadratic after the first few.
const JACOBI_SWEEPS: usize = 30;

/// Eigenvalues of the symmetric A into its diagonal and eigenvectors into the *rows* of `vectors`, by cyclic Jacobi rotations
/// (Golub & Van Loan, Sec. 8.5): slow for large m, but accurate for small eigenvalues too.
pub fn symmetric_eigen(a: &mut [f64], m: usize, vectors: &mut [f64]) {
    vectors.fill(0.0);
    for i in 0..m {
        vectors[i * m + i] = 1.0;
    }
    for _ in 0..JACOBI_SWEEPS {
        let mut rotated = false;
        for p in 0..m {
            for q in p + 1..m {
                let off = a[p * m + q];
                let scale = (a[p * m + p].abs() * a[q * m + q].abs()).sqrt();
                // Written so that NaN ends the loop.
                if !(off.abs() > f64::EPSILON * scale && off.abs() > f64::MIN_POSITIVE) {
                    continue;
                }
                rotated = true;
                rotate(a, vectors, m, p, q);
            }
        }
        if !rotated {
            return;
        }
    }
}

fn rotate(a: &mut [f64], vectors: &mut [f64], m: usize, p: usize, q: usize) {
    let theta = (a[q * m + q] - a[p * m + p]) / (2.0 * a[p * m + q]);
    let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    for k in 0..m {
        let (x, y) = (a[k * m + p], a[k * m + q]);
        a[k * m + p] = cosine * x - sine * y;
        a[k * m + q] = sine * x + cosine * y;
    }
    for k in 0..m {
        let (x, y) = (a[p * m + k], a[q * m + k]);
        a[p * m + k] = cosine * x - sine * y;
        a[q * m + k] = sine * x + cosine * y;
    }
    for k in 0..m {
        let (x, y) = (vectors[p * m + k], vectors[q * m + k]);
        vectors[p * m + k] = cosine * x - sine * y;
        vectors[q * m + k] = sine * x + cosine * y;
    }
}

/// Applies `change` to the eigenvalues of the symmetric A relative to the positive definite B: with B = L Lᵀ and
/// L⁻¹ A L⁻ᵀ = V diag(μ) Vᵀ, A becomes L V diag(change(μ)) Vᵀ Lᵀ. Returns how many eigenvalues changed, or `None` when B is not
/// positive definite or A is not finite (A is then left alone). Allocates; for repairs and preparations, not for inner loops.
pub fn change_relative_eigenvalues(a: &mut [f64], b: &[f64], m: usize, change: impl Fn(f64) -> f64) -> Option<usize> {
    let mut l = b.to_vec();
    if a.iter().any(|value| !value.is_finite()) || !cholesky(&mut l, m) {
        return None;
    }
    let mut relative = a.to_vec();
    symmetrize(&mut relative, m);
    for _ in 0..2 {
        // Rows of the symmetric matrix, then (transposed) its columns.
        for row in relative.chunks_exact_mut(m) {
            lower_solve(&l, row);
        }
        transpose(&mut relative, m);
    }
    symmetrize(&mut relative, m);
    let mut vectors = vec![0.0; m * m];
    symmetric_eigen(&mut relative, m, &mut vectors);
    let mut changed = 0;
    let mut out = vec![0.0; m * m];
    for (k, vector) in vectors.chunks_exact(m).enumerate() {
        let old = relative[k * m + k];
        let new = change(old);
        changed += usize::from(new != old);
        let image: Vec<f64> = (0..m).map(|i| dot(&l[i * m..=i * m + i], &vector[..=i])).collect();
        for i in 0..m {
            for j in 0..m {
                out[i * m + j] += new * image[i] * image[j];
            }
        }
    }
    if changed > 0 {
        a.copy_from_slice(&out);
    }
    Some(changed)
}

fn transpose(a: &mut [f64], m: usize) {
    for i in 0..m {
        for j in 0..i {
            a.swap(i * m + j, j * m + i);
        }
    }
}

/// The identity into `out` (m, m).
pub fn identity(m: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * m];
    for i in 0..m {
        out[i * m + i] = 1.0;
    }
    out
}

/// Smallest eigenvalue of the symmetric A. Allocates.
pub fn smallest_eigenvalue(a: &[f64], m: usize) -> f64 {
    let mut a = a.to_vec();
    let mut vectors = vec![0.0; m * m];
    symmetric_eigen(&mut a, m, &mut vectors);
    (0..m).map(|i| a[i * m + i]).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use tallsbi_data::{Purpose, StreamKey};

    fn random(m: usize, index: u64) -> Vec<f64> {
        let mut rng = StreamKey::root(1).child(Purpose::Subset).rng(index);
        (0..m * m).map(|_| rng.random::<f64>() - 0.5).collect()
    }

    fn product(a: &[f64], b: &[f64], m: usize) -> Vec<f64> {
        let mut out = vec![0.0; m * m];
        for i in 0..m {
            for j in 0..m {
                out[i * m + j] = (0..m).map(|k| a[i * m + k] * b[k * m + j]).sum();
            }
        }
        out
    }

    fn spd(m: usize, index: u64) -> Vec<f64> {
        let a = random(m, index);
        let mut t = a.clone();
        transpose(&mut t, m);
        let mut out = product(&a, &t, m);
        for i in 0..m {
            out[i * m + i] += 0.1;
        }
        out
    }

    fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() < tolerance, "{x} {y}");
        }
    }

    #[test]
    fn factors_solve_and_invert() {
        for m in [1, 2, 5, 12] {
            let a = spd(m, m as u64);
            let mut l = a.clone();
            assert!(cholesky(&mut l, m));
            let mut inverse = vec![0.0; m * m];
            cholesky_inverse(&l, m, &mut inverse);
            assert_close(&product(&a, &inverse, m), &identity(m), 1e-10);
            let general = random(m, 40 + m as u64);
            let mut solution = identity(m);
            assert!(general_solve(&mut general.clone(), &mut solution, m));
            assert_close(&product(&general, &solution, m), &identity(m), 1e-9);
        }
    }

    #[test]
    fn indefinite_and_nan_matrices_are_refused() {
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2));
        assert!(!cholesky(&mut [f64::NAN], 1));
        assert!(!cholesky(&mut [f64::INFINITY], 1));
        assert!(!general_solve(&mut [1.0, 2.0, 2.0, 4.0], &mut [1.0, 1.0], 2));
    }

    #[test]
    fn eigenvectors_diagonalize() {
        let m = 7;
        let a = spd(m, 3);
        let mut diagonal = a.clone();
        let mut vectors = vec![0.0; m * m];
        symmetric_eigen(&mut diagonal, m, &mut vectors);
        let mut back = vec![0.0; m * m];
        for (k, v) in vectors.chunks_exact(m).enumerate() {
            for i in 0..m {
                for j in 0..m {
                    back[i * m + j] += diagonal[k * m + k] * v[i] * v[j];
                }
            }
        }
        assert_close(&a, &back, 1e-12);
    }

    /// Flooring at 1 relative to B leaves A - B positive semi-definite and keeps directions in which A exceeds B.
    #[test]
    fn relative_eigenvalues_are_floored() {
        let m = 4;
        let (mut a, b) = (spd(m, 5), spd(m, 6));
        for value in &mut a {
            *value *= 0.7;
        }
        let before = a.clone();
        let changed = change_relative_eigenvalues(&mut a, &b, m, |mu| mu.max(1.0)).unwrap();
        assert!(changed > 0 && changed < m, "{changed}");
        let difference: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x - y).collect();
        let raised: Vec<f64> = a.iter().zip(&before).map(|(x, y)| x - y).collect();
        assert!(smallest_eigenvalue(&difference, m) > -1e-12);
        assert!(smallest_eigenvalue(&raised, m) > -1e-12);
        let again = a.clone();
        assert_eq!(change_relative_eigenvalues(&mut a, &b, m, |mu| mu.max(1.0 - 1e-9)), Some(0));
        assert_eq!(a, again);
    }
}
