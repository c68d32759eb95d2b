//! Reading training sets, ours and those written by other languages.

use super::schema::{check_names, check_shapes, condition_columns, dataset, read_prior, shape_of};
use super::{RowRange, TrainingSetSpec};
use crate::matrix::refuse_unknown_filters;
use crate::packing::Packing;
use crate::provenance::expect_kind;
use crate::{CONDITIONS, FileKind, Provenance, attributes, failed, file_error, open_hdf5};
use crate::{FileError, Result};
use hdf5::{Dataset, H5Type};
use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView3, Axis, concatenate, s};
use serde_json::{Map, Value};
use std::collections::TryReserveError;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tallsbi_data::{DataError, Prior, XTransform};

/// Values read at once when streaming, 4 bytes each.
const BLOCK_VALUES: usize = 4 << 20;

/// An open training set; rows are read when asked for.
///
/// Files of other languages need `/theta` (N, m), `/x` (N, d) or (N, K, d) and the attribute `prior`; everything else is
/// optional. One dimension, (N), is one value a row. Conditions that observations were made under may stand in `/conditions` (N, c) or (N, K, c), and are put before x; in our own files they are the
/// first columns of x, as many as the attribute `conditions` says.
#[derive(Debug)]
pub struct TrainingSet {
    path: PathBuf,
    spec: TrainingSetSpec,
    provenance: Provenance,
    theta: Dataset,
    x: Dataset,
    conditions: Option<Dataset>,
    valid: Option<Dataset>,
    /// How the numbers of theta, x and conditions are to be read.
    packing: [Packing; 3],
}

/// Rows of a training set in double precision, those that failed included.
#[derive(Debug, Clone, PartialEq)]
pub struct RawRows {
    /// Number of the first row.
    pub first: u64,
    /// Parameters (n, m).
    pub theta: Array2<f64>,
    /// Observations (n, K, d).
    pub x: Array3<f64>,
    /// Whether each row is valid: marked so and finite.
    pub valid: Vec<bool>,
}

/// Rows of a training set in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRows {
    /// Parameters (N, m).
    pub theta: Array2<f32>,
    /// Observations (N, K, d).
    pub x: Array3<f32>,
    /// Rows that were left out because their simulation failed or they are not finite.
    pub invalid: u64,
}

