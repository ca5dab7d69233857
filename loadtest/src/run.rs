//! run – carries out the repeats of a generator's run and shows what came of them.

#![allow(dead_code, reason = "the generators are being built on it")]

use std::sync::Arc;

use clap::Args;

use crate::engine;
use crate::engine::recorder::Recording;
use crate::engine::session::Protocol;
use crate::options::LoadOptions;

/// What to write, and where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {}

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
    _output: &OutputOptions,
    about: &About,
    mut make: impl FnMut(usize) -> Result<Arc<P>, String>,
) -> Result<Vec<Recording>, String> {
    let plan = load.plan()?;
    let mut recordings = Vec::new();
    for repeat in 0..load.repeats.get() {
        let protocol = make(repeat)?;
        let recording = engine::run(&protocol, &plan, None)?;
        println!(
            "{} {}: {} done, {} failed, p50 {} ns, p99 {} ns, {:?}",
            about.protocol,
            about.target,
            recording.done,
            recording.failed,
            recording.latency.value_at_quantile(0.5),
            recording.latency.value_at_quantile(0.99),
            recording.errors
        );
        recordings.push(recording);
    }
    Ok(recordings)
}
