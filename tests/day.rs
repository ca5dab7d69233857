//! A day of mail to many servers, in virtual time: some are dead, some slow, and the others must not notice.
//!
//! A fiftieth of the whole by default, which takes seconds unoptimised; `DAY_MESSAGES=1000000
//! DAY_DESTINATIONS=10000 cargo test --release --test day -- --nocapture` is the whole. `DAY_SEED=N` is the
//! chance in it, which is printed. Memory is counted as it is allocated.
#![allow(clippy::print_stdout, reason = "the figures are what a run is for")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::alloc::System;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sluicegate::mail::schedule::{Ended, Job, Limits, Place, Rules, Schedule, Served};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const START: i64 = 1_700_000_000;
/// Half a day in which the messages come.
const COMING_SECONDS: i64 = 43_200;
const GIVE_UP_SECONDS: i64 = 432_000;
/// Destinations for one connection of the shard, half of which are for those not known to be quick.
const DESTINATIONS_PER_CONNECTION: u32 = 20;
const DEAD_ANSWER_SECONDS: i64 = 30;
/// What a message that waits, and a destination, may cost.
const BYTES_PER_MESSAGE: usize = 64;
const BYTES_PER_DESTINATION: usize = 2048;
/// The first attempt at a server that answers quickly, and at one that does not.
const FIRST_SECONDS_QUICK: i64 = 1200;
const FIRST_SECONDS_SLOW: i64 = 7200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Quick,
    Slow,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes(u32),
    /// A connection's message is over.
    Answers {
        connection: u32,
    },
}

/// A message: where to, when it came, how often it was tried, whether it is under way.
#[derive(Debug, Clone, Copy)]
struct Message {
    to: u32,
    came: i64,
    first: i64,
    due: i64,
    attempts: u16,
    running: bool,
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    job: Job,
    to: u32,
    sent: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Server {
    open: u32,
    /// Probes of a dead one: when the last failed, and how many there were.
    failed: i64,
    failures: u32,
}

struct Day {
    schedule: Schedule,
    now: i64,
    random: u64,
    names: Vec<String>,
    messages: Vec<Message>,
    servers: Vec<Server>,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    events: BinaryHeap<Reverse<(i64, Event)>>,
    left: usize,
    lapsed: usize,
    peak: (usize, usize),
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn kind(server: u32) -> Kind {
    match server % 20 {
        0 => Kind::Dead,
        10 => Kind::Slow,
        _ => Kind::Quick,
    }
}

/// As a queue id: the time, then the number.
fn id(message: usize, came: i64) -> u64 {
    (came.unsigned_abs() * 1000) << 22 | message as u64
}

impl Day {
    fn new(messages: usize, destinations: u32, seed: u64) -> Self {
        let most = (destinations / DESTINATIONS_PER_CONNECTION).max(2);
        let rules = Rules {
            retry_first_seconds: 300,
            retry_seconds: 1800,
            retry_seconds_max: 14_400,
            give_up_seconds: u32::try_from(GIVE_UP_SECONDS).unwrap(),
            connections_max: most,
            seed,
        };
        let empty =
            Message { to: 0, came: 0, first: 0, due: 0, attempts: 0, running: false, over: false };
        Self {
            schedule: Schedule::new(rules),
            now: START,
            random: seed,
            names: (0..destinations).map(|server| format!("mail{server}.example")).collect(),
            messages: vec![empty; messages],
            servers: vec![Server::default(); destinations as usize],
            connections: vec![None; most as usize],
            free: (0..most).rev().collect(),
            events: BinaryHeap::with_capacity(messages + most as usize),
            left: messages,
            lapsed: 0,
            peak: (0, 0),
        }
    }

