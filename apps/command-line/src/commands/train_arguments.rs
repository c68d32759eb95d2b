//! How networks are trained, on the command line.

use super::output_arguments::ResumableOutputArguments;
use crate::choice::choice;
use crate::context::{read_toml, usage};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tallsbi::data::parse_symmetries;
use tallsbi::files::TrainingSet;
use tallsbi::inference::model::Covariance;
use tallsbi::inference::train::{
    Architecture, DensityForm, Failures, LatentKind, NoiseLevels, OptimizerOptions, Outliers, SearchOptions,
    TrainOptions,
};

/// Train a score network on a training set
///
/// The training set needs /theta (N, m), /x (N, d) or (N, K, d) and the attribute prior, a JSON list such as
/// [{"name":"a","dist":"uniform","low":0,"high":1}]: what `tallsbi simulate` writes, or ten lines of h5py.
/// The attribute x_transform = "log" has positive observations learned as their logarithms. Rows that are not finite, or 0 in a dataset
/// valid (N), are failed simulations.
/// Less common options are set in a TOML file (--config); --show-config prints all of them to start from.
///
/// Example: tallsbi train train.h5 -o model.safetensors --epochs 200
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct TrainArguments {
    /// Training set
    pub data: PathBuf,
    #[command(flatten)]
    pub output: ResumableOutputArguments,
    /// All options as TOML; options given on the command line go before it
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Print the options that would be used, as TOML, and stop
    #[arg(long)]
    pub show_config: bool,
    /// Train on the first N rows only
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,
    /// Keep observations that take more than this in a scratch file beside the output [default: half of the machine's memory]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// What the network learns [default: likelihood where x has at most 64 values or is whole numbers only, else anchored; noise where other options need it]
    #[arg(long, value_parser = choice::<Architecture>())]
    pub architecture: Option<Architecture>,
    /// Space in which scores are learned [default: prior-gaussian]
    #[arg(long, value_parser = choice::<LatentKind>())]
    pub latent: Option<LatentKind>,
    /// Hidden widths [default: 256,256,256 for scores, 96 twelve times for likelihoods]
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub hidden: Option<Vec<usize>>,
    /// Gaussians of the likelihood's mixture [default: 1 or 4, whichever validates better]
    #[arg(long, value_name = "C")]
    pub components: Option<usize>,
    /// Covariances of the likelihood's Gaussians [default: whichever validates better]
    #[arg(long, value_parser = choice::<Covariance>())]
    pub covariance: Option<Covariance>,
    /// Networks of the likelihood, whose outputs are averaged [default: 4]
    #[arg(long, value_name = "K")]
    pub members: Option<usize>,
    /// Maps of the parameters that leave the likelihood as it is: auto (the task's own, or such as the rows cannot be told from exact
    /// ones), off, or a list: a (the sign of a about its prior's centre), a=b (exchanged), a=-b (exchanged with their signs)
    #[arg(long, value_name = "auto|off|A,B=C,..", default_value = "auto")]
    pub symmetry: String,
    /// What is done about single values far from all others of their column [default: bound]
    #[arg(long, value_parser = choice::<Outliers>())]
    pub outliers: Option<Outliers>,
    /// What failed simulations say of the parameters, for likelihoods [default: inform]
    #[arg(long, value_parser = choice::<Failures>())]
    pub failures: Option<Failures>,
    /// Passes over the data at most, of each network [default: 300; for likelihoods 40, more where rows are few; for anchors 200]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Epochs without a better validation loss before stopping [default: 100; for likelihoods 40]
    #[arg(long, value_name = "N")]
    pub patience: Option<usize>,
    /// Rows a step; of several, the one that validates best (trains every combination with --learning-rate) [default: 256;
    /// for likelihoods 128, smaller where rows are few]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub batch_size: Vec<usize>,
    /// Learning rate; of several, the one that validates best [default: 1e-3 with Adam; for likelihoods, which SOAP trains, 1e-2]
    #[arg(long, value_name = "RATE,..", value_delimiter = ',')]
    pub learning_rate: Vec<f64>,
    /// How noise levels are drawn [default: log-uniform]
    #[arg(long, value_parser = choice::<NoiseLevels>())]
    pub noise_levels: Option<NoiseLevels>,
    /// Probability of dropping the context, to learn the prior's score too (the paper: 0.2)
    #[arg(long, value_name = "P")]
    pub context_dropout: Option<f64>,
    /// Largest set of observations the network takes at once (partial factorisation)
    #[arg(long, value_name = "K")]
    pub n_max: Option<usize>,
    /// Fraction of the rows held out for validation
    #[arg(long, value_name = "FRACTION")]
    pub validation_fraction: Option<f64>,
}

