//! Whether the time of a refusal tells how much of a secret was right: `cargo bench -p callboard-control --bench secrets`.
//!
//! As dudect measures it (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017): two classes of guesses,
//! those that share all but the last byte with a real secret and those that share nothing, are timed in random order, and
//! Welch's t says whether the classes differ. Above 4.5 they do. Beside ours stands a comparison that stops at the first
//! difference, which must be found out: otherwise the bench sees nothing, and says so.
//!
//! `--measurements N` sets how many times are taken of each (400000), `--seed N` repeats the guesses.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of measurements are far below what a float holds exactly"
)]

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use callboard_control::acl::{Acl, AclSettings, Secret};
use callboard_control::registry::{AclCommand, Command, Outcome, Registry, Touched, Write};
use callboard_proto::Index;
use callboard_proto::acl::rows::{Sources, TokenRow};
use callboard_proto::text::Text;

/// Above this, two classes are unlike by more than chance (the paper's threshold).
const THRESHOLD: f64 = 4.5;
/// How often a guess is tried in one measurement: a clock is read at both ends.
const REPEATED: usize = 16;
/// The share of the shortest times that count: the others are those of a disturbed machine.
const COUNTED: f64 = 0.95;
/// Letters of a secret, as in a UUID.
const LENGTH: usize = 36;
/// The letters that a secret is made of: those of ASCII that print.
const FIRST: u8 = b'!';
const LETTERS: u8 = b'~' - b'!' + 1;
/// Tokens that are known where a whole caller is looked up.
const KNOWN: usize = 64;
/// Measurements before the known tokens are others, so that no single place in the table counts for a class.
const RENEWED: usize = 2_000;

/// A secret, or a guess at one.
type Letters = [u8; LENGTH];

/// What a guess has in common with a real secret.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    AllButTheLast,
    Nothing,
}

fn main() -> Result<()> {
    let (mut measurements, mut seed) = (400_000, fastrand::u64(..));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            let text = arguments.next().with_context(|| format!("{argument} takes a number"))?;
            text.parse().with_context(|| format!("{argument} {text}"))
        };
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--measurements" => measurements = usize::try_from(number()?)?.max(1_000),
            "--seed" => seed = number()?,
            other => bail!("{other:?} is none of --measurements N, --seed N"),
        }
    }
    println!("seed {seed}, {measurements} measurements of {REPEATED} each, threshold |t| = {THRESHOLD}\n");
    println!("{:<44} {:>9} {:>9} {:>9}", "what refuses", "near, ns", "far, ns", "t");
    let mut dice = fastrand::Rng::with_seed(seed);

    let naive = times(
        measurements,
        &mut dice,
        |dice, class| {
            let known = secret(dice);
            let guess = guess(dice, &known, class);
            (known, guess)
        },
        |(known, guess)| stops_at_the_first_difference(known, guess),
    );
    let naive = tell("a comparison that stops at a difference", naive);
    let compared = times(
        measurements,
        &mut dice,
        |dice, class| {
            let known = secret(dice);
            let guess = guess(dice, &known, class);
            (Secret::new(text(&known)).hash(), guess)
        },
        |(known, guess)| Secret::new(text(guess)).is(known),
    );
    let compared = tell("a secret beside a hash", compared);
    let mut world = Rc::new(World::new(&mut dice)?);
    let mut taken = 0;
    let looked_up = times(
        measurements,
        &mut dice,
        |dice, class| {
            taken += 1;
            if taken % RENEWED == 0 {
                world = Rc::new(World::new(dice).expect("one was made before"));
            }
            let known = &world.secrets[dice.usize(0..KNOWN)];
            let guess = guess(dice, known, class);
            (Rc::clone(&world), guess)
        },
        |(world, guess)| world.acl.access(&world.registry, Some(&Secret::new(text(guess)))).is_ok(),
    );
    let looked_up = tell("a caller's token among others", looked_up);

    ensure!(naive.abs() > THRESHOLD, "what leaks was not found out, so nothing is shown; take more measurements");
    ensure!(compared.abs() < THRESHOLD, "the time of a comparison tells something of a secret");
    ensure!(looked_up.abs() < THRESHOLD, "the time of a refusal tells something of a secret");
    println!("\nwhat leaks is found out, and ours is not");
    Ok(())
}

/// Access control with tokens.
struct World {
    acl: Acl,
    registry: Registry,
    secrets: Vec<Letters>,
}

