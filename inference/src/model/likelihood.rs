//! A neural likelihood (Papamakarios et al. 2019, arXiv 1805.07226): p(x|θ) as a Gaussian mixture whose parameters a network
//! gives from the latent θ.
//!
//! The posterior given n observations is then known up to a constant, λ(θ) Π_j p(x_j|θ), with no composition of scores and
//! no sum of n networks' errors: the network sees θ alone, so that an evaluation costs the same for any n (a single Gaussian
//! needs the observations' mean and scatter only). It pays where the likelihood is simpler than the posterior. Sampled by
//! [tempering](crate::tempering).

mod information;
mod sums;

use super::cells::Cells;
use super::density::{MixtureLayout, MixtureScratch};
use super::location::Moved;
use super::mixed::Categories;
use super::observation_map::ObservationMap;
use super::observed::{Asked, Group, Observed, patterns};
pub use super::observed::{Conditioned, LikelihoodContext};
use super::shared::Sample;
use super::simulated::Region;
use super::tails::{TailInformation, TailTangent};
use super::trained::Success;
use crate::tempering::{Likelihood, Local};
use crate::{InferenceError, Result};
use information::transpose;
use ndarray::ArrayView2;
use tallsbi_data::{SignedPermutation, Symmetry};
use tallsbi_network::{Engine, Mlp, TangentWorkspace};

/// Observations' worth of likelihood up to which particles follow some of the networks in place of all, if their averages differ by
/// as much as one member's own error: an error of a tenth of a nat an observation still weighs little there.
const COARSE_OBSERVATIONS: f64 = 2.25;

/// Prior standard deviations within which networks are evaluated: no training set has many rows beyond. Means go on linearly.
const RANGE: f32 = 5.0;

/// Particles evaluated together.
const TILE_ROWS: usize = 32;

/// A likelihood network ready to be sampled from. Implements [`Likelihood`].
#[derive(Debug, Clone)]
pub struct LikelihoodModel {
    members: Vec<Engine<f32>>,
    layout: MixtureLayout,
    cells: Option<Cells>,
    categories: Option<Categories>,
    symmetry: Symmetry,
    maps: Conditioned,
    /// Parameters that the networks do not see.
    pub(super) moved: Vec<Moved>,
    /// The log-odds that a row of simulations succeeds, and how many observations a row had.
    success: Option<(Engine<f32>, f64)>,
    /// Where simulations were.
    region: Option<Region>,
    /// The first half of several networks, and up to how many observations' worth it stands in for all.
    coarse: Option<(Box<Self>, f64)>,
}

impl LikelihoodModel {
    /// Prepares the networks, whose outputs are those of `layout`; those of several are averaged. They see one point of each orbit
    /// of `symmetry` only.
    pub fn new(members: &[Mlp<f32>], layout: MixtureLayout, symmetry: Symmetry, map: ObservationMap) -> Self {
        Self::with_conditions(members, layout, symmetry, Conditioned::new(map, 0))
    }

    /// The same of networks whose inputs are the latent θ and then the standardised conditions of `maps`.
    pub fn with_conditions(members: &[Mlp<f32>], layout: MixtureLayout, symmetry: Symmetry, maps: Conditioned) -> Self {
        assert!(!members.is_empty(), "at least one network");
        for network in members {
            assert_eq!(network.spec().output, layout.outputs(), "the networks' outputs are those of the mixture");
        }
        let cells = if layout.cells { Cells::new(maps.observed()) } else { None };
        let categories = layout.mixed.and_then(|_| Categories::new(maps.observed()));
        let (all, half) = (members.len(), members.len() / 2);
        let coarse = (half > 0).then(|| {
            let coarse = Self::with_conditions(&members[..half], layout, symmetry.clone(), maps.clone());
            // Members' errors that are independent leave the averages this far apart, in squares of one member's.
            let difference = 1.0 / half as f64 - 1.0 / all as f64;
            (Box::new(coarse), COARSE_OBSERVATIONS / difference)
        });
        let members = members.iter().map(Engine::new).collect();
        let moved = Vec::new();
        Self { members, layout, cells, categories, symmetry, maps, moved, success: None, region: None, coarse }
    }

