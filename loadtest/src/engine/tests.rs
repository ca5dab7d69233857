//! engine::tests – the engine against small servers of a few lines, over real sockets.
//!
//! The protocol here says `x` and waits for `y`. No test needs a fast machine: what is asserted of
//! times are lower bounds that the server enforces, or upper bounds with two orders of room.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::plan::{Arrivals, Load, Plan};
use crate::engine::recorder::Recording;
use crate::engine::run;
use crate::engine::session::{Event, Io, Nanoseconds, Payload, Protocol, Receive, Session};

/// Says `x`, awaits `y`; each session does `per_session` operations.
struct Ask {
    server: SocketAddr,
    per_session: u32,
    /// Octets asked for and dropped instead, if any.
    bulk: u64,
}

struct Asking {
    protocol: Arc<Ask>,
    connected: bool,
    busy: bool,
    holding: bool,
    done: u32,
    received: u64,
    since: Nanoseconds,
}

impl Protocol for Ask {
    type Session = Asking;
    fn phases(&self) -> &[&'static str] {
        &["connect", "answer"]
    }
    fn kinds(&self) -> &[&'static str] {
        &["ask"]
    }
    fn session(self: &Arc<Self>, _number: u64) -> Asking {
        Asking {
            protocol: Arc::clone(self),
            connected: false,
            busy: false,
            holding: false,
            done: 0,
            received: 0,
            since: 0,
        }
    }
}

impl Asking {
    fn ask(&mut self, io: &mut Io) {
        self.since = io.now();
        io.send(0, Payload::Static(b"x"));
    }

    fn answered(&mut self, io: &mut Io) {
        io.phase(1, self.since);
        io.done(0, self.received, 1);
        self.busy = false;
        self.received = 0;
        self.done += 1;
        if self.done == self.protocol.per_session {
            io.finish();
        }
    }
}

impl Session for Asking {
    fn on(&mut self, event: Event<'_>, io: &mut Io) {
        match event {
            Event::Work(_) | Event::Hold if !self.connected => {
                self.since = io.now();
                self.holding = event == Event::Hold;
                self.busy = !self.holding;
                let bulk = self.protocol.bulk > 0;
                let receive = if bulk { Receive::Drop } else { Receive::Small };
                io.connect(0, self.protocol.server, receive);
            }
            Event::Work(_) => {
                self.busy = true;
                self.ask(io);
            }
            Event::Connected(_) => {
                self.connected = true;
                io.phase(0, self.since);
                if self.holding { io.held() } else { self.ask(io) }
            }
            Event::Received(_, octets) => match octets {
                b"y" if self.busy => self.answered(io),
                _ => {
                    io.failed("answer", "not y");
                    io.finish();
                }
            },
            Event::Dropped(_, count) => {
                self.received += count;
                if self.received >= self.protocol.bulk {
                    self.answered(io);
                }
            }
            Event::Ended(..) | Event::Failed(..) => {
                let why = match event {
                    Event::Failed(_, why) => why,
                    _ => "closed".into(),
                };
                io.failed(self.stage(), why);
                io.finish();
            }
            Event::Quit => io.finish(),
            _ => {}
        }
    }

    fn stage(&self) -> &'static str {
        if self.connected { "answer" } else { "connect" }
    }
}

/// A server that gives every connection a thread running `serve`.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream, before: impl Fn()) {
    stream.set_nodelay(true).unwrap();
    let mut octet = [0];
    while stream.read_exact(&mut octet).is_ok() {
        before();
        if stream.write_all(b"y").is_err() {
            return;
        }
    }
}

fn ask(server: SocketAddr) -> Arc<Ask> {
    Arc::new(Ask { server, per_session: u32::MAX, bulk: 0 })
}

