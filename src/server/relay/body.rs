//! server::relay::body – a message as it is sent on: what was added when it was accepted, and then its octets,
//! a piece at a time straight from the spool.
//!
//! Promises: memory for one piece, however large the message; the trace field stands in front once.
//! Not here: dots and line ends (`smtp::client`).

use std::io;

use bytes::Bytes;

use crate::store::spool::Content;

/// One message.
#[derive(Clone)]
pub(super) struct Body {
    head: Bytes,
    content: Content,
}

impl Body {
    /// `head`: the trace field (RFC 5321 §4.4), and what else stands before the octets (`letter::head`).
    pub(super) fn new(head: Vec<u8>, content: Content) -> Self {
        Self { head: Bytes::from(head), content }
    }

    /// Octets.
    pub(super) fn len(&self) -> u64 {
        self.head_bytes().saturating_add(self.content.len())
    }

    fn head_bytes(&self) -> u64 {
        u64::try_from(self.head.len()).unwrap_or(u64::MAX)
    }

    /// Some octets from `offset`, at most `max`, at least one; none only at the end.
    ///
    /// # Errors
    /// What the disk says; `InvalidData` when the message is damaged.
    pub(super) async fn read(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        let head = usize::try_from(offset).ok().filter(|offset| *offset < self.head.len());
        match head {
            Some(offset) => {
                let end = offset.saturating_add(max).min(self.head.len());
                Ok(self.head.slice(offset..end))
            }
            None => self.content.read(offset.saturating_sub(self.head_bytes()), max).await,
        }
    }
}
