//! metrics::tls – what handshakes count.
//!
//! Not here: when something is counted (`server::link`).

use std::fmt::Error;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::Count;
use super::text::{Page, counter};

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// No TLS, or TLS against the rules.
    Protocol,
    /// No version, cipher or protocol in common.
    NothingInCommon,
    /// The client sent an alert: it does not trust the certificate, mostly.
    Alert,
    /// The client went away.
    Gone,
    /// It took too long.
    Late,
    /// Octets came in clear behind the request for TLS.
    Injected,
}

const VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];
const RESUMED: [&str; 2] = ["no", "yes"];
/// In the order of [`Failed`].
const REASONS: [&str; 6] = ["protocol", "nothing_in_common", "alert", "gone", "late", "injected"];

/// Handshakes of one shard.
#[derive(Debug, Default)]
pub struct Tls {
    done: [[Count; 2]; 2],
    failed: [Count; 6],
}

impl Tls {
    /// A handshake was done.
    pub fn done(&self, version: &str, resumed: bool) {
        let row = VERSIONS.iter().position(|name| *name == version);
        if let Some(count) = row.and_then(|row| self.done[row].get(usize::from(resumed))) {
            count.increment();
        }
    }

    /// A handshake came to nothing.
    pub fn failed(&self, why: Failed) {
        if let Some(count) = self.failed.get(why as usize) {
            count.increment();
        }
    }
}

pub(super) fn page(page: &mut Page<'_, '_>) -> Result<(), Error> {
    let metrics = page.metrics;
    page.labelled("tls_handshakes", "TLS handshakes done", MetricType::Counter, |metric| {
        for (row, version) in VERSIONS.iter().enumerate() {
            for (column, resumed) in RESUMED.iter().enumerate() {
                let total = metrics.sum(|counters| &counters.tls.done[row][column]);
                counter(metric, [("version", *version), ("resumed", *resumed)], total)?;
            }
        }
        Ok(())
    })?;
    page.labelled(
        "tls_handshakes_failed",
        "TLS handshakes that came to nothing",
        MetricType::Counter,
        |metric| {
            for (index, reason) in REASONS.iter().enumerate() {
                let total = metrics.sum(|counters| &counters.tls.failed[index]);
                counter(metric, [("reason", *reason)], total)?;
            }
            Ok(())
        },
    )?;
    let Some(expiry) = metrics.certificate_expiry() else { return Ok(()) };
    page.encoder
        .encode_descriptor(
            "tls_certificate_expiry",
            "When the first of the certificates expires, since the epoch",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )
        .and_then(|metric| ConstGauge::new(expiry).encode(metric))
}