fn go(protocol: &Arc<Ask>, plan: &Plan) -> Recording {
    let begin = Instant::now();
    let recording = run(protocol, plan, None).unwrap();
    let most = plan.duration + plan.drain + plan.timeout + Duration::from_secs(20);
    assert!(begin.elapsed() < most, "{:?}", begin.elapsed());
    recording
}

fn open(rate: f64, seconds: u64) -> Plan {
    Plan {
        load: Load::Open { rate, arrivals: Arrivals::Fixed },
        duration: Duration::from_secs(seconds),
        sessions_max: 16,
        ..Plan::small()
    }
}

fn milliseconds(recording: &Recording, quantile: f64) -> u64 {
    recording.latency.value_at_quantile(quantile) / 1_000_000
}

/// The share of operations that waited for 100 ms and more.
fn waited(recording: &Recording) -> f64 {
    let latency = &recording.latency;
    latency.count_between(100_000_000, latency.high()) as f64 / latency.len() as f64
}

/// A server that stands still for the first 200 ms of every second of its clock.
fn stalling() -> SocketAddr {
    let begin = Instant::now();
    let wait = move || {
        let into = begin.elapsed().as_millis() % 1000;
        if into < 200 {
            thread::sleep(Duration::from_millis(200 - into as u64));
        }
    };
    server(move |stream| answer(stream, wait))
}

#[test]
fn an_open_loop_shows_the_stalls_that_a_closed_loop_hides() {
    let protocol = ask(stalling());
    // One operation in five falls into a stall, evenly over its 200 ms: 5 % wait for 150 ms and more.
    let opened = go(&protocol, &open(200.0, 4));
    assert_eq!((opened.done, opened.failed, opened.unfinished), (800, 0, 0), "{:?}", opened.errors);
    assert!(milliseconds(&opened, 0.99) >= 150, "p99 {} ms", milliseconds(&opened, 0.99));
    // One session waits out each stall once, and does thousands of operations in between.
    let plan = Plan { duration: Duration::from_secs(4), ..Plan::small() };
    let closed = go(&protocol, &plan);
    let shares = [&opened, &closed].map(waited);
    // A hundredth of it on a machine with nothing else to do.
    assert!(shares[0] > 0.07 && shares[1] < shares[0] / 3.0, "{shares:?}, {}", closed.done);
    assert!(milliseconds(&closed, 1.0) >= 100, "it met a stall, whose length says nothing");
}

#[test]
fn what_waits_for_a_session_keeps_its_scheduled_start() {
    // 50 ms each, one session: 20 per second of the 40 that arrive.
    let slow = server(|stream| answer(stream, || thread::sleep(Duration::from_millis(50))));
    let plan = Plan { sessions_max: 1, drain: Duration::from_secs(30), ..open(40.0, 1) };
    let recording = go(&ask(slow), &plan);
    assert_eq!((recording.scheduled, recording.done, recording.unfinished), (40, 40, 0));
    assert!(recording.backlog_max >= 15, "{}", recording.backlog_max);
    // The last was due at 975 ms and answered at 2000 ms at the earliest.
    assert!(milliseconds(&recording, 1.0) >= 1000);
    let service = recording.service.value_at_quantile(0.5) / 1_000_000;
    assert!((50..1000).contains(&service), "{service}: without the time in the backlog");
    assert!(recording.wait.max() / 1_000_000 >= 900);
    assert_eq!(recording.phases[1].histogram.len(), 40);
}

#[test]
fn warm_up_is_done_and_not_counted() {
    let plan = Plan { warm_up: Duration::from_secs(1), threads: 2, ..open(50.0, 2) };
    let recording = go(&ask(server(|stream| answer(stream, || {}))), &plan);
    assert_eq!((recording.done, recording.warm_up_operations), (50, 50));
    assert_eq!(recording.latency.len(), 50);
    assert_eq!(recording.seconds.iter().map(|second| second.done).sum::<u64>(), 100);
    assert!(recording.lateness.len() == 50);
}

