//! smtp::client::tests – the dialogue as text: transcripts, arbitrary servers, our own server.
//!
//! A transcript is a file of `transcripts/`, one line an event:
//!
//! | line | meaning |
//! |---|---|
//! | `# id 5321-53 …` | items of the acceptance list this file shows |
//! | `= lmtp on`, `= tls never`, `may` or `must`, `= secure on`, `= login on` | settings |
//! | `= ready WORDS` | begins after an EHLO that was answered with these keywords (`,` between them) |
//! | `= message TEXT` | the message of every transaction; without it there is a short one |
//! | `= hold on` | the driver gives the message by lines `<` |
//! | `S: line` | the server says a line; `\` at the end: without CRLF |
//! | `< mail WORDS` | a transaction: `from:ADDRESS`, `to:ADDRESS;notify=…;orcpt=…`, `8bit`, `binary`, `utf8`, `ret=…`, `envid=…`, `size=…` |
//! | `< words` | what else the driver does: `quit`, `secured`, `authenticate MECHANISM TEXT`, `respond TEXT` (with `complete` the server may say yes), `unable TEXT`, `lost TEXT`, `body TEXT`, `end` |
//! | `? timer`, `? offers`, `? held`, `? limits` | what the session says of itself |
//! | `---` | another session begins |
//! | `C: line`, `> words`, `! words` | what came of it: commands and the message, steps, values |
//!
//! Each plays whole and octet by octet; both must give the text of the file. With
//! `UPDATE_TRANSCRIPTS=1` the files are written anew; read the difference before keeping it.

mod items;
mod random;
mod script;
