//! How many calls may be under way at once, learned from how long they take: samples in, a limit out.
//!
//! The rule is Netflix's Gradient2 with its figures: the limit follows the ratio of the usual time to the present one, held
//! between a half and one, plus room for a short queue, smoothed. Two things differ. The usual time falls faster than it
//! rises, and hardly rises while the limit is reached, so that overload does not become the usual; and a window in which calls were lost shrinks the
//! limit by a tenth at least. Pure: fed by `limiter`.

/// The share by which a limit shrinks when calls were lost (AIMD).
const BACKOFF: f64 = 0.9;
/// The gradient never shrinks the limit by more than this share at once.
const GRADIENT_MIN: f64 = 0.5;
/// How much slower the usual time rises while the limit is what holds calls back.
const HELD_BACK: f64 = 0.1;
/// How fast the usual time falls, per window.
const FALL: f64 = 0.2;

/// Holds the bounds of a limit and how it moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitSettings {
    /// The limit at the start.
    pub initial: u32,
    /// The lowest limit; no fewer calls may be under way whatever is measured.
    pub min: u32,
    /// The highest limit.
    pub max: u32,
    /// How many times the usual a call may take before the limit shrinks.
    pub tolerance: f64,
    /// The calls that may wait at the server beyond what it works on.
    pub queue: f64,
    /// How much of a new limit counts against the old one.
    pub smoothing: f64,
    /// Over how many windows the usual time is taken.
    pub long_windows: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { initial: 20, min: 20, max: 200, tolerance: 1.5, queue: 4.0, smoothing: 0.2, long_windows: 600 }
    }
}

/// What was seen in one window of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// How long calls took in the mean, in microseconds; above 0.
    pub took: f64,
    /// The most calls that were under way at once.
    pub in_flight: u32,
    /// Whether any was lost: it took too long, or the server was overloaded.
    pub lost: bool,
}

/// Moves a limit.
#[derive(Debug, Clone)]
pub struct Gradient {
    settings: LimitSettings,
    limit: f64,
    // In microseconds; 0 before the first window.
    usual: f64,
}

impl Gradient {
    /// Builds a controller that has seen nothing. Bounds that contradict one another give way to the lower one.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        let min = settings.min.max(1);
        let settings = LimitSettings { min, max: settings.max.max(min), ..settings };
        let limit = f64::from(settings.initial.clamp(settings.min, settings.max));
        Self { settings, limit, usual: 0.0 }
    }

    /// Returns the limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Takes what one window saw, and returns the new limit.
    pub fn update(&mut self, seen: Seen) -> u32 {
        let LimitSettings { min, max, tolerance, queue, smoothing, long_windows, .. } = self.settings;
        if !seen.took.is_finite() || seen.took <= 0.0 {
            return self.limit();
        }
        if self.usual == 0.0 {
            self.usual = seen.took;
        }
        let mut rise = 2.0 / (f64::from(long_windows) + 1.0);
        if f64::from(seen.in_flight) >= self.limit.floor() {
            // The queue is one that we let grow; what it costs must hardly become the usual.
            rise *= HELD_BACK;
        }
        let factor = if seen.took < self.usual { FALL.max(rise) } else { rise };
        self.usual += (seen.took - self.usual) * factor;
        let mut next = self.limit;
        // A limit that nobody comes near says nothing about how well it fits.
        if f64::from(seen.in_flight) >= self.limit / 2.0 {
            let gradient = (tolerance * self.usual / seen.took).clamp(GRADIENT_MIN, 1.0);
            let wanted = self.limit * gradient + queue;
            next = self.limit * (1.0 - smoothing) + wanted * smoothing;
        }
        if seen.lost {
            next = next.min(self.limit * BACKOFF);
        }
        self.limit = next.clamp(min.into(), max.into());
        self.limit()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server that works on `capacity` calls at once, `service` microseconds each, and queues the rest.
    struct Server {
        capacity: f64,
        service: f64,
    }

    impl Server {
        fn serve(&self, in_flight: u32) -> Seen {
            let took = self.service * (f64::from(in_flight) / self.capacity).max(1.0);
            Seen { took, in_flight, lost: false }
        }
    }

    fn settle(gradient: &mut Gradient, server: &Server, demand: u32, windows: usize) -> u32 {
        for _ in 0..windows {
            let in_flight = gradient.limit().min(demand);
            gradient.update(server.serve(in_flight));
        }
        gradient.limit()
    }

    #[test]
    fn it_settles_near_what_the_server_can_work_on() {
        for capacity in [40.0, 60.0, 100.0] {
            let mut gradient = Gradient::new(LimitSettings { max: 1000, ..LimitSettings::default() });
            let server = Server { capacity, service: 10_000.0 };
            let limit = f64::from(settle(&mut gradient, &server, 10_000, 200));
            assert!(limit >= capacity && limit <= 2.2 * capacity, "{limit} for {capacity}");
            let later = f64::from(settle(&mut gradient, &server, 10_000, 1_800));
            assert!(later <= 2.5 * capacity, "nor does it run away in half an hour: {later} for {capacity}");
        }
    }

    #[test]
    fn it_shrinks_when_the_server_slows_and_recovers_with_it() {
        let mut gradient = Gradient::new(LimitSettings { max: 1000, ..LimitSettings::default() });
        let mut server = Server { capacity: 100.0, service: 10_000.0 };
        let before = settle(&mut gradient, &server, 10_000, 200);
        server.capacity = 25.0;
        let during = settle(&mut gradient, &server, 10_000, 60);
        assert!(during < before / 2, "{during} of {before}");
        server.capacity = 100.0;
        let after = settle(&mut gradient, &server, 10_000, 200);
        assert!(after >= 100, "{after} after {during}");
    }

    #[test]
    fn a_limit_nobody_comes_near_stays() {
        let mut gradient = Gradient::new(LimitSettings::default());
        let server = Server { capacity: 100.0, service: 10_000.0 };
        assert_eq!(settle(&mut gradient, &server, 5, 500), 20);
    }

    #[test]
    fn lost_calls_shrink_it_however_fast_the_others_were() {
        let mut gradient = Gradient::new(LimitSettings { initial: 100, ..LimitSettings::default() });
        assert_eq!(gradient.update(Seen { took: 10.0, in_flight: 100, lost: true }), 90);
    }

    proptest! {
        #[test]
        fn the_bounds_hold_whatever_is_measured(
            min in 0u32..50, max in 0u32..500, initial in 0u32..1000,
            windows in proptest::collection::vec((0.0f64..1e9, 0u32..2000, any::<bool>()), 0..100)
        ) {
            let mut gradient = Gradient::new(LimitSettings { min, max, initial, ..LimitSettings::default() });
            for (took, in_flight, lost) in windows {
                let before = gradient.limit();
                let limit = gradient.update(Seen { took, in_flight, lost });
                prop_assert!(limit >= min.max(1) && limit <= max.max(min).max(1));
                prop_assert!(f64::from(limit) <= f64::from(before) + 2.0, "a window adds less than a queue");
            }
        }
    }
}
