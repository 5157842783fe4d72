//! Histograms as lines of text.

use std::fmt;

use crate::{Histogram, bounds_of};

/// Width of the longest bar.
const BAR: u64 = 40;

/// Histograms by name, printed one under the other.
#[derive(Debug, Default)]
pub struct AsciiChart {
    rows: Vec<(String, Histogram)>,
}

impl AsciiChart {
    /// Builds a chart of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a histogram.
    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram) -> Self {
        self.rows.push((name.to_owned(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.rows {
            writeln!(f, "{name}: {} values", histogram.total())?;
            let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
            for (bucket, count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (first, last) = bounds_of(bucket);
                let bar = (u128::from(*count) * u128::from(BAR)).div_ceil(u128::from(most)) as usize;
                writeln!(f, "  {first}..{last} {count} {}", "#".repeat(bar))?;
            }
        }
        Ok(())
    }
}
