//! Units of voltage.

/// Millivolt in one `unit`; `None` if it is no unit of voltage.
///
/// The micro sign is written as u, as µ (U+00B5) or as the Greek letter μ (U+03BC).
pub(crate) fn millivolts(unit: &str) -> Option<f64> {
    Some(match unit.trim() {
        "V" | "v" => 1e3,
        "mV" | "mv" => 1.0,
        "uV" | "µV" | "μV" | "uv" | "µv" | "μv" => 1e-3,
        "nV" | "nv" => 1e-6,
        _ => return None,
    })
}
