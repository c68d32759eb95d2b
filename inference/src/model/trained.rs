//! A trained model as one value: networks, maps and the record of their training.

use super::anchored::{AnchoredModel, AnchoredSettings};
use super::believed::NetworkError;
use super::conditional::ConditionalNetwork;
use super::density::MixtureLayout;
use super::likelihood::{Conditioned, LikelihoodModel};
use super::location::Moved;
use super::mean_scores::MeanScores;
use super::noise::{NoiseModel, NoiseSettings};
use super::observation_map::ObservationMap;
use super::simulated::Region;
use crate::notes::Note;
use crate::refine::RefinedModel;
use serde::{Deserialize, Serialize};
use tallsbi_data::{LatentMap, Location, SignalWindow, Symmetry};
use tallsbi_network::Mlp;

/// Networks of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Networks {
    /// The published architecture.
    Noise {
        /// The network.
        network: ConditionalNetwork,
        /// Standardisation per set position (reference networks for sets), or empty.
        positions: Vec<ObservationMap>,
        /// Schedule and conventions.
        settings: NoiseSettings,
    },
    /// The Gaussian-anchored architecture.
    Anchored {
        /// x → mean and precision factor.
        anchor: Mlp<f32>,
        /// What is not Gaussian.
        residual: ConditionalNetwork,
        /// Schedule and noise range.
        settings: AnchoredSettings,
    },
    /// The likelihood.
    Likelihood {
        /// θ and conditions → mixture of x; the outputs of several are averaged.
        members: Vec<Mlp<f32>>,
        /// What its outputs are.
        layout: MixtureLayout,
        /// Maps of the latent θ that leave the likelihood as it is: the networks see one point of each orbit.
        symmetry: Symmetry,
        /// θ → log-odds that all observations of a row succeed, where that depends on θ.
        success: Option<Success>,
        /// Where simulations were, if not over the whole prior.
        region: Option<Region>,
        /// Parameters that only move x, which the networks do not see.
        locations: Vec<Location>,
        /// The law of its mean scores at the observations it was refined at, whose posterior this gives.
        mean_scores: Option<Box<MeanScores>>,
    },
    /// Likelihoods in closed form around the posterior of given observations.
    Refined(RefinedModel),
}

/// The probability p(z) = 1/(1 + e^-f(z)) that a row of simulations succeeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Success {
    /// f.
    pub network: Mlp<f32>,
    /// Observations a row had in training, K: one succeeds with probability p^(1/K).
    pub observations: usize,
}

/// Loss curves and outcome of one network's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// Which network: "anchor", "residual", "noise", "likelihood, ...".
    pub network: String,
    /// Learning rate after warm-up.
    #[serde(default)]
    pub learning_rate: f64,
    /// Rows a step.
    #[serde(default)]
    pub batch_size: usize,
    /// Whether the model uses it, or another validated better.
    #[serde(default = "kept")]
    pub kept: bool,
    /// Epoch whose weights were kept, from 1.
    pub best_epoch: usize,
    /// Its validation loss.
    pub best_validation_loss: f64,
    /// Mean training loss of each epoch.
    pub training_loss: Vec<f64>,
    /// Validation loss of each epoch.
    pub validation_loss: Vec<f64>,
}

