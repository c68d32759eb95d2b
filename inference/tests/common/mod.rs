//! What the tests against reference data share: files, and the published score networks in f64.
#![allow(dead_code, reason = "each test binary uses a part")]

use errorfunctions::RealErrorFunctions;
use ndarray::{ArrayD, ArrayView2};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tallsbi_data::{Component, Prior};
use tallsbi_inference::prior_score::{DiffusedPrior, Level, PriorOptions, PriorScore};
use tallsbi_inference::schedule::{LinearSchedule, NoiseSchedule};
use tallsbi_inference::score::{Pair, PosteriorScore, ScoreContext, ScoreModel};
use tallsbi_inference::{InferenceError, Result};
use tallsbi_network::{Activation, Engine, ForwardWorkspace, Mlp, MlpSpec, TangentWorkspace};

/// The folder of reference data, or `None` (with a message) where it is absent; absence is a failure under CI.
pub fn reference_data() -> Option<PathBuf> {
    let folder = std::env::var_os("TALLSBI_REFERENCE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    if folder.join("goldens").is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no reference data at {}", folder.display());
    eprintln!("skipped: no reference data at {}", folder.display());
    None
}

pub fn golden(name: &str) -> Option<hdf5::File> {
    Some(hdf5::File::open(reference_data()?.join("goldens").join(name)).expect("a readable golden"))
}