impl World {
    fn new(dice: &mut fastrand::Rng) -> Result<World> {
        let acl = Acl::new(AclSettings { enabled: true, ..AclSettings::default() })?;
        let mut registry = Registry::default();
        let secrets: Vec<Letters> = (0..KNOWN).map(|_| secret(dice)).collect();
        for (number, secret) in secrets.iter().enumerate() {
            let token = TokenRow {
                accessor: format!("00000000-0000-4000-8000-{number:012}").into(),
                secret: Secret::new(text(secret)).hash(),
                description: Text::default(),
                sources: Sources::default(),
                roles: Vec::new(),
                local: false,
                auth_method: Text::default(),
                expires: None,
                created_at: Duration::ZERO,
                hash: Text::default(),
                created: Index::ZERO,
                modified: Index::ZERO,
            };
            let command = AclCommand::TokenPut { token: Box::new(token), write: Write::Create };
            let outcome = registry.apply(Command::Acl(command), &mut Touched::default());
            ensure!(outcome == Outcome::Done, "a token was not taken: {outcome:?}");
        }
        Ok(World { acl, registry, secrets })
    }
}

/// What must be found out.
fn stops_at_the_first_difference(one: &Letters, other: &Letters) -> bool {
    for place in 0..LENGTH {
        if black_box(one[place]) != black_box(other[place]) {
            return false;
        }
    }
    true
}

fn letter(dice: &mut fastrand::Rng) -> u8 {
    dice.u8(FIRST..FIRST + LETTERS)
}

fn secret(dice: &mut fastrand::Rng) -> Letters {
    std::array::from_fn(|_| letter(dice))
}

fn text(letters: &Letters) -> &str {
    std::str::from_utf8(letters).expect("letters are ASCII")
}

/// A wrong secret of the same length. Its making takes the same steps for both classes: what comes before a measurement
/// leaves traces in caches and predictors, and must leave the same.
fn guess(dice: &mut fastrand::Rng, known: &Letters, class: Class) -> Letters {
    // Never the known letter: the next ones of a circle.
    let far: Letters = std::array::from_fn(|place| FIRST + (known[place] - FIRST + dice.u8(1..LETTERS)) % LETTERS);
    let shared = match class {
        Class::AllButTheLast => LENGTH - 1,
        Class::Nothing => 0,
    };
    std::array::from_fn(|place| {
        let mask = 0_u8.wrapping_sub(u8::from(black_box(place < shared)));
        (known[place] & mask) | (far[place] & !mask)
    })
}

/// Nanoseconds of one try, of each class.
struct Times {
    near: Vec<f64>,
    far: Vec<f64>,
}

/// Times guesses of both classes, drawn one by one. `refuses` must say no to each.
fn times<T>(
    count: usize,
    dice: &mut fastrand::Rng,
    mut prepare: impl FnMut(&mut fastrand::Rng, Class) -> T,
    refuses: impl Fn(&T) -> bool,
) -> Times {
    let mut times = Times { near: Vec::with_capacity(count), far: Vec::with_capacity(count) };
    for _ in 0..count {
        let class = if dice.bool() { Class::AllButTheLast } else { Class::Nothing };
        let input = prepare(dice, class);
        let begun = Instant::now();
        for _ in 0..REPEATED {
            assert!(!black_box(refuses(black_box(&input))), "a guess is wrong");
        }
        let time = begun.elapsed().as_secs_f64() * 1e9 / REPEATED as f64;
        match class {
            Class::AllButTheLast => times.near.push(time),
            Class::Nothing => times.far.push(time),
        }
    }
    times
}

/// Prints a line, and returns t.
fn tell(what: &str, mut times: Times) -> f64 {
    let mut all: Vec<f64> = times.near.iter().chain(&times.far).copied().collect();
    all.sort_by(f64::total_cmp);
    let longest = all[(all.len() as f64 * COUNTED) as usize];
    times.near.retain(|time| *time <= longest);
    times.far.retain(|time| *time <= longest);
    let (near, far) = (Moments::of(&times.near), Moments::of(&times.far));
    let t = (near.mean - far.mean) / (near.variance / near.count + far.variance / far.count).sqrt();
    println!("{what:<44} {:>9.2} {:>9.2} {t:>9.2}", near.mean, far.mean);
    t
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(times: &[f64]) -> Self {
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}
