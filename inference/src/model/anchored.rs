//! The Gaussian-anchored score (ours; see the derivation below): a Gaussian posterior first, a network for the rest.
//!
//! The *anchor* maps x to the mean μ(x) and covariance Σ(x) of a Gaussian, fitted by negative log-likelihood, so that its
//! optimum is the posterior's mean and covariance: the Σ̂_j that GAUSS needs, from one forward pass. Write α, v for signal
//! and noise variance, C = αΣ + vI, y = θ_t - √α μ, r = C^{-1/2} y (symmetric roots). For a Gaussian posterior
//! u_0 = Σ^{-1/2}(θ_0 - μ) has the conditional mean û_G = √α Σ^{1/2} C^{-1} y and covariance v C^{-1}; a network
//! n(r, x, log √(v/α)) is regressed on (C/v)^{1/2}(u_0 - û_G), which has unit variance at every noise level if the anchor
//! is right, so that it learns what is *not* Gaussian. From û_0 = û_G + (v C^{-1})^{1/2} n, θ̂_0 = μ + Σ^{1/2} û_0 and
//! s = -(θ_t - √α θ̂_0)/v follows
//!
//!   s = -C^{-1} y + √(α/v) Σ^{1/2} C^{-1/2} n.
//!
//! n = 0 is the Gaussian posterior: far from the training data the score stays restoring. All in the prior-gaussian latent
//! space, with the eigenvalues of Σ clamped to at most 1 (a posterior no wider than the prior).

use super::conditional::{ConditionalEngine, ConditionalNetwork, TILE_ROWS};
use super::density::{MAX_LOG_DIAGONAL, MixtureLayout};
use super::observation_map::ObservationMap;
use super::tile::{Groups, TileBuffers, sum_shares};
use crate::Result;
use crate::schedule::{LinearSchedule, NoiseSchedule};
use crate::score::{Pair, ScoreContext, ScoreModel};
use faer::{Mat, Side};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_network::{Engine, FirstTangents, ForwardWorkspace, Mlp};

/// Settings of the anchored score beside its two networks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnchoredSettings {
    /// The forward process.
    pub schedule: LinearSchedule,
    /// Smallest noise ratio √(v/α) the network was trained on; below it sees this one.
    pub min_noise: f64,
    /// Largest noise ratio it was trained on.
    pub max_noise: f64,
}

impl Default for AnchoredSettings {
    fn default() -> Self {
        Self { schedule: LinearSchedule::default(), min_noise: 1e-3, max_noise: 30.0 }
    }
}

impl AnchoredSettings {
    /// The network's time variable in [0, 1]: log √(v/α) between the smallest and largest noise ratio.
    pub fn time_variable(&self, noise_ratio: f64) -> f64 {
        let span = (self.max_noise / self.min_noise).ln();
        ((noise_ratio / self.min_noise).ln() / span).clamp(0.0, 1.0)
    }
}

/// A Gaussian N(μ, V diag(λ) Vᵀ) per observation.
#[derive(Debug, Clone, Default)]
pub struct Anchors {
    /// Means, (factors, m).
    pub mean: Vec<f64>,
    /// Eigenvectors as columns, row-major (factors, m, m).
    pub eigenvectors: Vec<f64>,
    /// Eigenvalues of the covariance, (factors, m).
    pub eigenvalues: Vec<f64>,
}

/// Number of outputs of an anchor network: a mean and a lower-triangular factor of the precision.
pub fn anchor_outputs(m: usize) -> usize {
    MixtureLayout::gaussian(m).outputs()
}

/// The lower-triangular factor L of the precision L Lᵀ from an anchor network's outputs: rows of the triangle, diagonal
/// entries through exp.
pub fn precision_factor(outputs: &[f32], m: usize) -> Mat<f64> {
    let mut factor = Mat::zeros(m, m);
    let mut at = m;
    for i in 0..m {
        for j in 0..=i {
            let value = f64::from(outputs[at]);
            factor[(i, j)] = if i == j { value.clamp(-MAX_LOG_DIAGONAL, MAX_LOG_DIAGONAL).exp() } else { value };
            at += 1;
        }
    }
    factor
}

