//! The folder of a study: who may write to it, what is left there, its results as data and as a report.

use crate::error::usage;
use crate::report;
use crate::study::{Marginal, Results, RunResults, Study, StudyResults};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use tallsbi::Session;
use tallsbi::files::{Existing, OutputFile};

/// What a study leaves in its folder, besides its steps and figures.
const OURS: [&str; 6] = ["steps", "figures", "tables", RESULTS, "report.html", OPTIONS];

/// All results as data.
const RESULTS: &str = "results.json";

/// The options that it was run with.
const OPTIONS: &str = "study.toml";

/// Runs a study in `folder`, which is made if it is not there, and writes its results and report; `preset` names where the options came from. Results and the report's
/// path in the process that leads those that work together, nothing in the others.
///
/// # Errors
/// When the folder is not empty and `existing` refuses that, another study runs in it, or as [`Study::run`].
pub fn run_in(
    folder: &Path,
    existing: Existing,
    study: &Study,
    preset: &str,
    session: &Session<'_>,
) -> Result<Option<(Results, PathBuf)>> {
    let leads = session.monitor.leads();
    let _lock = leads.then(|| prepare(folder, existing)).transpose()?;
    if leads {
        write(&folder.join(OPTIONS), toml::to_string(study)?.as_bytes())?;
    }
    let results = study.run(session, preset, folder)?;
    if !leads {
        return Ok(None);
    }
    write(&folder.join(RESULTS), &serde_json::to_vec_pretty(&results)?)?;
    let report = report::write(&results, folder)?;
    Ok(Some((results, report)))
}

/// The results of a finished study.
///
/// # Errors
/// When they are not there, or not what a study writes.
pub fn results(folder: &Path) -> Result<Results> {
    let path = folder.join(RESULTS);
    let bytes = std::fs::read(&path)
        .with_context(|| format!("{}: cannot be read; is it the folder of a finished study?", path.display()))?;
    Results::from_json(&bytes).with_context(|| format!("{}: is not what a study writes", path.display()))
}

/// Makes the folder, or checks that it may be used, and locks it against a second study.
fn prepare(output: &Path, existing: Existing) -> Result<File> {
    let shown = output.display();
    // A study that was refused before its first step leaves nothing that could be lost.
    let lost = |name: &std::ffi::OsStr| name != ".lock" && name != OPTIONS;
    let occupied = output.read_dir().is_ok_and(|entries| entries.flatten().any(|entry| lost(&entry.file_name())));
    if occupied && existing == Existing::Refuse {
        return Err(usage(format!("{shown}: exists and is not empty; --resume continues in it, --force starts over")));
    }
    std::fs::create_dir_all(output).with_context(|| format!("{shown}: cannot be created"))?;
    let lock = output.join(".lock");
    let file = File::create(&lock).with_context(|| format!("{}: cannot be written", lock.display()))?;
    if file.try_lock().is_err() {
        anyhow::bail!("{shown}: another study is running in it; wait for it or choose another folder");
    }
    if existing == Existing::Overwrite {
        for name in OURS {
            let path = output.join(name);
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            if let Err(error) = removed
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error).with_context(|| format!("{}: cannot be removed", path.display()));
            }
        }
    }
    Ok(file)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(OutputFile::write(path, Existing::Overwrite, bytes)?)
}

impl Results {
    /// A few lines for the terminal, each after a line break.
    pub fn lines(&self) -> String {
        match self {
            Self::Inference(results) => posteriors(results),
            Self::Benchmark(results) => results.lines(),
            Self::Toy(results) => results.lines(),
        }
    }
}

fn posteriors(results: &StudyResults) -> String {
    let mut text = String::new();
    for run in &results.runs {
        let _ = write!(text, "\n{}", run.label);
        for posterior in &run.posteriors {
            let _ = write!(text, "\n  n = {:<3}{}", posterior.n_obs, moments(run, &posterior.marginals));
            if let Some(test) = &posterior.local_c2st {
                let _ = write!(text, "  local C2ST p = {:.3}", test.p_value);
            }
        }
        if let Some(refined) = &run.refined {
            let settled = match (&refined.work.not_settled, refined.work.base_kept) {
                (Some(reason), _) => format!("not settled: {reason}"),
                (None, true) => "the network's posterior kept".into(),
                (None, false) => format!("refined with {} simulations more", refined.work.simulations),
            };
            let _ = write!(text, "\n  n = {:<3}{}  {settled}", refined.n_obs, moments(run, &refined.marginals));
        }
        for caution in report::cautions(run) {
            let _ = write!(text, "\n  caution: {caution}");
        }
    }
    text
}

fn moments(run: &RunResults, marginals: &[Marginal]) -> String {
    let moments =
        |(name, marginal): (&String, &Marginal)| format!("  {name} {:.5} ± {:.4}", marginal.mean, marginal.sd);
    run.prior.names().iter().zip(marginals).map(moments).collect()
}
