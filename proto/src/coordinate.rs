//! Where a node is in the network: a point from which round trips to other points can be estimated. PURE.
//!
//! A point in a space of eight dimensions plus a height above it (Dabek et al. 2004, "Vivaldi"), and an adjustment for
//! what such a space cannot express (Ledlie et al. 2007, "Network Coordinates in the Wild"). All numbers are seconds but
//! the error, which is relative. How a node finds its own place is not decided here.

use serde::{Deserialize, Serialize};

/// The dimensions of the space.
pub const DIMENSIONS: usize = 8;
/// The largest error: nothing is known.
pub const ERROR_MAX: f64 = 1.5;
/// The least height above the space, in seconds: no way is without its first and last piece.
pub const HEIGHT_MIN: f64 = 1e-5;
/// The farthest that any number of a coordinate may be from zero, in seconds: beyond, sums lose their meaning.
const NUMBER_MAX: f64 = 1e6;

/// The place of a node. Its numbers are finite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Coordinate {
    point: [f64; DIMENSIONS],
    error: f64,
    adjustment: f64,
    height: f64,
}

/// Why numbers are no coordinate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCoordinate {
    /// The space has other dimensions.
    #[error("invalid coordinate: {0} dimensions instead of {DIMENSIONS}")]
    Dimensions(usize),
    /// A number is none, infinite, or absurdly large.
    #[error("invalid coordinate: a number is not finite, or not within {NUMBER_MAX} seconds")]
    Number,
}

/// A coordinate as clients know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Coordinate"))]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Written {
    /// The point, in eight dimensions.
    vec: Vec<f64>,
    /// How uncertain it is, from 0 to 1.5.
    #[serde(default)]
    error: f64,
    /// What is added to every estimate, in seconds.
    #[serde(default)]
    adjustment: f64,
    /// The height above the point, in seconds.
    #[serde(default)]
    height: f64,
}

impl From<Coordinate> for Written {
    fn from(from: Coordinate) -> Written {
        let Coordinate { point, error, adjustment, height } = from;
        Written { vec: point.to_vec(), error, adjustment, height }
    }
}

impl TryFrom<Written> for Coordinate {
    type Error = InvalidCoordinate;

    fn try_from(from: Written) -> Result<Coordinate, InvalidCoordinate> {
        let length = from.vec.len();
        let point = from.vec.try_into().map_err(|_| InvalidCoordinate::Dimensions(length))?;
        Coordinate::new(point, from.error, from.adjustment, from.height)
    }
}

impl Default for Coordinate {
    /// The origin, of which nothing is known yet.
    fn default() -> Coordinate {
        Coordinate { point: [0.0; DIMENSIONS], error: ERROR_MAX, adjustment: 0.0, height: HEIGHT_MIN }
    }
}

impl Coordinate {
    /// A coordinate of these numbers: all in seconds but the error.
    ///
    /// # Errors
    /// When one of them is not finite, or absurdly large.
    pub fn new(
        point: [f64; DIMENSIONS],
        error: f64,
        adjustment: f64,
        height: f64,
    ) -> Result<Coordinate, InvalidCoordinate> {
        let mut numbers = point.iter().chain([&error, &adjustment, &height]);
        match numbers.all(|number| number.is_finite() && number.abs() <= NUMBER_MAX) {
            true => Ok(Coordinate { point, error, adjustment, height }),
            false => Err(InvalidCoordinate::Number),
        }
    }

    /// The point without the height.
    #[must_use]
    pub fn point(&self) -> &[f64; DIMENSIONS] {
        &self.point
    }

    /// How uncertain it is: 0 is certain, [`ERROR_MAX`] is a guess.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.error
    }

    /// What is added to every estimate, in seconds.
    #[must_use]
    pub fn adjustment(&self) -> f64 {
        self.adjustment
    }

    /// The height, in seconds.
    #[must_use]
    pub fn height(&self) -> f64 {
        self.height
    }

    /// The distance without adjustments, in seconds.
    #[must_use]
    pub fn distance_raw(&self, other: &Coordinate) -> f64 {
        let squares = self.point.iter().zip(&other.point).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f64>().sqrt() + (self.height + other.height)
    }

    /// The estimated round trip, in seconds; adjustments that would make it negative do not count.
    #[must_use]
    pub fn distance(&self, other: &Coordinate) -> f64 {
        let raw = self.distance_raw(other);
        let adjusted = raw + (self.adjustment + other.adjustment);
        if adjusted > 0.0 { adjusted } else { raw }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(x: f64, y: f64, adjustment: f64, height: f64) -> Coordinate {
        let mut point = [0.0; DIMENSIONS];
        (point[0], point[1]) = (x, y);
        Coordinate::new(point, 1.0, adjustment, height).unwrap()
    }

    #[test]
    fn heights_and_adjustments_count() {
        let a = at(0.003, 0.0, 0.0, 0.001);
        assert!((a.distance(&at(0.0, 0.004, 0.002, 0.002)) - 0.010).abs() < 1e-9);
        let b = at(0.0, 0.004, -1.0, 0.002);
        assert!((a.distance(&b) - 0.008).abs() < 1e-9, "an estimate is never negative");
    }

    #[test]
    fn it_is_written_as_clients_know_it() {
        let zeros = [0.0; DIMENSIONS];
        let written = json!({"Vec": zeros, "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5});
        assert_eq!(serde_json::to_value(Coordinate::default()).unwrap(), written);
        assert_eq!(serde_json::from_value::<Coordinate>(written).unwrap(), Coordinate::default());
    }

    #[test]
    fn what_is_no_coordinate_is_refused() {
        let read = |vec: serde_json::Value, height: f64| {
            let body = json!({"Vec": vec, "Error": 1, "Adjustment": 0, "Height": height});
            serde_json::from_value::<Coordinate>(body).map_err(|error| error.to_string())
        };
        assert!(read(json!([0, 0, 0, 0, 0, 0, 0, 0]), 1e-5).is_ok());
        let text = "invalid coordinate: 3 dimensions instead of 8";
        assert_eq!(read(json!([0, 0, 0]), 1e-5), Err(text.to_owned()));
        assert!(read(json!([0, 0, 0, 0, 0, 0, 0, 1e300]), 1e-5).is_err());
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e7] {
            let mut point = [0.0; DIMENSIONS];
            point[7] = number;
            assert_eq!(Coordinate::new(point, 1.0, 0.0, 0.0), Err(InvalidCoordinate::Number));
            assert_eq!(Coordinate::new([0.0; DIMENSIONS], 1.0, 0.0, number), Err(InvalidCoordinate::Number));
        }
    }

    fn any() -> impl Strategy<Value = Coordinate> {
        let number = || -10.0..10.0;
        (prop::array::uniform8(number()), 0.0..ERROR_MAX, -0.1..0.1, HEIGHT_MIN..1.0)
            .prop_map(|(point, error, adjustment, height)| Coordinate::new(point, error, adjustment, height).unwrap())
    }

    proptest! {
        #[test]
        fn a_distance_is_the_same_both_ways(a in any(), b in any()) {
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert!(a.distance(&b) > 0.0);
        }

        #[test]
        fn what_is_written_is_read_back(a in any()) {
            let text = serde_json::to_string(&a).unwrap();
            let read: Coordinate = serde_json::from_str(&text).unwrap();
            // The last digit of a fraction may be lost in reading, which no network can tell.
            let numbers = |of: &Coordinate| of.point.into_iter().chain([of.error, of.adjustment, of.height]);
            prop_assert!(numbers(&read).zip(numbers(&a)).all(|(read, told)| (read - told).abs() <= 1e-12), "{}", text);
        }
    }
}
