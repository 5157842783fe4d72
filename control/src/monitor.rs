//! The log of the program, for those who listen over HTTP.
//!
//! A layer beside the one that writes to standard error: lines go to every listener, each with a bounded queue; who is
//! too slow loses lines and is told how many. While nobody listens it costs nothing: no call site is enabled for it.
//! `cli::agent` installs it, `http::agent_monitor` listens.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Context, Filter};

/// Lines that may wait for one listener.
const LINES_MAX: usize = 1024;
/// The most bytes of one line.
const LINE_MAX: usize = 16 * 1024;
/// The most listeners at a time.
pub const LISTENERS_MAX: usize = 32;

/// One line of the log.
#[derive(Debug, Clone)]
pub struct Line {
    level: Level,
    target: &'static str,
    time: String,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    /// The line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} [{}] {}: {}", self.time, self.level, self.target, self.message);
        for (separator, (name, value)) in std::iter::once(": ").chain(std::iter::repeat(" ")).zip(&self.fields) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{name}={value}");
        }
        cut(text)
    }

    /// The line for programs, with the names that Consul gives its own.
    #[must_use]
    pub fn json(&self) -> String {
        let mut line = Map::new();
        line.insert("@level".to_owned(), json!(self.level.as_str().to_ascii_lowercase()));
        line.insert("@message".to_owned(), json!(self.message));
        line.insert("@module".to_owned(), json!(self.target));
        line.insert("@timestamp".to_owned(), json!(self.time));
        line.extend(self.fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        Value::Object(line).to_string()
    }
}

/// Cuts a line that is too long, at a character.
fn cut(mut text: String) -> String {
    if text.len() > LINE_MAX {
        let mut end = LINE_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    // A listener takes a line for a line.
    if text.contains('\n') { text.replace('\n', "\\n") } else { text }
}

/// The handle; clones share one set of listeners.
#[derive(Debug, Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    lines: broadcast::Sender<Arc<Line>>,
    /// How many listen at each level, from error to trace.
    listeners: Mutex<[usize; 5]>,
    /// The most talkative level that somebody listens at; 0 while nobody does.
    level: AtomicUsize,
}

impl Default for Monitor {
    fn default() -> Monitor {
        let (lines, _) = broadcast::channel(LINES_MAX);
        Monitor { shared: Arc::new(Shared { lines, listeners: Mutex::default(), level: AtomicUsize::new(0) }) }
    }
}

/// What a listener hears next.
#[derive(Debug)]
pub enum Heard {
    /// A line.
    Line(Arc<Line>),
    /// So many lines were lost, because the listener was too slow.
    Lost(u64),
}

/// Somebody who listens, for as long as this is held.
#[derive(Debug)]
pub struct Listener {
    monitor: Monitor,
    level: Level,
    lines: broadcast::Receiver<Arc<Line>>,
}

impl Listener {
    /// Waits for the next line of the level asked for.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.lines.recv().await {
                Ok(line) if line.level <= self.level => return Some(Heard::Line(line)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(lost)) => return Some(Heard::Lost(lost)),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.monitor.count(self.level, |count| *count -= 1);
    }
}

/// The place of a level, from 0 for error.
fn place(level: Level) -> usize {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        _ => 4,
    }
}

impl Monitor {
    /// Begins to listen to lines of a level and above; none when too many do.
    #[must_use]
    pub fn listen(&self, level: Level) -> Option<Listener> {
        if self.shared.lines.receiver_count() >= LISTENERS_MAX {
            return None;
        }
        let lines = self.shared.lines.subscribe();
        self.count(level, |count| *count += 1);
        Some(Listener { monitor: self.clone(), level, lines })
    }

    fn count(&self, level: Level, change: impl FnOnce(&mut usize)) {
        {
            let mut listeners = self.shared.listeners.lock();
            change(&mut listeners[place(level)]);
            let most = listeners.iter().rposition(|count| *count > 0).map_or(0, |place| place + 1);
            self.shared.level.store(most, Ordering::Release);
        }
        // Call sites remember whether anybody wants them.
        tracing::callsite::rebuild_interest_cache();
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && place(*metadata.level()) < self.shared.level.load(Ordering::Acquire)
    }

    /// The layer that listeners hear through.
    #[must_use]
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
    {
        Speaker(self.clone()).with_filter(Wanted(self.clone()))
    }
}

/// Lets through what somebody listens to.
struct Wanted(Monitor);

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.0.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.0.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.0.shared.level.load(Ordering::Acquire) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }
}

/// Makes lines of events.
struct Speaker(Monitor);

impl<S: Subscriber> Layer<S> for Speaker {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut time = String::new();
        if SystemTime.format_time(&mut Writer::new(&mut time)).is_err() {
            time.push('?');
        }
        let mut found = Found::default();
        event.record(&mut found);
        let metadata = event.metadata();
        let line = Line {
            level: *metadata.level(),
            target: metadata.target(),
            time,
            message: found.message,
            fields: found.fields,
        };
        // An error means that nobody listens any more.
        let _ = self.0.shared.lines.send(Arc::new(line));
    }
}

#[derive(Default)]
struct Found {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Found {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.take(field, value.to_string());
    }
}

impl Found {
    fn take(&mut self, field: &Field, value: String) {
        let value = cut(value);
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[tokio::test]
    async fn a_listener_hears_its_level_and_is_told_what_it_lost() {
        let monitor = Monitor::default();
        let subscriber = tracing_subscriber::registry().with(monitor.layer());
        let _default = tracing::subscriber::set_default(subscriber);
        tracing::warn!("before anybody listens");
        let mut listener = monitor.listen(Level::INFO).unwrap();
        tracing::debug!("too quiet");
        tracing::info!(port = 7, name = "x", "heard\nwhole");
        let Some(Heard::Line(line)) = listener.next().await else { panic!("no line") };
        assert!(line.text().ends_with(": heard\\nwhole: port=7 name=x"), "{}", line.text());
        let json: Value = serde_json::from_str(&line.json()).unwrap();
        assert_eq!((&json["@level"], &json["port"]), (&json!("info"), &json!("7")));
        for _ in 0..LINES_MAX + 3 {
            tracing::error!("many");
        }
        assert!(matches!(listener.next().await, Some(Heard::Lost(3))));
        assert!(matches!(listener.next().await, Some(Heard::Line(_))));
    }

    #[test]
    fn listeners_are_bounded_and_leave_no_trace() {
        let monitor = Monitor::default();
        let many: Vec<Listener> = (0..LISTENERS_MAX).map(|_| monitor.listen(Level::TRACE).unwrap()).collect();
        assert!(monitor.listen(Level::TRACE).is_none());
        drop(many);
        assert_eq!(monitor.shared.level.load(Ordering::Acquire), 0);
        assert!(monitor.listen(Level::ERROR).is_some());
    }
}