    /// The same with location parameters, which no map of the symmetry moves.
    #[must_use]
    pub fn moved_by(self, moved: &[Moved]) -> Self {
        let coarse = self.coarse.map(|(model, observations)| (Box::new(model.moved_by(moved)), observations));
        Self { moved: moved.to_vec(), coarse, ..self }
    }

    /// The same, each observation multiplied by the probability that it succeeds.
    #[must_use]
    pub fn with_success(self, success: Option<&Success>) -> Self {
        let coarse = self.coarse.map(|(model, observations)| (Box::new(model.with_success(success)), observations));
        let success = success.map(|success| (Engine::new(&success.network), success.observations as f64));
        Self { success, coarse, ..self }
    }

    /// The same, bounded by where simulations were.
    #[must_use]
    pub fn within(self, region: Option<&Region>) -> Self {
        let coarse = self.coarse.map(|(model, observations)| (Box::new(model.within(region)), observations));
        Self { region: region.cloned(), coarse, ..self }
    }

    /// Each network for itself, as if all simulations had succeeded and been made over the whole prior.
    pub(super) fn each_alone(&self) -> Vec<Self> {
        let alone = |member: &Engine<f32>| Self {
            members: vec![member.clone()],
            success: None,
            region: None,
            coarse: None,
            ..self.clone()
        };
        self.members.iter().map(alone).collect()
    }

    /// Whether observations share an error of the network, so that they are not independent given θ.
    pub fn shares_error(&self) -> bool {
        self.layout.shared
    }

    /// Refuses an option that needs observations to be independent given θ.
    ///
    /// # Errors
    /// When they share an error.
    pub(super) fn check_independent(&self, option: &'static str) -> Result<()> {
        if !self.shares_error() {
            return Ok(());
        }
        let message = "needs independent observations, but the model learned an error that they share; train with shared_error = false";
        Err(InferenceError::Option { option, message: message.into() })
    }

    /// Where simulations were, if not over the whole prior.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }
}

/// Buffers of one worker.
#[derive(Debug, Clone)]
pub struct LikelihoodWorkspace {
    input: Vec<f32>,
    tangents: Vec<f32>,
    out: Vec<f32>,
    out_tangents: Vec<f32>,
    own: Vec<f32>,
    own_tangents: Vec<f32>,
    /// Of a row, by all parameters.
    all_tangents: Vec<f32>,
    /// Parameters that the networks see.
    seen: Vec<usize>,
    network: TangentWorkspace<f32>,
    /// Of the log-odds of success.
    success: Option<TangentWorkspace<f32>>,
    row: RowScratch,
    /// Of observations under one of several conditions.
    group: Local,
    /// How far each coordinate of a tile lies beyond the range that networks are used in.
    beyond: Vec<f32>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct RowScratch {
    pub(super) mixture: MixtureScratch,
    /// Gradient with respect to the outputs.
    pub(super) slope: Vec<f64>,
    /// How many observations have each pattern of missing values.
    pub(super) counts: Vec<f64>,
    /// Lᵀ ∂_a μ and the entries of L⁻¹ ∂_a L, one row a parameter.
    whitened: Vec<f64>,
    relative: Vec<f64>,
    tangent: Vec<f64>,
    /// Roots of the information in each column, where there are cells.
    roots: Vec<[f64; 3]>,
    /// Where components are Student t: each group's information, and its tangents by parameters.
    tails: Vec<TailInformation>,
    tail_tangents: Vec<TailTangent>,
    /// Each observation's slope, where the information is made of them.
    pub(super) each: Vec<f64>,
}

impl Likelihood for LikelihoodModel {
    type Context = LikelihoodContext;
    type Workspace = LikelihoodWorkspace;

    fn dim_theta(&self) -> usize {
        self.members[0].spec().input - self.maps.conditions()
    }

    fn symmetry(&self) -> Option<&Symmetry> {
        Some(&self.symmetry)
    }

    fn coarse(&self) -> Option<(&Self, f64)> {
        self.coarse.as_ref().map(|(model, observations)| (&**model, *observations))
    }

