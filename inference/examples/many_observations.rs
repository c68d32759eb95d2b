//! Error, coverage, time and memory against the number of observations: the table of `docs/samplers.md`.
//!
//! ```text
//! cargo run --release -p tallsbi-inference --example many_observations                        the Gaussian toy, exact scores
//! cargo run --release -p tallsbi-inference --example many_observations MODEL PAIRS.h5 [M]     a trained model
//! ```
//!
//! PAIRS.h5 has 50 parameters and up to 10⁴ observations of each: `tallsbi simulate sir -n 50 --n-obs 10000 --seed 1 -o pairs.h5`. M is
//! the size of GAUSS's mini-batches (default 256); with fewer observations they are all used. Likelihood models take all of them.
//!
//! For each n: 100 samples of each of 50 posteriors. *z*: root mean square of (posterior mean - θ*)/posterior sd, 1 for a calibrated
//! posterior; *50 %, 90 %*: shares of ranks of θ* in the central intervals, over all parameters; *sd*: mean posterior standard
//! deviation in latent space (1 is the prior's); *seconds*: CPU time of one posterior; *MB*: memory above what the observations take.

use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use std::error::Error;
use std::path::Path;
use tallsbi_data::{LatentMap, Prior, Purpose, Silent, StreamKey};
use tallsbi_files::TrainingSet;
use tallsbi_inference::analytic::GaussianToy;
use tallsbi_inference::model::{PreparedModel, TrainedModel};
use tallsbi_inference::sample::{Method, SampleOptions, SampleRequest, Samples, sample_posteriors};
use tallsbi_inference::schedule::LinearSchedule;
use tallsbi_inference::score::{CompositionOptions, GaussOptions, MiniBatch, ScoreModel};
use tallsbi_inference::tempering::{TemperingOptions, sample_tempered};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Numbers of observations.
const N_OBS: [usize; 4] = [10, 100, 1000, 10_000];
/// Posteriors, and samples of each.
const POSTERIORS: usize = 50;
const SAMPLES: usize = 100;
/// Parameters of the Gaussian toy.
const DIMENSION: usize = 4;

/// What all rows of a table share: θ* in latent space (50, m), and n observations of each.
struct Data<'a> {
    truths: Array2<f64>,
    observations: &'a dyn Fn(usize) -> Outcome<Vec<Array2<f32>>>,
}

/// Samples the posteriors of all groups.
type Sampling<'a> = &'a dyn Fn(&SampleRequest<'_, '_>) -> tallsbi_inference::Result<Samples>;

fn gauss(mini_batch: Option<usize>) -> SampleOptions {
    let mini_batch = mini_batch.map(|size| MiniBatch { size, damping: 1.0, control_variate: true });
    let composition = CompositionOptions { mini_batch, ..CompositionOptions::default() };
    let method = Method::Gauss(GaussOptions { composition, ..GaussOptions::default() });
    SampleOptions { samples: SAMPLES, method, ..SampleOptions::default() }
}

/// All observations at each evaluation up to `most`, for as long as that takes minutes, and mini-batches for all n.
fn score_table<M: ScoreModel>(
    name: &str,
    model: &M,
    prior: &Prior,
    data: &Data<'_>,
    (batch, most): (usize, usize),
) -> Outcome<()> {
    for (label, options, most) in
        [("all", gauss(None), most), (&*format!("{batch} at a time"), gauss(Some(batch)), usize::MAX)]
    {
        let sampling = |request: &SampleRequest<'_, '_>| sample_posteriors(model, prior, request, &options, &Silent);
        for n in N_OBS.into_iter().filter(|&n| n <= most) {
            row(&format!("{name}, {label}"), n, data, &sampling)?;
        }
    }
    Ok(())
}

/// Mean and standard deviation of each parameter of each posterior.
fn moments(samples: &Array3<f64>) -> (Array2<f64>, Array2<f64>) {
    let mean = samples.mean_axis(Axis(1)).expect("samples");
    (mean, samples.std_axis(Axis(1), 1.0))
}

fn row(name: &str, n: usize, data: &Data<'_>, sampling: Sampling<'_>) -> Outcome<()> {
    let observations = (data.observations)(n)?;
    let groups: Vec<ArrayView2<'_, f32>> = observations.iter().map(|x| x.view()).collect();
    let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(2), covariances: None };
    let (before, started) = (resident("VmRSS:"), cpu_seconds());
    // Forgets the peak so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let samples = sampling(&request)?;
    let seconds = (cpu_seconds() - started) / POSTERIORS as f64;
    let peak = resident("VmHWM:") - before;
    let (mean, sd) = moments(&samples.latent);
    let z = ((&mean - &data.truths) / &sd).mapv(|z| z * z).mean().unwrap_or(f64::NAN).sqrt();
    let (mut half, mut most) = (0, 0);
    for (posterior, truth) in samples.latent.outer_iter().zip(data.truths.outer_iter()) {
        for (column, truth) in posterior.columns().into_iter().zip(truth) {
            let rank = column.iter().filter(|value| *value < truth).count() as f64 / (SAMPLES + 1) as f64;
            half += usize::from((0.25..0.75).contains(&rank));
            most += usize::from((0.05..0.95).contains(&rank));
        }
    }
    let all = data.truths.len() as f64;
    println!(
        "| {name} | {n} | {z:.2} | {:.0} % | {:.0} % | {:.4} | {} | {} | {seconds:.3} | {peak:.0} |",
        100.0 * half as f64 / all,
        100.0 * most as f64 / all,
        sd.mean().unwrap_or(f64::NAN),
        samples.info.diverged,
        samples.info.repaired,
    );
    Ok(())
}

