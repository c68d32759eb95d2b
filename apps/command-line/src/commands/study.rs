//! `tallsbi study`.

use super::RecordingArguments;
use crate::choice::choice;
use crate::context::{Context, RESUME, resumable, usage};
use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use tallsbi::data::Named;
use tallsbi::files::Existing;
use tallsbi_studies::study::{Preset, Study};
use tallsbi_studies::study_folder::run_in;

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
    let existing = match (arguments.force, arguments.resume) {
        (true, _) => Existing::Overwrite,
        (_, true) => Existing::Resume,
        _ => Existing::Refuse,
    };
    let bars = context.monitor();
    let Some((results, path)) = resumable(run_in(output, existing, &study, &preset, &context.session(&bars)), RESUME)?
    else {
        return Ok(());
    };
    let text = format!("{}{}", path.display(), results.lines());
    context.print(text, || json!({ "report": path.display().to_string(), "results": results }))
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
