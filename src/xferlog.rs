//! xferlog – the transfer log that statistics programs read: wu-ftpd's line, one per transfer.
//!
//! ```text
//! Thu Sep  3 10:33:18 2026 1 192.0.2.7 1024 /pub/file b _ o a mozilla@ ftp 0 * c
//! local time, seconds, address, octets, path, type, action, direction, access, user, service,
//! identity method, identity, completion
//! ```
//! Promises: fourteen fields behind the five of the date, always: spaces in names become `_`,
//! control octets `?`; writing never delays a shard (`lines`).
//! Not here: which transfers are logged (`server`).

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::lines::{Lines, misleads};
use crate::problem::Problem;

/// Which way the octets went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the client.
    Outgoing,
    /// From the client.
    Incoming,
    /// A file was deleted.
    Deleted,
}

/// One transfer.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a column of two letters")]
pub struct XferLine<'a> {
    /// When it ended, seconds since the epoch.
    pub ended: i64,
    /// How long it took, whole seconds.
    pub seconds: u64,
    /// The client.
    pub remote: IpAddr,
    /// Octets of the file that were transferred.
    pub bytes: u64,
    /// Virtual path.
    pub path: &'a [u8],
    /// TYPE A or E.
    pub text: bool,
    /// Which way.
    pub direction: Direction,
    /// Anonymous, or a user of users.toml.
    pub anonymous: bool,
    /// Login name, or what an anonymous user gave as password.
    pub user: &'a [u8],
    /// Whole, or broken off.
    pub complete: bool,
}

impl XferLine<'_> {
    /// The line, its newline included.
    pub fn format(&self, zone: &TimeZone) -> Vec<u8> {
        let ended = Timestamp::from_second(self.ended)
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .to_zoned(zone.clone());
        let mut line = ended.strftime("%a %b %e %H:%M:%S %Y").to_string().into_bytes();
        // IPv4 clients of a dual-stack listener are IPv4 clients.
        let remote = self.remote.to_canonical();
        line.extend_from_slice(format!(" {} {remote} {} ", self.seconds, self.bytes).as_bytes());
        name(&mut line, self.path);
        let kind = if self.text { 'a' } else { 'b' };
        let direction = match self.direction {
            Direction::Outgoing => 'o',
            Direction::Incoming => 'i',
            Direction::Deleted => 'd',
        };
        let access = if self.anonymous { 'a' } else { 'r' };
        line.extend_from_slice(format!(" {kind} _ {direction} {access} ").as_bytes());
        name(&mut line, self.user);
        let completion = if self.complete { 'c' } else { 'i' };
        line.extend_from_slice(format!(" ftp 0 * {completion}\n").as_bytes());
        line
    }
}

/// A field must stay one field on one line.
fn name(line: &mut Vec<u8>, octets: &[u8]) {
    if octets.is_empty() {
        line.push(b'?');
    }
    for chunk in octets.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                ' ' => line.push(b'_'),
                _ if misleads(character) => line.push(b'?'),
                _ => line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        line.extend(chunk.invalid().iter().map(|_| b'?'));
    }
}

/// The open log. Clones write to the same file.
#[derive(Debug, Clone)]
pub struct Xferlog {
    lines: Lines,
    zone: TimeZone,
}

impl Xferlog {
    /// Opens or makes the file; its directory must exist.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let lines = Lines::to_file("xferlog", path.to_owned()).map_err(|error| {
            Problem::path(
                path,
                format_args!("[log] xferlog: {error}"),
                "make its directory, writable to the user the server runs as",
            )
        })?;
        Ok(Self { lines, zone: TimeZone::system() })
    }

    /// Starts the thread that writes, once the process is the user it stays.
    pub fn begin(&self) -> io::Result<()> {
        self.lines.begin()
    }

    /// Logs one transfer. Never waits; a line that finds the queue full is dropped and counted.
    pub fn write(&self, line: &XferLine<'_>) {
        self.lines.submit(line.format(&self.zone));
    }

    /// Opens the file of this name anew (SIGUSR1).
    pub fn reopen(&self) -> io::Result<()> {
        self.lines.reopen()
    }

    /// Waits until everything is written.
    pub fn flush(&self) -> io::Result<()> {
        self.lines.flush()
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.lines.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> XferLine<'static> {
        XferLine {
            ended: 1_788_345_198,
            seconds: 1,
            remote: "192.0.2.7".parse().unwrap(),
            bytes: 1024,
            path: b"/pub/file",
            text: false,
            direction: Direction::Outgoing,
            anonymous: true,
            user: b"mozilla@",
            complete: true,
        }
    }

    fn format(line: &XferLine<'_>) -> String {
        String::from_utf8(line.format(&TimeZone::UTC)).unwrap()
    }

    #[test]
    fn the_line_of_wu_ftpd() {
        assert_eq!(
            format(&line()),
            "Wed Sep  2 10:33:18 2026 1 192.0.2.7 1024 /pub/file b _ o a mozilla@ ftp 0 * c\n"
        );
        let other = XferLine {
            remote: "::ffff:192.0.2.8".parse().unwrap(),
            text: true,
            direction: Direction::Incoming,
            anonymous: false,
            complete: false,
            ..line()
        };
        assert_eq!(
            format(&other),
            "Wed Sep  2 10:33:18 2026 1 192.0.2.8 1024 /pub/file a _ i r mozilla@ ftp 0 * i\n"
        );
    }

    #[test]
    fn names_cannot_add_fields_or_lines() {
        let hostile = XferLine { path: b"/a b\nThu\x1b\x7f\r", user: b"", ..line() };
        assert_eq!(
            format(&hostile),
            "Wed Sep  2 10:33:18 2026 1 192.0.2.7 1024 /a_b?Thu??? b _ o a ? ftp 0 * c\n"
        );
        for octet in 0..=255_u8 {
            let path = [b'/', octet, b'x'];
            let formatted = XferLine { path: &path, user: &path, ..line() }.format(&TimeZone::UTC);
            let fields = formatted
                .split(|octet| octet.is_ascii_whitespace())
                .filter(|field| !field.is_empty())
                .count();
            assert_eq!(fields, 18, "{octet}");
            assert_eq!(formatted.iter().filter(|octet| **octet == b'\n').count(), 1);
        }
    }

    #[test]
    fn lines_reach_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("xferlog");
        let log = Xferlog::open(&path).unwrap();
        log.write(&line());
        log.flush().unwrap();
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .ends_with("1 192.0.2.7 1024 /pub/file b _ o a mozilla@ ftp 0 * c\n")
        );
        assert!(
            Xferlog::open(&directory.path().join("no/log"))
                .unwrap_err()
                .to_string()
                .contains("make its directory")
        );
    }
}
