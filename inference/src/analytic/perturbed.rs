//! Controlled score errors (paper Sec. 4.1): any model plus ε times a random network with outputs in [-1, 1].

use crate::prior_score::Level;
use crate::schedule::NoiseSchedule;
use crate::score::{Pair, ScoreContext, ScoreModel};
use crate::{InferenceError, Result};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_data::{Purpose, StreamKey};
use tallsbi_network::{Activation, Engine, ForwardWorkspace, LastLayer, Mlp, MlpSpec, TangentWorkspace};

/// What multiplies ε r(θ, x, α_t) in the score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PerturbationScale {
    /// 1/√v: an error of ε in the noise predictor -√v s. What the paper's text says it wants, and what its code does.
    #[default]
    NoisePredictor,
    /// √v, as the paper's formula prints it.
    AsPrinted,
}

/// Size and kind of the perturbation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Perturbation {
    /// ε ≥ 0.
    pub amplitude: f64,
    /// What multiplies it.
    #[serde(default)]
    pub scale: PerturbationScale,
}

/// A model with perturbed scores. r is tanh of a network (θ, x, α_t) → 5m ReLU → m with random weights (PyTorch's default
/// initialisation), as in the authors' code.
#[derive(Debug, Clone)]
pub struct Perturbed<M> {
    inner: M,
    perturbation: Perturbation,
    engine: Engine<f64>,
}

/// The inner context and the raw observations.
#[derive(Debug, Clone)]
pub struct PerturbedContext<C> {
    inner: C,
    observations: Vec<f64>,
}

impl<C: ScoreContext> ScoreContext for PerturbedContext<C> {
    fn groups(&self) -> usize {
        self.inner.groups()
    }

    fn factors(&self, group: usize) -> Range<usize> {
        self.inner.factors(group)
    }
}

/// The inner workspace and the network's.
pub struct PerturbedWorkspace<W> {
    inner: W,
    theta: Vec<f64>,
    alpha: f64,
    factor: f64,
    forward: ForwardWorkspace<f64>,
    tangent: TangentWorkspace<f64>,
    input: Vec<f64>,
    output: Vec<f64>,
    tangents: Vec<f64>,
    jacobian: Vec<f64>,
}

/// Pairs sent through the network at a time.
const ROWS: usize = 64;

impl<M: ScoreModel> Perturbed<M> {
    /// Perturbs `inner`, whose factors must be single observations; the network's weights come from `key`.
    ///
    /// # Errors
    /// When ε is negative or not finite.
    pub fn new(inner: M, perturbation: Perturbation, key: StreamKey) -> Result<Self> {
        if !(perturbation.amplitude >= 0.0 && perturbation.amplitude.is_finite()) {
            return Err(InferenceError::Option { option: "amplitude", message: "must be finite and ≥ 0".into() });
        }
        let m = inner.dim_theta();
        let spec = MlpSpec::plain(m + inner.dim_x() + 1, vec![5 * m], m, Activation::Relu);
        let network = Mlp::random(spec, LastLayer::Random, &mut key.child(Purpose::Initialization).rng(0))?;
        Ok(Self { inner, perturbation, engine: Engine::new(&network) })
    }

    fn fill_input(
        &self,
        context: &PerturbedContext<M::Context>,
        pairs: &[Pair],
        work: &mut PerturbedWorkspace<M::Workspace>,
    ) {
        let (m, d) = (self.inner.dim_theta(), self.inner.dim_x());
        for (pair, row) in pairs.iter().zip(work.input.chunks_exact_mut(m + d + 1)) {
            row[..m].copy_from_slice(&work.theta[pair.particle as usize * m..][..m]);
            row[m..m + d].copy_from_slice(&context.observations[pair.factor as usize * d..][..d]);
            row[m + d] = work.alpha;
        }
    }
}

impl<M: ScoreModel> ScoreModel for Perturbed<M> {
    type Context = PerturbedContext<M::Context>;
    type Workspace = PerturbedWorkspace<M::Workspace>;

    fn dim_theta(&self) -> usize {
        self.inner.dim_theta()
    }

    fn dim_x(&self) -> usize {
        self.inner.dim_x()
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        self.inner.schedule()
    }

