//! What the benches of the cores share: a list of paths, measured by criterion or counted by valgrind.
//!
//! `--count` names each path and runs it once inside [`between_the_marks`], which `benches/instructions` watches.
//! Anything else goes to criterion.
#![allow(clippy::print_stdout, reason = "the names are what it is run for")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};

/// A piece of work whose answer was looked at when it was made.
pub(crate) struct Path {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) throughput: Throughput,
    /// Worth a line in the baseline of instructions.
    pub(crate) hot: bool,
    pub(crate) run: Box<dyn FnMut()>,
}

impl Path {
    pub(crate) fn new(
        group: impl Into<String>,
        name: impl Into<String>,
        throughput: Throughput,
        run: impl FnMut() + 'static,
    ) -> Self {
        Self { group: group.into(), name: name.into(), throughput, hot: true, run: Box::new(run) }
    }
}

/// A second for each: what differs by less than the machine's noise is counted in instructions.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// Does what the command line asks for.
pub(crate) fn main(mut paths: Vec<Path>) {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    if asked("--count") {
        for path in paths.iter_mut().filter(|path| path.hot) {
            println!("{}/{}", path.group, path.name);
            // The second time: nothing is allocated or looked up for the first time.
            (path.run)();
            between_the_marks(&mut *path.run);
        }
        return;
    }
    let mut criterion = criterion();
    for path in &mut paths {
        let mut group = criterion.benchmark_group(&path.group);
        group.throughput(path.throughput.clone());
        group.bench_function(&path.name, |bencher| bencher.iter(&mut path.run));
        group.finish();
    }
    criterion.final_summary();
}

/// Between its first and its last instruction valgrind counts.
#[inline(never)]
fn between_the_marks(run: &mut dyn FnMut()) {
    let mark = black_box(1);
    run();
    // Something to do after it, or it would be a jump, and this function never be returned from.
    black_box(mark);
}
