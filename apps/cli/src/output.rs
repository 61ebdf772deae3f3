//! Printing: tables for people, JSON and YAML for programs.

use std::io::{self, Write};

use serde::Serialize;

/// How to print.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// Rows under headings. Numbers stand at the right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(headings: [&'static str; N]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The text, each line without blanks at its end.
    pub(crate) fn text(&self) -> String {
        let cell_widths = |column: usize| self.rows.iter().map(move |row| width(&row[column]));
        let columns: Vec<_> = (0..self.headings.len())
            .map(|column| {
                let widest = cell_widths(column).max().unwrap_or(0);
                let mut cells = self.rows.iter().map(|row| row[column].as_str());
                let is_number = !self.rows.is_empty() && cells.all(is_number);
                (widest.max(width(self.headings[column])), is_number)
            })
            .collect();
        let mut text = String::new();
        let headings = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (cell, (column_width, is_number)) in row.iter().zip(&columns) {
                let blanks = " ".repeat(column_width - width(cell));
                match is_number {
                    true => line.extend([&blanks, cell.as_str(), "  "]),
                    false => line.extend([cell.as_str(), &blanks, "  "]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Characters, not bytes: names of members and hosts may be in any script.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// A dash stands for a number that is not known.
fn is_number(cell: &str) -> bool {
    cell == "-" || cell.parse::<i64>().is_ok()
}

/// Prints `value`: as the table that `table` makes, or as it is.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => table(),
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml => serde_yaml_ng::to_string(value)?,
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// The number, or a dash for one that is not known.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `1,2,3`.
pub(crate) fn list(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `"1 topic"`, `"2 topics"`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "COUNT", "NOTE"]);
        table.row(["a".to_owned(), "5".to_owned(), "x".to_owned()]);
        table.row(["größer".to_owned(), "12345678".to_owned(), String::new()]);
        table.row(["c".to_owned(), "-".to_owned(), "y".to_owned()]);
        let expected = "\
            NAME       COUNT  NOTE\n\
            a              5  x\n\
            größer  12345678\n\
            c              -  y\n";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn an_empty_table_has_its_headings() {
        assert_eq!(Table::new(["A", "B"]).text(), "A  B\n");
    }
}
