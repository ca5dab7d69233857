//! run – carries out the repeats of a generator's run, or the search for a capacity, and reports them.
//!
//! Promises: what was measured is reported and written even if the run ended early or one of the files
//! cannot be written; nothing succeeded means an exit status that says so.
//! Not here: measuring (`engine`), the forms of a report (`report`).

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::engine;
use crate::engine::plan::{Load, Plan};
use crate::engine::recorder::Recording;
use crate::engine::session::Protocol;
use crate::machine::Machine;
use crate::options::LoadOptions;
use crate::report::capacity::{Capacity, CapacityOptions, Verdict};
use crate::report::live::Live;
use crate::report::result::{Outcome, Repeat};
use crate::report::{files, html, summary, units};
use crate::sys;

/// What to write, and where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Write everything as JSON (- for standard output, instead of the summary)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one self-contained page with plots
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Write each latency distribution in HdrHistogram's form (milliseconds) into this folder
    #[arg(long, value_name = "DIR")]
    pub hgrm: Option<PathBuf>,
    /// Write every second as comma-separated values
    #[arg(long, value_name = "FILE.csv")]
    pub series: Option<PathBuf>,
    /// No live view and no summary
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub capacity: CapacityOptions,
}

/// What the run was, for the report.
#[derive(Clone, Debug)]
pub struct About {
    /// `ftp` or `smtp`.
    pub protocol: &'static str,
    /// The URL as given, without its password.
    pub target: String,
    /// What the protocol's options came to, one line each: `("mix", "RETR 8, STOR 1")`.
    pub settings: Vec<(&'static str, String)>,
}

/// Runs every repeat with a protocol of its own and shows the result. The exit status is not 0 if
/// nothing succeeded.
pub fn run<P: Protocol>(
    load: &LoadOptions,
    output: &OutputOptions,
    about: &About,
    mut make: impl FnMut(usize) -> Result<Arc<P>, String>,
) -> Result<Vec<Recording>, String> {
    let mut plan = load.plan()?;
    output.capacity.check()?;
    sys::catch_interrupts();
    sys::raise_descriptor_limit().map_err(|error| format!("descriptor limit: {error}"))?;
    let machine = Machine::read();
    let mut recordings = Vec::new();
    let mut capacity = None;
    if output.capacity.find_capacity {
        let found = search(output, &plan, &mut make, &mut recordings)?;
        (plan, capacity) = (step_plan(&plan, &output.capacity, found.knee), Some(found));
    } else {
        for repeat in 0..load.repeats.get() {
            let title = match load.repeats.get() {
                1 => about.protocol.to_owned(),
                all => format!("{} {}/{all}", about.protocol, repeat + 1),
            };
            recordings.push(once(&make(repeat)?, &plan, &title, output.quiet)?);
            if sys::interrupted() {
                break;
            }
        }
    }
    let outcome = Outcome::new(about, &plan, machine, &recordings, capacity);
    write(output, &outcome, &recordings)?;
    if recordings.iter().all(|one| one.done == 0) {
        return Err(format!(
            "{}: no operation succeeded{}",
            about.target,
            first_error(&recordings)
        ));
    }
    Ok(recordings)
}

/// One run of `plan` with its live view.
fn once<P: Protocol>(
    protocol: &Arc<P>,
    plan: &Plan,
    title: &str,
    quiet: bool,
) -> Result<Recording, String> {
    let (live, ticks) = Live::start(title, plan.duration, quiet);
    let recording = engine::run(protocol, plan, Some(ticks));
    live.end();
    recording
}

/// The plan of one step of a search.
fn step_plan(plan: &Plan, options: &CapacityOptions, rate: Option<f64>) -> Plan {
    let load = match (plan.load, rate) {
        (Load::Open { arrivals, .. }, Some(rate)) => Load::Open { rate, arrivals },
        (load, _) => load,
    };
    let (duration, warm_up) = (options.step, options.step / 5);
    Plan { load, duration, warm_up, count: None, ..plan.clone() }
}

/// Searches the capacity; leaves the recording of the knee, or of the last step if nothing holds.
fn search<P: Protocol>(
    output: &OutputOptions,
    plan: &Plan,
    make: &mut impl FnMut(usize) -> Result<Arc<P>, String>,
    recordings: &mut Vec<Recording>,
) -> Result<Capacity, String> {
    let options = &output.capacity;
    let Load::Open { rate: start, .. } = plan.load else {
        return Err("--find-capacity searches with an open loop".into());
    };
    let (mut steps, mut best) = (0, None::<f64>);
    options.search(start, |rate| {
        if sys::interrupted() {
            return Ok(None);
        }
        let plan = step_plan(plan, options, Some(rate));
        let title = format!("{}/s", units::rate(rate));
        let recording = once(&make(steps)?, &plan, &title, output.quiet)?;
        steps += 1;
        if recording.partial.is_some() && sys::interrupted() {
            return Ok(None);
        }
        let step = options.judge(rate, &Repeat::new(&recording, &plan));
        let holds = step.verdict == Verdict::Holds;
        if best.is_none_or(|best| holds && rate > best) {
            *recordings = vec![recording];
        }
        if holds {
            best = Some(best.map_or(rate, |best| best.max(rate)));
        }
        Ok(Some(step))
    })
}

/// Everything that was asked for; the first file that fails is named after all others were tried.
fn write(
    output: &OutputOptions,
    outcome: &Outcome,
    recordings: &[Recording],
) -> Result<(), String> {
    let to_stdout = output.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if !output.quiet && !to_stdout {
        print!("{}", summary::text(outcome));
    }
    let json = output.json.as_ref().map(|path| files::json(outcome, path));
    let hgrm = output.hgrm.as_ref().map(|folder| files::hgrm(recordings, folder));
    let series = output.series.as_ref().map(|path| files::series(outcome, path));
    let page = || html::whole(outcome, recordings);
    let report = output.report.as_ref().map(|path| files::put(path, &page()));
    [json, hgrm, series, report].into_iter().flatten().collect()
}

/// What most often went wrong.
fn first_error(recordings: &[Recording]) -> String {
    let errors = recordings.iter().flat_map(|one| &one.errors);
    let most = errors.max_by_key(|(_, count)| **count);
    let partial = recordings.iter().find_map(|one| one.partial.clone());
    match (most, partial) {
        (Some((kind, count)), _) => format!(" ({kind}, {count} times)"),
        (None, Some(why)) => format!(" ({why})"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
