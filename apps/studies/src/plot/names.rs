//! Parameter names as people write them.

/// Greek letters spelled out, `theta_1` and `theta1` with subscripts; everything else as it is.
///
/// `mu` → μ, `sigma` → σ, `theta_12` → θ₁₂, `gain` → gain.
pub fn pretty_name(name: &str) -> String {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &name[stem.len()..];
    let letters = stem.trim_end_matches('_');
    let Some(greek) = greek(letters) else {
        return if digits.is_empty() || letters.chars().count() > 1 {
            name.to_owned()
        } else {
            letters.to_owned() + &subscript(digits)
        };
    };
    greek.to_string() + &subscript(digits)
}

/// "name (unit)", or the name alone where there is no unit.
pub fn with_unit(name: &str, unit: &str) -> String {
    let pretty = pretty_name(name);
    match unit {
        "" => pretty,
        "1/s^1/2" => format!("{pretty} (1/√s)"),
        unit => format!("{pretty} ({unit})"),
    }
}

fn greek(name: &str) -> Option<char> {
    const LETTERS: [(&str, char); 14] = [
        ("alpha", 'α'),
        ("beta", 'β'),
        ("gamma", 'γ'),
        ("delta", 'δ'),
        ("epsilon", 'ε'),
        ("theta", 'θ'),
        ("kappa", 'κ'),
        ("lambda", 'λ'),
        ("mu", 'μ'),
        ("nu", 'ν'),
        ("rho", 'ρ'),
        ("sigma", 'σ'),
        ("tau", 'τ'),
        ("omega", 'ω'),
    ];
    LETTERS.iter().find(|(spelled, _)| *spelled == name).map(|(_, letter)| *letter)
}

fn subscript(digits: &str) -> String {
    digits.chars().filter_map(|d| d.to_digit(10)).filter_map(|d| char::from_u32('₀' as u32 + d)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_people_write_them() {
        for (name, pretty) in [
            ("mu", "μ"),
            ("sigma", "σ"),
            ("C", "C"),
            ("theta_12", "θ₁₂"),
            ("theta1", "θ₁"),
            ("gain2", "gain2"),
            ("X3", "X₃"),
        ] {
            assert_eq!(pretty_name(name), pretty);
        }
        assert_eq!(with_unit("mu", "1/s"), "μ (1/s)");
        assert_eq!(with_unit("C", ""), "C");
    }
}
