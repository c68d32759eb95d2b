//! The report of a study of models: what was inferred, how it contracts, whether it can be trusted.

use super::figures::RunFigures;
use super::page::{Document, Part, Section};
use super::predictive;
use super::sentence::listed;
use super::tables;
use super::words::findings;
use crate::study::StudyResults;
use crate::study::results::RunResults;

/// The report, from figures drawn for each run.
pub fn document(results: &StudyResults, figures: Vec<RunFigures>) -> Document<'_> {
    let files = results.runs.iter().flat_map(|run| {
        run.posteriors.iter().map(|posterior| {
            let name = format!("{}, n = {}", run.name, posterior.n_obs);
            (name, posterior.file.clone(), format!("{} samples", posterior.samples))
        })
    });
    let refined = results.runs.iter().flat_map(|run| {
        let name = |n: usize| format!("{}, n = {n}, refined", run.name);
        run.refined
            .iter()
            .map(move |refined| (name(refined.n_obs), refined.file.clone(), format!("{} samples", refined.samples)))
    });
    Document {
        record: &results.record,
        lead: lead(results),
        summary: results.runs.iter().map(|run| (run.label.clone(), findings(run))).collect(),
        sections: results.runs.iter().zip(figures).map(|(run, figures)| section(run, figures)).collect(),
        files: files.chain(refined).collect(),
        data: vec![],
    }
}

fn lead(results: &StudyResults) -> String {
    let mut n: Vec<usize> = results.runs.iter().flat_map(|run| run.posteriors.iter().map(|p| p.n_obs)).collect();
    n.sort_unstable();
    n.dedup();
    let n = listed(n.iter().map(ToString::to_string));
    format!("Simulation-based inference from n = {n} observations of the same thing.")
}

fn section(run: &RunResults, figures: RunFigures) -> Section {
    let conditional = run.refined.as_ref().is_some_and(|refined| refined.check.is_some());
    let checked = figures.local_c2st.is_some() || figures.coverage.is_some() || conditional;
    let heading = |text: &str| Part::Heading(text.to_owned());
    let mut parts = vec![Part::Text(data(run)), heading("Posterior")];
    parts.extend(figures.pairs.into_iter().map(Part::Figure));
    parts.extend([Part::Table(tables::marginals(run)), heading("What the data tell about the parameters")]);
    parts.extend(figures.contraction.map(Part::Figure));
    parts.extend(figures.sensitivity.map(Part::Figure));
    parts.extend(figures.dirac.map(Part::Figure));
    if run.prior.dim() > 1 {
        parts.extend(figures.directions.map(Part::Figure));
        parts.extend(tables::directions(run).map(Part::Table));
        parts.extend(figures.correlation.map(Part::Figure));
        parts.extend(tables::correlations(run).map(Part::Table));
    }
    if let Some(refined) = &run.refined {
        parts.push(heading("Refined at the observations"));
        parts.extend(figures.refined.map(Part::Figure));
        parts.push(Part::Table(tables::refined(run, refined)));
    }
    parts.push(heading("Can the posterior be trusted?"));
    parts.extend(figures.local_c2st.map(Part::Figure));
    parts.extend(figures.coverage.map(Part::Figure));
    if checked {
        parts.push(Part::Table(tables::checks(run)));
    }
    if run.predictive.is_some() {
        parts.push(heading("Does the fitted model reproduce the observations?"));
        parts.extend(figures.predictive.map(Part::Figure));
        parts.extend(predictive::table(run).map(Part::Table));
    }
    parts.extend(figures.observations.map(Part::Figure));
    parts.push(heading("Training"));
    parts.extend(figures.losses.into_iter().map(Part::Figure));
    Section { id: run.name.clone(), title: run.label.clone(), parts }
}

fn data(run: &RunResults) -> String {
    let training = &run.training;
    let invalid = if training.invalid > 0 {
        format!(", of which {} failed and were left out", training.invalid)
    } else {
        String::new()
    };
    let source = if run.observations.source == "simulated" {
        format!("{} observations were simulated at known parameters", run.observations.count)
    } else {
        format!("{} observations come from {}", run.observations.count, run.observations.source)
    };
    let networks = match training.members {
        1 => "One network".to_owned(),
        several => format!("An average of {several} networks"),
    };
    let simulations = match training.n_obs {
        1 => format!("{} single simulations", training.simulations),
        several => format!("{} parameters with {several} simulations of each", training.simulations),
    };
    let known: Vec<String> = training.fixed.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let known = if known.is_empty() { String::new() } else { format!(", and {} is known here", known.join(", ")) };
    let architecture = &training.architecture;
    format!("{networks} ({architecture} architecture) was trained on {simulations}{invalid}{known}. {source}.")
}
