//! log – the server's log: `tracing` events as text or JSON on standard error.
//!
//! Events are formatted where they happen and written by a thread (`lines`), so that a slow
//! terminal or a full pipe never stops a shard.
//!
//! Promises: one event is one line, whatever a client put into it; what a client sent is shown
//! through `Printable`, and control octets that slip past it are escaped all the same.
//! Not here: the transfer log (`xferlog`).

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt as text, reload};

use crate::limits::LOG_LINE_BYTES_MAX;
use crate::lines::{Lines, misleads};
use crate::problem::Problem;

/// What the client sent, for people: quoted strings stay quoted, one line stays one line.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => write!(f, "\\{character}")?,
                    // A value must not look like several fields: people and programs search for those.
                    ' ' | '=' => write!(f, "\\x{:02x}", u32::from(character))?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    _ if character.is_ascii_control() => {
                        write!(f, "\\x{:02x}", u32::from(character))?;
                    }
                    _ if misleads(character) => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                    _ => f.write_char(character)?,
                }
            }
            for octet in chunk.invalid() {
                write!(f, "\\x{octet:02x}")?;
            }
        }
        Ok(())
    }
}

/// The fields of an event as text: `name=value`, quoted where a value has blanks, or could be taken for quoted or for
/// more than one field. Strings are quoted always.
#[derive(Debug)]
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut shown = Shown { writer, any: false, outcome: Ok(()) };
        fields.record(&mut shown);
        shown.outcome
    }
}

struct Shown<'w> {
    writer: Writer<'w>,
    any: bool,
    outcome: fmt::Result,
}

impl Shown<'_> {
    fn field(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let separator = if std::mem::replace(&mut self.any, true) { " " } else { "" };
        let written = match name.strip_prefix("r#").unwrap_or(name) {
            "message" => write!(self.writer, "{separator}{value}"),
            name => write!(self.writer, "{separator}{name}={value}"),
        };
        self.outcome = self.outcome.and(written);
    }
}

impl Visit for Shown<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.field("message", format_args!("{value}"));
        } else {
            self.field(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let one = !text.starts_with('"') && !text.contains(|c: char| c.is_whitespace() || c == '=');
        if one || field.name() == "message" {
            self.field(field.name(), format_args!("{text}"));
        } else {
            self.field(field.name(), format_args!("{text:?}"));
        }
    }
}

/// Flushes the log when dropped.
#[derive(Debug)]
#[must_use = "the last lines are written when this is dropped"]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        flush();
    }
}

struct Running {
    lines: Lines,
    level: reload::Handle<LevelFilter, Registry>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Starts the log of this process; once. `level` as in `[log] level`.
pub fn start(level: &str, json: bool) -> Result<Guard, Problem> {
    let cannot =
        |why: String| Problem::new("log", why, "this is the process's own fault: please report it");
    let lines = Lines::to_stderr("log");
    let (filter, handle) = reload::Layer::new(level_of(level));
    // The resolver library calls what strangers answer an error: each such answer would be a line.
    let filter = filter.and(filter_fn(|event| !event.target().starts_with("hickory")));
    let events = if json {
        text::layer()
            .json()
            .flatten_event(true)
            .with_writer(Maker(lines.clone()))
            .with_filter(filter)
            .boxed()
    } else {
        text::layer()
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(Fields)
            .with_writer(Maker(lines.clone()))
            .with_filter(filter)
            .boxed()
    };
    tracing::subscriber::set_global_default(Registry::default().with(events))
        .map_err(|error| cannot(error.to_string()))?;
    if RUNNING.set(Running { lines, level: handle }).is_err() {
        return Err(cannot("started twice".to_owned()));
    }
    Ok(Guard(()))
}

/// Starts the thread that writes, once the process is the user it stays.
pub fn begin() {
    if let Some(running) = RUNNING.get()
        && let Err(error) = running.lines.begin()
    {
        tracing::error!(%error, "no thread for the log");
    }
}

/// Changes the level of a running log (reload).
pub fn set_level(level: &str) {
    if let Some(running) = RUNNING.get()
        && let Err(error) = running.level.modify(|filter| *filter = level_of(level))
    {
        tracing::warn!(%error, "log level unchanged");
    }
}

/// Waits until what was logged is written.
pub fn flush() {
    if let Some(running) = RUNNING.get()
        && running.lines.flush().is_err()
    {
        // Standard error is gone or stuck; there is nobody to tell.
    }
}

/// Lines dropped because standard error was too slow.
pub fn dropped() -> Option<Arc<AtomicU64>> {
    RUNNING.get().map(|running| running.lines.dropped())
}

fn level_of(name: &str) -> LevelFilter {
    name.parse().unwrap_or(LevelFilter::INFO)
}

/// Hands each formatted event to the thread.
struct Maker(Lines);

impl<'a> MakeWriter<'a> for Maker {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { lines: self.0.clone(), text: Vec::new() }
    }
}

