//! The arguments of the command line.

use crate::commands::{
    compare, diagnose, fix, inspect, merge, observe, plot, predict, recording, reference, refine, report, sample,
    simulate, study, tasks, train,
};
use crate::context::Context;
use clap::{Parser, Subcommand};
use tallsbi::MOST_THREADS;

const LONG_ABOUT: &str = "\
Infers the parameters of a simulator from many observations of the same thing.

  tallsbi simulate slcp -n 30000 -o train.h5   a training set, or bring your own
  tallsbi train train.h5 -o model.safetensors  one network for any number of observations
  tallsbi observe slcp --from-prior -n 30 -o obs.h5  observations
  tallsbi sample model.safetensors --observations obs.h5 -o posterior.nc
  tallsbi refine model.safetensors --observations obs.h5 -o refined.safetensors  right at these, for any n
  tallsbi predict posterior.nc -o predictive.nc  does the fitted model reproduce the data?
  tallsbi compare a.safetensors b.safetensors --observations obs.h5  which model do they prefer?
  tallsbi plot posterior.nc reference.nc -o posteriors.svg
  tallsbi reference slcp --observations obs.h5 -o reference.nc  the exact posterior, for tasks with a likelihood
  tallsbi diagnose ...                         is the posterior right?

Results go to standard output, progress and messages to standard error. Every random number follows from --seed: the same \
command gives the same numbers for any number of threads, shards or interruptions.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C; what is complete is kept where a command has --resume).";

/// Simulation-based inference from many observations of the same thing.
#[derive(Debug, Parser)]
#[command(name = "tallsbi", version, about, long_about = LONG_ABOUT, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Seed of all random numbers
    #[arg(long, global = true, help_heading = "Global options", default_value_t = 0, value_name = "U64")]
    pub seed: u64,
    /// Threads to use [default: all]
    #[arg(long, global = true, help_heading = "Global options", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_THREADS)))]
    pub threads: Option<u16>,
    /// Read what HDF5 files lead to outside of them too: links to other files, virtual data sets, external storage
    #[arg(long, global = true, help_heading = "Global options")]
    pub follow_links: bool,
    /// No progress and no messages but errors
    #[arg(short, long, global = true, help_heading = "Global options", conflicts_with = "verbose")]
    pub quiet: bool,
    /// More messages (-vv: all)
    #[arg(short, long, global = true, help_heading = "Global options", action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print results as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Tasks(tasks::TasksArguments),
    Simulate(simulate::SimulateArguments),
    Merge(merge::MergeArguments),
    Observe(observe::ObserveArguments),
    Train(train::TrainArguments),
    Fix(fix::FixArguments),
    Sample(sample::SampleArguments),
    Predict(predict::PredictArguments),
    Compare(compare::CompareArguments),
    Plot(plot::PlotArguments),
    Recording(recording::RecordingArguments),
    Refine(refine::RefineArguments),
    Reference(reference::ReferenceArguments),
    #[command(subcommand)]
    Diagnose(diagnose::DiagnoseCommand),
    Study(study::StudyArguments),
    Report(report::ReportArguments),
    Inspect(inspect::InspectArguments),
}

impl Command {
    /// Whether it can run on the processes of an MPI job.
    pub fn is_distributed(&self) -> bool {
        matches!(self, Self::Simulate(_) | Self::Refine(_) | Self::Diagnose(_) | Self::Study(_))
    }

    /// Runs the command.
    pub fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Tasks(arguments) => tasks::run(context, &arguments),
            Self::Simulate(arguments) => simulate::run(context, &arguments),
            Self::Merge(arguments) => merge::run(context, &arguments),
            Self::Observe(arguments) => observe::run(context, &arguments),
            Self::Train(arguments) => train::run(context, &arguments),
            Self::Fix(arguments) => fix::run(context, &arguments),
            Self::Sample(arguments) => sample::run(context, &arguments),
            Self::Predict(arguments) => predict::run(context, &arguments),
            Self::Plot(arguments) => plot::run(context, &arguments),
            Self::Compare(arguments) => compare::run(context, &arguments),
            Self::Recording(arguments) => recording::run(context, &arguments),
            Self::Refine(arguments) => refine::run(context, &arguments),
            Self::Reference(arguments) => reference::run(context, &arguments),
            Self::Diagnose(command) => diagnose::run(context, &command),
            Self::Study(arguments) => study::run(context, &arguments),
            Self::Report(arguments) => report::run(context, &arguments),
            Self::Inspect(arguments) => inspect::run(context, &arguments),
        }
    }
}
