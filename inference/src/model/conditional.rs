//! The conditional network f(a, x, u): a state a (θ_t or a whitened residual), an observation x, a time variable u.
//!
//! The trunk's input is the concatenation \[a or its embedding | x or its embedding | cos(πiu), sin(πiu), i = 1..f |
//! one-hot set size\], but the parts stay apart down to the first layer: x is projected once a run, the state once a
//! particle, the time once a step.

use crate::{InferenceError, Result};
use rand::Rng;
use serde::{Deserialize, Serialize};
use tallsbi_network::{Activation, Engine, ForwardWorkspace, LastLayer, MAX_WIDTH, MatrixPlace, Mlp, MlpSpec};

/// Rows evaluated at a time: two tiles of a 256-wide hidden layer stay in a 2 MiB second-level cache.
pub const TILE_ROWS: usize = 128;

/// Most time frequencies: beyond some tens their cosines are noise in f32.
const MAX_FREQUENCIES: usize = 1024;

/// Largest set of observations.
const MAX_SET: usize = 65_536;

/// Widths of an embedding network (paper App. E: 3 hidden layers of 64, output 32 for JRNMM).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingSpec {
    /// Hidden widths.
    pub hidden: Vec<usize>,
    /// Output width.
    pub output: usize,
}

impl Default for EmbeddingSpec {
    fn default() -> Self {
        Self { hidden: vec![64; 3], output: 32 }
    }
}

/// Layers of a conditional network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionalSpec {
    /// Hidden widths of the trunk.
    pub hidden: Vec<usize>,
    /// Activation of trunk and embeddings.
    pub activation: Activation,
    /// Layer normalisation in the trunk.
    pub layer_norm: bool,
    /// Residual connections in the trunk.
    pub residual: bool,
    /// Number of time frequencies f.
    pub frequencies: usize,
    /// Embedding of the state, if any.
    pub theta_embedding: Option<EmbeddingSpec>,
    /// Embedding of an observation, if any; embeddings of a set are averaged.
    pub x_embedding: Option<EmbeddingSpec>,
    /// Largest set of observations (partial factorisation, paper App. L.2); 1 for single observations.
    pub n_max: usize,
}

impl Default for ConditionalSpec {
    fn default() -> Self {
        Self {
            hidden: vec![256; 3],
            activation: Activation::Silu,
            layer_norm: true,
            residual: false,
            frequencies: 3,
            theta_embedding: None,
            x_embedding: None,
            n_max: 1,
        }
    }
}

impl ConditionalSpec {
    /// Width of the trunk's state part.
    pub fn theta_width(&self, dim_theta: usize) -> usize {
        self.theta_embedding.as_ref().map_or(dim_theta, |e| e.output)
    }

    /// Width of the trunk's observation part.
    pub fn x_width(&self, dim_x: usize) -> usize {
        self.x_embedding.as_ref().map_or(dim_x, |e| e.output)
    }

    /// Width of the one-hot set size: none for single observations.
    pub fn set_width(&self) -> usize {
        if self.n_max > 1 { self.n_max } else { 0 }
    }

    /// Layers of an embedding of `input` numbers.
    pub fn embedding_spec(&self, embedding: &EmbeddingSpec, input: usize) -> MlpSpec {
        MlpSpec {
            input,
            hidden: embedding.hidden.clone(),
            output: embedding.output,
            activation: self.activation,
            layer_norm: false,
            residual: false,
        }
    }

    /// Checks the widths.
    ///
    /// # Errors
    /// Naming the first option that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fail = |option, message: &str| Err(InferenceError::Option { option, message: message.into() });
        let embeddings = [&self.theta_embedding, &self.x_embedding];
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return fail("hidden", "needs at least one layer, each at least 1 wide");
        }
        if embeddings.iter().any(|e| e.as_ref().is_some_and(|e| e.output == 0 || e.hidden.contains(&0))) {
            return fail("embedding", "layers must be at least 1 wide");
        }
        if self.frequencies == 0 || self.frequencies > MAX_FREQUENCIES {
            return fail("frequencies", "needs at least one time frequency and at most 1024");
        }
        if self.n_max == 0 || self.n_max > MAX_SET {
            return fail("n_max", "must be at least 1 and at most 65536");
        }
        if self.hidden.iter().any(|&width| width > MAX_WIDTH) {
            return fail("hidden", "layers are at most 2^24 wide");
        }
        let mut widths = embeddings.into_iter().flatten().flat_map(|e| e.hidden.iter().chain([&e.output]));
        if widths.any(|&width| width > MAX_WIDTH) {
            return fail("embedding", "hidden layers and output are at most 2^24 wide");
        }
        Ok(())
    }
}

/// Where each part of the input lies in the trunk's first layer.
#[derive(Debug, Clone)]
struct Columns {
    theta: std::ops::Range<usize>,
    x: std::ops::Range<usize>,
    time: std::ops::Range<usize>,
    set: std::ops::Range<usize>,
}

