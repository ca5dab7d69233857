//! What the tests with real sockets share: a server, a client that knows replies, a way to wait.
//!
//! The server binds port 0 in a fresh directory and is ready when it says so. Nothing here sleeps in
//! the hope that something has happened: it reads until a line comes or polls a condition with a deadline.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses a part of this"
)]

mod client;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub use client::{Client, Reply, closed, connect_from, patient, reset};

/// How long anything may take that should take no time at all, on a slow machine with other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The account `Setup::user` makes.
pub const USER: &str = "mirror";
/// Its password.
pub const PASSWORD: &str = "correct horse";

/// The program under test.
pub fn program() -> PathBuf {
    std::env::var_os("SLUICEGATE_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_sluicegate").into(), PathBuf::from)
}

/// Polls until `condition` gives something, or fails with `what` after `limit`.
pub fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Polls until `condition` gives something.
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, condition)
}

/// Octets that never repeat at a distance a buffer could hide.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A server about to be started.
pub struct Setup {
    directory: TempDir,
    server: Vec<String>,
    log: Vec<String>,
    ftp: Vec<String>,
    smtp: Vec<String>,
    mail: Vec<String>,
    tls: Vec<String>,
    wrapper: Vec<OsString>,
    owner: Option<u32>,
    binary: PathBuf,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// Two shards, both loopback families, anonymous reading and uploading, and short limits.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("sluicegate-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let setup = Self {
            directory,
            server: Vec::new(),
            log: Vec::new(),
            ftp: Vec::new(),
            smtp: Vec::new(),
            mail: Vec::new(),
            tls: Vec::new(),
            wrapper: Vec::new(),
            owner: None,
            binary: program(),
        };
        for folder in ["pub", "incoming"] {
            fs::create_dir_all(setup.root().join(folder)).unwrap();
        }
        setup
            .server("shards = 2")
            .server("metrics_listen = \"127.0.0.1:0\"")
            .ftp("listen = [\"127.0.0.1:0\", \"[::1]:0\"]")
            .ftp("anonymous = \"upload\"")
            .ftp("durable_uploads = false")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What `/` is to a client.
    pub fn root(&self) -> PathBuf {
        self.data().join("ftp")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("sluicegate.toml")
    }

    /// Beside the data, outside of every root.
    pub fn outside(&self) -> &Path {
        self.directory.path()
    }

    /// One line of `[server]`; a later one with the same key replaces the earlier.
    pub fn server(mut self, line: &str) -> Self {
        put(&mut self.server, line);
        self
    }

    /// One line of `[log]`.
    pub fn log(mut self, line: &str) -> Self {
        put(&mut self.log, line);
        self
    }

    /// One line of `[ftp]`.
    pub fn ftp(mut self, line: &str) -> Self {
        put(&mut self.ftp, line);
        self
    }

    /// One line of `[smtp]`, which is absent without any.
    pub fn smtp(mut self, line: &str) -> Self {
        put(&mut self.smtp, line);
        self
    }

    /// One line of `[mail]`.
    pub fn mail(mut self, line: &str) -> Self {
        put(&mut self.mail, line);
        self
    }

    /// One line of `[tls]`.
    pub fn tls(mut self, line: &str) -> Self {
        put(&mut self.tls, line);
        self
    }

    /// No `[ftp]`.
    pub fn without_ftp(mut self) -> Self {
        self.ftp.clear();
        self
    }

    /// A file of the tree.
    pub fn file(self, path: &str, contents: &[u8]) -> Self {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// Adds [`USER`], who may write everywhere.
    pub fn user(self) -> Self {
        add_user(&self.data(), USER, PASSWORD, "write");
        self
    }

    /// Runs the server through this program, for example `prlimit`.
    pub fn through<S: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// Gives everything to this user, and copies the program to where that user can run it.
    pub fn owned_by(mut self, user: u32) -> Self {
        let copy = self.directory.path().join("sluicegate");
        fs::copy(&self.binary, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        self.binary = copy;
        self.owner = Some(user);
        self
    }

    fn write_config(&self) {
        let mut text = format!("[server]\ndata_dir = \"{}\"\n", self.data().display());
        for line in &self.server {
            writeln!(text, "{line}").unwrap();
        }
        text.push_str("[log]\n");
        for line in &self.log {
            writeln!(text, "{line}").unwrap();
        }
        let sections =
            [("ftp", &self.ftp), ("smtp", &self.smtp), ("mail", &self.mail), ("tls", &self.tls)];
        for (section, lines) in sections {
            if lines.is_empty() {
                continue;
            }
            writeln!(text, "[{section}]").unwrap();
            for line in lines {
                writeln!(text, "{line}").unwrap();
            }
        }
        fs::write(self.config(), text).unwrap();
    }

    fn command(&self) -> Command {
        self.write_config();
        if let Some(user) = self.owner {
            give(self.directory.path(), user);
        }
        let mut words = self.wrapper.clone();
        words.push(self.binary.clone().into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null());
        command
    }

    /// Starts the server and waits until it is ready.
    pub fn start(self) -> Server {
        Server::start(self)
    }

    /// Runs a server that is expected to end by itself, at once.
    pub fn run(&self) -> Output {
        finish(self.command())
    }
}

fn put(lines: &mut Vec<String>, line: &str) {
    let key = |line: &str| line.split('=').next().map(|key| key.trim().to_owned());
    lines.retain(|earlier| key(earlier) != key(line));
    lines.push(line.to_owned());
}

fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// Runs a command that must end by itself within [`PATIENCE`].
pub fn finish(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let collect = |mut source: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let stdout = collect(Box::new(child.stdout.take().unwrap()));
    let stderr = collect(Box::new(child.stderr.take().unwrap()));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end: {}", String::from_utf8_lossy(&stderr.join().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// `sluicegate user add`.
pub fn add_user(data: &Path, name: &str, password: &str, rights: &str) {
    let mut child = Command::new(program())
        .args(["user", "add", name, "--password-stdin", "--ftp", rights, "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "user add: {}", String::from_utf8_lossy(&output.stderr));
}

#[derive(Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

/// A running server. Dropping it kills it.
pub struct Server {
    setup: Setup,
    child: Child,
    said: Arc<Said>,
    /// Ends with the standard error of the process.
    reader: Option<JoinHandle<()>>,
    ports: Vec<(String, SocketAddr)>,
}

impl Server {
    fn start(setup: Setup) -> Self {
        let mut child =
            setup.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Said::default());
        let stderr = child.stderr.take().unwrap();
        let writer = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            let mut source = BufReader::new(stderr);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                writer.lines.lock().unwrap().push(text);
                writer.changed.notify_all();
                line.clear();
            }
        });
        let mut server = Self { setup, child, said, reader: Some(reader), ports: Vec::new() };
        let lines = server.wait_for("ready", |line| line == "ready");
        for line in lines {
            let mut words = line.split_whitespace();
            if words.next() == Some("listening")
                && let (Some(kind), Some(address)) = (words.next(), words.next())
                && let Ok(address) = address.parse()
            {
                server.ports.push((kind.to_owned(), address));
            }
        }
        server
    }

    /// Waits for a line on standard error and returns all lines so far.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.said.lines.lock().unwrap();
        loop {
            if lines.iter().any(|line| wanted(line)) {
                return lines.clone();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                // Its last words may still be on their way.
                let (lines, _) =
                    self.said.changed.wait_timeout(lines, Duration::from_millis(200)).unwrap();
                panic!("the server ended with {status} before {what}:\n{}", lines.join("\n"));
            }
            assert!(
                Instant::now() < deadline,
                "the server never said {what}:\n{}",
                lines.join("\n")
            );
            lines = self.said.changed.wait_timeout(lines, Duration::from_millis(100)).unwrap().0;
        }
    }

    /// Everything on standard error so far. Lines come after what they tell of: wait for one with
    /// [`eventually`], and say that there is none of [`Server::last_words`].
    pub fn log(&self) -> String {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn port(&self, kind: &str, v6: bool) -> SocketAddr {
        let found =
            self.ports.iter().find(|(name, address)| name == kind && address.is_ipv6() == v6);
        found.unwrap_or_else(|| panic!("no listener {kind} (IPv6: {v6}) in {:?}", self.ports)).1
    }

    /// The FTP listener on 127.0.0.1.
    pub fn v4(&self) -> SocketAddr {
        self.port("ftp", false)
    }

    /// The FTP listener on ::1.
    pub fn v6(&self) -> SocketAddr {
        self.port("ftp", true)
    }

    /// The SMTP listener on 127.0.0.1.
    pub fn smtp(&self) -> SocketAddr {
        self.port("smtp", false)
    }

    /// The listener of this name on 127.0.0.1.
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.port(name, false)
    }

    /// What `/` is to a client.
    pub fn root(&self) -> PathBuf {
        self.setup.root()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.setup.data()
    }

    /// Beside the data, outside of every root.
    pub fn outside(&self) -> &Path {
        self.setup.outside()
    }

    /// Changes the configuration file; the server must be told.
    pub fn configure(&mut self, change: impl FnOnce(Setup) -> Setup) {
        let setup = std::mem::take(&mut self.setup);
        self.setup = change(setup);
        self.setup.write_config();
    }

    /// A session that has had its greeting.
    pub fn connect(&self) -> Client {
        Client::connect(self.v4())
    }

    /// A session of [`USER`], in TYPE I.
    pub fn login(&self) -> Client {
        let mut client = self.connect();
        client.login(USER, PASSWORD);
        client.expect("TYPE I", 200);
        client
    }

    /// An anonymous session, in TYPE I.
    pub fn anonymous(&self) -> Client {
        let mut client = self.connect();
        client.login("anonymous", "guest@example.org");
        client.expect("TYPE I", 200);
        client
    }

    /// Process number of the server itself (below a wrapper that stays).
    pub fn pid(&self) -> i32 {
        let own = i32::try_from(self.child.id()).unwrap();
        let name = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name(own).trim() == "sluicegate" {
            return own;
        }
        let children =
            fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .find(|pid| name(*pid).trim() == "sluicegate")
            .unwrap_or(own)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Stops every thread until [`Server::thaw`]. (SIGSTOP returns before that; the kernel's own workers
    /// have no state T.)
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid());
        let still = |task: &Path| {
            let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
            let Some((name, rest)) = stat.rsplit_once(") ") else { return true };
            rest.starts_with('T') || name.contains("(iou-")
        };
        eventually("every thread stands still", || {
            let mut tasks = fs::read_dir(&tasks).unwrap().flatten();
            tasks.all(|task| still(&task.path())).then_some(())
        });
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the server ends", || child.try_wait().unwrap())
    }

    /// SIGTERM, and it must end well.
    pub fn stop(mut self) {
        self.end_well();
    }

    /// SIGTERM, it must end well, and could be started again.
    pub fn stopped(mut self) -> Setup {
        self.end_well();
        std::mem::take(&mut self.setup)
    }

    /// SIGTERM, and it must end well: everything it ever said.
    pub fn last_words(mut self) -> String {
        self.end_well();
        self.reader.take().unwrap().join().unwrap();
        self.log()
    }

    fn end_well(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "ended with {status}:\n{}", self.log());
    }

    /// kill -9, then a new server over the same data.
    pub fn crash_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let setup = std::mem::take(&mut self.setup);
        setup.start()
    }

    /// Is it still running?
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What the descriptors of the process lead to.
    pub fn descriptors(&self) -> Vec<String> {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let targets = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.map(|target| target.to_string_lossy().into_owned()).collect()
    }

    /// How many descriptors there are, once the number has settled: the same in twenty looks.
    pub fn settled_descriptors(&self) -> usize {
        let (mut last, mut same) = (0, 0);
        eventually("the number of descriptors settles", || {
            let now = self.descriptors().len();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            (same >= 20).then_some(now)
        })
    }

    /// The metrics page.
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.port("metrics", false)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// Sum of the samples whose name begins so.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.metrics();
        let samples = page.lines().filter(|line| line.starts_with(name));
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until that metric is at least so much: some are counted after the reply.
    #[track_caller]
    pub fn counts(&self, name: &str, least: f64) {
        eventually(name, || (self.metric(name) >= least).then_some(()));
    }

    /// Every file below the root but the one that greets newcomers.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.root(), &mut found);
        found.retain(|path| {
            !path.file_name().is_some_and(|name| name.eq_ignore_ascii_case("welcome.txt"))
        });
        found.sort();
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "shown with the failure")]
            {
                eprintln!("--- the server said:\n{}\n---", self.log());
            }
        }
        // A process that has ended leaves its number to another: only a running one is killed.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            kill(Pid::from_raw(self.pid()), Signal::SIGKILL).unwrap_or(());
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Only these files are left below the root; a temporary may take a moment to go.
pub fn only_left(server: &Server, paths: &[&str]) {
    let mut expected: Vec<PathBuf> = paths.iter().map(|path| server.root().join(path)).collect();
    expected.sort();
    let mut left = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while left != expected {
        assert!(Instant::now() < deadline, "left: {left:?}, expected: {expected:?}");
        std::thread::sleep(Duration::from_millis(5));
        left = server.files();
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let Ok(entry) = entry else { continue };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Is this program there to be run?
pub fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

/// Are we root?
pub fn root() -> bool {
    nix::unistd::geteuid().is_root()
}
