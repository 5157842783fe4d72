//! One number in slices of ten seconds, and since the start: how often, how much, and between which bounds.
//!
//! Pure: the slice is an argument. Consul shows the slice that was finished last.

/// How long a slice is, in seconds.
pub(crate) const SLICE_SECONDS: u64 = 10;

/// What was observed in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    squares: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Sample {
    /// So much, as it was counted elsewhere.
    pub(crate) fn of(count: u64, sum: f64, min: f64, max: f64) -> Sample {
        Sample { count, sum, squares: if count == 0 { 0.0 } else { sum * sum / count as f64 }, min, max }
    }

    fn add(&mut self, value: f64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The standard deviation of what was observed, as of a sample.
    pub(crate) fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let count = self.count as f64;
        // Rounding may leave a little less than nothing.
        ((self.squares - self.sum * self.sum / count) / (count - 1.0)).max(0.0).sqrt()
    }
}

/// The slices of one number.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slice: u64,
    current: Sample,
    last: Sample,
    total: Sample,
}

impl Window {
    pub(crate) fn observe(&mut self, slice: u64, value: f64) {
        self.turn(slice);
        self.current.add(value);
        self.total.add(value);
    }

    /// The slice that was finished last; the first one counts before it is.
    pub(crate) fn last(&mut self, slice: u64) -> Sample {
        self.turn(slice);
        if self.slice == 0 { self.current } else { self.last }
    }

    /// Everything since the start.
    pub(crate) fn total(&self) -> Sample {
        self.total
    }

    fn turn(&mut self, slice: u64) {
        if slice > self.slice {
            let current = std::mem::take(&mut self.current);
            self.last = if slice == self.slice + 1 { current } else { Sample::default() };
            self.slice = slice;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_slice_is_shown_until_the_next_one_is() {
        let mut window = Window::default();
        window.observe(0, 1.0);
        assert_eq!(window.last(0).count, 1);
        window.observe(0, 3.0);
        window.observe(1, 7.0);
        let last = window.last(1);
        assert_eq!((last.count, last.sum, last.min, last.max, last.mean()), (2, 4.0, 1.0, 3.0, 2.0));
        assert!((last.deviation() - 2.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(window.last(2).sum, 7.0);
        assert_eq!(window.last(9), Sample::default());
        assert_eq!(window.total().count, 3);
        // A clock that seems to go back does not lose what was seen.
        window.observe(3, 1.0);
        assert_eq!(window.last(10).count, 1);
    }
}
