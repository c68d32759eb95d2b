//! Model files: safetensors, readable from Python as they are.
//!
//! Tensors are named `{network}.{layer}.{weight|bias|norm_weight|norm_bias}` with the networks `net` (the trunk),
//! `embed_theta`, `embed_x`, `anchor`, `likelihood_{k}` and `success`; everything else is JSON under the metadata key [`METADATA_KEY`]. One key, because
//! safetensors writes several in no fixed order, and the same training must give the same bytes.

use super::anchored::AnchoredSettings;
use super::checks;
use super::conditional::{ConditionalNetwork, ConditionalSpec};
use super::density::MixtureLayout;
use super::digest;
use super::mean_scores::{MeanScores, ScorePoints};
use super::noise::NoiseSettings;
use super::observation_map::ObservationMap;
use super::reference;
use super::simulated::Region;
use super::trained::{ModelInfo, Networks, Success, TrainedModel};
use crate::refine::RefinedDescription;
use crate::{InferenceError, Result};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tallsbi_data::{LatentMap, Location, SignedPermutation, Symmetry};
use tallsbi_network::MlpSpec;
use tallsbi_network::tensors::{TensorData, mlp_tensors, read_mlp};

/// Metadata key of the JSON description.
pub const METADATA_KEY: &str = "tallsbi_model";

/// Version of the description's layout.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// SHA-256, see [`digest`]; files of version 0.1.0 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    format: u32,
    tallsbi_version: String,
    architecture: ArchitectureDescription,
    latent: LatentMap,
    observation_map: ObservationMap,
    info: ModelInfo,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum ArchitectureDescription {
    Noise {
        network: ConditionalSpec,
        settings: NoiseSettings,
        positions: Vec<ObservationMap>,
    },
    Anchored {
        anchor: MlpSpec,
        network: ConditionalSpec,
        settings: AnchoredSettings,
    },
    Likelihood {
        network: MlpSpec,
        members: usize,
        layout: MixtureLayout,
        /// Elements but the identity.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        symmetries: Vec<SignedPermutation>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        success: Option<SuccessDescription>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<Region>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        locations: Vec<Location>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mean_scores: Option<MeanScoresDescription>,
    },
    Refined {
        refinement: RefinedDescription,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuccessDescription {
    network: MlpSpec,
    observations: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MeanScoresDescription {
    summary: ScorePoints,
    law: RefinedDescription,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    design: Option<String>,
}

impl MeanScoresDescription {
    fn new(of: &MeanScores) -> Self {
        Self { summary: of.summary.clone(), law: of.law.describe(), design: of.design.clone() }
    }

    /// Of a model of `m` parameters.
    fn read(self, m: usize) -> Result<Box<MeanScores>> {
        let Self { summary, law, design } = self;
        if !summary.is_valid(m) {
            return Err(InferenceError::Model("the points of its mean scores are damaged; refine again".into()));
        }
        Ok(Box::new(MeanScores { summary, law: law.model(m, m)?, design }))
    }
}

impl TrainedModel {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut tensors: Vec<(String, TensorData)> = Vec::new();
        let architecture = match &self.networks {
            Networks::Noise { network, positions, settings } => {
                tensors.extend(conditional_tensors(network));
                ArchitectureDescription::Noise {
                    network: network.spec().clone(),
                    settings: *settings,
                    positions: positions.clone(),
                }
            }
            Networks::Anchored { anchor, residual, settings } => {
                tensors.extend(conditional_tensors(residual));
                tensors.extend(mlp_tensors(anchor, "anchor"));
                ArchitectureDescription::Anchored {
                    anchor: anchor.spec().clone(),
                    network: residual.spec().clone(),
                    settings: *settings,
                }
            }
            Networks::Likelihood { members, layout, symmetry, success, region, locations, mean_scores } => {
                for (index, member) in members.iter().enumerate() {
                    tensors.extend(mlp_tensors(member, &format!("likelihood_{index}")));
                }
                tensors.extend(success.iter().flat_map(|success| mlp_tensors(&success.network, "success")));
                ArchitectureDescription::Likelihood {
                    network: members[0].spec().clone(),
                    members: members.len(),
                    layout: *layout,
                    symmetries: symmetry.elements()[1..].to_vec(),
                    success: success.as_ref().map(|success| SuccessDescription {
                        network: success.network.spec().clone(),
                        observations: success.observations,
                    }),
                    region: region.clone(),
                    locations: locations.clone(),
                    mean_scores: mean_scores.as_deref().map(MeanScoresDescription::new),
                }
            }
            Networks::Refined(model) => ArchitectureDescription::Refined { refinement: model.describe() },
        };
        let description = Description {
            digest: Some(digest::PLACEHOLDER.to_owned()),
            format: FORMAT,
            tallsbi_version: env!("CARGO_PKG_VERSION").to_owned(),
            architecture,
            latent: self.latent.clone(),
            observation_map: self.observation_map.clone(),
            info: self.info.clone(),
        };
        let json = serde_json::to_string(&description).expect("plain numbers and strings serialise");
        let json = digest::seal(&json, &tensors);
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), json)]);
        safetensors::serialize(tensors, Some(metadata)).expect("names are distinct and sizes fit")
    }

    /// A model from a file's bytes: one of ours, or a reference network of the paper's authors (their
    /// conventions are in their metadata).
    ///
    /// # Errors
    /// [`InferenceError::Model`] when it is neither, or is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = |error: safetensors::SafeTensorError| {
            InferenceError::Model(format!(
                "is not a safetensors file or is truncated ({error}); give one that `tallsbi train` wrote"
            ))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let Some(json) = metadata.get(METADATA_KEY) else {
            let model = reference::read(&file, &metadata)?;
            checks::check(&model)?;
            return Ok(model);
        };
        let description: Description = serde_json::from_str(json).map_err(|error| {
            InferenceError::Model(format!(
                "its description cannot be read ({error}); was it written by a newer tallsbi?"
            ))
        })?;
        if description.format != FORMAT {
            return Err(InferenceError::Model(format!(
                "has format {}, this tallsbi reads format {FORMAT}; use the version that wrote it ({})",
                description.format, description.tallsbi_version
            )));
        }
        if let Some(given) = &description.digest {
            digest::verify(json, given, &file)?;
        }
        let dims = (description.latent.dim(), description.observation_map.dim());
        checks::check_widths(dims.0, dims.1)?;
        let networks = match description.architecture {
            ArchitectureDescription::Noise { network, settings, positions } => {
                Networks::Noise { network: conditional(&file, network, dims)?, positions, settings }
            }
            ArchitectureDescription::Anchored { anchor, network, settings } => Networks::Anchored {
                anchor: read_mlp(&file, "anchor", anchor)?,
                residual: conditional(&file, network, dims)?,
                settings,
            },
            ArchitectureDescription::Likelihood {
                network,
                members,
                layout,
                symmetries,
                success,
                region,
                locations,
                mean_scores,
            } => {
                let conditions = description.info.conditions;
                checks::check_map(&description.observation_map, "observation_map")?;
                checks::check_conditions(conditions, dims.1)?;
                checks::check_layout(&layout, &description.observation_map.columns(conditions..dims.1))?;
                let inputs = dims.0 + conditions;
                if (network.input, network.output) != (inputs, layout.outputs()) || members == 0 {
                    return Err(InferenceError::Model("its likelihood network does not fit its maps".into()));
                }
                let read = |index| read_mlp(&file, &format!("likelihood_{index}"), network.clone());
                let members = (0..members).map(read).collect::<std::result::Result<_, _>>()?;
                // All elements but the identity are listed: what generates more of them is damaged.
                let symmetry = Symmetry::generated_within(dims.0, &symmetries, symmetries.len() + 1)?
                    .filter(|group| group.order() == symmetries.len() + 1)
                    .ok_or_else(|| InferenceError::Model("its symmetries are not a group".into()))?;
                let success = success.map(|success| read_success(&file, success, inputs)).transpose()?;
                if region.as_ref().is_some_and(|region| !region.is_valid(dims.0)) {
                    return Err(InferenceError::Model("the region that it was trained in is damaged".into()));
                }
                let mean_scores = mean_scores.map(|described| described.read(dims.0)).transpose()?;
                Networks::Likelihood { members, layout, symmetry, success, region, locations, mean_scores }
            }
            ArchitectureDescription::Refined { refinement } => Networks::Refined(refinement.model(dims.0, dims.1)?),
        };
        let model = Self {
            networks,
            latent: description.latent,
            observation_map: description.observation_map,
            info: description.info,
        };
        checks::check(&model)?;
        Ok(model)
    }
}

