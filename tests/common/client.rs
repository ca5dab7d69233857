//! A client by hand: one control connection, its replies, and data connections beside it.
//!
//! Promises: every read and connect has an end, [`PATIENCE`]. Not here: TLS (`ftps`, `smtps`).

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::PATIENCE;

/// One reply, all lines of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// Everything, CRLF included.
    pub text: String,
}

/// A control connection.
pub struct Client {
    /// The socket, for tests that write by themselves.
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects and takes the greeting.
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::raw(address);
        let greeting = client.reply();
        assert_eq!(greeting.code, 220, "{greeting:?}");
        client
    }

    /// Connects and takes nothing.
    pub fn raw(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Goes on with a connection whose greeting was read.
    pub fn resume(stream: TcpStream) -> Self {
        Self::over(stream)
    }

    /// Connects from a certain loopback address.
    pub fn raw_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        Self::over(connect_from(source, address).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Sends octets as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends one octet as TCP urgent data.
    pub fn send_urgent(&self, bytes: &[u8]) {
        let socket = socket2::SockRef::from(&self.stream);
        assert_eq!(socket.send_out_of_band(bytes).unwrap(), bytes.len());
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part) {
                Ok(0) => {
                    assert!(
                        self.unread.is_empty(),
                        "the connection ended inside a line: {:?}",
                        self.unread
                    );
                    return None;
                }
                Ok(length) => self.unread.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }

    /// The next reply, or `None` at the end of the connection. A malformed one fails the test.
    pub fn reply_or_end(&mut self) -> Option<Reply> {
        let first = self.line()?;
        let code: u16 = first
            .get(..3)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("not a reply: {first:?}"));
        assert!((100..600).contains(&code), "not a reply: {first:?}");
        let mut text = first.clone();
        match first.as_bytes()[3] {
            b' ' => {}
            b'-' => {
                let end = format!("{code} ");
                loop {
                    let line = self.line().expect("the connection ended inside a reply");
                    text.push_str(&line);
                    if line.starts_with(&end) {
                        break;
                    }
                    let digits = line.bytes().take(3).filter(u8::is_ascii_digit).count();
                    assert!(
                        digits < 3 || line.starts_with(&format!("{code}-")),
                        "a middle line begins with digits: {line:?}"
                    );
                }
            }
            _ => panic!("not a reply: {first:?}"),
        }
        Some(Reply { code, text })
    }

    /// The next reply.
    pub fn reply(&mut self) -> Reply {
        self.reply_or_end().expect("the connection ended instead of a reply")
    }

    /// The codes of the next replies.
    pub fn codes(&mut self, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.reply().code).collect()
    }

    /// Sends one line and takes one reply.
    pub fn command(&mut self, line: impl AsRef<[u8]>) -> Reply {
        let mut bytes = line.as_ref().to_vec();
        bytes.extend_from_slice(b"\r\n");
        self.send(bytes);
        self.reply()
    }

    /// Sends one line and expects this code.
    #[track_caller]
    pub fn expect(&mut self, line: &str, code: u16) -> Reply {
        let reply = self.command(line);
        assert_eq!(reply.code, code, "{line} gave {reply:?}");
        reply
    }

    /// Takes a reply and expects this code.
    #[track_caller]
    pub fn expect_reply(&mut self, code: u16) -> Reply {
        let reply = self.reply();
        assert_eq!(reply.code, code, "{reply:?}");
        reply
    }

    /// USER and PASS.
    pub fn login(&mut self, name: &str, password: &str) {
        self.expect(&format!("USER {name}"), 331);
        self.expect(&format!("PASS {password}"), 230);
    }

    /// The connection must end, with nothing more said.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let reply = self.reply_or_end();
        assert!(reply.is_none(), "expected the end of the connection: {reply:?}");
    }

    /// Reads whatever comes until the connection ends.
    pub fn drain(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.unread);
        // A reset is an end, too.
        drop(self.stream.read_to_end(&mut bytes));
        bytes
    }

    /// EPSV: the address to connect to.
    pub fn passive(&mut self) -> SocketAddr {
        let reply = self.expect("EPSV", 229);
        let port = reply.text.split('|').nth(3).and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no port in {reply:?}"));
        SocketAddr::new(self.stream.peer_addr().unwrap().ip(), port)
    }

    /// EPSV and the data connection to it.
    pub fn data(&mut self) -> TcpStream {
        let address = self.passive();
        // From where the control connection comes from: the server takes no other.
        match self.stream.local_addr().unwrap().ip() {
            IpAddr::V4(source) => connect_from(source, address).unwrap(),
            IpAddr::V6(_) => patient(TcpStream::connect(address).unwrap()),
        }
    }

    /// A listener announced with EPRT.
    pub fn active(&mut self) -> TcpListener {
        let address = self.stream.local_addr().unwrap().ip();
        let listener = TcpListener::bind((address, 0)).unwrap();
        let family = if address.is_ipv4() { 1 } else { 2 };
        let port = listener.local_addr().unwrap().port();
        self.expect(&format!("EPRT |{family}|{address}|{port}|"), 200);
        listener
    }

    /// Fetches over a data connection: what came, and the last reply.
    pub fn fetch(&mut self, command: &str) -> (Vec<u8>, Reply) {
        let mut data = self.data();
        let first = self.command(command);
        if !(100..200).contains(&first.code) {
            return (Vec::new(), first);
        }
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        drop(data);
        (bytes, self.reply())
    }

    /// Stores over a data connection; the last reply.
    pub fn store(&mut self, command: &str, bytes: &[u8]) -> Reply {
        let mut data = self.data();
        let first = self.command(command);
        if !(100..200).contains(&first.code) {
            return first;
        }
        data.write_all(bytes).unwrap();
        data.shutdown(Shutdown::Write).unwrap();
        drop(data);
        self.reply()
    }
}

/// A socket that fails rather than hangs.
pub fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connects from a certain loopback address.
pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(SocketAddr::new(IpAddr::V4(source), 0)))?;
    socket.connect_timeout(&SockAddr::from(address), PATIENCE)?;
    Ok(patient(socket.into()))
}

/// Closes with RST.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Has the other end closed (or reset) this connection? Reads and drops what comes.
pub fn closed(stream: &mut TcpStream) -> bool {
    let mut part = vec![0; 65536];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}
