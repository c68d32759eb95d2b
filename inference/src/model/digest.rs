//! What tells a model file that is as it was written from one that is not: SHA-256 over its description and its tensors.
//!
//! The digest stands in the description itself, with zeros in its place while it is taken. It is of the text, not of what is read from
//! it, so that a later version of this program, which may describe the same model in other words, can still verify it.

use crate::{InferenceError, Result};
use safetensors::SafeTensors;
use safetensors::tensor::View;
use sha2::{Digest, Sha256};

/// What stands where the digest will.
pub(super) const PLACEHOLDER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Puts the digest of `json`, which has a [`PLACEHOLDER`], and of the tensors into `json`.
pub(super) fn seal<V: View>(json: &str, tensors: &[(String, V)]) -> String {
    json.replacen(PLACEHOLDER, &digest(json, tensors), 1)
}

/// Checks a description against the digest that it gives.
///
/// # Errors
/// [`InferenceError::Model`] when they differ.
pub(super) fn verify(json: &str, given: &str, file: &SafeTensors<'_>) -> Result<()> {
    let expected = json.replacen(given, PLACEHOLDER, 1);
    if given.len() == PLACEHOLDER.len() && digest(&expected, &file.tensors()) == given {
        return Ok(());
    }
    Err(InferenceError::Model(
        "is damaged: its numbers do not have the digest they were written with; copy it again or train anew".into(),
    ))
}

fn digest<V: View>(json: &str, tensors: &[(String, V)]) -> String {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(json.as_bytes());
    let mut order: Vec<&(String, V)> = tensors.iter().collect();
    order.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, tensor) in order {
        part(name.as_bytes());
        part(format!("{:?} {:?}", tensor.dtype(), tensor.shape()).as_bytes());
        part(&tensor.data());
    }
    hex::encode(hasher.finalize())
}
