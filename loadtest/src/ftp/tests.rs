//! ftp::tests – the generator against an FTP server of a page, honest and hostile.
//!
//! The honest one keeps files in memory, so that what arrived can be compared. The hostile ones do
//! one wrong thing each; what is asserted is the kind that was counted, and that the run ended.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::pattern;
use crate::engine::plan::{Load, Plan};
use crate::engine::recorder::Recording;
use crate::engine::run;
use crate::ftp::work::{AbortBy, File, Sizes, Verb, Work};
use crate::ftp::{DataMode, Ftp, TlsMode};

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    EndlessBanner,
    DribblingBanner,
    NotFtp,
    StopsMidReply,
    ClosesAfterUser,
    RefusesLogin,
    NonsensePort,
    DeadPort,
    AnnouncesMore,
    SendsLess,
    WrongOctets,
    NoFinalReply,
    NoData,
    EndlessData,
    ResetsData,
    RefusesRetr,
    ReadsNothing,
}

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// One client of the server.
struct Served {
    control: BufReader<TcpStream>,
    files: Files,
    fault: Fault,
    data: Option<Box<dyn FnOnce() -> TcpStream>>,
    offset: usize,
}

const SIZE: u64 = 300_000;
const SEED: u64 = 99;

fn server(fault: Fault) -> (SocketAddr, Files) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut content = Vec::new();
    pattern::write(&mut content, SEED, SIZE).unwrap();
    let files = Files::default();
    files.lock().unwrap().insert("/f".into(), content);
    let shared = Arc::clone(&files);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let files = Arc::clone(&shared);
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let control = BufReader::new(stream);
                let served = Served { control, files, fault, data: None, offset: 0 };
                served.serve();
            });
        }
    });
    (address, files)
}

impl Served {
    fn say(&mut self, text: &str) -> bool {
        self.control.get_mut().write_all(text.as_bytes()).is_ok()
    }

    /// Reads until the client goes away.
    fn linger(mut self) {
        let mut rest = Vec::new();
        let _reset = self.control.read_to_end(&mut rest);
    }

