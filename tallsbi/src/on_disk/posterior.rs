//! What posterior files say of the run they are from.

use crate::{Model, ReferencePosterior};
use serde_json::Value;
use tallsbi_diagnostics::Convergence;
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
    n_obs: usize,
    seconds: f64,
    converged: bool,
) -> RunAttributes {
    let mut run = RunAttributes::new();
    run.insert("method".into(), "reference".into());
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
