//! metrics::text – the names, their help, and their encoding.
//!
//! Promises: every label set is always there, at zero too, so that a rate can be taken from the
//! first scrape on. Not here: counting.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Count, Counters, Metrics, Protocol};

const REASONS: [&str; 5] = ["total", "address", "failures", "draining", "resources"];
const PROTOCOLS: [(&str, Protocol); 2] = [("ftp", Protocol::Ftp), ("smtp", Protocol::Smtp)];
const VERBS: [&str; 4] = ["retr", "stor", "appe", "list"];
const RESULTS: [&str; 3] = ["ok", "failed", "aborted"];

pub(super) fn render(metrics: &Arc<Metrics>) -> String {
    let mut registry = Registry::with_prefix("sluicegate");
    registry.register_collector(Box::new(Scrape(Arc::clone(metrics))));
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        // A String takes everything; an empty page makes the scrape fail visibly.
        text.clear();
    }
    text
}

#[derive(Debug)]
struct Scrape(Arc<Metrics>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let metrics = self.0.as_ref();
        let page = &mut Page { encoder: &mut encoder, metrics };
        process(page)?;
        sessions(page)?;
        transfers(page)?;
        super::mail_text::mail(page)?;
        super::names::page(page)?;
        super::tls::page(page)?;
        health(page)
    }
}

fn process(page: &mut Page<'_, '_>) -> Result<(), Error> {
    let started = page.metrics.started_at_seconds();
    page.labelled("build", "Version of the server", MetricType::Info, |metric| {
        metric.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    })?;
    page.encoder
        .encode_descriptor(
            "start_time",
            "When the server started, since the epoch",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )
        .and_then(|metric| ConstGauge::new(started).encode(metric))?;
    let ok = page.metrics.reload_ok.load(Ordering::Relaxed);
    page.gauge(
        "config_last_reload_successful",
        "1 unless the last reload of the configuration failed",
        u64::from(ok),
    )
}

fn sessions(page: &mut Page<'_, '_>) -> Result<(), Error> {
    let (connections, sessions) = (page.metrics.connections(), page.metrics.sessions());
    page.gauge("connections", "Connections open now", connections)?;
    let metrics = page.metrics;
    page.labelled("connections_opened", "Connections accepted", MetricType::Counter, |metric| {
        let all = metrics.sum(|counters| &counters.opened[0])
            + metrics.sum(|counters| &counters.opened[1]);
        metric.encode_counter::<NoLabelSet, _, u64>(&all, None)
    })?;
    page.labelled(
        "protocol_connections",
        "Connections open now, by what they speak",
        MetricType::Gauge,
        |metric| {
            for (name, protocol) in PROTOCOLS {
                gauge(metric, [("protocol", name)], metrics.connections_of(protocol))?;
            }
            Ok(())
        },
    )?;
    page.labelled(
        "protocol_connections_opened",
        "Connections accepted, by what they speak",
        MetricType::Counter,
        |metric| {
            for (name, protocol) in PROTOCOLS {
                let total = metrics.sum(|counters| &counters.opened[protocol as usize]);
                counter(metric, [("protocol", name)], total)?;
            }
            Ok(())
        },
    )?;
    page.labelled(
        "connections_refused",
        "Connections turned away",
        MetricType::Counter,
        |metric| {
            for (index, reason) in REASONS.iter().enumerate() {
                let total = metrics
                    .shards
                    .iter()
                    .filter_map(|counters| counters.refused.get(index))
                    .map(Count::value)
                    .sum();
                counter(metric, [("reason", *reason)], total)?;
            }
            Ok(())
        },
    )?;
    page.gauge("sessions", "Sessions logged in now", sessions)?;
    page.labelled("logins", "Attempts to log in", MetricType::Counter, |metric| {
        counter(metric, [("result", "ok")], metrics.sum(|counters| &counters.logins_ok))?;
        counter(metric, [("result", "failed")], metrics.sum(|counters| &counters.logins_failed))
    })?;
    page.counter("commands", "Commands received", None, |counters| &counters.commands)
}

fn transfers(page: &mut Page<'_, '_>) -> Result<(), Error> {
    let metrics = page.metrics;
    page.labelled("transfers", "Transfers that ended", MetricType::Counter, |metric| {
        for (row, verb) in VERBS.iter().enumerate() {
            for (column, result) in RESULTS.iter().enumerate() {
                let cell = |counters: &Counters| {
                    counters
                        .transfers
                        .get(row)
                        .and_then(|row| row.get(column))
                        .map_or(0, Count::value)
                };
                let total = metrics.shards.iter().map(cell).sum();
                counter(metric, [("verb", *verb), ("result", *result)], total)?;
            }
        }
        Ok(())
    })?;
    page.counter(
        "received",
        "Octets received on data connections",
        Some(&Unit::Bytes),
        |counters| &counters.bytes_in,
    )?;
    page.counter("sent", "Octets sent on data connections", Some(&Unit::Bytes), |counters| {
        &counters.bytes_out
    })?;
    page.labelled(
        "listing_cache",
        "Listings by where they came from",
        MetricType::Counter,
        |metric| {
            counter(metric, [("result", "hit")], metrics.sum(|counters| &counters.listing_hits))?;
            counter(metric, [("result", "miss")], metrics.sum(|counters| &counters.listing_misses))
        },
    )
}

fn health(page: &mut Page<'_, '_>) -> Result<(), Error> {
    let metrics = page.metrics;
    page.counter(
        "task_panics",
        "Tasks that panicked; each ended one connection",
        None,
        |counters| &counters.panics,
    )?;
    let mut ages = page.encoder.encode_descriptor(
        "shard_heartbeat_age",
        "Time since the shard last ran its timer",
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    for index in 0..metrics.shards.len() {
        let labels = [("shard", index.to_string())];
        let age = ConstGauge::new(metrics.beat_age(index).as_secs_f64());
        age.encode(ages.encode_family(&labels)?)?;
    }
    page.labelled(
        "log_lines_dropped",
        "Lines dropped because a log was too slow",
        MetricType::Counter,
        |metric| {
            let dropped = metrics.dropped.lock().unwrap_or_else(PoisonError::into_inner);
            for (log, lines) in dropped.iter() {
                counter(metric, [("log", *log)], lines.load(Ordering::Relaxed))?;
            }
            Ok(())
        },
    )
}

/// Where one scrape is written.
pub(super) struct Page<'p, 'e> {
    pub(super) encoder: &'p mut DescriptorEncoder<'e>,
    pub(super) metrics: &'p Metrics,
}

impl<'p> Page<'p, '_> {
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        pick: fn(&Counters) -> &Count,
    ) -> Result<(), Error> {
        let total = ConstCounter::new(self.metrics.sum(pick));
        total.encode(self.encoder.encode_descriptor(name, help, unit, MetricType::Counter)?)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let value = ConstGauge::new(signed(value));
        value.encode(self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    pub(super) fn labelled(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        write(&mut self.encoder.encode_descriptor(name, help, None, kind)?)
    }
}

pub(super) fn counter<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: [(&str, &str); N],
    total: u64,
) -> Result<(), Error> {
    ConstCounter::new(total).encode(metric.encode_family(&labels)?)
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn gauge<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: [(&str, &str); N],
    value: u64,
) -> Result<(), Error> {
    ConstGauge::new(signed(value)).encode(metric.encode_family(&labels)?)
}
