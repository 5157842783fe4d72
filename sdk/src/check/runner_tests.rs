//! The runner by example: what is told, when, and what a limit or a threshold does to it. Time is tokio's
//! paused clock, which jumps to the next timer when nothing else is left to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use CheckStatus::{Critical, Passing, Warning};
use callboard_proto::definition::{LatencyLimit, Limit, Limits, Thresholds};
use tokio::sync::mpsc;

use super::*;

fn definition() -> CheckDefinition {
    CheckDefinition {
        probe: Probe::Ttl { ttl: Duration::from_secs(30) },
        interval: Duration::from_secs(10),
        timeout: Duration::ZERO,
        thresholds: Thresholds::default(),
        reap_after: None,
        output_max: 4096,
        limits: Limits::default(),
    }
}

/// Passing, with no reason to doubt it.
fn fine() -> (CheckStatus, String) {
    (Passing, String::new())
}

/// Answers with each of these in turn, and never again after the last.
fn script(answers: impl IntoIterator<Item = (CheckStatus, String)>) -> Closure {
    let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
    Closure::graded(move || {
        let next = answers.lock().unwrap().pop_front();
        async move {
            match next {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    })
}

/// Runs until there are so many verdicts.
async fn verdicts(runner: Runner, count: usize) -> Vec<(Verdict, tokio::time::Instant)> {
    let (sink, mut source) = mpsc::unbounded_channel();
    let end = CancellationToken::new();
    let note = move |verdict| sink.send((verdict, tokio::time::Instant::now())).unwrap();
    let task = tokio::spawn(runner.run(note, end.clone()));
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(source.recv().await.unwrap());
    }
    end.cancel();
    task.await.unwrap();
    heard
}

#[tokio::test(start_paused = true)]
async fn a_check_runs_at_once_and_then_at_its_interval() {
    let start = tokio::time::Instant::now();
    let heard = verdicts(Runner::closure(definition(), script(vec![fine(); 4]), Critical), 4).await;
    let times: Vec<Duration> = heard.iter().map(|(_, at)| *at - start).collect();
    // Tokio's timers count in milliseconds.
    assert!(times[0] <= Duration::from_secs(10));
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((Duration::from_secs(10)..Duration::from_millis(10_002)).contains(&gap), "{gap:?}");
    }
    let news: Vec<News> = heard.iter().map(|(verdict, _)| verdict.news).collect();
    assert_eq!(news, [News::Status, News::Nothing, News::Nothing, News::Nothing]);
}

#[tokio::test(start_paused = true)]
async fn a_check_of_one_second_has_run_soon_after_its_registration() {
    for _ in 0..50 {
        let start = tokio::time::Instant::now();
        let every_second = CheckDefinition { interval: Duration::from_secs(1), ..definition() };
        let heard = verdicts(Runner::closure(every_second, script([fine()]), Critical), 1).await;
        assert!(heard[0].1 - start <= Duration::from_millis(501));
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_row_of_results_is_news() {
    let thresholds = Thresholds { passing: 2, warning: 2, critical: 3 };
    let bad = |text: &str| (Critical, text.to_owned());
    let answers = [fine(), bad("1"), bad("2"), bad("3"), bad("4"), fine(), fine()];
    let runner = Runner::closure(CheckDefinition { thresholds, ..definition() }, script(answers), Passing);
    let heard = verdicts(runner, 7).await;
    let told: Vec<(CheckStatus, &str, News)> =
        heard.iter().map(|(verdict, _)| (verdict.status, &*verdict.output, verdict.news)).collect();
    let expected = [
        (Passing, "", News::Nothing),
        (Passing, "", News::Nothing),
        (Warning, "2", News::Status),
        (Critical, "3", News::Status),
        (Critical, "4", News::Output),
        (Critical, "4", News::Nothing),
        (Passing, "", News::Status),
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_never_ends_is_timed_out() {
    let heard = verdicts(Runner::closure(definition(), script([]), Passing), 2).await;
    assert_eq!(heard[0].0.status, Critical);
    assert_eq!(&*heard[0].0.output, "timed out after 10s");
    assert_eq!(heard[0].0.latency, None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_check_is_worsened_by_its_limit() {
    let limit = Limit { warning: Some(0.5), critical: Some(60.0) };
    let latency = Some(LatencyLimit { percentile: 100.0, window: 1, limit });
    let limits = Limits { latency, ..Limits::default() };
    let slow = Closure::new(|| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok::<(), String>(())
    });
    let runner = Runner::closure(CheckDefinition { limits, ..definition() }, slow, Passing);
    let (verdict, _) = verdicts(runner, 1).await.remove(0);
    assert_eq!(verdict.status, Warning);
    assert!(verdict.output.starts_with("latency p100 2"), "{}", verdict.output);
    assert!(verdict.output.ends_with("s > 500ms (warning)"), "{}", verdict.output);
    assert!(verdict.latency.is_some_and(|latency| latency >= Duration::from_secs(2)));
}

#[tokio::test(start_paused = true)]
async fn reported_figures_count_at_the_next_run() {
    let over = |bound| Some(Limit { warning: None, critical: Some(bound) });
    let limits = Limits { error_rate: over(0.1), memory: over(1e9), ..Limits::default() };
    let (figures, reported) = watch::channel(Figures { memory: Some(1.0), ..Figures::default() });
    let runner = Runner::closure(CheckDefinition { limits, ..definition() }, script(vec![fine(); 2]), Passing)
        .with_figures(reported);
    let mut runner = Box::pin(async move {
        let mut runner = runner;
        let first = runner.once().await;
        figures.send_modify(|figures| figures.error_rate = Some(0.5));
        (first, runner.once().await)
    });
    let (first, second) = runner.as_mut().await;
    assert_eq!((first.status, &*first.output), (Passing, ""));
    assert_eq!((second.status, &*second.output), (Critical, "error rate 50% > 10% (critical)"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_memory_of_the_listener_counts_and_a_missing_one_is_told() {
    let limit = Some(Limit { warning: Some(1.0), critical: None });
    let limits = Limits { memory: limit, ..Limits::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let definition = CheckDefinition { limits, ..definition() };
    let mut here = Runner::closure(definition.clone(), script([fine()]), Passing).with_port(port);
    let verdict = here.once().await;
    assert_eq!(verdict.status, Warning);
    assert!(verdict.output.starts_with("memory ") && verdict.output.ends_with("> 1B (warning)"), "{}", verdict.output);
    let verdict = Runner::closure(definition, script([fine()]), Passing).once().await;
    let expected = "memory and CPU are not known: neither a process nor a port is known";
    assert_eq!((verdict.status, &*verdict.output), (Passing, expected));
}

#[tokio::test]
async fn beats_and_aliases_are_not_run() {
    let refused = Runner::new(definition(), Context::new(), Passing).err();
    assert_eq!(refused, Some(NotRun("ttl")));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_checks_run_in_one_thread() {
    let (sink, mut source) = mpsc::unbounded_channel();
    let end = CancellationToken::new();
    let tasks: Vec<_> = (0..1000)
        .map(|check: usize| {
            let runner = Runner::closure(definition(), Closure::new(|| async { Ok::<(), String>(()) }), Critical);
            let sink = sink.clone();
            tokio::spawn(runner.run(move |verdict: Verdict| sink.send((check, verdict.news)).unwrap(), end.clone()))
        })
        .collect();
    let mut passed = vec![0; 1000];
    for _ in 0..5000 {
        let (check, _) = source.recv().await.unwrap();
        passed[check] += 1;
    }
    assert!(passed.iter().all(|&runs| (4..=6).contains(&runs)), "all get their turn");
    end.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}
