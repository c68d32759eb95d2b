//! The networks that a run has trained, by their numbers.

use super::run::Run;
use crate::model::trained::TrainingRecord;
use std::ops::Range;

/// A network that a run trains: its place among all of them, in the order in which they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetworkId(usize);

/// Networks that were trained one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetworkIds(Range<usize>);

impl NetworkIds {
    pub(super) fn iter(&self) -> impl Iterator<Item = NetworkId> + use<> {
        self.0.clone().map(NetworkId)
    }

    /// `size` by `size` of them.
    pub(super) fn groups(&self, size: usize) -> impl Iterator<Item = Self> + use<> {
        let Range { start, end } = self.0;
        (start..end).step_by(size).map(move |first| Self(first..first + size))
    }
}

impl From<NetworkId> for NetworkIds {
    fn from(NetworkId(id): NetworkId) -> Self {
        Self(id..id + 1)
    }
}

impl Run<'_> {
    /// The next network to be trained.
    pub(super) fn next_network(&self) -> NetworkId {
        NetworkId(self.before)
    }

    /// Those trained from `first` on.
    pub(super) fn since(&self, first: NetworkId) -> NetworkIds {
        NetworkIds(first.0..self.before)
    }

    /// How a network was trained, and what came of it.
    pub(super) fn record(&self, network: NetworkId) -> &TrainingRecord {
        &self.done[network.0].1
    }

    /// Its lowest validation loss.
    pub(super) fn loss(&self, network: NetworkId) -> f64 {
        self.record(network).best_validation_loss
    }

    /// Its weights, where the validation loss was lowest.
    pub(super) fn weights(&self, network: NetworkId) -> &[f32] {
        &self.done[network.0].0
    }

    /// Which of these networks has the lowest validation loss; the first of equal ones.
    pub(super) fn best(&self, networks: &NetworkIds) -> NetworkId {
        let better = |best, next| if self.loss(next) < self.loss(best) { next } else { best };
        networks.iter().reduce(better).expect("a stage has networks")
    }

    /// Notes that of these networks only `kept` is used, or none.
    pub(super) fn keep(&mut self, networks: impl Into<NetworkIds>, kept: impl Into<Option<NetworkId>>) {
        let kept = kept.into();
        networks.into().iter().for_each(|network| self.done[network.0].1.kept = Some(network) == kept);
    }
}
