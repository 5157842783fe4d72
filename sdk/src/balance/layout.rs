//! What a balancer chooses among: whom its settings leave, parted by zone, and how calls are shared among the parts.
//!
//! From the registry's answer to stages: a rule may leave some out; a subset keeps to few; where too few of them are
//! well, what the registry says is doubted and the critical join; zones part them, the own zone first. Usually there is
//! one stage of everybody, and none of this costs anything. Built when the set changes; shares are weighed anew by ticks.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::group::Group;
use super::hash;
use super::picker::{Ask, Gate, Worker};
use super::policy::Policy;
use super::settings::BalancerSettings;
use super::stage::Stage;
use super::subset::Place;
use super::turns::Turns;
use super::zone::{self, Spill};
use crate::catalog::{Member, Snapshot};

/// Reports of load that are older, in milliseconds, say nothing about zones.
const REPORT_AGE_MAX: u32 = 10_000;
/// Keeps the choice of a zone apart from other uses of a key or a turn.
const ZONE_SALT: u64 = 0x05EE_D20E;

/// Holds the stages of one snapshot.
pub(super) struct Layout {
    plain: bool,
    first: Stage,
    others: Box<[Stage]>,
    zones: Option<Zones>,
    panic_threshold: u32,
}

/// Shares calls among stages of different zones.
struct Zones {
    spill: Spill,
    /// The number of the own zone's name, if the first stage is the own zone's.
    own: Option<u32>,
    /// By position: the number of its zone's name.
    labels: Box<[u32]>,
    labels_len: usize,
    /// Ends of the stages' shares but the last, in 1 / 2^32 of the calls.
    ends: Box<[AtomicU32]>,
    /// What is left to the own zone by the load it reports, as the bits of an f64.
    relief: AtomicU64,
}

impl Layout {
    /// Lays out a snapshot; none when there is nobody to call. `keep` is shown whom the rule leaves, the critical
    /// included, and returns whom to keep to, or none for all. `before` is what was laid out last, and `serves_on` that
    /// whose pickers may serve on.
    pub(super) fn build(
        settings: &BalancerSettings,
        snapshot: &Arc<Snapshot>,
        seed: u64,
        (before, serves_on): (Option<&Self>, Option<&Self>),
        keep: impl FnOnce(Vec<Place>) -> Option<BTreeSet<Place>>,
    ) -> Option<Self> {
        let group = considered(settings, snapshot, keep);
        let ramps: Vec<_> = before.into_iter().flat_map(Self::stages).filter_map(Stage::ramp).collect();
        let stage = |policy: &Policy, group: Group, before: Option<&Stage>| {
            Stage::build(policy, group, seed, settings.slow_start.as_ref(), (before, &ramps))
        };
        let panic_threshold = settings.panic_threshold.min(100);
        if settings.zone.is_none() && settings.zone_policies.is_empty() {
            let first = stage(&settings.policy, group, serves_on.map(|layout| &layout.first))?;
            let plain = first.ramp().is_none();
            return Some(Self { plain, first, others: Box::default(), zones: None, panic_threshold });
        }
        let parts = parts(settings, &group);
        let own = parts.first().filter(|part| part.own).map(|part| part.group.at(0));
        let stages: Vec<Stage> = parts.into_iter().filter_map(|part| stage(part.policy, part.group, None)).collect();
        let mut stages = stages.into_iter();
        let (first, others) = (stages.next()?, stages.collect::<Box<[Stage]>>());
        let (labels, labels_len) = labels(snapshot);
        let relief =
            before.and_then(|before| before.zones.as_ref()).map_or(1.0f64.to_bits(), |z| z.relief.load(Relaxed));
        let zones = (!others.is_empty()).then(|| Zones {
            spill: settings.spill.clone(),
            own: own.and_then(|position| labels.get(position)).copied(),
            labels,
            labels_len,
            ends: others.iter().map(|_| AtomicU32::new(u32::MAX)).collect(),
            relief: AtomicU64::new(relief),
        });
        let layout = Self { plain: false, first, others, zones, panic_threshold };
        layout.weigh(false);
        Some(layout)
    }

