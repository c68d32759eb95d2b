//! Sentences of the summary, and numbers in them.

/// How a sentence of the summary is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As hoped.
    Good,
    /// Worth a look.
    Caution,
    /// Neither.
    Neutral,
}

/// A sentence with its verdict.
pub type Finding = (Verdict, String);

/// Below this p-value a check is failed.
pub const LEVEL: f64 = 0.05;

/// A number with about four digits, and a real minus sign.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    let text = if !value.is_finite() {
        "–".into()
    } else if !(1e-4..1e6).contains(&magnitude) {
        format!("{value:.2e}")
    } else {
        let decimals = (3 - magnitude.log10().floor() as i32).max(0) as usize;
        format!("{value:.decimals$}")
    };
    if value == 0.0 { "0".into() } else { text.replace('-', "−") }
}

/// "p = 0.031", or "p < 0.001".
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".into() } else { format!("p = {p:.3}") }
}