    /// xorshift64*.
    fn chance(&mut self, below: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    fn run(&mut self, region: &Region<'_, System>) {
        for message in 0..self.messages.len() {
            let came = START + i64::try_from(self.chance(COMING_SECONDS.unsigned_abs())).unwrap();
            let to = u32::try_from(self.chance(self.servers.len() as u64)).unwrap();
            let known = &mut self.messages[message];
            (known.came, known.due, known.to) = (came, came, to);
            self.events.push(Reverse((came, Event::Comes(u32::try_from(message).unwrap()))));
        }
        let before = allocated(region);
        while self.left > 0 {
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let next = event.into_iter().chain(self.schedule.next_time()).min();
            self.now = self.now.max(next.expect("something happens while messages are left"));
            while let Some(Reverse((at, event))) = self.events.peek().copied() {
                if at > self.now {
                    break;
                }
                self.events.pop();
                match event {
                    Event::Comes(message) => self.comes(message as usize),
                    Event::Answers { connection } => self.answers(connection),
                }
            }
            while let Some(job) = self.schedule.next(self.now) {
                self.connect(job);
            }
            let bytes = allocated(region).saturating_sub(before);
            if bytes > self.peak.0 {
                self.peak = (bytes, usize::try_from(self.schedule.messages()).unwrap());
            }
            self.bounded(bytes);
        }
    }

    fn bounded(&self, bytes: usize) {
        let messages = usize::try_from(self.schedule.messages()).unwrap();
        let most = messages * BYTES_PER_MESSAGE + self.servers.len() * BYTES_PER_DESTINATION;
        assert!(bytes <= most, "{bytes} octets for {messages} messages");
    }

    fn comes(&mut self, message: usize) {
        let Message { to, came, .. } = self.messages[message];
        let limits = Limits { connections: 20, per_connection: 100, per_minute: 0 };
        let place = self.schedule.destination(&self.names[to as usize], limits);
        let sender = u32::try_from(message % 1000).unwrap();
        self.schedule.add(place, id(message, came), sender, came, self.now);
    }

    /// A message is on its way: was that right?
    fn given(&mut self, job: Job) -> u32 {
        let message = &mut self.messages[usize::try_from(job.id & 0x3F_FFFF).unwrap()];
        assert!(!message.running && !message.over, "twice");
        assert!(message.due <= self.now, "before its time");
        if message.attempts == 0 {
            message.first = self.now;
        }
        message.running = true;
        message.attempts += 1;
        message.to
    }

    fn connect(&mut self, job: Job) {
        let to = self.given(job);
        let server = &mut self.servers[to as usize];
        server.open += 1;
        assert!(server.open <= 20, "connections");
        if kind(to) == Kind::Dead && server.failures > 1 {
            assert_eq!(server.open, 1, "one tries it");
            // As configured: minutes, half an hour, twice as long, up to four hours and a quarter.
            let waited = self.now - server.failed;
            let least = [300, 1800, 3600, 7200, 14_400];
            let least = least[(server.failures as usize - 2).min(4)];
            assert!(waited >= least && waited <= least + least / 4 + 60, "{waited} {server:?}");
        }
        let connection = self.free.pop().expect("no more than allowed");
        self.connections[connection as usize] = Some(Connection { job, to, sent: 1 });
        self.send(connection, kind(to));
    }

    fn send(&mut self, connection: u32, kind: Kind) {
        let seconds = match kind {
            Kind::Quick => self.chance(3),
            Kind::Slow => 20 + self.chance(100),
            Kind::Dead => DEAD_ANSWER_SECONDS.unsigned_abs(),
        };
        let at = self.now + i64::try_from(seconds).unwrap();
        self.events.push(Reverse((at, Event::Answers { connection })));
    }

    fn answers(&mut self, connection: u32) {
        let Some(Connection { job, to, sent }) = self.connections[connection as usize] else {
            panic!("nobody asked")
        };
        let message = usize::try_from(job.id & 0x3F_FFFF).unwrap();
        let busy = kind(to) != Kind::Dead && self.chance(50) == 0;
        let known = &mut self.messages[message];
        known.running = false;
        let old = self.now - known.came >= GIVE_UP_SECONDS;
        if (busy || kind(to) == Kind::Dead) && !old {
            let pause = self.schedule.pause(job.id, known.attempts.into());
            known.due = self.now + pause;
            self.schedule.done(job, self.now, Served::Again(known.due));
        } else {
            let dead = kind(to) == Kind::Dead;
            let served = if dead { Served::Nothing } else { Served::Over };
            self.schedule.done(job, self.now, served);
            self.over(message);
        }
        if kind(to) == Kind::Dead {
            return self.fails(connection, job.place, to);
        }
        match self.schedule.next_for(job.place, sent, self.now) {
            Some(job) => {
                self.given(job);
                self.connections[connection as usize] =
                    Some(Connection { job, to, sent: sent + 1 });
                self.send(connection, kind(to));
            }
            None => self.close(connection, job.place, to, Ended::Fine),
        }
    }

    fn fails(&mut self, connection: u32, place: Place, to: u32) {
        let last = self.servers[to as usize].open == 1;
        self.close(connection, place, to, Ended::Unreachable("4.4.1 no answer".to_owned()));
        let server = &mut self.servers[to as usize];
        if last {
            (server.failed, server.failures) = (self.now, server.failures.max(1) + 1);
        }
        while let Some(lapsed) = self.schedule.lapsed() {
            let message = usize::try_from(lapsed.id & 0x3F_FFFF).unwrap();
            let known = self.messages[message];
            assert!(!known.running && self.now - known.came >= GIVE_UP_SECONDS);
            self.lapsed += 1;
            self.over(message);
        }
    }

    fn close(&mut self, connection: u32, place: Place, to: u32, ended: Ended) {
        self.schedule.close(place, self.now, ended);
        self.connections[connection as usize] = None;
        self.free.push(connection);
        self.servers[to as usize].open -= 1;
    }

    fn over(&mut self, message: usize) {
        let known = &mut self.messages[message];
        assert!(!known.over, "twice");
        known.over = true;
        self.left -= 1;
    }

    /// Seconds from coming to the first attempt, of one kind of server: the mean, and the most.
    fn first(&self, wanted: Kind) -> (i64, i64) {
        let of_kind = self.messages.iter().filter(|one| kind(one.to) == wanted && one.attempts > 0);
        let waits: Vec<i64> = of_kind.map(|one| one.first - one.came).collect();
        let sum: i64 = waits.iter().sum();
        (sum / i64::try_from(waits.len()).unwrap().max(1), waits.into_iter().max().unwrap_or(0))
    }
}

fn allocated(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

/// One after the other: memory is that of the process.
#[test]
fn a_day_of_mail() {
    what_waits_is_small();
    the_day();
}

/// A day, and as many more as the last message for a dead server takes.
fn the_day() {
    let messages = usize::try_from(number("DAY_MESSAGES", 20_000)).unwrap();
    let destinations = u32::try_from(number("DAY_DESTINATIONS", 400)).unwrap();
    let seed = number("DAY_SEED", 20_261_128).max(1);
    println!("{messages} messages to {destinations} destinations, DAY_SEED={seed}");
    let mut day = Day::new(messages, destinations, seed);
    let region = Region::new(ALLOCATOR);
    day.run(&region);
    for (kind, most) in [(Kind::Quick, FIRST_SECONDS_QUICK), (Kind::Slow, FIRST_SECONDS_SLOW)] {
        let (mean, worst) = day.first(kind);
        println!("{kind:?}: first attempt after {mean} s in the mean, {worst} s at worst");
        assert!(worst <= most, "{kind:?} starves: {worst} s");
    }
    let end = day.now - START;
    println!(
        "given up: {}; all over after {end} s; peak {:?} (octets, messages)",
        day.lapsed, day.peak
    );
    assert!(day.messages.iter().all(|one| one.over && !one.running));
    assert!(day.lapsed > 0 && end <= COMING_SECONDS + GIVE_UP_SECONDS + 14_400 * 2);
    assert_eq!((day.schedule.messages(), day.schedule.connections()), (0, 0));
}

/// What a message costs that waits, and no destination answers.
fn what_waits_is_small() {
    let count = usize::try_from(number("DAY_MESSAGES", 100_000)).unwrap();
    let mut day = Day::new(count, 1000, 1);
    let region = Region::new(ALLOCATOR);
    let limits = Limits { connections: 20, per_connection: 100, per_minute: 0 };
    for message in 0..count {
        let place = day.schedule.destination(&day.names[message % 1000], limits);
        let due = START + i64::try_from(day.chance(14_400)).unwrap();
        day.schedule.add(place, id(message, START), 1, due, START - 1);
    }
    let bytes = allocated(&region);
    println!("{} octets for each of {count} messages", bytes / count);
    assert!(bytes <= count * BYTES_PER_MESSAGE, "{bytes}");
}
