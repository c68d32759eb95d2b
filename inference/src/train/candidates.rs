//! The networks that are tried for a likelihood: their forms, layouts and first parameters.

use super::networks::NetworkId;
use super::options::{DensityForm, MOST_OUTPUTS};
use super::run::Run;
use super::streams::Stream;
use crate::Result;
use crate::model::cells::{Cells, Interval};
use crate::model::density::{MAX_COMPONENTS, MixtureScratch};
use crate::model::mixed::{Categories, Mixed};
use crate::model::{Covariance, MixtureLayout};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use std::ops::Range;
use tallsbi_data::{Purpose, StreamKey};
use tallsbi_network::{Engine, ForwardWorkspace, LastLayer, Mlp, MlpSpec};

/// Gaussians of each category, and whether real columns have edges: the forms that are tried where categories stand beside real numbers.
const MIXED_FORMS: [(usize, bool); 3] = [(1, false), (1, true), (4, true)];

/// Degrees of freedom that Student t's start with.
const START_FREEDOM: f64 = 4.0;

/// How many of a Student t's scales the means of a mixture that starts from it are moved at most.
const REACH: f64 = 2.0;

/// A network that is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) form: DensityForm,
    /// Components are those of each category, where categories are told from real numbers.
    pub(super) mixed: Option<Mixed>,
    /// Whether components are Student t in place of Gaussians.
    pub(super) tails: bool,
    /// Whether observations of one parameter share an error.
    pub(super) shared: bool,
    /// Without hidden layers.
    pub(super) linear: bool,
    /// Whether it may be chosen, or is there for a mixture to start from only.
    pub(super) eligible: bool,
    /// Which rows are held out.
    pub(super) fold: usize,
    /// Which of the run's streams it is initialised and trained from.
    pub(super) stream: Stream,
    /// The network of a single Gaussian that a mixture starts from.
    pub(super) origin: Option<NetworkId>,
}

impl Candidate {
    pub(super) fn categories(&self) -> usize {
        self.mixed.map_or(1, |mixed| mixed.categories)
    }

    /// Whether it is a single Student t that a mixture of some can start from.
    pub(super) fn is_deep_tail(&self) -> bool {
        self.tails && !self.linear && self.form.components == 1
    }
}

