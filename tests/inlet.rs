//! Mail from servers of one's own over real sockets: LMTP by TCP and by a Unix socket, headers of proxies,
//! sockets handed over.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Client, PATIENCE, Server, Setup, USER, eventually, patient, program};
use nix::sys::signal::Signal;

fn setup() -> Setup {
    Setup::new()
        .without_ftp()
        .smtp("listen = [\"127.0.0.1:0\"]")
        .smtp("domains = [\"example.org\"]")
        .smtp("spool_segment_bytes = 4194304")
        .smtp("spool_reserve_bytes = 0")
        .user()
}

/// A client of a Unix socket: a line out, a reply in.
struct Local {
    stream: BufReader<UnixStream>,
}

impl Local {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The last line of the next reply.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "the end");
            if line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    fn expect(&mut self, line: &str, code: &str) -> String {
        self.send(&format!("{line}\r\n"));
        let reply = self.reply();
        assert!(reply.starts_with(code), "{line}: {reply}");
        reply
    }
}

/// One message for two recipients, the same mailbox twice; two replies.
fn lmtp(path: &Path, text: &str) {
    let mut client = Local::connect(path);
    assert!(client.reply().starts_with("220 "), "a greeting");
    client.expect("EHLO client.example.net", "500 ");
    client.expect("LHLO client.example.net", "250 ");
    client.expect("MAIL FROM:<me@example.net>", "250 ");
    client.expect(&format!("RCPT TO:<{USER}@example.org>"), "250 ");
    client.expect("RCPT TO:<nobody@example.org>", "550 ");
    client.expect(&format!("RCPT TO:<{USER}+tag@example.org>"), "250 ");
    client.expect("DATA", "354 ");
    client.send(&format!("Subject: x\r\n\r\n{text}\r\n.\r\n"));
    let both = [client.reply(), client.reply()];
    assert!(both.iter().all(|reply| reply.starts_with("250 2.0.0 ")), "{both:?}");
    client.expect("QUIT", "221 ");
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

fn mailbox(server: &Server) -> Vec<String> {
    let folder = server.data().join("mail").join(USER).join("new");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let read = |path: PathBuf| fs::read(path).ok();
    let texts = entries.filter_map(|entry| read(entry.unwrap().path()));
    texts.map(|octets| String::from_utf8_lossy(&octets).into_owned()).collect()
}

fn delivered(server: &Server, count: usize) -> Vec<String> {
    eventually("the messages", || Some(mailbox(server)).filter(|found| found.len() >= count))
}

#[test]
fn lmtp_over_a_unix_socket_and_its_file() {
    let setup = setup().smtp("listen_lmtp = [\"127.0.0.1:0\", \"unix:lmtp.sock\"]");
    let path = setup.data().join("lmtp.sock");
    let server = setup.start();
    let said = server.log();
    assert!(said.contains(&format!("listening lmtp unix:{}\n", path.display())), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    for number in 0..20 {
        lmtp(&path, &format!("number {number}"));
    }
    let found = delivered(&server, 20);
    assert!(
        found.iter().all(|text| text.contains("([127.0.0.1])") && text.contains("with LMTP")),
        "{found:?}"
    );
    // By TCP as well.
    let mut client = Client::connect(server.listener("lmtp"));
    client.expect("EHLO client.example.net", 500);
    client.expect("LHLO client.example.net", 250);
    client.expect("QUIT", 221);

    // Killed, it leaves the file; the next start replaces it.
    let server = server.crash_and_restart();
    assert!(server.log().contains("ready"));
    lmtp(&path, "after a crash");
    // A second one on the same socket is refused, and does no harm.
    let (mut second, _folder) = setup_at(&path);
    let output = second.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("listen_lmtp") && said.contains("another server listens there"),
        "{said}"
    );
    lmtp(&path, "still here");
    // Stopped, it takes the file along.
    server.stop();
    assert!(!path.exists());
}

/// Another server, with data of its own, for the same socket.
fn setup_at(path: &Path) -> (Command, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluicegate.toml");
    let text = format!(
        "[server]\ndata_dir = {:?}\nshards = 1\nmetrics_listen = \"\"\n[smtp]\nlisten = [\"127.0.0.1:0\"]\nlisten_lmtp = [\"unix:{}\"]\n",
        folder.path().join("data"),
        path.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program());
    command.arg("serve").arg("--config").arg(config).stdin(Stdio::null());
    (command, folder)
}

#[test]
fn a_unix_socket_that_systemd_made_is_served_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (mut command, _data) = setup_at(&path);
    // What systemd hands over is descriptor 3: here the shell puts standard input there.
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    command = Command::new("/bin/sh");
    command
        .args(["-c", "exec 3<&0; export LISTEN_PID=$$; exec \"$0\" \"$@\""])
        .arg(program)
        .args(arguments);
    command.env("LISTEN_FDS", "1").stdin(OwnedFd::from(listener)).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut said = BufReader::new(server.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.ends_with("ready\n") {
        assert!(said.read_line(&mut lines).unwrap() > 0, "{lines}");
    }
    assert!(lines.contains(&format!("listening lmtp unix:{}\n", path.display())), "{lines}");
    let mut client = Local::connect(&path);
    assert!(client.reply().starts_with("220 "));
    client.expect("LHLO client.example.net", "250 ");
    client.expect("QUIT", "221 ");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(server.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert!(server.wait().unwrap().success());
    assert!(path.exists(), "the file is systemd's");
}

#[test]
fn a_header_in_the_same_segment_as_what_follows() {
    let server = setup().smtp("proxy_from = [\"127.0.0.0/8\"]").start();
    let mut client = Client::raw(server.smtp());
    // An octet at a time, then whole; what comes behind the header is too early.
    for octet in "PROXY TCP4 203.0.113.9 198.51.100.1 40000 25\r\n".bytes() {
        client.send([octet]);
    }
    client.expect_reply(220);
    client.expect("EHLO client.example.net", 250);
    client.expect("MAIL FROM:<me@example.net>", 250);
    client.expect(&format!("RCPT TO:<{USER}@example.org>"), 250);
    client.expect("DATA", 354);
    client.send("Subject: x\r\n\r\nx\r\n.\r\n");
    client.expect_reply(250);
    client.expect("QUIT", 221);
    let [text] = &delivered(&server, 1)[..] else { panic!("more than one") };
    assert!(text.contains("([203.0.113.9])"), "{text}");
    eventually("the line", || server.log().contains("peer=203.0.113.9").then_some(()));

    let mut early = Client::raw(server.smtp());
    early.send("PROXY UNKNOWN\r\nEHLO x\r\n");
    early.expect_reply(554);

    // Without a header there is no word, and a line that says why.
    let mut none = Client::raw(server.smtp());
    none.send("EHLO client.example.net\r\n");
    assert_eq!(none.drain(), b"");
    eventually("the reason", || server.log().contains("no PROXY header comes first").then_some(()));
    server.counts("sluicegate_smtp_refusals_total{reason=\"proxy\"}", 1.0);
    server.stop();
}

#[test]
fn lists_of_those_believed_are_reloaded() {
    let mut server = setup().start();
    let mut client = Client::connect(server.smtp());
    client.expect("XCLIENT ADDR=203.0.113.9", 550);
    server.configure(|setup| setup.smtp("xclient_from = [\"127.0.0.1\"]"));
    server.signal(Signal::SIGHUP);
    server.wait_for("the reload", |line| line.contains("configuration reloaded"));
    let mut client = Client::connect(server.smtp());
    client.expect("XCLIENT ADDR=203.0.113.9", 220);
    let mut closing = patient(std::net::TcpStream::connect(server.smtp()).unwrap());
    let mut greeting = [0; 4];
    closing.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ");
    server.stop();
}
