//! Tables of the report: one structure that becomes HTML and CSV.

use super::finding::number;
use anyhow::Result;
use maud::{Markup, html};

/// What stands in a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, shown with about four digits.
    Number(f64),
    /// A number and how to show it.
    Shown(f64, String),
    /// Nothing.
    Empty,
}

impl Cell {
    /// Words, or a number in words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A count.
    pub fn count(count: usize) -> Self {
        Self::Shown(count as f64, count.to_string())
    }

    /// A number with so many decimals.
    pub fn decimals(value: f64, decimals: usize) -> Self {
        if value.is_finite() {
            Self::Shown(value, format!("{value:.decimals$}").replace('-', "−"))
        } else {
            Self::text("–")
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::Shown(_, text) => text.clone(),
            Self::Number(value) => number(*value),
            Self::Empty => String::new(),
        }
    }

    fn csv(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(value) | Self::Shown(value, _) => value.to_string(),
            Self::Empty => String::new(),
        }
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

/// A table of a report.
#[derive(Debug, Clone)]
pub struct Table {
    /// File name without extension.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// Column names.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
    /// Leading columns that name the row. With two or more, rows whose first cell is the same form a group.
    pub headers: usize,
}

impl Table {
    /// An empty table.
    pub fn new(name: impl Into<String>, caption: impl Into<String>, headers: usize, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { name: name.into(), caption: caption.into(), columns, rows: Vec::new(), headers }
    }

    /// Lengths of the groups of rows.
    fn groups(&self) -> Vec<usize> {
        if self.headers < 2 {
            return vec![self.rows.len()];
        }
        let mut groups: Vec<usize> = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            match groups.last_mut() {
                Some(length) if self.rows[i - 1][0] == row[0] => *length += 1,
                _ => groups.push(1),
            }
        }
        groups
    }

    /// HTML in the section of this title, which tells apart tables of the same caption; scrolls sideways on narrow screens.
    pub fn html(&self, section: &str) -> Markup {
        let mut rows = self.rows.iter();
        let grouped = self.headers >= 2;
        html! {
            div.scroll tabindex="0" role="region" aria-label=(format!("{section}: {}", self.caption)) {
                table {
                    caption { (self.caption) }
                    thead { tr { @for name in &self.columns { th scope="col" { (name) } } } }
                    @for length in self.groups() { tbody {
                        @for (i, row) in rows.by_ref().take(length).enumerate() { tr {
                            @for (j, cell) in row.iter().enumerate() {
                                @if j == 0 && grouped {
                                    @if i == 0 { th scope="rowgroup" rowspan=(length) { (cell.shown()) } }
                                } @else if j < self.headers {
                                    th scope="row" { (cell.shown()) }
                                } @else if matches!(cell, Cell::Text(_)) {
                                    td.text { (cell.shown()) }
                                } @else {
                                    td { (cell.shown()) }
                                }
                            }
                        } }
                    } }
                }
            }
        }
    }

    /// CSV with all digits.
    ///
    /// # Errors
    /// Only for rows of different lengths.
    pub fn csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(Cell::csv))?;
        }
        Ok(writer.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_the_same_in_html_and_csv() {
        let mut table = Table::new("t", "Things", 2, &["n", "name", "value"]);
        for (n, name, value) in [(1, "a", 0.123_456_789), (1, "b, c", f64::NAN), (2, "a", -3.0)] {
            table.rows.push(vec![Cell::count(n), Cell::text(name), value.into()]);
        }
        let csv = String::from_utf8(table.csv().expect("equal rows")).expect("text");
        assert_eq!(csv, "n,name,value\n1,a,0.123456789\n1,\"b, c\",NaN\n2,a,-3\n");
        let html = table.html("Section").into_string();
        assert!(html.contains("rowspan=\"2\">1</th>") && html.contains("rowspan=\"1\">2</th>"), "{html}");
        assert!(html.contains("<td>0.1235</td>") && html.contains("<td>–</td>") && html.contains("<td>−3.000</td>"));
    }
}
