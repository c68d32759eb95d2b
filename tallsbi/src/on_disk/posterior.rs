//! What posterior files say of the run they are from.

use crate::{Laplace, Mode, Model, ReferencePosterior, Result};
use serde_json::{Value, json};
use tallsbi_data::Prior;
use tallsbi_diagnostics::Convergence;
use tallsbi_files::RunAttributes;
use tallsbi_inference::notes::Note;
use tallsbi_inference::sample::{SampleInfo, SampleOptions};

/// Settings and counters of a sampling run, for its posterior file.
pub fn posterior_attributes(
    model: &Model,
    options: &SampleOptions,
    info: &SampleInfo,
    n_obs: usize,
    seconds: f64,
) -> RunAttributes {
    let mut run = RunAttributes::new();
    let (method, sampler) = model.sampling_names(options);
    run.insert("method".into(), method.into());
    run.insert("sampler".into(), sampler.into());
    run.insert("n_obs".into(), n_obs.into());
    run.extend(prior_attribute(model.trained().latent.prior()));
    if let Ok(Value::Object(counters)) = serde_json::to_value(info) {
        run.extend(counters);
    }
    // As text: the nested options as they were used.
    run.insert("options".into(), serde_json::to_string(options).unwrap_or_default().into());
    if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
        run.insert("wall_seconds".into(), seconds.into());
    }
    run
}

/// The longest prior that is written: HDF5 keeps attributes in 64 KiB.
const LONGEST_PRIOR: usize = 60_000;

/// The prior, which figures of a posterior draw too; nothing of one that is too long.
fn prior_attribute(prior: &Prior) -> Option<(String, Value)> {
    Some(prior.to_json()).filter(|text| text.len() < LONGEST_PRIOR).map(|text| ("prior".to_owned(), text.into()))
}

/// The prior that a posterior's file tells.
///
/// # Errors
/// When it is no prior.
pub fn told_prior(run: &RunAttributes) -> Result<Option<Prior>> {
    let text = run.get("prior").map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    Ok(text.map(|text| Prior::from_json(&text)).transpose()?)
}

/// What was missing among the observations, if anything was; `n_obs` counts observations that were not left out.
pub fn missing_attributes<'a>(notes: impl IntoIterator<Item = &'a Note>) -> RunAttributes {
    let mut run = RunAttributes::new();
    for note in notes {
        if let Note::Missing { values, incomplete, left_out, of } = note {
            run.insert("n_obs".into(), (of - left_out).into());
            run.insert("missing_values".into(), (*values).into());
            run.insert("incomplete_observations".into(), (*incomplete).into());
            run.insert("missing_observations".into(), (*left_out).into());
        }
    }
    run
}

/// The mode, and the curvature there where it is known.
pub fn mode_attributes(mode: &Mode, laplace: Option<&Laplace>) -> RunAttributes {
    let mut run = RunAttributes::new();
    run.insert("map".into(), json!(mode.theta));
    run.insert("map_log_posterior".into(), mode.log_posterior.into());
    if let Some(laplace) = laplace {
        let rows: Vec<Vec<f64>> = laplace.hessian.outer_iter().map(|row| row.to_vec()).collect();
        run.insert("map_hessian".into(), json!(rows));
    }
    run
}

/// R̂ and effective sample sizes of each parameter, for a posterior file.
pub fn convergence_attributes(convergence: &[Convergence]) -> RunAttributes {
    let each = |name: &str, value: &dyn Fn(&Convergence) -> f64| {
        (name.to_owned(), Value::from(convergence.iter().map(value).collect::<Vec<_>>()))
    };
    [each("rhat", &|c| c.rhat), each("ess_bulk", &|c| c.ess_bulk), each("ess_tail", &|c| c.ess_tail)]
        .into_iter()
        .collect()
}

/// Settings, work and convergence of a run, for its posterior file.
pub fn reference_attributes(
    reference: &ReferencePosterior,
    prior: &Prior,
    n_obs: usize,
    seconds: f64,
    converged: bool,
) -> RunAttributes {
    let mut run = RunAttributes::new();
    run.insert("method".into(), "reference".into());
    run.extend(prior_attribute(prior));
    run.insert("sampler".into(), reference.method.clone().into());
    run.insert("n_obs".into(), n_obs.into());
    // Text, since flags are not numbers in netCDF.
    run.insert("converged".into(), if converged { "yes" } else { "no" }.into());
    run.extend(convergence_attributes(&reference.convergence));
    run.insert("symmetric_modes".into(), reference.symmetry.into());
    if let Ok(Value::Object(counters)) = serde_json::to_value(reference.info) {
        run.extend(counters);
    }
    run.insert("options".into(), serde_json::to_string(&reference.options).unwrap_or_default().into());
    if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
        run.insert("wall_seconds".into(), seconds.into());
    }
    run
}
