//! F-NPSE (Geffner et al. 2023; the paper's LANGEVIN, eq. 9): sums of scores with a bridge for the surplus priors. Not the score
//! of the diffused tall posterior except at t = 0: samplers that rely on it being so are biased.

use super::MiniBatch;
use super::composition::{Chunk, PriorTerm};
use super::{PosteriorScore, ScoreCounters, ScoreModel};
use crate::Result;
use crate::prior_score::Level;
use crate::schedule::NoiseSchedule;
use crate::small_matrix::add_scaled;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Choice, Named};

/// The prior's part of the bridging densities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bridge {
    /// (1-n) s_λ(θ, t): the diffused prior, as the authors' code has it.
    #[default]
    Diffused,
    /// (1-n) (1-t) ∇ log λ(θ): the undiffused prior, as the paper prints it.
    Clean,
}

impl Named for Bridge {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("diffused", "The diffused prior, as the authors' code has it", Self::Diffused),
            Choice::new("clean", "The undiffused prior, as the paper prints it", Self::Clean),
        ]
    }
}

/// Σ_j s_j plus the bridge.
pub struct FactorizedScore<'a, M: ScoreModel> {
    chunk: Chunk<'a, M>,
    prior: PriorTerm<'a, M>,
    bridge: Bridge,
    mini_batch: Option<MiniBatch>,
    scores: Vec<f64>,
    prior_scores: Vec<f64>,
}

impl<'a, M: ScoreModel> FactorizedScore<'a, M> {
    /// The score for particles of the given groups (equal groups side by side); `subsets` as for
    /// [`TallScore`](super::TallScore). A learned prior has no undiffused score, so its bridge is always the diffused one.
    pub fn new(
        model: &'a M,
        context: &'a M::Context,
        prior: PriorTerm<'a, M>,
        bridge: Bridge,
        mini_batch: Option<MiniBatch>,
        groups: Vec<u32>,
        subsets: Vec<Pcg64>,
    ) -> Self {
        let m = model.dim_theta();
        let particles = groups.len();
        Self {
            chunk: Chunk::new(model, context, groups, subsets),
            prior,
            bridge,
            mini_batch,
            scores: vec![0.0; super::composition::TILE * m],
            prior_scores: vec![0.0; particles * m],
        }
    }

    /// Σ_j s_j into `factors` and the bridge's prior score into `prior`, both (P, m).
    fn sum(&mut self, theta: &[f64], t: f64, factors: &mut [f64], prior: &mut [f64]) {
        let m = self.chunk.model.dim_theta();
        let level = Level::new(self.chunk.model.schedule(), t);
        let Self { chunk, scores, .. } = self;
        factors.fill(0.0);
        chunk.model.begin(theta, t, &mut chunk.workspace);
        chunk.for_each_tile(self.mini_batch.map(|b| b.size), |model, context, pairs, weights, workspace| {
            let scores = &mut scores[..pairs.len() * m];
            model.scores(context, pairs, workspace, scores);
            for ((pair, weight), score) in pairs.iter().zip(weights).zip(scores.chunks_exact(m)) {
                let particle = pair.particle as usize;
                add_scaled(*weight, score, &mut factors[particle * m..(particle + 1) * m]);
            }
        });
        match self.prior {
            PriorTerm::Analytic(diffused) => {
                for (theta, prior) in theta.chunks_exact(m).zip(prior.chunks_exact_mut(m)) {
                    match self.bridge {
                        Bridge::Diffused => diffused.evaluate(theta, level, prior, None),
                        Bridge::Clean => {
                            diffused.undiffused_score(theta, prior);
                            prior.iter_mut().for_each(|value| *value *= 1.0 - t);
                        }
                    }
                }
            }
            PriorTerm::Learned(null) => chunk.for_each_null_tile(null, |model, context, pairs, _, workspace| {
                let first = pairs[0].particle as usize;
                model.scores(context, pairs, workspace, &mut prior[first * m..(first + pairs.len()) * m]);
            }),
        }
    }
}

impl<M: ScoreModel> PosteriorScore for FactorizedScore<'_, M> {
    fn dim(&self) -> usize {
        self.chunk.model.dim_theta()
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        self.chunk.model.schedule()
    }

    fn score(&mut self, theta: &[f64], t: f64, out: &mut [f64]) -> Result<()> {
        let m = self.dim();
        let mut prior = std::mem::take(&mut self.prior_scores);
        self.sum(theta, t, out, &mut prior);
        let damping = self.mini_batch.map_or(1.0, |b| b.damping.powf(t));
        for (particle, (out, prior)) in out.chunks_exact_mut(m).zip(prior.chunks_exact(m)).enumerate() {
            let n = self.chunk.count(particle);
            if n > 1 {
                add_scaled(1.0 - n as f64, prior, out);
                out.iter_mut().for_each(|value| *value *= damping);
            }
        }
        self.prior_scores = prior;
        Ok(())
    }

    fn parts(
        &mut self,
        theta: &[f64],
        t: f64,
        factors: &mut [f64],
        prior: &mut [f64],
        counts: &mut [f64],
    ) -> Result<bool> {
        self.sum(theta, t, factors, prior);
        for (particle, count) in counts.iter_mut().enumerate() {
            *count = self.chunk.count(particle) as f64;
        }
        Ok(true)
    }

    fn counters(&self) -> ScoreCounters {
        self.chunk.counted
    }
}
