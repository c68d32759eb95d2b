//! Adam in the eigenbases of each weight matrix's gradients (SOAP, Vyas et al. 2024, arXiv 2409.11321).

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj,
};
use faer::linalg::matmul::matmul;
use faer::linalg::qr::no_pivoting::factor::{qr_in_place, qr_in_place_scratch, recommended_block_size};
use faer::{Accum, Conj, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::adam::{AdamSettings, AdamStep, RANGE};
use crate::definition::MatrixPlace;
use crate::error::NetworkError;

/// Steps after which a gradient is added to the statistics, and their decay there: those of single steps at 0.95.
const STATISTICS_INTERVAL: u64 = 5;
const STATISTICS_DECAY: f32 = 0.8;

/// Steps after which the eigenbases are brought up to date.
const BASIS_INTERVAL: u64 = 20;

/// The widest side of a matrix that gets a basis: a wider one's would cost many times the gradient.
const WIDEST: usize = 256;

/// Whether something is due that is done every `interval` steps, and at all powers of 2 before.
fn is_due(step: u64, interval: u64) -> bool {
    if step < interval { step.is_power_of_two() } else { step.is_multiple_of(interval) }
}

/// Adam whose moments are those of QₗᵀGQᵣ for the gradient G of each weight matrix, Qₗ and Qᵣ the eigenvectors of the moving averages of GGᵀ and
/// GᵀG; all other parameters have Adam's own. Its steps are longer by what correlated gradients hide from Adam: networks come to the same loss in a
/// fifth of the steps or less (`docs/lab/likelihood.md`).
///
/// Bases are brought up to date every 20 steps by one orthogonal iteration (a product and a QR decomposition), the averages every 5. A step of a matrix
/// of n rows and columns costs some 10 n³ operations, those of the gradient of 1.7 n rows of a batch; sides of more than 256 keep their own coordinates, as
/// Vyas et al. do with the longest. Without matrices it *is* [`Adam`](crate::Adam). Serialises to a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Soap {
    settings: AdamSettings,
    step: u64,
    first: Vec<f32>,
    second: Vec<f32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    matrices: Vec<Matrix>,
}

/// A weight matrix with its two bases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Matrix {
    place: MatrixPlace,
    left: Option<Basis>,
    right: Option<Basis>,
}

/// Eigenvectors of the mean square of gradients along one side of a matrix, both (n, n) row-major, vectors in columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Basis {
    size: usize,
    statistics: Vec<f32>,
    vectors: Vec<f32>,
}

/// Parameters and their state that are moved together.
struct Part<'a> {
    parameters: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    matrix: Option<&'a mut Matrix>,
}

impl Soap {
    /// A fresh state for `parameters` parameters, of which `matrices` are matrices, in the order of their places.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] when a setting is outside its range.
    pub fn new(
        settings: AdamSettings,
        parameters: usize,
        matrices: impl IntoIterator<Item = MatrixPlace>,
    ) -> Result<Self, NetworkError> {
        settings.validate()?;
        let matrices = matrices.into_iter().map(|place| Matrix {
            left: Basis::new(place.rows),
            right: Basis::new(place.columns),
            place,
        });
        let zeros = vec![0.0; parameters];
        Ok(Self { settings, step: 0, first: zeros.clone(), second: zeros, matrices: matrices.collect() })
    }

    /// Number of parameters it was made for: 0, which no network has, where its parts are of different lengths.
    pub fn parameter_count(&self) -> usize {
        let count = self.first.len();
        let fit = self.matrices.iter().all(|Matrix { place: MatrixPlace { place, rows, columns }, left, right }| {
            let fits = |basis: &Option<Basis>, size: usize| {
                let square = size.checked_mul(size);
                basis.as_ref().is_none_or(|Basis { size: own, statistics, vectors }| {
                    *own == size && [statistics, vectors].iter().all(|all| Some(all.len()) == square)
                })
            };
            fits(left, *rows) && fits(right, *columns) && rows.checked_mul(*columns) == Some(place.len())
        });
        let ends = self.matrices.iter().flat_map(|matrix| [matrix.place.place.start, matrix.place.place.end]);
        let ordered = ends.clone().is_sorted() && ends.last().is_none_or(|end| end <= count);
        if fit && ordered && self.second.len() == count { count } else { 0 }
    }