fn gaussian_toy(batch: usize) -> Outcome<()> {
    let toy = GaussianToy::paper(DIMENSION);
    let (model, prior) = (toy.model(LinearSchedule::default(), true)?, toy.prior()?);
    let key = StreamKey::root(1);
    let mut truths = Array2::zeros((POSTERIORS, DIMENSION));
    for (index, mut truth) in truths.outer_iter_mut().enumerate() {
        let mut rng = key.child(Purpose::Prior).rng(index as u64);
        prior.sample(&mut rng, truth.as_slice_mut().expect("rows are contiguous"));
    }
    let noise = Prior::new(vec![tallsbi_data::Component::MultivariateNormal {
        names: prior.names().to_vec(),
        loc: vec![0.0; DIMENSION],
        covariance: toy.noise.chunks_exact(DIMENSION).map(<[f64]>::to_vec).collect(),
    }])?;
    let observations = |n: usize| {
        let one = |(index, truth): (usize, ndarray::ArrayView1<'_, f64>)| {
            let mut rng = key.child(Purpose::Observation).rng(index as u64);
            let mut x = Array2::zeros((n, DIMENSION));
            let mut error = [0.0; DIMENSION];
            for mut x in x.outer_iter_mut() {
                noise.sample(&mut rng, &mut error);
                x.iter_mut().zip(truth).zip(error).for_each(|((x, truth), error)| *x = (truth + error) as f32);
            }
            x
        };
        Ok(truths.outer_iter().enumerate().map(one).collect())
    };
    let data = Data { truths: truths.clone(), observations: &observations };
    score_table("Gaussian toy", &model, &prior, &data, (batch, 10_000))
}

fn trained(model: &Path, pairs: &Path, batch: usize) -> Outcome<()> {
    let trained = TrainedModel::from_bytes(&std::fs::read(model)?)?;
    let rows = TrainingSet::open(pairs)?.load(Some(POSTERIORS as u64))?;
    let latent: &LatentMap = &trained.latent;
    let mut truths = Array2::zeros((POSTERIORS, trained.dim_theta()));
    for (theta, mut z) in rows.theta.outer_iter().zip(truths.outer_iter_mut()) {
        let theta: Vec<f64> = theta.iter().map(|&value| value.into()).collect();
        latent.to_latent(&theta, z.as_slice_mut().expect("rows are contiguous"));
    }
    let held = rows.x.len_of(Axis(1));
    let observations = |n: usize| {
        if n > held {
            return Err(format!("the pairs have {held} observations each, {n} are needed").into());
        }
        Ok(rows.x.outer_iter().map(|x| x.slice(s![..n, ..]).to_owned()).collect())
    };
    let data = Data { truths, observations: &observations };
    let name = format!("{}, {}", trained.info.task, trained.architecture());
    let prior = latent.latent_prior();
    match trained.prepare() {
        PreparedModel::Noise(model) => score_table(&name, &model, &prior, &data, (batch, 100)),
        PreparedModel::Anchored(model) => score_table(&name, &model, &prior, &data, (batch, 100)),
        PreparedModel::Likelihood(model) => {
            let options = TemperingOptions::default();
            let sampling = |request: &SampleRequest<'_, '_>| {
                sample_tempered(&model, request, SAMPLES, &options, &Silent).map(|(samples, _)| samples)
            };
            N_OBS.into_iter().try_for_each(|n| row(&name, n, &data, &sampling))
        }
        PreparedModel::Refined(_) => Err("a refined model is for the observations it was refined at".into()),
    }
}

/// A line of /proc/self/status in MB; NaN where there is none.
fn resident(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value =
        status.lines().find_map(|text| text.strip_prefix(line)?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    value.map_or(f64::NAN, |value| value / 1024.0)
}

/// CPU seconds of this process on all threads; NaN where the system does not say.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // utime and stime, the 14th and 15th fields, in hundredths of a second; the second field may hold spaces.
    let fields: Vec<f64> = stat.rsplit(") ").next().unwrap_or("").split(' ').filter_map(|f| f.parse().ok()).collect();
    fields.get(10..12).map_or(f64::NAN, |times| (times[0] + times[1]) / 100.0)
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let batch = arguments.get(2).map_or(Ok(256), |text| text.parse())?;
    println!("| model, observations an evaluation | n | z | 50 % | 90 % | sd | diverged | repaired | seconds | MB |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    match &arguments[..] {
        [] => gaussian_toy(batch),
        [model, pairs, ..] => trained(model.as_ref(), pairs.as_ref(), batch),
        [_] => Err("give a model and its pairs, or nothing for the Gaussian toy".into()),
    }
}