/// One event being formatted.
struct Event {
    lines: Lines,
    text: Vec<u8>,
}

impl io::Write for Event {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.lines.submit(one_line(&self.text));
        }
    }
}

/// Escapes whatever control octet is left, cuts what is too long, ends with one newline.
fn one_line(text: &[u8]) -> Vec<u8> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let kept = text.get(..LOG_LINE_BYTES_MAX).unwrap_or(text);
    let mut line = Vec::with_capacity(kept.len() + 16);
    for &octet in kept {
        match octet {
            b'\n' => line.extend_from_slice(b"\\n"),
            0..=0x1f | 0x7f => line.extend_from_slice(format!("\\x{octet:02x}").as_bytes()),
            _ => line.push(octet),
        }
    }
    if kept.len() < text.len() {
        line.extend_from_slice("…".as_bytes());
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_shows_everything_on_one_line() {
        let shown = Printable(b"USER \"a\"\\\r\n\x1b[2J\xff\xc3\xa4\t\x00\x7f").to_string();
        assert_eq!(shown, "USER\\x20\\\"a\\\"\\\\\\r\\n\\x1b[2J\\xffä\\t\\x00\\x7f");
        // No value looks like another field.
        assert_eq!(Printable(b"x peer=9.9.9.9").to_string(), "x\\x20peer\\x3d9.9.9.9");
        assert_eq!(
            Printable("a\u{202e}b\u{85}\u{2028}".as_bytes()).to_string(),
            "a\\u{202e}b\\u{85}\\u{2028}"
        );
    }

    #[test]
    fn printable_never_breaks_a_line() {
        for octet in 0..=255_u8 {
            let shown = Printable(&[b'a', octet, b'b']).to_string();
            assert!(!shown.chars().any(char::is_control), "{octet}: {shown:?}");
        }
    }

    #[test]
    fn a_value_is_one_word_or_quoted() {
        #[derive(Clone, Default)]
        struct Kept(Arc<std::sync::Mutex<Vec<u8>>>);
        impl io::Write for Kept {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(octets);
                Ok(octets.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = text::layer()
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .fmt_fields(Fields)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let error = io::Error::other("no route to \"x\" peer=9.9.9.9");
            let forged = "\"ok\" id=1";
            tracing::info!(id = 7, %error, "it failed");
            tracing::info!(how = "smtp PLAIN", why = %"plain", forged = %forged, empty = %"");
            tracing::info!(r#type = ?Some(1), from = %Printable(b"a b=\"c\""), "{} {}", "two", "words");
        });
        let said = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                r#"INFO it failed id=7 error="no route to \"x\" peer=9.9.9.9""#,
                r#"INFO how="smtp PLAIN" why=plain forged="\"ok\" id=1" empty="#,
                r#"INFO two words type=Some(1) from=a\x20b\x3d\"c\""#,
            ]
        );
    }

    #[test]
    fn an_event_is_one_bounded_line() {
        assert_eq!(one_line(b"a\nb\x1b\n"), b"a\\nb\\x1b\n");
        let long = one_line(&vec![b'x'; LOG_LINE_BYTES_MAX * 2]);
        assert_eq!(long.len(), LOG_LINE_BYTES_MAX + "…\n".len());
    }

    #[test]
    fn every_configured_level_is_a_filter() {
        for (name, filter) in [
            ("off", LevelFilter::OFF),
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("trace", LevelFilter::TRACE),
        ] {
            assert_eq!(level_of(name), filter);
        }
    }
}
