//! The published architecture: a network that predicts the noise, ε(θ_t, x, t) = -√v_t s(θ_t, x, t) (paper App. E).

use super::conditional::{ConditionalEngine, ConditionalNetwork, TILE_ROWS};
use super::observation_map::ObservationMap;
use super::tile::{Groups, TileBuffers, sum_shares};
use crate::schedule::{LinearSchedule, NoiseSchedule};
use crate::score::{Pair, ScoreContext, ScoreModel};
use crate::{InferenceError, Result};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_network::FirstTangents;

/// What turns noise into scores, beside the network itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseSettings {
    /// The forward process.
    pub schedule: LinearSchedule,
    /// Added to v_t under the root: σ(t) = √(v_t + offset). The reference networks were trained with e⁻¹⁶; ours with 0.
    pub variance_offset: f64,
    /// Whether contexts were dropped in training, so that "no observation" (all features 0) gives the prior's score.
    pub knows_prior: bool,
}

impl Default for NoiseSettings {
    fn default() -> Self {
        Self { schedule: LinearSchedule::default(), variance_offset: 0.0, knows_prior: false }
    }
}

/// A noise-predicting score network ready to be sampled from. Implements [`ScoreModel`].
#[derive(Debug, Clone)]
pub struct NoiseModel {
    engine: ConditionalEngine,
    map: ObservationMap,
    /// Standardisation per set position, (n_max, d), of reference networks for sets; empty otherwise.
    positions: Vec<ObservationMap>,
    settings: NoiseSettings,
    dim_theta: usize,
    n_max: usize,
}

impl NoiseModel {
    /// Prepares a network; `positions` are standardisations per set position, or empty to use `map` for all.
    pub fn new(
        network: &ConditionalNetwork,
        map: ObservationMap,
        positions: Vec<ObservationMap>,
        settings: NoiseSettings,
    ) -> Self {
        Self {
            engine: ConditionalEngine::new(network),
            map,
            positions,
            settings,
            dim_theta: network.dim_theta(),
            n_max: network.spec().n_max,
        }
    }

    /// σ(t), the scale between noise and score.
    pub fn noise_scale(&self, t: f64) -> f64 {
        (self.settings.schedule.variance(t) + self.settings.variance_offset).sqrt()
    }

    fn features(&self, x: ArrayView2<'_, f32>) -> Result<Vec<f32>> {
        if self.positions.is_empty() {
            return self.map.features(x);
        }
        let mut features = Vec::with_capacity(x.len());
        for (row, values) in x.outer_iter().enumerate() {
            let map = &self.positions[row % self.n_max];
            let single = map.features(values.insert_axis(ndarray::Axis(0))).map_err(|error| match error {
                InferenceError::ObservationNotFinite { .. } => InferenceError::ObservationNotFinite { row },
                other => other,
            })?;
            features.extend(single);
        }
        Ok(features)
    }
}

/// Observations as the network's first layer sees them.
#[derive(Debug, Clone)]
pub struct NoiseContext {
    groups: Groups,
    x: Vec<f32>,
}

impl ScoreContext for NoiseContext {
    fn groups(&self) -> usize {
        self.groups.groups()
    }

    fn factors(&self, group: usize) -> Range<usize> {
        self.groups.factors(group)
    }
}

/// Buffers of one worker.
#[derive(Debug, Clone)]
pub struct NoiseWorkspace {
    theta: Vec<f32>,
    theta_share: Vec<f32>,
    time_share: Vec<f32>,
    tangents: Option<Vec<f32>>,
    gathered: Vec<f32>,
    noise_scale: f64,
    tile: TileBuffers,
}

impl ScoreModel for NoiseModel {
    type Context = NoiseContext;
    type Workspace = NoiseWorkspace;

    fn dim_theta(&self) -> usize {
        self.dim_theta
    }

    fn dim_x(&self) -> usize {
        self.map.dim()
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        &self.settings.schedule
    }

