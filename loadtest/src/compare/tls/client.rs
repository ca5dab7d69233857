//! compare::tls::client – sessions inside TLS, one per thread, blocking: FTP that fetches, SMTP that sends.
//!
//! All of them offer one version and one cipher, so that every server has to use the same. Their own
//! cost is not what is measured: the server's is.
//!
//! Promises: every transfer's bytes are counted and compared with what was expected; a reply that is
//! not the right one ends the run with the server's words.
//! Not here: who is measured (`servers`), what is done with the sessions (`rows`).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::engine::tls::{Client, Context};

/// How long any single read or write may take.
const STEP_LIMIT: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 256 << 10;

/// How a session gets into TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// From the first octet on.
    Implicit,
    /// AUTH TLS.
    Auth,
    /// STARTTLS.
    StartTls,
}

/// A control connection inside TLS, and how to make others that resume it.
pub struct Session {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    client: Client,
    address: SocketAddrV4,
    /// Files fetched.
    pub fetched: u64,
    /// Data connections that resumed this session.
    pub resumed: u64,
}

/// The server did not do as it should.
fn refused(what: &str, said: &str) -> io::Error {
    io::Error::other(format!("{what}: the server said {said:?}"))
}

impl Session {
    /// Connects and shakes hands.
    pub fn open(address: SocketAddrV4, entry: Entry, context: &Context) -> io::Result<Self> {
        let tcp = connect(address)?;
        match entry {
            Entry::Implicit => {}
            Entry::Auth => in_clear(&tcp, &[("", "220"), ("AUTH TLS\r\n", "234")])?,
            Entry::StartTls => {
                let steps = [("", "220"), ("EHLO client.test\r\n", "250"), ("STARTTLS\r\n", "220")];
                in_clear(&tcp, &steps)?;
            }
        }
        let client = context.client();
        let stream = BufReader::new(shake_hands(&client, tcp)?);
        Ok(Self { stream, client, address, fetched: 0, resumed: 0 })
    }

    /// Says a line and expects a reply that begins so; the reply's last line.
    pub fn ask(&mut self, line: &str, code: &str) -> io::Result<String> {
        self.send(line.as_bytes())?;
        self.expect(line.trim_end(), code)
    }

    /// Says something.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(octets)?;
        stream.flush()
    }

    /// Expects a reply that begins so; its last line.
    pub fn expect(&mut self, what: &str, code: &str) -> io::Result<String> {
        let line = last_line(&mut self.stream)?;
        if line.starts_with(code) { Ok(line) } else { Err(refused(what, &line)) }
    }

    /// Logs in to FTP, and asks for protected data.
    pub fn log_in(&mut self) -> io::Result<()> {
        // Pure-FTPd wants no password of somebody anonymous.
        if self.ask("USER anonymous\r\n", "")?.starts_with("331") {
            self.ask("PASS loadtest@\r\n", "230")?;
        }
        self.ask("PBSZ 0\r\n", "200")?;
        self.ask("PROT P\r\n", "200")?;
        self.ask("TYPE I\r\n", "200").map(drop)
    }

    /// Fetches a file over a data connection that resumes this session; it must be so long.
    pub fn fetch(&mut self, path: &str, length: u64, buffer: &mut [u8]) -> io::Result<()> {
        let reply = self.ask("EPSV\r\n", "229")?;
        let port = reply.split('|').nth(3).and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| refused("EPSV", &reply))?;
        let tcp = connect(SocketAddrV4::new(*self.address.ip(), port))?;
        self.send(format!("RETR {path}\r\n").as_bytes())?;
        let received = shake_hands(&self.client, tcp).and_then(|mut data| {
            let kind = data.conn.handshake_kind();
            self.resumed += u64::from(kind == Some(rustls::HandshakeKind::Resumed));
            drain(&mut data, buffer)
        });
        self.expect("RETR", "150")?;
        self.expect("RETR", "226")?;
        let received = received?;
        self.fetched += 1;
        if received == length {
            Ok(())
        } else {
            Err(io::Error::other(format!("{path}: {received} octets, not {length}")))
        }
    }

    /// Sends a message, one command at a time as `smtp-source` does.
    pub fn deliver(&mut self, content: &[u8]) -> io::Result<()> {
        self.ask("MAIL FROM:<sender@client.test>\r\n", "250")?;
        self.ask("RCPT TO:<recipient@bench.test>\r\n", "250")?;
        self.ask("DATA\r\n", "354")?;
        self.send(content)?;
        self.expect("the message", "250").map(drop)
    }

    /// Says goodbye.
    pub fn quit(mut self) -> io::Result<()> {
        self.ask("QUIT\r\n", "221").map(drop)
    }

    /// Ends TLS and closes.
    pub fn close(mut self) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock).map(drop)
    }
}

/// What a transfer needs: a buffer to receive into.
pub fn buffer() -> Vec<u8> {
    vec![0; READ_BYTES]
}

fn connect(address: SocketAddrV4) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(STEP_LIMIT))?;
    tcp.set_write_timeout(Some(STEP_LIMIT))?;
    Ok(tcp)
}

/// A dialogue before TLS; the server has nothing to say beyond it.
fn in_clear(tcp: &TcpStream, steps: &[(&str, &str)]) -> io::Result<()> {
    let mut reader = BufReader::new(tcp);
    for (line, code) in steps {
        (&mut &*tcp).write_all(line.as_bytes())?;
        let said = last_line(&mut reader)?;
        if !said.starts_with(code) {
            return Err(refused(line.trim_end(), &said));
        }
    }
    Ok(())
}

fn last_line(reader: &mut impl BufRead) -> io::Result<String> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') && !line.starts_with(' ') {
            return Ok(line.trim_end().to_owned());
        }
    }
}

fn shake_hands(
    client: &Client,
    mut tcp: TcpStream,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut connection = client.begin().map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(connection, tcp))
}

/// Reads to the end, which TLS has to confirm.
fn drain(
    data: &mut StreamOwned<ClientConnection, TcpStream>,
    buffer: &mut [u8],
) -> io::Result<u64> {
    let mut received = 0;
    loop {
        match data.read(buffer) {
            Ok(0) => break,
            Ok(count) => received += count as u64,
            Err(error) => return Err(error),
        }
    }
    data.conn.send_close_notify();
    let _ = data.conn.write_tls(&mut data.sock); // the server may have closed already
    Ok(received)
}
