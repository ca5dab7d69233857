//! milter::tests – the dialogue as text: transcripts, arbitrary milters, the header against a naive one.
//!
//! A transcript is a file of `transcripts/`, one line an event:
//!
//! | line | meaning |
//! |---|---|
//! | `= agreed V ACTIONS PROTOCOL` | begins after a negotiation that ended so (numbers in hexadecimal) |
//! | `S: LETTER text` | the milter sends a packet; `~` is NUL, `\|` LF, `^` CRLF; `#N,N` in front of the text: numbers of four octets (hexadecimal); `!octets` in place of the letter: as they are |
//! | `< words` | the driver: `negotiate`, `connect`, `helo NAME`, `mail ADDR …`, `rcpt ADDR …`, `data`, `header NAME VALUE`, `eoh`, `body TEXT`, `end`, `abort`, `quit` |
//! | `? underway`, `? agreed` | what the dialogue says of itself |
//! | `---` | another dialogue begins |
//! | `C: LETTER text` | what the milter is sent |
//! | `> words` | what came of it |
//! | `! words` | values |
//!
//! Each plays whole and octet by octet; both must give the text of the file. With
//! `UPDATE_TRANSCRIPTS=1` the files are written anew; read the difference before keeping it.

mod fields;
mod random;
mod script;
