//! `cargo verify`: everything that must hold before a change is taken, in order, with the time of each step.
//! It stops at the first step that fails and shows what that step said. `.ci/run` calls it; so does a newcomer.
//!
//! `cargo verify` runs all steps; `cargo verify tidy wire` runs the named ones; `cargo verify --list` names them.
#![allow(clippy::print_stdout, reason = "this program's answer is its output")]

mod install;
mod steps;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use steps::{Outcome, Step};

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let steps = steps::all();
    if asked.iter().any(|word| word == "--list") {
        for step in &steps {
            println!("{:<12} {}", step.name, step.about);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = asked.iter().find(|word| steps.iter().all(|step| step.name != word.as_str())) {
        println!("no step is called {unknown}; `cargo verify --list` names them");
        return ExitCode::from(2);
    }
    let begun = Instant::now();
    let mut done = Vec::new();
    for step in steps.iter().filter(|step| asked.is_empty() || asked.iter().any(|word| word == step.name)) {
        let (outcome, took) = run(step);
        let failed = matches!(outcome, Outcome::Failed(_));
        done.push((step.name, outcome, took));
        if failed {
            break;
        }
    }
    summary(&done, begun.elapsed())
}

fn run(step: &Step) -> (Outcome, Duration) {
    println!("── {} · {}", step.name, step.about);
    let begun = Instant::now();
    let outcome = (step.run)();
    let took = begun.elapsed();
    match &outcome {
        Outcome::Passed => println!("   passed in {:.1} s", took.as_secs_f64()),
        Outcome::Skipped(why) => println!("   passed over: {why}"),
        Outcome::Failed(output) => println!("{output}\n   FAILED after {:.1} s", took.as_secs_f64()),
    }
    (outcome, took)
}

fn summary(done: &[(&str, Outcome, Duration)], total: Duration) -> ExitCode {
    println!("\n{:<12} {:>8}  outcome", "step", "seconds");
    let mut failed = None;
    for (name, outcome, took) in done {
        let word = match outcome {
            Outcome::Passed => "passed",
            Outcome::Skipped(_) => "passed over",
            Outcome::Failed(_) => {
                failed = Some(name);
                "FAILED"
            }
        };
        println!("{name:<12} {:>8.1}  {word}", took.as_secs_f64());
    }
    println!("{:<12} {:>8.1}", "all", total.as_secs_f64());
    match failed {
        None => {
            println!("\nverified");
            ExitCode::SUCCESS
        }
        Some(name) => {
            println!("\nnot verified: {name} failed; its output stands above; `cargo verify {name}` runs it alone");
            ExitCode::FAILURE
        }
    }
}
