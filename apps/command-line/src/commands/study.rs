//! `tallsbi study`.

use super::RecordingArguments;
use crate::choice::choice;
use crate::context::{Context, RESUME, resumable, usage};
use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use tallsbi::data::Named;
use tallsbi::files::{Existing, OutputFile};
use tallsbi_studies::report;
use tallsbi_studies::study::{Marginal, Preset, Results, RunResults, Study, StudyResults};

/// Simulate, train, sample, validate and report, from one command
///
/// STUDY is one of
///   jrnmm      the Jansen–Rit neural mass model of the paper, with its gain fixed and inferred (Sec. 4.3)
///   benchmark  SLCP, Lotka–Volterra and SIR against reference posteriors (Sec. 4.2)
///   toy        samplers on problems whose posterior is known, with controlled errors of the score (Sec. 4.1)
/// or a TOML file of your own; --print-default shows one to start from. The report is OUT/report.html. What is done is not done again: a study that
/// was interrupted, or whose options changed, continues with --resume.
///
/// Example: tallsbi study jrnmm --preset quick -o out/
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct StudyArguments {
    /// jrnmm, benchmark, toy, or FILE.toml
    #[arg(required_unless_present = "print_default")]
    pub study: Option<String>,
    /// Folder to write
    #[arg(short, long, value_name = "OUT", required_unless_present = "print_default")]
    pub output: Option<PathBuf>,
    /// Sizes of a built-in study
    #[arg(long, value_parser = choice::<Preset>(), default_value = Preset::default().name())]
    pub preset: Preset,
    /// Your own observations instead of simulated ones: (n, d), or for jrnmm a recording (EDF, BDF, BrainVision) or a signal as a single column
    #[arg(long, value_name = "SOURCE")]
    pub observations: Option<String>,
    #[command(flatten)]
    pub recording: RecordingArguments,
    /// Folder with the observation sets and reference posteriors of a benchmark: TASK.h5 [default: $TALLSBI_REFERENCE_DATA]
    #[arg(long, value_name = "DIR")]
    pub reference_data: Option<PathBuf>,
    /// Continue in an existing folder
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// Start over in an existing folder: removes what an earlier study left there
    #[arg(long)]
    pub force: bool,
    /// Print the options of a built-in study as TOML, and stop
    #[arg(long, value_name = "STUDY")]
    pub print_default: Option<String>,
}

/// What a study leaves in its folder, besides its steps and figures.
const OURS: [&str; 6] = ["steps", "figures", "tables", RESULTS, "report.html", "study.toml"];

/// All results as data.
pub const RESULTS: &str = "results.json";

/// Runs the command.
pub fn run(context: &Context, arguments: &StudyArguments) -> Result<()> {
    if let Some(name) = &arguments.print_default {
        let study = Study::built_in(name, arguments.preset)?;
        return context.print(toml::to_string(&study)?.trim_end(), || json!(study));
    }
    let (Some(study), Some(output)) = (&arguments.study, &arguments.output) else {
        return Err(usage("say which study, and where to with -o"));
    };
    let (mut study, preset) = chosen(study, arguments.preset)?;
    match (&mut study, &arguments.observations) {
        (_, None) => {}
        (Study::Inference(options), Some(source)) => {
            options.observations = Some(source.clone());
            options.recording = arguments.recording.over(std::mem::take(&mut options.recording));
        }
        _ => return Err(usage("--observations goes with studies of models only")),
    }
    match (&mut study, &arguments.reference_data) {
        (_, None) => {}
        (Study::Benchmark(options), Some(folder)) => options.reference_data = Some(folder.clone()),
        _ => return Err(usage("--reference-data goes with benchmarks only")),
    }
    study.validate()?;
    let _lock = if context.leads() { Some(prepare(output, arguments)?) } else { None };
    if context.leads() {
        write(&output.join("study.toml"), toml::to_string(&study)?.as_bytes())?;
    }
    let bars = context.monitor();
    let results = resumable(study.run(&context.session(&bars), &preset, output), RESUME)?;
    if !context.leads() {
        return Ok(());
    }
    write(&output.join(RESULTS), &serde_json::to_vec_pretty(&results)?)?;
    let path = report::write(&results, output)?;
    context.print(summary(&results, &path), || json!({ "report": path.display().to_string(), "results": results }))
}

/// The study and what to call its options.
fn chosen(study: &str, preset: Preset) -> Result<(Study, String)> {
    let path = Path::new(study);
    if path.extension().is_none_or(|extension| extension != "toml") {
        let options = Study::built_in(study, preset)
            .map_err(|error| usage(format!("{error}, and a study of your own is a file whose name ends in .toml")))?;
        return Ok((options, preset.name().to_owned()));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("{study}: cannot be read"))?;
    Ok((Study::parse(&text, study)?, study.to_owned()))
}

/// Makes the folder, or checks that it may be used, and locks it against a second study.
fn prepare(output: &Path, arguments: &StudyArguments) -> Result<std::fs::File> {
    let shown = output.display();
    // A study that was refused before its first step leaves nothing that could be lost.
    let lost = |name: &std::ffi::OsStr| name != ".lock" && name != "study.toml";
    let occupied = output.read_dir().is_ok_and(|entries| entries.flatten().any(|entry| lost(&entry.file_name())));
    if occupied && !arguments.resume && !arguments.force {
        return Err(usage(format!("{shown}: exists and is not empty; --resume continues in it, --force starts over")));
    }
    std::fs::create_dir_all(output).with_context(|| format!("{shown}: cannot be created"))?;
    let lock = output.join(".lock");
    let file = std::fs::File::create(&lock).with_context(|| format!("{}: cannot be written", lock.display()))?;
    if file.try_lock().is_err() {
        anyhow::bail!("{shown}: another study is running in it; wait for it or choose another folder");
    }
    if arguments.force {
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

/// A few lines for the terminal.
fn summary(results: &Results, report: &Path) -> String {
    let lines = match results {
        Results::Inference(results) => posteriors(results),
        Results::Benchmark(results) => results.lines(),
        Results::Toy(results) => results.lines(),
    };
    format!("{}{lines}", report.display())
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
