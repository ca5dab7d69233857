//! metrics::mail_text – names, help and encoding of what mail counts.

use std::fmt::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::mail::{
    BATCH_MESSAGES, DELIVERIES, Histogram, LATENCY_MICROS, LOGINS, MILTERS, Mail, REASONS,
    RECEIVED, REPORTS,
};
use super::text::{Page, counter};
use super::{Count, Metrics};

pub(super) fn mail(page: &mut Page<'_, '_>) -> Result<(), Error> {
    totals(page)?;
    times(page)?;
    queue(page)
}

fn totals(page: &mut Page<'_, '_>) -> Result<(), Error> {
    table(
        page,
        "smtp_messages",
        "Messages by how their reception ended",
        ("result", &RECEIVED),
        Mail::message,
    )?;
    table(
        page,
        "smtp_refusals",
        "Commands and clients refused",
        ("reason", &REASONS),
        Mail::refusal,
    )?;
    table(page, "smtp_logins", "AUTH by how it ended", ("result", &LOGINS), Mail::logins)?;
    table(
        page,
        "smtp_milters",
        "Messages and commands by what milters made of them",
        ("result", &MILTERS),
        Mail::milters,
    )?;
    table(
        page,
        "deliveries",
        "Attempts to deliver by how they ended",
        ("result", &DELIVERIES),
        Mail::delivery,
    )?;
    table(
        page,
        "smtp_reports",
        "Reports to senders, and those that were not sent because there were too many",
        ("result", &REPORTS),
        Mail::report,
    )?;
    let bytes = sum(page.metrics, |mail| &mail.bytes);
    let metric = page.encoder.encode_descriptor(
        "smtp_received",
        "Octets of accepted messages",
        Some(&Unit::Bytes),
        MetricType::Counter,
    )?;
    ConstCounter::new(bytes).encode(metric)
}

fn table<const N: usize>(
    page: &mut Page<'_, '_>,
    name: &str,
    help: &str,
    (label, values): (&str, &[&str; N]),
    pick: fn(&Mail, usize) -> u64,
) -> Result<(), Error> {
    let metrics = page.metrics;
    page.labelled(name, help, MetricType::Counter, |metric| {
        for (row, value) in values.iter().enumerate() {
            let total = metrics.shards.iter().map(|shard| pick(&shard.mail, row)).sum();
            counter(metric, [(label, *value)], total)?;
        }
        Ok(())
    })
}

