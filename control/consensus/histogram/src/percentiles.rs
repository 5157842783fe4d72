//! The percentiles that are told together.

use std::fmt;

/// Percentiles of what was counted; all 0 when that is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// A thousandth of the values is at most this.
    pub p0_1: u64,
    /// A hundredth is.
    pub p1: u64,
    /// A twentieth is.
    pub p5: u64,
    /// A tenth is.
    pub p10: u64,
    /// Half of them are.
    pub p50: u64,
    /// Nine tenths are.
    pub p90: u64,
    /// All but a hundredth are.
    pub p99: u64,
    /// All but a thousandth are.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p0_1, p1, p5, p10, p50, p90, p99, p99_9 } = self;
        write!(f, "n={samples} p0.1={p0_1} p1={p1} p5={p5} p10={p10} p50={p50} p90={p90} p99={p99} p99.9={p99_9}")
    }
}