    fn context(&self, groups: &[ArrayView2<'_, f32>]) -> Result<NoiseContext> {
        let mut features = Vec::new();
        let mut sizes = Vec::new();
        for x in groups {
            features.extend(self.features(x.view())?);
            let n = x.nrows();
            sizes.extend((0..n).step_by(self.n_max).map(|start| self.n_max.min(n - start)));
        }
        let counts = groups.iter().map(|x| x.nrows().div_ceil(self.n_max));
        Ok(NoiseContext { groups: Groups::new(counts), x: self.engine.project_x(&features, &sizes) })
    }

    fn workspace(&self, max_particles: usize) -> NoiseWorkspace {
        let width = self.engine.width();
        NoiseWorkspace {
            theta: Vec::with_capacity(max_particles * self.dim_theta),
            theta_share: Vec::with_capacity(max_particles * width),
            time_share: vec![0.0; width],
            tangents: None,
            gathered: Vec::new(),
            noise_scale: 1.0,
            tile: TileBuffers::new(&self.engine),
        }
    }

    fn begin(&self, theta: &[f64], t: f64, workspace: &mut NoiseWorkspace) {
        let rows = theta.len() / self.dim_theta;
        workspace.theta.clear();
        workspace.theta.extend(theta.iter().map(|&value| value as f32));
        workspace.theta_share.resize(rows * self.engine.width(), 0.0);
        self.engine.project_theta(&workspace.theta, &mut workspace.theta_share);
        self.engine.project_time(t, &mut workspace.time_share);
        workspace.tangents = None;
        workspace.noise_scale = self.noise_scale(t);
    }

    fn scores(&self, context: &NoiseContext, pairs: &[Pair], workspace: &mut NoiseWorkspace, out: &mut [f64]) {
        let width = self.engine.width();
        for (pairs, out) in pairs.chunks(TILE_ROWS).zip(out.chunks_mut(TILE_ROWS * self.dim_theta)) {
            let NoiseWorkspace { theta_share, time_share, noise_scale, tile, .. } = workspace;
            let target = tile.preactivations(pairs.len(), width);
            sum_shares(pairs, (theta_share, true), &context.x, time_share, target);
            let noise = tile.forward(&self.engine, pairs.len());
            out.iter_mut().zip(noise).for_each(|(score, &noise)| *score = -f64::from(noise) / *noise_scale);
        }
    }

    fn scores_and_jacobians(
        &self,
        context: &NoiseContext,
        pairs: &[Pair],
        workspace: &mut NoiseWorkspace,
        out: &mut [f64],
        jacobians: &mut [f64],
    ) {
        let (m, width) = (self.dim_theta, self.engine.width());
        let NoiseWorkspace { theta, theta_share, time_share, tangents, gathered, noise_scale, tile } = workspace;
        let tangents = tangents.get_or_insert_with(|| self.engine.theta_tangents(theta));
        let tiles = out.chunks_mut(TILE_ROWS * m).zip(jacobians.chunks_mut(TILE_ROWS * m * m));
        for (pairs, (out, jacobians)) in pairs.chunks(TILE_ROWS).zip(tiles) {
            let target = tile.preactivations(pairs.len(), width);
            sum_shares(pairs, (theta_share, true), &context.x, time_share, target);
            let first = if self.engine.theta_embedding.is_none() {
                FirstTangents::Shared(tangents.as_slice())
            } else {
                let block = m * width;
                gathered.clear();
                for pair in pairs {
                    let start = pair.particle as usize * block;
                    gathered.extend_from_slice(&tangents[start..start + block]);
                }
                FirstTangents::PerRow(gathered.as_slice())
            };
            let (noise, noise_tangents) = tile.tangent(&self.engine, pairs.len(), first);
            out.iter_mut().zip(noise).for_each(|(score, &noise)| *score = -f64::from(noise) / *noise_scale);
            for (jacobian, tangent) in jacobians.chunks_exact_mut(m * m).zip(noise_tangents.chunks_exact(m * m)) {
                for a in 0..m {
                    for b in 0..m {
                        jacobian[a * m + b] = -f64::from(tangent[b * m + a]) / *noise_scale;
                    }
                }
            }
        }
    }

    fn null_context(&self) -> Option<NoiseContext> {
        self.settings.knows_prior.then(|| NoiseContext {
            groups: Groups::new([1]),
            x: self.engine.project_x(&vec![0.0; self.map.dim()], &[1]),
        })
    }
}