    /// Returns everybody that calls may go to: the one stage's group, or with several the whole snapshot's.
    pub(super) fn group(&self) -> Group {
        match self.others.is_empty() {
            true => self.first.group().clone(),
            false => Group::whole(Arc::clone(self.first.group().snapshot())),
        }
    }

    fn stages(&self) -> impl Iterator<Item = &Stage> {
        std::iter::once(&self.first).chain(&*self.others)
    }

    /// Says whether a picker only serves until one is built anew.
    pub(super) fn is_interim(&self) -> bool {
        self.stages().any(Stage::is_interim)
    }

    /// Returns a stage by its number.
    #[inline]
    pub(super) fn stage(&self, nth: usize) -> &Stage {
        nth.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.first)
    }

    /// Says whether there is one stage, and nobody in it on a ramp: the question of the usual pick.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Returns what the picker of an endpoint's stage has as its bound.
    pub(super) fn bound(&self, position: usize) -> Option<u32> {
        self.stages().find_map(|stage| stage.bound(position))
    }

    /// Chooses where more is to be asked than one picker.
    #[inline(never)]
    pub(super) fn choose(&self, ask: &Ask<'_>, turns: Turns<'_>) -> Option<&Arc<Member>> {
        let first = self.zones.as_ref().map_or(0, |zones| zones.first(ask, turns));
        let stage = self.stage(first);
        let snapshot = stage.group().snapshot();
        if !ask.is_open() || snapshot.aside().any() || stage.is_ramping() {
            return self.choose_guarded(first, ask, turns);
        }
        stage.choose(ask.hashed(), turns)
    }

    /// Chooses where not everybody may be answered; `first` is the stage to begin with.
    #[cold]
    fn choose_guarded(&self, first: usize, ask: &Ask<'_>, turns: Turns<'_>) -> Option<&Arc<Member>> {
        let usual = if self.is_panicking() { Gate::Doubt } else { Gate::Guarded };
        self.search(first, usual, ask, turns).or_else(|| {
            if !self.first.group().snapshot().aside().any() {
                return None;
            }
            // Everybody left is aside: calling one of them is better than calling nobody. The search in vain took many
            // turns, as many each time, so what comes next would meet the same few again and again: begin anywhere.
            let anywhere = AtomicU64::new(hash::mix(turns.next()));
            let anywhere = Turns::alone(&anywhere);
            let doubt = self.search(first, Gate::Doubt, ask, anywhere);
            doubt.or_else(|| self.search(first, Gate::Panic, ask, anywhere))
        })
    }

    fn search(&self, first: usize, gate: Gate, ask: &Ask<'_>, turns: Turns<'_>) -> Option<&Arc<Member>> {
        let mut worker = Worker::open(turns);
        let others = (0..=self.others.len()).filter(|nth| *nth != first);
        let mut stages = std::iter::once(first).chain(others).map(|nth| self.stage(nth));
        stages.find_map(|stage| stage.search(gate, ask, &mut worker))
    }

    /// Says whether so many of the eligible are aside that opinions are doubted.
    fn is_panicking(&self) -> bool {
        let snapshot = self.first.group().snapshot();
        let eligible = u64::from(snapshot.eligible_len());
        let well = eligible.saturating_sub(snapshot.aside().marked().into());
        well * 100 < eligible * u64::from(self.panic_threshold)
    }

    /// Weighs the zones by who is well now and, if `load` is to count, by what servers report. Walks everybody.
    pub(super) fn weigh(&self, load: bool) {
        let Some(zones) = &self.zones else { return };
        let mut by_label = vec![0.0; zones.labels_len];
        let mut weights = Vec::with_capacity(self.others.len() + 1);
        let mut loads = Vec::with_capacity(self.others.len() + 1);
        for stage in self.stages() {
            let group = stage.group();
            let now = group.snapshot().aside().clock().coarse();
            let (mut weight, mut load) = (0.0, Load::default());
            for (position, own) in group.weighted() {
                let Some(gauge) = group.gauge(position as usize).filter(|gauge| !gauge.is_aside(now)) else { continue };
                weight += f64::from(own);
                if let Some(label) = zones.labels.get(position as usize) {
                    by_label[*label as usize] += f64::from(own);
                }
                if let Some(report) = gauge.report(now).filter(|report| report.age <= REPORT_AGE_MAX) {
                    load.add(report.load.in_flight, own);
                }
            }
            weights.push(weight);
            loads.push(load);
        }
        zones.share(&weights, by_label, load.then_some(&loads));
    }
}