#[test]
fn counts_are_exact_over_threads_and_sessions() {
    let server = server(|stream| answer(stream, || {}));
    let protocol = Arc::new(Ask { server, per_session: 3, bulk: 0 });
    let plan = Plan {
        load: Load::Closed { sessions: 5 },
        sessions_max: 5,
        count: Some(1000),
        duration: Duration::from_secs(60),
        threads: 2,
        ..Plan::small()
    };
    let recording = go(&protocol, &plan);
    assert_eq!((recording.done, recording.failed, recording.unfinished), (1000, 0, 0));
    assert!(recording.connections >= 333, "{}", recording.connections);
}

#[test]
fn failures_are_counted_by_kind() {
    let refused = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let few = Plan { count: Some(5), duration: Duration::from_secs(20), ..Plan::small() };
    let kinds = |recording: &Recording| -> Vec<(String, u64)> {
        recording.errors.iter().map(|(kind, count)| (kind.clone(), *count)).collect()
    };
    let recording = go(&ask(refused), &few);
    assert_eq!(kinds(&recording), [("connect: refused".to_owned(), 5)]);
    let closing = server(drop);
    let recording = go(&ask(closing), &few);
    assert_eq!(recording.failed, 5, "{:?}", recording.errors);
    let silent = server(silence);
    let plan = Plan { timeout: Duration::from_millis(200), ..few };
    let recording = go(&ask(silent), &plan);
    assert_eq!(kinds(&recording), [("answer: timeout".to_owned(), 5)]);
}

/// Reads to the end and never answers.
fn silence(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _reset = stream.read_to_end(&mut rest);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let silent = server(silence);
    let plan = Plan { drain: Duration::from_millis(300), ..open(100.0, 1) };
    let recording = go(&ask(silent), &plan);
    assert_eq!((recording.done, recording.unfinished), (0, 100));
    let refusing = server(drop);
    let plan = Plan { duration: Duration::from_secs(600), ..open(50.0, 600) };
    let recording = go(&ask(refusing), &plan);
    let why = recording.partial.unwrap();
    assert!(why.contains("nothing succeeded"), "{why}");
}

#[test]
fn idle_sessions_are_held_and_their_loss_is_counted() {
    let (told, tells) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let server = server(move |mut stream| {
        // A working session speaks first; the idle one that is silent for a while is cut off.
        stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        let mut octet = [0];
        match stream.read(&mut octet) {
            Ok(1) => {
                stream.set_read_timeout(None).unwrap();
                let _gone = stream.write_all(b"y");
                answer(stream, || {});
            }
            _ => told.lock().unwrap().send(()).unwrap(),
        }
    });
    let plan = Plan { idle: 40, threads: 2, ..open(20.0, 4) };
    let recording = go(&ask(server), &plan);
    assert_eq!((recording.held, recording.held_lost), (40, 40), "{:?}", recording.errors);
    assert_eq!(tells.try_iter().count(), 40);
    assert_eq!((recording.done, recording.failed), (80, 0), "{:?}", recording.errors);
    let holding = self::server(|stream| answer(stream, || {}));
    let recording = go(&ask(holding), &Plan { idle: 40, ..open(20.0, 1) });
    assert_eq!((recording.held, recording.held_lost), (40, 0));
}

#[test]
fn dropped_octets_are_counted_to_the_last() {
    const SIZE: usize = 5_000_000;
    let giving = server(|mut stream| {
        let octets = vec![7_u8; SIZE];
        let mut octet = [0];
        if stream.read_exact(&mut octet).is_ok() {
            let _gone = stream.write_all(&octets);
        }
    });
    let protocol = Arc::new(Ask { server: giving, per_session: 1, bulk: SIZE as u64 });
    let plan = Plan { count: Some(10), duration: Duration::from_secs(60), ..Plan::small() };
    let recording = go(&protocol, &plan);
    assert_eq!((recording.done, recording.received), (10, 10 * SIZE as u64));
}
