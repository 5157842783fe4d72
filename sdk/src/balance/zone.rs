//! Zone first, and how much goes elsewhere: shares of calls from weights, without a cliff.
//!
//! With `w` the healthy weight of the own zone, `W` that of all, and `d` the share of all callers that sit in the own
//! zone, the own zone's part of this client's calls is
//!
//! ```text
//! f = min(1, 1.4 · (w / W) / d)        d = Σ w_z² / W² unless it is stated
//! ```
//!
//! and the rest goes to the other zones by their weights. It is the arithmetic of Envoy's zone-aware routing (share of
//! capacity over share of callers) with the overprovisioning factor of its priority levels. Callers are taken to be
//! spread like servers: the sum is the inverse of the effective number of zones (Simpson 1949), which, unlike a count of
//! zones, moves only a little when a small zone comes or goes. So f is continuous in every weight, 1 while the own zone
//! has 1/1.4 of the mean zone's weight, and towards 0 with the own weight; and where callers are spread so, callers load
//! nobody in their own zone with more than 1.4 times the mean.
//!
//! Where servers report their load, [`relief`] further moves calls away from an own zone that is busier per weight than
//! the others. Pure; called by `layout`.

/// Above how many times the other zones' load the own zone gives calls away.
const BUSY: f64 = 1.25;
/// Below which it takes them back. What lies between changes nothing, so that it does not swing.
const CALM: f64 = 1.1;
/// The most that moves in one step, and the least that stays.
const STEP: f64 = 0.1;
const LEAST: f64 = 0.1;

/// Holds the settings of the spill from the own zone into others.
#[derive(Clone, Debug, PartialEq)]
pub struct Spill {
    /// How much more than the mean the own zone may be asked to carry before calls go elsewhere.
    pub overprovision: f64,
    /// The share of all callers that sit in the own zone, in 0..=1; none: as callers were spread like servers.
    pub demand: Option<f64>,
}

impl Default for Spill {
    fn default() -> Self {
        Self { overprovision: 1.4, demand: None }
    }
}

/// Returns the part of calls that stays in the own zone, of weight `own`, beside zones of the weights `others`.
pub(super) fn stays(rule: &Spill, own: f64, others: &[f64]) -> f64 {
    let all = own + others.iter().sum::<f64>();
    if own <= 0.0 || all <= own {
        return f64::from(own > 0.0);
    }
    let squares = own * own + others.iter().map(|weight| weight * weight).sum::<f64>();
    let demand = rule.demand.unwrap_or(squares / (all * all));
    (rule.overprovision.max(0.0) * (own / all) / demand.max(f64::MIN_POSITIVE)).min(1.0)
}

/// Returns the next factor on what stays, given the present one and the load per weight here and elsewhere. Where
/// either is not known (any more), calls come back.
pub(super) fn relief(factor: f64, loads: Option<(f64, f64)>) -> f64 {
    let (own, others) = loads.unwrap_or((0.0, 1.0));
    if own > others * BUSY {
        // In proportion to what is too much, so that it settles instead of swinging.
        let surplus = 1.0 - others * BUSY / own;
        return (factor - STEP * surplus).max(LEAST);
    }
    if own < others * CALM { (factor + STEP / 2.0).min(1.0) } else { factor }
}