pub fn read(file: &hdf5::File, path: &str) -> ArrayD<f64> {
    file.dataset(path).and_then(|dataset| dataset.read_dyn::<f64>()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn flat(file: &hdf5::File, path: &str) -> Vec<f64> {
    read(file, path).iter().copied().collect()
}

/// The published schedule as its score conversion and compositions have it: σ² = 1 - α + e^{-16}.
pub struct PublishedSchedule(pub LinearSchedule);

impl NoiseSchedule for PublishedSchedule {
    fn alpha(&self, t: f64) -> f64 {
        self.0.alpha(t)
    }

    fn variance(&self, t: f64) -> f64 {
        self.0.variance(t) + (-16f64).exp()
    }

    fn beta(&self, t: f64) -> f64 {
        self.0.beta(t)
    }

    fn time_of_half_log_snr(&self, half_log_snr: f64) -> f64 {
        self.0.time_of_half_log_snr(half_log_snr)
    }
}

/// A published score network of a benchmark task, evaluated in f64 in its own (normalised) spaces.
pub struct PublishedNetwork {
    m: usize,
    d: usize,
    engine: Engine<f64>,
    schedule: PublishedSchedule,
}

pub struct PublishedContext {
    groups: Vec<Range<usize>>,
    x: Vec<f64>,
}

impl ScoreContext for PublishedContext {
    fn groups(&self) -> usize {
        self.groups.len()
    }

    fn factors(&self, group: usize) -> Range<usize> {
        self.groups[group].clone()
    }
}

pub struct PublishedWorkspace {
    theta: Vec<f64>,
    t: f64,
    forward: ForwardWorkspace<f64>,
    tangent: TangentWorkspace<f64>,
}

impl PublishedNetwork {
    pub fn load(path: &Path, m: usize, d: usize) -> Self {
        let bytes = std::fs::read(path).expect("a network");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        let values = |name: &str| -> Vec<f64> {
            let tensor = tensors.tensor(name).expect(name);
            let (chunks, _) = tensor.data().as_chunks::<4>();
            chunks.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
        };
        let parameters =
            (0..4).flat_map(|k| [values(&format!("net.{k}.weight")), values(&format!("net.{k}.bias"))].concat());
        let spec = MlpSpec::plain(m + d + 6, vec![256; 3], m, Activation::Relu);
        let network = Mlp::from_parameters(spec, parameters.collect()).expect("the published architecture");
        Self { m, d, engine: Engine::new(&network), schedule: PublishedSchedule(LinearSchedule::default()) }
    }

    /// One group of normalised observations (n, d).
    pub fn context_of(&self, x: &[f64]) -> PublishedContext {
        PublishedContext { groups: std::iter::once(0..x.len() / self.d).collect(), x: x.to_vec() }
    }

    fn input(&self, context: &PublishedContext, pairs: &[Pair], work: &PublishedWorkspace) -> Vec<f64> {
        let mut input = Vec::new();
        for pair in pairs {
            input.extend_from_slice(&work.theta[pair.particle as usize * self.m..][..self.m]);
            input.extend_from_slice(&context.x[pair.factor as usize * self.d..][..self.d]);
            // Frequencies are stored in f32.
            let angles = (1..4).map(|k| f64::from((f64::from(k) * std::f64::consts::PI) as f32) * work.t);
            input.extend(angles.clone().map(f64::cos));
            input.extend(angles.map(f64::sin));
        }
        input
    }
}

impl ScoreModel for PublishedNetwork {
    type Context = PublishedContext;
    type Workspace = PublishedWorkspace;

    fn dim_theta(&self) -> usize {
        self.m
    }

    fn dim_x(&self) -> usize {
        self.d
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        &self.schedule
    }

    fn context(&self, _: &[ArrayView2<'_, f32>]) -> Result<PublishedContext> {
        Err(InferenceError::Model("normalised observations only".into()))
    }

    fn workspace(&self, _: usize) -> PublishedWorkspace {
        let spec = self.engine.spec();
        PublishedWorkspace {
            theta: Vec::new(),
            t: 0.0,
            forward: ForwardWorkspace::new(spec, 512),
            tangent: TangentWorkspace::new(spec, 512, self.m),
        }
    }

    fn begin(&self, theta: &[f64], t: f64, work: &mut PublishedWorkspace) {
        work.theta = theta.to_vec();
        work.t = t;
    }

    fn scores(&self, context: &PublishedContext, pairs: &[Pair], work: &mut PublishedWorkspace, out: &mut [f64]) {
        let input = self.input(context, pairs, work);
        self.engine.forward(&input, &mut work.forward, out);
        let sigma = self.schedule.noise_scale(work.t);
        out.iter_mut().for_each(|value| *value /= -sigma);
    }

    fn scores_and_jacobians(
        &self,
        context: &PublishedContext,
        pairs: &[Pair],
        work: &mut PublishedWorkspace,
        out: &mut [f64],
        jacobians: &mut [f64],
    ) {
        let m = self.m;
        let input = self.input(context, pairs, work);
        let width = self.engine.spec().input;
        let mut tangents = vec![0.0; pairs.len() * m * width];
        for (k, tangent) in tangents.chunks_exact_mut(width).enumerate() {
            tangent[k % m] = 1.0;
        }
        let mut transposed = vec![0.0; jacobians.len()];
        self.engine.tangent(&input, &tangents, m, &mut work.tangent, out, &mut transposed);
        let sigma = self.schedule.noise_scale(work.t);
        out.iter_mut().for_each(|value| *value /= -sigma);
        for pair in 0..pairs.len() {
            for a in 0..m {
                for b in 0..m {
                    jacobians[(pair * m + a) * m + b] = transposed[(pair * m + b) * m + a] / -sigma;
                }
            }
        }
    }
}

/// A benchmark task of the goldens.
pub struct Task {
    pub name: &'static str,
    pub m: usize,
    pub d: usize,
}

pub const TASKS: [Task; 2] = [Task { name: "slcp", m: 5, d: 8 }, Task { name: "lotka_volterra", m: 4, d: 20 }];

impl Task {
    pub fn network(&self, file: &str) -> PublishedNetwork {
        let folder = reference_data().expect("checked before").join("networks").join(self.name);
        PublishedNetwork::load(&folder.join(file), self.m, self.d)
    }

    /// The prior in network space as the goldens give it (uniform bounds already doubled).
    pub fn prior(&self, file: &hdf5::File) -> DiffusedPrior {
        let get = |what: &str| flat(file, &format!("{}/{what}", self.name));
        let components = if self.name == "slcp" {
            let (low, high) = (get("prior_low"), get("prior_high"));
            let uniform = |i: usize| Component::Uniform { name: format!("t{i}"), low: low[i], high: high[i] };
            (0..self.m).map(uniform).collect()
        } else {
            vec![Component::MultivariateNormal {
                names: (0..self.m).map(|i| format!("t{i}")).collect(),
                loc: get("prior_mean"),
                covariance: get("prior_cov").chunks_exact(self.m).map(<[f64]>::to_vec).collect(),
            }]
        };
        DiffusedPrior::new(&Prior::new(components).expect("a prior"), PriorOptions::default())
            .expect("a diffused prior")
    }
}

/// The prior's score as the goldens have it: exact for Gaussians, f'/(f + 1e-6) for boxes, f the diffused density up to a constant.
pub struct PublishedPrior {
    exact: DiffusedPrior,
    bounds: Option<(Vec<f64>, Vec<f64>)>,
}

impl Task {
    pub fn published_prior(&self, file: &hdf5::File) -> PublishedPrior {
        let get = |what: &str| flat(file, &format!("{}/{what}", self.name));
        let bounds = (self.name == "slcp").then(|| (get("prior_low"), get("prior_high")));
        PublishedPrior { exact: self.prior(file), bounds }
    }
}

impl PriorScore for PublishedPrior {
    fn evaluate(&self, theta: &[f64], level: Level, score: &mut [f64], excess: Option<&mut [f64]>) {
        let Some((low, high)) = &self.bounds else { return self.exact.evaluate(theta, level, score, excess) };
        let (signal, sigma) = (level.alpha.sqrt(), level.variance.sqrt());
        let cdf = |z: f64| 0.5 * (1.0 + RealErrorFunctions::erf(z / 2f64.sqrt()));
        let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let m = theta.len();
        let mut unused = vec![0.0; m * m];
        let excess = excess.unwrap_or(&mut unused);
        excess.fill(0.0);
        for i in 0..m {
            let (a, b) = ((low[i] * signal - theta[i]) / sigma, (high[i] * signal - theta[i]) / sigma);
            let f = (cdf(b) - cdf(a)) / signal + 1e-6;
            let first = -(density(b) - density(a)) / (sigma * signal);
            let second = -(b * density(b) - a * density(a)) / (level.variance * signal);
            score[i] = first / f;
            let slope = second / f - score[i] * score[i];
            excess[i * m + i] = -level.alpha * slope / (1.0 + level.variance * slope);
        }
    }

    fn undiffused_score(&self, theta: &[f64], gradient: &mut [f64]) {
        self.exact.undiffused_score(theta, gradient);
    }

    fn is_gaussian(&self) -> bool {
        self.bounds.is_none()
    }
}

/// A score with another schedule for the sampler: published samplers step with v = 1 - α, published scores have e^{-16} more.
pub struct WithSchedule<S, N> {
    pub inner: S,
    pub schedule: N,
}

impl<S: PosteriorScore, N: NoiseSchedule> PosteriorScore for WithSchedule<S, N> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        &self.schedule
    }

    fn score(&mut self, theta: &[f64], t: f64, out: &mut [f64]) -> Result<()> {
        self.inner.score(theta, t, out)
    }

    fn parts(
        &mut self,
        theta: &[f64],
        t: f64,
        factors: &mut [f64],
        prior: &mut [f64],
        counts: &mut [f64],
    ) -> Result<bool> {
        self.inner.parts(theta, t, factors, prior, counts)
    }
}

/// Largest |a - b| relative to 1 + |b|.
pub fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| if a.is_finite() { (a - b).abs() / (1.0 + b.abs()) } else { f64::INFINITY })
        .fold(0.0, f64::max)
}
