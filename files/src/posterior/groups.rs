//! Groups of ArviZ's layout beside `posterior` and `observed_data`.

use super::{Posterior, variable_names};
use crate::{Provenance, Result, failed, file_error, guard};
use ndarray::{Array2, Array3, ArrayD, ArrayView3, Axis};
use netcdf::{AttributeValue, FileMut, GroupMut};
use std::path::Path;

/// What may stand beside posterior samples, S of them (chains · draws).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Companions {
    /// log p(x_k|θ) of each observation at each posterior sample, (S, n): group `log_likelihood`.
    pub log_likelihood: Option<Array2<f64>>,
    /// log λ(θ) + log p(x₁..ₙ|θ) at each posterior sample, (S): `lp` of the group `sample_stats`.
    pub log_posterior: Option<Vec<f64>>,
    /// Observations simulated at each posterior sample, (S, n, d): group `posterior_predictive`.
    pub posterior_predictive: Option<Array3<f32>>,
    /// Draws of the prior, (P, m): group `prior`.
    pub prior: Option<Array2<f64>>,
    /// Observations simulated at each, (P, n, d): group `prior_predictive`.
    pub prior_predictive: Option<Array3<f32>>,
    /// Numbers that each observation has, with their names, (n) each: group `constant_data`.
    pub per_observation: Vec<(String, Vec<f64>)>,
}

const LOG_LIKELIHOOD: &str = "log_likelihood";
const SAMPLE_STATS: &str = "sample_stats";
const LP: &str = "lp";
const POSTERIOR_PREDICTIVE: &str = "posterior_predictive";
const PRIOR: &str = "prior";
const PRIOR_PREDICTIVE: &str = "prior_predictive";
const CONSTANT_DATA: &str = "constant_data";
const OBSERVATION: &str = "observation";

type Written = std::result::Result<(), netcdf::Error>;

impl Companions {
    /// That rows belong to the posterior's samples (chain, draw, m) and columns to the observations.
    pub(super) fn check(&self, target: &Path, samples: &Array3<f64>, observations: Option<&Array2<f32>>) -> Result<()> {
        let (chains, draws, m) = samples.dim();
        let lengths = self.per_observation.iter().map(|(_, values)| values.len());
        let fits = |length: usize| observations.is_none_or(|x| x.nrows() == length);
        if let Some(length) = lengths.clone().find(|&length| !fits(length) || length != self.per_observation[0].1.len())
        {
            let message =
                format!("its group {CONSTANT_DATA} would have {length} numbers for another number of observations");
            return Err(file_error(target, message));
        }
        let rows = [
            (LOG_LIKELIHOOD, self.log_likelihood.as_ref().map(|values| (values.nrows(), chains * draws))),
            (SAMPLE_STATS, self.log_posterior.as_ref().map(|values| (values.len(), chains * draws))),
            (POSTERIOR_PREDICTIVE, self.posterior_predictive.as_ref().map(|x| (x.dim().0, chains * draws))),
            (PRIOR_PREDICTIVE, self.prior_predictive.as_ref().map(|x| (x.dim().0, self.prior_rows()))),
            (PRIOR, self.prior.as_ref().map(|theta| (theta.ncols(), m))),
            (LOG_LIKELIHOOD, self.log_likelihood.as_ref().zip(observations).map(|(l, x)| (l.ncols(), x.nrows()))),
        ];
        match rows.iter().find_map(|(name, sizes)| sizes.filter(|(found, wanted)| found != wanted).map(|s| (name, s))) {
            None => Ok(()),
            Some((name, (found, wanted))) => {
                Err(file_error(target, format!("its group {name} would have {found} rows or columns for {wanted}")))
            }
        }
    }

    fn prior_rows(&self) -> usize {
        self.prior.as_ref().map_or(0, Array2::nrows)
    }

