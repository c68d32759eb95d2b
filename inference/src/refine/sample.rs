//! Posteriors from a refined model: tempering in each component, samples shared out by evidence.

use super::model::RefinedModel;
use crate::Result;
use crate::sample::{SampleInfo, SampleRequest, Samples};
use crate::tempering::{TemperingOptions, sample_tempered};
use ndarray::{Array3, Axis};
use rand::RngExt;
use tallsbi_data::{Monitor, Purpose};

/// Samples beyond this share of a component's radius are at its edge.
const EDGE: f64 = 0.85;

/// Share of samples at the edge from which a posterior leads out of the region that the model knows.
const MOST_AT_EDGE: f64 = 0.05;

/// Where a posterior lies with respect to what the model knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// Share of its samples at the edge of the region in which simulations were made.
    pub at_edge: f64,
    /// log ∫ prior × likelihood.
    pub log_evidence: f64,
}

impl Reach {
    /// Whether a posterior with this share of samples at the edge leads elsewhere: then its samples are no answer, and the model must be refined at these observations.
    pub fn leads_elsewhere(at_edge: f64) -> bool {
        // Written so that NaN does too.
        !(at_edge <= MOST_AT_EDGE)
    }
}

/// Samples the posteriors of all groups under the true prior, in latent space, with the likelihood to the power `worth`/n if given.
///
/// # Errors
/// When options are out of range, observations do not fit, or the monitor asks to stop.
pub fn sample_refined(
    model: &RefinedModel,
    request: &SampleRequest<'_, '_>,
    samples: usize,
    worth: Option<f64>,
    options: &TemperingOptions,
    monitor: &dyn Monitor,
) -> Result<(Samples, Vec<Reach>)> {
    let (groups, m) = (request.groups.len(), model.components[0].frame.dim());
    let mut runs = Vec::with_capacity(model.components.len());
    let mut info = SampleInfo::default();
    for index in 0..model.components.len() {
        // A single component keeps the streams of the request: nothing to tell apart.
        let key = if model.components.len() == 1 { request.key } else { request.key.indexed(index as u64) };
        let own = SampleRequest { key, covariances: None, ..*request };
        let (drawn, evidences) = sample_tempered(&model.part(index, worth), &own, samples, options, monitor)?;
        info.evaluations += drawn.info.evaluations;
        info.pairs += drawn.info.pairs;
        runs.push((drawn, evidences));
    }
    let mut latent = Array3::zeros((groups, samples, m));
    let mut reaches = Vec::with_capacity(groups);
    for (group, mut out) in latent.axis_iter_mut(Axis(0)).enumerate() {
        let key = request.key.child(Purpose::Refinement).indexed(request.first_group + group as u64);
        let logs: Vec<f64> = runs
            .iter()
            .zip(&model.components)
            .map(|((_, evidences), component)| evidences[group] + component.weight.ln())
            .collect();
        let log_evidence = crate::model::density::log_sum_exp(&logs);
        let offset: f64 = key.rng(0).random();
        let mut slot = 0;
        let mut cumulative = 0.0;
        for (index, (drawn, _)) in runs.iter().enumerate() {
            cumulative += (logs[index] - log_evidence).exp();
            let last = index + 1 == runs.len();
            let end =
                if last { samples } else { ((cumulative * samples as f64 + offset) as usize).clamp(slot, samples) };
            for (k, target) in (slot..end).enumerate() {
                // Evenly spaced ones of the component's.
                let z = drawn.latent.slice(ndarray::s![group, k * samples / (end - slot), ..]);
                let mut u = model.components[index].frame.to_latent(&z.to_vec());
                if model.symmetry.order() > 1 {
                    model.symmetry.randomise(&mut key.rng(1 + target as u64), &mut u);
                }
                out.row_mut(target).iter_mut().zip(&u).for_each(|(out, u)| *out = *u);
            }
            slot = end;
        }
        let edge = out.outer_iter().filter(|u| !(model.reach(&u.to_vec()) <= EDGE)).count();
        reaches.push(Reach { at_edge: edge as f64 / samples as f64, log_evidence });
    }
    info.at_edge = reaches.iter().map(|reach| reach.at_edge).fold(0.0, f64::max);
    info.diverged = latent.iter().filter(|u| !u.is_finite()).count() as u64;
    Ok((Samples { latent, info }, reaches))
}
