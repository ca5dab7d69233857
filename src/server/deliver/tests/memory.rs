//! What a message costs that waits, counted as it is allocated, in a process that does nothing else.
//!
//! The simulated disk is in memory, too: what counts is what goes when deliveries and spool do.

use std::alloc::System;
use std::process::Command;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use super::onward::{Mood, Sent, moods, onward_policy, open};
use super::*;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: u64 = 2000;
const DESTINATIONS: u64 = 20;
/// Of which each destination has its own part.
const BYTES_PER_MESSAGE: usize = 256;

/// Runs this test again, alone in a process. True in that process.
fn alone(test: &str) -> bool {
    const CHILD: &str = "SLUICEGATE_ALONE";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test]).env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    false
}

/// Octets that go when the place does, for each message.
fn held(sim: &Sim, place: Place) -> usize {
    let region = Region::new(ALLOCATOR);
    sim.run(place.close());
    sim.pass(Duration::from_secs(5));
    let change = region.change();
    let (gone, come) = (change.bytes_deallocated, change.bytes_allocated);
    gone.saturating_sub(come) / usize::try_from(MESSAGES).unwrap()
}

#[test]
fn a_message_that_waits_costs_little_whatever_its_envelope_holds() {
    let test = "server::deliver::tests::memory::a_message_that_waits_costs_little_whatever_its_envelope_holds";
    if !alone(test) {
        return;
    }
    let sim = boot(1);
    let names: Vec<String> = (0..DESTINATIONS).map(|number| format!("d{number}.example")).collect();
    let busy: Vec<(&str, Mood)> = names.iter().map(|name| (name.as_str(), Mood::Busy)).collect();
    let (moods, sent) = (moods(&busy), Sent::default());
    let policy = || {
        let later = 1 << 20;
        let relay = Relay {
            retry_first_seconds: later,
            retry_seconds_max: later,
            give_up_seconds: 1 << 24,
            ..relay()
        };
        Policy { relay, ..onward_policy() }
    };
    let place = sim.run(async {
        let place = open(policy(), &moods, &sent).await;
        for number in 0..MESSAGES {
            // Envelopes that are longer than what may be kept of them.
            let to = format!("{number}{}@d{}.example", "u".repeat(50), number % DESTINATIONS);
            let mut envelope = envelope("me", &[&to]);
            envelope.helo = "h".repeat(BYTES_PER_MESSAGE);
            place.post(envelope, &text(number, 100)).await.unwrap();
        }
        while place.deliveries.figures().deferred < MESSAGES {
            pause(10).await;
        }
        place
    });
    let running = held(&sim, place);
    let place = sim.run(async {
        let place = open(policy(), &moods, &sent).await;
        assert_eq!(place.deliveries.figures().deferred, MESSAGES);
        place
    });
    let started = held(&sim, place);
    for (bytes, when) in [(running, "when all were tried"), (started, "after a start")] {
        assert!((50..=BYTES_PER_MESSAGE).contains(&bytes), "{bytes} octets a message {when}");
    }
}
