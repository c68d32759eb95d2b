//! Tables of numbers as text: CSV, tables with tabs or blanks, MATLAB's `save -ascii`.

use super::matrix::{Gaps, Matrix};
use super::observations::check_finite;
use super::{failed, file_error};
use crate::Result;
use ndarray::Array2;
use std::path::Path;
use tallsbi_data::{Choice, Named};

/// Cells of missing values, beside NaN.
const MISSING: [&str; 2] = ["", "NA"];

/// Whether the first line of a table names its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// It does if no cell of it is a number. One that numbers the columns is an error: nobody can tell what it is.
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It does not.
    No,
}

impl Named for Header {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("auto", "If no cell of it is a number", Self::Auto),
            Choice::new("yes", "It does", Self::Yes),
            Choice::new("no", "It does not", Self::No),
        ]
    }
}

/// Reads a table of numbers; infinities are refused, and NaN where values may not be missing.
pub(super) fn read_table(path: &Path, header: Header, gaps: Gaps) -> Result<Matrix> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => file_error(path, "no such file"),
        std::io::ErrorKind::InvalidData => {
            file_error(path, "is no text in UTF-8 (in UTF-16, perhaps); save it as UTF-8")
        }
        _ => failed(path, "cannot be read", &error),
    })?;
    // Spreadsheets begin with a byte order mark.
    let rows = records(path, text.trim_start_matches('\u{feff}'))?;
    let named = match header {
        Header::Yes => true,
        Header::No => false,
        Header::Auto => rows.first().is_some_and(|(_, cells)| !cells.iter().any(|cell| number(cell).is_some())),
    };
    let (names, body) = rows.split_at(usize::from(named && !rows.is_empty()));
    let names: Vec<String> = names.first().map(|(_, cells)| cells.clone()).unwrap_or_default();
    let columns = body.first().map_or(0, |(_, cells)| cells.len());
    let mut values = Vec::with_capacity(body.len() * columns);
    for (index, (line, cells)) in body.iter().enumerate() {
        for cell in cells {
            let missing = gaps == Gaps::Allowed && MISSING.contains(&cell.as_str());
            let value = if missing { Some(f64::NAN) } else { number(cell) };
            let Some(value) = value else { return Err(not_a_number(path, (index, *line), cell, cells)) };
            values.push(value);
        }
    }
    if values.is_empty() {
        return Err(file_error(
            path,
            "holds no numbers; write a line for each sample, with a number for each parameter",
        ));
    }
    let values = Array2::from_shape_vec((body.len(), columns), values)
        .map_err(|error| failed(path, "is not a table", &error))?;
    if header == Header::Auto && names.is_empty() {
        refuse_numbered_columns(path, &body[0].1, &values)?;
    }
    refuse_numbered_rows(path, &names, &values)?;
    check_finite(&path.display().to_string(), values.view(), gaps)?;
    Ok(Matrix { values, names, theta_true: None, flat: false })
}

/// A number as programs write it, with Fortran's D for the exponent of double precision too.
fn number(cell: &str) -> Option<f64> {
    let exponent = |cell: &str| {
        let (digits, exponent) = cell.split_once(['D', 'd'])?;
        let whole = exponent.parse::<i32>().is_ok() && digits.bytes().all(|byte| !byte.is_ascii_alphabetic());
        whole.then(|| format!("{digits}e{exponent}").parse().ok())?
    };
    cell.parse().ok().or_else(|| exponent(cell))
}

/// The cells of each line with its number, all as many.
fn records(path: &Path, text: &str) -> Result<Vec<(u64, Vec<String>)>> {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).unwrap_or("");
    if let Some(cell) = decimal_comma(first) {
        return Err(file_error(
            path,
            format!("{cell:?} has a decimal comma; write decimal points, with commas between the columns"),
        ));
    }
    match [',', ';', '\t'].into_iter().find(|&delimiter| first.contains(delimiter)) {
        Some(delimiter) => delimited(path, text, delimiter as u8),
        None => blanks(path, text),
    }
}

/// A cell with a decimal comma, where columns are separated by semicolons, tabs or blanks.
fn decimal_comma(line: &str) -> Option<&str> {
    let cells: Vec<&str> = match [';', '\t'].into_iter().find(|&delimiter| line.contains(delimiter)) {
        Some(delimiter) => line.split(delimiter).map(str::trim).collect(),
        None => line.split_whitespace().collect(),
    };
    let comma = |cell: &&&str| {
        cell.split_once(',').is_some_and(|(whole, rest)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits(whole.trim_start_matches(['-', '+'])) && digits(rest.split(['e', 'E']).next().unwrap_or(""))
        })
    };
    // One cell alone, "1,2", is two columns; "1, 2" has its commas at the ends of cells.
    let found = cells.iter().find(comma).copied();
    found.filter(|_| cells.len() > 1 && cells.iter().all(|cell| !cell.ends_with(',')))
}

fn delimited(path: &Path, text: &str, delimiter: u8) -> Result<Vec<(u64, Vec<String>)>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let record = |record: csv::Result<csv::StringRecord>| {
        let record = record.map_err(|error| match error.kind() {
            csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                let line = pos.as_ref().map_or(0, csv::Position::line);
                unequal(path, line, *len, *expected_len)
            }
            _ => failed(path, "is not a table of numbers", &error),
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        Ok((line, record.iter().map(str::to_owned).collect()))
    };
    reader.records().map(record).collect()
}

