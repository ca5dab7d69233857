//! report – what came of a generator's run, for a person and for programs.
//!
//! Reading order: `result` (everything that is told), `summary` (on the terminal), `live` (while it
//! runs), `files` (JSON, `.hgrm`, the time series), `html` and `plot` (the page), `capacity` (the search for
//! the rate that a server can bear).
//!
//! Promises: a run that ended early is reported as far as it went; percentiles come from merged
//! histograms; a generator that was late invalidates its run, visibly, in every form.
//! Not here: measuring (`engine`).

pub mod capacity;
pub mod files;
pub mod html;
pub mod live;
mod plot;
pub mod result;
pub mod summary;
pub mod units;