impl Anchors {
    /// Evaluates the anchor network on standardised observations (n, d).
    pub fn evaluate(engine: &Engine<f32>, features: &[f32], m: usize) -> Self {
        let (input, output) = (engine.spec().input, engine.spec().output);
        let mut workspace = ForwardWorkspace::new(engine.spec(), TILE_ROWS);
        let mut outputs = vec![0.0f32; features.len() / input * output];
        for (tile, target) in features.chunks(TILE_ROWS * input).zip(outputs.chunks_mut(TILE_ROWS * output)) {
            engine.forward(tile, &mut workspace, target);
        }
        let mut anchors = Self::default();
        outputs.chunks_exact(output).for_each(|row| anchors.push(row, m));
        anchors
    }

    fn push(&mut self, outputs: &[f32], m: usize) {
        let factor = precision_factor(outputs, m);
        let precision = &factor * factor.transpose();
        let eigen = precision
            .self_adjoint_eigen(Side::Lower)
            .expect("the eigenvalue iteration converges for a finite symmetric matrix");
        self.mean.extend(outputs[..m].iter().map(|&value| f64::from(value)));
        for i in 0..m {
            self.eigenvectors.extend((0..m).map(|j| eigen.U()[(i, j)]));
        }
        // Precisions below the prior's 1 are clamped: the posterior is no wider than the prior.
        self.eigenvalues.extend((0..m).map(|j| 1.0 / eigen.S()[j].max(1.0)));
    }

    /// The Gaussian of one factor.
    pub fn get(&self, factor: usize, m: usize) -> Anchor<'_> {
        Anchor {
            mean: &self.mean[factor * m..(factor + 1) * m],
            eigenvectors: &self.eigenvectors[factor * m * m..(factor + 1) * m * m],
            eigenvalues: &self.eigenvalues[factor * m..(factor + 1) * m],
        }
    }
}

/// One Gaussian of [`Anchors`].
#[derive(Debug, Clone, Copy)]
pub struct Anchor<'a> {
    /// μ.
    pub mean: &'a [f64],
    /// V, row-major.
    pub eigenvectors: &'a [f64],
    /// λ.
    pub eigenvalues: &'a [f64],
}

impl Anchor<'_> {
    /// out = Vᵀ y.
    pub fn rotate(&self, y: &[f64], out: &mut [f64]) {
        let m = y.len();
        out.fill(0.0);
        for (row, y) in self.eigenvectors.chunks_exact(m).zip(y) {
            out.iter_mut().zip(row).for_each(|(out, v)| *out += v * y);
        }
    }

    /// out = V w.
    pub fn rotate_back(&self, w: &[f64], out: &mut [f64]) {
        let m = w.len();
        for (row, out) in self.eigenvectors.chunks_exact(m).zip(out) {
            *out = row.iter().zip(w).map(|(v, w)| v * w).sum();
        }
    }
}

/// A Gaussian-anchored score network ready to be sampled from. Implements [`ScoreModel`].
#[derive(Debug, Clone)]
pub struct AnchoredModel {
    anchor: Engine<f32>,
    residual: ConditionalEngine,
    map: ObservationMap,
    settings: AnchoredSettings,
    dim_theta: usize,
}

impl AnchoredModel {
    /// Prepares the anchor and residual networks.
    pub fn new(
        anchor: &Mlp<f32>,
        residual: &ConditionalNetwork,
        map: ObservationMap,
        settings: AnchoredSettings,
    ) -> Self {
        Self {
            anchor: Engine::new(anchor),
            residual: ConditionalEngine::new(residual),
            map,
            settings,
            dim_theta: residual.dim_theta(),
        }
    }
}

/// Observations with their Gaussian anchors.
#[derive(Debug, Clone)]
pub struct AnchoredContext {
    groups: Groups,
    x: Vec<f32>,
    /// The anchors of all factors.
    pub anchors: Anchors,
}

impl ScoreContext for AnchoredContext {
    fn groups(&self) -> usize {
        self.groups.groups()
    }

    fn factors(&self, group: usize) -> Range<usize> {
        self.groups.factors(group)
    }
}

/// Buffers of one worker.
#[derive(Debug, Clone)]
pub struct AnchoredWorkspace {
    theta: Vec<f64>,
    alpha: f64,
    variance: f64,
    time_share: Vec<f32>,
    state: Vec<f32>,
    state_share: Vec<f32>,
    rotated: Vec<f64>,
    buffers: [Vec<f64>; 2],
    tile: TileBuffers,
}

