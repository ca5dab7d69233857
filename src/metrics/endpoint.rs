//! metrics::endpoint – `GET /metrics` and `GET /healthz` over HTTP/1.1, one request per connection.
//!
//! Bound before privileges are dropped, started after. A few threads at most, each with a deadline
//! for the whole request, so that a client that dawdles cannot keep others out for long.
//!
//! Promises: reads a bounded number of octets for a bounded time; answers what it does not know
//! with 404, other methods with 405. Not here: TLS, authentication – bind it to a private address.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Metrics;
use crate::limits::{
    METRICS_CONNECTIONS_MAX, METRICS_REQUEST_BYTES_MAX, METRICS_REQUEST_SECONDS_MAX,
};

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// After a failed accept (no descriptor left, say), so that the thread does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener that answers nobody yet.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    /// Binds `address`; port 0 takes any free port, which `address()` tells.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::from_listener(TcpListener::bind(address)?)
    }

    /// Takes a listener that was bound elsewhere (socket activation).
    pub fn from_listener(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(false)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests from now on until the process ends.
    pub fn start(self, metrics: Arc<Metrics>) -> io::Result<()> {
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || accept(&self.listener, &metrics))
            .map(drop)
    }
}

fn accept(listener: &TcpListener, metrics: &Arc<Metrics>) {
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let turn = Turn::take(&busy);
        let metrics = Arc::clone(metrics);
        let Some(turn) = turn else {
            finish(
                &stream,
                &response("503 Service Unavailable", TEXT, "too many requests at once\n", ""),
            );
            continue;
        };
        let answer = move || {
            let _turn = turn;
            converse(&stream, &metrics);
        };
        if thread::Builder::new().name("metrics-request".to_owned()).spawn(answer).is_err() {
            // The connection and the turn went with the closure.
            thread::sleep(ACCEPT_PAUSE);
        }
    }
}

/// One of the few requests that may be answered at once.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(busy: &Arc<AtomicUsize>) -> Option<Self> {
        // Only the accepting thread takes turns, so the check cannot be overtaken.
        if busy.load(Ordering::Relaxed) >= METRICS_CONNECTIONS_MAX {
            return None;
        }
        busy.fetch_add(1, Ordering::Relaxed);
        Some(Self(Arc::clone(busy)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(stream: &TcpStream, metrics: &Arc<Metrics>) {
    let deadline = Instant::now() + Duration::from_secs(METRICS_REQUEST_SECONDS_MAX);
    let answer = match read_head(stream, deadline) {
        Ok(head) => answer(&head, metrics),
        Err(Refused::TooLong) => {
            response("431 Request Header Fields Too Large", TEXT, "request too long\n", "")
        }
        Err(Refused::Late) => response("408 Request Timeout", TEXT, "request too slow\n", ""),
        Err(Refused::Gone) => return,
    };
    finish(stream, &answer);
}

enum Refused {
    TooLong,
    Late,
    Gone,
}

/// Reads until the empty line that ends the head. Nothing after it matters.
fn read_head(mut stream: &TcpStream, deadline: Instant) -> Result<Vec<u8>, Refused> {
    let mut head = Vec::new();
    let mut piece = [0_u8; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Refused::Late);
        }
        stream.set_read_timeout(Some(left)).map_err(|_| Refused::Gone)?;
        let count = match stream.read(&mut piece) {
            Ok(0) => return Err(Refused::Gone),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                return Err(Refused::Late);
            }
            Err(_) => return Err(Refused::Gone),
        };
        head.extend_from_slice(piece.get(..count).unwrap_or_default());
        if head.windows(4).any(|end| end == b"\r\n\r\n")
            || head.windows(2).any(|end| end == b"\n\n")
        {
            return Ok(head);
        }
        if head.len() > METRICS_REQUEST_BYTES_MAX {
            return Err(Refused::TooLong);
        }
    }
}

fn answer(head: &[u8], metrics: &Arc<Metrics>) -> Vec<u8> {
    let line = head.split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return response("400 Bad Request", TEXT, "not HTTP/1\n", "");
    };
    if !version.starts_with("HTTP/1.") {
        return response("400 Bad Request", TEXT, "not HTTP/1\n", "");
    }
    let path = target.split('?').next().unwrap_or_default();
    if !matches!(path, "/metrics" | "/healthz") {
        return response("404 Not Found", TEXT, "see /metrics\n", "");
    }
    let mut answer = match (method, path) {
        ("GET" | "HEAD", "/metrics") => response("200 OK", OPEN_METRICS, &metrics.render(), ""),
        ("GET" | "HEAD", _) => response("200 OK", TEXT, "ok\n", ""),
        _ => response("405 Method Not Allowed", TEXT, "only GET\n", "Allow: GET, HEAD\r\n"),
    };
    if method == "HEAD" {
        let head_end =
            answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        answer.truncate(head_end);
    }
    answer
}

fn response(status: &str, kind: &str, body: &str, extra: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{extra}Connection: close\r\n\r\n{body}").into_bytes()
}

/// Sends, says that nothing follows, and waits a moment for the client to take it: closing at
/// once with unread octets in the socket would reset the connection under the answer.
fn finish(mut stream: &TcpStream, answer: &[u8]) {
    const LINGER: Duration = Duration::from_millis(200);
    const WRITE: Duration = Duration::from_secs(2);
    let sent = stream
        .set_write_timeout(Some(WRITE))
        .and_then(|()| stream.write_all(answer))
        .and_then(|()| stream.shutdown(Shutdown::Write));
    if sent.is_ok() && stream.set_read_timeout(Some(LINGER)).is_ok() {
        let mut rest = [0_u8; 1024];
        for _ in 0..16 {
            match stream.read(&mut rest) {
                Ok(count) if count > 0 => {}
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> SocketAddr {
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = endpoint.address();
        assert_ne!(address.port(), 0);
        endpoint.start(Metrics::new(1)).unwrap();
        address
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn it_serves_metrics_and_health() {
        let address = started();
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text;"),
            "{answer}"
        );
        assert!(
            answer.contains("\nsluicegate_connections 0\n") && answer.ends_with("# EOF\n"),
            "{answer}"
        );
        assert!(ask(address, "GET /healthz?x=1 HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nok\n"));
        let head = ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.contains("Content-Length: ") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn it_refuses_the_rest() {
        let address = started();
        let status =
            |request: &str| ask(address, request).lines().next().unwrap_or_default().to_owned();
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        let posted = ask(address, "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        assert!(
            posted.starts_with("HTTP/1.1 405 ") && posted.contains("\r\nAllow: GET, HEAD\r\n"),
            "{posted}"
        );
        assert_eq!(status("USER anonymous\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(METRICS_REQUEST_BYTES_MAX));
        assert_eq!(status(&long), "HTTP/1.1 431 Request Header Fields Too Large");
    }

    #[test]
    fn a_few_at_once_and_no_more() {
        let address = started();
        let idle: Vec<TcpStream> =
            (0..METRICS_CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(ask(address, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
        drop(idle);
        let end = Instant::now() + Duration::from_secs(60);
        while !ask(address, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 ") {
            assert!(Instant::now() < end, "turns do not come back");
        }
    }
}
