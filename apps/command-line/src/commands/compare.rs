//! `tallsbi compare`.

use super::{TableArguments, observed_by};
use crate::context::{Context, resumable, usage};
use anyhow::Result;
use clap::Args;
use ndarray::{Array2, ArrayView2};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi::on_disk::ModelFile;
use tallsbi::simulators::Task;
use tallsbi::{Confusion, Evidence, Model, SampleOptions, TaskOptions, compare, confusion};

/// Which of several models do the observations prefer?
///
/// The evidence of each model (log of the likelihood averaged over its prior), its Monte Carlo error, and the probability of each if all are equally
/// probable before. Models are those of `train` and `refine` that learned the likelihood, of the same observations; transforms may differ.
/// --check simulates data sets of every model and asks whether the stated probabilities are true.
///
/// Example: tallsbi compare sir.safetensors seir.safetensors --observations obs.h5
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Models, two or more
    #[arg(required = true, num_args = 2..)]
    pub models: Vec<PathBuf>,
    #[command(flatten)]
    pub given: TableArguments,
    /// Particles of a run of tempering; four runs tell the error
    #[arg(long, value_name = "S", default_value = "1000")]
    pub samples: NonZeroUsize,
    /// Simulate so many data sets of each model's task, and tell how often each is preferred
    #[arg(long, value_name = "N")]
    pub check: Option<NonZeroUsize>,
}

/// Runs the command.
pub fn run(context: &Context, arguments: &CompareArguments) -> Result<()> {
    let files = arguments.models.iter().map(|path| ModelFile::load(path)).collect::<tallsbi::Result<Vec<_>>>()?;
    let models: Vec<&Model> = files.iter().map(|file| &file.model).collect();
    let tasks = arguments.check.map(|_| files.iter().map(task).collect::<Result<Vec<_>>>()).transpose()?;
    let (matrix, _) = arguments.given.read(models[0])?;
    let centred: Vec<Array2<f32>> =
        models.iter().map(|model| observed_by(model, &arguments.given.of.source, &matrix)).collect::<Result<_>>()?;
    let views: Vec<ArrayView2<'_, f32>> = centred.iter().map(Array2::view).collect();
    let options = SampleOptions { samples: arguments.samples.get(), ..SampleOptions::default() };
    let monitor = context.monitor();
    let found = compare(&models, &views, &options, context.seed, &monitor);
    let found = resumable(found, "nothing is kept")?;
    let checked = match (&tasks, arguments.check) {
        (Some(tasks), Some(pairs)) => {
            let tasks: Vec<&dyn Task> = tasks.iter().map(Box::as_ref).collect();
            let size = (matrix.values.nrows(), pairs.get());
            Some(resumable(confusion(&models, &tasks, size, &options, context.seed, &monitor), "nothing is kept")?)
        }
        _ => None,
    };
    let names: Vec<String> = arguments.models.iter().map(|path| path.display().to_string()).collect();
    let text = [Some(evidences(&names, &found)), checked.as_ref().map(|checked| confusions(&names, checked))];
    context.print(text.into_iter().flatten().collect::<Vec<_>>().join("\n"), || {
        let models = names.iter().zip(&found).map(|(name, evidence)| {
            json!({ "model": name, "log_evidence": evidence.log_evidence, "error": evidence.error,
                "probability": evidence.probability })
        });
        json!({ "n_obs": matrix.values.nrows(), "models": models.collect::<Vec<_>>(), "check": checked })
    })
}

/// The task a model says it is of.
fn task(file: &ModelFile) -> Result<Box<dyn Task>> {
    let name = &file.model.trained().info.task;
    let refused = |what: &str| usage(format!("--check: {}: {what}", file.path().display()));
    if name.is_empty() {
        return Err(refused("the model does not know its task, and cannot be simulated"));
    }
    let task = tallsbi::task(name, &TaskOptions::default())?;
    if task.prior() != file.model.trained().latent.prior() {
        return Err(refused(&format!("was trained on another prior than that of {name}")));
    }
    Ok(task)
}

fn evidences(names: &[String], found: &[Evidence]) -> String {
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, evidence): (&String, &Evidence)| {
        format!(
            "{name:width$}  log evidence {:.2} ± {:.2}, probability {:.4}",
            evidence.log_evidence, evidence.error, evidence.probability
        )
    };
    names.iter().zip(found).map(line).collect::<Vec<_>>().join("\n")
}

fn confusions(names: &[String], found: &Confusion) -> String {
    let mut lines = vec![format!("{} data sets of {} observations of each model:", found.pairs, found.n_obs)];
    for (truth, name) in names.iter().enumerate() {
        let each = |model: usize| {
            format!(
                "{} preferred {} times (mean probability {:.3})",
                names[model], found.chosen[truth][model], found.probability[truth][model]
            )
        };
        lines.push(format!("  where {name} is true: {}", (0..names.len()).map(each).collect::<Vec<_>>().join(", ")));
    }
    let z: Vec<String> = found.z.iter().map(|z| format!("{z:+.1}")).collect();
    lines.push(format!(
        "  true more often than stated, in standard deviations: {} (calibrated: within ±2)",
        z.join(", ")
    ));
    lines.join("\n")
}