    fn context(&self, x: ArrayView2<'_, f32>) -> Result<LikelihoodContext> {
        let features = self.maps.features(x)?;
        if let Some(cells) = &self.cells {
            cells.check(self.maps.measured(x))?;
        }
        if let Some(categories) = &self.categories {
            categories.check(self.maps.measured(x))?;
        }
        let d = self.maps.observed().dim();
        let group = |(condition, rows): (Vec<f32>, Vec<usize>)| {
            let rows = rows.iter().map(|row| &features[row * d..(row + 1) * d]);
            let known: Vec<&[f32]> = rows.filter(|row| !row.iter().all(|value| value.is_nan())).collect();
            (!known.is_empty()).then(|| self.group(condition, known.len() as f64, known.concat()))
        };
        let groups: Vec<Group> = self.maps.groups(x)?.into_iter().filter_map(group).collect();
        if groups.is_empty() {
            return Err(InferenceError::NothingObserved { rows: x.nrows() });
        }
        if self.layout.shared && groups.iter().any(|group| group.patterns.len() > 1) {
            return Err(InferenceError::MissingUnlike);
        }
        Ok(LikelihoodContext { groups })
    }

    fn workspace(&self) -> LikelihoodWorkspace {
        let spec = self.members[0].spec();
        let (m, seen) = (self.dim_theta(), self.seen());
        let mut tangents = vec![0.0; TILE_ROWS * seen.len() * spec.input];
        for (row, &input) in tangents.chunks_exact_mut(spec.input).zip(seen.iter().cycle()) {
            row[input] = 1.0;
        }
        LikelihoodWorkspace {
            input: vec![0.0; TILE_ROWS * spec.input],
            tangents,
            out: vec![0.0; TILE_ROWS * spec.output],
            out_tangents: vec![0.0; TILE_ROWS * seen.len() * spec.output],
            own: vec![0.0; TILE_ROWS * spec.output],
            own_tangents: vec![0.0; TILE_ROWS * seen.len() * spec.output],
            all_tangents: vec![0.0; m * spec.output],
            network: TangentWorkspace::new(spec, TILE_ROWS, seen.len()),
            success: (self.success.as_ref())
                .map(|(engine, _)| TangentWorkspace::new(engine.spec(), TILE_ROWS, seen.len())),
            seen,
            row: RowScratch::default(),
            group: Local::default(),
            beyond: vec![0.0; TILE_ROWS * m],
        }
    }

