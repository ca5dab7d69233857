//! wire::outbox – replies that wait for the one flush.
//!
//! Handlers append, only the driver flushes, when it is about to wait. That makes one packet of
//! the replies to a pipelined burst, and one place where output leaves.
//!
//! Promises: an empty outbox owns no memory after [`Outbox::take`].
//! Not here: what a reply looks like (the reply table of each protocol).

/// Replies that wait to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
}

impl Outbox {
    /// Appends bytes of a reply. Only the reply tables call this.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    /// Is there nothing to flush?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    /// Octets waiting.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
    /// Takes what waits, leaving no memory behind.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}
