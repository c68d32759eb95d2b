//! A likelihood some of whose parameters are known.
//!
//! p(x | θ) with θ_k at its value is a likelihood of the other parameters: a constant input of a network is a part of its first biases, and a location parameter
//! moves the biases of the means. Nothing is trained again, and nothing approximated.

use super::density::MixtureLayout;
use super::location::Moved;
use super::trained::{Networks, Success, TrainedModel};
use crate::notes::Note;
use crate::{InferenceError, Result};
use tallsbi_data::{LatentMap, Location};
use tallsbi_network::{Mlp, MlpSpec};

/// Prior standard deviations within which a parameter may be fixed: three of 1000 simulations lie beyond, and a network has hardly seen it there.
const SEEN: f64 = 3.0;

impl TrainedModel {
    /// The same likelihood of fewer parameters: each of `known`, by name, has the value given and leaves the prior. It is exactly this model's p(x | θ), whose error
    /// and record of training it keeps. Costs a copy of the networks.
    ///
    /// # Errors
    /// [`InferenceError::Option`] when the model has no likelihood of the whole prior (one of scores, or refined), the parameter is its only one, a value lies outside of the prior or where hardly a simulation was, or
    /// a symmetry moves the parameter; [`InferenceError::Data`] when the parameter does not exist or is drawn together with others.
    pub fn with_fixed(&self, known: &[(String, f64)]) -> Result<Self> {
        let mut model = self.clone();
        for (name, value) in known {
            model = model.without(name, *value)?;
        }
        Ok(model)
    }

    fn without(mut self, name: &str, value: f64) -> Result<Self> {
        let refused = |why: String| InferenceError::Option { option: "fix", message: format!("{name}: {why}") };
        let (measured, architecture) = (self.measured_map(), self.architecture());
        let Networks::Likelihood { members, layout, symmetry, success, region: None, locations, mean_scores: None } =
            &mut self.networks
        else {
            return Err(refused(format!(
                "a model of architecture {architecture} has no likelihood over the whole prior; fix the parameter in the simulator and train again"
            )));
        };
        if self.latent.dim() == 1 {
            return Err(refused("it is the only parameter, and nothing would be left to infer".into()));
        }
        let (prior, parameter) = self.latent.prior().without(name)?;
        let (low, high) = self.latent.prior().support()[parameter];
        if !(low..=high).contains(&value) {
            return Err(refused(format!("{value} is outside of the prior's [{low}, {high}]")));
        }
        let rest = symmetry.without(&[parameter]);
        if rest.order() != symmetry.order() {
            return Err(refused(
                "a symmetry of the likelihood moves it; fix it in the simulator and train again".into(),
            ));
        }
        let moved = Moved::all(locations, &self.latent, &measured)?;
        if let Some(moved) = moved.iter().find(|moved| moved.parameter() == parameter) {
            let steps: Vec<f32> = moved.steps_to(value).collect();
            members.iter_mut().for_each(|network| move_means(network, layout, &steps));
        }
        // Networks do not see what only moves observations.
        let z = if moved.iter().any(|moved| moved.parameter() == parameter) {
            0.0
        } else {
            coordinate(&self.latent, parameter, value)
        };
        if z.is_nan() || z.abs() > SEEN {
            return Err(refused(format!(
                "{value} lies where hardly a simulation was; train on simulations with it fixed"
            )));
        }
        let fold = |network: &Mlp<f32>| with_constant_input(network, parameter, z as f32);
        *members = members.iter().map(fold).collect::<Result<_>>()?;
        if let Some(Success { network, .. }) = success {
            *network = fold(network)?;
        }
        *symmetry = rest;
        *locations = left(locations, parameter);
        self.latent = remaining(&self.latent, parameter, prior)?;
        self.info.fixed.push((name.to_owned(), value));
        self.info.notes = self.info.notes.iter().filter_map(|note| of_others(note, parameter)).collect();
        Ok(self)
    }
}

/// The latent coordinate of a parameter that is drawn for itself.
fn coordinate(latent: &LatentMap, parameter: usize, value: f64) -> f64 {
    let prior = latent.prior();
    let mut theta: Vec<f64> = prior.mean_and_sd().iter().map(|(mean, _)| *mean).collect();
    theta[parameter] = value;
    let mut z = vec![0.0; theta.len()];
    latent.to_latent(&theta, &mut z);
    z[parameter]
}

/// The map of the other parameters.
fn remaining(latent: &LatentMap, parameter: usize, prior: tallsbi_data::Prior) -> Result<LatentMap> {
    let others = |values: &[f64]| {
        let mut values = values.to_vec();
        values.remove(parameter);
        values
    };
    Ok(match latent {
        LatentMap::PriorGaussian { .. } => LatentMap::prior_gaussian(&prior),
        LatentMap::Standardized { mean, sd, .. } => LatentMap::standardized(&prior, others(mean), others(sd))?,
    })
}

/// The network of the other inputs, where `input` is always `value`.
fn with_constant_input(network: &Mlp<f32>, input: usize, value: f32) -> Result<Mlp<f32>> {
    let (spec, first) = (network.spec(), &network.layers()[0]);
    let mut bias = network.bias(0).to_vec();
    let mut parameters = Vec::with_capacity(network.parameters().len());
    for (row, bias) in network.weight(0).chunks_exact(first.input).zip(&mut bias) {
        *bias += row[input] * value;
        parameters.extend(row.iter().enumerate().filter(|(column, _)| *column != input).map(|(_, weight)| *weight));
    }
    parameters.extend(bias);
    parameters.extend(&network.parameters()[first.bias.end..]);
    Ok(Mlp::from_parameters(MlpSpec { input: spec.input - 1, ..spec.clone() }, parameters)?)
}

/// Adds to all means of a network's outputs.
fn move_means(network: &mut Mlp<f32>, layout: &MixtureLayout, steps: &[f32]) {
    let last = network.layers().last().expect("a network has a layer").bias.start;
    for c in 0..layout.components {
        let means = last + layout.mean_offset(c)..;
        network.parameters_mut()[means].iter_mut().zip(steps).for_each(|(mean, step)| *mean += step);
    }
}

/// Those of the other parameters.
fn left(locations: &[Location], parameter: usize) -> Vec<Location> {
    let others = locations.iter().filter(|location| location.parameter != parameter);
    others
        .map(|location| Location { parameter: renumbered(location.parameter, parameter), ..location.clone() })
        .collect()
}

fn renumbered(of: usize, without: usize) -> usize {
    if of > without { of - 1 } else { of }
}

/// What a note says once a parameter is gone; nothing where it was about that one.
fn of_others(note: &Note, without: usize) -> Option<Note> {
    let mut note = note.clone();
    match &mut note {
        Note::Location { parameter, .. } | Note::OtherPrior { parameter, .. } => {
            if *parameter == without {
                return None;
            }
            *parameter = renumbered(*parameter, without);
        }
        Note::Failed { differs, .. } => {
            *differs = differs.filter(|(of, _)| *of != without).map(|(of, shift)| (renumbered(of, without), shift));
        }
        _ => {}
    }
    Some(note)
}
