//! A report of made-up results: valid, self-contained, and readable without seeing the pictures.

use super::*;
use crate::study::StudyRecord;
use crate::study::record::StepRecord;
use crate::study::results::*;
use ndarray::Array2;
use scraper::{Html, Selector};
use tallsbi::Sensitivity;
use tallsbi::data::Prior;
use tallsbi::diagnostics::predictive::{PredictiveCheck, Statistic};
use tallsbi::files::Provenance;

/// Marginals around `mean` that contract like 1/√n.
fn posterior(n_obs: usize, file: String, m: usize) -> PosteriorResults {
    let sd = 1.0 / (n_obs as f64).sqrt();
    let marginal = Marginal {
        mean: 0.1,
        sd,
        lower: 0.1 - 2.0 * sd,
        median: 0.1,
        upper: 0.1 + 2.0 * sd,
        contraction: sd / 5.0,
        dirac_mmd: Some(sd * sd + 0.01),
    };
    let identity = |i: usize, j: usize| if i == j { 1.0 } else { -0.9 };
    PosteriorResults {
        n_obs,
        file,
        samples: 400,
        diverged: 0,
        repaired: 0,
        worth: (n_obs > 8).then_some(0.8 * n_obs as f64),
        marginals: vec![marginal; m],
        correlation: (0..m).map(|i| (0..m).map(|j| identity(i, j)).collect()).collect(),
        directions: (0..m)
            .map(|k| Direction {
                spread: 0.01 * (k + 1) as f64,
                weights: (0..m).map(|i| f64::from(u8::from(i == k))).collect(),
            })
            .collect(),
        local_c2st: Some(LocalC2stResults {
            statistic: 0.01,
            p_value: if n_obs > 1 { 0.02 } else { 0.6 },
            null_statistics: (0..50).map(|i| 0.0002 * f64::from(i)).collect(),
            pairs: 100,
        }),
        coverage: Some(CoverageResults {
            levels: (0..=10).map(|i| 0.1 * f64::from(i)).collect(),
            coverage: (0..=10).map(|i| 0.1 * f64::from(i)).collect(),
            p_value: 0.5,
            area: 0.0,
            pairs: 100,
        }),
    }
}

/// One that has not settled.
fn refined(marginals: Vec<Marginal>) -> RefinedResults {
    RefinedResults {
        n_obs: 30,
        file: "posterior-30.nc".into(),
        samples: 400,
        work: RefinedWork {
            simulations: 5000,
            rounds: 3,
            base_kept: false,
            not_settled: Some("the posterior moved by 0.60 of its sd".into()),
        },
        marginals,
        check: Some(ConditionalChecks {
            before: ConditionalCheck { p_value: 0.002, p_values: vec![0.001, 0.5, 0.7], pairs: 100 },
            after: ConditionalCheck { p_value: 0.9, p_values: vec![0.3, 0.5, 0.7], pairs: 100 },
        }),
    }
}

fn sensitivity() -> Sensitivity {
    Sensitivity {
        values: vec![vec![0.04, 0.0], vec![0.01, 0.25], vec![0.02, 0.01]],
        expected: vec![(60, vec![0.71, 0.9]), (120, vec![0.5, 0.82])],
    }
}

/// Twelve values predicted between -1 and 1, observed at 0; the mean of the fifth is at `mean`, with `adjusted`.
fn predictive(mean: f64, adjusted: f64) -> PredictiveResults {
    let statistic = |column: usize, statistic: Statistic| {
        let (value, p_value) = match statistic {
            Statistic::Mean if column == 4 => (mean, adjusted),
            Statistic::Minimum => (-1.0, 0.9),
            Statistic::Maximum => (1.0, 0.9),
            _ => (0.0, 0.9),
        };
        let check = PredictiveCheck { column, statistic, observed: value, predicted: 0.0, sd: 0.1, p_value: 0.5 };
        PredictedStatistic { check, adjusted: p_value }
    };
    let each = |column| Statistic::ALL.map(|one| statistic(column, one));
    PredictiveResults {
        n_obs: 30,
        draws: 200,
        failed: 1,
        first: 0,
        checks: (0..12).flat_map(each).collect(),
        single: vec![[-1.0, 0.0, 1.0]; 12],
        mean: vec![[-0.2, 0.0, 0.2]; 12],
    }
}

fn training() -> TrainingResults {
    TrainingResults {
        simulations: 1000,
        invalid: 3,
        n_obs: 1,
        members: 1,
        architecture: "anchored".into(),
        fixed: vec![("g".into(), 0.0)],
        networks: vec![LossCurves {
            network: "residual".into(),
            kept: true,
            best_epoch: 2,
            training: vec![3.0, 1.0, 0.9],
            validation: vec![3.0, 1.1, 1.2],
        }],
    }
}