    /// Writes them beside the samples of `posterior`, in its chains.
    pub(super) fn write(&self, file: &mut FileMut, posterior: &Posterior) -> Written {
        let (chains, provenance) = (posterior.samples.dim().0, &posterior.provenance);
        if let Some(values) = &self.log_likelihood {
            let mut group = group(file, LOG_LIKELIHOOD, provenance, Rows::Draws)?;
            coordinates(&mut group, (chains, values.nrows()), values.ncols())?;
            put(&mut group, "x", &["chain", "draw", OBSERVATION], &values.iter().copied().collect::<Vec<f64>>())?;
        }
        if let Some(values) = &self.log_posterior {
            let mut group = group(file, SAMPLE_STATS, provenance, Rows::Draws)?;
            coordinate(&mut group, "chain", chains)?;
            coordinate(&mut group, "draw", values.len() / chains)?;
            put(&mut group, LP, &["chain", "draw"], values)?;
        }
        if let Some(theta) = &self.prior {
            let mut group = group(file, PRIOR, provenance, Rows::Draws)?;
            write_draws(&mut group, &posterior.parameter_names, theta.view().insert_axis(Axis(0)))?;
        }
        let predictive =
            [(POSTERIOR_PREDICTIVE, &self.posterior_predictive, chains), (PRIOR_PREDICTIVE, &self.prior_predictive, 1)];
        for (name, x, chains) in predictive {
            let Some(x) = x else { continue };
            let (rows, n, d) = x.dim();
            let mut group = group(file, name, provenance, Rows::Draws)?;
            coordinates(&mut group, (chains, rows), n)?;
            coordinate(&mut group, "x_dim", d)?;
            put(&mut group, "x", &["chain", "draw", OBSERVATION, "x_dim"], &x.iter().copied().collect::<Vec<f32>>())?;
        }
        if let Some((_, first)) = self.per_observation.first() {
            let mut group = group(file, CONSTANT_DATA, provenance, Rows::Observations)?;
            coordinate(&mut group, OBSERVATION, first.len())?;
            for (name, values) in &self.per_observation {
                group.add_variable::<f64>(name, &[OBSERVATION])?.put_values(values, ..)?;
            }
        }
        Ok(())
    }

    pub(super) fn read(path: &Path, file: &hdf5::File, variables: &[String]) -> Result<Self> {
        let prior = match file.link_exists(PRIOR) {
            true => {
                let columns = variables.iter().map(|variable| read::<f64>(path, file, &format!("{PRIOR}/{variable}")));
                let columns: Vec<Option<ArrayD<f64>>> = columns.collect::<Result<_>>()?;
                let columns: Option<Vec<ArrayD<f64>>> = columns.into_iter().collect();
                columns.filter(|columns| !columns.is_empty() && columns.iter().all(|c| c.len() == columns[0].len()))
            }
            false => None,
        };
        let prior = prior.map(|columns| {
            let flat: Vec<Vec<f64>> = columns.into_iter().map(|column| column.into_iter().collect()).collect();
            Array2::from_shape_fn((flat[0].len(), flat.len()), |(row, i)| flat[i][row])
        });
        Ok(Self {
            log_likelihood: read::<f64>(path, file, &format!("{LOG_LIKELIHOOD}/x"))?.and_then(|values| {
                let n = *values.shape().last()?;
                Array2::from_shape_vec((values.len() / n.max(1), n), values.into_iter().collect()).ok()
            }),
            log_posterior: read::<f64>(path, file, &format!("{SAMPLE_STATS}/{LP}"))?
                .map(|values| values.into_iter().collect()),
            posterior_predictive: predictive(path, file, POSTERIOR_PREDICTIVE)?,
            prior,
            prior_predictive: predictive(path, file, PRIOR_PREDICTIVE)?,
            per_observation: per_observation(path, file)?,
        })
    }
}

/// (chain, draw, observation, x_dim) as (S, n, d); nothing of another shape, which other tools' files may have.
fn predictive(path: &Path, file: &hdf5::File, group: &str) -> Result<Option<Array3<f32>>> {
    let Some(values) = read::<f32>(path, file, &format!("{group}/x"))? else { return Ok(None) };
    let [chains, draws, n, d] = values.shape()[..] else { return Ok(None) };
    Ok(Array3::from_shape_vec((chains * draws, n, d), values.into_iter().collect()).ok())
}