/// Splits calls among the own part, if there is one, and parts of the given weights: shares that add up to 1.
pub(super) fn split(own: Option<f64>, weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let rest = if total > 0.0 { 1.0 - own.unwrap_or(0.0) } else { 0.0 };
    let others = weights.iter().map(|weight| if total > 0.0 { rest * weight / total } else { 0.0 });
    own.map(|_| 1.0 - rest).into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(own: f64, others: &[f64]) -> f64 {
        stays(&Spill::default(), own, others)
    }

    #[test]
    fn the_own_zone_takes_all_until_it_is_short() {
        assert_eq!(part(10.0, &[10.0, 10.0]), 1.0);
        assert_eq!(part(10.0, &[]), 1.0, "nobody else");
        assert_eq!(part(10.0, &[0.0, 0.0]), 1.0, "nobody else is well");
        assert_eq!(part(0.0, &[10.0]), 0.0);
        // Half of the own zone is gone: 1.4 · (5/25) / ((25 + 100 + 100)/625).
        assert!((part(5.0, &[10.0, 10.0]) - 7.0 / 9.0).abs() < 1e-9);
        let stated = Spill { demand: Some(0.5), ..Spill::default() };
        assert!((stays(&stated, 5.0, &[10.0, 10.0]) - 0.56).abs() < 1e-9);
    }

    #[test]
    fn what_all_zones_lose_alike_moves_nobody() {
        assert_eq!(part(5.0, &[5.0, 5.0]), 1.0);
    }

    #[test]
    fn relief_settles_where_loads_are_near() {
        let mut factor = 1.0;
        for _ in 0..200 {
            // The own zone gets what stays of its callers; it has a third of the capacity that it would need.
            factor = relief(factor, Some((3.0 * factor, 1.0 + (1.0 - factor))));
        }
        let ratio = 3.0 * factor / (2.0 - factor);
        assert!((CALM..=BUSY + 0.05).contains(&ratio), "{ratio}");
        let held = relief(factor, Some((1.2, 1.0)));
        assert_eq!(held, factor, "between the two nothing moves");
        assert!(relief(factor, None) > factor, "who reports no more gets its calls back");
    }

    proptest! {
        /// Shares add up, whatever the weights; and who has no weight gets nothing unless nobody has.
        #[test]
        fn calls_are_neither_lost_nor_doubled(own in proptest::option::of(0.0f64..1.0), weights in proptest::collection::vec(0.0f64..100.0, 1..6)) {
            let shares = split(own, &weights);
            prop_assert_eq!(shares.len(), weights.len() + usize::from(own.is_some()));
            let sum: f64 = shares.iter().sum();
            let nobody = own.is_none() && weights.iter().sum::<f64>() == 0.0;
            prop_assert!(nobody || (sum - 1.0).abs() < 1e-9, "{}", sum);
        }

        /// No cliff: a step of any zone's weight moves what stays by no more than the step's share of all, times the
        /// steepest slope (4 · 1.4 per zone, from the derivative).
        #[test]
        fn a_small_step_moves_little(
            own in 0.0f64..100.0, others in proptest::collection::vec(0.0f64..100.0, 1..6),
            step in 0.0f64..1.0, at in 0usize..6,
        ) {
            let zones = others.len() as f64 + 1.0;
            let all = own + others.iter().sum::<f64>();
            prop_assume!(all > 10.0);
            let before = part(own, &others);
            let bound = 8.0 * 1.4 * zones * step / all + 1e-9;
            prop_assert!((part(own + step, &others) - before).abs() <= bound);
            let mut more = others;
            let at = at % more.len();
            more[at] += step;
            prop_assert!((part(own, &more) - before).abs() <= bound, "{} {}", part(own, &more), before);
            more[at] -= step;
            more.push(step);
            prop_assert!((part(own, &more) - before).abs() <= bound, "a zone that comes small comes softly");
        }

        /// Where callers are spread like servers, nobody gets more than 1.4 times the mean from the own zone.
        #[test]
        fn the_own_zone_is_not_overrun(own in 0.1f64..100.0, others in proptest::collection::vec(0.1f64..100.0, 1..6)) {
            let all = own + others.iter().sum::<f64>();
            let demand = (own * own + others.iter().map(|w| w * w).sum::<f64>()) / (all * all);
            let load = part(own, &others) * demand / own;
            prop_assert!(load <= 1.4 / all + 1e-9);
        }

        #[test]
        fn relief_moves_in_small_steps(factor in 0.1f64..=1.0, own in 0.0f64..100.0, others in 0.0f64..100.0) {
            let next = relief(factor, Some((own, others)));
            prop_assert!((next - factor).abs() <= STEP + 1e-12 && (LEAST..=1.0).contains(&next));
        }
    }
}
