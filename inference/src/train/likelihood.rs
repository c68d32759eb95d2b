//! The likelihood's networks: which is chosen, its symmetries, further members, and what else the model knows.

use super::TrainedModel;
use super::candidates::Candidate;
use super::density::{DensityObjective, Direction, Input};
use super::networks::NetworkId;
use super::optimizer::OptimizerOptions;
use super::run::{Job, Run};
use super::selection::Tried;
use crate::Result;
use crate::model::trained::Networks;
use tallsbi_network::Mlp;

/// How long further members are trained, relative to where the first was best.
const OVERTIME: f64 = 1.2;

impl<'a> Run<'a> {
    /// A linear model in closed form where the rows cannot be told from one; else networks of each form, Student t's where noise has heavy tails, the best of them with other learning rates, one with the symmetries that it shows, then more of the best.
    pub fn likelihood(mut self) -> Result<TrainedModel> {
        if let Some(linear) = self.least_squares()? {
            return Ok(self.model(linear));
        }
        let options = &self.options.likelihood;
        let variants: Vec<(String, OptimizerOptions)> = self.options.search.variants(&options.optimizer).collect();
        let (chosen, tried) = self.choose(&variants)?;
        let chosen = self.tails(&variants, &tried, chosen)?;
        let Tried { candidate, network } = self.share(&variants, chosen)?;
        let mut first = self.other_rates(&candidate, network)?;
        let (symmetry, input) = self.symmetric(&candidate, &mut first)?;

        self.note_residuals(&candidate, first, &input)?;
        let mut kept = vec![first];
        if candidate.form.components == 1 && options.members > 1 {
            let optimizer = self.member_optimizer(first);
            let mut jobs = Vec::new();
            for member in 1..options.members {
                let name = format!("likelihood, member {} of {}", member + 1, options.members);
                let member = Candidate { stream: self.member_stream(member), fold: member, ..candidate };
                jobs.push(self.job(name, &member, input.clone(), &optimizer)?);
            }
            kept.extend(self.fit("likelihood, more members", jobs)?.iter());
        }
        let success = self.success(&input)?;
        // Each further member holds out a fold of its own.
        let members = kept.into_iter().map(|network| self.trained(&candidate, network));
        let mut folds: Vec<(Mlp<f32>, usize)> =
            members.zip(0..).map(|(network, fold)| Ok((network?, fold))).collect::<Result<_>>()?;
        let layout = self.layout(&candidate);
        for (network, fold) in folds.iter_mut().filter(|_| layout.shared) {
            self.refit_shared(network, layout, &input, &self.data.fold(*fold).validation);
        }
        if layout.shared {
            self.average_shared(&mut folds, layout, &input);
        }
        // A shared error is in the likelihood itself.
        let error = if layout.shared { None } else { self.note_trust(&folds, layout, &symmetry)? };
        let members = folds.into_iter().map(|(network, _)| network).collect();
        let locations = self.data.locations.clone();
        let mut model = self.model(Networks::Likelihood {
            members,
            layout,
            symmetry,
            success,
            region: None,
            locations,
            mean_scores: None,
        });
        model.info.error = error;
        Ok(model)
    }

    /// That of members beside the network `first`: where it was best long before its schedule ended, which is where it began to over-fit, theirs ends
    /// soon after that epoch.
    fn member_optimizer(&self, first: NetworkId) -> OptimizerOptions {
        let own = self.optimizer_of(first);
        let record = self.record(first);
        let end = (OVERTIME * record.best_epoch as f64).ceil() as usize;
        let planned = own.epochs_of(self.data.fold(0).training.len());
        if record.best_epoch == 0 || end >= planned {
            own
        } else {
            OptimizerOptions { epochs: end, min_steps: 0, ..own }
        }
    }

