//! The findings in plain words.

use super::finding::{Finding, LEVEL, Verdict, number, p_value};
use super::predictive;
use super::sentence::{column_name, listed};
use super::spectrum;
use crate::plot::pretty_name;
use crate::study::results::{CoverageResults, PosteriorResults, RunResults};

/// What was found with one model, most important first.
pub fn findings(run: &RunResults) -> Vec<Finding> {
    let mut findings = vec![inferred(run)];
    findings.extend(truth(run));
    findings.extend(refined(run));
    findings.extend(contraction(run));
    findings.extend(sensitivity(run));
    findings.extend(coupling(run));
    findings.extend(local_test(run));
    findings.extend(coverage(run));
    findings.extend(predictive::finding(run));
    findings.extend(support(run));
    findings.extend(widened(run));
    findings.extend(trouble(run));
    findings
}

/// Why results of one model should not be trusted, or not without more, in the report's words.
pub fn cautions(run: &RunResults) -> Vec<String> {
    let cautious = |(verdict, text): Finding| (verdict == Verdict::Caution).then_some(text);
    findings(run).into_iter().filter_map(cautious).collect()
}

fn inferred(run: &RunResults) -> Finding {
    let Some(last) = run.posteriors.last() else { return (Verdict::Neutral, "No posterior was sampled.".into()) };
    let one = |i: usize| {
        let marginal = &last.marginals[i];
        let unit = match run.units[i].as_str() {
            "" => String::new(),
            "1/s^1/2" => " 1/√s".into(),
            unit => format!(" {unit}"),
        };
        let name = pretty_name(&run.prior.names()[i]);
        format!("{name} = {} ± {}{unit}", number(marginal.mean), number(marginal.sd))
    };
    let text = format!(
        "Given {} observations: {} (posterior mean ± standard deviation).",
        last.n_obs,
        listed((0..run.prior.dim()).map(one))
    );
    (Verdict::Neutral, text)
}

fn truth(run: &RunResults) -> Option<Finding> {
    let (truth, last) = (run.truth.as_ref()?, run.posteriors.last()?);
    let missed: Vec<String> = truth
        .iter()
        .zip(&last.marginals)
        .zip(run.prior.names())
        .filter(|((truth, marginal), _)| **truth < marginal.lower || **truth > marginal.upper)
        .map(|(_, name)| pretty_name(name))
        .collect();
    Some(if missed.is_empty() {
        (Verdict::Good, format!("The true values lie inside the central 95 % of every marginal at n = {}.", last.n_obs))
    } else {
        let (value, lies, its) =
            if missed.len() == 1 { ("value", "lies", "its marginal") } else { ("values", "lie", "their marginals") };
        let text = format!(
            "The true {value} of {} {lies} outside the central 95 % of {its} at n = {} (by chance, one marginal in twenty).",
            listed(missed),
            last.n_obs
        );
        (Verdict::Caution, text)
    })
}

/// What refinement changed, and what it says of itself.
fn refined(run: &RunResults) -> Vec<Finding> {
    let (Some(refined), Some(last)) = (&run.refined, run.posteriors.last()) else { return Vec::new() };
    let one = |i: usize| {
        let (name, marginal) = (pretty_name(&run.prior.names()[i]), &refined.marginals[i]);
        format!("{name} = {} ± {}", number(marginal.mean), number(marginal.sd))
    };
    let moved = (0..run.prior.dim())
        .map(|i| (refined.marginals[i].mean - last.marginals[i].mean).abs() / refined.marginals[i].sd)
        .fold(0.0, f64::max);
    let work = &refined.work;
    let told = match &work.not_settled {
        _ if work.base_kept => "the network predicts simulations there better than a refinement, and is kept".into(),
        None => format!("settled, means moved by up to {moved:.2} sd"),
        Some(reason) => format!("not settled: {reason}"),
    };
    let text = format!(
        "Refined at the {} observations with {} simulations more: {} ({told}).",
        refined.n_obs,
        work.simulations,
        listed((0..run.prior.dim()).map(one))
    );
    let verdict = if work.not_settled.is_some() { Verdict::Caution } else { Verdict::Good };
    let mut findings = vec![(verdict, text)];
    if let Some(checks) = &refined.check {
        let (before, after) = (checks.before.p_value, checks.after.p_value);
        let (verdict, finds) =
            if after < LEVEL { (Verdict::Caution, "rejects") } else { (Verdict::Good, "finds no fault with") };
        let text = format!(
            "Posterior SBC, which simulates at this posterior, {finds} the refined one ({}; before refinement {}).",
            p_value(after),
            p_value(before)
        );
        findings.push((verdict, text));
    }
    findings
}

