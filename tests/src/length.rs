//! How long a suite goes on, which whoever runs it may say.

use std::time::Duration;

/// Reads the variable, such as `90s` or `10m`; without it, the usual length holds.
///
/// # Errors
/// Names the variable and what would be accepted.
pub fn given(variable: &str, usual: Duration) -> Result<Duration, String> {
    let Ok(text) = std::env::var(variable) else { return Ok(usual) };
    read(&text)
        .ok_or_else(|| format!("{variable} is {text:?}; wanted are seconds, minutes or hours such as 90s, 10m or 1h"))
}

fn read(text: &str) -> Option<Duration> {
    let units = [('s', 1), ('m', 60), ('h', 3600)];
    let (number, unit) = units.iter().find_map(|(letter, unit)| Some((text.strip_suffix(*letter)?, unit)))?;
    number.parse::<u64>().ok()?.checked_mul(*unit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_numbers_with_a_unit() {
        let read = |text| read(text).map(|length| length.as_secs());
        assert_eq!((read("90s"), read("10m"), read("1h")), (Some(90), Some(600), Some(3600)));
        for wrong in ["", "m", "10", "-1s", "1.5m", "18446744073709551615h", "1d"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
