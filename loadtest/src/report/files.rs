//! report::files – a run for programs: JSON, HdrHistogram percentiles, a table of seconds.
//!
//! Promises: `.hgrm` files are of the form that HdrHistogram's plotters read, values in milliseconds;
//! every file is written whole, or the error names it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;

use super::result::Outcome;
use crate::engine::recorder::Recording;

/// Lines per halving of the distance to 100 %.
const TICKS: u32 = 5;

/// The whole outcome as JSON; `-` is standard output.
pub fn json(outcome: &Outcome, path: &Path) -> Result<(), String> {
    let text = serde_json::to_string_pretty(outcome).map_err(|error| format!("JSON: {error}"))?;
    if path.as_os_str() == "-" {
        println!("{text}");
        return Ok(());
    }
    put(path, &text)
}

/// One file per distribution below `folder`; repeats in folders of their own.
pub fn hgrm(recordings: &[Recording], folder: &Path) -> Result<(), String> {
    for (index, recording) in recordings.iter().enumerate() {
        let folder = match recordings.len() {
            1 => folder.to_owned(),
            _ => folder.join(format!("repeat-{}", index + 1)),
        };
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let whole = [
            ("latency".to_owned(), &recording.latency),
            ("service".to_owned(), &recording.service),
            ("wait".to_owned(), &recording.wait),
            ("generator-lateness".to_owned(), &recording.lateness),
        ];
        let phases =
            recording.phases.iter().map(|one| (file_name("phase", one.name), &one.histogram));
        let kinds = recording.kinds.iter().map(|one| (file_name("kind", one.name), &one.histogram));
        for (name, histogram) in whole.into_iter().chain(phases).chain(kinds) {
            if !histogram.is_empty() {
                put(&folder.join(format!("{name}.hgrm")), &percentiles(histogram))?;
            }
        }
    }
    Ok(())
}

/// `phase` and `final dot → 250` as the name of a file.
fn file_name(what: &str, name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(what).chain(words).collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// A histogram of nanoseconds as HdrHistogram prints percentiles, in milliseconds.
pub fn percentiles(histogram: &Histogram<u64>) -> String {
    let ms = |nanoseconds: f64| nanoseconds / 1e6;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for step in histogram.iter_quantiles(TICKS) {
        let value = ms(step.value_iterated_to() as f64);
        let (quantile, total) = (step.quantile_iterated_to(), step.count_since_last_iteration());
        let below = histogram.count_between(0, step.value_iterated_to()).max(total);
        let _ = match quantile {
            quantile if quantile < 1.0 => writeln!(
                text,
                "{value:12.6} {quantile:2.12} {below:10} {:14.2}",
                1.0 / (1.0 - quantile)
            ),
            _ => writeln!(text, "{value:12.6} {quantile:2.12} {below:10} {:>14}", "inf"),
        };
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]",
        ms(histogram.mean()),
        ms(histogram.stdev())
    );
    let _ = writeln!(
        text,
        "#[Max     = {:12.6}, Total count    = {:12}]",
        ms(histogram.max() as f64),
        histogram.len()
    );
    let _ = writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        histogram.distinct_values()
    );
    text
}

/// Every second of every repeat as comma-separated values.
pub fn series(outcome: &Outcome, path: &Path) -> Result<(), String> {
    put(path, &table(outcome))
}

fn table(outcome: &Outcome) -> String {
    let mut text = String::from(
        "repeat,second,warm_up,scheduled,done,failed,received,sent,backlog,busy,p50_us,p99_us,max_us\n",
    );
    for (index, repeat) in outcome.repeats.iter().enumerate() {
        for one in &repeat.series {
            let _ = writeln!(
                text,
                "{},{},{},{},{},{},{},{},{},{},{},{},{}",
                index + 1,
                one.second,
                u8::from(one.warm_up),
                one.scheduled,
                one.done,
                one.failed,
                one.received,
                one.sent,
                one.backlog,
                one.busy,
                one.p50_us,
                one.p99_us,
                one.max_us
            );
        }
    }
    text
}

