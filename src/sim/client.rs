//! sim::client – the script's ends of connections: what a client, good or bad, does to a socket.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use super::pipe::{Backlog, End, Net};
use super::{Stream, world};

/// Where scripts come from.
pub const CLIENT: &str = "192.0.2.7";
/// Where the simulated server is.
pub const SERVER: &str = "198.51.100.1";

/// A socket in a test script's hand. Dropping it closes it.
#[derive(Debug)]
pub struct ClientSocket {
    end: End,
    ahead: Vec<u8>,
}

impl ClientSocket {
    /// A connection that is there at once, and the server's end of it.
    pub fn pair(server_port: u16) -> (Self, Stream) {
        let world = world();
        let client = SocketAddr::new(CLIENT.parse().unwrap(), world.net.port());
        let server = SocketAddr::new(SERVER.parse().unwrap(), server_port);
        let (end, stream) = Net::pair(&world, client, server);
        (Self { end, ahead: Vec::new() }, stream)
    }

    /// Connects to a port somebody listens on.
    pub async fn connect(remote: SocketAddr) -> io::Result<Self> {
        let local = SocketAddr::new(CLIENT.parse().unwrap(), 0);
        Self::connect_from(local, remote).await
    }

    /// The same from this address.
    pub async fn connect_from(local: SocketAddr, remote: SocketAddr) -> io::Result<Self> {
        let world = world();
        let end = world.net.connect(&world, local, remote).await?;
        Ok(Self { end, ahead: Vec::new() })
    }

    /// Address of this end.
    pub fn local(&self) -> SocketAddr {
        self.end.address()
    }

    /// Address of the server's end.
    pub fn peer(&self) -> SocketAddr {
        self.end.other_address()
    }

    /// Writes all of `bytes`, waiting for room.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.end.write_all(bytes).await
    }

    /// Some octets, at most `max`; none at end of stream.
    pub async fn read(&mut self, max: usize) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            return self.end.read(max).await;
        }
        let taken = self.ahead.len().min(max);
        Ok(self.ahead.drain(..taken).collect())
    }

    /// One line with its CRLF; what there is when the stream ends first.
    pub async fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|pair| pair == b"\r\n") {
                return Ok(self.ahead.drain(..end + 2).collect());
            }
            let more = self.end.read(512).await?;
            if more.is_empty() {
                return Ok(std::mem::take(&mut self.ahead));
            }
            self.ahead.extend(more);
        }
    }

    /// Everything until end of stream.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = std::mem::take(&mut self.ahead);
        loop {
            let more = self.end.read(65_536).await?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    /// Says that nothing more will be written (FIN).
    pub fn shut(&self) {
        self.end.shut();
    }

    /// Throws the connection away (RST).
    pub fn reset(&self) {
        self.end.link.reset();
    }

    /// While on, the network carries nothing in either direction.
    pub fn silence(&self, on: bool) {
        self.end.link.silence(on);
    }
}

/// A port a script listens on: for active mode, or as a server that mail is sent to.
#[derive(Debug)]
pub struct ClientListener {
    local: SocketAddr,
    backlog: Rc<Backlog>,
}

impl ClientListener {
    /// Any free port of the client's address.
    pub fn bind() -> Self {
        Self::bind_at(SocketAddr::new(CLIENT.parse().unwrap(), world().net.port()))
    }

    /// This port of this address: a remote server.
    pub fn bind_at(local: SocketAddr) -> Self {
        let backlog = world().net.listen(local).unwrap();
        Self { local, backlog }
    }

    /// A socket with a name in the file system.
    pub fn bind_path(path: &Path) -> Self {
        let listener = Self::bind();
        world().net.paths.borrow_mut().insert(path.to_owned(), listener.local);
        listener
    }

    /// Where it listens.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next connection.
    pub async fn accept(&self) -> ClientSocket {
        ClientSocket { end: self.backlog.accept().await, ahead: Vec::new() }
    }
}

/// An address that swallows every attempt to connect.
pub fn black_hole() -> SocketAddr {
    let world = world();
    let address = SocketAddr::new(CLIENT.parse().unwrap(), world.net.port());
    black_hole_at(address);
    address
}

/// From now on this address does.
pub fn black_hole_at(address: SocketAddr) {
    world().net.black_holes.borrow_mut().push(address);
}

/// Runs `task` on a machine that is not the shard's: it is none of its tasks.
pub fn elsewhere(name: &'static str, task: impl Future<Output = ()> + 'static) {
    world().executor.spawn(name, true, Box::pin(task));
}