/// Models of version 0.1.0 did not say.
fn kept() -> bool {
    true
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Everything a model file holds beside weights and maps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelInfo {
    /// Task name, or "".
    pub task: String,
    /// Names of the outputs x.
    pub observation_names: Vec<String>,
    /// How many of the leading values of an observation are conditions: known quantities that it was made under, which the model does not explain.
    #[serde(skip_serializing_if = "is_zero")]
    pub conditions: usize,
    /// Parameters of the task that are known, with their values: they are none of the model's ([`TrainedModel::with_fixed`]).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<(String, f64)>,
    /// The stretch of a signal that an observation summarises, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_window: Option<SignalWindow>,
    /// Parameters trained on (validation included).
    pub n_train: usize,
    /// Loss curves.
    pub training: Vec<TrainingRecord>,
    /// Lowest and highest standardised value of each column over the training rows; empty if unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub range: Vec<[f32; 2]>,
    /// What was noticed in the training set and in training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The error of a likelihood's networks, if held-out rows told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<NetworkError>,
    /// Seconds of training.
    pub training_seconds: f64,
    /// Options, seed, command, parents: free JSON written by the command line.
    pub provenance: serde_json::Value,
}

/// A trained score model with its maps; sampling goes through [`TrainedModel::prepare`].
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedModel {
    /// The networks.
    pub networks: Networks,
    /// θ to latent.
    pub latent: LatentMap,
    /// x to network inputs.
    pub observation_map: ObservationMap,
    /// What it is and how it came about.
    pub info: ModelInfo,
}

/// A model ready to be sampled from.
#[derive(Debug, Clone)]
pub enum PreparedModel {
    /// Predicts noise.
    Noise(NoiseModel),
    /// Gaussian-anchored.
    Anchored(AnchoredModel),
    /// A likelihood.
    Likelihood(LikelihoodModel),
    /// A refined likelihood.
    Refined(RefinedModel),
}

impl TrainedModel {
    /// m.
    pub fn dim_theta(&self) -> usize {
        self.latent.dim()
    }

    /// d, conditions included.
    pub fn dim_x(&self) -> usize {
        self.observation_map.dim()
    }

    /// The map of what is observed, without conditions.
    pub fn measured_map(&self) -> ObservationMap {
        self.observation_map.columns(self.info.conditions..self.dim_x())
    }

    /// Name of the architecture.
    pub fn architecture(&self) -> &'static str {
        match self.networks {
            Networks::Noise { .. } => "noise",
            Networks::Anchored { .. } => "anchored",
            Networks::Likelihood { .. } => "likelihood",
            Networks::Refined(_) => "refined",
        }
    }

    /// Whether its likelihood has an [error that observations share](super::shared) in it.
    pub fn shares_error(&self) -> bool {
        matches!(&self.networks, Networks::Likelihood { layout, .. } if layout.shared)
    }

    /// The law of its mean scores, where it was refined by these.
    pub fn mean_scores(&self) -> Option<&MeanScores> {
        match &self.networks {
            Networks::Likelihood { mean_scores, .. } => mean_scores.as_deref(),
            _ => None,
        }
    }

    /// How many observations it was refined at, if it was.
    pub fn refined_at(&self) -> Option<usize> {
        match &self.networks {
            Networks::Refined(model) => Some(model.n_obs),
            _ => self.mean_scores().map(|scores| scores.law.n_obs),
        }
    }

    /// Networks whose outputs are averaged.
    pub fn members(&self) -> usize {
        match &self.networks {
            Networks::Likelihood { members, .. } => members.len(),
            _ => 1,
        }
    }

    /// Packs the weights for evaluation.
    pub fn prepare(&self) -> PreparedModel {
        let map = self.observation_map.clone();
        match &self.networks {
            Networks::Noise { network, positions, settings } => {
                PreparedModel::Noise(NoiseModel::new(network, map, positions.clone(), *settings))
            }
            Networks::Anchored { anchor, residual, settings } => {
                PreparedModel::Anchored(AnchoredModel::new(anchor, residual, map, *settings))
            }
            Networks::Likelihood { members, layout, symmetry, success, region, locations, mean_scores: _ } => {
                let moved =
                    Moved::all(locations, &self.latent, &self.measured_map()).expect("checked when it was made");
                let model = LikelihoodModel::with_conditions(
                    members,
                    *layout,
                    symmetry.clone(),
                    Conditioned::new(map, self.info.conditions),
                );
                let model = model.moved_by(&moved).with_success(success.as_ref());
                PreparedModel::Likelihood(model.within(region.as_ref()))
            }
            Networks::Refined(model) => PreparedModel::Refined(model.clone()),
        }
    }
}