impl AnchoredModel {
    /// Fills the tile's pre-activations; leaves Vᵀ y of each pair in `workspace.rotated`.
    fn prepare(&self, context: &AnchoredContext, pairs: &[Pair], workspace: &mut AnchoredWorkspace) {
        let (m, width) = (self.dim_theta, self.residual.width());
        let AnchoredWorkspace { theta, alpha, variance, time_share, state, state_share, rotated, buffers, tile } =
            workspace;
        let [y, w] = buffers;
        for (row, pair) in pairs.iter().enumerate() {
            let anchor = context.anchors.get(pair.factor as usize, m);
            let particle = pair.particle as usize * m;
            for i in 0..m {
                y[i] = theta[particle + i] - alpha.sqrt() * anchor.mean[i];
            }
            let rotated = &mut rotated[row * m..(row + 1) * m];
            anchor.rotate(y, rotated);
            for i in 0..m {
                w[i] = rotated[i] / (*alpha * anchor.eigenvalues[i] + *variance).sqrt();
            }
            anchor.rotate_back(w, y);
            for i in 0..m {
                state[row * m + i] = y[i] as f32;
            }
        }
        let share = &mut state_share[..pairs.len() * width];
        self.residual.project_theta(&state[..pairs.len() * m], share);
        sum_shares(pairs, (share, false), &context.x, time_share, tile.preactivations(pairs.len(), width));
    }
}

/// s = V[ -Vᵀy/c + √(α/v) √(λ/c) Vᵀ n ] for one pair.
fn combine(
    anchor: Anchor<'_>,
    (alpha, variance): (f64, f64),
    rotated: &[f64],
    network: &[f32],
    [y, w]: &mut [Vec<f64>; 2],
    out: &mut [f64],
) {
    let m = out.len();
    for i in 0..m {
        y[i] = f64::from(network[i]);
    }
    anchor.rotate(y, w);
    for i in 0..m {
        let c = alpha * anchor.eigenvalues[i] + variance;
        y[i] = -rotated[i] / c + (alpha / variance * anchor.eigenvalues[i] / c).sqrt() * w[i];
    }
    anchor.rotate_back(y, out);
}

impl ScoreModel for AnchoredModel {
    type Context = AnchoredContext;
    type Workspace = AnchoredWorkspace;

    fn dim_theta(&self) -> usize {
        self.dim_theta
    }

    fn dim_x(&self) -> usize {
        self.map.dim()
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        &self.settings.schedule
    }