impl TrainArguments {
    /// The options: defaults, then the file, then the command line.
    pub fn options(&self) -> Result<TrainOptions> {
        let mut architecture = self.architecture;
        let mut options = TrainOptions::default();
        if let Some(path) = &self.config {
            options = read_toml(path)?;
            let written: toml::Table = read_toml(path)?;
            if written.contains_key("architecture") {
                architecture = architecture.or(Some(options.architecture));
            }
        }
        options.latent = self.latent.unwrap_or(options.latent);
        options.noise_levels = self.noise_levels.unwrap_or(options.noise_levels);
        if let Some(hidden) = &self.hidden {
            options.network.hidden.clone_from(hidden);
            options.likelihood.hidden.clone_from(hidden);
            options.likelihood.linear = false;
        }
        options.outliers = self.outliers.unwrap_or(options.outliers);
        options.failures = self.failures.unwrap_or(options.failures);
        options.likelihood.symmetries &= self.symmetry != "off";
        options.network.n_max = self.n_max.unwrap_or(options.network.n_max);
        options.context_dropout = self.context_dropout.unwrap_or(options.context_dropout);
        options.validation_fraction = self.validation_fraction.unwrap_or(options.validation_fraction);
        override_forms(self, &mut options.likelihood.candidates);
        options.likelihood.members = self.members.unwrap_or(options.likelihood.members);
        for optimizer in options.optimizers() {
            override_optimizer(self, optimizer);
        }
        override_search(self, &mut options.search);
        if !self.learning_rate.is_empty() {
            options.likelihood.learning_rate_factors.clear();
        }
        // The published architecture can do some things that the better ones cannot.
        let needs_noise = options.latent == LatentKind::Standardized
            || options.context_dropout > 0.0
            || options.network.n_max > 1
            || options.network.theta_embedding.is_some();
        let suitable = if needs_noise { Architecture::Noise } else { Architecture::default() };
        options.architecture = architecture.unwrap_or(suitable);
        let likelihood_only = [
            ("--components", self.components.is_some()),
            ("--covariance", self.covariance.is_some()),
            ("--members", self.members.is_some()),
        ];
        for (option, given) in likelihood_only {
            if given && !matches!(options.architecture, Architecture::Likelihood | Architecture::Auto) {
                return Err(usage(format!("{option} goes with --architecture likelihood only")));
            }
        }
        options.validate()?;
        Ok(options)
    }
}

impl TrainArguments {
    /// Puts the symmetries that were declared into the options, by the names of the training set's parameters.
    pub fn declare_symmetry(&self, options: &mut TrainOptions) -> Result<()> {
        if matches!(self.symmetry.as_str(), "auto" | "off") {
            return Ok(());
        }
        let maps = parse_symmetries(&self.symmetry, TrainingSet::open(&self.data)?.prior().names());
        options.likelihood.declared = maps.map_err(|error| usage(format!("--symmetry: {error}")))?;
        Ok(())
    }
}

/// Narrows the likelihood's forms to what was asked for, each once.
fn override_forms(arguments: &TrainArguments, forms: &mut Vec<DensityForm>) {
    for form in std::mem::take(forms) {
        let form = DensityForm {
            components: arguments.components.unwrap_or(form.components),
            covariance: arguments.covariance.unwrap_or(form.covariance),
        };
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
}

fn override_optimizer(arguments: &TrainArguments, optimizer: &mut OptimizerOptions) {
    if let Some(epochs) = arguments.epochs {
        optimizer.set_epochs(epochs);
    }
    optimizer.patience = arguments.patience.unwrap_or(optimizer.patience);
    if let [batch_size] = arguments.batch_size[..] {
        optimizer.set_batch_size(batch_size);
    }
    if let [learning_rate] = arguments.learning_rate[..] {
        optimizer.learning_rate = learning_rate;
    }
}

/// Several values on the command line are to choose among; one replaces a choice in the file.
fn override_search(arguments: &TrainArguments, search: &mut SearchOptions) {
    fn several<T: Clone>(given: &[T], choice: &mut Vec<T>) {
        match given {
            [] => {}
            [_] => choice.clear(),
            several => *choice = several.to_vec(),
        }
    }
    several(&arguments.batch_size, &mut search.batch_sizes);
    several(&arguments.learning_rate, &mut search.learning_rates);
}
