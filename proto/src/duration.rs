//! Durations as Go writes them: `10s`, `1h30m`, `1.5s`, `500ms`, `0`, `-1s`.
//!
//! Clients send them as text or as a number of nanoseconds; we print the canonical text that Go
//! prints (<https://pkg.go.dev/time#Duration.String>).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration {text:?}: expected numbers with units such as \"10s\", \"1m30s\" or \"500ms\"")]
pub struct DurationError {
    /// What was given.
    pub text: String,
}

/// A signed number of nanoseconds, written as Go writes durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// Reads Go's notation.
    ///
    /// # Errors
    /// When a unit is missing or unknown, a number is malformed, or the sum does not fit (292 years).
    pub fn parse(text: &str) -> Result<GoDuration, DurationError> {
        parse(text).map(GoDuration).ok_or_else(|| DurationError { text: text.chars().take(64).collect() })
    }

    /// The length, zero when it is negative.
    #[must_use]
    pub fn to_std(self) -> Duration {
        Duration::from_nanos(self.0.max(0).unsigned_abs())
    }

    /// The length if it is more than nothing.
    #[must_use]
    pub fn positive(self) -> Option<Duration> {
        (self.0 > 0).then(|| self.to_std())
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> GoDuration {
        GoDuration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole_len = digits(rest);
        let (whole, after) = rest.split_at(whole_len);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 {
            return None;
        }
        let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let scale = i128::from(UNITS.iter().find(|(name, _)| *name == unit)?.1);
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total += whole * scale;
        // Digits past the 18th of a fraction are below a nanosecond for every unit.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let value: i128 = fraction.parse().ok()?;
            total += value * scale / 10i128.pow(fraction.len() as u32);
        }
        if total > i128::from(i64::MAX) {
            return None;
        }
        rest = after;
    }
    let total = i64::try_from(total).ok()?;
    Some(if negative { -total } else { total })
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let decimal = |f: &mut fmt::Formatter<'_>, value: u64, unit: u64, name: &str| {
            let (whole, rest) = (value / unit, value % unit);
            if rest == 0 {
                return write!(f, "{whole}{name}");
            }
            let width = unit.ilog10() as usize;
            let fraction = format!("{rest:0width$}");
            write!(f, "{whole}.{}{name}", fraction.trim_end_matches('0'))
        };
        match nanos {
            0..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => decimal(f, nanos, 1_000, "µs"),
            1_000_000..1_000_000_000 => decimal(f, nanos, 1_000_000, "ms"),
            _ => {
                let minutes = nanos / 60_000_000_000;
                let seconds = nanos % 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                decimal(f, seconds, 1_000_000_000, "s")
            }
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl serde::de::Visitor<'_> for Visitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"10s\", or a whole number of nanoseconds")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GoDuration, E> {
        if text.is_empty() {
            return Ok(GoDuration(0));
        }
        GoDuration::parse(text).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, nanos: i64) -> Result<GoDuration, E> {
        Ok(GoDuration(nanos))
    }

    fn visit_u64<E: serde::de::Error>(self, nanos: u64) -> Result<GoDuration, E> {
        i64::try_from(nanos).map(GoDuration).map_err(|_| E::custom("duration is longer than 292 years"))
    }

    fn visit_f64<E: serde::de::Error>(self, nanos: f64) -> Result<GoDuration, E> {
        if nanos.fract() == 0.0 && nanos.abs() < 9e18 {
            Ok(GoDuration(nanos as i64))
        } else {
            Err(E::custom("a duration in nanoseconds must be a whole number"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_notation_is_read() {
        let check = |text: &str, nanos: Option<i64>| {
            assert_eq!(GoDuration::parse(text).ok().map(|duration| duration.0), nanos, "{text:?}");
        };
        check("10s", Some(10_000_000_000));
        check("1h30m", Some(5_400_000_000_000));
        check("1.5s", Some(1_500_000_000));
        check("9.987654s", Some(9_987_654_000));
        check(".5s", Some(500_000_000));
        check("500ms", Some(500_000_000));
        check("3µs", Some(3_000));
        check("0", Some(0));
        check("-1s", Some(-1_000_000_000));
        check("+1s", Some(1_000_000_000));
        for bad in ["", "-", "10", "s", "1x", "1 s", ".s", "1.2.3s", "99999999999999999999s", "300000000h", "1s-1s"] {
            check(bad, None);
        }
    }

    #[test]
    fn the_canonical_text_is_gos() {
        let check = |nanos: i64, text: &str| assert_eq!(GoDuration(nanos).to_string(), text);
        check(0, "0s");
        check(10_000_000_000, "10s");
        check(60_000_000_000, "1m0s");
        check(3_600_000_000_000, "1h0m0s");
        check(100_000_000, "100ms");
        check(1_500_000_000, "1.5s");
        check(1_500, "1.5µs");
        check(7, "7ns");
        check(-1_000_000_000, "-1s");
        check(5_430_250_000_000, "1h30m30.25s");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos in any::<i64>().prop_filter("fits", |n| *n != i64::MIN)) {
            prop_assert_eq!(GoDuration::parse(&GoDuration(nanos).to_string()), Ok(GoDuration(nanos)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = GoDuration::parse(&text);
        }
    }
}
