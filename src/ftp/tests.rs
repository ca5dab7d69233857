//! ftp::tests – the dialogue as text: transcripts, the table of transitions, arbitrary input.
//!
//! A transcript is a file of `transcripts/`, one line an event:
//!
//! | line | meaning |
//! |---|---|
//! | `# id 959-14 …` | items of the acceptance list this file shows |
//! | `= peer ADDR`, `= local ADDR`, `= banner TEXT`, `= anonymous on`, `= passive-address IP`, `= failures N`, `= login RIGHTS` | set-up |
//! | `C: line` | the client sends a line; `\` at the end: without CRLF; neighbours go in one portion |
//! | `< words` | the driver answers a question, or has news of a transfer |
//! | `? timer`, `? input`, `? umask`, `? account`, `? held` | what the session says of itself |
//! | `---` | another session begins |
//! | `S: line`, `> words`, `! words` | what came of it: replies, steps, values |
//!
//! Each plays whole and octet by octet; both must give the text of the file. With
//! `UPDATE_TRANSCRIPTS=1` the files are written anew; read the difference before keeping it.

mod injection;
mod items;
mod random;
mod script;
mod transitions;
