//! Score networks: their definition, their evaluation, their files.

pub mod anchored;
pub mod cells;
mod checks;
pub mod conditional;
pub mod density;
mod digest;
mod failures;
mod file;
pub mod lapse;
pub mod likelihood;
pub mod missing;
pub mod mixed;
pub(crate) mod moments;
pub mod noise;
pub mod observation_map;
mod observed;
mod outside;
mod reference;
mod region;
mod simulated;
mod surprise;
pub mod tails;
mod tile;
pub mod trained;

pub use anchored::{AnchoredModel, AnchoredSettings};
pub use conditional::{ConditionalNetwork, ConditionalSpec, EmbeddingSpec};
pub use density::{Covariance, MixtureLayout};
pub use failures::Failures;
pub use lapse::{Lapse, Lapsing};
pub use likelihood::{Conditioned, LikelihoodModel};
pub use noise::{NoiseModel, NoiseSettings};
pub use observation_map::ObservationMap;
pub use simulated::Region;
pub use trained::{ModelInfo, Networks, PreparedModel, Success, TrainedModel, TrainingRecord};
