//! Evaluation of a conditional network on a tile of (particle, factor) pairs.

use super::conditional::{ConditionalEngine, TILE_ROWS};
use crate::score::{Pair, ScoreContext};
use std::ops::Range;
use tallsbi_network::{FirstTangents, ForwardWorkspace, TangentWorkspace};

/// Groups of factors in a row: what every network's context shares.
#[derive(Debug, Clone)]
pub struct Groups {
    ends: Vec<usize>,
}

impl Groups {
    /// From the number of factors of each group.
    pub fn new(sizes: impl IntoIterator<Item = usize>) -> Self {
        let ends = sizes
            .into_iter()
            .scan(0, |end, size| {
                *end += size;
                Some(*end)
            })
            .collect();
        Self { ends }
    }

    /// Number of factors in all groups.
    pub fn total(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

impl ScoreContext for Groups {
    fn groups(&self) -> usize {
        self.ends.len()
    }

    fn factors(&self, group: usize) -> Range<usize> {
        let start = if group == 0 { 0 } else { self.ends[group - 1] };
        start..self.ends[group]
    }
}

/// Buffers for one tile.
#[derive(Debug, Clone)]
pub struct TileBuffers {
    preactivation: Vec<f32>,
    forward: ForwardWorkspace<f32>,
    tangent: Option<TangentWorkspace<f32>>,
    out: Vec<f32>,
    out_tangents: Vec<f32>,
}

impl TileBuffers {
    /// For `engine`; tangent buffers are made on first use.
    pub fn new(engine: &ConditionalEngine) -> Self {
        let m = engine.trunk.spec().output;
        Self {
            preactivation: vec![0.0; TILE_ROWS * engine.width()],
            forward: ForwardWorkspace::new(engine.trunk.spec(), TILE_ROWS),
            tangent: None,
            out: vec![0.0; TILE_ROWS * m],
            out_tangents: Vec::new(),
        }
    }

    /// First-layer pre-activations of up to [`TILE_ROWS`] rows, to be filled by [`sum_shares`].
    pub fn preactivations(&mut self, rows: usize, width: usize) -> &mut [f32] {
        &mut self.preactivation[..rows * width]
    }

    /// The network's outputs (rows, m) for the pre-activations in place.
    pub fn forward(&mut self, engine: &ConditionalEngine, rows: usize) -> &[f32] {
        let out = &mut self.out[..rows * engine.trunk.spec().output];
        let preactivation = &self.preactivation[..rows * engine.width()];
        engine.trunk.forward_from_first_preactivation(preactivation, &mut self.forward, out);
        out
    }

    /// Outputs (rows, m) and transposed Jacobians (rows, m inputs, m outputs) for the pre-activations in place.
    pub fn tangent(
        &mut self,
        engine: &ConditionalEngine,
        rows: usize,
        tangents: FirstTangents<'_, f32>,
    ) -> (&[f32], &[f32]) {
        let m = engine.trunk.spec().output;
        let workspace = self.tangent.get_or_insert_with(|| TangentWorkspace::new(engine.trunk.spec(), TILE_ROWS, m));
        self.out_tangents.resize(TILE_ROWS * m * m, 0.0);
        let out = &mut self.out[..rows * m];
        let out_tangents = &mut self.out_tangents[..rows * m * m];
        let preactivation = &self.preactivation[..rows * engine.width()];
        engine.trunk.tangent_from_first_preactivation(preactivation, tangents, m, workspace, out, out_tangents);
        (out, out_tangents)
    }
}

/// Row by row: out = state share of the pair's particle (`by_particle`) or of the pair itself + observation share + time
/// share.
pub fn sum_shares(pairs: &[Pair], (theta, by_particle): (&[f32], bool), x: &[f32], time: &[f32], out: &mut [f32]) {
    let width = time.len();
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, (pair, out)) in pairs.iter().zip(out.chunks_exact_mut(width)).enumerate() {
                let state = if by_particle { pair.particle as usize } else { row };
                let theta = &theta[state * width..(state + 1) * width];
                let x = &x[pair.factor as usize * width..(pair.factor as usize + 1) * width];
                for i in 0..width {
                    out[i] = theta[i] + x[i] + time[i];
                }
            }
        },
    );
}
