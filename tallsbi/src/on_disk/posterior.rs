//! What posterior files say of the run they are from.

use crate::{Model, ReferencePosterior};
use serde_json::Value;
use tallsbi_files::RunAttributes;
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

/// Settings, work and convergence of a run, for its posterior file.
pub fn reference_attributes(
    reference: &ReferencePosterior,
    n_obs: usize,
    seconds: f64,
    converged: bool,
) -> RunAttributes {
    let each =
        |value: &dyn Fn(usize) -> f64| Value::from((0..reference.convergence.len()).map(value).collect::<Vec<_>>());
    let mut run = RunAttributes::new();
    run.insert("method".into(), "reference".into());
    run.insert("sampler".into(), reference.method.clone().into());
    run.insert("n_obs".into(), n_obs.into());
    // Text, since flags are not numbers in netCDF.
    run.insert("converged".into(), if converged { "yes" } else { "no" }.into());
    run.insert("rhat".into(), each(&|i| reference.convergence[i].rhat));
    run.insert("ess_bulk".into(), each(&|i| reference.convergence[i].ess_bulk));
    run.insert("ess_tail".into(), each(&|i| reference.convergence[i].ess_tail));
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
