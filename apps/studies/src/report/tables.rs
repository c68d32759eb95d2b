//! Tables of the report of a study of models.

use super::finding::{LEVEL, p_value};
use super::table::{Cell, Table};
use crate::plot::{pretty_name, with_unit};
use crate::study::StudyRecord;
use crate::study::results::{RefinedResults, RunResults};
use serde_json::Value;

/// Mean, spread, interval and contraction of each parameter for each n.
pub fn marginals(run: &RunResults) -> Table {
    let columns = ["n", "parameter", "mean", "sd", "2.5 %", "97.5 %", "sd / prior sd", "true value", "√MMD to it"];
    let columns = if run.truth.is_some() { &columns[..] } else { &columns[..7] };
    let mut table = Table::new(format!("{}-marginals", run.name), "Posterior of each parameter", 2, columns);
    for posterior in &run.posteriors {
        for (i, marginal) in posterior.marginals.iter().enumerate() {
            let mut row = vec![
                Cell::count(posterior.n_obs),
                Cell::text(with_unit(&run.prior.names()[i], &run.units[i])),
                marginal.mean.into(),
                marginal.sd.into(),
                marginal.lower.into(),
                marginal.upper.into(),
                marginal.contraction.into(),
            ];
            if let Some(truth) = &run.truth {
                row.push(truth[i].into());
                row.push(marginal.dirac_mmd.map_or(Cell::Empty, |mmd| mmd.sqrt().into()));
            }
            table.rows.push(row);
        }
    }
    table
}

/// Each parameter before and after refinement.
pub fn refined(run: &RunResults, refined: &RefinedResults) -> Table {
    let columns = ["parameter", "mean before", "sd before", "mean refined", "sd refined", "true value"];
    let columns = if run.truth.is_some() { &columns[..] } else { &columns[..5] };
    let caption = format!("Posterior before and after refinement, n = {}", refined.n_obs);
    let mut table = Table::new(format!("{}-refined", run.name), caption, 1, columns);
    let before = run.posteriors.last().map_or(&[][..], |posterior| &posterior.marginals);
    for (i, (before, after)) in before.iter().zip(&refined.marginals).enumerate() {
        let name = with_unit(&run.prior.names()[i], &run.units[i]);
        let mut row = vec![Cell::text(name), before.mean.into(), before.sd.into(), after.mean.into(), after.sd.into()];
        row.extend(run.truth.as_ref().map(|truth| Cell::from(truth[i])));
        table.rows.push(row);
    }
    table
}

/// Correlations at the largest n.
pub fn correlations(run: &RunResults) -> Option<Table> {
    let last = run.posteriors.last()?;
    let names: Vec<String> = run.prior.names().iter().map(|name| pretty_name(name)).collect();
    let columns: Vec<&str> = std::iter::once("parameter").chain(names.iter().map(String::as_str)).collect();
    let caption = format!("Correlations at n = {}", last.n_obs);
    let mut table = Table::new(format!("{}-correlations", run.name), caption, 1, &columns);
    for (name, row) in names.iter().zip(&last.correlation) {
        let values = row.iter().map(|&value| Cell::decimals(value, 3));
        table.rows.push(std::iter::once(Cell::text(name)).chain(values).collect());
    }
    Some(table)
}

/// Eigen-directions at the largest n.
pub fn directions(run: &RunResults) -> Option<Table> {
    let last = run.posteriors.last()?;
    let weights: Vec<String> =
        run.prior.names().iter().map(|name| format!("weight of {}", pretty_name(name))).collect();
    let columns: Vec<&str> =
        ["direction", "posterior / prior sd"].into_iter().chain(weights.iter().map(String::as_str)).collect();
    let caption = format!("Eigen-directions at n = {}, best determined first", last.n_obs);
    let mut table = Table::new(format!("{}-directions", run.name), caption, 1, &columns);
    for (k, direction) in last.directions.iter().enumerate() {
        let mut row = vec![Cell::count(k + 1), direction.spread.into()];
        row.extend(direction.weights.iter().map(|&w| Cell::Shown(w, format!("{w:+.3}").replace('-', "−"))));
        table.rows.push(row);
    }
    Some(table)
}

/// Checks: statistics and p-values.
pub fn checks(run: &RunResults) -> Table {
    let columns = ["n", "check", "statistic", "p-value", "null trials", "pairs", "at 0.05"];
    let mut table = Table::new(format!("{}-checks", run.name), "Checks of the posterior", 2, &columns);
    let mut add = |n: usize, check: &str, statistic: f64, p: f64, trials: Cell, pairs: usize| {
        let shown = p_value(p).trim_start_matches("p = ").trim_start_matches("p ").to_owned();
        let verdict = if p < LEVEL { "rejected" } else { "not rejected" };
        table.rows.push(vec![
            Cell::count(n),
            Cell::text(check),
            statistic.into(),
            Cell::Shown(p, shown),
            trials,
            Cell::count(pairs),
            Cell::text(verdict),
        ]);
    };
    for posterior in &run.posteriors {
        if let Some(test) = &posterior.local_c2st {
            let trials = Cell::count(test.null_statistics.len());
            add(posterior.n_obs, "ℓ-C2ST", test.statistic, test.p_value, trials, test.pairs);
        }
        if let Some(test) = &posterior.coverage {
            add(posterior.n_obs, "expected coverage", test.area, test.p_value, Cell::Empty, test.pairs);
        }
    }
    if let Some(RefinedResults { n_obs, check: Some(checks), .. }) = &run.refined {
        for (name, check) in [("before", &checks.before), ("refined", &checks.after)] {
            let worst = check.p_values.iter().copied().fold(1.0, f64::min);
            add(*n_obs, &format!("posterior SBC, {name}"), worst, check.p_value, Cell::Empty, check.pairs);
        }
    }
    table
}

/// Options of a study, flattened to `name.of.option`.
pub fn settings(record: &StudyRecord) -> Table {
    let mut rows = Vec::new();
    flatten("", &record.settings, &mut rows);
    let mut table = Table::new("settings", "Options of the study", 1, &["option", "value"]);
    table.rows = rows.into_iter().map(|(name, value)| vec![Cell::Text(name), Cell::Text(value)]).collect();
    table
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
            let items = list.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            rows.push((prefix.to_owned(), items.collect::<Vec<_>>().join(", ")));
        }
        other => rows.push((prefix.to_owned(), other.to_string())),
    }
}

/// Steps and their times.
pub fn timings(record: &StudyRecord) -> Table {
    let total: f64 = record.steps.iter().map(|step| step.seconds).sum();
    let caption = format!("Time of each step, on {} threads", record.threads);
    let mut table = Table::new("timings", caption, 1, &["step", "seconds", "key"]);
    for step in &record.steps {
        let key = &step.key[..step.key.len().min(12)];
        table.rows.push(vec![Cell::text(&step.name), Cell::decimals(step.seconds, 1), Cell::text(key)]);
    }
    table.rows.push(vec![Cell::text("all steps"), Cell::decimals(total, 1), Cell::Empty]);
    table
}