    fn serve(mut self) {
        match self.fault {
            Fault::EndlessBanner => while self.say("220-more\r\n") {},
            Fault::DribblingBanner => {
                while self.say("2") {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            Fault::NotFtp => {
                self.say("SSH-2.0-x\r\n");
                return self.linger();
            }
            _ => {
                self.say("220-hello\r\n220 ready\r\n");
            }
        }
        let mut line = String::new();
        while self.control.read_line(&mut line).is_ok_and(|count| count > 0) {
            let (verb, argument) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            let (verb, argument) = (verb.to_owned(), argument.to_owned());
            line.clear();
            if !self.command(&verb, &argument) {
                return self.linger();
            }
        }
    }

    /// False if the server stops listening.
    fn command(&mut self, verb: &str, argument: &str) -> bool {
        match (verb, self.fault) {
            ("USER", Fault::StopsMidReply) => {
                self.say("33");
                false
            }
            ("USER", Fault::ClosesAfterUser) => {
                let _gone = self.control.get_mut().shutdown(Shutdown::Both);
                false
            }
            ("PASS", Fault::RefusesLogin) => self.say("530 no\r\n"),
            ("EPSV", Fault::NonsensePort) => self.say("229 come in (|||nowhere|)\r\n"),
            ("EPSV", Fault::DeadPort) => {
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .unwrap()
                    .local_addr()
                    .unwrap()
                    .port();
                self.say(&format!("229 come in (|||{port}|)\r\n"))
            }
            ("RETR", Fault::RefusesRetr) => self.say("550 no\r\n"),
            ("USER", _) => self.say("331 password\r\n"),
            ("PASS", _) => self.say("230 in\r\n"),
            ("TYPE", _) => self.say("200 binary\r\n"),
            ("EPSV" | "PASV", _) => self.passive(verb),
            ("PORT" | "EPRT", _) => self.active(verb, argument),
            ("REST", _) => {
                self.offset = argument.parse().unwrap();
                self.say("350 go on\r\n")
            }
            ("RETR", _) => self.retr(argument),
            ("STOR" | "APPE", _) => self.store(argument, verb == "APPE"),
            ("LIST" | "MLSD", _) => self.send("150 here\r\n", b"type=file; a\r\ntype=file; b\r\n"),
            ("DELE", _) => {
                let there = self.files.lock().unwrap().remove(argument).is_some();
                self.say(if there { "250 gone\r\n" } else { "550 not there\r\n" })
            }
            ("ABOR", _) => self.say("225 nothing to abort\r\n"),
            ("QUIT", _) => {
                self.say("221 bye\r\n");
                false
            }
            _ => self.say("502 what?\r\n"),
        }
    }

    fn passive(&mut self, verb: &str) -> bool {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        self.data = Some(Box::new(move || listener.accept().unwrap().0));
        let [high, low] = port.to_be_bytes();
        // An address that is not ours: a client must not go there.
        let pasv = format!("227 come in (10,1,2,3,{high},{low})\r\n");
        self.say(&if verb == "EPSV" { format!("229 come in (|||{port}|)\r\n") } else { pasv })
    }

    fn active(&mut self, verb: &str, argument: &str) -> bool {
        let port = if verb == "EPRT" {
            argument.split('|').nth(3).unwrap().parse().unwrap()
        } else {
            let parts: Vec<u8> = argument.split(',').map(|part| part.parse().unwrap()).collect();
            u16::from_be_bytes([parts[4], parts[5]])
        };
        let connect = move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        self.data = Some(Box::new(connect));
        self.say("200 fine\r\n")
    }

    fn retr(&mut self, path: &str) -> bool {
        let offset = std::mem::take(&mut self.offset);
        let found = self.files.lock().unwrap().get(path).cloned();
        let Some(mut content) = found else { return self.say("550 not there\r\n") };
        if self.fault == Fault::WrongOctets {
            let middle = content.len() / 2;
            content[middle] ^= 1;
        }
        let announced =
            if offset == 0 { format!(" ({} bytes)", content.len()) } else { String::new() };
        let mut rest = &content[offset..];
        let mut words = format!("150 here it comes{announced}\r\n");
        match self.fault {
            Fault::AnnouncesMore => words = "150 here it comes (999999 bytes)\r\n".to_owned(),
            Fault::SendsLess => {
                rest = &rest[..rest.len() - 1];
                words = "150 here it comes\r\n".to_owned();
            }
            _ => {}
        }
        self.send(&words, rest)
    }

    fn send(&mut self, words: &str, octets: &[u8]) -> bool {
        let Some(data) = self.data.take() else { return self.say("425 no data connection\r\n") };
        self.say(words);
        if self.fault == Fault::NoData {
            return false;
        }
        let mut data = data();
        if self.fault == Fault::EndlessData {
            while data.write_all(octets).is_ok() {}
            return false;
        }
        let whole = data.write_all(octets).is_ok();
        if self.fault == Fault::ResetsData {
            socket2::SockRef::from(&data).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(data);
        if self.fault == Fault::NoFinalReply {
            return false;
        }
        self.say(if whole { "226 done\r\n" } else { "426 cut\r\n" })
    }

    fn store(&mut self, path: &str, append: bool) -> bool {
        let offset = std::mem::take(&mut self.offset);
        let Some(data) = self.data.take() else { return self.say("425 no data connection\r\n") };
        self.say("150 send\r\n");
        let mut data = data();
        if self.fault == Fault::ReadsNothing {
            thread::sleep(Duration::from_secs(3));
            return false;
        }
        let mut octets = Vec::new();
        if data.read_to_end(&mut octets).is_err() {
            return self.say("426 cut\r\n");
        }
        let mut files = self.files.lock().unwrap();
        let file = files.entry(path.to_owned()).or_default();
        if !append {
            file.truncate(offset);
        }
        if self.fault == Fault::WrongOctets {
            octets[0] ^= 1;
        }
        file.extend(octets);
        drop(files);
        self.say("226 stored\r\n")
    }
}

fn ftp(address: SocketAddr, mix: &str) -> Ftp {
    Ftp {
        address,
        local: IpAddr::V4(Ipv4Addr::LOCALHOST),
        user: "u".into(),
        password: "p".into(),
        tls_mode: TlsMode::Off,
        tls: None,
        data_tls: false,
        data: DataMode::Epsv,
        work: Work {
            mix: mix.parse().unwrap(),
            sizes: Sizes::Fixed(SIZE),
            files: vec![File {
                path: "/f".into(),
                size: Some(SIZE),
                seed: Some(SEED),
                ..File::default()
            }],
            list_path: "/".into(),
            upload_dir: "/in/".into(),
            upload_names: 0,
            run: "r".into(),
            rest: 0.0,
            slow: 0.0,
            abort: 0.0,
            seed: 1,
        },
        checksum: false,
        delete: false,
        operations_per_session: 0,
        slow_rate: 1 << 20,
        abort_by: AbortBy::Abor,
    }
}

fn plan(count: u64) -> Plan {
    Plan {
        load: Load::Closed { sessions: 3 },
        sessions_max: 3,
        count: Some(count),
        duration: Duration::from_secs(60),
        threads: 2,
        timeout: Duration::from_secs(20),
        ..Plan::small()
    }
}

fn go(ftp: Ftp, plan: &Plan) -> Recording {
    let begin = Instant::now();
    let recording = run(&Arc::new(ftp), plan, None).unwrap();
    let most = plan.duration + plan.drain + Duration::from_secs(10);
    assert!(begin.elapsed() < most, "{:?}", begin.elapsed());
    recording
}

fn all_right(recording: &Recording, count: u64) {
    assert_eq!(
        (recording.done, recording.failed, recording.unfinished),
        (count, 0, 0),
        "{:?}",
        recording.errors
    );
}

fn kind(recording: &Recording, verb: usize) -> u64 {
    recording.kinds[verb].histogram.len()
}

#[test]
fn every_verb_over_every_kind_of_data_connection() {
    for data in [DataMode::Epsv, DataMode::Pasv, DataMode::Eprt, DataMode::Port] {
        for checksum in [false, true] {
            let (address, files) = server(Fault::None);
            let ftp = Ftp { data, checksum, ..ftp(address, "retr,stor,appe,list,mlsd,login") };
            let recording = go(ftp, &plan(120));
            all_right(&recording, 120);
            let verbs: Vec<u64> = (0..6).map(|verb| kind(&recording, verb)).collect();
            assert!(verbs.iter().all(|&count| count > 0), "{verbs:?}");
            assert_eq!(recording.sent, (verbs[1] + verbs[2]) * SIZE);
            let listings = (verbs[3] + verbs[4]) * 28;
            assert_eq!(recording.received, verbs[0] * SIZE + listings);
            let files = files.lock().unwrap();
            let stored = files
                .iter()
                .filter(|(path, _)| path.starts_with("/in/lt-r-") && !path.contains("appe"));
            let mut right = 0;
            for (path, content) in stored {
                let number = path.rsplit('-').next().unwrap().parse().unwrap();
                assert_eq!(content.len() as u64, SIZE);
                assert!(pattern::matches(number, 0, content), "{path}");
                right += 1;
            }
            assert_eq!(right, verbs[1]);
            for phase in &recording.phases {
                let there = !phase.histogram.is_empty();
                assert_eq!(there, phase.name != "TLS", "{}", phase.name);
            }
        }
    }
}

#[test]
fn the_middle_of_files_and_uploads_in_two_parts() {
    for checksum in [false, true] {
        let (address, files) = server(Fault::None);
        let mut ftp = Ftp { checksum, operations_per_session: 5, ..ftp(address, "retr,stor") };
        ftp.work.rest = 1.0;
        all_right(&go(ftp, &plan(60)), 60);
        let files = files.lock().unwrap();
        assert!(files.len() > 10);
        for (path, content) in files.iter().filter(|(path, _)| path.starts_with("/in/")) {
            let number = path.rsplit('-').next().unwrap().parse().unwrap();
            assert!(content.len() as u64 == SIZE && pattern::matches(number, 0, content), "{path}");
        }
    }
}

#[test]
fn what_is_stored_is_deleted_if_asked() {
    let (address, files) = server(Fault::None);
    let ftp = Ftp { delete: true, checksum: true, ..ftp(address, "stor,appe") };
    all_right(&go(ftp, &plan(40)), 40);
    assert_eq!(files.lock().unwrap().keys().collect::<Vec<_>>(), ["/f"]);
}

#[test]
fn transfers_are_cut_short_and_the_session_goes_on() {
    for abort_by in [AbortBy::Abor, AbortBy::Reset, AbortBy::Close] {
        let (address, _) = server(Fault::None);
        let mut ftp = Ftp { abort_by, ..ftp(address, "retr,stor") };
        ftp.work.abort = 0.5;
        let recording = go(ftp, &plan(60));
        all_right(&recording, 60);
        let aborted = kind(&recording, Verb::ABORTED);
        assert!((15..45).contains(&aborted), "{abort_by:?}: {aborted}");
        assert_eq!(recording.phases[0].histogram.len(), 3, "one connection for each session");
    }
}

#[test]
fn slow_transfers_take_their_time() {
    let (address, _) = server(Fault::None);
    let mut ftp = Ftp { slow_rate: SIZE, ..ftp(address, "retr,stor") };
    ftp.work.slow = 1.0;
    let recording = go(ftp, &plan(4));
    all_right(&recording, 4);
    // 300,000 octets at 300,000 a second; what buffers hold comes faster, and the last slice at once.
    let fastest = recording.latency.min() / 1_000_000;
    assert!(fastest >= 400, "{fastest} ms");
}

/// The one kind of failure that this fault is counted as.
fn counted_as(fault: Fault, mix: &str, checksum: bool) -> String {
    let (address, _) = server(fault);
    let ftp = Ftp { checksum, ..ftp(address, mix) };
    // Short only where it is what ends the operation: a busy machine is no fault.
    let waits = matches!(
        fault,
        Fault::DribblingBanner
            | Fault::StopsMidReply
            | Fault::NoFinalReply
            | Fault::NoData
            | Fault::EndlessData
            | Fault::ReadsNothing
    );
    let timeout = Duration::from_secs(if waits { 1 } else { 20 });
    let plan = Plan { timeout, ..plan(4) };
    let recording = go(ftp, &plan);
    assert_eq!((recording.done, recording.failed), (0, 4), "{fault:?} {:?}", recording.errors);
    let kinds: Vec<&str> = recording.errors.keys().map(String::as_str).collect();
    kinds.join(" | ")
}

#[test]
fn hostile_servers_are_counted_by_kind_within_the_deadline() {
    for (fault, expected) in [
        (Fault::EndlessBanner, "greeting: reply without end"),
        (Fault::DribblingBanner, "greeting: timeout"),
        (Fault::NotFtp, "greeting: not a reply"),
        (Fault::StopsMidReply, "USER: timeout"),
        (Fault::ClosesAfterUser, "USER: closed"),
        (Fault::RefusesLogin, "PASS: 530"),
        (Fault::NonsensePort, "EPSV: address in its reply not understood"),
        (Fault::AnnouncesMore, "RETR: length is not the announced one"),
        (Fault::SendsLess, "RETR: too short"),
        (Fault::NoFinalReply, "RETR: timeout"),
        (Fault::NoData, "RETR: timeout"),
        (Fault::EndlessData, "RETR: timeout"),
        (Fault::RefusesRetr, "RETR: 550"),
    ] {
        assert_eq!(counted_as(fault, "retr", false), expected, "{fault:?}");
    }
    assert_eq!(counted_as(Fault::WrongOctets, "retr", true), "RETR: wrong contents");
    assert_eq!(counted_as(Fault::WrongOctets, "stor", true), "read back: wrong contents");
    assert_eq!(counted_as(Fault::ResetsData, "retr", false), "RETR: data connection reset");
    assert_eq!(counted_as(Fault::ReadsNothing, "stor", false), "STOR: timeout");
    // The refusal of the data connection, and a server that then waits for it.
    assert_eq!(counted_as(Fault::DeadPort, "retr", false), "RETR: 425");
}

#[test]
fn a_changed_file_is_noticed_without_knowing_it_beforehand() {
    let (address, files) = server(Fault::None);
    let mut ftp = Ftp { checksum: true, ..ftp(address, "retr") };
    ftp.work.files = vec![File { path: "/f".into(), ..File::default() }];
    let ftp = Arc::new(ftp);
    let few = Plan { load: Load::Closed { sessions: 1 }, sessions_max: 1, threads: 1, ..plan(5) };
    all_right(&run(&ftp, &few, None).unwrap(), 5);
    files.lock().unwrap().get_mut("/f").unwrap()[5] ^= 1;
    let recording = run(&ftp, &few, None).unwrap();
    assert_eq!(recording.errors.get("RETR: wrong checksum"), Some(&5), "{:?}", recording.errors);
}

#[test]
fn idle_sessions_are_logged_in_and_held() {
    let (address, _) = server(Fault::None);
    let plan = Plan { idle: 50, ..plan(20) };
    let recording = go(ftp(address, "retr"), &plan);
    all_right(&recording, 20);
    assert_eq!((recording.held, recording.held_lost), (50, 0));
    let refusing = server(Fault::RefusesLogin).0;
    let recording = go(ftp(refusing, "retr"), &Plan { idle: 2, ..plan });
    assert_eq!(recording.errors.get("idle session: PASS: 530"), Some(&2), "{:?}", recording.errors);
}
