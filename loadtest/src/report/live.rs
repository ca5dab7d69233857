//! report::live – what is seen while a run lasts: progress, rate, latencies, errors.
//!
//! Promises: silent unless standard error is a terminal; costs the generator's threads nothing, for it
//! lives on a thread of its own and hears of each second once.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::units::{count, rate, time};
use crate::engine::Tick;
use crate::engine::recorder::Second;

/// How often the bar moves.
const REDRAW: Duration = Duration::from_millis(200);

/// A view of one repeat; ends when all senders are dropped.
pub struct Live {
    thread: JoinHandle<()>,
}

/// What the ticks have told so far.
#[derive(Default)]
struct Heard {
    seconds: BTreeMap<usize, Second>,
    failed: u64,
}

impl Live {
    /// A view titled `title` of a run that lasts about `duration`.
    pub fn start(title: &str, duration: Duration, quiet: bool) -> (Self, Sender<Tick>) {
        let (sender, ticks) = mpsc::channel::<Tick>();
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(duration.as_millis() as u64), target);
        let style =
            ProgressStyle::with_template("{prefix} [{bar:24.cyan/blue}] {elapsed}  {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(title.to_owned());
        let begin = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut heard = Heard::default();
            loop {
                match ticks.recv_timeout(REDRAW) {
                    Ok(tick) => {
                        heard.take(tick);
                        bar.set_message(heard.line());
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                }
                bar.set_position(begin.elapsed().as_millis() as u64);
            }
            bar.finish_and_clear();
        });
        (Self { thread }, sender)
    }

    /// Waits for the end of the view.
    pub fn end(self) {
        // A view that panicked takes nothing with it.
        let _ = self.thread.join();
    }
}

impl Heard {
    fn take(&mut self, tick: Tick) {
        self.failed += tick.figures.failed;
        match self.seconds.entry(tick.second) {
            std::collections::btree_map::Entry::Occupied(mut second) => {
                second.get_mut().merge(&tick.figures);
            }
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(tick.figures)),
        }
        // Threads are at most a moment apart; older seconds will not change.
        while self.seconds.len() > 3 {
            self.seconds.pop_first();
        }
    }

    /// The newest second that is whole, or the newest.
    fn line(&self) -> String {
        let mut newest = self.seconds.values().rev();
        let Some(second) = newest.next().map(|last| newest.next().unwrap_or(last)) else {
            return String::new();
        };
        let at = |quantile| time(second.latency_us.value_at_quantile(quantile) as f64);
        let mut line = format!("{}/s  p50 {}  p99 {}", rate(second.done as f64), at(0.5), at(0.99));
        if second.backlog > 0 {
            line.push_str(&format!("  backlog {}", count(second.backlog)));
        }
        line.push_str(&format!("  {} errors", count(self.failed)));
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::recorder::Recording;

    fn tick(second: usize, done: u64, failed: u64) -> Tick {
        let mut recording = Recording::new(&[], &[]);
        let figures = recording.second(0);
        (figures.done, figures.failed) = (done, failed);
        figures.latency_us.record(1500).unwrap();
        Tick { second, figures: figures.clone() }
    }

    #[test]
    fn threads_are_added_up_and_the_whole_second_is_shown() {
        let mut heard = Heard::default();
        assert_eq!(heard.line(), "");
        for one in [tick(0, 100, 1), tick(0, 50, 0), tick(1, 7, 2)] {
            heard.take(one);
        }
        assert_eq!(heard.line(), "150/s  p50 1.50 ms  p99 1.50 ms  3 errors");
    }

    #[test]
    fn ends_with_its_senders() {
        let (live, sender) = Live::start("test", Duration::from_secs(1), true);
        sender.send(tick(0, 1, 0)).unwrap();
        drop(sender);
        live.end();
    }
}
