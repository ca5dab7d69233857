//! mail::dsn::remote – reasons in which another server has its say.
//!
//! A reason is one line: `5.1.1 mx.example.org[192.0.2.1] said: 550 5.1.1 no such user`. What stands before it
//! (`5.4.7 given up after 432000 seconds: …`) is ours. A report names the server and repeats its words as
//! RFC 3464 §2.3.5 and §2.3.6 ask.
//!
//! Promises: what [`said`] wrote, [`Said::find`] finds, whatever the server said.

/// Between a server and its words.
const SAID: &str = " said: ";

/// The words of another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'r> {
    /// Its name.
    pub host: &'r str,
    /// Its reply, in one line.
    pub reply: &'r str,
}

/// A reason: `status` (RFC 3463), and what the server `peer` (`name[address]`) said.
#[must_use]
pub fn said(status: &str, peer: &str, reply: &str) -> String {
    let peer: String = peer.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    format!("{status} {peer}{SAID}{reply}")
}

impl<'r> Said<'r> {
    /// In a reason. The first that follows a name: nothing of ours before it has these words.
    #[must_use]
    pub fn find(reason: &'r str) -> Option<Self> {
        let (before, reply) = reason.split_once(SAID)?;
        let peer = before.rsplit(' ').next()?;
        let host = peer.split_once('[').map_or(peer, |(host, _)| host);
        let code = reply.len() >= 3 && reply.bytes().take(3).all(|octet| octet.is_ascii_digit());
        (code && !host.is_empty()).then_some(Self { host, reply })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_found() {
        let words = "550 5.1.1 she said: nobody of that name";
        let reason = said("5.1.1", "mx.example.org[192.0.2.1]", words);
        assert_eq!(
            reason,
            "5.1.1 mx.example.org[192.0.2.1] said: 550 5.1.1 she said: nobody of that name"
        );
        let found = Said { host: "mx.example.org", reply: words };
        assert_eq!(Said::find(&reason), Some(found));
        let later = format!("5.4.7 given up after 10 seconds: {reason}");
        assert_eq!(Said::find(&later), Some(found));
        assert_eq!(Said::find("4.4.1 mx.example.org[192.0.2.1]: connection refused"), None);
        assert_eq!(Said::find("4.2.2 mailbox full"), None);
        assert_eq!(Said::find("5.0.0 x said: nothing with a code"), None);
    }
}
