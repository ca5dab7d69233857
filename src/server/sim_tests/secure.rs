//! The script's end of a connection in TLS: octets of the dialogue in and out over a [`ClientSocket`].

use std::io;

use crate::shard::client::ClientSocket;
use crate::tls::testing::Client;

/// A connection in TLS.
pub(super) struct SecureSocket {
    pub(super) socket: ClientSocket,
    pub(super) tls: Client,
    heard: Vec<u8>,
}

impl SecureSocket {
    /// The handshake.
    pub(super) async fn shake_hands(socket: ClientSocket, tls: Client) -> io::Result<Self> {
        let mut secure = Self { socket, tls, heard: Vec::new() };
        while secure.tls.is_handshaking() {
            secure.flush().await?;
            if secure.tls.is_handshaking() && !secure.hear().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        secure.flush().await?;
        Ok(secure)
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let octets = self.tls.outgoing();
        self.socket.write(&octets).await
    }

    /// Reads some; false at the end of the stream.
    async fn hear(&mut self) -> io::Result<bool> {
        let octets = self.socket.read(65_536).await?;
        let said = self.tls.incoming(&octets).map_err(io::Error::other)?;
        self.heard.extend(said);
        Ok(!octets.is_empty())
    }

    pub(super) async fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        // The client's buffer is small.
        for part in plain.chunks(16_000) {
            self.tls.say(part);
            self.flush().await?;
        }
        Ok(())
    }

    /// Says the end of TLS.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.tls.close();
        self.flush().await
    }

    /// One line with its CRLF.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.heard.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.heard.drain(..end + 2).collect();
                return Ok(String::from_utf8(line).unwrap());
            }
            if !self.hear().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Everything until the end, which must be said in TLS.
    pub(super) async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while !self.tls.saw_close() {
            if !self.hear().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(std::mem::take(&mut self.heard))
    }

    /// Sends a line; the last line of the reply.
    pub(super) async fn command(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }

    /// The last line of the next reply.
    pub(super) async fn reply(&mut self) -> String {
        loop {
            let line = self.line().await.unwrap();
            if line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }
}