/// Columns that any number of blanks separates and that blanks may precede.
fn blanks(path: &Path, text: &str) -> Result<Vec<(u64, Vec<String>)>> {
    let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if cells.is_empty() || cells[0].starts_with('#') {
            continue;
        }
        let line = index as u64 + 1;
        if let Some((_, first)) = rows.first().filter(|(_, first)| first.len() != cells.len()) {
            return Err(unequal(path, line, cells.len() as u64, first.len() as u64));
        }
        rows.push((line, cells));
    }
    Ok(rows)
}

fn unequal(path: &Path, line: u64, found: u64, expected: u64) -> crate::FileError {
    let what = format!("line {line} has {found} columns, the lines before it {expected}");
    file_error(path, format!("{what}; give every line as many"))
}

fn not_a_number(path: &Path, (index, line): (usize, u64), cell: &str, cells: &[String]) -> crate::FileError {
    let numbers = cells.iter().filter(|cell| number(cell).is_some()).count();
    let hint = if index == 0 && numbers > 0 {
        "correct it, or name every column if the line is a header"
    } else if cell.is_empty() {
        "an empty cell is no value; correct or remove the line"
    } else {
        "correct or remove it"
    };
    file_error(path, format!("line {line}: {cell:?} is not a number; {hint}"))
}

/// What tools write above a table without names: 0, 1, 2, ..
fn refuse_numbered_columns(path: &Path, first: &[String], values: &Array2<f64>) -> Result<()> {
    let numbers = first.iter().enumerate().all(|(index, cell)| *cell == index.to_string());
    let whole = values.rows().into_iter().skip(1).flatten().all(|value| value.fract() == 0.0);
    if !numbers || values.nrows() < 2 || (whole && first.len() < 3) {
        return Ok(());
    }
    Err(file_error(
        path,
        format!(
            "its first line is {}: is that a header, or an observation? Say which, or write the table without it",
            first.join(",")
        ),
    ))
}

/// A column that tools write before a table with numbered rows.
fn refuse_numbered_rows(path: &Path, names: &[String], values: &Array2<f64>) -> Result<()> {
    let Some(name) = names.first() else { return Ok(()) };
    let unnamed = name.is_empty() || name.eq_ignore_ascii_case("index") || name.starts_with("Unnamed");
    let start = values[[0, 0]];
    let counts = values.column(0).iter().enumerate().all(|(index, &value)| value == start + index as f64);
    if unnamed && counts && values.ncols() > 1 && values.nrows() > 1 {
        return Err(file_error(
            path,
            format!("its first column ({name:?}) numbers the rows; write the table without it (pandas: index=False)"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, header: Header) -> Result<Matrix> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, text).unwrap();
        read_table(&path, header, Gaps::Refused)
    }

    #[test]
    fn tables_of_many_tools_are_read() {
        let expected = ndarray::arr2(&[[0.5, -1.25], [3.0, 4e-3]]);
        for text in [
            "0.5,-1.25\n3,4e-3\n",
            "a,b\n0.5,-1.25\n3,4e-3\n",
            "0.5;-1.25\r\n3;4e-3\r\n",
            "0.5\t-1.25\n3\t4e-3\n",
            "   5.0000000e-01  -1.2500000e+00\n   3.0000000e+00   4.0000000e-03\n",
            "  5.0D-01 -1.25d0\n  3 4.0D-3\n",
            "\u{feff}0.5,-1.25\n3,4e-3\n",
            "# a comment\n      0.5     -1.25\n\n      3.0     0.004\n",
            "0.5, -1.25\n3, 4e-3\n",
        ] {
            assert_eq!(read(text, Header::Auto).unwrap().values, expected, "{text:?}");
        }
        assert_eq!(read("1\n2\n3\n", Header::Auto).unwrap().values.dim(), (3, 1));
        assert_eq!(read("\u{feff}1\n2\n3\n", Header::Auto).unwrap().values.dim(), (3, 1));
        assert_eq!(read("0,1\n1,0\n0,0\n", Header::Auto).unwrap().values.dim(), (3, 2));
    }

    #[test]
    fn what_nobody_can_tell_is_asked() {
        let error = |text: &str| read(text, Header::Auto).unwrap_err().to_string();
        assert!(error("0,1\n0.5,0.7\n").contains("first line is 0,1: is that a header"));
        assert_eq!(read("0,1\n0.5,0.7\n", Header::Yes).unwrap().values.dim(), (1, 2));
        assert_eq!(read("0,1\n0.5,0.7\n", Header::No).unwrap().values.dim(), (2, 2));
        assert!(
            error("0.5,1.x\n0.5,0.7\n").contains("line 1: \"1.x\" is not a number; correct it, or name every column")
        );
        assert!(error(",a\n0,0.5\n1,0.7\n").contains("numbers the rows"));
        assert!(error("0.5,2\n3,4D\n").contains("\"4D\" is not a number"));
        assert!(error("1,5;2,25\n3,5;4,5\n").contains("decimal comma"));
        assert!(error("1,5 2,25\n3,5 4,5\n").contains("decimal comma"));
        assert!(error("a,b\n1,2\n3,\n").contains("line 3: \"\" is not a number; an empty cell"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gaps.csv");
        std::fs::write(&path, "a,b\n1,2\n3,\nNA,nan\n").unwrap();
        let values = read_table(&path, Header::Auto, Gaps::Allowed).unwrap().values;
        let missing: Vec<bool> = values.iter().map(|value| value.is_nan()).collect();
        assert_eq!((missing, values[[1, 0]]), (vec![false, false, false, true, true, true], 3.0));
        std::fs::write(&path, "a,b\n1,2\n3,inf\n").unwrap();
        assert!(read_table(&path, Header::Auto, Gaps::Allowed).is_err());
        assert!(error("1 2\n3\n").contains("line 2 has 1 columns, the lines before it 2"));
    }
}