    fn evaluate(
        &self,
        context: &LikelihoodContext,
        theta: &[f64],
        workspace: &mut LikelihoodWorkspace,
        local: &mut Local,
    ) {
        let mut own = std::mem::take(&mut workspace.group);
        for (index, group) in context.groups.iter().enumerate() {
            let value = &mut |_: usize, row: &mut RowScratch| {
                row.counts.clone_from(&group.counts);
                self.log_likelihood(group, row)
            };
            if index == 0 {
                self.evaluate_rows(group.asked(), theta, workspace, local, value);
            } else {
                self.evaluate_rows(group.asked(), theta, workspace, &mut own, value);
                local.add(&own);
            }
        }
        workspace.group = own;
    }
}

impl LikelihoodModel {
    /// Evaluates at the rows of `theta`, given what the values at a row are: of the observations that are `asked` for, from an expanded row whose
    /// slope is 0, it leaves gradient and counts (without patterns, each observation's gradient).
    pub(super) fn evaluate_rows(
        &self,
        Asked { condition, n, patterns }: Asked<'_>,
        theta: &[f64],
        workspace: &mut LikelihoodWorkspace,
        local: &mut Local,
        value: &mut dyn FnMut(usize, &mut RowScratch) -> f64,
    ) {
        let (m, outputs) = (self.dim_theta(), self.layout.outputs());
        let inputs = m + condition.len();
        assert_eq!(inputs, self.members[0].spec().input, "the conditions that the networks know");
        local.resize(theta.len() / m, m);
        let LikelihoodWorkspace {
            input,
            tangents,
            out,
            out_tangents,
            own,
            own_tangents,
            all_tangents,
            seen,
            network,
            success,
            row,
            group: _,
            beyond,
        } = workspace;
        for (tile, theta) in theta.chunks(TILE_ROWS * m).enumerate() {
            let rows = theta.len() / m;
            let input = &mut input[..rows * inputs];
            let images = self.assemble(theta, condition, input);
            let beyond = &mut beyond[..rows * m];
            keep_within(input.chunks_exact_mut(inputs).flat_map(|input| &mut input[..m]), beyond);
            let out = &mut out[..rows * outputs];
            let lines = rows * seen.len();
            let out_tangents = &mut out_tangents[..lines * outputs];
            let (own, own_tangents) = (&mut own[..out.len()], &mut own_tangents[..out_tangents.len()]);
            out.fill(0.0);
            out_tangents.fill(0.0);
            let share = 1.0 / self.members.len() as f32;
            for member in &self.members {
                member.tangent(input, &tangents[..lines * inputs], seen.len(), network, own, own_tangents);
                out.iter_mut().zip(&*own).for_each(|(sum, value)| *sum += share * value);
                out_tangents.iter_mut().zip(&*own_tangents).for_each(|(sum, value)| *sum += share * value);
            }
            let by_row = out.chunks_mut(outputs).zip(out_tangents.chunks_exact(seen.len() * outputs));
            for (i, (out, by_seen)) in by_row.enumerate() {
                let index = tile * TILE_ROWS + i;
                let tangents = &mut *all_tangents;
                for (by, &parameter) in by_seen.chunks_exact(outputs).zip(&*seen) {
                    tangents[parameter * outputs..(parameter + 1) * outputs].copy_from_slice(by);
                }
                self.continue_linearly(&beyond[i * m..(i + 1) * m], out, tangents);
                let z = &theta[i * m..(i + 1) * m];
                self.moved.iter().for_each(|moved| moved.apply(z, &self.layout, out, tangents));
                self.layout.expand(out, &mut row.mixture);
                row.slope.clear();
                row.slope.resize(outputs, 0.0);
                local.values[index] = value(index, row);
                let gradient = &mut local.gradients[index * m..(index + 1) * m];
                for (gradient, tangent) in gradient.iter_mut().zip(tangents.chunks(outputs)) {
                    *gradient = row.slope.iter().zip(tangent).map(|(s, &t)| s * f64::from(t)).sum();
                }
                let information = &mut local.informations[index * m * m..(index + 1) * m * m];
                self.information(patterns, tangents, row, information);
            }
            if let (Some((engine, observations)), Some(network)) = (&self.success, success.as_mut()) {
                let (own, own_tangents) = (&mut own[..rows], &mut own_tangents[..lines]);
                engine.tangent(input, &tangents[..lines * inputs], seen.len(), network, own, own_tangents);
                for (i, (log_odds, by_seen)) in own.iter().zip(own_tangents.chunks_exact(seen.len())).enumerate() {
                    let mut slope = vec![0.0; m];
                    by_seen.iter().zip(&*seen).for_each(|(&by, &parameter)| slope[parameter] = by.into());
                    let log_odds =
                        (0..m).fold(f64::from(*log_odds), |sum, a| sum + slope[a] * f64::from(beyond[i * m + a]));
                    succeed(n / observations, log_odds, &slope, local, tile * TILE_ROWS + i);
                }
            }
            for (i, image) in images.iter().enumerate() {
                let index = tile * TILE_ROWS + i;
                let gradient = &mut local.gradients[index * m..(index + 1) * m];
                transpose(image, gradient, &mut local.informations[index * m * m..(index + 1) * m * m]);
            }
        }
        self.bound(n, theta, local);
    }

    /// Parameters that the networks see; all, where that would be none.
    fn seen(&self) -> Vec<usize> {
        let m = self.dim_theta();
        let hidden = |input: &usize| self.moved.iter().any(|moved| moved.parameter() == *input);
        let seen: Vec<usize> = (0..m).filter(|input| !hidden(input)).collect();
        if seen.is_empty() { (0..m).collect() } else { seen }
    }

    /// What the networks see at the rows of `theta` under a condition; the maps that take each row there.
    fn assemble(&self, theta: &[f64], condition: &[f32], input: &mut [f32]) -> Vec<&SignedPermutation> {
        let m = self.dim_theta();
        let rows = theta.chunks_exact(m).zip(input.chunks_exact_mut(m + condition.len()));
        let image = |(theta, input): (&[f64], &mut [f32])| {
            let (element, image) = self.symmetry.canonical(theta);
            input.iter_mut().zip(&image).for_each(|(out, &value)| *out = value as f32);
            self.moved.iter().for_each(|moved| input[moved.parameter()] = 0.0);
            input[m..].copy_from_slice(condition);
            element
        };
        rows.map(image).collect()
    }

