//! What is seen: a table that is drawn over itself in a terminal, a line per second elsewhere, and the report.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::dead::Afterlife;
use crate::stage::{FIRST, NEW};
use crate::tally::Counts;

/// One instance, as it is shown.
pub(crate) struct RowShown {
    pub(crate) id: &'static str,
    pub(crate) calls: [u64; 2],
    pub(crate) registry: &'static str,
    pub(crate) process: &'static str,
    pub(crate) age: Duration,
}

/// When the new instance came.
pub(crate) struct Joined {
    /// When its process was started.
    pub(crate) begun: Instant,
    /// When it had signed in.
    pub(crate) signed_in: Instant,
}

/// What the report is made of.
pub(crate) struct Report<'a> {
    pub(crate) ran_for: Duration,
    pub(crate) counts: &'a Counts,
    pub(crate) afterlife: Option<[Afterlife; 2]>,
    pub(crate) joined: Option<Joined>,
}

/// Writes to standard output.
pub(crate) struct Screen {
    console: String,
    run_for: Option<Duration>,
    terminal: bool,
    // How many lines the next table is drawn over.
    drawn: usize,
    notes: Vec<String>,
    greeted: bool,
}

impl Screen {
    pub(crate) fn new(control: &str, run_for: Option<Duration>) -> Self {
        Self {
            console: format!("http://{control}/ui/"),
            run_for,
            terminal: io::stdout().is_terminal(),
            drawn: 0,
            notes: Vec::new(),
            greeted: false,
        }
    }

    /// How often the picture is to be drawn.
    pub(crate) fn pace(&self) -> Duration {
        if self.terminal { Duration::from_millis(250) } else { Duration::from_secs(1) }
    }

    /// Notes an event.
    pub(crate) fn say(&mut self, event: &str) -> io::Result<()> {
        if self.terminal {
            self.notes.push(event.to_owned());
            return Ok(());
        }
        write(&format!("{event}\n"))
    }

    /// Draws the present.
    pub(crate) fn draw(&mut self, ran: Duration, rows: &[RowShown], counts: &Counts) -> io::Result<()> {
        if self.terminal { self.table(ran, rows, counts) } else { self.line(ran, rows, counts) }
    }

    fn table(&mut self, ran: Duration, rows: &[RowShown], counts: &Counts) -> io::Result<()> {
        let of = self.run_for.map_or(String::new(), |time| format!(" of {} s", time.as_secs()));
        let mut lines = vec![
            format!("console {}    {} s{of}", self.console, ran.as_secs()),
            format!(
                "{:<10} {:>9} {:>11}   {:<11} {:<9} {:>5}",
                "instance", "by SDK", "by sidecar", "registry", "process", "age"
            ),
        ];
        for row in rows {
            let [sdk, sidecar] = row.calls;
            let age = row.age.as_secs();
            lines.push(format!(
                "{:<10} {sdk:>9} {sidecar:>11}   {:<11} {:<9} {age:>3} s",
                row.id, row.registry, row.process
            ));
        }
        lines.push(format!("calls {}, failed {}", counts.made_in_all(), counts.failed_in_all()));
        lines.extend(self.notes.iter().map(|note| format!("- {note}")));
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the first line of the last table.
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            // Each line wipes what was there before it.
            text.push_str(&format!("\r\x1b[2K{line}\n"));
        }
        self.drawn = lines.len();
        write(&text)
    }

    fn line(&mut self, ran: Duration, rows: &[RowShown], counts: &Counts) -> io::Result<()> {
        let mut text = String::new();
        if !self.greeted {
            self.greeted = true;
            text =
                format!("console {}\nper instance: calls by SDK + by sidecar, as the registry sees it\n", self.console);
        }
        let (made, failed) = (counts.made_in_all(), counts.failed_in_all());
        text.push_str(&format!("{:>3} s  calls {made}, failed {failed}", ran.as_secs()));
        for row in rows {
            let [sdk, sidecar] = row.calls;
            text.push_str(&format!("  {} {sdk}+{sidecar} {}", row.id, row.registry));
        }
        text.push('\n');
        write(&text)
    }

    /// Writes what it all came to.
    pub(crate) fn report(&self, report: &Report<'_>) -> io::Result<()> {
        let counts = report.counts;
        let made = counts.made_in_all();
        let seconds = report.ran_for.as_secs_f64();
        let mut text = format!(
            "\ncalls made    {made} in {seconds:.1} s: {} by SDK, {} by sidecar\ncalls failed  {}: {} by SDK, {} by sidecar\n",
            counts.made[0],
            counts.made[1],
            counts.failed_in_all(),
            counts.failed[0],
            counts.failed[1]
        );
        for why in &counts.failures {
            text.push_str(&format!("  {why}\n"));
        }
        text.push_str("spread        by SDK + by sidecar\n");
        for (id, row) in &counts.instances {
            let [sdk, sidecar] = row.calls;
            text.push_str(&format!("  {id}     {sdk} + {sidecar}\n"));
        }
        if let Some([sdk, sidecar]) = report.afterlife {
            text.push_str(&format!("the dead instance, {}: how long after its death it was still chosen\n", FIRST[0]));
            let last = sdk.chosen_last.map_or("never".to_owned(), |last| format!("until {}", since(last)));
            text.push_str(&format!("  by SDK      {last} ({} calls); {}\n", sdk.calls, fate(&sdk)));
            let last = sidecar.out.map_or("until the end".to_owned(), |out| format!("at most until {}", since(out)));
            text.push_str(&format!("  by sidecar  {last}; {}\n", fate(&sidecar)));
            text.push_str("  set aside, it is tried again now and then; such a call goes on to another instance\n");
        }
        if let Some(joined) = &report.joined {
            let signed_in = since(joined.signed_in.duration_since(joined.begun));
            text.push_str(&format!("the new instance, {NEW}: signed in {signed_in} after its process was started\n"));
            let first = counts.instances.get(NEW).map_or([None, None], |row| row.first);
            for (way, first) in ["SDK    ", "sidecar"].into_iter().zip(first) {
                let first = first.map_or("none".to_owned(), |first| {
                    format!("{} after signing in", since(first.saturating_duration_since(joined.signed_in)))
                });
                text.push_str(&format!("  by {way}  first call {first}\n"));
            }
        }
        write(&text)
    }
}

fn fate(life: &Afterlife) -> String {
    let told = |at: Option<Duration>| at.map_or("not seen".to_owned(), |at| format!("after {}", since(at)));
    format!("set aside {}, critical by the registry {}", told(life.aside_first), told(life.out))
}

fn since(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes to standard error.
pub(crate) fn complain(text: &str) {
    // There is nobody left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
}
