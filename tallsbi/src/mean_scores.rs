//! Posteriors by the law of a network's mean scores.

use crate::Model;
use ndarray::{Array2, ArrayView2};
use tallsbi_data::Monitor;
use tallsbi_inference::Result;
use tallsbi_inference::model::{MeanScores, PreparedModel, seen_observations};
use tallsbi_inference::refine::{RefinedModel, sample_refined};
use tallsbi_inference::sample::{SampleOptions, SampleRequest, Samples};

/// What stands for groups of observations.
pub(crate) struct Summarised<'a> {
    /// The law of their summaries.
    pub law: &'a RefinedModel,
    /// Summaries of each group, (n, m).
    pub summaries: Vec<Array2<f32>>,
}

impl Model {
    /// Summaries of groups of observations (n, d), if their mean gives the posterior of each.
    ///
    /// # Errors
    /// When they were made under other conditions than those the model was refined at, do not fit it, or the monitor asks to stop.
    pub(crate) fn summarised(
        &self,
        groups: &[ArrayView2<'_, f32>],
        monitor: &dyn Monitor,
    ) -> Result<Option<Summarised<'_>>> {
        let serve = |scores: &&MeanScores| groups.iter().all(|group| scores.serve(group.nrows()));
        let (PreparedModel::Likelihood(model), Some(scores)) =
            (self.prepared(), self.trained().mean_scores().filter(serve))
        else {
            return Ok(None);
        };
        let conditions = self.trained().info.conditions;
        let summaries = |group: &ArrayView2<'_, f32>| {
            let seen = seen_observations(*group, conditions);
            scores.check(seen.view(), conditions)?;
            scores.summary.of(model, seen.view(), monitor)
        };
        let summaries = groups.iter().map(summaries).collect::<Result<_>>()?;
        Ok(Some(Summarised { law: &scores.law, summaries }))
    }
}

impl Summarised<'_> {
    /// Samples the posteriors of the groups that are asked for.
    ///
    /// # Errors
    /// As [`sample_refined`].
    pub fn sample(
        &self,
        request: &SampleRequest<'_, '_>,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<Samples> {
        let groups: Vec<ArrayView2<'_, f32>> = self.summaries.iter().map(Array2::view).collect();
        let SampleRequest { first_group, key, .. } = *request;
        let own = SampleRequest { groups: &groups, first_group, key, covariances: None };
        let (samples, _) = sample_refined(self.law, &own, options.samples, None, &options.tempering, monitor)?;
        Ok(samples)
    }
}
