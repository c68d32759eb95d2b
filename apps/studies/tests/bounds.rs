//! Every number that a study's TOML takes has bounds: what cannot be meant, or fits into no machine, is refused with its name.

use tallsbi::data::Named;
use tallsbi::diagnostics::classifier::{ClassifierKind, ClassifierParams, MlpClassifierParams};
use tallsbi::inference::model::{EmbeddingSpec, Lapse};
use tallsbi::inference::sample::{FactorizedOptions, Method};
use tallsbi::inference::sampler::SamplerOptions;
use tallsbi::inference::score::{CompositionOptions, GaussOptions, JacOptions, MiniBatch};
use tallsbi_studies::study::{BenchmarkOptions, Preset, Study, StudyOptions, ToyOptions};
use toml::Value;

/// Numbers that may be anything: seeds, an improvement that may be negative, and what is held against the prior when the study runs.
const FREE: [&str; 4] = ["seed", "classifier.tolerance", "runs.0.theta_true.0", "runs.0.model.fix.g"];

/// A study in which everything that may be left out is given.
fn whole() -> StudyOptions {
    let mut study = StudyOptions::jansen_rit(Preset::Quick);
    let refine = study.refine.as_mut().expect("the preset refines");
    (refine.pairs, refine.options.budget) = (200, Some(10_000));
    (refine.options.per_round, refine.options.rounds) = (Some(1000), Some(20));
    study.local_c2st.test.folds = Some(5);
    study.local_c2st.test.classifier = Some(ClassifierParams::Mlp(MlpClassifierParams::default().hidden(vec![20, 20])));
    study.sampling.start_noise = Some(100.0);
    study.sampling.end_noise = Some(0.001);
    study.sampling.clip = Some(3.0);
    study.sampling.lapse = Some(Lapse::Rate(0.05));
    study.train.network.x_embedding = Some(EmbeddingSpec::default());
    study.train.likelihood.learning_rate_factors = vec![0.5];
    study.train.search.learning_rates = vec![0.001];
    study.train.search.batch_sizes = vec![128];
    study
}

/// Studies that give every option that there is at least once.
fn studies() -> Vec<Study> {
    let batch = MiniBatch { size: 4, damping: 0.5, control_variate: true };
    let composition = CompositionOptions {
        second_order_only_above_signal_scale: Some(0.5),
        mini_batch: Some(batch),
        ..CompositionOptions::default()
    };
    let mut studies = vec![whole()];
    for sampler in SamplerOptions::choices() {
        let mut study = whole();
        study.sampling.method = Method::Fnpe(FactorizedOptions { mini_batch: Some(batch), ..Default::default() });
        study.sampling.sampler = sampler.value.clone();
        study.sampling.moments.sampler = sampler.value;
        studies.push(study);
    }
    let gauss = Method::Gauss(GaussOptions { composition, shrinkage: 0.1, ..GaussOptions::default() });
    for method in [gauss, Method::Jac(JacOptions { composition, ..JacOptions::default() })] {
        let mut study = whole();
        study.sampling.method = method;
        studies.push(study);
    }
    let mut benchmark = BenchmarkOptions::paper_section(Preset::Refined);
    benchmark.refine_base = Some(1000);
    let mut all = vec![Study::Toy(ToyOptions::paper_section(Preset::Quick))];
    for kind in ClassifierKind::choices() {
        let benchmark = BenchmarkOptions {
            c2st: tallsbi::diagnostics::C2stOptions {
                classifier: ClassifierParams::from(kind.value),
                ..benchmark.c2st.clone()
            },
            ..benchmark.clone()
        };
        all.push(Study::Benchmark(Box::new(benchmark)));
    }
    all.extend(studies.into_iter().map(|study| Study::Inference(Box::new(study))));
    all
}