fn contraction(run: &RunResults) -> Option<Finding> {
    let (first, last) = (run.posteriors.first()?, run.posteriors.last()?);
    let share =
        |value: f64| if value < 0.01 { format!("{:.2} %", 100.0 * value) } else { format!("{:.1} %", 100.0 * value) };
    let of = |posterior: &PosteriorResults, i: usize| share(posterior.marginals[i].contraction);
    let one = |i: usize| {
        let name = pretty_name(&run.prior.names()[i]);
        if first.n_obs == last.n_obs {
            format!("{name} {}", of(last, i))
        } else {
            format!("{name} from {} to {}", of(first, i), of(last, i))
        }
    };
    let span = if first.n_obs == last.n_obs {
        format!("at n = {}", last.n_obs)
    } else {
        format!("from n = {} to n = {}", first.n_obs, last.n_obs)
    };
    let text = format!("Of the prior's spread is left, {span}: {}.", listed((0..run.prior.dim()).map(one)));
    let grew: Vec<String> = (0..run.prior.dim())
        .filter(|&i| last.n_obs > first.n_obs && last.marginals[i].contraction >= first.marginals[i].contraction)
        .map(|i| pretty_name(&run.prior.names()[i]))
        .collect();
    Some(if grew.is_empty() {
        (Verdict::Good, text)
    } else {
        (Verdict::Caution, format!("{text} More observations did not narrow {}.", listed(grew)))
    })
}

/// Which value tells most of each parameter, and what more observations would bring.
fn sensitivity(run: &RunResults) -> Vec<Finding> {
    let (Some(found), Some(last)) = (&run.sensitivity, run.posteriors.last()) else { return Vec::new() };
    let name = |i: usize| pretty_name(&run.prior.names()[i]);
    let mut findings = Vec::new();
    if found.values.len() > 1 {
        let most = |i: usize| {
            let of = |value: &Vec<f64>| value.get(i).copied().unwrap_or(0.0);
            let best = (0..found.values.len()).max_by(|&a, &b| of(&found.values[a]).total_cmp(&of(&found.values[b])));
            format!("{} by {}", name(i), value_name(run, best.unwrap_or(0)))
        };
        let list = listed((0..run.prior.dim()).map(most));
        findings.push((Verdict::Neutral, format!("Of single values of an observation, most is told of {list}.")));
    }
    let expected: Vec<String> = found
        .expected
        .iter()
        .filter(|(_, ratios)| ratios.len() == run.prior.dim())
        .map(|(n, ratios)| {
            let one = |i: usize| format!("{} to {:.0} %", name(i), 100.0 * ratios[i]);
            format!("{n} observations would narrow {}", listed((0..run.prior.dim()).map(one)))
        })
        .collect();
    if !expected.is_empty() {
        let text =
            format!("Expected of the present standard deviations at n = {}: {}.", last.n_obs, expected.join("; "));
        findings.push((Verdict::Neutral, text));
    }
    findings
}

/// A value of an observation whose first columns are conditions, counted without them, by its frequency or its name.
fn value_name(run: &RunResults, value: usize) -> String {
    let names = run.observations.names.len();
    let conditions = names.saturating_sub(run.sensitivity.as_ref().map_or(0, |s| s.values.len()));
    column_name(&run.observations, conditions, value)
}

/// Correlations beyond this are worth a sentence.
const STRONG: f64 = 0.7;

fn coupling(run: &RunResults) -> Option<Finding> {
    let last = run.posteriors.last()?;
    let m = run.prior.dim();
    let mut strong: Vec<(f64, usize, usize)> = (0..m)
        .flat_map(|i| (0..i).map(move |j| (j, i)))
        .map(|(j, i)| (last.correlation[j][i], j, i))
        .filter(|(r, ..)| r.abs() > STRONG)
        .collect();
    if strong.is_empty() {
        return None;
    }
    strong.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    let name = |i: usize| pretty_name(&run.prior.names()[i]);
    let pairs = listed(
        strong
            .iter()
            .map(|&(r, j, i)| format!("{} and {} ({})", name(j), name(i), format!("{r:.2}").replace('-', "−"))),
    );
    Some((
        Verdict::Caution,
        format!(
            "Strongly coupled at n = {}: {pairs}. The data fix a combination of them better than each one.",
            last.n_obs
        ),
    ))
}

