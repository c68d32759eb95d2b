//! What a study of toy problems does, as TOML.

use super::super::Preset;
use super::super::options::check_range;
use crate::error::usage;
use crate::study::named_sampler::NamedSampler;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use tallsbi::inference::analytic::{PerturbationScale, ToyProblem};

/// A study of samplers on problems whose scores and tall posteriors are known, with controlled errors of the score (paper
/// Sec. 4.1).
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `kind` | | `"toy"`: this schema | |
/// | `title` | | heading of the report | |
/// | `samples` | 1000 | samples of each posterior, and of the exact one | ≥ 50 |
/// | `projections` | 1000 | directions of the sliced distances | ≥ 1 |
/// | `perturbation` | `"noise-predictor"` | whether ε is an error of the noise predictor, or as the paper prints it | |
/// | `shown_n_obs` | 1, 4, 16, 64 | posteriors to draw in two dimensions, exact and by GAUSS; none if empty | increasing |
/// | `grids` | | what to run: all combinations of each grid's lists | at least one |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToyOptions {
    /// Which schema this is.
    pub kind: ToyKind,
    /// Heading of the report.
    pub title: String,
    /// Samples of each posterior.
    pub samples: usize,
    /// Directions of the sliced distances.
    pub projections: usize,
    /// What multiplies ε r(θ, x, α_t).
    pub perturbation: PerturbationScale,
    /// Numbers of observations of the posteriors that are drawn.
    pub shown_n_obs: Vec<usize>,
    /// What to run.
    pub grids: Vec<ToyGrid>,
}

/// The one value of `kind` in this schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToyKind {
    /// A study of toy problems.
    #[default]
    Toy,
}

/// Runs: all combinations of the lists. Where grids overlap, what they share is run once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToyGrid {
    /// The problem.
    pub problem: ToyProblem,
    /// Numbers of parameters m.
    pub dimensions: Vec<usize>,
    /// Numbers of observations n.
    pub n_obs: Vec<usize>,
    /// Errors of the score ε.
    pub amplitudes: Vec<f64>,
    /// True parameters, each with its own observations and error network: 0 to `seeds` - 1.
    pub seeds: usize,
    /// Methods and numbers of steps, such as `"gauss-1000"` or `"langevin-400"`.
    pub samplers: Vec<NamedSampler>,
}

impl Default for ToyOptions {
    fn default() -> Self {
        Self {
            kind: ToyKind::Toy,
            title: String::new(),
            samples: 1000,
            projections: 1000,
            perturbation: PerturbationScale::default(),
            shown_n_obs: vec![1, 4, 16, 64],
            grids: Vec::new(),
        }
    }
}

/// Numbers of observations of the authors' data (`n ∈ [1, 100]` in the text).
const N_OBS: [usize; 7] = [2, 4, 8, 16, 32, 64, 90];
/// Errors ε of the paper.
const AMPLITUDES: [f64; 4] = [0.0, 1e-3, 1e-2, 1e-1];