fn read_success(file: &SafeTensors<'_>, description: SuccessDescription, inputs: usize) -> Result<Success> {
    let SuccessDescription { network, observations } = description;
    if (network.input, network.output) != (inputs, 1) || observations == 0 {
        return Err(InferenceError::Model("its network of the probability of success does not fit its maps".into()));
    }
    Ok(Success { network: read_mlp(file, "success", network)?, observations })
}

fn conditional_tensors(network: &ConditionalNetwork) -> Vec<(String, TensorData)> {
    let mut tensors = mlp_tensors(&network.trunk, "net");
    for (prefix, part) in [("embed_theta", &network.theta_embedding), ("embed_x", &network.x_embedding)] {
        tensors.extend(part.iter().flat_map(|part| mlp_tensors(part, prefix)));
    }
    tensors
}

fn conditional(file: &SafeTensors<'_>, spec: ConditionalSpec, dims: (usize, usize)) -> Result<ConditionalNetwork> {
    let (m, d) = dims;
    spec.validate()?;
    let embedding = |prefix: &str, embedding: &Option<super::EmbeddingSpec>, input| {
        embedding.as_ref().map(|e| read_mlp(file, prefix, spec.embedding_spec(e, input))).transpose()
    };
    let theta_embedding = embedding("embed_theta", &spec.theta_embedding, m)?;
    let x_embedding = embedding("embed_x", &spec.x_embedding, d)?;
    let trunk = read_mlp(file, "net", ConditionalNetwork::trunk_spec(&spec, m, d))?;
    ConditionalNetwork::from_parts(spec, dims, theta_embedding, x_embedding, trunk)
}