/// Adds up what servers of a zone report.
#[derive(Default)]
struct Load {
    calls: f64,
    weight: f64,
}

impl Load {
    fn add(&mut self, in_flight: u32, weight: u32) {
        // One more each, so that idle zones are alike and not infinitely different.
        self.calls += f64::from(in_flight) + 1.0;
        self.weight += f64::from(weight);
    }

    fn sum<'a>(loads: impl IntoIterator<Item = &'a Self>) -> Option<f64> {
        let (calls, weight) =
            loads.into_iter().fold((0.0, 0.0), |(calls, weight), load| (calls + load.calls, weight + load.weight));
        (weight > 0.0).then(|| calls / weight)
    }
}

impl Zones {
    fn first(&self, ask: &Ask<'_>, turns: Turns<'_>) -> usize {
        // Of the turn that comes next, which is not taken: within a zone the round must not lose turns.
        let word = ask.hashed().unwrap_or_else(|| turns.next());
        let place = (hash::mix(word ^ ZONE_SALT) >> 32) as u32;
        let place = if self.own.is_some() && ask.is_abroad() { self.abroad(place) } else { place };
        self.ends.iter().position(|end| place < end.load(Relaxed)).unwrap_or(self.ends.len())
    }

    /// Moves a place among all calls to one among those that go abroad.
    fn abroad(&self, place: u32) -> u32 {
        let own = u64::from(self.ends.first().map_or(0, |end| end.load(Relaxed)));
        let rest = (1u64 << 32) - own;
        (own + ((u64::from(place) * rest) >> 32)) as u32
    }

    fn share(&self, weights: &[f64], mut by_label: Vec<f64>, loads: Option<&Vec<Load>>) {
        let own = self.own.map(|label| {
            let own = by_label.swap_remove(label as usize);
            let mut relief = f64::from_bits(self.relief.load(Relaxed));
            if let Some(loads) = loads {
                relief = zone::relief(relief, Load::sum(&loads[..1]).zip(Load::sum(&loads[1..])));
                self.relief.store(relief.to_bits(), Relaxed);
            }
            zone::stays(&self.spill, own, &by_label) * relief
        });
        let mut end = 0.0;
        for (end_at, share) in self.ends.iter().zip(zone::split(own, &weights[usize::from(self.own.is_some())..])) {
            end += share;
            end_at.store((end * 4_294_967_296.0) as u32, Relaxed);
        }
    }
}