impl TrainingSet {
    /// Opens a training set and checks its shapes.
    ///
    /// # Errors
    /// When the file is missing, foreign, of another kind or truncated, or a dataset or the prior is missing or of the wrong
    /// shape.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_hdf5(path)?;
        expect_kind(path, &file, FileKind::TrainingSet)?;
        let theta = dataset(path, &file, "theta", "parameters, one row a simulation, shape (N, m)")?;
        let x = dataset(path, &file, "x", "observations, shape (N, d) or (N, K, d)")?;
        let conditions = match file.link_exists(CONDITIONS) {
            true => Some(dataset(path, &file, CONDITIONS, "")?),
            false => None,
        };
        let valid = if file.link_exists("valid") { Some(dataset(path, &file, "valid", "")?) } else { None };
        let (theta_shape, x_shape) = (shape_of(&theta), shape_of(&x));
        let prior = read_prior(path, &file, theta_shape.get(1).copied())?;
        let n = check_shapes(path, &prior, &theta_shape, &x_shape, valid.as_ref().map(|v| v.shape()).as_deref())?;
        let width = x_shape[x_shape.len() - 1];
        let apart =
            conditions.as_ref().map(|dataset| condition_columns(path, &shape_of(dataset), &x_shape)).transpose()?;
        let dim_x = width + apart.unwrap_or(0);
        let within = attributes::number(path, &file, CONDITIONS)?.unwrap_or(0) as usize;
        let conditions_count = apart.unwrap_or(within);
        if conditions_count >= dim_x {
            let message = format!("attribute conditions is {within}, but observations have {dim_x} values in all");
            return Err(file_error(path, message));
        }
        let mut observation_names = attributes::names(path, &file, "observation_names")?.unwrap_or_default();
        if let Some(apart) = apart.filter(|_| observation_names.len() == width) {
            let named = attributes::names(path, &file, "condition_names")?.unwrap_or_default();
            let named =
                if named.len() == apart { named } else { (1..=apart).map(|i| format!("condition{i}")).collect() };
            observation_names.splice(0..0, named);
        }
        check_names(path, "observation_names", &observation_names, dim_x)?;
        let parameter_names = attributes::names(path, &file, "parameter_names")?.unwrap_or_default();
        if !parameter_names.is_empty() && parameter_names != prior.names() {
            return Err(file_error(
                path,
                format!(
                    "attribute parameter_names is [{}] but the prior has [{}]; both must list the columns of theta in order",
                    parameter_names.join(", "),
                    prior.names().join(", ")
                ),
            ));
        }
        let x_transform = match attributes::text(path, &file, "x_transform")? {
            None => XTransform::default(),
            Some(text) => text.parse().map_err(|error: DataError| file_error(path, error.to_string()))?,
        };
        let first = attributes::number(path, &file, "first_row")?.unwrap_or(0);
        let total = attributes::number(path, &file, "total_rows")?.unwrap_or(first + n as u64);
        let settings = match attributes::text(path, &file, "settings")? {
            None => Map::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| file_error(path, format!("attribute settings is not a JSON object: {error}")))?,
        };
        let provenance = Provenance::read(path, &file)?;
        let spec = TrainingSetSpec {
            prior,
            dim_x,
            conditions: conditions_count,
            n_obs: (x_shape.len() == 3).then(|| x_shape[1]),
            observation_names,
            x_transform,
            rows: RowRange { first, count: n as u64, total },
            keep: None,
            settings,
        };
        for dataset in [&theta, &x].into_iter().chain(&conditions) {
            refuse_unknown_filters(path, dataset)?;
        }
        let of_conditions = Packing::of(conditions.as_ref().unwrap_or(&x));
        let packing = [Packing::of(&theta), Packing::of(&x), of_conditions];
        Ok(Self { path: path.to_owned(), spec, provenance, theta, x, conditions, valid, packing })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is, apart from its numbers.
    pub fn spec(&self) -> &TrainingSetSpec {
        &self.spec
    }

    /// Where it came from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The prior.
    pub fn prior(&self) -> &Prior {
        &self.spec.prior
    }

    /// Rows N.
    pub fn rows(&self) -> u64 {
        self.spec.rows.count
    }

    /// Rows that fit a few megabytes: what to read at once when streaming.
    pub fn block_rows(&self) -> usize {
        (BLOCK_VALUES / (self.spec.prior.dim() + self.spec.x_width())).max(1)
    }

    pub(super) fn identity(&self) -> Value {
        self.spec.identity(self.provenance.seed, &self.provenance.task)
    }

    /// Rows `start..start + count` as they are in the file, with 1 where valid (marked so and finite).
    ///
    /// # Errors
    /// When the file cannot be read or the rows are not there.
    pub fn read_block(&self, start: u64, count: usize) -> Result<(Array2<f32>, Array3<f32>, Array1<u8>)> {
        if start + count as u64 > self.rows() {
            return Err(FileError::Shape {
                what: format!("{}: rows asked for", self.path.display()),
                expected: format!("within 0..{}", self.rows()),
                found: format!("{start}..{}", start + count as u64),
            });
        }
        if self.packing.iter().any(|packing| !packing.is_plain()) {
            let RawRows { theta, x, valid, .. } = self.read_raw(start, count)?;
            let valid = valid.into_iter().map(u8::from).collect();
            return Ok((theta.mapv(|value| value as f32), x.mapv(|value| value as f32), valid));
        }
        let range = start as usize..start as usize + count;
        let failed = |name: &str, error: hdf5::Error| failed(&self.path, &format!("cannot read {name}"), &error);
        let theta: Array2<f32> = self.matrix("theta", &self.theta, range.clone())?;
        let x: Array3<f32> = self.beside(self.observed("x", &self.x, range.clone())?, range.clone(), |_| ())?;
        let mut valid: Array1<u8> = match &self.valid {
            Some(dataset) => dataset.read_slice_1d(s![range]).map_err(|error| failed("valid", error))?,
            None => Array1::ones(count),
        };
        for (i, flag) in valid.iter_mut().enumerate() {
            let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
            let row = theta.row(i).iter().all(|value| value.is_finite())
                && x.index_axis(Axis(0), i).as_slice().is_some_and(finite);
            *flag = u8::from(*flag != 0 && row);
        }
        Ok((theta, x, valid))
    }

    /// Rows of a dataset (N, d), or (N) of one value each, as (n, d).
    fn matrix<T: H5Type>(&self, name: &str, dataset: &Dataset, range: Range<usize>) -> Result<Array2<T>> {
        let failed = |error: hdf5::Error| failed(&self.path, &format!("cannot read {name}"), &error);
        if dataset.ndim() == 1 {
            Ok(dataset.read_slice_1d(s![range]).map_err(failed)?.insert_axis(Axis(1)))
        } else {
            dataset.read_slice_2d(s![range, ..]).map_err(failed)
        }
    }

    /// Rows of a dataset (N), (N, d) or (N, K, d), as (n, K, d).
    fn observed<T: H5Type>(&self, name: &str, dataset: &Dataset, range: Range<usize>) -> Result<Array3<T>> {
        let failed = |error: hdf5::Error| failed(&self.path, &format!("cannot read {name}"), &error);
        if dataset.ndim() == 3 {
            dataset.read_slice(s![range, .., ..]).map_err(failed)
        } else {
            Ok(self.matrix(name, dataset, range)?.insert_axis(Axis(1)))
        }
    }

    /// Observations of these rows with the conditions that stand apart before them, decoded by `decode`.
    fn beside<T: H5Type + Clone>(
        &self,
        x: Array3<T>,
        range: Range<usize>,
        decode: impl FnOnce(&mut Array3<T>),
    ) -> Result<Array3<T>> {
        let Some(dataset) = &self.conditions else { return Ok(x) };
        let mut conditions = self.observed(CONDITIONS, dataset, range)?;
        decode(&mut conditions);
        // One row of conditions holds for all observations of a parameter.
        let (n, k, _) = x.dim();
        let shape = (n, k, conditions.dim().2);
        let spread = conditions.broadcast(shape).ok_or_else(|| file_error(&self.path, "conditions do not fit x"))?;
        concatenate(Axis(2), &[spread, x.view()])
            .map(|all| all.as_standard_layout().into_owned())
            .map_err(|error| failed(&self.path, "conditions do not fit x", &error))
    }

    /// The same in double precision.
    fn read_raw(&self, start: u64, count: usize) -> Result<RawRows> {
        let range = start as usize..start as usize + count;
        let failed = |name: &str, error: hdf5::Error| failed(&self.path, &format!("cannot read {name}"), &error);
        let mut theta: Array2<f64> = self.matrix("theta", &self.theta, range.clone())?;
        let mut x: Array3<f64> = self.observed("x", &self.x, range.clone())?;
        let [of_theta, of_x, of_conditions] = &self.packing;
        if !of_theta.is_plain() {
            theta.mapv_inplace(|value| of_theta.decode(value));
        }
        if !of_x.is_plain() {
            x.mapv_inplace(|value| of_x.decode(value));
        }
        let x = self.beside(x, range.clone(), |values| {
            if !of_conditions.is_plain() {
                values.mapv_inplace(|value| of_conditions.decode(value));
            }
        })?;
        let marks: Array1<u8> = match &self.valid {
            Some(dataset) => dataset.read_slice_1d(s![range]).map_err(|error| failed("valid", error))?,
            None => Array1::ones(count),
        };
        // Finite in single precision, in which networks see them.
        let finite = |value: &f64| (*value as f32).is_finite();
        let valid = marks
            .iter()
            .zip(theta.outer_iter().zip(x.outer_iter()))
            .map(|(&mark, (theta, x))| mark != 0 && theta.iter().all(finite) && x.iter().all(finite))
            .collect();
        Ok(RawRows { first: start, theta, x, valid })
    }

    /// Calls `visit` on blocks of all rows in order, among the first `limit` of the file, in double precision; the valid ones are checked
    /// as by [`TrainingSet::for_each_valid_block`].
    ///
    /// # Errors
    /// As there.
    pub fn for_each_raw_block<E: From<FileError>>(
        &self,
        limit: Option<u64>,
        mut visit: impl FnMut(&RawRows) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let rows = limit.map_or(self.rows(), |limit| limit.min(self.rows()));
        let (mut start, mut valid) = (0, false);
        while start < rows {
            let count = (rows - start).min(self.block_rows() as u64) as usize;
            let block = self.read_raw(start, count)?;
            for i in (0..count).filter(|&i| block.valid[i]) {
                valid = true;
                self.check_row(start + i as u64, block.theta.row(i), block.x.index_axis(Axis(0), i))?;
            }
            visit(&block)?;
            start += count as u64;
        }
        if !valid {
            let message = format!("none of its {rows} rows is valid (finite and not marked as failed)");
            return Err(file_error(&self.path, message).into());
        }
        Ok(())
    }

    /// Calls `visit(theta, x, valid)` on blocks of rows in order, as [`TrainingSet::read_block`].
    ///
    /// # Errors
    /// When the file cannot be read, and whatever `visit` returns.
    pub fn for_each_block<E: From<FileError>>(
        &self,
        mut visit: impl FnMut(Array2<f32>, Array3<f32>, Array1<u8>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut start = 0;
        while start < self.rows() {
            let count = (self.rows() - start).min(self.block_rows() as u64) as usize;
            let (theta, x, valid) = self.read_block(start, count)?;
            visit(theta, x, valid)?;
            start += count as u64;
        }
        Ok(())
    }

    /// Number of rows that are marked invalid or not finite.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn count_invalid(&self) -> Result<u64> {
        let mut invalid = 0;
        self.for_each_block::<FileError>(|_, _, valid| {
            invalid += valid.iter().filter(|&&v| v == 0).count() as u64;
            Ok(())
        })?;
        Ok(invalid)
    }

    /// Calls `visit(theta (n, m), x (n, K, d))` on blocks of the valid rows in order, among the first `limit` rows of the file,
    /// checking them against the prior; returns how many rows are not valid.
    ///
    /// # Errors
    /// When the file cannot be read, a parameter lies outside its prior, x is not positive although `x_transform` is "log",
    /// no row is valid, and whatever `visit` returns.
    pub fn for_each_valid_block<E: From<FileError>>(
        &self,
        limit: Option<u64>,
        mut visit: impl FnMut(ArrayView2<'_, f32>, ArrayView3<'_, f32>) -> std::result::Result<(), E>,
    ) -> std::result::Result<u64, E> {
        let rows = limit.map_or(self.rows(), |limit| limit.min(self.rows()));
        let (mut start, mut invalid) = (0, 0);
        while start < rows {
            let count = (rows - start).min(self.block_rows() as u64) as usize;
            let (theta, x, valid) = self.read_block(start, count)?;
            let kept: Vec<usize> = (0..count).filter(|&i| valid[i] != 0).collect();
            for &i in &kept {
                self.check_row(start + i as u64, theta.row(i), x.index_axis(Axis(0), i))?;
            }
            invalid += (count - kept.len()) as u64;
            if kept.len() == count {
                visit(theta.view(), x.view())?;
            } else if !kept.is_empty() {
                visit(theta.select(Axis(0), &kept).view(), x.select(Axis(0), &kept).view())?;
            }
            start += count as u64;
        }
        if invalid == rows {
            let message = format!("none of its {rows} rows is valid (finite and not marked as failed)");
            return Err(file_error(&self.path, message).into());
        }
        Ok(invalid)
    }

    /// Loads the valid rows less `offset` (d), subtracted in double precision: what a model that was trained with offsets is given.
    ///
    /// # Errors
    /// As [`TrainingSet::for_each_valid_block`].
    pub fn load_less(&self, offset: &[f64], limit: Option<u64>) -> Result<TrainingRows> {
        if offset.iter().all(|&value| value == 0.0) {
            return self.load(limit);
        }
        let (mut theta, mut x, mut invalid) = (Vec::new(), Vec::new(), 0);
        self.for_each_raw_block::<FileError>(limit, |block| {
            for (i, valid) in block.valid.iter().enumerate() {
                if !valid {
                    invalid += 1;
                    continue;
                }
                theta.extend(block.theta.row(i).iter().map(|&value| value as f32));
                for row in block.x.index_axis(Axis(0), i).outer_iter() {
                    let less =
                        |(column, value): (usize, &f64)| (value - offset.get(column).copied().unwrap_or(0.0)) as f32;
                    x.extend(row.iter().enumerate().map(less));
                }
            }
            Ok(())
        })?;
        let kept = theta.len() / self.spec.prior.dim();
        let shape = |what: &str, error: ndarray::ShapeError| failed(&self.path, what, &error);
        Ok(TrainingRows {
            theta: Array2::from_shape_vec((kept, self.spec.prior.dim()), theta)
                .map_err(|error| shape("theta", error))?,
            x: Array3::from_shape_vec((kept, self.spec.n_obs.unwrap_or(1), self.spec.dim_x), x)
                .map_err(|error| shape("x", error))?,
            invalid,
        })
    }

    /// Loads the valid rows, at most the first `limit` rows of the file, checking them against the prior.
    ///
    /// # Errors
    /// As [`TrainingSet::for_each_valid_block`].
    pub fn load(&self, limit: Option<u64>) -> Result<TrainingRows> {
        let rows = limit.map_or(self.rows(), |limit| limit.min(self.rows()));
        let (m, width) = (self.spec.prior.dim(), self.spec.x_width());
        let (mut theta, mut x) = (Vec::new(), Vec::new());
        let fit = |wanted: std::result::Result<(), _>| {
            wanted.map_err(|_: TryReserveError| {
                file_error(&self.path, format!("{rows} rows do not fit into this machine's memory; take fewer"))
            })
        };
        fit(theta.try_reserve_exact((rows as usize).saturating_mul(m)))?;
        fit(x.try_reserve_exact((rows as usize).saturating_mul(width)))?;
        let invalid = self.for_each_valid_block::<FileError>(limit, |block_theta, block_x| {
            theta.extend(block_theta);
            x.extend(block_x);
            Ok(())
        })?;
        let kept = (rows - invalid) as usize;
        let shape = |what: &str, error: ndarray::ShapeError| failed(&self.path, what, &error);
        Ok(TrainingRows {
            theta: Array2::from_shape_vec((kept, m), theta).map_err(|error| shape("theta", error))?,
            x: Array3::from_shape_vec((kept, self.spec.n_obs.unwrap_or(1), self.spec.dim_x), x)
                .map_err(|error| shape("x", error))?,
            invalid,
        })
    }

    fn check_row<T: Copy + Into<f64>>(
        &self,
        row: u64,
        theta: ndarray::ArrayView1<'_, T>,
        x: ArrayView2<'_, T>,
    ) -> Result<()> {
        if let Err(error) = self.spec.prior.check_support("theta", theta.insert_axis(Axis(0))) {
            let text = error.to_string().replace("row 0 ", &format!("row {row} "));
            return Err(file_error(&self.path, text));
        }
        if self.spec.x_transform == XTransform::Log && x.iter().any(|&value| value.into() <= 0.0) {
            return Err(file_error(
                &self.path,
                format!(
                    "row {row} of x is not positive although x_transform is \"log\"; use \"identity\" or positive data"
                ),
            ));
        }
        Ok(())
    }
}
