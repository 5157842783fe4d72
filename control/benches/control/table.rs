//! The one table that is printed: medians, spread, what each is compared with, and the aim.

use std::fmt;

/// Which way a figure should go.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// At least so many times the figure beside it.
    Times(f64),
    /// Shown for scale.
    None,
}

struct Row {
    name: String,
    unit: &'static str,
    ours: Vec<f64>,
    beside: Vec<f64>,
    aim: Aim,
}

/// Rows in the order they were measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a figure measured in some rounds.
    pub(crate) fn add(&mut self, name: impl Into<String>, unit: &'static str, ours: Vec<f64>, aim: Aim) {
        self.beside(name, unit, ours, Vec::new(), aim);
    }

    /// Adds a figure and what stands beside it.
    pub(crate) fn beside(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        ours: Vec<f64>,
        beside: Vec<f64>,
        aim: Aim,
    ) {
        self.0.push(Row { name: name.into(), unit, ours, beside, aim });
    }
}

/// The middle of the rounds; not a number when there were none.
pub(crate) fn median(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<50} {:>9} {:>18} {:>9} {:>7} {:>10}  unit",
            "figure", "median", "least..most", "beside", "ratio", "aim"
        )?;
        for row in &self.0 {
            let ours = median(&row.ours);
            let least = row.ours.iter().copied().fold(f64::INFINITY, f64::min);
            let most = row.ours.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let other = median(&row.beside);
            let (beside, ratio) = match row.beside.is_empty() {
                true => (String::new(), String::new()),
                false => (figure(other), format!("{:.2}x", ours / other)),
            };
            let (aim, met) = match row.aim {
                Aim::AtLeast(aim) => (format!(">={}", figure(aim)), Some(ours >= aim)),
                Aim::AtMost(aim) => (format!("<={}", figure(aim)), Some(ours <= aim)),
                Aim::Times(aim) => (format!(">={aim}x"), Some(ours >= aim * other)),
                Aim::None => (String::new(), None),
            };
            let verdict = match met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            let spread = format!("{}..{}", figure(least), figure(most));
            writeln!(
                f,
                "{:<50} {:>9} {spread:>18} {beside:>9} {ratio:>7} {aim:>10}  {} {verdict}",
                row.name,
                figure(ours),
                row.unit
            )?;
        }
        Ok(())
    }
}