    pub(super) fn job(
        &self,
        name: String,
        candidate: &Candidate,
        input: Input,
        optimizer: &OptimizerOptions,
    ) -> Result<Job<DensityObjective<'a>>> {
        let network = self.density(candidate)?;
        let layout = self.layout(candidate);
        let objective = DensityObjective::new(self.data, &network, layout, Direction::Likelihood);
        Ok(Job {
            name,
            stream: candidate.stream.of_training(),
            fold: candidate.fold,
            optional: false,
            rival: None,
            optimizer: optimizer.clone(),
            objective: objective.with_input(input),
            initial: network.parameters().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::Features;
    use super::super::tests::{small, toy, toy_seen};
    use super::super::{Architecture, DensityForm, LikelihoodOptions, TrainOptions, TrainingData, train};
    use super::*;
    use crate::model::Covariance;
    use tallsbi_data::Silent;
    use tallsbi_data::StreamKey;

    const DIAGONAL: DensityForm = DensityForm { components: 1, covariance: Covariance::Diagonal };

    fn options(candidates: Vec<DensityForm>, epochs: usize) -> TrainOptions {
        let optimizer = OptimizerOptions { epochs, learning_rate: 3e-3, ..OptimizerOptions::default() };
        let hidden = vec![32; 2];
        let likelihood =
            LikelihoodOptions { hidden, candidates, optimizer, members: 1, ..LikelihoodOptions::default() };
        TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() }
    }

    /// The names of the networks that were trained, those in use with an asterisk.
    fn trained(data: &TrainingData, options: &TrainOptions) -> Vec<String> {
        let model = train(data, options, StreamKey::root(0), &Silent).unwrap();
        let name = |network: &str, kept: bool| format!("{}{}", if kept { "*" } else { "" }, &network[12..]);
        model.info.training.iter().map(|record| name(&record.network, record.kept)).collect()
    }

    #[test]
    fn a_linear_network_is_kept_where_it_suffices() {
        let mut options = options(vec![DIAGONAL], 60);
        let data = toy(8000, 1, &options);
        let deep = "one diagonal Gaussian, stopped, too far behind";
        assert_eq!(trained(&data, &options), ["*one diagonal Gaussian, linear", deep]);
        options.likelihood.linear = false;
        assert_eq!(trained(&data, &options), ["*one diagonal Gaussian"]);
    }

    #[test]
    fn networks_that_cannot_win_stop_and_change_nothing() {
        let mut options = options(vec![DIAGONAL], 60);
        let data = toy_seen(3000, 1, &options, |mean, noise| (3.0 * mean).sin() + 0.1 * noise);
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        let [linear, deep] = &model.info.training[..] else { panic!() };
        assert_eq!(linear.network, "likelihood, one diagonal Gaussian, linear, stopped, too far behind");
        assert!(linear.validation_loss.len() < 60 && !linear.kept && deep.kept && deep.validation_loss.len() == 60);
        options.likelihood.linear = false;
        let alone = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        assert!(model.networks == alone.networks);
    }

    #[test]
    fn members_end_soon_after_the_first_was_best() {
        let mut options = options(vec![DIAGONAL], 200);
        options.likelihood = LikelihoodOptions { members: 2, linear: false, symmetries: false, ..options.likelihood };
        let data = toy(300, 1, &options);
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        let [first, member] = &model.info.training[..] else { panic!() };
        let end = (OVERTIME * first.best_epoch as f64).ceil() as usize;
        assert!(end < 150 && member.validation_loss.len() <= end && member.best_epoch > 0, "{first:?} {member:?}");
    }

    #[test]
    fn other_learning_rates_are_kept_where_they_validate_better_and_members_follow() {
        let mut options = options(vec![DIAGONAL], 5);
        options.likelihood = LikelihoodOptions {
            learning_rate_factors: vec![0.5, 30.0],
            linear: false,
            symmetries: false,
            members: 2,
            ..options.likelihood
        };
        options.likelihood.optimizer.learning_rate = 1e-4;
        let data = toy(2000, 1, &options);
        let rates = |options: &TrainOptions| -> Vec<(f64, bool)> {
            let model = train(&data, options, StreamKey::root(0), &Silent).unwrap();
            model.info.training.iter().map(|record| (record.learning_rate, record.kept)).collect()
        };
        assert_eq!(rates(&options), [(1e-4, false), (5e-5, false), (3e-3, true), (3e-3, true)]);
        options.likelihood.learning_rate_factors.pop();
        assert_eq!(rates(&options), [(1e-4, true), (5e-5, false), (1e-4, true)]);
        options.search.learning_rates = vec![1e-4];
        assert_eq!(rates(&options), [(1e-4, true), (1e-4, true)]);
    }

    #[test]
    fn a_rate_at_which_training_diverges_is_passed_over() {
        let mut options = options(vec![DIAGONAL], 4);
        options.likelihood.linear = false;
        let optimizer = &mut options.likelihood.optimizer;
        (optimizer.max_gradient_norm, optimizer.warm_up_epochs) = (1e30, 0);
        let data = toy(1000, 1, &options);
        let usual = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        options.likelihood.learning_rate_factors = vec![1e10];
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        let record = &model.info.training[1];
        assert!(record.network.ends_with("diverged") && !record.kept && record.best_validation_loss.is_finite());
        assert!(model.networks == usual.networks);
    }

    #[test]
    fn members_hold_other_rows_out() {
        let mut options = options(vec![DIAGONAL], 10);
        options.likelihood = LikelihoodOptions { members: 3, linear: false, symmetries: false, ..options.likelihood };
        let mut data = toy(1000, 1, &options);
        // What the second member is validated on is an outlier to all that it sees, and to the first in training only.
        let mut features: Vec<f32> = data.features.to_vec();
        for row in data.fold(1).validation {
            features[2 * row as usize..][..2].fill(7.0);
        }
        data.features = Features::Memory(features);
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        let losses: Vec<f64> = model.info.training.iter().map(|record| record.best_validation_loss).collect();
        assert!(losses[1] > losses[0] + 3.0 && losses[1] > losses[2] + 3.0, "{losses:?}");
    }

    #[test]
    fn mixtures_grow_while_that_pays() {
        // Noise of eight narrow peaks in each column.
        let options = options(vec![DIAGONAL, DensityForm { components: 2, ..DIAGONAL }], 60);
        let peaks =
            |mean: f64, noise: f64| mean + 2.0 * noise.clamp(-1.9, 1.9).floor() + 0.05 * (noise - noise.floor());
        let data = toy_seen(3000, 1, &options, peaks);
        let names = trained(&data, &options);
        assert!(names[3].contains("8 diagonal Gaussians") && !names[2].starts_with('*'), "{names:?}");
        assert_eq!(names.iter().filter(|name| name.starts_with('*')).count(), 1);
        // Asked for two, that is what is used; a single one is where they start.
        let two = TrainOptions {
            likelihood: LikelihoodOptions {
                candidates: vec![options.likelihood.candidates[1]],
                ..options.likelihood.clone()
            },
            ..options
        };
        assert_eq!(trained(&data, &two), ["one diagonal Gaussian", "*2 diagonal Gaussians"]);
    }

    #[test]
    fn counts_have_cells_and_their_own_limit_of_width() {
        let options = options(vec![DIAGONAL, DensityForm { covariance: Covariance::Full, ..DIAGONAL }], 3);
        let data = toy_seen(400, 1, &options, |mean, noise| (4.0 + mean + noise).round());
        assert!(data.is_counts());
        let names = trained(&data, &options);
        assert!(names.iter().any(|name| name.contains("one diagonal Gaussian of counts' cells")), "{names:?}");
        assert!(!toy(400, 1, &options).is_counts());
        let chosen = |dim: usize, counts: bool| Architecture::Auto.resolve(dim, counts);
        assert_eq!([chosen(64, false), chosen(1072, true)], [Architecture::Likelihood; 2]);
        assert_eq!([chosen(65, false), chosen(1073, true)], [Architecture::Anchored; 2]);
    }
}
