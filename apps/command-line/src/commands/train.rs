//! `tallsbi train`.

pub use super::train_arguments::TrainArguments;
use crate::context::{Context, RESUME, resumable};
use crate::notes::{tell, words};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use tallsbi::inference::model::TrainedModel;
use tallsbi::on_disk::{Limits, train_file};

/// Runs the command.
pub fn run(context: &Context, arguments: &TrainArguments) -> Result<()> {
    let mut options = arguments.options()?;
    if arguments.show_config {
        return context.print(toml::to_string(&options)?.trim_end(), || json!(options));
    }
    arguments.declare_symmetry(&mut options)?;
    let output = &arguments.output.output;
    let limits = Limits { rows: arguments.rows, memory: arguments.memory.map(|mebibytes| mebibytes << 20) };
    let bars = context.monitor();
    let session = context.session(&bars);
    let trained = train_file(&session, &arguments.data, limits, &options, output, arguments.output.existing());
    report(context, output, &resumable(trained, RESUME)?)
}

fn report(context: &Context, output: &Path, model: &TrainedModel) -> Result<()> {
    let path = output.display();
    let lines: Vec<String> = model
        .info
        .training
        .iter()
        .map(|record| {
            format!(
                "  {}: validation loss {:.5} in epoch {} of {}{}",
                record.network,
                record.best_validation_loss,
                record.best_epoch,
                record.validation_loss.len(),
                if record.kept { "" } else { " (not kept: another validates better or is simpler)" }
            )
        })
        .collect();
    let mut lines = lines;
    lines.extend(tell(model, &model.info.notes));
    let text = format!(
        "{path}: {} model of {} parameters from {} values, {} rows, {:.1} s\n{}",
        model.architecture(),
        model.dim_theta(),
        model.dim_x(),
        model.info.n_train,
        model.info.training_seconds,
        lines.join("\n")
    );
    context.print(text, || {
        let training: Vec<Value> = model
            .info
            .training
            .iter()
            .map(|r| {
                json!({
                    "network": r.network,
                    "best_epoch": r.best_epoch,
                    "epochs": r.validation_loss.len(),
                    "best_validation_loss": r.best_validation_loss,
                    "learning_rate": r.learning_rate,
                    "batch_size": r.batch_size,
                    "kept": r.kept,
                })
            })
            .collect();
        json!({
            "path": path.to_string(),
            "architecture": model.architecture(),
            "dim_theta": model.dim_theta(),
            "dim_x": model.dim_x(),
            "rows": model.info.n_train,
            "seconds": model.info.training_seconds,
            "training": training,
            "notes": model.info.notes.iter().map(|note| words(model, note)).collect::<Vec<_>>(),
        })
    })
}
