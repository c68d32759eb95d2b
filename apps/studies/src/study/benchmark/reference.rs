//! Observation sets with reference posteriors, from files of the layout that `shared/data/reference` has.

use super::options::{BenchmarkOptions, BenchmarkTask};
use crate::error::usage;
use anyhow::{Context as _, Result};
use ndarray::{Array2, Array3, Axis, s};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Folder of reference data, where an environment variable names one.
const VARIABLE: &str = "TALLSBI_REFERENCE_DATA";

/// Data set of true parameters.
const TRUTH: &str = "theta_true";

/// What to do where there are none.
const LAYOUT: &str = "give --reference-data DIR with TASK.h5 for each task: observations x_obs (sets, n, d) and, for each n of n_obs, \
                      reference samples posterior/nN (sets, samples, m)";

/// A task's file.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Where it is.
    pub path: PathBuf,
    observations: String,
    /// Observation sets to use.
    pub sets: usize,
    /// Sets, from 1, that the paper's averages leave out.
    pub ignored: Vec<usize>,
}

/// The folder of reference data, or its folder `reference`: of the options, else of the environment.
fn folder(options: &BenchmarkOptions) -> Option<PathBuf> {
    let given = options.reference_data.clone();
    let folder = given.or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from))?;
    let inner = folder.join("reference");
    Some(if inner.is_dir() { inner } else { folder })
}

impl Reference {
    /// Finds the file of `task` and checks that it has what `options` ask for.
    ///
    /// # Errors
    /// When there is no such file, or it lacks data sets, observations or sets.
    pub fn find(options: &BenchmarkOptions, task: &BenchmarkTask) -> Result<Self> {
        let name = &task.name;
        let folder = folder(options);
        let path = match (&task.reference, &folder) {
            (Some(path), _) => path.clone(),
            (None, Some(folder)) => folder.join(format!("{name}.h5")),
            (None, None) => return Err(usage(format!("tasks: {name}: there are no reference posteriors; {LAYOUT}"))),
        };
        if !path.is_file() {
            return Err(usage(format!("tasks: {name}: {} does not exist; {LAYOUT}", path.display())));
        }
        let ignored = match &folder {
            Some(folder) => ignored(&folder.join("ignore_nums.json"), name)?,
            None => vec![],
        };
        let mut reference = Self { path, observations: task.observations.clone(), sets: options.sets, ignored };
        reference.check(options)?;
        Ok(reference)
    }

    fn check(&mut self, options: &BenchmarkOptions) -> Result<()> {
        let shown = self.path.display().to_string();
        let shape = self.shape(&self.observations)?;
        let most = options.n_obs.last().copied().unwrap_or(1);
        if shape[1] < most {
            return Err(usage(format!("{shown}: has {} observations a set, n_obs asks for {most}", shape[1])));
        }
        self.sets = self.sets.min(shape[0]);
        if options.shown_set > self.sets {
            let (set, sets) = (options.shown_set, self.sets);
            return Err(usage(format!("{shown}: has {sets} observation sets, shown_set asks for number {set}")));
        }
        let mut m = 0;
        for &n in &options.n_obs {
            let found = self.shape(&posterior(n))?;
            if found[0] < self.sets {
                let wanted = self.sets;
                return Err(usage(format!("{shown}: {} has {} sets, {wanted} are asked for", posterior(n), found[0])));
            }
            m = found[2];
        }
        match self.truth()? {
            Some(truth) if truth.nrows() < self.sets || truth.ncols() != m => {
                let ((rows, columns), sets) = (truth.dim(), self.sets);
                Err(usage(format!(
                    "{shown}: {TRUTH} is ({rows}, {columns}), expected a row of {m} for each of {sets} sets"
                )))
            }
            _ => Ok(()),
        }
    }

    fn open(&self) -> Result<hdf5::File> {
        let shown = self.path.display();
        hdf5::File::open(&self.path).map_err(|error| anyhow::anyhow!("{shown}: cannot be read as HDF5: {error}"))
    }

    fn dataset(&self, name: &str) -> Result<hdf5::Dataset> {
        let dataset = self.open()?.dataset(name);
        dataset.map_err(|_| usage(format!("{}: has no data set {name}; {LAYOUT}", self.path.display())))
    }

    fn shape(&self, name: &str) -> Result<[usize; 3]> {
        let shape = self.dataset(name)?.shape();
        <[usize; 3]>::try_from(shape.as_slice()).map_err(|_| {
            usage(format!("{}: {name} has {} dimensions, expected three", self.path.display(), shape.len()))
        })
    }

    fn read<T: hdf5::H5Type + Clone>(&self, name: &str) -> Result<Array3<T>> {
        let values = self.dataset(name)?.read::<T, ndarray::Ix3>();
        values.with_context(|| format!("{}: {name} cannot be read", self.path.display()))
    }

    /// The first `n` observations of each set, (sets, n, d).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn observations(&self, n: usize) -> Result<Array3<f32>> {
        Ok(self.read::<f32>(&self.observations)?.slice_move(s![..self.sets, ..n, ..]))
    }

    /// True parameters of each set, (sets, m), where the file has them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn truth(&self) -> Result<Option<Array2<f64>>> {
        let file = self.open()?;
        if !file.link_exists(TRUTH) {
            return Ok(None);
        }
        let values = file.dataset(TRUTH).and_then(|dataset| dataset.read::<f64, ndarray::Ix2>());
        Ok(Some(values.with_context(|| format!("{}: {TRUTH} (sets, m) cannot be read", self.path.display()))?))
    }

    /// Values of an observation.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn dim_x(&self) -> Result<usize> {
        Ok(self.shape(&self.observations)?[2])
    }

    /// Reference samples given the first `n` observations, for each set.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn posteriors(&self, n: usize) -> Result<Vec<Array2<f64>>> {
        let all = self.read::<f64>(&posterior(n))?;
        Ok(all.axis_iter(Axis(0)).take(self.sets).map(|samples| samples.to_owned()).collect())
    }
}

fn posterior(n: usize) -> String {
    format!("posterior/n{n}")
}

/// Sets that the paper's averages leave out: `{"ignore_nums_per_task_main": {"slcp": [19, ..]}}`. None where there is no such file.
fn ignored(path: &Path, task: &str) -> Result<Vec<usize>> {
    let Ok(bytes) = std::fs::read(path) else { return Ok(vec![]) };
    let value: Value = serde_json::from_slice(&bytes).with_context(|| format!("{}: is not JSON", path.display()))?;
    let listed = value.get("ignore_nums_per_task_main").and_then(|tasks| tasks.get(task)).and_then(Value::as_array);
    Ok(listed.into_iter().flatten().filter_map(|number| Some(number.as_u64()? as usize)).collect())
}
