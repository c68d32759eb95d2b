//! `tallsbi diagnose`.

mod calibration;
mod mmd;
mod posterior_sbc;
mod reference;
mod two_sample;

use crate::context::Context;
use anyhow::Result;
use clap::Subcommand;

/// Is the posterior right? Distances to a reference posterior, and calibration checks that need none
///
/// Matrices of samples are posterior files, any HDF5 dataset (FILE.h5:DATASET, FILE.h5:DATASET:INDEX) or CSV.
///
/// Example: tallsbi diagnose c2st posterior.nc --reference reference.nc --json
#[derive(Debug, Subcommand)]
pub enum DiagnoseCommand {
    SlicedWasserstein(two_sample::SlicedWassersteinArguments),
    Mmd(mmd::MmdArguments),
    C2st(two_sample::C2stArguments),
    Dirac(two_sample::DiracArguments),
    LocalC2st(calibration::LocalC2stArguments),
    Sbc(calibration::SbcArguments),
    Coverage(calibration::CoverageArguments),
    PosteriorSbc(posterior_sbc::PosteriorSbcArguments),
    Reference(reference::ReferenceCalibrationArguments),
}

/// Runs the command.
pub fn run(context: &Context, command: &DiagnoseCommand) -> Result<()> {
    match command {
        DiagnoseCommand::SlicedWasserstein(arguments) => two_sample::sliced_wasserstein(context, arguments),
        DiagnoseCommand::Mmd(arguments) => mmd::mmd(context, arguments),
        DiagnoseCommand::C2st(arguments) => two_sample::c2st(context, arguments),
        DiagnoseCommand::Dirac(arguments) => two_sample::dirac(context, arguments),
        DiagnoseCommand::LocalC2st(arguments) => calibration::local_c2st(context, arguments),
        DiagnoseCommand::Sbc(arguments) => calibration::sbc(context, arguments),
        DiagnoseCommand::Coverage(arguments) => calibration::coverage(context, arguments),
        DiagnoseCommand::PosteriorSbc(arguments) => posterior_sbc::posterior_sbc(context, arguments),
        DiagnoseCommand::Reference(arguments) => reference::reference(context, arguments),
    }
}
