//! The training that tests against exact posteriors share.

use tallsbi_inference::train::{Architecture, LikelihoodOptions, OptimizerOptions, TrainOptions};

/// One small network for 30 epochs, with so many of the forms of the defaults.
pub fn options(forms: usize) -> TrainOptions {
    let optimizer =
        OptimizerOptions { epochs: 30, learning_rate: 3e-3, ema_decay: 0.99, ..OptimizerOptions::default() };
    let likelihood = LikelihoodOptions {
        hidden: vec![24; 2],
        members: 1,
        symmetries: false,
        optimizer,
        candidates: LikelihoodOptions::default().candidates[..forms].to_vec(),
        ..LikelihoodOptions::default()
    };
    TrainOptions { architecture: Architecture::Likelihood, likelihood, ..TrainOptions::default() }
}
