//! Tables of the report.

use super::words::{LEVEL, number, p_value};
use crate::plot::{pretty_name, with_unit};
use crate::study::StudyResults;
use crate::study::results::RunResults;
use maud::{Markup, html};
use serde_json::Value;

/// A table that scrolls sideways on narrow screens.
fn scrolling(caption: &str, table: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table { caption { (caption) } (table) }
        }
    }
}

/// Mean, spread, interval and contraction of each parameter for each n.
pub fn marginals(run: &RunResults) -> Markup {
    let head = html! {
        thead { tr {
            th scope="col" { "n" } th scope="col" { "parameter" } th scope="col" { "mean" } th scope="col" { "sd" }
            th scope="col" { "95 % interval" } th scope="col" { "sd / prior sd" }
            @if run.truth.is_some() { th scope="col" { "true value" } th scope="col" { "√MMD to it" } }
        } }
    };
    let body = html! {
        @for posterior in &run.posteriors { tbody {
            @for (i, marginal) in posterior.marginals.iter().enumerate() { tr {
                @if i == 0 { th scope="rowgroup" rowspan=(posterior.marginals.len()) { (posterior.n_obs) } }
                th scope="row" { (with_unit(&run.prior.names()[i], &run.units[i])) }
                td { (number(marginal.mean)) } td { (number(marginal.sd)) }
                td { (number(marginal.lower)) " to " (number(marginal.upper)) }
                td { (number(marginal.contraction)) }
                @if let Some(truth) = &run.truth {
                    td { (number(truth[i])) } td { (marginal.dirac_mmd.map(|mmd| number(mmd.sqrt())).unwrap_or_default()) }
                }
            } }
        } }
    };
    scrolling("Posterior of each parameter", &html! { (head) (body) })
}

/// Correlations at the largest n.
pub fn correlations(run: &RunResults) -> Markup {
    let Some(last) = run.posteriors.last() else { return html! {} };
    let names: Vec<String> = run.prior.names().iter().map(|name| pretty_name(name)).collect();
    let content = html! {
        thead { tr { td {} @for name in &names { th scope="col" { (name) } } } }
        tbody { @for (name, row) in names.iter().zip(&last.correlation) { tr {
            th scope="row" { (name) }
            @for value in row { td { (format!("{value:.3}").replace('-', "−")) } }
        } } }
    };
    scrolling(&format!("Correlations at n = {}", last.n_obs), &content)
}

/// Eigen-directions at the largest n.
pub fn directions(run: &RunResults) -> Markup {
    let Some(last) = run.posteriors.last() else { return html! {} };
    let content = html! {
        thead { tr {
            th scope="col" { "direction" } th scope="col" { "posterior / prior sd" }
            @for name in run.prior.names() { th scope="col" { "weight of " (pretty_name(name)) } }
        } }
        tbody { @for (k, direction) in last.directions.iter().enumerate() { tr {
            th scope="row" { (k + 1) } td { (number(direction.spread)) }
            @for weight in &direction.weights { td { (format!("{weight:+.3}").replace('-', "−")) } }
        } } }
    };
    scrolling(&format!("Eigen-directions at n = {}, best determined first", last.n_obs), &content)
}

/// Checks: statistics and p-values.
pub fn checks(run: &RunResults) -> Markup {
    let verdict = |p: f64| if p < LEVEL { "rejected" } else { "not rejected" };
    let content = html! {
        thead { tr {
            th scope="col" { "n" } th scope="col" { "check" } th scope="col" { "statistic" } th scope="col" { "p-value" }
            th scope="col" { "trials or pairs" } th scope="col" { "at 0.05" }
        } }
        tbody { @for posterior in &run.posteriors {
            @if let Some(test) = &posterior.local_c2st { tr {
                th scope="row" { (posterior.n_obs) } td { "ℓ-C2ST" } td { (number(test.statistic)) }
                td { (p_value(test.p_value).trim_start_matches("p = ").trim_start_matches("p ")) }
                td { (test.null_statistics.len()) " null trials, " (test.pairs) " pairs" } td { (verdict(test.p_value)) }
            } }
            @if let Some(test) = &posterior.coverage { tr {
                th scope="row" { (posterior.n_obs) } td { "expected coverage" } td { (number(test.area)) }
                td { (p_value(test.p_value).trim_start_matches("p = ").trim_start_matches("p ")) } td { (test.pairs) " pairs" } td { (verdict(test.p_value)) }
            } }
        } }
    };
    scrolling("Checks of the posterior", &content)
}

/// Options of the study, flattened to `name.of.option`.
pub fn settings(results: &StudyResults) -> Markup {
    let mut rows = Vec::new();
    flatten("", &results.settings, &mut rows);
    let content = html! {
        thead { tr { th scope="col" { "option" } th scope="col" { "value" } } }
        tbody { @for (name, value) in &rows { tr { th scope="row" { code { (name) } } td.text { (value) } } } }
    };
    scrolling("Options of the study", &content)
}

fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let joined = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Null => {}
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&joined(key), value, rows)),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().enumerate().for_each(|(i, value)| flatten(&joined(&(i + 1).to_string()), value, rows));
        }
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => rows.push((prefix.to_owned(), text.clone())),
        Value::Array(list) if list.is_empty() => {}
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(ToString::to_string).collect();
            rows.push((prefix.to_owned(), items.join(", ")));
        }
        other => rows.push((prefix.to_owned(), other.to_string())),
    }
}

/// Steps and their times.
pub fn timings(results: &StudyResults) -> Markup {
    let total: f64 = results.steps.iter().map(|step| step.seconds).sum();
    let content = html! {
        thead { tr { th scope="col" { "step" } th scope="col" { "seconds" } th scope="col" { "key" } } }
        tbody { @for step in &results.steps { tr {
            th scope="row" { (step.name) } td { (format!("{:.1}", step.seconds)) } td.text { code { (step.key[..step.key.len().min(12)]) } }
        } } }
        tfoot { tr { th scope="row" { "all steps" } td { (format!("{total:.1}")) } td {} } }
    };
    scrolling(&format!("Time of each step, on {} threads", results.threads), &content)
}