    fn context(&self, groups: &[ArrayView2<'_, f32>]) -> Result<AnchoredContext> {
        let mut features = Vec::new();
        for x in groups {
            features.extend(self.map.features(x.view())?);
        }
        let counts = Groups::new(groups.iter().map(|x| x.nrows()));
        Ok(AnchoredContext {
            x: self.residual.project_x(&features, &vec![1; counts.total()]),
            anchors: Anchors::evaluate(&self.anchor, &features, self.dim_theta),
            groups: counts,
        })
    }

    fn workspace(&self, max_particles: usize) -> AnchoredWorkspace {
        let (m, width) = (self.dim_theta, self.residual.width());
        AnchoredWorkspace {
            theta: Vec::with_capacity(max_particles * m),
            alpha: 1.0,
            variance: 0.0,
            time_share: vec![0.0; width],
            state: vec![0.0; TILE_ROWS * m],
            state_share: vec![0.0; TILE_ROWS * width],
            rotated: vec![0.0; TILE_ROWS * m],
            buffers: [vec![0.0; m], vec![0.0; m]],
            tile: TileBuffers::new(&self.residual),
        }
    }

    fn begin(&self, theta: &[f64], t: f64, workspace: &mut AnchoredWorkspace) {
        workspace.theta.clear();
        workspace.theta.extend_from_slice(theta);
        workspace.alpha = self.settings.schedule.alpha(t);
        workspace.variance = self.settings.schedule.variance(t);
        let ratio = (workspace.variance / workspace.alpha).sqrt();
        self.residual.project_time(self.settings.time_variable(ratio), &mut workspace.time_share);
    }

    fn scores(&self, context: &AnchoredContext, pairs: &[Pair], workspace: &mut AnchoredWorkspace, out: &mut [f64]) {
        let m = self.dim_theta;
        for (pairs, out) in pairs.chunks(TILE_ROWS).zip(out.chunks_mut(TILE_ROWS * m)) {
            self.prepare(context, pairs, workspace);
            let AnchoredWorkspace { alpha, variance, rotated, buffers, tile, .. } = workspace;
            let network = tile.forward(&self.residual, pairs.len());
            for (row, pair) in pairs.iter().enumerate() {
                let own = row * m..(row + 1) * m;
                let anchor = context.anchors.get(pair.factor as usize, m);
                let noise = (*alpha, *variance);
                combine(anchor, noise, &rotated[own.clone()], &network[own.clone()], buffers, &mut out[own]);
            }
        }
    }

    fn scores_and_jacobians(
        &self,
        context: &AnchoredContext,
        pairs: &[Pair],
        workspace: &mut AnchoredWorkspace,
        out: &mut [f64],
        jacobians: &mut [f64],
    ) {
        let m = self.dim_theta;
        let shared = self.residual.theta_tangents(&[]);
        let tiles = out.chunks_mut(TILE_ROWS * m).zip(jacobians.chunks_mut(TILE_ROWS * m * m));
        for (pairs, (out, jacobians)) in pairs.chunks(TILE_ROWS).zip(tiles) {
            self.prepare(context, pairs, workspace);
            let AnchoredWorkspace { alpha, variance, rotated, buffers, tile, .. } = workspace;
            let noise = (*alpha, *variance);
            let (network, tangents) = tile.tangent(&self.residual, pairs.len(), FirstTangents::Shared(&shared));
            for (row, pair) in pairs.iter().enumerate() {
                let own = row * m..(row + 1) * m;
                let square = row * m * m..(row + 1) * m * m;
                let anchor = context.anchors.get(pair.factor as usize, m);
                combine(anchor, noise, &rotated[own.clone()], &network[own.clone()], buffers, &mut out[own]);
                combine_jacobian(anchor, noise, &tangents[square.clone()], &mut jacobians[square]);
            }
        }
    }

    fn covariances(&self, context: &AnchoredContext) -> Option<Vec<f64>> {
        let m = self.dim_theta;
        let mut covariances = vec![0.0; context.groups.total() * m * m];
        for (factor, covariance) in covariances.chunks_exact_mut(m * m).enumerate() {
            let anchor = context.anchors.get(factor, m);
            spectral(anchor, |lambda| lambda, covariance);
        }
        Some(covariances)
    }

    fn means(&self, context: &AnchoredContext) -> Option<Vec<f64>> {
        Some(context.anchors.mean.clone())
    }

    fn max_noise(&self) -> Option<f64> {
        Some(self.settings.max_noise)
    }
}

/// out = V diag(f(λ)) Vᵀ.
fn spectral(anchor: Anchor<'_>, f: impl Fn(f64) -> f64, out: &mut [f64]) {
    let m = anchor.mean.len();
    for a in 0..m {
        for b in 0..m {
            out[a * m + b] = (0..m)
                .map(|k| anchor.eigenvectors[a * m + k] * f(anchor.eigenvalues[k]) * anchor.eigenvectors[b * m + k])
                .sum();
        }
    }
}

/// ∂s/∂θ = -C^{-1} + √(α/v) Σ^{1/2}C^{-1/2} (∂n/∂r) C^{-1/2}; `tangents` is (∂n/∂r)ᵀ.
fn combine_jacobian(anchor: Anchor<'_>, (alpha, variance): (f64, f64), tangents: &[f32], out: &mut [f64]) {
    let m = anchor.mean.len();
    let mut left = vec![0.0; m * m];
    let mut right = vec![0.0; m * m];
    spectral(anchor, |l| (alpha / variance * l / (alpha * l + variance)).sqrt(), &mut left);
    spectral(anchor, |l| 1.0 / (alpha * l + variance).sqrt(), &mut right);
    spectral(anchor, |l| -1.0 / (alpha * l + variance), out);
    for a in 0..m {
        for b in 0..m {
            for k in 0..m {
                let inner: f64 = (0..m).map(|l| f64::from(tangents[l * m + k]) * right[l * m + b]).sum();
                out[a * m + b] += left[a * m + k] * inner;
            }
        }
    }
}