/// Returns whom the rule and the subset leave; with the critical where too few are well.
fn considered(
    settings: &BalancerSettings,
    snapshot: &Arc<Snapshot>,
    keep: impl FnOnce(Vec<Place>) -> Option<BTreeSet<Place>>,
) -> Group {
    let threshold = u64::from(settings.panic_threshold.min(100));
    let doubted = |well: usize, known: usize| (well as u64) * 100 < known as u64 * threshold;
    let whole = || Group::whole(Arc::clone(snapshot));
    let plain = settings.only.is_none() && settings.subset.is_none();
    // Whoever is known is at least whoever is known with a weight; asked first because it costs nothing.
    if plain && !doubted(snapshot.eligible_len() as usize, snapshot.order().len()) {
        return whole();
    }
    let meets = |member: &Arc<Member>| settings.only.as_ref().is_none_or(|only| only.meets(member.endpoint()));
    let mut known: Vec<(u32, &Arc<Member>)> = snapshot
        .order()
        .iter()
        .filter_map(|at| snapshot.member(*at as usize).map(|member| (*at, member)))
        .filter(|(_, member)| member.endpoint().weight() > 0 || member.endpoint().weight_effective() > 0)
        .filter(|(_, member)| meets(member))
        .collect();
    let well =
        |known: &[(u32, &Arc<Member>)]| known.iter().filter(|(_, m)| m.endpoint().weight_effective() > 0).count();
    if settings.subset.is_some() {
        let place = |at: u32, member: &Arc<Member>| {
            let (id, node) = member.endpoint().identity();
            Place::of(id, node, snapshot.slot(at as usize))
        };
        if let Some(kept) = keep(known.iter().map(|(at, member)| place(*at, member)).collect()) {
            let own: Vec<_> = known.iter().filter(|(at, member)| kept.contains(&place(*at, member))).copied().collect();
            // A subset in which nobody is well helps nobody.
            if well(&own) > 0 {
                known = own;
            }
        }
    }
    let all = doubted(well(&known), known.len());
    if plain && !all {
        return whole();
    }
    let chosen: Vec<(u32, u32)> = known
        .iter()
        .map(|(at, member)| {
            let effective = member.endpoint().weight_effective();
            let doubted = if all { member.endpoint().weight() } else { 0 };
            (*at, if effective > 0 { effective } else { doubted })
        })
        .collect();
    Group::part(Arc::clone(snapshot), chosen)
}

/// A part of a group, with its policy.
struct Part<'a> {
    own: bool,
    policy: &'a Policy,
    group: Group,
}

/// Parts a group: the own zone, each zone with a policy of its own, and all others. Empty ones are left out.
fn parts<'a>(settings: &'a BalancerSettings, group: &Group) -> Vec<Part<'a>> {
    let policy_of = |zone: &str| {
        let own = settings.zone_policies.iter().find(|(name, _)| name == zone);
        own.map_or(&settings.policy, |(_, policy)| policy)
    };
    let mut names: Vec<&str> = settings.zone.as_deref().into_iter().collect();
    names.extend(
        settings
            .zone_policies
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| Some(*name) != settings.zone.as_deref()),
    );
    let mut chosen: Vec<Vec<(u32, u32)>> = vec![Vec::new(); names.len() + 1];
    for (position, weight) in group.weighted() {
        let zone = group.snapshot().member(position as usize).and_then(|member| member.endpoint().zone());
        let place = zone.and_then(|zone| names.iter().position(|name| *name == zone)).unwrap_or(names.len());
        chosen[place].push((position, weight));
    }
    let named = names.iter().map(|name| (Some(*name) == settings.zone.as_deref(), policy_of(name)));
    named
        .chain([(false, &settings.policy)])
        .zip(chosen)
        .filter(|(_, chosen)| !chosen.is_empty())
        .map(|((own, policy), chosen)| Part { own, policy, group: Group::part(Arc::clone(group.snapshot()), chosen) })
        .collect()
}

/// Numbers the zones' names by position; endpoints without a zone share the number of the empty name.
fn labels(snapshot: &Snapshot) -> (Box<[u32]>, usize) {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let labels = (0..snapshot.weights().len())
        .map(|at| {
            let zone = snapshot.member(at).and_then(|member| member.endpoint().zone()).unwrap_or("");
            let next = numbers.len() as u32;
            *numbers.entry(zone).or_insert(next)
        })
        .collect();
    (labels, numbers.len())
}
