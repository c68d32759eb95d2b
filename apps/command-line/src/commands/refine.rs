//! `tallsbi refine`.

use super::output_arguments::ResumableOutputArguments;
use super::{ModelTaskArguments, ObservationsArguments, TaskArguments};
use crate::context::{Context, RESUME, read_toml, resumable, usage};
use crate::notes::{tell, words};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use ndarray::ArrayView2;
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;
use tallsbi::files::{Existing, Gaps, OutputFile};
use tallsbi::inference::refine::By;
use tallsbi::on_disk::{ModelFile, SimulationLog, Taker, of_task, read_pairs, refined_posterior, write_refined};
use tallsbi::simulators::Task;
use tallsbi::{RefineFrom, RefineOptions, Refined, TrainOptions, goes_by_scores};

/// Make a model right at given observations, by simulations where their posterior is
///
/// Rounds of drawing parameters around the present posterior, simulating, and learning the likelihood there in closed form. The first
/// posterior is the model's; without a model it starts from the prior. The result is a model for these observations that says
/// when others lead elsewhere.
///
/// Example: tallsbi refine model.safetensors --observations obs.h5 -o refined.safetensors --posterior refined.nc
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct RefineArguments {
    /// Model to start from [default: the prior]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub given: ObservationsArguments,
    #[command(flatten)]
    pub task: ModelTaskArguments,
    /// Simulations a round
    #[arg(short = 'n', long, value_name = "N", default_value = "auto")]
    pub per_round: Auto,
    /// Rounds
    #[arg(long, value_name = "R", default_value = "auto")]
    pub rounds: Auto,
    /// Simulations in all at most
    #[arg(long, value_name = "N")]
    pub budget: Option<NonZeroUsize>,
    /// Error of the posterior's mean to aim at, in its own standard deviation [default: 0.1]
    #[arg(long, value_name = "SD")]
    pub tolerance: Option<f64>,
    /// What is learned near the posterior [default: auto]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub by: Option<ByChoice>,
    /// Whether a network of the likelihood is trained on all simulations where local forms do not settle, and kept if it is clearly better
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    pub network: NetworkChoice,
    /// TOML file of options of that network's training, as `train --config` takes
    #[arg(long, value_name = "FILE")]
    pub train_config: Option<PathBuf>,
    /// Simulations made before (a training set): they count where they are near
    #[arg(long, value_name = "FILE")]
    pub simulations: Option<PathBuf>,
    /// TOML file of options of the refinement, see docs/refinement.md; what is given here goes first
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Number of samples
    #[arg(long, value_name = "S", default_value = "1000")]
    pub samples: NonZeroUsize,
    /// File for the posterior
    #[arg(long, value_name = "FILE")]
    pub posterior: Option<PathBuf>,
    #[command(flatten)]
    pub output: ResumableOutputArguments,
}

/// When a network is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkChoice {
    /// Where local forms do not settle
    Auto,
    /// Never
    Off,
}

/// What is learned near the posterior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ByChoice {
    /// Local likelihoods; mean scores under conditions, with missing values, and where single values have a probability of their own
    Auto,
    /// Local likelihoods of the observations
    Forms,
    /// The law of the mean scores of MODEL, a network of the likelihood
    Scores,
}

impl From<ByChoice> for By {
    fn from(choice: ByChoice) -> Self {
        match choice {
            ByChoice::Auto => Self::Auto,
            ByChoice::Forms => Self::Forms,
            ByChoice::Scores => Self::Scores,
        }
    }
}

/// A number, or what serves.
#[derive(Debug, Clone, Copy)]
pub struct Auto(Option<usize>);

impl FromStr for Auto {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<NonZeroUsize>() {
            _ if text == "auto" => Ok(Self(None)),
            Ok(number) => Ok(Self(Some(number.get()))),
            Err(_) => Err("a number from 1 on, or auto".into()),
        }
    }
}

impl RefineArguments {
    fn options(&self) -> Result<RefineOptions> {
        let default: RefineOptions = self.config.as_deref().map(read_toml).transpose()?.unwrap_or_default();
        let options = RefineOptions {
            per_round: self.per_round.0.or(default.per_round),
            rounds: self.rounds.0.or(default.rounds),
            budget: self.budget.map(NonZeroUsize::get).or(default.budget),
            tolerance: self.tolerance.unwrap_or(default.tolerance),
            by: self.by.map_or(default.by, By::from),
            samples: self.samples.get(),
            ..default
        };
        options.validate()?;
        Ok(options)
    }

    /// Where simulations are kept until the refinement is done.
    fn log(&self, context: &Context, named: &TaskArguments, task: &dyn Task) -> Result<SimulationLog> {
        let output = &context.place(&self.output.output);
        let left = SimulationLog::path(output);
        if left.exists() && self.output.existing() == Existing::Refuse {
            return Err(usage(format!(
                "{}: was left by an interrupted run: add --resume to continue it, or --force to start over",
                left.display()
            )));
        }
        let model = task.source().map(|source| source.digest.as_str()).unwrap_or_default();
        let salt = format!("{} {:?} {} {}{model}", named.task, named.fix, context.seed, task.prior().to_json());
        Ok(SimulationLog::open(output, salt, self.output.resume)?)
    }
}

