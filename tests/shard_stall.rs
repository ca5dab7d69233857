//! The sleep of glommio 0.9.0 with runnable tasks, provoked, and the heartbeat that bounds it.
//!
//! glommio's executor may go to sleep although a task is runnable when the preempt timer fired before
//! the first task queue was looked at. A preempt timer of 50 µs provokes it within a second. The
//! shard's answer is a timer that wakes the executor every few milliseconds; this test shows both: the
//! stall without it, and its bound with it. The day the stall no longer happens the heartbeat can go.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};
use sluicegate::shard::HEARTBEAT;

/// Runs a task that is always runnable; returns the longest time it made no progress, up to `watch`.
fn longest_gap(heartbeat: bool, watch: Duration) -> Duration {
    let turns = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (counted, stopped) = (Arc::clone(&turns), Arc::clone(&stop));
    let shard = std::thread::spawn(move || {
        let builder =
            LocalExecutorBuilder::new(Placement::Unbound).preempt_timer(Duration::from_micros(50));
        builder.make().unwrap().run(async move {
            let ended = Arc::clone(&stopped);
            if heartbeat {
                glommio::spawn_local(async move {
                    while !ended.load(Ordering::Relaxed) {
                        glommio::timer::sleep(HEARTBEAT).await;
                    }
                })
                .detach();
            }
            while !stopped.load(Ordering::Relaxed) {
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(20) {}
                counted.fetch_add(1, Ordering::Relaxed);
                glommio::executor().yield_if_needed().await;
            }
        });
    });
    let begin = Instant::now();
    let (mut last, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
    while begin.elapsed() < watch {
        std::thread::sleep(Duration::from_millis(1));
        let now = turns.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        longest = longest.max(since.elapsed());
        if !heartbeat && longest > Duration::from_secs(2) {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    // Not joined: an executor that sleeps for ever ends with the process.
    drop(shard);
    longest
}

#[test]
fn the_stall_is_real_and_the_heartbeat_bounds_it() {
    let without = longest_gap(false, Duration::from_secs(30));
    assert!(
        without > Duration::from_secs(2),
        "no stall within 30 s (longest gap {without:?}): is the heartbeat still needed?"
    );
    let with = longest_gap(true, Duration::from_secs(5));
    assert!(with < Duration::from_secs(1), "the heartbeat did not bound the stall: {with:?}");
}
