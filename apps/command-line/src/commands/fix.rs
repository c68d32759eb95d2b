//! `tallsbi fix`.

use super::known_value;
use super::output_arguments::OutputArguments;
use crate::context::Context;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tallsbi::on_disk::fix_file;

/// Take parameters of a trained model for known
///
/// The result is the model's likelihood of the other parameters, exactly and without training: what the data tell where a
/// parameter is known from elsewhere. Models of the likelihood only.
///
/// Example: tallsbi fix model.safetensors g=0 -o calibrated.safetensors
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct FixArguments {
    /// Model
    pub model: PathBuf,
    /// Parameters with their values
    #[arg(required = true, value_name = "NAME=VALUE")]
    pub known: Vec<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// Runs the command.
pub fn run(context: &Context, arguments: &FixArguments) -> Result<()> {
    let known = arguments.known.iter().map(|text| known_value("fix", text)).collect::<Result<Vec<_>>>()?;
    let (output, bars) = (&arguments.output.output, context.monitor());
    let model = fix_file(&context.session(&bars), &arguments.model, &known, output, arguments.output.existing())?;
    let (path, left) = (output.display().to_string(), model.latent.prior().names());
    context.print(
        format!("{path}: the likelihood of {}", left.join(", ")),
        || json!({ "path": path, "parameters": left, "fixed": model.info.fixed }),
    )
}