/// Runs the command.
pub fn run(context: &Context, arguments: &RefineArguments) -> Result<()> {
    let options = arguments.options()?;
    let base = arguments.model.as_deref().map(ModelFile::load).transpose()?.map(|file| file.model);
    let named = arguments.task.of(base.as_ref())?;
    let task = named.build()?;
    for target in [Some(&arguments.output.output), arguments.posterior.as_ref()].into_iter().flatten() {
        OutputFile::check(&context.place(target), arguments.output.existing())?;
    }
    let taker = Taker { dim_x: task.dim_x(), window: task.signal_window(), gaps: Gaps::Allowed, comparable: false };
    let (matrix, source) = arguments.given.read(taker)?;
    let x = matrix.values.mapv(|value| value as f32);
    if x.ncols() != task.dim_x() {
        let (wanted, found) = (task.dim_x(), x.ncols());
        bail!("{}: observations of {found} values, {} has {wanted}", arguments.given.source, named.task);
    }
    if arguments.train_config.is_some() && goes_by_scores(task.as_ref(), x.view(), base.as_ref(), options.by) {
        return Err(usage("--train-config: a refinement by mean scores trains no network; leave it out"));
    }
    let simulations = arguments.simulations.as_deref().map(|path| read_pairs(path, None)).transpose()?;
    let log = arguments.log(context, &named, task.as_ref())?;
    let training: TrainOptions = arguments.train_config.as_deref().map(read_toml).transpose()?.unwrap_or_default();
    training.validate()?;
    let network = (arguments.network == NetworkChoice::Auto).then_some(&training);
    let from = RefineFrom { base: base.as_ref(), simulations: simulations.as_ref(), network, kept: Some(&log) };
    let started = Instant::now();
    let refined = tallsbi::refine(task.as_ref(), x.view(), from, &options, context.seed, &context.monitor());
    let refined = resumable(refined, RESUME)?;
    let seconds = started.elapsed().as_secs_f64();
    write(context, arguments, (&refined, x.view(), &source), &options, seconds, task.as_ref())?;
    log.remove()?;
    report(context, arguments, &refined, seconds)
}

fn write(
    context: &Context,
    arguments: &RefineArguments,
    (refined, x, source): (&Refined, ArrayView2<'_, f32>, &std::path::Path),
    options: &RefineOptions,
    seconds: f64,
    task: &dyn Task,
) -> Result<()> {
    let existing = arguments.output.existing();
    let mut provenance = of_task(context.provenance(task.name()), task)?.with_parent(source)?;
    for parent in [&arguments.model, &arguments.simulations].into_iter().flatten() {
        provenance = provenance.with_parent(parent)?;
    }
    write_refined(&context.place(&arguments.output.output), existing, refined, options, &provenance)?;
    if let Some(path) = &arguments.posterior {
        refined_posterior(refined, x, options, seconds, provenance)?.write(&context.place(path), existing)?;
    }
    Ok(())
}

fn report(context: &Context, arguments: &RefineArguments, refined: &Refined, seconds: f64) -> Result<()> {
    let path = arguments.output.output.display();
    let verdict = match refined.verdict.reason() {
        None => "settled".to_owned(),
        Some(reason) => format!("not settled: {reason}"),
    };
    let rounds = refined.rounds.iter().enumerate().map(|(round, record)| {
        format!(
            "  round {}: {} simulations, {:.0} observations' worth from {} rows, moved by {:.2} sd, may err by {:.2} sd",
            round + 1,
            record.simulations,
            record.worth,
            record.rows,
            record.moved,
            record.predicted_error
        )
    });
    let trained = refined.model.trained();
    let notes = tell(trained, &trained.info.notes);
    let text = format!(
        "{path}: refined at {} observations with {} simulations, {seconds:.1} s; {verdict}\n{}\n{}",
        refined.posterior.n_obs,
        refined.simulations,
        rounds.chain(notes).collect::<Vec<_>>().join("\n"),
        super::sample::summary(&refined.posterior.names, refined.posterior.theta.view())
    );
    context.print(text, || {
        let (mean, sd) = super::sample::moments(refined.posterior.theta.view());
        let posterior = arguments.posterior.as_ref().map_or(Value::Null, |path| path.display().to_string().into());
        json!({
            "path": path.to_string(), "posterior": posterior, "simulations": refined.simulations,
            "seconds": seconds, "verdict": refined.verdict, "rounds": refined.rounds,
            "notes": trained.info.notes.iter().map(|note| words(trained, note)).collect::<Vec<_>>(),
            "parameter_names": refined.posterior.names, "mean": mean, "sd": sd,
        })
    })
}
