//! milter::dialogue – one connection to a milter.
//!
//! ```text
//!  begin ─▶ Agreed ─▶ Connect ─▶ Helo ─▶ ┌ Mail ─▶ Rcpt … ─▶ Data ─▶ Header … ─▶ EndOfHeader ─▶ Body … ─▶ EndOfMessage ┐
//!                                        └───────────────────────── abort ◀─────────────────────────────────────────────┘
//! ```
//! Each command is answered by one response, unless it was agreed that it is not ([`Asked`]). Only the end of
//! the message is answered by changes too; they count together with the answer that ends them, or not at all.
//!
//! Promises: what a milter may not say at that place, or did not say it would do, is a [`Fault`]; changes have
//! bounds in number and octets, but for the new body, which is handed on as it comes.
//! Not here: in which order what is said (`server::milter`), time.

use std::net::SocketAddr;

use super::Fault;
use super::agreement::{Agreement, actions, protocol};
use super::macros::{Macros, Place};
use super::packet::{self, Reader};
use super::response::{Edit, Response, Words};
use crate::limits::{MILTER_BODY_BYTES_MAX, MILTER_EDITS_BYTES_MAX, MILTER_EDITS_MAX};

/// What a milter is told.
#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    /// Somebody connected.
    Connect {
        /// The client's name, or `unknown`.
        name: &'a str,
        /// Where it is.
        address: SocketAddr,
    },
    /// HELO or EHLO.
    Helo(&'a str),
    /// The sender, without brackets, and parameters.
    Mail(&'a str, &'a [String]),
    /// A recipient, and parameters.
    Rcpt(&'a str, &'a [String]),
    /// The message begins.
    Data,
    /// One field: its name and its value, lines separated by LF; what stands between colon and value included.
    Header(&'a [u8], &'a [u8]),
    /// The header is over.
    EndOfHeader,
    /// A portion of the body: no more than [`MILTER_BODY_BYTES_MAX`].
    Body(&'a [u8]),
    /// The message is over.
    EndOfMessage,
}

/// Where the dialogue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// What both sides can do.
    Negotiation,
    /// The connection of the client.
    Connect,
    /// HELO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// A header field.
    Header,
    /// The end of the header.
    EndOfHeader,
    /// A portion of the body.
    Body,
    /// The end of the message.
    EndOfMessage,
}

impl Stage {
    /// For the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Negotiation => "negotiation",
            Self::Connect => "connect",
            Self::Helo => "HELO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Header => "header",
            Self::EndOfHeader => "end of header",
            Self::Body => "body",
            Self::EndOfMessage => "end of message",
        }
    }

    /// Is it about a message, or one of its recipients?
    const fn is_of_message(self) -> bool {
        !matches!(self, Self::Negotiation | Self::Connect | Self::Helo)
    }
}

/// Is there an answer to come?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Wait for it.
    Answer,
    /// It was said, and nothing comes back.
    Told,
    /// The milter does not want to hear it.
    Unwanted,
}

/// What a milter answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Continue,
    /// Whatever follows, it is fine.
    Accept,
    /// 5yz.
    Reject,
    /// 4yz.
    Tempfail,
    /// Take it, and throw it away.
    Discard,
    /// Refused in these words.
    Words(Words),
    /// No more of the body.
    Skip,
    /// 421, and the client is to go.
    Shutdown,
}

/// Something a milter said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The dialogue can begin.
    Agreed,
    /// It is working on it: whoever waits has more patience.
    Progress,
    /// The next octets of the new body.
    Body(Vec<u8>),
    /// What it was asked for.
    Answer(Answer),
}

/// One connection.
#[derive(Debug)]
pub struct Dialogue {
    reader: Reader,
    agreed: Agreement,
    awaited: Option<Stage>,
    /// A message is under way of which the milter has not said its last word.
    underway: bool,
    edits: Vec<Edit>,
    weight: usize,
}