/// Variables of the group `constant_data` along the observations.
fn per_observation(path: &Path, file: &hdf5::File) -> Result<Vec<(String, Vec<f64>)>> {
    let Ok(group) = file.group(CONSTANT_DATA) else { return Ok(Vec::new()) };
    let n = group.dataset(OBSERVATION).map_or(0, |dataset| dataset.size());
    let mut found = Vec::new();
    for name in group.member_names().map_err(|error| failed(path, CONSTANT_DATA, &error))? {
        let values = read::<f64>(path, file, &format!("{CONSTANT_DATA}/{name}"))?;
        let values = values.filter(|values| name != OBSERVATION && values.shape() == [n]);
        found.extend(values.map(|values| (name, values.into_iter().collect())));
    }
    Ok(found)
}

/// A dataset, if it is there.
fn read<T: hdf5::H5Type>(path: &Path, file: &hdf5::File, name: &str) -> Result<Option<ArrayD<T>>> {
    let Ok(dataset) = file.dataset(name) else { return Ok(None) };
    guard::check_memory(path, name, dataset.size(), size_of::<T>())?;
    dataset.read_dyn().map(Some).map_err(|error| failed(path, name, &error))
}

/// Samples (chain, draw, m), a variable a parameter.
pub(super) fn write_draws(group: &mut GroupMut<'_>, names: &[String], samples: ArrayView3<'_, f64>) -> Written {
    let (chains, draws, _) = samples.dim();
    coordinate(group, "chain", chains)?;
    coordinate(group, "draw", draws)?;
    for (index, (variable, name)) in variable_names(names).iter().zip(names).enumerate() {
        let values: Vec<f64> = samples.index_axis(Axis(2), index).iter().copied().collect();
        let mut written = group.add_variable::<f64>(variable, &["chain", "draw"])?;
        written.set_compression(1, true)?;
        written.put_values(&values, ..)?;
        if variable != name {
            written.put_attribute("long_name", name.as_str())?;
        }
    }
    Ok(())
}

/// What the rows of a group's variables are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Rows {
    /// Draws, by chain and draw.
    Draws,
    /// Observations.
    Observations,
}

/// A new group, with the attributes that ArviZ 1 recommends: what made it and when, and which dimensions count its draws.
pub(super) fn group<'f>(
    file: &'f mut FileMut,
    name: &str,
    provenance: &Provenance,
    rows: Rows,
) -> std::result::Result<GroupMut<'f>, netcdf::Error> {
    let mut group = file.add_group(name)?;
    group.add_attribute("created_at", provenance.created.clone())?;
    for (library, version) in
        [("inference_library", "inference_library_version"), ("creation_library", "creation_library_version")]
    {
        group.add_attribute(library, "tallsbi")?;
        group.add_attribute(version, provenance.version.clone())?;
    }
    group.add_attribute("creation_library_language", "Rust")?;
    if rows == Rows::Draws {
        group.add_attribute("sample_dims", AttributeValue::Strs(vec!["chain".into(), "draw".into()]))?;
    }
    Ok(group)
}

/// The coordinates of `rows` draws over all chains, and of `observations`.
fn coordinates(group: &mut GroupMut<'_>, (chains, rows): (usize, usize), observations: usize) -> Written {
    coordinate(group, "chain", chains)?;
    coordinate(group, "draw", rows / chains)?;
    coordinate(group, OBSERVATION, observations)
}

/// The variable `name`.
fn put<T: netcdf::NcTypeDescriptor>(
    group: &mut GroupMut<'_>,
    name: &str,
    dimensions: &[&str],
    values: &[T],
) -> Written {
    let mut written = group.add_variable::<T>(name, dimensions)?;
    written.set_compression(1, true)?;
    written.put_values(values, ..)
}

pub(super) fn coordinate(group: &mut GroupMut<'_>, name: &str, length: usize) -> Written {
    group.add_dimension(name, length)?;
    let values: Vec<i64> = (0..length as i64).collect();
    group.add_variable::<i64>(name, &[name])?.put_values(&values, ..)
}
