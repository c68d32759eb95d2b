//! `tallsbi inspect`.

use crate::context::Context;
use crate::notes::words;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;
use tallsbi::files::{Contents, Format};
use tallsbi::inference::model::TrainedModel;
use tallsbi::on_disk::load_model;

/// Say what a file is: kind, shapes, provenance, digest of its contents
///
/// Reads training sets, observations, posteriors, models (safetensors), and any other HDF5 or netCDF-4 file. The digest is
/// over the numbers alone: files with equal digests hold the same data, whenever and by whatever command they were made.
///
/// Example: tallsbi inspect train.h5 --json | jq -r .digest
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// File
    pub file: PathBuf,
}

/// Characters of an attribute that are shown without --json.
const SHOWN: usize = 300;

/// Runs the command.
pub fn run(context: &Context, arguments: &InspectArguments) -> Result<()> {
    let contents = Contents::read(&arguments.file)?;
    // Safetensors files that are no models are described as they are.
    let model = (contents.format == Format::Safetensors).then(|| load_model(&arguments.file).ok()).flatten();
    context.print(describe(arguments, &contents, model.as_ref()), || {
        let mut value = json!(contents);
        if let Some(model) = &model {
            value["model"] = json!({
                "architecture": model.architecture(),
                "dim_theta": model.dim_theta(),
                "dim_x": model.dim_x(),
                "latent": model.latent,
                "refined_at": model.refined_at(),
                "info": model.info,
            });
        }
        value["path"] = arguments.file.display().to_string().into();
        value
    })
}

/// What a model is, a line each.
fn describe_model(model: &TrainedModel) -> String {
    let info = &model.info;
    let mut text = format!(
        "\n  {} model for task {:?}: {} parameters ({}) from {} values, trained on {} rows in {:.1} s",
        model.architecture(),
        info.task,
        model.dim_theta(),
        model.latent.prior().names().join(", "),
        model.dim_x(),
        info.n_train,
        info.training_seconds
    );
    if !info.fixed.is_empty() {
        let known: Vec<String> = info.fixed.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        text += &format!("\n  with {} known", known.join(", "));
    }
    if let Some(scores) = model.mean_scores() {
        let like = scores
            .design
            .as_ref()
            .map_or("", |_| ", for others under the same conditions, of which the same values are missing");
        text += &format!("\n  refined by its mean scores at {} observations{like}", scores.law.n_obs);
    }
    for record in &info.training {
        let (loss, epoch) = (record.best_validation_loss, record.best_epoch);
        text += &format!(
            "\n  {}: validation loss {loss:.5} in epoch {epoch} of {}",
            record.network,
            record.validation_loss.len()
        );
    }
    for note in &info.notes {
        text += &format!("\n  {}", words(model, note));
    }
    if let Some(command) = info.provenance["command"].as_str() {
        let created = info.provenance["created"].as_str().unwrap_or("some time ago");
        let on = on(info.provenance["instruction_set"].as_str().unwrap_or_default());
        text += &format!("\n  made {created}{on}: {command}");
    }
    text
}

/// Vector instructions that a file was made with, where it says so.
fn on(instruction_set: &str) -> String {
    if instruction_set.is_empty() { String::new() } else { format!(" with {instruction_set}") }
}

/// How R-hat and effective sample sizes of a posterior of ours are to be read, as a line; nothing of Markov chains, whose own are among the attributes.
fn how_to_read(contents: &Contents) -> &'static str {
    let chains =
        contents.arrays.iter().find(|array| array.name == "posterior/chain").and_then(|array| array.shape.first());
    match chains {
        _ if contents.attributes.get("method").is_some_and(|method| method == "reference") => "",
        Some(1) => {
            "  one chain, of the particles of a single run: R-hat cannot see what all of them missed, and the effective sample size is about their number; sample --chains 4 compares independent runs\n"
        }
        Some(_) => {
            "  each chain is a run of its own: R-hat compares them, and effective sample sizes count what they agree on\n"
        }
        None => "",
    }
}

fn describe(arguments: &InspectArguments, contents: &Contents, model: Option<&TrainedModel>) -> String {
    let mut text = format!("{}: {}", arguments.file.display(), contents.description());
    text += &model.map(describe_model).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = match &contents.provenance {
        None => writeln!(text),
        Some(p) => write!(
            text,
            "\n  made {} by tallsbi {}{}: {}\n  task {:?}, seed {}\n",
            p.created,
            p.version,
            on(&p.instruction_set),
            p.command,
            p.task,
            p.seed
        ),
    };
    for parent in contents.provenance.iter().flat_map(|p| &p.parents) {
        let _ = writeln!(text, "  from {} (sha256 {})", parent.path, parent.sha256);
    }
    // A model's attributes are the long form of what has been said.
    for (name, value) in contents.attributes.iter().filter(|_| model.is_none()) {
        let mut shown: String = value.chars().take(SHOWN).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        let _ = writeln!(text, "  {name}: {shown}");
    }
    for array in &contents.arrays {
        let shape: Vec<String> = array.shape.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  {} ({}) {}", array.name, shape.join(", "), array.dtype);
    }
    let _ = write!(text, "{}", contents.kind.map(|_| how_to_read(contents)).unwrap_or_default());
    let _ = write!(text, "  digest of the contents: {}", contents.digest);
    text
}
