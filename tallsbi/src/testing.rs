//! What several tests start from.

use crate::{Model, Silent, Task, TrainOptions, simulate, task, train};

/// The task `gaussian_linear`, whose posteriors are known, and a small likelihood network trained on it.
pub fn gaussian_linear() -> (Box<dyn Task>, Model) {
    let task = task("gaussian_linear", &Default::default()).unwrap();
    let simulations = simulate(&*task, 4_000, 1, 0, &Silent).unwrap();
    let mut options = TrainOptions::default();
    options.likelihood.members = 1;
    options.likelihood.hidden = vec![32];
    options.likelihood.optimizer.epochs = 30;
    let model = train(&simulations, &options, 0, &Silent).unwrap();
    (task, model)
}
