//! The whole job on the SIR model, without files: `cargo run --release -p tallsbi --example sir`.

use ndarray::Axis;
use tallsbi::{Error, Silent, TrainOptions, calibration, observe, simulate, task, train};

fn main() -> Result<(), Error> {
    let task = task("sir", &Default::default())?;
    let simulations = simulate(&*task, 5_000, 1, 0, &Silent)?;
    let mut options = TrainOptions::default();
    options.likelihood.members = 1;
    options.likelihood.optimizer.epochs = 30;
    let model = train(&simulations, &options, 0, &Silent)?;

    let observations = observe(&*task, &[0.4, 0.125], 30, 0, &Silent)?;
    let posterior = model.sample(observations.view(), &Default::default(), 0, &Silent)?;
    let (mean, sd) = (posterior.theta.mean_axis(Axis(0)), posterior.theta.std_axis(Axis(0), 0.0));
    println!("{:?}: {} ± {sd}", posterior.names, mean.expect("samples"));

    let pairs = simulate(&*task, 100, 30, 1, &Silent)?;
    let check = calibration::sbc(&model, &pairs, &Default::default(), 0, &Silent)?;
    println!("simulation-based calibration given 30 observations: p = {:.3}", check.p_value);
    Ok(())
}
