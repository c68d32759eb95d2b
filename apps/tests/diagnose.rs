//! Samples that cannot be compared: one clear line each, from every metric.

mod common;

use common::Place;

/// A table of 40 rows, `value(row, column)`.
fn table(columns: usize, value: impl Fn(usize, usize) -> String) -> String {
    let row = |row| (0..columns).map(|column| value(row, column)).collect::<Vec<_>>().join(",") + "\n";
    (0..40).map(row).collect()
}

fn number(row: usize, column: usize) -> String {
    ((row * 37 + column * 101) as f64).sin().to_string()
}

#[test]
fn samples_that_cannot_be_compared() {
    let place = Place::new();
    let nan = |row, column| if (row, column) == (5, 1) { "nan".into() } else { number(row, column) };
    let constant = |row, column| if column == 2 { "1.5".into() } else { number(row, column) };
    let write = |name: &str, text: String| std::fs::write(place.at(name), text).unwrap();
    write("good.csv", table(3, number));
    write("nan.csv", table(3, nan));
    write("one.csv", "0.1,0.2,0.3\n".into());
    write("constant.csv", table(3, constant));
    write("wide.csv", table(4, number));
    write("ragged.csv", "1,2,3\n4,5\n".into());
    write("empty.csv", String::new());
    let cases = [
        ("nan.csv", "NaN or infinite (first in row 5)"),
        ("one.csv", "1 rows, the method needs at least"),
        ("constant.csv", "column 2 is constant (1.5)"),
        ("wide.csv", "4 columns"),
        ("ragged.csv", "not a table of numbers"),
        ("empty.csv", "holds no numbers"),
        ("absent.csv", "no such file"),
    ];
    for metric in ["sliced-wasserstein", "mmd", "mmd --permutations 20", "c2st"] {
        for (bad, expected) in cases {
            place.fails(&format!("diagnose {metric} {bad} --reference good.csv"), 1, expected);
            let expected = if bad == "wide.csv" { "has 3 columns, the reference wide.csv has 4" } else { expected };
            place.fails(&format!("diagnose {metric} good.csv --reference {bad}"), 1, expected);
        }
        place.run(&format!("diagnose {metric} good.csv --reference good.csv"));
    }
    for (bad, expected) in cases.into_iter().filter(|(bad, _)| *bad != "wide.csv") {
        place.fails(&format!("diagnose dirac {bad} --theta 1,2,3"), 1, expected);
    }
    place.fails("diagnose dirac good.csv --theta 1,2", 2, "2 true values for 3 columns");
}