/// Embeddings and trunk with their weights; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionalNetwork {
    spec: ConditionalSpec,
    dim_theta: usize,
    dim_x: usize,
    /// Embedding of the state.
    pub theta_embedding: Option<Mlp<f32>>,
    /// Embedding of an observation.
    pub x_embedding: Option<Mlp<f32>>,
    /// Everything after the concatenation.
    pub trunk: Mlp<f32>,
}

impl ConditionalNetwork {
    /// A randomly initialised network; `last` says how the output layer starts.
    ///
    /// # Errors
    /// When the definition is invalid.
    pub fn random(
        spec: ConditionalSpec,
        dim_theta: usize,
        dim_x: usize,
        last: LastLayer,
        rng: &mut impl Rng,
    ) -> Result<Self> {
        spec.validate()?;
        let embed = |embedding: &Option<EmbeddingSpec>, input, rng: &mut _| {
            embedding.as_ref().map(|e| Mlp::random(spec.embedding_spec(e, input), LastLayer::Random, rng)).transpose()
        };
        let theta_embedding = embed(&spec.theta_embedding, dim_theta, rng)?;
        let x_embedding = embed(&spec.x_embedding, dim_x, rng)?;
        let trunk = Mlp::random(Self::trunk_spec(&spec, dim_theta, dim_x), last, rng)?;
        Ok(Self { spec, dim_theta, dim_x, theta_embedding, x_embedding, trunk })
    }

    /// A network from its parts.
    ///
    /// # Errors
    /// When the widths of the parts do not fit the definition.
    pub fn from_parts(
        spec: ConditionalSpec,
        (dim_theta, dim_x): (usize, usize),
        theta_embedding: Option<Mlp<f32>>,
        x_embedding: Option<Mlp<f32>>,
        trunk: Mlp<f32>,
    ) -> Result<Self> {
        spec.validate()?;
        let expected = Self::trunk_spec(&spec, dim_theta, dim_x);
        let embeddings_fit = spec.theta_embedding.as_ref().map(|e| spec.embedding_spec(e, dim_theta)).as_ref()
            == theta_embedding.as_ref().map(Mlp::spec)
            && spec.x_embedding.as_ref().map(|e| spec.embedding_spec(e, dim_x)).as_ref()
                == x_embedding.as_ref().map(Mlp::spec);
        if trunk.spec() != &expected || !embeddings_fit {
            return Err(InferenceError::Model("its layers do not fit its definition; the file is damaged".into()));
        }
        Ok(Self { spec, dim_theta, dim_x, theta_embedding, x_embedding, trunk })
    }

    /// Layers of the trunk for m = `dim_theta` and d = `dim_x`.
    pub fn trunk_spec(spec: &ConditionalSpec, dim_theta: usize, dim_x: usize) -> MlpSpec {
        MlpSpec {
            input: spec.theta_width(dim_theta) + spec.x_width(dim_x) + 2 * spec.frequencies + spec.set_width(),
            hidden: spec.hidden.clone(),
            output: dim_theta,
            activation: spec.activation,
            layer_norm: spec.layer_norm,
            residual: spec.residual,
        }
    }

    /// The definition.
    pub fn spec(&self) -> &ConditionalSpec {
        &self.spec
    }

    /// m.
    pub fn dim_theta(&self) -> usize {
        self.dim_theta
    }

    /// d.
    pub fn dim_x(&self) -> usize {
        self.dim_x
    }

    /// The parts in the order of the flat parameter vector: state embedding, observation embedding, trunk.
    pub fn parts(&self) -> impl Iterator<Item = &Mlp<f32>> {
        self.theta_embedding.iter().chain(&self.x_embedding).chain([&self.trunk])
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.parts().map(|part| part.parameters().len()).sum()
    }

    /// All parameters in one vector.
    pub fn flat_parameters(&self) -> Vec<f32> {
        self.parts().flat_map(|part| part.parameters().iter().copied()).collect()
    }

    /// Where the parts' weights are in that vector.
    pub fn matrices(&self) -> Vec<MatrixPlace> {
        let mut start = 0;
        let mut all = Vec::new();
        for part in self.parts() {
            all.extend(part.spec().matrices().into_iter().map(|MatrixPlace { place, rows, columns }| MatrixPlace {
                place: start + place.start..start + place.end,
                rows,
                columns,
            }));
            start += part.parameters().len();
        }
        all
    }

    /// Takes all parameters from one vector.
    pub fn set_flat_parameters(&mut self, parameters: &[f32]) {
        let mut rest = parameters;
        for part in self.theta_embedding.iter_mut().chain(&mut self.x_embedding).chain([&mut self.trunk]) {
            let (own, after) = rest.split_at(part.parameters().len());
            part.parameters_mut().copy_from_slice(own);
            rest = after;
        }
    }
}

/// cos(πiu), i = 1..f, then sin(πiu).
pub fn time_features(u: f64, frequencies: usize, out: &mut [f32]) {
    let (cosines, sines) = out.split_at_mut(frequencies);
    for i in 0..frequencies {
        let (sin, cos) = (std::f64::consts::PI * (i + 1) as f64 * u).sin_cos();
        cosines[i] = cos as f32;
        sines[i] = sin as f32;
    }
}

