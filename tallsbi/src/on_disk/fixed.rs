//! A model file some of whose parameters are known.

use super::load_model;
use crate::{Error, Result, Session};
use serde_json::json;
use std::path::Path;
use tallsbi_files::{Existing, OutputFile};
use tallsbi_inference::model::TrainedModel;

/// Writes into `output` the model in the file `model` where each of `known` = (parameter, value) is known ([`TrainedModel::with_fixed`]).
///
/// # Errors
/// When files cannot be read or written, or a parameter cannot be fixed.
pub fn fix_file(
    session: &Session<'_>,
    model: &Path,
    known: &[(String, f64)],
    output: &Path,
    existing: Existing,
) -> Result<TrainedModel> {
    OutputFile::check(output, existing)?;
    let about = |error| Error::from(error).about(model.display());
    let mut fixed = load_model(model)?.with_fixed(known).map_err(about)?;
    let mut provenance = json!(session.provenance(&fixed.info.task).with_parent(model)?);
    provenance["options"] = json!({ "fix": known });
    fixed.info.provenance = provenance;
    OutputFile::write(output, existing, &fixed.to_bytes())?;
    Ok(fixed)
}