impl ToyOptions {
    /// The paper's Sec. 4.1 and App. G: Tables 1, 2 and 4, Figures 1, 2, 8 and 9. `quick` leaves out most dimensions except in
    /// the timings, and takes fewer seeds, samples and steps.
    pub fn paper_section(preset: Preset) -> Self {
        let samplers =
            |names: &str| names.split(' ').filter_map(|name| name.parse().ok()).collect::<Vec<NamedSampler>>();
        let grid = |problem, dimensions: &[usize], n_obs: &[usize], amplitudes: &[f64], seeds, names: &str| ToyGrid {
            problem,
            dimensions: dimensions.to_vec(),
            n_obs: n_obs.to_vec(),
            amplitudes: amplitudes.to_vec(),
            seeds,
            samplers: samplers(names),
        };
        let (gaussian, mixture) = (ToyProblem::Gaussian, ToyProblem::Mixture);
        let title = "How well, and how fast, tall posteriors are sampled when scores are known".into();
        match preset {
            Preset::Full | Preset::Paper => {
                let all = "gauss-50 gauss-150 gauss-400 gauss-1000 jac-50 jac-150 jac-400 jac-1000 \
                           langevin-50 langevin-150 langevin-400 langevin-1000 gauss-dpm-30 jac-dpm-30";
                let equivalent = "gauss-1000 jac-400 langevin-400 gauss-dpm-30";
                let timed = "gauss-50 gauss-150 gauss-400 jac-50 jac-150 jac-400 langevin-50 langevin-150 langevin-400";
                let dimensions = [2, 4, 8, 10, 16, 32];
                Self {
                    title,
                    grids: vec![
                        grid(gaussian, &[10], &[32], &[1e-2], 5, all),
                        grid(mixture, &[10], &[32], &[1e-2], 5, all),
                        grid(gaussian, &dimensions, &[8], &[1e-2], 1, timed),
                        grid(gaussian, &dimensions, &N_OBS, &AMPLITUDES, 5, equivalent),
                        grid(mixture, &[10], &N_OBS, &AMPLITUDES, 5, equivalent),
                    ],
                    ..Self::default()
                }
            }
            Preset::Quick | Preset::Refined => {
                let table = "gauss-50 gauss-150 gauss-400 gauss-1000 jac-50 jac-150 \
                             langevin-50 langevin-150 langevin-400 gauss-dpm-30";
                let figure = "gauss-150 jac-150 langevin-150 gauss-dpm-30";
                let n_obs = [2, 8, 32, 90];
                Self {
                    title,
                    samples: 300,
                    grids: vec![
                        grid(gaussian, &[10], &[32], &[1e-2], 5, table),
                        grid(mixture, &[10], &[32], &[1e-2], 2, table),
                        grid(gaussian, &[2, 4, 8, 10, 16, 32], &[4], &[1e-2], 1, "gauss-50 jac-50 langevin-50"),
                        grid(gaussian, &[2, 10], &n_obs, &AMPLITUDES, 1, figure),
                        grid(mixture, &[10], &n_obs, &AMPLITUDES, 1, figure),
                    ],
                    ..Self::default()
                }
            }
        }
    }

    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// The first option that cannot be, by name.
    pub fn validate(&self) -> Result<()> {
        check_range("samples", self.samples, 50, "samples")?;
        check_range("projections", self.projections, 1, "projections")?;
        let shown = &self.shown_n_obs;
        if shown.first() == Some(&0) || shown.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(usage("shown_n_obs: give numbers of observations that increase, such as [1, 8, 64]"));
        }
        if self.grids.is_empty() {
            return Err(usage(
                "grids: add at least one, [[grids]] with problem, dimensions, n_obs, amplitudes, seeds, samplers",
            ));
        }
        self.grids.iter().enumerate().try_for_each(|(index, grid)| {
            grid.validate().map_err(|error| usage(format!("grids: the {}. one: {error}", index + 1)))
        })
    }
}

impl ToyGrid {
    fn validate(&self) -> Result<()> {
        let positive = |values: &[usize]| !values.is_empty() && values.iter().all(|&value| value > 0);
        if !positive(&self.dimensions) || !positive(&self.n_obs) {
            anyhow::bail!("dimensions and n_obs must be lists of numbers that are at least 1");
        }
        if self.amplitudes.is_empty() || self.amplitudes.iter().any(|a| !(*a >= 0.0 && a.is_finite())) {
            anyhow::bail!("amplitudes must be a list of finite numbers that are at least 0");
        }
        if self.seeds == 0 || self.seeds > 1_000_000 || self.samplers.is_empty() {
            anyhow::bail!("seeds must be 1 to 1000000, each a run of its own, and samplers not empty");
        }
        if self.dimensions.iter().any(|&dimension| dimension > 4096) || self.n_obs.iter().any(|&n| n > 1_000_000) {
            anyhow::bail!(
                "dimensions must be at most 4096 and n_obs at most 1000000: covariances of more do not fit into memory"
            );
        }
        if self.samplers.contains(&NamedSampler::LIKELIHOOD) {
            anyhow::bail!("samplers: toy problems give scores, not likelihoods; leave out \"likelihood\"");
        }
        if let Some(sampler) = self.samplers.iter().find(|sampler| sampler.learned_prior) {
            anyhow::bail!("samplers: toy problems have no learned prior score; leave out \"{sampler}\"");
        }
        Ok(())
    }
}
