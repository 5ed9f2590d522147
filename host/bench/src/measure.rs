//! A measure: what it is called, what it is held to, how it is taken, and how it is told.

use std::fmt;
use std::io::Write;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use crate::bench::Bench;

/// Takes the values of a measure's lines, in their order.
pub(crate) type Take = Box<dyn Fn(&Bench) -> anyhow::Result<Vec<Taken>>>;

/// One measurement, which gives one line or several.
pub(crate) struct Measure {
    /// What comes out of it.
    pub(crate) lines: Vec<Line>,
    /// Does the work. An error makes all its lines *not measured*.
    pub(crate) take: Take,
}

/// A line of the result.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
}

/// What a value is held to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// Shown beside others, held to nothing.
    Shown,
}

/// The value of a line.
#[derive(Debug, Clone)]
pub(crate) enum Taken {
    /// It was taken; `how` says what was compared with what, and how often.
    Value { value: f64, how: String },
    /// It could not be taken, and why.
    Not(String),
}

impl Measure {
    pub(crate) fn new(
        lines: Vec<Line>,
        take: impl Fn(&Bench) -> anyhow::Result<Vec<Taken>> + 'static,
    ) -> Self {
        Self { lines, take: Box::new(take) }
    }

    /// Takes it. Whatever goes wrong, each line comes out.
    pub(crate) fn rows(&self, bench: &Bench) -> Vec<Row> {
        let taken = (self.take)(bench).and_then(|taken| {
            anyhow::ensure!(taken.len() == self.lines.len(), "it gave {} values", taken.len());
            Ok(taken)
        });
        match taken {
            Ok(taken) => self.lines.iter().zip(taken).map(|(line, taken)| Row::of(line, taken)).collect(),
            Err(error) => self.lines.iter().map(|line| Row::missing(line, &format!("{error:#}"))).collect(),
        }
    }
}

impl Line {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, target: Target) -> Self {
        Self { name: name.into(), unit, target }
    }
}

impl Target {
    fn is_met_by(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
            Self::Shown => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::Shown => f.write_str("-"),
        }
    }
}

/// A line as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    measure: String,
    value: Option<f64>,
    unit: &'static str,
    /// None where the value is only shown beside others.
    target: Option<String>,
    /// None where there is no target and the value could be taken.
    met: Option<bool>,
    how: String,
}

impl Row {
    fn of(line: &Line, taken: Taken) -> Self {
        match taken {
            Taken::Not(reason) => Self::missing(line, &reason),
            Taken::Value { value, .. } if !value.is_finite() => {
                Self::missing(line, &format!("the value is {value}"))
            }
            Taken::Value { value, how } => Self {
                value: Some(rounded(value)),
                met: line.target.is_met_by(value),
                how,
                ..Self::empty(line)
            },
        }
    }

    fn missing(line: &Line, reason: &str) -> Self {
        Self { met: Some(false), how: format!("not measured: {reason}"), ..Self::empty(line) }
    }

    fn empty(line: &Line) -> Self {
        let target = (line.target != Target::Shown).then(|| line.target.to_string());
        Self {
            measure: line.name.clone(),
            value: None,
            unit: line.unit,
            target,
            met: None,
            how: String::new(),
        }
    }

    /// One JSON line.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> anyhow::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n").and_then(|()| out.flush()).context("writing a measure")
    }
}

/// All lines as a table for people.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(["measure", "value", "unit", "target", "", "how"]);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(160);
    }
    for row in rows {
        let value = row.value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let met = match row.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        table.add_row([
            Cell::new(&row.measure),
            Cell::new(value).set_alignment(CellAlignment::Right),
            Cell::new(row.unit),
            Cell::new(row.target.as_deref().unwrap_or("-")),
            Cell::new(met),
            Cell::new(&row.how),
        ]);
    }
    format!("{table}\n")
}

/// Four significant digits: more is noise.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line::new("ratio", "1", Target::AtMost(1.02))
    }

    fn json(row: &Row) -> String {
        let mut out = Vec::new();
        row.write_json(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_measure_that_cannot_be_taken_is_printed_as_not_met() {
        let row = Row::of(&line(), Taken::Not("starting the peer: no such program".to_owned()));
        assert_eq!(
            json(&row),
            "{\"measure\":\"ratio\",\"value\":null,\"unit\":\"1\",\"target\":\"<= 1.02\",\"met\":false,\
             \"how\":\"not measured: starting the peer: no such program\"}\n"
        );
    }

    #[test]
    fn targets_hold_at_their_bound_and_a_value_that_is_no_number_is_not_taken() {
        let at = |target, value| {
            let line = Line { target, ..line() };
            Row::of(&line, Taken::Value { value, how: String::new() }).met
        };
        assert_eq!(at(Target::AtMost(1.02), 1.02), Some(true));
        assert_eq!(at(Target::AtMost(1.02), 1.0201), Some(false));
        assert_eq!(at(Target::AtLeast(1.0), 1.0), Some(true));
        assert_eq!(at(Target::AtLeast(1.0), 0.999), Some(false));
        assert_eq!(at(Target::Shown, 7.0), None);
        assert_eq!(at(Target::AtMost(1.0), f64::NAN), Some(false));
    }

    #[test]
    fn every_line_comes_out_of_the_table() {
        let rows = [Row::of(&line(), Taken::Value { value: 1.23456, how: "so".to_owned() })];
        let text = table(&rows);
        assert!(text.contains("1.235") && text.contains("MISSED") && text.contains("so"), "{text}");
    }
}
