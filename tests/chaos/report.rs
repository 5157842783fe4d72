//! The table: one row per fault, and whether all held.

use std::time::Duration;

use crate::faults::Row;
use crate::load::Kind;

/// What a registration may take beyond a beat, for the machine and for the asking: sixteen looks a second at worst.
const BACK_SLACK: Duration = Duration::from_secs(1);

/// Says that a fault is over.
pub(crate) fn progress(row: Option<&Row>) {
    if let Some(row) = row {
        println!("   {}: over after {:.1} s", row.fault.name(), row.lasted.as_secs_f64());
    }
}

/// Prints the rows; says whether all held. `beat` is the longest time between two beats.
pub(crate) fn table(rows: &[Row], beat: Duration) -> bool {
    println!(
        "\n{:<28} {:>6} {:>14} {:>14} {:>14} {:>8} {:>8} {:>8} {:>9}",
        "fault", "s", "reads/failed", "writes/failed", "sidecar/failed", "p50 ms", "p99 ms", "max ms", "back s"
    );
    let mut held = true;
    for row in rows {
        let pair = |kind: Kind| format!("{}/{}", row.tally.calls[kind as usize], row.tally.failed[kind as usize]);
        let mut micros = row.tally.micros.clone();
        micros.sort_unstable();
        let at = |share: f64| {
            let rank = (micros.len() as f64 * share) as usize;
            micros.get(rank.min(micros.len().saturating_sub(1))).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        println!(
            "{:<28} {:>6.1} {:>14} {:>14} {:>14} {:>8.1} {:>8.1} {:>8.1} {:>9.2}",
            row.fault.name(),
            row.lasted.as_secs_f64(),
            pair(Kind::Read),
            pair(Kind::Write),
            pair(Kind::Sidecar),
            at(0.50),
            at(0.99),
            at(1.0),
            row.back_after.as_secs_f64(),
        );
        for text in &row.tally.texts {
            println!("    {text}");
        }
        let failed = |kind: Kind| row.tally.failed[kind as usize] > 0;
        if failed(Kind::Read) || failed(Kind::Sidecar) || (row.fault.spares_writes() && failed(Kind::Write)) {
            println!("    NOT HELD: calls failed that must not");
            held = false;
        }
        if row.back_after > beat + BACK_SLACK {
            println!(
                "    NOT HELD: registrations were back only after {:.1?}, beats come every {beat:?}",
                row.back_after
            );
            held = false;
        }
    }
    held
}
