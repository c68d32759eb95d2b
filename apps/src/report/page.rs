//! The page itself.

use super::figures::{RunFigures, listed};
use super::tables;
use super::words::{Verdict, findings};
use crate::plot::Figure;
use crate::study::StudyResults;
use crate::study::results::RunResults;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// The whole document. Nothing in it refers to anything outside of it but the figures' files beside it.
pub fn render(results: &StudyResults, figures: &[RunFigures]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(format!("tallsbi {}", results.version));
                title { (title(results)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title(results)) }
                    p.lead { (lead(results)) }
                    nav aria-label="Sections" { ul {
                        li { a href="#summary" { "Summary" } }
                        @for run in &results.runs { li { a href=(format!("#{}", run.name)) { (run.label) } } }
                        li { a href="#settings" { "Settings and timings" } }
                        li { a href="#provenance" { "Provenance" } }
                    } }
                }
                main {
                    (summary(results))
                    @for (run, figures) in results.runs.iter().zip(figures) { (section(run, figures)) }
                    (settings(results))
                    (provenance(results))
                }
                footer { p { "Made by tallsbi " (results.version) ". All numbers are in " a href="results.json" { "results.json" } ", all figures in " code { "figures/" } "." } }
            }
        }
    }
}

fn title(results: &StudyResults) -> &str {
    if results.title.is_empty() { "Study" } else { &results.title }
}

fn lead(results: &StudyResults) -> String {
    let mut n: Vec<usize> = results.runs.iter().flat_map(|run| run.posteriors.iter().map(|p| p.n_obs)).collect();
    n.sort_unstable();
    n.dedup();
    format!(
        "Simulation-based inference from n = {} observations of the same thing. Preset or file: {}; seed {}; {}.",
        listed(n.iter().map(ToString::to_string)),
        results.preset,
        results.seed,
        results.created
    )
}

fn summary(results: &StudyResults) -> Markup {
    html! {
        section.summary id="summary" {
            h2 { "Summary" }
            @for run in &results.runs {
                h3 { (run.label) }
                ul.findings { @for (verdict, text) in findings(run) {
                    @let (class, mark) = match verdict {
                        Verdict::Good => ("good", "✓ good"),
                        Verdict::Caution => ("caution", "! look here"),
                        Verdict::Neutral => ("neutral", "result"),
                    };
                    li class=(class) { span.mark { (mark) } span { (text.replace(" %", "\u{a0}%").replace(" = ", "\u{a0}=\u{a0}")) } }
                } }
            }
        }
    }
}

fn figure(figure: &Figure) -> Markup {
    let file = |extension: &str| format!("figures/{}.{extension}", figure.name);
    html! {
        figure id=(figure.name) style=(format!("max-width: {}px", figure.width() + 28.0)) {
            div.scroll { (PreEscaped(figure.inline_svg())) }
            figcaption { (figure.caption) " (" a href=(file("svg")) { "SVG" } ", " a href=(file("png")) { "PNG" } ")" }
        }
    }
}

fn maybe(drawn: Option<&Figure>) -> Markup {
    html! { @if let Some(drawn) = drawn { (figure(drawn)) } }
}

fn section(run: &RunResults, figures: &RunFigures) -> Markup {
    html! {
        section id=(run.name) {
            h2 { (run.label) }
            p { (data(run)) }
            h3 { "Posterior" }
            @for drawn in &figures.pairs { (figure(drawn)) }
            (tables::marginals(run))
            h3 { "What the data tell about the parameters" }
            (maybe(figures.contraction.as_ref()))
            (maybe(figures.dirac.as_ref()))
            @if run.prior.dim() > 1 {
                (maybe(figures.directions.as_ref()))
                (tables::directions(run))
                (maybe(figures.correlation.as_ref()))
                (tables::correlations(run))
            }
            h3 { "Can the posterior be trusted?" }
            (maybe(figures.local_c2st.as_ref()))
            (maybe(figures.coverage.as_ref()))
            @if figures.local_c2st.is_some() || figures.coverage.is_some() { (tables::checks(run)) }
            (maybe(figures.observations.as_ref()))
            h3 { "Training" }
            @for drawn in &figures.losses { (figure(drawn)) }
        }
    }
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
    format!(
        "One network ({} architecture) was trained on {} single simulations{invalid}. {source}.",
        training.architecture, training.simulations
    )
}

fn settings(results: &StudyResults) -> Markup {
    html! {
        section id="settings" {
            h2 { "Settings and timings" }
            (tables::timings(results))
            details { summary { "All options" } (tables::settings(results)) }
        }
    }
}

fn provenance(results: &StudyResults) -> Markup {
    html! {
        section id="provenance" {
            h2 { "Provenance" }
            dl {
                dt { "program" } dd { "tallsbi " (results.version) }
                dt { "command" } dd { code { (results.command) } }
                dt { "seed" } dd { (results.seed) }
                dt { "completed" } dd { (results.created) }
                @for run in &results.runs { @for posterior in &run.posteriors {
                    dt { (run.name) ", n = " (posterior.n_obs) }
                    dd { a href=(posterior.file) { (posterior.file) } " (" (posterior.samples) " samples)" }
                } }
            }
            p { "The same command gives the same numbers on any number of threads. Each step's key is the SHA-256 of its options and of the keys of what it was made from." }
        }
    }
}
