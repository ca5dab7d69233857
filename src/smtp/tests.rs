//! smtp::tests – the dialogue as text: transcripts, the table of transitions, arbitrary input.
//!
//! A transcript is a file of `transcripts/`, one line an event:
//!
//! | line | meaning |
//! |---|---|
//! | `# id 5321-14 …` | items of the acceptance list this file shows |
//! | `= peer ADDR`, `= banner TEXT`, `= size N`, `= recipients N`, `= messages N`, `= hops N`, `= errors N`, `= bare normalize`, `= strict on`, `= verify on`, `= expand on` | settings |
//! | `= tls off`, `optional` or `required`, `= certificate off`, `= auth on`, `= submission on`, `= logins N` | settings of security |
//! | `= secure on` | TLS from the first octet |
//! | `= lmtp on`, `= trust xclient xforward` | LMTP; what the peer is believed |
//! | `= hello on`, `= transaction on` | begins after EHLO (LHLO, behind `= lmtp on`), or after RCPT |
//! | `= hold on` | questions wait for a line `<` |
//! | `C: line` | the client sends a line; `\` at the end: without CRLF; neighbours go in one portion |
//! | `< words` | the driver answers a question it did not answer by itself, or has news; `< secured`: 220 was sent and a handshake done |
//! | `? timer`, `? message`, `? held` | what the session says of itself |
//! | `---` | another session begins |
//! | `S: line`, `> words`, `! words` | what came of it: replies, steps, values |
//!
//! Questions about senders and recipients are answered by name (see `script::judge`); a body is
//! shown with the step that ends it, as the octets the draft got.
//!
//! Each plays whole and octet by octet; both must give the text of the file. With
//! `UPDATE_TRANSCRIPTS=1` the files are written anew; read the difference before keeping it.

mod items;
mod loopback;
mod random;
mod script;
mod transitions;