    /// Bounds what n observations say by where simulations were.
    fn bound(&self, n: f64, theta: &[f64], local: &mut Local) {
        if let Some(region) = &self.region {
            let rows = theta.chunks_exact(self.dim_theta()).enumerate();
            rows.for_each(|(index, u)| region.bound(n, u, local, index));
        }
    }

    /// The context of n observations under one condition whose features, (n, d), are known.
    pub(crate) fn context_of(&self, condition: &[f32], n: f64, features: Vec<f32>) -> LikelihoodContext {
        LikelihoodContext { groups: vec![self.group(condition.to_vec(), n, features)] }
    }

    fn group(&self, condition: Vec<f32>, n: f64, features: Vec<f32>) -> Group {
        let points: Vec<f64> = features.into_iter().map(f64::from).collect();
        let patterns = if self.categories.is_some() { Vec::new() } else { patterns(&points, self.layout.dim) };
        let observed = match &self.categories {
            None => Observed::new(points, self.layout, self.cells.as_ref()),
            Some(categories) => vec![Observed::mixed(&points, self.layout, categories)],
        };
        let (patterns, counts) = patterns.into_iter().unzip();
        Group { condition, n, observed, patterns, counts }
    }

    /// A single observation's standardised values (d), for itself.
    pub(super) fn alone(&self, features: &[f64]) -> Observed {
        match (&self.categories, &self.cells) {
            (Some(categories), _) => Observed::mixed(features, self.layout, categories),
            (None, Some(cells)) => Observed::intervals(features, cells),
            (None, None) if self.layout.shared => Observed::Shared(Sample::new(features, self.layout.dim)),
            (None, None) => Observed::Points(features.to_vec()),
        }
    }

    /// How rows of conditions and observations are taken.
    pub(super) fn maps(&self) -> &Conditioned {
        &self.maps
    }

    /// What the networks' outputs are.
    pub(super) fn layout(&self) -> MixtureLayout {
        self.layout
    }

    /// How columns of an observation are taken: standardised, as cells, as categories.
    pub(super) fn columns(&self) -> (&ObservationMap, Option<&Cells>, Option<&Categories>) {
        (self.maps.observed(), self.cells.as_ref(), self.categories.as_ref())
    }

    /// Continues the means linearly from where the networks are evaluated to a point that lies further out, by `beyond`; weights and
    /// precisions stay. Exact for linear models; for others no promise, but the sign of a trend is kept.
    fn continue_linearly(&self, beyond: &[f32], out: &mut [f32], tangents: &mut [f32]) {
        let (layout, outputs) = (self.layout, self.layout.outputs());
        for (a, &distance) in beyond.iter().enumerate().filter(|(_, distance)| **distance != 0.0) {
            let mut own = vec![0.0; outputs];
            for c in 0..layout.components {
                let means = layout.mean_offset(c)..layout.mean_offset(c) + layout.dim;
                own[means.clone()].copy_from_slice(&tangents[a * outputs..(a + 1) * outputs][means]);
            }
            out.iter_mut().zip(&own).for_each(|(out, slope)| *out += distance * slope);
            tangents[a * outputs..(a + 1) * outputs].copy_from_slice(&own);
        }
    }
}

/// Keeps inputs within the range that networks are used in, and tells how far beyond it they were.
fn keep_within<'a>(values: impl Iterator<Item = &'a mut f32>, beyond: &mut [f32]) {
    for (value, beyond) in values.zip(beyond) {
        let within = value.clamp(-RANGE, RANGE);
        *beyond = *value - within;
        *value = within;
    }
}

/// Adds n log p, p = 1/(1 + e^-f), its gradient n (1 - p) ∂f, and to the metric its negative second derivative n p (1 - p) ∂f ∂fᵀ,
/// the curvature of f left out.
pub(crate) fn succeed(n: f64, log_odds: f64, slope: &[f64], local: &mut Local, index: usize) {
    let m = slope.len();
    // log p without overflow.
    local.values[index] -= n * ((-log_odds.abs()).exp().ln_1p() + (-log_odds).max(0.0));
    let failure = 1.0 / (1.0 + log_odds.exp());
    for a in 0..m {
        local.gradients[index * m + a] += n * failure * slope[a];
        for b in 0..m {
            local.informations[(index * m + a) * m + b] += n * failure * (1.0 - failure) * slope[a] * slope[b];
        }
    }
}