    /// Steps taken so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Moves `parameters` one step along `gradient` with the given learning rate, the matrices side by side.
    pub fn update(&mut self, parameters: &mut [f32], gradient: &[f32], learning_rate: f64) {
        assert_eq!(parameters.len(), self.first.len(), "the optimiser was made for another network");
        assert_eq!(parameters.len(), gradient.len(), "gradient has another length than the parameters");
        self.step += 1;
        let step = AdamStep { settings: &self.settings, step: self.step, learning_rate };
        let mut parts = Vec::with_capacity(2 * self.matrices.len() + 1);
        let (first, second) = (&mut self.first[..], &mut self.second[..]);
        let mut rest = Part { parameters, gradient, first, second, matrix: None };
        let mut start = 0;
        for matrix in &mut self.matrices {
            let (before, behind) = rest.split(matrix.place.place.start - start);
            let (own, behind) = behind.split(matrix.place.place.len());
            start = matrix.place.place.end;
            before.in_ranges(&mut parts);
            parts.push(Part { matrix: Some(matrix), ..own });
            rest = behind;
        }
        rest.in_ranges(&mut parts);
        parts.into_par_iter().with_max_len(1).for_each(|part| part.update(step));
    }
}

impl<'a> Part<'a> {
    fn split(self, at: usize) -> (Self, Self) {
        let (parameters, parameters_behind) = self.parameters.split_at_mut(at);
        let (gradient, gradient_behind) = self.gradient.split_at(at);
        let (first, first_behind) = self.first.split_at_mut(at);
        let (second, second_behind) = self.second.split_at_mut(at);
        let behind = (parameters_behind, gradient_behind, first_behind, second_behind);
        let part = |(parameters, gradient, first, second)| Part { parameters, gradient, first, second, matrix: None };
        (part((parameters, gradient, first, second)), part(behind))
    }

    /// Appends its ranges, of which none is much longer than a matrix of a usual layer.
    fn in_ranges(self, parts: &mut Vec<Self>) {
        let mut rest = self;
        while rest.parameters.len() > RANGE {
            let (range, behind) = rest.split(RANGE);
            parts.push(range);
            rest = behind;
        }
        parts.push(rest);
    }

    fn update(self, step: AdamStep<'_>) {
        let Self { parameters, gradient, first, second, matrix } = self;
        let Some(Matrix { place: MatrixPlace { rows, columns, .. }, left, right }) = matrix else {
            return step.apply(parameters, gradient, first, second);
        };
        let g = MatRef::from_row_major_slice(gradient, *rows, *columns);
        if is_due(step.step, STATISTICS_INTERVAL) {
            left.iter_mut().for_each(|basis| basis.observe(g, step.step));
            right.iter_mut().for_each(|basis| basis.observe(g.transpose(), step.step));
        }
        if is_due(step.step, BASIS_INTERVAL) {
            // The mean gradient stays what it is; the mean squares are those of coordinates that hardly turn.
            let mut mean = first.to_vec();
            turn_back(left.as_ref(), right.as_ref(), *rows, &mut mean);
            left.iter_mut().chain(right.iter_mut()).for_each(Basis::improve);
            turn(left.as_ref(), right.as_ref(), *rows, &mut mean);
            first.copy_from_slice(&mean);
        }
        let (mut turned, mut moved) = (gradient.to_vec(), vec![0.0; gradient.len()]);
        turn(left.as_ref(), right.as_ref(), *rows, &mut turned);
        let settings = AdamSettings { weight_decay: 0.0, l2_penalty: 0.0, ..*step.settings };
        AdamStep { settings: &settings, ..step }.apply(&mut moved, &turned, first, second);
        turn_back(left.as_ref(), right.as_ref(), *rows, &mut moved);
        let shrink = (1.0 - step.learning_rate * step.settings.weight_decay) as f32;
        parameters.iter_mut().zip(&moved).for_each(|(value, moved)| *value = *value * shrink + moved);
    }
}

