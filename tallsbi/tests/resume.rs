//! Training in memory that is interrupted and gone on with ends where an uninterrupted one does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tallsbi::inference::train::Architecture;
use tallsbi::{
    Checkpoints, Error, Model, Monitor, Progress, Result, Silent, Simulations, TrainOptions, simulate, task, train,
    train_resumable,
};

/// Asks to stop when some epochs have been done, and counts those it was told of: all but where each stage starts.
struct StopAfter {
    epochs: u64,
    told: AtomicU64,
    stage: Mutex<String>,
}

impl StopAfter {
    fn epochs(epochs: u64) -> Self {
        Self { epochs, told: AtomicU64::new(0), stage: Mutex::default() }
    }

    fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }
}

impl Monitor for StopAfter {
    fn progress(&self, progress: &Progress<'_>) {
        let mut stage = self.stage.lock().unwrap();
        let goes_on = *stage == progress.stage;
        self.told.fetch_add(u64::from(progress.unit == "epochs" && goes_on), Ordering::Relaxed);
        progress.stage.clone_into(&mut stage);
    }

    fn cancelled(&self) -> bool {
        self.told() >= self.epochs
    }
}

fn simulations() -> Simulations {
    simulate(&*task("two_moons", &Default::default()).unwrap(), 600, 1, 0, &Silent).unwrap()
}

fn options(architecture: Architecture) -> TrainOptions {
    let mut options = TrainOptions { architecture, ..TrainOptions::default() };
    (options.optimizer.epochs, options.likelihood.optimizer.epochs) = (6, 6);
    (options.network.hidden, options.likelihood.hidden) = (vec![16], vec![16]);
    options.likelihood.members = 1;
    options
}

/// The bytes of a model's file, but for how long its training took.
fn bytes(model: &Model) -> Vec<u8> {
    let mut trained = model.trained().clone();
    trained.info.training_seconds = 0.0;
    Model::new(trained).to_bytes()
}

/// Trains, and returns the last checkpoint too.
fn run(
    options: &TrainOptions,
    seed: u64,
    resume: Option<Vec<u8>>,
    monitor: &dyn Monitor,
) -> (Result<Model>, Option<Vec<u8>>) {
    let mut kept = None;
    let keep = Box::new(|bytes: &[u8]| {
        kept = Some(bytes.to_vec());
        Ok(())
    });
    let outcome = train_resumable(&simulations(), options, seed, Checkpoints { resume, keep }, monitor);
    (outcome, kept)
}

#[test]
fn a_resumed_run_ends_in_the_same_bytes() {
    for architecture in [Architecture::Likelihood, Architecture::Noise] {
        let options = options(architecture);
        let whole = StopAfter::epochs(u64::MAX);
        let expected = bytes(&train(&simulations(), &options, 0, &whole).unwrap());
        let mut kept = None;
        for _ in 0..2 {
            let (outcome, checkpoint) = run(&options, 0, kept, &StopAfter::epochs(2));
            assert!(matches!(outcome, Err(Error::Cancelled(_))), "{architecture:?}");
            kept = checkpoint;
        }
        let rest = StopAfter::epochs(u64::MAX);
        let (outcome, later) = run(&options, 0, kept.clone(), &rest);
        assert!(bytes(&outcome.unwrap()) == expected, "{architecture:?}");
        assert_eq!(rest.told() + 4, whole.told(), "no epoch is done twice");
        assert!(later.is_none(), "an uninterrupted run of less than 15 s keeps nothing");
        let error = run(&options, 1, kept, &Silent).0.err().unwrap().to_string();
        assert!(error.contains("other data, options or seed"), "{error}");
    }
    let error = run(&options(Architecture::Noise), 0, Some(b"none".to_vec()), &Silent).0.err().unwrap().to_string();
    assert!(error.starts_with("checkpoint: "), "{error}");
}

#[test]
fn a_checkpoint_that_cannot_be_kept_ends_the_run() {
    let checkpoints = Checkpoints { resume: None, keep: Box::new(|_| Err("the disk is full".into())) };
    let monitor = StopAfter::epochs(1);
    let error = train_resumable(&simulations(), &options(Architecture::Noise), 0, checkpoints, &monitor).err().unwrap();
    assert_eq!(error.to_string(), "the disk is full");
}