impl Dialogue {
    /// Appends what comes first.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        Agreement::offer(out);
        Self {
            reader: Reader::default(),
            agreed: Agreement::none(),
            awaited: Some(Stage::Negotiation),
            underway: false,
            edits: Vec::new(),
            weight: 0,
        }
    }

    /// What was agreed on.
    pub const fn agreed(&self) -> &Agreement {
        &self.agreed
    }

    /// What the milter owes an answer to.
    pub const fn awaited(&self) -> Option<Stage> {
        self.awaited
    }

    /// Is a message under way? Then [`Dialogue::abort`] comes before the next one.
    pub const fn is_underway(&self) -> bool {
        self.underway
    }

    /// What the milter changes, once it has answered the end of the message.
    pub fn take_edits(&mut self) -> Vec<Edit> {
        self.weight = 0;
        std::mem::take(&mut self.edits)
    }

    /// Appends a command.
    ///
    /// # Errors
    /// The milter has spoken meanwhile, though it was not asked.
    pub fn say(
        &mut self,
        command: Command<'_>,
        macros: &Macros,
        out: &mut Vec<u8>,
    ) -> Result<Asked, Fault> {
        let form = Form::of(command);
        if self.awaited.is_some() || !self.reader.is_empty() {
            return Err(Fault::Unasked);
        }
        if form.stage == Stage::Mail {
            self.underway = true;
            drop(self.take_edits());
        }
        if self.agreed.has(form.unwanted) || (form.stage == Stage::Data && !self.agreed.has_data())
        {
            return Ok(Asked::Unwanted);
        }
        if let Some(place) = form.place {
            macros.push(place, self.agreed.symbols(place), form.letter, out);
        }
        encode(command, form.letter, self.agreed.has(protocol::LEADING_SPACE), out);
        if self.agreed.has(form.silent) {
            return Ok(Asked::Told);
        }
        self.awaited = Some(form.stage);
        Ok(Asked::Answer)
    }

    /// Appends: the message that was under way is not to be.
    pub fn abort(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.underway) {
            packet::push(b'A', &[], out);
        }
    }

    /// Appends the end.
    pub fn quit(&mut self, out: &mut Vec<u8>) {
        self.abort(out);
        packet::push(b'Q', &[], out);
    }

    /// The milter said this.
    pub fn heard(&mut self, octets: &[u8]) {
        self.reader.feed(octets);
    }

    /// What it means; `None` until there is more of it.
    ///
    /// # Errors
    /// It is of no use any more.
    pub fn said(&mut self) -> Result<Option<Said>, Fault> {
        while let Some(stage) = self.awaited {
            let Some(packet) = self.reader.take()? else { return Ok(None) };
            if let Some(said) = self.take(stage, Response::understood(packet)?)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    fn take(&mut self, stage: Stage, response: Response) -> Result<Option<Said>, Fault> {
        let name = response.name();
        let misplaced = Err(Fault::OutOfPlace(name));
        let answer = match response {
            Response::Negotiated(data) if stage == Stage::Negotiation => {
                self.agreed = Agreement::understood(&data)?;
                self.awaited = None;
                return Ok(Some(Said::Agreed));
            }
            Response::Failed => return Err(Fault::Failed),
            _ if stage == Stage::Negotiation => return misplaced,
            Response::Progress => return Ok(Some(Said::Progress)),
            Response::Body(data) if stage == Stage::EndOfMessage => {
                self.permitted(actions::CHANGE_BODY, name)?;
                return Ok(Some(Said::Body(data)));
            }
            Response::Edit(edit) if stage == Stage::EndOfMessage => {
                self.permitted(needed(&edit), name)?;
                self.remember(edit)?;
                return Ok(None);
            }
            Response::AddWithParameters(address) if stage == Stage::EndOfMessage => {
                self.permitted(actions::ADD_RECIPIENT_PARAMETERS, name)?;
                self.remember(Edit::AddRecipient(address))?;
                return Ok(None);
            }
            Response::Skip if stage == Stage::Body && self.agreed.has(protocol::SKIP) => {
                Answer::Skip
            }
            Response::Discard if stage.is_of_message() => Answer::Discard,
            Response::Continue => Answer::Continue,
            Response::Accept => Answer::Accept,
            Response::Reject => Answer::Reject,
            Response::Tempfail => Answer::Tempfail,
            Response::Words(words) => Answer::Words(words),
            Response::Shutdown => Answer::Shutdown,
            Response::Negotiated(_)
            | Response::Body(_)
            | Response::Edit(_)
            | Response::AddWithParameters(_)
            | Response::Skip
            | Response::Discard => return misplaced,
        };
        self.awaited = None;
        self.underway &= goes_on(stage, &answer);
        Ok(Some(Said::Answer(answer)))
    }

    fn permitted(&self, action: u32, name: &'static str) -> Result<(), Fault> {
        if self.agreed.allows(action) { Ok(()) } else { Err(Fault::NotAgreed(name)) }
    }

    fn remember(&mut self, edit: Edit) -> Result<(), Fault> {
        self.weight += edit.weight();
        self.edits.push(edit);
        let much = self.weight > MILTER_EDITS_BYTES_MAX || self.edits.len() > MILTER_EDITS_MAX;
        if much { Err(Fault::TooMuch) } else { Ok(()) }
    }
}

/// After this answer, does the milter wait for more of the message?
fn goes_on(stage: Stage, answer: &Answer) -> bool {
    match answer {
        Answer::Continue | Answer::Skip => stage != Stage::EndOfMessage,
        // One recipient less; the others may follow.
        Answer::Reject | Answer::Tempfail | Answer::Words(_) => stage == Stage::Rcpt,
        Answer::Accept | Answer::Discard | Answer::Shutdown => false,
    }
}

/// What has to be agreed on for it.
fn needed(edit: &Edit) -> u32 {
    match edit {
        // libmilter has one switch for both.
        Edit::Add { .. } | Edit::Insert { .. } => actions::ADD_HEADER,
        Edit::Change { .. } => actions::CHANGE_HEADER,
        Edit::Sender(_) => actions::CHANGE_FROM,
        Edit::AddRecipient(_) => actions::ADD_RECIPIENT,
        Edit::DeleteRecipient(_) => actions::DELETE_RECIPIENT,
        Edit::Quarantine(_) => actions::QUARANTINE,
    }
}

/// How a command is said.
struct Form {
    stage: Stage,
    letter: u8,
    place: Option<Place>,
    unwanted: u32,
    silent: u32,
}

impl Form {
    fn of(command: Command<'_>) -> Self {
        use protocol as p;
        let (stage, letter, place, unwanted, silent) = match command {
            Command::Connect { .. } => {
                (Stage::Connect, b'C', Some(Place::Connect), p::NO_CONNECT, p::SILENT_CONNECT)
            }
            Command::Helo(_) => (Stage::Helo, b'H', Some(Place::Helo), p::NO_HELO, p::SILENT_HELO),
            Command::Mail(..) => (Stage::Mail, b'M', Some(Place::Mail), p::NO_MAIL, p::SILENT_MAIL),
            Command::Rcpt(..) => (Stage::Rcpt, b'R', Some(Place::Rcpt), p::NO_RCPT, p::SILENT_RCPT),
            Command::Data => (Stage::Data, b'T', Some(Place::Data), p::NO_DATA, p::SILENT_DATA),
            Command::Header(..) => (Stage::Header, b'L', None, p::NO_HEADER, p::SILENT_HEADER),
            Command::EndOfHeader => (
                Stage::EndOfHeader,
                b'N',
                Some(Place::EndOfHeader),
                p::NO_END_OF_HEADER,
                p::SILENT_END_OF_HEADER,
            ),
            Command::Body(_) => (Stage::Body, b'B', None, p::NO_BODY, p::SILENT_BODY),
            Command::EndOfMessage => (Stage::EndOfMessage, b'E', Some(Place::EndOfMessage), 0, 0),
        };
        Self { stage, letter, place, unwanted, silent }
    }
}

fn encode(command: Command<'_>, letter: u8, leading_space: bool, out: &mut Vec<u8>) {
    let with_parameters = |address: &str, parameters: &[String], out: &mut Vec<u8>| {
        let mut data = format!("<{address}>\0").into_bytes();
        for parameter in parameters {
            data.extend_from_slice(parameter.as_bytes());
            data.push(0);
        }
        packet::push(letter, &[&data], out);
    };
    match command {
        Command::Connect { name, address } => {
            let family = if address.is_ipv4() { b'4' } else { b'6' };
            let (ip, port) = (address.ip().to_string(), address.port().to_be_bytes());
            let name = name.as_bytes();
            packet::push(letter, &[name, &[0, family], &port, ip.as_bytes(), &[0]], out);
        }
        Command::Helo(name) => packet::push(letter, &[name.as_bytes(), &[0]], out),
        Command::Mail(address, parameters) | Command::Rcpt(address, parameters) => {
            with_parameters(address, parameters, out);
        }
        Command::Header(name, value) => {
            // Without that, one space belongs to nobody.
            let value = match value.strip_prefix(b" ") {
                Some(rest) if !leading_space => rest,
                _ => value,
            };
            packet::push(letter, &[name, &[0], value, &[0]], out);
        }
        Command::Body(octets) => {
            let most = octets.len().min(MILTER_BODY_BYTES_MAX);
            packet::push(letter, &[octets.get(..most).unwrap_or_default()], out);
        }
        Command::Data | Command::EndOfHeader | Command::EndOfMessage => {
            packet::push(letter, &[], out);
        }
    }
}