    fn context(&self, groups: &[ArrayView2<'_, f32>]) -> Result<Self::Context> {
        let inner = self.inner.context(groups)?;
        let observations: Vec<f64> = groups.iter().flat_map(|group| group.iter().map(|&x| f64::from(x))).collect();
        let factors = (0..inner.groups()).map(|group| inner.factors(group).end).max().unwrap_or(0);
        if factors * self.dim_x() != observations.len() {
            return Err(InferenceError::Shape {
                what: "factors of a perturbed model",
                expected: "one an observation".into(),
                found: factors.to_string(),
            });
        }
        Ok(PerturbedContext { inner, observations })
    }

    fn workspace(&self, max_particles: usize) -> Self::Workspace {
        let (m, spec) = (self.dim_theta(), self.engine.spec());
        PerturbedWorkspace {
            inner: self.inner.workspace(max_particles),
            theta: vec![0.0; max_particles * m],
            alpha: 0.0,
            factor: 0.0,
            forward: ForwardWorkspace::new(spec, ROWS),
            tangent: TangentWorkspace::new(spec, ROWS, m),
            input: vec![0.0; ROWS * spec.input],
            output: vec![0.0; ROWS * m],
            tangents: unit_tangents(ROWS, m, spec.input),
            jacobian: vec![0.0; ROWS * m * m],
        }
    }

    fn begin(&self, theta: &[f64], t: f64, work: &mut Self::Workspace) {
        self.inner.begin(theta, t, &mut work.inner);
        work.theta[..theta.len()].copy_from_slice(theta);
        let level = Level::new(self.schedule(), t);
        work.alpha = level.alpha;
        work.factor = self.perturbation.amplitude
            * match self.perturbation.scale {
                PerturbationScale::NoisePredictor => 1.0 / level.variance.sqrt(),
                PerturbationScale::AsPrinted => level.variance.sqrt(),
            };
    }

    fn scores(&self, context: &Self::Context, pairs: &[Pair], work: &mut Self::Workspace, out: &mut [f64]) {
        self.inner.scores(&context.inner, pairs, &mut work.inner, out);
        let (m, width) = (self.dim_theta(), self.engine.spec().input);
        for (pairs, out) in pairs.chunks(ROWS).zip(out.chunks_mut(ROWS * m)) {
            self.fill_input(context, pairs, work);
            let output = &mut work.output[..pairs.len() * m];
            self.engine.forward(&work.input[..pairs.len() * width], &mut work.forward, output);
            for (score, value) in out.iter_mut().zip(output) {
                *score += work.factor * value.tanh();
            }
        }
    }

    fn scores_and_jacobians(
        &self,
        context: &Self::Context,
        pairs: &[Pair],
        work: &mut Self::Workspace,
        out: &mut [f64],
        jacobians: &mut [f64],
    ) {
        self.inner.scores_and_jacobians(&context.inner, pairs, &mut work.inner, out, jacobians);
        let (m, width) = (self.dim_theta(), self.engine.spec().input);
        let tiles = pairs.chunks(ROWS).zip(out.chunks_mut(ROWS * m)).zip(jacobians.chunks_mut(ROWS * m * m));
        for ((pairs, out), jacobians) in tiles {
            self.fill_input(context, pairs, work);
            let rows = pairs.len();
            self.engine.tangent(
                &work.input[..rows * width],
                &work.tangents[..rows * m * width],
                m,
                &mut work.tangent,
                &mut work.output[..rows * m],
                &mut work.jacobian[..rows * m * m],
            );
            for row in 0..rows {
                for a in 0..m {
                    let value = work.output[row * m + a].tanh();
                    out[row * m + a] += work.factor * value;
                    for b in 0..m {
                        // The engine gives tangents along input b in row b.
                        let slope = work.jacobian[(row * m + b) * m + a];
                        jacobians[(row * m + a) * m + b] += work.factor * (1.0 - value * value) * slope;
                    }
                }
            }
        }
    }

    fn covariances(&self, context: &Self::Context) -> Option<Vec<f64>> {
        self.inner.covariances(&context.inner)
    }

    fn means(&self, context: &Self::Context) -> Option<Vec<f64>> {
        self.inner.means(&context.inner)
    }

    fn max_noise(&self) -> Option<f64> {
        self.inner.max_noise()
    }
}

/// Unit vectors of the first m inputs for each row, (rows, m, width).
fn unit_tangents(rows: usize, m: usize, width: usize) -> Vec<f64> {
    let mut out = vec![0.0; rows * m * width];
    for (index, tangent) in out.chunks_exact_mut(width).enumerate() {
        tangent[index % m] = 1.0;
    }
    out
}
