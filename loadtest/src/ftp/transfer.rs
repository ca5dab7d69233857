//! ftp::transfer – one transfer as a value: what its data connection and its replies came to.
//!
//! The two ends of a transfer come in any order, the last octet and the final reply; both are
//! awaited, so that the next command never meets the rest of the last one.
//!
//! Promises: says "done" only if the server did, every octet expected came, and none beside.
//! Not here: commands and connections (`session`).

use crate::engine::session::Nanoseconds;
use crate::ftp::work::{Expected, File, Job, Verb};

/// Where the data connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Not open yet.
    Opening,
    /// Open, TLS included.
    Open,
    /// At its end, as it should be.
    Ended,
    /// Broken.
    Failed(String),
}

/// One transfer.
#[derive(Debug)]
pub struct Transfer {
    /// The command's name.
    pub verb: Verb,
    /// When the command was sent.
    pub commanded_at: Nanoseconds,
    /// When the first octet came.
    pub first_at: Option<Nanoseconds>,
    /// When the last octet came or went.
    pub last_at: Option<Nanoseconds>,
    /// The data connection.
    pub data: Data,
    /// Whether the server said that it begins.
    pub begun: bool,
    /// The length it announced then.
    pub announced: Option<u64>,
    /// The final reply.
    pub reply: Option<u16>,
    /// Final replies still to come after an abort.
    pub replies_missing: u8,
    /// Octets moved.
    pub moved: u64,
    /// Octets to send, and the pattern they are of.
    pub content: (u64, u64),
    /// Where in the file it begins.
    pub offset: u64,
    /// Contents that are expected, if we know them.
    pub expected: Option<Expected>,
    /// CRC-32C of what came.
    pub crc: u32,
    /// The last two octets that came.
    pub tail: [u8; 2],
    /// Whether octets are looked at.
    pub looked_at: bool,
    /// Whether we cut it short.
    pub aborted: bool,
}

impl Transfer {
    /// A transfer whose command is about to be sent.
    pub fn new(verb: Verb, looked_at: bool) -> Self {
        Self {
            verb,
            commanded_at: 0,
            first_at: None,
            last_at: None,
            data: Data::Opening,
            begun: false,
            announced: None,
            reply: None,
            replies_missing: 1,
            moved: 0,
            content: (0, 0),
            offset: 0,
            expected: None,
            crc: 0,
            tail: [0; 2],
            looked_at,
            aborted: false,
        }
    }

    /// Octets came.
    pub fn received(&mut self, octets: &[u8], now: Nanoseconds) {
        self.first_at.get_or_insert(now);
        self.moved += octets.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, octets);
        if let Some(expected) = &mut self.expected {
            expected.take(octets);
        }
        for &octet in &octets[octets.len().saturating_sub(2)..] {
            self.tail = [self.tail[1], octet];
        }
    }

    /// Octets came that nobody looked at.
    pub fn dropped(&mut self, count: u64, now: Nanoseconds) {
        self.first_at.get_or_insert(now);
        self.moved += count;
    }

    /// Octets still to be sent.
    pub fn remaining(&self) -> u64 {
        self.content.1.saturating_sub(self.offset + self.moved)
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        let Some(reply) = self.reply else { return false };
        if self.replies_missing > 0 {
            return false;
        }
        // After a refusal no data connection is ever used.
        reply >= 400 || self.aborted || matches!(self.data, Data::Ended | Data::Failed(_))
    }

    /// What came of it: nothing, or what was wrong.
    pub fn verdict(&self, job: &Job, file: Option<&File>) -> Result<(), String> {
        let reply = self.reply.unwrap_or_default();
        if self.aborted {
            // 226: it was faster; 426, 451: it was not; 225: nothing to abort any more.
            let expected = (200..300).contains(&reply) || matches!(reply, 426 | 450 | 451);
            return if expected { Ok(()) } else { Err(reply.to_string()) };
        }
        if !(200..300).contains(&reply) {
            return Err(reply.to_string());
        }
        if let Data::Failed(why) = &self.data {
            return Err(format!("data connection {why}"));
        }
        match self.verb {
            Verb::Retr => self.fetched(job, file),
            Verb::List | Verb::Mlsd
                if self.looked_at && self.moved > 0 && self.tail != *b"\r\n" =>
            {
                Err("listing ends within a line".to_owned())
            }
            Verb::Stor | Verb::Appe if self.remaining() > 0 => Err("ended early".to_owned()),
            _ => Ok(()),
        }
    }

    fn fetched(&self, job: &Job, file: Option<&File>) -> Result<(), String> {
        let whole = self.offset == 0;
        if let Some(announced) = self.announced.filter(|_| whole)
            && announced != self.moved
        {
            return Err("length is not the announced one".to_owned());
        }
        let size = match &self.expected {
            Some(expected) => Some(expected.length()),
            None => file.and_then(File::size),
        };
        if let Some(size) = size {
            let wanted = size.saturating_sub(self.offset);
            if self.moved != wanted {
                let how = if self.moved < wanted { "short" } else { "long" };
                return Err(format!("too {how}"));
            }
        }
        if self.expected.as_ref().is_some_and(|expected| !expected.right) {
            return Err("wrong contents".to_owned());
        }
        let Some(file) = file.filter(|_| whole && job.verb == Verb::Retr) else { return Ok(()) };
        if self.looked_at && file.crc().is_some_and(|crc| crc != self.crc) {
            return Err("wrong checksum".to_owned());
        }
        // Who comes later compares with this one; the first finder is as good as any.
        let crc = self.looked_at.then_some(self.crc);
        let _found_before = file.learned.set((self.moved, crc));
        Ok(())
    }
}
