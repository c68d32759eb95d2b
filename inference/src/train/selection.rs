//! Which of several likelihood networks is used: forms of the density, errors that observations share, learning rates.

use super::candidates::Candidate;
use super::density::Input;
use super::networks::NetworkId;
use super::optimizer::OptimizerOptions;
use super::options::DensityForm;
use super::run::{Job, Run};
use crate::Result;
use crate::model::density::MAX_COMPONENTS;

/// What a less simple network must gain, in nats: less is chance.
pub(super) const WORTH: f64 = 0.01;

/// How many times the components of the largest mixture are tried next if it is the best.
pub(super) const GROWTH: usize = 4;

/// A candidate with its trained network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried {
    pub(super) candidate: Candidate,
    pub(super) network: NetworkId,
}

impl Run<'_> {
    /// Trains the form that was chosen with an error that observations share, where training sets have several of each parameter; the one to use.
    pub(super) fn share(&mut self, variants: &[(String, OptimizerOptions)], chosen: Tried) -> Result<Tried> {
        let Tried { candidate, network } = chosen;
        if candidate.shared || candidate.tails || candidate.mixed.is_some() || !self.may_share(&candidate.form) {
            return Ok(chosen);
        }
        let candidate = Candidate { shared: true, stream: candidate.stream.shared(), ..candidate };
        let start = self.next_network();
        let shared = self.try_all(&[candidate], variants, f64::INFINITY)?[0];
        let best = if self.loss(shared.network) < self.loss(network) + WORTH { shared } else { chosen };
        self.keep(network, best.network);
        self.keep(self.since(start), best.network);
        Ok(best)
    }

    /// Trains networks of each form with each of the optimisers: single Gaussians, then mixtures that start from them, and larger mixtures
    /// as long as they are better; the best candidate, and all.
    pub(super) fn choose(&mut self, variants: &[(String, OptimizerOptions)]) -> Result<(Tried, Vec<Tried>)> {
        let start = self.next_network();
        let (singles, mut mixtures): (Vec<_>, Vec<_>) =
            self.candidates().into_iter().partition(|candidate| candidate.form.components == 1);
        let singles = self.try_all(&singles, variants, f64::INFINITY)?;
        let mut all = singles.clone();
        loop {
            for mixture in &mut mixtures {
                let alike = |Tried { candidate: single, .. }: &&Tried| {
                    !single.linear && single.form.covariance == mixture.form.covariance && single.mixed == mixture.mixed
                };
                mixture.origin = singles.iter().find(alike).map(|single| single.network);
            }
            let eligible = |tried: &&Tried| tried.candidate.eligible;
            let loss = |run: &Self, tried: &Tried| run.loss(tried.network);
            let rival = all.iter().filter(eligible).map(|tried| loss(self, tried)).fold(f64::INFINITY, f64::min);
            all.extend(self.try_all(&mixtures, variants, rival)?);
            let better = |best, next| if loss(self, next) < loss(self, best) - WORTH { next } else { best };
            let best = *all.iter().filter(eligible).reduce(better).expect("options have at least one form");
            let chosen = best.candidate;
            // Where only mixtures were asked for, they are what is wanted.
            let open = all.iter().filter(eligible).any(|tried| tried.candidate.form.components == 1);
            let largest = all.iter().map(|tried| tried.candidate.form.components).max();
            let components = GROWTH * chosen.form.components;
            if !open
                || largest != Some(chosen.form.components)
                || largest == Some(1)
                || components * chosen.categories() > MAX_COMPONENTS
            {
                self.keep(self.since(start), best.network);
                return Ok((best, all));
            }
            let stream = self.other_stream(all.len());
            mixtures = vec![Candidate { form: DensityForm { components, ..chosen.form }, stream, ..chosen }];
        }
    }

    /// Trains the candidates with each of the optimisers, those that may be chosen as long as they can beat each other and the loss `rival`; returns
    /// them with the best network of each.
    pub(super) fn try_all(
        &mut self,
        candidates: &[Candidate],
        variants: &[(String, OptimizerOptions)],
        rival: f64,
    ) -> Result<Vec<Tried>> {
        let mut jobs = Vec::new();
        for candidate in candidates {
            for (variant, optimizer) in variants {
                let name = format!("likelihood, {}{variant}", self.describe(candidate));
                let rival = candidate.eligible.then_some(rival);
                jobs.push(Job { rival, ..self.job(name, candidate, Input::Plain, optimizer)? });
            }
        }
        let stage = match &jobs[..] {
            [job] => job.name.clone(),
            several => format!("likelihood, {} networks", several.len()),
        };
        let networks = self.fit(&stage, jobs)?;
        let tried = candidates.iter().zip(networks.groups(variants.len()));
        Ok(tried.map(|(&candidate, of)| Tried { candidate, network: self.best(&of) }).collect())
    }

    /// Trains the network `first` again at other learning rates; the one to use.
    pub(super) fn other_rates(&mut self, candidate: &Candidate, first: NetworkId) -> Result<NetworkId> {
        let factors = self.options.likelihood_rate_factors();
        if factors.is_empty() {
            return Ok(first);
        }
        let own = self.optimizer_of(first);
        let mut jobs = Vec::new();
        for factor in factors {
            let optimizer = OptimizerOptions { learning_rate: factor * own.learning_rate, ..own.clone() };
            // Without the last digits of a product.
            let rate = optimizer.learning_rate as f32;
            let name = format!("likelihood, {}, learning rate {rate}", self.describe(candidate));
            let rival = Some(self.loss(first));
            jobs.push(Job { optional: true, rival, ..self.job(name, candidate, Input::Plain, &optimizer)? });
        }
        let tried = self.fit("likelihood, other learning rates", jobs)?;
        let best = self.best(&tried);
        let best = if self.loss(best) < self.loss(first) - WORTH { best } else { first };
        self.keep(first, best);
        self.keep(tried, best);
        Ok(best)
    }

    /// The optimisation that a trained network had.
    pub(super) fn optimizer_of(&self, network: NetworkId) -> OptimizerOptions {
        let record = self.record(network);
        OptimizerOptions {
            learning_rate: record.learning_rate,
            batch_size: record.batch_size,
            ..self.options.likelihood.optimizer.clone()
        }
    }
}
