//! The two toy problems of the paper's Sec. 4.1, by name.

use super::{GaussianToy, MixtureModel};
use crate::Result;
use crate::schedule::LinearSchedule;
use crate::small_matrix::identity;
use serde::{Deserialize, Serialize};

/// A problem whose single posteriors and their scores are known in closed form, with prior N(0, I).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToyProblem {
    /// [`GaussianToy::paper`]: x ~ N(θ, (1-ρ) I + ρ 11ᵀ), ρ = 0.8.
    Gaussian,
    /// x ~ ½ N(θ, 2.25 Σ) + ½ N(θ, Σ/9), Σ = diag(0.6, …, 1.4).
    Mixture,
}

impl ToyProblem {
    /// Exact scores in m dimensions; with `knows_moments` also exact moments of single posteriors.
    ///
    /// # Errors
    /// When `m` is 0.
    pub fn model(self, m: usize, schedule: LinearSchedule, knows_moments: bool) -> Result<MixtureModel> {
        match self {
            Self::Gaussian => GaussianToy::paper(m).model(schedule, knows_moments),
            Self::Mixture => {
                let components = [2.25, 1.0 / 9.0].map(|scale| (0.5, diagonal(m, scale)));
                MixtureModel::new(&components, &vec![0.0; m], &identity(m), schedule, knows_moments)
            }
        }
    }
}

/// `scale` times diag(0.6, …, 1.4).
fn diagonal(m: usize, scale: f64) -> Vec<f64> {
    let mut out = vec![0.0; m * m];
    for i in 0..m {
        let position = if m == 1 { 0.5 } else { i as f64 / (m - 1) as f64 };
        out[i * m + i] = scale * (0.6 + 0.8 * position);
    }
    out
}
