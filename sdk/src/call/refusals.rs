//! What servers refused of one call because a bound was reached, and when it is enough.
//!
//! A call under a bounded policy asks the next of its key's servers after a refusal, a few times; then the least loaded of
//! those that refused has to take it, without a bound: nobody starves, and what is beyond the bound goes where it is
//! least. Pure. Called by `sequence`.

/// Refusals of one call. By then one server in five has room at worst at a bound of 125 %, and usually most have.
const REFUSALS_MAX: u32 = 6;

/// Counts the refusals of one call, and remembers the server of type `M` that had the least in flight per weight.
#[derive(Debug)]
pub(super) struct Refusals<M> {
    count: u32,
    least: Option<Full<M>>,
}

#[derive(Debug)]
struct Full<M> {
    server: M,
    in_flight: u32,
    weight: u32,
}

impl<M> Default for Refusals<M> {
    fn default() -> Self {
        Self { count: 0, least: None }
    }
}

impl<M> Refusals<M> {
    /// Says whether a server may still be told a bound.
    #[inline]
    pub(super) fn may_come(&self) -> bool {
        self.count < REFUSALS_MAX
    }

    /// Notes that a server of this weight has so many requests in flight and refused. Bounds are not compared: each refusal
    /// teaches the client, so that they grow from one to the next.
    pub(super) fn note(&mut self, server: M, in_flight: u32, weight: u32) {
        self.count += 1;
        let fuller = |known: &Full<M>| {
            u64::from(known.in_flight) * u64::from(weight.max(1)) > u64::from(in_flight) * u64::from(known.weight)
        };
        if self.least.as_ref().is_none_or(fuller) {
            self.least = Some(Full { server, in_flight, weight: weight.max(1) });
        }
    }

    /// Takes the least loaded of those that refused, if any did; from here on no server is told a bound.
    pub(super) fn settle(&mut self) -> Option<M> {
        let least = self.least.take()?;
        self.count = REFUSALS_MAX;
        Some(least.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_takes_it_after_a_few() {
        let mut refusals = Refusals::default();
        assert!(refusals.may_come() && refusals.settle().is_none() && refusals.may_come());
        for (server, in_flight, weight) in [("a", 26, 1), ("b", 25, 1), ("c", 51, 2), ("d", 27, 1)] {
            assert!(refusals.may_come());
            refusals.note(server, in_flight, weight);
        }
        assert_eq!(refusals.settle(), Some("b"));
        assert!(!refusals.may_come() && refusals.settle().is_none(), "once");
    }

    #[test]
    fn a_larger_server_with_more_in_flight_may_be_the_least_loaded() {
        let mut refusals = Refusals::default();
        refusals.note("small", 12, 10);
        refusals.note("large", 101, 100);
        (2..REFUSALS_MAX).for_each(|_| refusals.note("other", 30, 10));
        assert!(!refusals.may_come());
        assert_eq!(refusals.settle(), Some("large"));
    }
}