/// A conditional network made ready for evaluation, with the first layer split.
#[derive(Debug, Clone)]
pub struct ConditionalEngine {
    spec: ConditionalSpec,
    dim_theta: usize,
    columns: Columns,
    pub(super) theta_embedding: Option<Engine<f32>>,
    x_embedding: Option<Engine<f32>>,
    pub(super) trunk: Engine<f32>,
}

impl ConditionalEngine {
    /// Prepares `network`.
    pub fn new(network: &ConditionalNetwork) -> Self {
        let spec = network.spec.clone();
        let theta = 0..spec.theta_width(network.dim_theta);
        let x = theta.end..theta.end + spec.x_width(network.dim_x);
        let time = x.end..x.end + 2 * spec.frequencies;
        let set = time.end..time.end + spec.set_width();
        Self {
            dim_theta: network.dim_theta,
            columns: Columns { theta, x, time, set },
            theta_embedding: network.theta_embedding.as_ref().map(Engine::new),
            x_embedding: network.x_embedding.as_ref().map(Engine::new),
            trunk: Engine::new(&network.trunk),
            spec,
        }
    }

    /// Width of the first layer's pre-activation.
    pub fn width(&self) -> usize {
        self.trunk.first_width()
    }

    /// First-layer share of observations and bias, (sets, width). `features` (n, d) are the standardised observations
    /// in order, `sizes` the number of consecutive rows in each set.
    pub fn project_x(&self, features: &[f32], sizes: &[usize]) -> Vec<f32> {
        let embedded = embed(self.x_embedding.as_ref(), features);
        let width = self.columns.x.len();
        let mut pooled = vec![0.0f32; sizes.len() * width];
        let mut rows = embedded.chunks_exact(width.max(1));
        for (set, &size) in pooled.chunks_exact_mut(width.max(1)).zip(sizes) {
            for row in rows.by_ref().take(size) {
                set.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            set.iter_mut().for_each(|sum| *sum /= size as f32);
        }
        let mut out = vec![0.0; sizes.len() * self.width()];
        self.trunk.project_first_layer(self.columns.x.clone(), &pooled, true, &mut out);
        if !self.columns.set.is_empty() {
            let one_hot = self.trunk.first_layer_columns(self.columns.set.clone());
            for (row, &size) in out.chunks_exact_mut(self.width()).zip(sizes) {
                let column = &one_hot[(size - 1) * row.len()..size * row.len()];
                row.iter_mut().zip(column).for_each(|(sum, value)| *sum += value);
            }
        }
        out
    }

    /// First-layer share of states `theta` (rows, m) into `out` (rows, width).
    pub fn project_theta(&self, theta: &[f32], out: &mut [f32]) {
        match &self.theta_embedding {
            None => self.trunk.project_first_layer(self.columns.theta.clone(), theta, false, out),
            Some(_) => {
                let embedded = embed(self.theta_embedding.as_ref(), theta);
                self.trunk.project_first_layer(self.columns.theta.clone(), &embedded, false, out);
            }
        }
    }

    /// First-layer share of the time variable, (width).
    pub fn project_time(&self, u: f64, out: &mut [f32]) {
        let mut features = vec![0.0; 2 * self.spec.frequencies];
        time_features(u, self.spec.frequencies, &mut features);
        self.trunk.project_first_layer(self.columns.time.clone(), &features, false, out);
    }

    /// First-layer tangents along the m state coordinates for each of `theta` (rows, m): (rows, m, width); one row that
    /// all share when the state enters without embedding.
    pub fn theta_tangents(&self, theta: &[f32]) -> Vec<f32> {
        let m = self.dim_theta;
        let Some(embedding) = &self.theta_embedding else {
            return self.trunk.first_layer_columns(self.columns.theta.clone());
        };
        let rows = theta.len() / m;
        let output = embedding.spec().output;
        let mut directions = vec![0.0f32; rows * m * m];
        for (i, direction) in directions.chunks_exact_mut(m).enumerate() {
            direction[i % m] = 1.0;
        }
        let mut workspace = tallsbi_network::TangentWorkspace::new(embedding.spec(), rows, m);
        let mut values = vec![0.0; rows * output];
        let mut tangents = vec![0.0; rows * m * output];
        embedding.tangent(theta, &directions, m, &mut workspace, &mut values, &mut tangents);
        let mut out = vec![0.0; rows * m * self.width()];
        self.trunk.project_first_layer(self.columns.theta.clone(), &tangents, false, &mut out);
        out
    }
}

/// The embedding of `rows`, or the rows themselves.
fn embed(embedding: Option<&Engine<f32>>, rows: &[f32]) -> Vec<f32> {
    let Some(engine) = embedding else { return rows.to_vec() };
    let (input, output) = (engine.spec().input, engine.spec().output);
    let mut workspace = ForwardWorkspace::new(engine.spec(), TILE_ROWS);
    let mut out = vec![0.0; rows.len() / input * output];
    for (tile, target) in rows.chunks(TILE_ROWS * input).zip(out.chunks_mut(TILE_ROWS * output)) {
        engine.forward(tile, &mut workspace, target);
    }
    out
}