impl Run<'_> {
    /// What is tried first, simple networks before others.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let options = &self.options.likelihood;
        let outputs = |form: &DensityForm| MixtureLayout { components: 1, ..self.form_layout(form) }.outputs();
        let narrow = |form: &DensityForm| outputs(form) <= MOST_OUTPUTS;
        // Those that were asked for, if all are wide.
        let all = !options.candidates.iter().any(narrow);
        let forms = || options.candidates.iter().enumerate().filter(move |(_, form)| all || narrow(form));
        let single = |form: &DensityForm| form.components == 1;
        let candidate = |form, linear, stream| Candidate {
            form,
            mixed: None,
            tails: false,
            shared: forms().all(|(_, form)| self.may_share(form)),
            linear,
            eligible: true,
            fold: 0,
            stream,
            origin: None,
        };
        let linear = forms().filter(|(_, form)| options.linear && single(form));
        let linear = linear.map(|(i, &form)| candidate(form, true, self.other_stream(i)));
        let mut candidates: Vec<_> =
            linear.chain(forms().map(|(i, &form)| candidate(form, false, self.form_stream(i)))).collect();
        if let Some(categories) = self.categories().filter(|_| self.has_atoms() || forms().count() > 1) {
            // Mixtures that are to find the categories by themselves are worse in all, and have no density at atoms.
            candidates.retain(|candidate| candidate.form.components == 1 && !self.has_atoms());
            let asked: Vec<DensityForm> = forms().map(|(_, &form)| form).collect();
            for (i, (form, edges)) in self.mixed_forms(&asked, categories.count()).into_iter().enumerate() {
                let mixed = Some(Mixed { categories: categories.count(), edges });
                // A single form that was asked for may need another to start from.
                let eligible = asked.len() > 1 || i == 0;
                candidates.push(Candidate { mixed, eligible, ..candidate(form, false, self.mixed_stream(i)) });
            }
            return candidates;
        }
        // A mixture needs a single Gaussian to start from.
        for (i, &form) in forms() {
            let start = DensityForm { components: 1, ..form };
            if candidates.iter().all(|candidate| candidate.linear || candidate.form != start) {
                candidates.push(Candidate { eligible: false, ..candidate(start, false, self.other_stream(i)) });
            }
        }
        candidates
    }

    /// Forms of each category, and whether real columns have edges: the form that was asked for, with a single Gaussian to start from, or those that are usual.
    fn mixed_forms(&self, asked: &[DensityForm], categories: usize) -> Vec<(DensityForm, bool)> {
        if let [form] = asked {
            let components = form.components.min(MAX_COMPONENTS / categories);
            let forms = [components, 1].map(|components| (DensityForm { components, ..*form }, false));
            return forms[..if components > 1 { 2 } else { 1 }].to_vec();
        }
        let full = MixtureLayout::gaussian(self.data.dim_x).outputs() * categories <= MOST_OUTPUTS;
        let covariance = if full || !self.has_atoms() { Covariance::Full } else { Covariance::Diagonal };
        MIXED_FORMS.map(|(components, edges)| (DensityForm { components, covariance }, edges)).to_vec()
    }

    fn has_atoms(&self) -> bool {
        !self.data.observation_map.atoms.is_empty()
    }

    fn categories(&self) -> Option<Categories> {
        Categories::new(&self.data.observation_map)
    }

    pub(super) fn layout(&self, candidate: &Candidate) -> MixtureLayout {
        let layout = self.form_layout(&candidate.form);
        match (candidate.mixed, self.categories()) {
            (Some(mixed), Some(categories)) => MixtureLayout {
                components: layout.components * mixed.categories,
                dim: categories.real().count(),
                cells: false,
                mixed: Some(mixed),
                ..layout
            },
            // Tails are those of real numbers.
            _ => MixtureLayout {
                tails: candidate.tails,
                shared: candidate.shared,
                cells: layout.cells && !candidate.tails,
                ..layout
            },
        }
    }

    fn form_layout(&self, form: &DensityForm) -> MixtureLayout {
        let DensityForm { components, covariance } = *form;
        // Columns depend on each other through full covariances; a cell's mass would then be an integral of as many dimensions.
        let cells = covariance == Covariance::Diagonal && Cells::new(&self.data.observation_map).is_some();
        MixtureLayout { components, covariance, cells, ..MixtureLayout::gaussian(self.data.dim_x) }
    }

    /// Whether observations of one parameter can share an error under a form: where there are some, of real numbers.
    pub(super) fn may_share(&self, form: &DensityForm) -> bool {
        let data = self.data;
        let real = !data.observation_map.counts.contains(&true);
        self.options.likelihood.shared_error && form.components == 1 && data.n_obs > 1 && real && !self.has_atoms()
    }

    pub(super) fn describe(&self, candidate: &Candidate) -> String {
        let kind = match candidate.mixed {
            Some(Mixed { edges: true, .. }) => " with an edge for each category",
            Some(_) => " for each category",
            None if self.layout(candidate).cells => " of counts' cells",
            None => "",
        };
        let form = candidate.form.to_string();
        let form = if candidate.tails {
            form.replace("Gaussians", "Student t").replace("Gaussian", "Student t")
        } else {
            form
        };
        let shared = if candidate.shared { " with an error that observations share" } else { "" };
        format!("{form}{kind}{shared}{}", if candidate.linear { ", linear" } else { "" })
    }

    /// The untrained network of a candidate.
    pub(super) fn density(&self, candidate: &Candidate) -> Result<Mlp<f32>> {
        let options = &self.options.likelihood;
        let layout = self.layout(candidate);
        let spec = MlpSpec {
            input: self.data.dim_theta,
            hidden: if candidate.linear { Vec::new() } else { options.hidden.clone() },
            output: layout.outputs(),
            activation: options.activation,
            layer_norm: options.layer_norm,
            residual: options.residual,
        };
        let mut rng = self.key.child(Purpose::Initialization).rng(candidate.stream.of_weights());
        let mut network = Mlp::random(spec, LastLayer::Zero, &mut rng)?;
        let biases = network.parameters().len() - layout.outputs();
        layout.start_tails(&mut network.parameters_mut()[biases..], START_FREEDOM);
        layout.start_shared(&mut network.parameters_mut()[biases..]);
        match (candidate.origin, candidate.mixed, self.categories()) {
            (Some(origin), Some(_), _) => self.split_blocks(&mut network, layout, origin, &mut rng)?,
            (Some(origin), ..) => self.split(&mut network, layout, origin, &mut rng)?,
            (None, Some(mixed), Some(categories)) => {
                if mixed.edges {
                    let starts = categories.starts(&self.data.range);
                    layout.start_edges(&mut network.parameters_mut()[biases..], starts);
                }
            }
            _ => layout.spread_means(&mut network.parameters_mut()[biases..], || StandardNormal.sample(&mut rng)),
        }
        Ok(network)
    }

    /// A network of a candidate as it was trained.
    pub(super) fn trained(&self, candidate: &Candidate, network: NetworkId) -> Result<Mlp<f32>> {
        let mut trained = self.density(candidate)?;
        trained.parameters_mut().copy_from_slice(self.weights(network));
        Ok(trained)
    }

    /// The noise of a candidate's validation rows.
    pub(super) fn validation_noise(&self, candidate: &Candidate) -> StreamKey {
        self.key.indexed(candidate.stream.of_training()).child(Purpose::ValidationNoise)
    }

    /// The trained network `origin`, whose outputs are of the layout `single`; `network` gets its hidden layers.
    fn start_from(&self, network: &mut Mlp<f32>, single: MixtureLayout, origin: NetworkId) -> Result<Mlp<f32>> {
        let spec = MlpSpec { output: single.outputs(), ..network.spec().clone() };
        let source = Mlp::from_parameters(spec, self.weights(origin).to_vec())?;
        let hidden = network.layers()[network.layers().len() - 1].weight.start;
        network.parameters_mut()[..hidden].copy_from_slice(&source.parameters()[..hidden]);
        Ok(source)
    }

    /// Makes the components of `network` copies of the Gaussian of the network `origin`, their means moved by its residuals at random
    /// training rows: where noise is narrow, components that start elsewhere never take part.
    fn split(
        &self,
        network: &mut Mlp<f32>,
        layout: MixtureLayout,
        origin: NetworkId,
        rng: &mut impl Rng,
    ) -> Result<()> {
        let d = layout.dim;
        let single = MixtureLayout { components: 1, ..layout };
        let source = self.start_from(network, single, origin)?;
        let engine = Engine::new(&source);
        let mut workspace = ForwardWorkspace::new(source.spec(), 1);
        let mut outputs = vec![0.0; single.outputs()];
        let mut mixture = MixtureScratch::default();
        let (from, to) = (source.layers().len() - 1, network.layers()[source.layers().len() - 1].clone());
        let own = self.form_layout(&DensityForm { components: 1, covariance: layout.covariance });
        let cells = own.cells.then(|| Cells::new(&self.data.observation_map)).flatten();
        for c in 0..layout.components {
            let row = self.data.training[rng.random_range(0..self.data.training.len())] as usize;
            engine.forward(self.data.latent_row(row), &mut workspace, &mut outputs);
            let at = layout.mean_offset(c);
            let weights = to.weight.start + at * to.input..to.weight.start + (at + single.outputs()) * to.input;
            network.parameters_mut()[weights].copy_from_slice(source.weight(from));
            let biases = &mut network.parameters_mut()[to.bias.start + at..][..single.outputs()];
            biases.copy_from_slice(source.bias(from));
            // Values far out are no places for components.
            let reach: Vec<f32> = match layout.tails {
                false => vec![f32::INFINITY; d],
                true => {
                    single.expand(&outputs, &mut mixture);
                    let variances = layout.variances(&mixture.components[0].factor);
                    variances.iter().map(|variance| (REACH * variance.sqrt()) as f32).collect()
                }
            };
            for (i, &feature) in self.data.feature_row(row, 0).iter().enumerate().take(d) {
                let seen =
                    cells.as_ref().map_or(Interval::point(feature.into()), |cells| cells.interval(i, feature.into()));
                let middle = 0.5 * (seen.lower + seen.upper) as f32;
                let shift = if middle.is_finite() { middle - outputs[i] } else { 0.0 };
                biases[i] += shift.clamp(-reach[i], reach[i]);
            }
        }
        Ok(())
    }

    /// Makes the components of each category copies of its single one in the network `origin`, their means moved at random by its standard deviations
    /// at random training rows.
    fn split_blocks(
        &self,
        network: &mut Mlp<f32>,
        layout: MixtureLayout,
        origin: NetworkId,
        rng: &mut impl Rng,
    ) -> Result<()> {
        let single = MixtureLayout { components: layout.components / layout.block(), ..layout };
        let source = self.start_from(network, single, origin)?;
        let engine = Engine::new(&source);
        let mut workspace = ForwardWorkspace::new(source.spec(), 1);
        let mut outputs = vec![0.0; single.outputs()];
        let mut mixture = MixtureScratch::default();
        let (from, to) = (source.layers().len() - 1, network.layers()[source.layers().len() - 1].clone());
        let mut copy = |at: usize, own: Range<usize>, shift: &[f64]| {
            let weights = to.weight.start + at * to.input..to.weight.start + (at + own.len()) * to.input;
            let rows = own.start * to.input..own.end * to.input;
            network.parameters_mut()[weights].copy_from_slice(&source.weight(from)[rows]);
            let biases = &mut network.parameters_mut()[to.bias.start + at..][..own.len()];
            biases.copy_from_slice(&source.bias(from)[own]);
            // Behind the logit.
            biases.iter_mut().skip(1).zip(shift).for_each(|(bias, &shift)| *bias += shift as f32);
        };
        for c in 0..layout.components {
            let row = self.data.training[rng.random_range(0..self.data.training.len())] as usize;
            engine.forward(self.data.latent_row(row), &mut workspace, &mut outputs);
            single.expand(&outputs, &mut mixture);
            let category = c / layout.block();
            let variances = layout.variances(&mixture.components[category].factor);
            let shift: Vec<f64> =
                variances.iter().map(|v| v.sqrt() * Distribution::<f64>::sample(&StandardNormal, rng)).collect();
            let start = single.mean_offset(category) - 1;
            let length = single.mean_offset(1) - single.mean_offset(0);
            copy(layout.mean_offset(c) - 1, start..start + length, &shift);
        }
        copy(layout.edge_offset(), single.edge_offset()..single.outputs(), &[]);
        Ok(())
    }
}