impl Basis {
    /// No statistics, and the coordinates themselves; none for a side that is too wide.
    fn new(size: usize) -> Option<Self> {
        let mut vectors = vec![0.0; if size > WIDEST { 0 } else { size * size }];
        vectors.iter_mut().step_by(size + 1).for_each(|value| *value = 1.0);
        (size <= WIDEST).then(|| Self { size, statistics: vec![0.0; size * size], vectors })
    }

    fn vectors(&self) -> MatRef<'_, f32> {
        MatRef::from_row_major_slice(&self.vectors, self.size, self.size)
    }

    /// Adds G Gᵀ to the moving average.
    fn observe(&mut self, gradient: MatRef<'_, f32>, step: u64) {
        let decay = if step == 1 { 0.0 } else { STATISTICS_DECAY };
        self.statistics.iter_mut().for_each(|value| *value *= decay);
        let target = MatMut::from_row_major_slice_mut(&mut self.statistics, self.size, self.size);
        matmul(target, Accum::Add, gradient, gradient.transpose(), 1.0 - decay, Par::Seq);
    }

    /// One orthogonal iteration: the Q of statistics x vectors.
    fn improve(&mut self) {
        let n = self.size;
        let mut product = Mat::<f32>::zeros(n, n);
        let statistics = MatRef::from_row_major_slice(&self.statistics, n, n);
        matmul(product.as_mut(), Accum::Replace, statistics, self.vectors(), 1.0, Par::Seq);
        let block = recommended_block_size::<f32>(n, n);
        let mut coefficients = Mat::<f32>::zeros(block, n);
        let scratch = qr_in_place_scratch::<f32>(n, n, block, Par::Seq, faer::prelude::default());
        let scratch = scratch.or(apply_block_householder_sequence_on_the_left_in_place_scratch::<f32>(n, block, n));
        let mut memory = MemBuffer::new(scratch);
        let (q, c) = (product.as_mut(), coefficients.as_mut());
        qr_in_place(q, c, Par::Seq, MemStack::new(&mut memory), faer::prelude::default());
        let mut vectors = Mat::<f32>::identity(n, n);
        apply_block_householder_sequence_on_the_left_in_place_with_conj(
            product.as_ref(),
            coefficients.as_ref(),
            Conj::No,
            vectors.as_mut(),
            Par::Seq,
            MemStack::new(&mut memory),
        );
        MatMut::from_row_major_slice_mut(&mut self.vectors, n, n).copy_from(vectors);
    }
}

/// M ← QₗᵀMQᵣ: M's coordinates in the bases.
fn turn(left: Option<&Basis>, right: Option<&Basis>, rows: usize, values: &mut [f32]) {
    sandwich(left.map(|basis| basis.vectors().transpose()), right.map(Basis::vectors), rows, values);
}

/// M ← QₗMQᵣᵀ.
fn turn_back(left: Option<&Basis>, right: Option<&Basis>, rows: usize, values: &mut [f32]) {
    sandwich(left.map(Basis::vectors), right.map(|basis| basis.vectors().transpose()), rows, values);
}

/// M ← A M B of a row-major M.
fn sandwich(a: Option<MatRef<'_, f32>>, b: Option<MatRef<'_, f32>>, rows: usize, values: &mut [f32]) {
    let columns = values.len() / rows;
    for (left, factor) in [(true, a), (false, b)] {
        let Some(factor) = factor else { continue };
        let m = MatRef::from_row_major_slice(values, rows, columns).to_owned();
        let out = MatMut::from_row_major_slice_mut(values, rows, columns);
        let (first, second) = if left { (factor, m.as_ref()) } else { (m.as_ref(), factor) };
        matmul(out, Accum::Replace, first, second, 1.0, Par::Seq);
    }
}