fn times(page: &mut Page<'_, '_>) -> Result<(), Error> {
    let metrics = page.metrics;
    let metric = page.encoder.encode_descriptor(
        "smtp_commit",
        "From the end of a message to its being durable",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    histogram(metric, metrics, |mail| &mail.commits, (&LATENCY_MICROS, 1e6))?;
    let metric = page.encoder.encode_descriptor(
        "spool_batch_messages",
        "Messages that one write made durable",
        None,
        MetricType::Histogram,
    )?;
    histogram(metric, metrics, |mail| &mail.batches, (&BATCH_MESSAGES, 1.0))
}

#[allow(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
fn histogram<const N: usize>(
    mut metric: MetricEncoder<'_>,
    metrics: &Metrics,
    pick: fn(&Mail) -> &Histogram<N>,
    (bounds, scale): (&[u64; N], f64),
) -> Result<(), Error> {
    let mut counts = vec![0; N + 1];
    let total: u64 = metrics.shards.iter().map(|shard| pick(&shard.mail).read(&mut counts)).sum();
    let ends = bounds.iter().map(|bound| *bound as f64 / scale).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = ends.zip(counts.iter().copied()).collect();
    let all = counts.iter().sum();
    metric.encode_histogram::<NoLabelSet>(total as f64 / scale, all, &buckets, None)
}

fn queue(page: &mut Page<'_, '_>) -> Result<(), Error> {
    let metrics = page.metrics;
    page.gauge(
        "queue_messages",
        "Accepted messages not yet settled",
        sum(metrics, |mail| &mail.queue_messages),
    )?;
    let bytes = ConstGauge::new(super::text::signed(sum(metrics, |mail| &mail.queue_bytes)));
    let metric = page.encoder.encode_descriptor(
        "queue_size",
        "Octets of accepted messages not yet settled",
        Some(&Unit::Bytes),
        MetricType::Gauge,
    )?;
    bytes.encode(metric)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let times = metrics.shards.iter().map(|shard| shard.mail.queue_oldest.value());
    #[allow(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    let oldest = times.filter(|at| *at > 0).min().map_or(0.0, |at| (now - at as f64).max(0.0));
    let metric = page.encoder.encode_descriptor(
        "queue_oldest_age",
        "Age of the oldest message not yet settled",
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    ConstGauge::new(oldest).encode(metric)?;
    page.gauge("spool_segments", "Segments of the spool", sum(metrics, |mail| &mail.segments))?;
    page.gauge(
        "spool_segments_free",
        "Segments that are free",
        sum(metrics, |mail| &mail.segments_free),
    )?;
    page.gauge(
        "spool_segments_condemned",
        "Segments given up after a failed write",
        sum(metrics, |mail| &mail.condemned),
    )
}

fn sum(metrics: &Metrics, pick: fn(&Mail) -> &Count) -> u64 {
    metrics.shards.iter().map(|shard| pick(&shard.mail).value()).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Metrics;
    use super::super::mail::{Milter, Reason, Received};

    #[test]
    fn mail_is_added_up_over_the_shards() {
        let metrics = Metrics::new(2);
        let (one, two) = (&metrics.shard(0).mail, &metrics.shard(1).mail);
        one.accepted(1000, Duration::from_micros(100));
        two.accepted(24, Duration::from_millis(3));
        two.accepted(1, Duration::from_secs(60));
        two.received(Received::Aborted);
        one.refused(Reason::NoUser);
        one.milter(Milter::Changed);
        two.milter(Milter::Changed);
        one.show_deliveries([0, 0, 1, 0, 2]);
        two.show_reports([3, 1]);
        one.batches.observe(1);
        two.batches.observe(3);
        two.queue_messages.show(7);
        one.queue_messages.show(2);
        two.queue_oldest.show(1000);
        let text = metrics.render();
        for line in [
            "sluicegate_smtp_messages_total{result=\"accepted\"} 3\n",
            "sluicegate_smtp_messages_total{result=\"aborted\"} 1\n",
            "sluicegate_smtp_messages_total{result=\"refused\"} 0\n",
            "sluicegate_smtp_refusals_total{reason=\"no_user\"} 1\n",
            "sluicegate_smtp_milters_total{result=\"changed\"} 2\n",
            "sluicegate_smtp_received_bytes_total 1025\n",
            "sluicegate_smtp_commit_seconds_bucket{le=\"0.0001\"} 1\n",
            "sluicegate_smtp_commit_seconds_bucket{le=\"0.005\"} 2\n",
            "sluicegate_smtp_commit_seconds_bucket{le=\"10.0\"} 2\n",
            "sluicegate_smtp_commit_seconds_bucket{le=\"+Inf\"} 3\n",
            "sluicegate_smtp_commit_seconds_count 3\n",
            "sluicegate_smtp_commit_seconds_sum 60.0031\n",
            "sluicegate_spool_batch_messages_bucket{le=\"4.0\"} 2\n",
            "sluicegate_smtp_reports_total{result=\"sent\"} 3\n",
            "sluicegate_smtp_reports_total{result=\"limited\"} 1\n",
            "sluicegate_deliveries_total{result=\"deferred\"} 1\n",
            "sluicegate_deliveries_total{result=\"relayed\"} 2\n",
            "sluicegate_queue_messages 9\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        let age =
            text.lines().find_map(|line| line.strip_prefix("sluicegate_queue_oldest_age_seconds "));
        assert!(age.unwrap().parse::<f64>().unwrap() > 1.7e9);
        two.queue_oldest.show(0);
        assert!(metrics.render().contains("sluicegate_queue_oldest_age_seconds 0.0\n"));
    }
}