/// Where the numbers of a value are: names and indices, joined by dots.
fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Integer(_) | Value::Float(_) => found.push(path.to_owned()),
        Value::Table(table) => table.iter().for_each(|(name, value)| numbers(value, &below(name), found)),
        Value::Array(list) => {
            list.iter().enumerate().take(1).for_each(|(i, value)| numbers(value, &below(&i.to_string()), found));
        }
        _ => {}
    }
}

fn at<'v>(value: &'v mut Value, path: &str) -> &'v mut Value {
    path.split('.').fold(value, |value, part| match value {
        Value::Array(list) => &mut list[part.parse::<usize>().expect("an index")],
        other => &mut other[part],
    })
}

/// What was wrongly taken for a value of `path`, or said in other words than one line with its name.
fn mistake(study: &Value, path: &str, wrong: &Value) -> Option<String> {
    let mut study = study.clone();
    *at(&mut study, path) = wrong.clone();
    let text = toml::to_string(&study).expect("serialises");
    let name = path.rsplit('.').find(|part| part.parse::<usize>().is_err()).expect("a name");
    match Study::parse(&text, "study.toml") {
        Ok(_) => Some(format!("{path} = {wrong}: is taken")),
        Err(error) => {
            let message = format!("{error:#}");
            // One of several; and where the parser does not know the line of an entry it knows that of its table.
            let one = message.contains(name.trim_end_matches('s'));
            let tables = path.split('.').scan(String::new(), |path, part| {
                *path = if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
                Some(path.clone())
            });
            let named = one || tables.into_iter().any(|table| message.contains(&format!(": {table}: ")));
            let says = named && message.lines().count() == 1;
            (!says).then(|| format!("{path} = {wrong}: {message}"))
        }
    }
}

#[test]
fn every_number_has_bounds() {
    let (mut seen, mut mistakes) = (std::collections::BTreeSet::new(), Vec::new());
    for study in studies() {
        let text = toml::to_string(&study).expect("serialises");
        Study::parse(&text, "study.toml").expect("a good study");
        let value: Value = toml::from_str(&text).expect("reads");
        let mut paths = Vec::new();
        numbers(&value, "", &mut paths);
        for path in paths {
            if !seen.insert(path.clone())
                || FREE.iter().any(|free| path == *free || path.ends_with(&format!(".{free}")))
            {
                continue;
            }
            let wrong = match at(&mut value.clone(), &path) {
                Value::Integer(_) => vec![Value::Integer(i64::MAX), Value::Integer(-1)],
                _ => vec![Value::Float(f64::INFINITY), Value::Float(f64::NAN), Value::Float(-1.0)],
            };
            mistakes.extend(wrong.iter().filter_map(|wrong| mistake(&value, &path, wrong)));
        }
    }
    assert!(seen.len() > 100, "{seen:?}");
    assert!(mistakes.is_empty(), "{} mistakes:\n{}", mistakes.len(), mistakes.join("\n"));
}

#[test]
fn numbers_of_steps_in_names_have_bounds() {
    for sampler in ["gauss-0", "gauss-9223372036854775807", "jac-10000001-clip"] {
        let text = format!("kind = \"benchmark\"\nsamplers = [\"{sampler}\"]\n[[tasks]]\nname = \"slcp\"\n");
        let error = Study::parse(&text, "study.toml").err().map(|error| format!("{error:#}"));
        let says = error.as_ref().is_some_and(|error| error.contains(sampler) && error.contains("1 to 10000000 steps"));
        assert!(says, "{error:?}");
    }
}

/// Options of tasks are looked at when the task is made.
#[test]
fn sizes_of_tasks_have_bounds() {
    for name in ["gaussian_toy", "gmm_toy"] {
        for dimension in [0, 1 << 20, usize::MAX] {
            let options = tallsbi::TaskOptions { dimension: Some(dimension), ..Default::default() };
            let error = tallsbi::task(name, &options).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains("dimension")), "{name} {dimension}: {error:?}");
        }
    }
}