fn local_test(run: &RunResults) -> Option<Finding> {
    let tests: Vec<(usize, f64)> =
        run.posteriors.iter().filter_map(|p| Some((p.n_obs, p.local_c2st.as_ref()?.p_value))).collect();
    if tests.is_empty() {
        return None;
    }
    let rejected: Vec<String> =
        tests.iter().filter(|(_, p)| *p < LEVEL).map(|(n, p)| format!("n = {n} ({})", p_value(*p))).collect();
    let smallest = tests.iter().map(|(_, p)| *p).fold(1.0, f64::min);
    Some(if rejected.is_empty() {
        let text = format!(
            "The local two-sample test finds no fault with the posterior at these observations (smallest {} of {} tests).",
            p_value(smallest),
            tests.len()
        );
        (Verdict::Good, text)
    } else {
        let text = format!(
            "The local two-sample test rejects the posterior at {}, of {} tests. At a level of 0.05 one in twenty is rejected by chance.",
            listed(rejected),
            tests.len()
        );
        (Verdict::Caution, text)
    })
}

fn coverage(run: &RunResults) -> Option<Finding> {
    let checks: Vec<_> = run.posteriors.iter().filter_map(|p| Some((p.n_obs, p.coverage.as_ref()?))).collect();
    if checks.is_empty() {
        return None;
    }
    let failed: Vec<String> = checks
        .iter()
        .filter(|(_, check)| check.p_value < LEVEL)
        .map(|(n, check)| {
            let side = if tails(check) > 0.1 { "too narrow or off centre" } else { "too wide" };
            format!("{side} at n = {n} ({})", p_value(check.p_value))
        })
        .collect();
    let n = listed(checks.iter().map(|(n, _)| n.to_string()));
    Some(if failed.is_empty() {
        let text =
            format!("Over the whole prior, credible regions hold the truth as often as they say (checked at n = {n}).");
        (Verdict::Good, text)
    } else {
        (Verdict::Caution, format!("Over the whole prior, credible regions are {}.", listed(failed)))
    })
}

/// Share of truths that lie in the outermost 5 % of their posteriors, on either side of the reference point: 0.1 when right.
fn tails(check: &CoverageResults) -> f64 {
    let at = |level: f64| {
        let index = check.levels.iter().position(|&known| known >= level - 1e-9);
        index.and_then(|index| check.coverage.get(index)).copied().unwrap_or(level)
    };
    at(0.05) + 1.0 - at(0.95)
}

fn support(run: &RunResults) -> Vec<Finding> {
    let support = &run.observations.support;
    let all = support.distances.len();
    let mut findings = Vec::new();
    if support.is_suspicious() {
        let text = format!(
            "{} of {all} observations are unlike the simulations (further out than 99 % of them): the model may be wrong for these data, and the posterior should not be trusted.",
            support.outside
        );
        findings.push((Verdict::Caution, text));
    } else {
        let text = format!(
            "The observations look like the simulations the network was trained on ({} of {all} beyond their 99 %).",
            support.outside
        );
        findings.push((Verdict::Good, text));
    }
    findings.extend(spectrum::findings(&run.observations));
    findings
}

/// How far the network's own error lets the last posterior narrow.
fn widened(run: &RunResults) -> Option<Finding> {
    let last = run.posteriors.last()?;
    let (n, worth) = (last.n_obs, last.worth?);
    let text = format!(
        "At n = {n} the posterior is as wide as that of {worth:.0} observations: the network's own error, which all observations share, is included."
    );
    // Where it is most of the width, more observations do not help.
    Some((if worth < 0.5 * n as f64 { Verdict::Caution } else { Verdict::Neutral }, text))
}

fn trouble(run: &RunResults) -> Option<Finding> {
    let (diverged, repaired): (u64, u64) =
        run.posteriors.iter().fold((0, 0), |sum, p| (sum.0 + p.diverged, sum.1 + p.repaired));
    (diverged + repaired > 0).then(|| {
        let text = format!(
            "While sampling, {diverged} samples diverged and {repaired} precision matrices had to be repaired."
        );
        (Verdict::Caution, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Truths beyond the posteriors steepen the curve at both ends; truths always in the middle flatten it.
    #[test]
    fn coverage_curves_tell_narrow_from_wide() {
        let levels: Vec<f64> = (0..=20).map(|i| 0.05 * f64::from(i)).collect();
        let check = |curve: &dyn Fn(f64) -> f64| CoverageResults {
            coverage: levels.iter().map(|&level| curve(level)).collect(),
            levels: levels.clone(),
            p_value: 0.0,
            area: 0.0,
            pairs: 100,
        };
        assert!((tails(&check(&|level| level)) - 0.1).abs() < 1e-12);
        assert!(tails(&check(&|level| 0.25 + 0.5 * level)) > 0.1);
        assert!(tails(&check(&|level| level * level * (3.0 - 2.0 * level))) < 0.1);
    }

    #[test]
    fn numbers_are_short_and_readable() {
        for (value, text) in [(135.0, "135.0"), (-0.01234, "−0.01234"), (2000.4, "2000"), (0.0, "0"), (f64::NAN, "–")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!(listed(["a", "b", "c"].map(String::from)), "a, b and c");
    }
}
