//! The script's end of a connection that the server under test began, in clear or, as its server, in TLS.

use std::io;

use crate::shard::client::ClientSocket;
use crate::tls::{Progress, Session, Use, testing};

/// One connection.
pub(super) struct Line {
    socket: ClientSocket,
    tls: Option<Session>,
    /// Said to us under TLS, and not read yet.
    heard: Vec<u8>,
}

impl Line {
    pub(super) fn new(socket: ClientSocket) -> Self {
        Self { socket, tls: None, heard: Vec::new() }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// The handshake, with the certificate of [`testing::keeper`].
    pub(super) async fn secure(&mut self) -> io::Result<()> {
        let offer = testing::keeper().0.offer(Use::Smtp).unwrap();
        let mut session = Session::new(&offer).unwrap();
        let mut progress = Progress::Handshake;
        while progress == Progress::Handshake {
            let mut octets = self.socket.read(16_384).await?;
            if octets.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (heard, mut out) = (&mut self.heard, Vec::new());
            let mut hear = |said: &[u8]| heard.extend_from_slice(said);
            let done = session.receive(&mut octets, &mut out, &mut hear);
            self.socket.write(&out).await?;
            progress = done.map_err(|trouble| io::Error::other(trouble.text()))?;
        }
        self.tls = Some(session);
        Ok(())
    }

    pub(super) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.tls else { return self.socket.write(octets).await };
        let mut sealed = Vec::new();
        session.seal(octets, &mut sealed).map_err(|trouble| io::Error::other(trouble.text()))?;
        self.socket.write(&sealed).await
    }

    /// Some octets, at most `max`; none at the end.
    pub(super) async fn read(&mut self, max: usize) -> io::Result<Vec<u8>> {
        if self.tls.is_none() {
            return self.socket.read(max).await;
        }
        while self.heard.is_empty() {
            if !self.hear().await? {
                return Ok(Vec::new());
            }
        }
        let taken = self.heard.len().min(max);
        Ok(self.heard.drain(..taken).collect())
    }

    /// One line with its CRLF; what there is when the connection ends first.
    pub(super) async fn read_line(&mut self) -> io::Result<Vec<u8>> {
        if self.tls.is_none() {
            return self.socket.read_line().await;
        }
        loop {
            if let Some(end) = self.heard.windows(2).position(|pair| pair == b"\r\n") {
                return Ok(self.heard.drain(..end + 2).collect());
            }
            if !self.hear().await? {
                return Ok(std::mem::take(&mut self.heard));
            }
        }
    }

    /// Decrypts what comes next; false at the end.
    async fn hear(&mut self) -> io::Result<bool> {
        let mut octets = self.socket.read(16_384).await?;
        let (Some(session), false) = (&mut self.tls, octets.is_empty()) else { return Ok(false) };
        let (heard, mut out) = (&mut self.heard, Vec::new());
        let mut hear = |said: &[u8]| heard.extend_from_slice(said);
        let progress = session.receive(&mut octets, &mut out, &mut hear);
        self.socket.write(&out).await?;
        let progress = progress.map_err(|trouble| io::Error::other(trouble.text()))?;
        Ok(progress == Progress::Open || !self.heard.is_empty())
    }

    /// Throws the connection away (RST).
    pub(super) fn reset(&self) {
        self.socket.reset();
    }
}