fn results(folder: &Path, label: &str) -> StudyResults {
    let prior = Prior::uniform(&[("mu", -10.0, 10.0), ("sigma", -10.0, 10.0)]).expect("a prior");
    let posteriors: Vec<PosteriorResults> = [1, 30]
        .into_iter()
        .map(|n| {
            let file = format!("posterior-{n}.nc");
            let samples = Array2::from_shape_fn((400, 2), |(i, j)| {
                let phase = (i * (7 + j)) as f64;
                0.1 + phase.sin() / (n as f64).sqrt()
            });
            Posterior::from_matrix(
                prior.names().to_vec(),
                samples.view(),
                None,
                serde_json::Map::new(),
                Provenance::new("t", 0, ""),
            )
            .and_then(|posterior| posterior.write(&folder.join(&file), Existing::Overwrite))
            .expect("writes");
            posterior(n, file, 2)
        })
        .collect();
    let support = SupportCheck {
        distances: vec![9.0; 30],
        tail: vec![0.5; 30],
        outside: 0,
        quantiles: vec![[-1.0, 0.0, 1.0]; 12],
        observed: vec![[-0.5, 0.0, 0.5]; 12],
    };
    let record = StudyRecord {
        title: "A study of <tags> & \"quotes\"".into(),
        preset: "quick".into(),
        version: "0.0.0".into(),
        command: "tallsbi study 'x<y>.toml'".into(),
        seed: 7,
        created: "2026-01-01T00:00:00Z".into(),
        threads: 2,
        settings: serde_json::json!({ "n_obs": [1, 30], "runs": [{ "name": "a", "nothing": null }], "train": { "epochs": 3 } }),
        steps: vec![StepRecord {
            name: "a-model".into(),
            key: "0123456789abcdef".into(),
            folder: "steps/a".into(),
            seconds: 1.5,
        }],
    };
    StudyResults {
        record,
        runs: vec![RunResults {
            name: "a".into(),
            label: label.into(),
            task: "jrnmm".into(),
            units: vec!["1/s".into(), String::new()],
            truth: Some(vec![0.0, 0.0]),
            training: training(),
            observations: ObservationResults {
                source: "simulated".into(),
                count: 30,
                names: vec![],
                bin_hz: None,
                support,
                windows: None,
            },
            refined: Some(refined(posteriors[1].marginals.clone())),
            sensitivity: Some(sensitivity()),
            predictive: Some(predictive(0.0, 0.4)),
            posteriors,
            prior,
        }],
    }
}

fn written(label: &str) -> (tempfile::TempDir, StudyResults, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let results = results(folder.path(), label);
    let path = write(&Results::Inference(results.clone()), folder.path()).expect("a report");
    let html = std::fs::read_to_string(path).expect("readable");
    (folder, results, html)
}

fn select<'a>(page: &'a Html, selector: &str) -> Vec<scraper::ElementRef<'a>> {
    page.select(&Selector::parse(selector).expect("a selector")).collect()
}

#[test]
fn the_page_is_valid_and_self_contained() {
    let (folder, _, html) = written("Model <b>one</b>");
    let page = Html::parse_document(&html);
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    for forbidden in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!html.contains(forbidden), "the page contains {forbidden}");
    }
    let loading = select(&page, "[src], link, iframe, object, embed");
    assert!(loading.is_empty(), "{loading:?} would load something");
    // Links lead to files that exist, or into the page.
    for link in select(&page, "a[href]") {
        let href = link.value().attr("href").expect("selected by it");
        match href.strip_prefix('#') {
            Some(id) => assert_eq!(select(&page, &format!("[id='{id}']")).len(), 1, "{href}"),
            None => assert!(href == "results.json" || folder.path().join(href).exists(), "{href} leads nowhere"),
        }
    }
    assert!(html.contains("Model &lt;b&gt;one&lt;/b&gt;") && !html.contains("<b>one"), "text is escaped");
}

/// What screen readers need: one h1, no skipped heading, named pictures, captions, table headers with scope.
#[test]
fn the_page_can_be_read_without_seeing_it() {
    let (_folder, _, html) = written("Model");
    let page = Html::parse_document(&html);
    assert_eq!(select(&page, "h1").len(), 1);
    assert_eq!(select(&page, "html[lang]").len(), 1);
    let levels: Vec<u32> =
        select(&page, "h1, h2, h3").iter().filter_map(|heading| heading.value().name()[1..].parse().ok()).collect();
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    let pictures = select(&page, "svg[role=img]");
    assert_eq!(pictures.len(), select(&page, "figure").len());
    assert!(pictures.len() >= 8, "{} figures", pictures.len());
    assert!(pictures.iter().all(|svg| svg.value().attr("aria-label").is_some_and(|label| label.len() > 20)));
    assert_eq!(select(&page, "figure figcaption").len(), pictures.len());
    assert!(select(&page, "th:not([scope])").is_empty());
    // Scrolled parts are landmarks; readers tell them apart by name.
    let names: Vec<&str> =
        select(&page, "[role=region]").iter().filter_map(|part| part.value().attr("aria-label")).collect();
    let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
    assert_eq!(select(&page, "table").len(), select(&page, "table caption").len());
}