/// Writes a file, or says which could not be written.
pub fn put(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::engine::plan::Plan;
    use crate::engine::recorder::record;
    use crate::machine::Machine;
    use crate::run::About;

    /// A recording of a server with a long tail, and of an error whose text is hostile.
    pub fn recording() -> Recording {
        let mut recording = Recording::new(&["connect", "first byte"], &["RETR", "STOR"]);
        for number in 1..=10_000_u64 {
            let ns = 200_000 + number * number * number / 5_000;
            for histogram in [&mut recording.latency, &mut recording.service] {
                record(histogram, ns);
            }
            record(&mut recording.wait, number);
            record(&mut recording.lateness, 50_000);
            record(&mut recording.phases[0].histogram, ns / 10);
            record(&mut recording.phases[1].histogram, ns / 2);
            record(&mut recording.kinds[(number % 2) as usize].histogram, ns);
            let second = recording.second((number / 1000) as usize);
            second.done += 1;
            second.scheduled += 1;
            second.received += 16_384;
            record(&mut second.latency_us, ns / 1000);
        }
        recording.error("login: <530>".into(), 12);
        (recording.scheduled, recording.done, recording.failed) = (10_012, 10_000, 12);
        recording.received = 163_840_000;
        recording.measured = std::time::Duration::from_secs(10);
        recording.cpu = std::time::Duration::from_secs(2);
        recording.wall = std::time::Duration::from_secs(20);
        recording
    }

    /// What is told of it.
    pub fn outcome(recordings: &[Recording]) -> Outcome {
        let about = About {
            protocol: "ftp",
            target: "ftp://127.0.0.1:2121/".into(),
            settings: vec![("mix", "RETR 8, STOR 1".into())],
        };
        let load = crate::engine::plan::Load::Open {
            rate: 1000.0,
            arrivals: crate::engine::plan::Arrivals::Poisson,
        };
        let plan = Plan { load, ..Plan::small() };
        Outcome::new(&about, &plan, Machine::read(), recordings, None)
    }

    #[test]
    fn hgrm_is_what_plotters_read() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for ms in 1..=100_u64 {
            histogram.record(ms * 1_000_000).unwrap();
        }
        let text = percentiles(&histogram);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.iter().all(|row| row.len() == 4));
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((49.9..50.2).contains(&median[0]) && median[2] == 50.0, "{median:?}");
        let last = rows.last().unwrap();
        assert!((99.9..100.2).contains(&last[0]), "{last:?}");
        assert_eq!((last[1], last[2], last[3]), (1.0, 100.0, f64::INFINITY));
        assert!(text.contains("Total count    =          100]"), "{text}");
    }

    #[test]
    fn every_distribution_has_a_file() {
        let folder = std::env::temp_dir().join(format!("loadtest-hgrm-{}", std::process::id()));
        hgrm(&[recording(), recording()], &folder).unwrap();
        let mut names: Vec<String> = fs::read_dir(folder.join("repeat-2"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        fs::remove_dir_all(&folder).unwrap();
        let expected = [
            "generator-lateness.hgrm",
            "kind-retr.hgrm",
            "kind-stor.hgrm",
            "latency.hgrm",
            "phase-connect.hgrm",
            "phase-first-byte.hgrm",
            "service.hgrm",
            "wait.hgrm",
        ];
        assert_eq!(names, expected);
        assert_eq!(file_name("phase", "final dot → 250"), "phase-final-dot-250");
    }

    #[test]
    fn the_series_has_a_line_per_second() {
        let table = table(&outcome(&[recording(), recording()]));
        assert_eq!(table.lines().count(), 1 + 2 * 11);
        let width = table.lines().next().unwrap().split(',').count();
        assert!(table.lines().all(|line| line.split(',').count() == width));
    }

    #[test]
    fn json_tells_the_figures() {
        let outcome = outcome(&[recording()]);
        let json: serde_json::Value =
            serde_json::from_str(&serde_json::to_string(&outcome).unwrap()).unwrap();
        assert_eq!(json["repeats"][0]["errors"]["login: <530>"], 12);
        assert_eq!(json["repeats"][0]["achieved_rate"], 1000.0);
        assert_eq!(json["repeats"][0]["phases"][1]["name"], "first byte");
        assert_eq!(json["load"]["loop"], "open");
        assert_eq!(json["valid"], true);
        assert!(json["repeats"][0]["latency"]["p99_us"].as_f64().unwrap() > 1e5);
    }
}
