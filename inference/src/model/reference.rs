//! Networks of the paper's authors, converted to safetensors with their conventions in the metadata.
//!
//! ReLU without layer norm, the noise parametrisation with σ(t) = √(1 - α_t + e⁻¹⁶), standardised latent space (of log θ
//! where `theta_space` is "log"), features z-scored (of log x where `x_space` is "log"). `_cfg` networks know the prior's
//! score; networks for sets standardise per set position and append a one-hot set size.

use super::conditional::{ConditionalNetwork, ConditionalSpec, EmbeddingSpec};
use super::noise::NoiseSettings;
use super::observation_map::ObservationMap;
use super::trained::{ModelInfo, Networks, TrainedModel};
use crate::schedule::LinearSchedule;
use crate::{InferenceError, Result};
use safetensors::SafeTensors;
use std::collections::HashMap;
use tallsbi_data::{LatentMap, Prior};
use tallsbi_network::tensors::{infer_spec, read_mlp, read_tensor};
use tallsbi_network::{Activation, Mlp};

/// log of the variance offset the authors trained with.
const LOG_VARIANCE_OFFSET: f64 = -16.0;

/// Reads a reference network.
///
/// # Errors
/// [`InferenceError::Model`] when its metadata are not those of one.
pub(super) fn read(file: &SafeTensors<'_>, metadata: &HashMap<String, String>) -> Result<TrainedModel> {
    let get = |key: &str| {
        metadata.get(key).map(String::as_str).ok_or_else(|| {
            InferenceError::Model(format!(
                "is neither a tallsbi model nor a reference network: its metadata have no {key:?}"
            ))
        })
    };
    let prior = Prior::from_json(get("prior")?)?;
    let n_max: usize = number(get("n_max")?, "n_max")?;
    let frequencies: usize = number(get("n_freqs")?, "n_freqs")?;
    if get("activation")? != "relu" {
        return Err(InferenceError::Model("activation other than relu in a reference network".into()));
    }
    let part = |prefix: &str| -> Result<Option<Mlp<f32>>> {
        if file.tensor(&format!("{prefix}.0.weight")).is_err() {
            return Ok(None);
        }
        let spec = infer_spec(file, prefix, Activation::Relu, false)?;
        Ok(Some(read_mlp(file, prefix, spec)?))
    };
    let embedding = |mlp: &Option<Mlp<f32>>| {
        mlp.as_ref().map(|mlp| EmbeddingSpec { hidden: mlp.spec().hidden.clone(), output: mlp.spec().output })
    };
    let (theta_embedding, x_embedding) = (part("embed_theta")?, part("embed_x")?);
    let trunk = part("net")?.ok_or_else(|| InferenceError::Model("has no tensor \"net.0.weight\"".into()))?;
    let spec = ConditionalSpec {
        hidden: trunk.spec().hidden.clone(),
        activation: Activation::Relu,
        layer_norm: false,
        residual: false,
        frequencies,
        theta_embedding: embedding(&theta_embedding),
        x_embedding: embedding(&x_embedding),
        n_max,
    };
    spec.validate()?;
    let log_x = get("x_space")? == "log";
    let positions = standardisations(file, n_max, log_x)?;
    let dims = (prior.dim(), positions[0].dim());
    let (_, mean) = read_tensor(file, "theta_mean")?;
    let (_, sd) = read_tensor(file, "theta_std")?;
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    let logged = prior.log_coordinates().iter().all(|&log| log);
    if logged != (get("theta_space")? == "log") {
        return Err(InferenceError::Model("theta_space disagrees with the prior".into()));
    }
    let latent = LatentMap::standardized(&prior, wide(mean), wide(sd))?;
    let settings = NoiseSettings {
        schedule: LinearSchedule::default(),
        variance_offset: LOG_VARIANCE_OFFSET.exp(),
        knows_prior: get("variant")? == "clf_free_guidance",
    };
    let network = ConditionalNetwork::from_parts(spec, dims, theta_embedding, x_embedding, trunk)?;
    let info = ModelInfo {
        task: get("task")?.to_owned(),
        n_train: number(get("n_train")?, "n_train")?,
        provenance: serde_json::json!({ "reference_network": metadata.get("source") }),
        ..ModelInfo::default()
    };
    let observation_map = positions[0].clone();
    let positions = if n_max > 1 { positions } else { Vec::new() };
    Ok(TrainedModel { networks: Networks::Noise { network, positions, settings }, latent, observation_map, info })
}

/// Standardisation of each set position; `x_mean` is (d) for single observations, (n_max, d) for sets.
fn standardisations(file: &SafeTensors<'_>, n_max: usize, log: bool) -> Result<Vec<ObservationMap>> {
    let (shape, mean) = read_tensor(file, "x_mean")?;
    let (sd_shape, sd) = read_tensor(file, "x_std")?;
    let d = shape.last().copied().unwrap_or(0);
    if shape != sd_shape || d == 0 || n_max.checked_mul(d) != Some(mean.len()) {
        return Err(InferenceError::Model(format!(
            "x_mean has shape {shape:?} and x_std {sd_shape:?}, expected {n_max} standardisation(s) in both"
        )));
    }
    Ok(mean
        .chunks_exact(d)
        .zip(sd.chunks_exact(d))
        .map(|(mean, sd)| ObservationMap { log, ..ObservationMap::standardize(mean.to_vec(), sd.to_vec()) })
        .collect())
}

fn number(text: &str, key: &str) -> Result<usize> {
    text.parse().map_err(|_| InferenceError::Model(format!("metadata {key:?} is {text:?}, expected a number")))
}