#[test]
fn the_summary_says_what_was_found_and_whether_checks_passed() {
    let (_folder, _, html) = written("Model");
    let page = Html::parse_document(&html);
    let text: String = select(&page, "#summary").iter().flat_map(|section| section.text()).collect();
    let text = text.replace('\u{a0}', " ");
    for expected in [
        "Given 30 observations: μ = 0.1000 ± 0.1826 1/s",
        "inside the central 95 %",
        "rejects the posterior at n = 30 (p = 0.020)",
        "Of single values of an observation, most is told of μ by x[0] and σ by x[1].",
        "at n = 30: 60 observations would narrow μ to 71 % and σ to 90 %; 120 observations would narrow μ to 50 % and σ to 82 %.",
        "Strongly coupled at n = 30: μ and σ (−0.90)",
        "look like the simulations",
        "At n = 30 the posterior is as wide as that of 24 observations: the network's own error",
        "Data simulated at the posterior look like the observations at n = 30: none of 48 statistics of their values departs (p = 0.400 for all together).",
        "credible regions hold the truth",
        "Refined at the 30 observations with 5000 simulations more: μ = 0.1000 ± 0.1826",
        "(not settled: the posterior moved by 0.60 of its sd)",
        "finds no fault with the refined one (p = 0.900; before refinement p = 0.002)",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    assert!(!select(&page, "#summary .caution").is_empty() && !select(&page, "#summary .good").is_empty());
}

#[test]
fn each_figure_is_beside_the_page_and_results_read_back() {
    let (folder, results, html) = written("Model");
    let page = Html::parse_document(&html);
    for figure in select(&page, "figure") {
        let name = figure.value().attr("id").expect("named");
        for extension in ["svg", "png"] {
            assert!(folder.path().join(format!("figures/{name}.{extension}")).exists());
        }
    }
    let results = Results::Inference(results);
    let text = serde_json::to_string(&results).expect("serialises");
    assert!(text.contains("\"kind\":\"inference\""));
    assert_eq!(serde_json::from_str::<Results>(&text).expect("reads back"), results);
}

#[test]
fn observations_unlike_the_simulations_are_said_first_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut results = results(folder.path(), "Model");
    results.runs[0].observations.support.outside = 29;
    let html = std::fs::read_to_string(write(&Results::Inference(results), folder.path()).expect("a report"))
        .expect("readable");
    assert!(html.contains("29 of 30 observations are unlike the simulations"));
}

/// The first part says which values the model does not produce; spectra by their frequency, with what may be behind.
#[test]
fn what_the_model_does_not_reproduce_is_said_first_hand() {
    let told = |change: &dyn Fn(&mut RunResults)| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut results = results(folder.path(), "Model");
        change(&mut results.runs[0]);
        let path = write(&Results::Inference(results), folder.path()).expect("a report");
        let page = Html::parse_document(&std::fs::read_to_string(path).expect("readable"));
        let text: String = select(&page, "#summary").iter().flat_map(|section| section.text()).collect();
        (text.replace('\u{a0}', " "), select(&page, "#a-predictive").len())
    };
    let (text, figures) = told(&|run| run.predictive = Some(predictive(0.9, 0.005)));
    let expected = "does not reproduce the observations at n = 30 (p = 0.005 for all 48 statistics together): x[4] (mean 0.9000, predicted 0 ± 0.1000). The posterior";
    assert!(text.contains(expected) && figures == 1, "{text}");
    let (text, _) = told(&|run| {
        run.observations.bin_hz = Some(2.0);
        run.predictive = Some(predictive(0.9, 0.005));
    });
    assert!(text.contains("the power at 8.0 Hz (mean 0.9000") && text.contains("often is the mains"), "{text}");
    let (text, _) = told(&|run| {
        run.observations.bin_hz = Some(2.0);
        let mut all = predictive(0.9, 0.005);
        all.checks.iter_mut().for_each(|one| one.adjusted = 0.005);
        run.predictive = Some(all);
    });
    // Of each value its mean, where that departs.
    assert!(text.contains("the power at 0.0 Hz (mean 0, predicted 0 ± 0.1000)"), "{text}");
    assert!(text.contains("9 more of 12 values") && text.contains("are unit and gain right?"), "{text}");
    let (text, figures) = told(&|run| {
        run.predictive = Some(PredictiveResults {
            failed: 195,
            checks: vec![],
            single: vec![],
            mean: vec![],
            ..predictive(0.0, 1.0)
        });
    });
    assert!(text.contains("could simulate only 5 data sets at 200 draws") && figures == 0, "{text}");
    let (text, figures) = told(&|run| run.predictive = None);
    assert!(!text.contains("reproduce") && figures == 0, "{text}");
}
