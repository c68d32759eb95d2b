//! Axes: a range, ticks at round numbers, and what to write beside them.

/// One axis of a panel. Logarithmic axes work on log₁₀ of the values.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis from `low` to `high` with about `count` round ticks.
    pub fn linear(label: impl Into<String>, low: f64, high: f64, count: usize) -> Self {
        let (low, high) = proper(low, high);
        let step = round_step((high - low) / count.max(1) as f64);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let ticks = (first..=last).map(|k| (k as f64 * step, decimal(k as f64 * step, step))).collect();
        Self { label: label.into(), low, high, logarithmic: false, ticks }
    }

    /// A linear axis over `values` with some room around them.
    pub fn around(label: impl Into<String>, values: impl IntoIterator<Item = f64>, count: usize) -> Self {
        let (low, high) = extent(values);
        let room = 0.06 * (high - low);
        Self::linear(label, low - room, high + room, count)
    }

    /// A linear axis from zero to somewhat above `values`.
    pub fn from_zero(label: impl Into<String>, values: impl IntoIterator<Item = f64>, count: usize) -> Self {
        let (_, high) = extent(values);
        Self::linear(label, 0.0, 1.08 * high.max(f64::MIN_POSITIVE), count)
    }

    /// A logarithmic axis over the positive ones of `values`.
    pub fn logarithmic(label: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = extent(values.into_iter().filter(|v| *v > 0.0).map(f64::log10));
        let room = 0.06 * (high - low).max(0.3);
        let (low, high) = (low - room, high + room);
        Self { label: label.into(), low, high, logarithmic: true, ticks: log_ticks(low, high) }
    }

    /// An axis with ticks exactly at `values` (numbers of observations, say), without any whose label would touch another.
    pub fn at(label: impl Into<String>, values: &[f64]) -> Self {
        let (low, high) = extent(values.iter().copied());
        let room = 0.04 * (high - low);
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for &value in values {
            if ticks.last().is_none_or(|(last, _)| value - last > 0.035 * (high - low)) {
                ticks.push((value, format!("{value}")));
            }
        }
        Self { label: label.into(), low: low - room, high: high + room, logarithmic: false, ticks }
    }

    /// A linear axis without a label that bears the given ticks.
    pub fn with_ticks(low: f64, high: f64, ticks: Vec<(f64, String)>) -> Self {
        Self { label: String::new(), low, high, logarithmic: false, ticks }
    }

    /// Without ticks so close to an end that their labels would touch those of a neighbouring panel.
    #[must_use]
    pub fn inner_ticks(mut self) -> Self {
        let room = 0.07 * (self.high - self.low);
        self.ticks.retain(|(at, _)| *at > self.low + room && *at < self.high - room);
        self
    }

    /// With another label.
    #[must_use]
    pub fn named(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }

    /// The value at an axis coordinate.
    pub fn value(&self, coordinate: f64) -> f64 {
        if self.logarithmic { 10f64.powf(coordinate) } else { coordinate }
    }

    /// Range in axis coordinates.
    pub fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }

    /// Ticks, in axis coordinates, with their labels.
    pub fn ticks(&self) -> &[(f64, String)] {
        &self.ticks
    }

    /// Axis coordinate of a value, held inside the range so that nothing is drawn outside its panel.
    pub fn coordinate(&self, value: f64) -> f64 {
        let coordinate = if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        coordinate.clamp(self.low, self.high)
    }
}

/// Smallest and largest finite value; (0, 1) where there is none, widened where they agree.
pub fn extent(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .into_iter()
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high { (0.0, 1.0) } else { proper(low, high) }
}

fn proper(low: f64, high: f64) -> (f64, f64) {
    if high - low > 1e-12 * low.abs().max(high.abs()).max(1e-300) {
        (low, high)
    } else {
        let room = if low == 0.0 { 1.0 } else { 0.5 * low.abs() };
        (low - room, high + room)
    }
}

/// 1, 2 or 5 times a power of ten, at least `raw`.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.abs().max(f64::MIN_POSITIVE).log10().floor());
    let mantissa = raw / power;
    let round = [1.0, 2.0, 5.0].into_iter().find(|m| mantissa <= m * (1.0 + 1e-9)).unwrap_or(10.0);
    round * power
}

fn decimal(value: f64, step: f64) -> String {
    let magnitude = value.abs().max(step);
    if !(1e-4..1e6).contains(&magnitude) {
        let exponent = magnitude.log10().floor() as i32;
        let mantissa = value / 10f64.powi(exponent);
        return if value == 0.0 {
            "0".into()
        } else {
            format!("{}·10{}", trim(&format!("{mantissa:.2}")), superscript(exponent))
        };
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') {
        "0".into()
    } else {
        text.replace('-', "−")
    }
}

fn trim(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let decades = high - low;
    let mantissas: &[f64] = match decades {
        d if d < 1.2 => &[1.0, 2.0, 3.0, 5.0, 7.0],
        d if d < 2.5 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let every = (decades / 8.0).ceil().max(1.0) as i32;
    let mut ticks = Vec::new();
    for exponent in (low.floor() as i32)..=(high.ceil() as i32) {
        if exponent.rem_euclid(every) != 0 {
            continue;
        }
        for mantissa in mantissas {
            let coordinate = f64::from(exponent) + mantissa.log10();
            if (low..=high).contains(&coordinate) {
                ticks.push((coordinate, log_label(*mantissa, exponent)));
            }
        }
    }
    ticks
}

fn log_label(mantissa: f64, exponent: i32) -> String {
    if (-3..=4).contains(&exponent) {
        let decimals = (-exponent).max(0) as usize;
        format!("{:.decimals$}", mantissa * 10f64.powi(exponent))
    } else if mantissa == 1.0 {
        format!("10{}", superscript(exponent))
    } else {
        format!("{mantissa}·10{}", superscript(exponent))
    }
}

fn superscript(exponent: i32) -> String {
    exponent
        .to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            other => other.to_digit(10).and_then(|d| char::from_u32('⁰' as u32 + d)).unwrap_or(other),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks().iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers_inside_the_range() {
        assert_eq!(labels(&Axis::linear("C", 10.0, 250.0, 4)), ["100", "200"]);
        assert_eq!(labels(&Axis::linear("g", -20.0, 20.0, 4)), ["−20", "−10", "0", "10", "20"]);
        assert_eq!(labels(&Axis::linear("p", 0.0, 0.3, 3)), ["0", "0.1", "0.2", "0.3"]);
    }

    #[test]
    fn logarithmic_ticks_cover_small_and_large_ranges() {
        assert_eq!(
            labels(&Axis::logarithmic("loss", [0.001, 1.0, 1000.0])),
            ["0.001", "0.01", "0.1", "1", "10", "100", "1000"]
        );
        assert!(labels(&Axis::logarithmic("loss", [0.11, 0.4])).contains(&"0.2"));
        assert!(labels(&Axis::logarithmic("tiny", [1e-12, 1e-2])).len() >= 4);
    }

    /// Degenerate data still give an axis one can draw.
    #[test]
    fn constant_or_missing_values_give_a_proper_range() {
        for values in [vec![], vec![3.0, 3.0], vec![f64::NAN], vec![0.0]] {
            let range = Axis::around("x", values, 4).range();
            assert!(range.end > range.start);
        }
        let range = Axis::logarithmic("x", [0.0, -1.0]).range();
        assert!(range.end > range.start);
    }
}
