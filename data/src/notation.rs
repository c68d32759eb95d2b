//! Distributions and symmetries as people write them: `g=uniform(-60, 20)`, `a=-b`.

use crate::{Component, DataError, Result, SignedPermutation};
use serde_json::{Map, Value};

/// Distributions of one parameter and the names of their values, in the order in which they are written.
const DISTRIBUTIONS: &[(&str, &[&str])] = &[
    ("uniform", &["low", "high"]),
    ("normal", &["loc", "scale"]),
    ("lognormal", &["loc", "scale"]),
    ("loguniform", &["low", "high"]),
    ("truncated_normal", &["loc", "scale", "low", "high"]),
    ("half_normal", &["scale"]),
    ("beta", &["alpha", "beta"]),
    ("gamma", &["shape", "rate"]),
    ("inverse_gamma", &["shape", "scale"]),
    ("exponential", &["rate"]),
    ("student_t", &["df", "loc", "scale"]),
    ("cauchy", &["loc", "scale"]),
    ("half_cauchy", &["scale"]),
];

/// The distribution as it is written: `uniform(-60, 20)`, a bound that there is not as an infinity; `multivariate_normal` without its numbers.
impl std::fmt::Display for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let json = serde_json::to_value(self).map_err(|_| std::fmt::Error)?;
        let dist = json["dist"].as_str().unwrap_or_default();
        f.write_str(dist)?;
        let Some((_, fields)) = DISTRIBUTIONS.iter().find(|(known, _)| *known == dist) else { return Ok(()) };
        let value = |field: &&str| match (json.get(*field).and_then(Value::as_f64), *field) {
            (Some(number), _) => number.to_string(),
            (None, "low") => "-inf".into(),
            (None, _) => "inf".into(),
        };
        write!(f, "({})", fields.iter().map(value).collect::<Vec<_>>().join(", "))
    }
}

/// The distribution that `NAME=DIST(A, B)` or `NAME=DIST(low=A, high=B)` writes, with the names that the JSON form of priors has.
///
/// # Errors
/// [`DataError::Prior`] saying what is wrong and what distributions there are.
pub fn parse_component(text: &str) -> Result<Component> {
    let known = || {
        let one = |(name, fields): &(&str, &[&str])| format!("{name}({})", fields.join(", "));
        DISTRIBUTIONS.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let fail = |what: &str| DataError::Prior(format!("{text:?} {what}; write NAME=DISTRIBUTION(VALUES): {}", known()));
    let (name, distribution) = text.split_once('=').ok_or_else(|| fail("names no parameter"))?;
    let (dist, values) = distribution
        .trim()
        .strip_suffix(')')
        .and_then(|rest| rest.split_once('('))
        .ok_or_else(|| fail("is no distribution of values in brackets"))?;
    let dist = dist.trim();
    let (_, fields) =
        DISTRIBUTIONS.iter().find(|(known, _)| *known == dist).ok_or_else(|| fail("is of no known distribution"))?;
    let mut object = Map::new();
    object.insert("name".into(), name.trim().into());
    object.insert("dist".into(), dist.into());
    let parts: Vec<&str> = values.split(',').map(str::trim).collect();
    if parts.len() != fields.len() {
        return Err(fail(&format!("has {} values", parts.len())));
    }
    for (part, field) in parts.iter().zip(*fields) {
        let (field, number) =
            part.split_once('=').map_or((*field, *part), |(field, number)| (field.trim(), number.trim()));
        let number: f64 = number.parse().map_err(|_| fail(&format!("holds {number:?}, which is not a number")))?;
        // A bound at infinity is none.
        if matches!((field, number), ("low", f64::NEG_INFINITY) | ("high", f64::INFINITY)) && fields.len() == 4 {
            continue;
        }
        if !number.is_finite() {
            return Err(fail(&format!("holds {number}, which is not finite")));
        }
        object.insert(field.into(), number.into());
    }
    let component: Component =
        serde_json::from_value(Value::Object(object)).map_err(|error| fail(&format!("cannot be ({error})")))?;
    Ok(component)
}

/// The maps that `A,B=C,..` writes of the parameters `names`: `a` is the sign of a about its prior's centre, `a=b` exchanges two, `a=-b` with their signs.
///
/// # Errors
/// When there is no such parameter, or one is exchanged with itself.
pub fn parse_symmetries(text: &str, names: &[String]) -> Result<Vec<SignedPermutation>> {
    let index = |name: &str| {
        let unknown = || format!("there is no parameter {:?}; there are {}", name.trim(), names.join(", "));
        names.iter().position(|known| known == name.trim()).ok_or_else(|| DataError::Symmetry(unknown()))
    };
    let map = |item: &str| {
        let Some((a, b)) = item.split_once('=') else {
            return Ok(SignedPermutation::flip(names.len(), &[index(item)?]));
        };
        let (b, negate) = b.trim().strip_prefix('-').map_or((b, false), |b| (b, true));
        let (i, j) = (index(a)?, index(b)?);
        if i == j {
            let message = format!("{item:?} exchanges a parameter with itself; {a} alone is its sign");
            return Err(DataError::Symmetry(message));
        }
        Ok(SignedPermutation::exchange(names.len(), (i, j), negate))
    };
    text.split(',').map(map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_read_as_they_are_written() {
        let uniform = Component::Uniform { name: "g".into(), low: -60.0, high: 20.0 };
        for text in ["g=uniform(-60,20)", " g = uniform( low=-60, high=20 )", "g=uniform(high=20, low=-60)"] {
            assert_eq!(parse_component(text).expect("legal"), uniform, "{text}");
        }
        let normal = Component::Normal { name: "a".into(), loc: 1e-3, scale: 2.0 };
        assert_eq!(parse_component("a=normal(1e-3, 2)").expect("legal"), normal);
        for (text, expected) in [
            ("uniform(1,2)", "names no parameter"),
            ("g=uniform", "no distribution of values"),
            ("g=gauss(1,2)", "no known distribution"),
            ("g=uniform(1)", "has 1 values"),
            ("g=uniform(1,x)", "\"x\", which is not a number"),
            ("g=uniform(low=1,top=2)", "cannot be"),
            ("g=uniform(-inf,2)", "not finite"),
            ("g=truncated_normal(0,1,inf,inf)", "not finite"),
            ("g=gamma(1)", "has 1 values"),
        ] {
            let error = parse_component(text).expect_err(expected).to_string();
            assert!(error.contains(expected) && error.contains("uniform(low, high)"), "{error}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for (name, fields) in DISTRIBUTIONS {
            let values: Vec<String> = (1..=fields.len()).map(|i| format!("{}.5", i)).collect();
            let text = format!("{name}({})", values.join(", "));
            let component = parse_component(&format!("a={text}")).expect("legal");
            assert_eq!(component.to_string(), text);
        }
        let one_sided = parse_component("a=truncated_normal(0, 1, 0, inf)").expect("legal");
        assert_eq!(
            one_sided,
            Component::TruncatedNormal { name: "a".into(), loc: 0.0, scale: 1.0, low: Some(0.0), high: None }
        );
        assert_eq!(one_sided.to_string(), "truncated_normal(0, 1, 0, inf)");
    }
}
