//! metrics::names – what looking up names counts: questions by where their answers came from, and answers.
//!
//! Not here: when something is counted (`server::resolver`).

use std::fmt::Error;

use prometheus_client::metrics::MetricType;

use super::Count;
use super::text::{Page, counter};

/// Where the answer to a question came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was kept.
    Cache,
    /// The same question was under way.
    Joined,
    /// A resolver was asked.
    Asked,
}

/// What resolvers answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// Records.
    Found,
    /// No records of this kind.
    Nothing,
    /// No such name.
    NoName,
    /// Nobody knew.
    Failed,
}

/// Labels, in the order of the enumerations.
const SOURCES: [&str; 3] = ["cache", "joined", "asked"];
const RESULTS: [&str; 4] = ["found", "no_records", "no_name", "failed"];

/// What one shard counts about names.
#[derive(Debug, Default)]
pub struct Names {
    /// Answers that are kept at this moment.
    pub cached: Count,
    questions: [Count; 3],
    answers: [Count; 4],
}

impl Names {
    /// A question was put.
    pub fn question(&self, source: Source) {
        if let Some(count) = self.questions.get(source as usize) {
            count.increment();
        }
    }

    /// A resolver answered, or did not.
    pub fn answer(&self, result: Result) {
        if let Some(count) = self.answers.get(result as usize) {
            count.increment();
        }
    }
}

pub(super) fn page(page: &mut Page<'_, '_>) -> std::result::Result<(), Error> {
    let metrics = page.metrics;
    page.labelled(
        "dns_questions",
        "Questions about names by where the answer came from",
        MetricType::Counter,
        |metric| {
            for (row, source) in SOURCES.iter().enumerate() {
                let total = metrics.sum(|counters| &counters.names.questions[row]);
                counter(metric, [("source", *source)], total)?;
            }
            Ok(())
        },
    )?;
    page.labelled("dns_answers", "Answers of resolvers", MetricType::Counter, |metric| {
        for (row, result) in RESULTS.iter().enumerate() {
            let total = metrics.sum(|counters| &counters.names.answers[row]);
            counter(metric, [("result", *result)], total)?;
        }
        Ok(())
    })?;
    let cached = metrics.sum(|counters| &counters.names.cached);
    page.gauge("dns_cache_entries", "Answers of resolvers that are kept", cached)
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn questions_are_added_up_over_the_shards() {
        let metrics = Metrics::new(2);
        let (one, two) = (&metrics.shard(0).names, &metrics.shard(1).names);
        one.question(Source::Cache);
        two.question(Source::Cache);
        two.question(Source::Asked);
        two.answer(Result::NoName);
        one.answer(Result::Failed);
        one.cached.show(3);
        two.cached.show(4);
        let text = metrics.render();
        for line in [
            "sluicegate_dns_questions_total{source=\"cache\"} 2\n",
            "sluicegate_dns_questions_total{source=\"joined\"} 0\n",
            "sluicegate_dns_questions_total{source=\"asked\"} 1\n",
            "sluicegate_dns_answers_total{result=\"found\"} 0\n",
            "sluicegate_dns_answers_total{result=\"no_records\"} 0\n",
            "sluicegate_dns_answers_total{result=\"no_name\"} 1\n",
            "sluicegate_dns_answers_total{result=\"failed\"} 1\n",
            "sluicegate_dns_cache_entries 7\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
