//! cli::queue – `sluicegate queue …`: accepted mail that is not settled, seen and steered.
//!
//! Promises: asks the server where one runs and reads the spool where none does, with the same
//! result; nothing is changed without a selection.
//! Not here: what a selection takes and what a change is (`server::queue`).

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use clap::{Args, Subcommand};
use serde::Deserialize;

use self::listed::Listed;
use super::place::{self, Where};
use super::stopped::Stopped;
use super::{human, say};
use crate::config::Config;
use crate::problem::Problem;
use crate::server::Failure;
use crate::server::admin::{self, Response};
use crate::server::queue::destinations::Place;
use crate::server::queue::{self, Action, Answer, Changed, Detail, Page, Pick, Request, Text};
use crate::store::spool::QueueId;

mod listed;

/// Pages that a server gives while earlier ones are shown.
const PAGES_AHEAD: usize = 1;

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List messages, oldest first
    List(List),
    /// Show everything about one message but its text
    Show(Show),
    /// Deliver these messages no more until they are released
    Hold(Change),
    /// Deliver held messages again
    Release(Change),
    /// Try deferred deliveries now
    Retry(Change),
    /// Give messages up; nobody is told
    ///
    /// With --recipient or --destination only those deliveries are given up.
    Delete(Change),
    /// List other servers that mail waits for, by name
    Destinations(Destinations),
    /// List those that most mail waits for
    Top(Top),
}

#[derive(Debug, Args)]
struct Selection {
    /// Names of messages, as in the reply to the client
    #[arg(value_name = "ID", value_parser = queue_id)]
    ids: Vec<QueueId>,
    /// Messages of this envelope sender; `*` stands for anything, '' for bounces
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Messages that wait for this recipient; `*` stands for anything
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Messages that wait for this server, by its name in `queue destinations`; `*` stands for anything
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Messages accepted at least so long ago: 90s, 30m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = human::duration)]
    older_than: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    selection: Selection,
    /// As a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub(super) struct Destinations {
    /// As a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub(super) struct Top {
    /// So many at most
    #[arg(short, long, value_name = "COUNT", default_value_t = 20)]
    number: usize,
    #[command(flatten)]
    list: Destinations,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Name of the message
    #[arg(value_name = "ID", value_parser = queue_id)]
    id: QueueId,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    selection: Selection,
    /// Every message, where nothing else selects
    #[arg(long, conflicts_with_all = ["ids", "sender", "recipient", "destination", "older_than"])]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

fn queue_id(text: &str) -> Result<QueueId, String> {
    text.parse().map_err(|()| "a queue id has 13 letters and digits".to_owned())
}

impl Selection {
    fn pick(self, all: bool) -> Pick {
        let Self { ids, sender, recipient, destination, older_than } = self;
        Pick { ids, sender, recipient, destination, older_than, all }
    }
}

pub(super) fn run(command: QueueCommand) -> Result<(), Failure> {
    match command {
        QueueCommand::List(list) => run_list(list),
        QueueCommand::Show(show) => run_show(&show),
        QueueCommand::Hold(change) => run_change(Action::Hold, change),
        QueueCommand::Release(change) => run_change(Action::Release, change),
        QueueCommand::Retry(change) => run_change(Action::Retry, change),
        QueueCommand::Delete(change) => run_change(Action::Delete, change),
        QueueCommand::Destinations(list) => run_destinations(&list, None),
        QueueCommand::Top(top) => run_destinations(&top.list, Some(top.number)),
    }
}

// ---------------------------------------------------------------- whom to ask

/// Who knows what waits.
enum Keeper {
    /// A server, through its socket.
    Running(Box<Path>),
    /// The spool itself.
    Stopped(Box<Stopped>),
}

impl Keeper {
    fn find(config: &Config) -> Result<Self, Failure> {
        if let Some(path) = &config.server.admin_socket {
            match admin::reach(path) {
                Ok(()) => return Ok(Self::Running(path.as_path().into())),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(unreachable(path, &error)),
            }
        }
        let remedy =
            "that server offers no admin socket here: set [server] admin_socket, or stop it";
        let stopped = Stopped::open(config, remedy)?;
        let lost = stopped.faults.iter().filter(|fault| fault.why.starts_with("message ")).count();
        if lost > 0 {
            say::error(&format!(
                "queue: {} cannot be read (`sluicegate spool verify` tells why)",
                counted(lost as u64)
            ));
        }
        Ok(Self::Stopped(Box::new(stopped)))
    }

    fn ask(&mut self, request: Request) -> Result<Answer, Failure> {
        match self {
            Self::Running(path) => {
                let octets = admin::query_octets(path, &admin::Request::Queue(request));
                understood(path, &octets.map_err(|error| unreachable(path, &error))?)
            }
            Self::Stopped(stopped) => Ok(queue::answer(&request, &mut **stopped, human::now())),
        }
    }

    /// Shows the messages picked, some at a time, until nobody reads any more. A server is asked for the next
    /// while these are read and shown.
    fn each_page(&mut self, pick: &Pick, listed: &mut Listed) -> Result<(), Failure> {
        let Self::Running(path) = self else {
            return walk(pick, |request| self.ask(request), listed);
        };
        let path: &Path = path;
        thread::scope(|scope| {
            let (send, pages) = mpsc::sync_channel(PAGES_AHEAD);
            scope.spawn(move || fetch(path, pick, &send));
            for page in pages {
                let octets = page.map_err(|error| unreachable(path, &error))?;
                let answer: Answer<Page<Text<'_>>> = understood(path, &octets)?;
                let Answer::Page(Page { entries, .. }) = answer else {
                    return Err(misunderstood());
                };
                if !listed.page(&entries)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// What was changed is durable afterwards.
    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Stopped(stopped) => stopped.write(),
        }
    }
}

/// What a server said.
fn understood<'a, P>(path: &Path, octets: &'a [u8]) -> Result<Answer<P>, Failure>
where
    Response<P>: Deserialize<'a>,
{
    let read: io::Result<Response<P>> = serde_json::from_slice(octets).map_err(io::Error::from);
    match read.map_err(|error| unreachable(path, &error))? {
        Response::Queue(answer) => Ok(answer),
        Response::Error(why) => Err(Failure::Running(format!("queue: {why}"))),
        Response::Status(_) => Err(misunderstood()),
    }
}

/// Gets one page after the other from a server, as long as somebody takes them.
fn fetch(path: &Path, pick: &Pick, send: &SyncSender<io::Result<Vec<u8>>>) {
    let mut after = None;
    loop {
        let request = admin::Request::Queue(Request::List { pick: pick.clone(), after });
        let answer = admin::query_octets(path, &request);
        let until = answer.as_ref().ok().and_then(|octets| admin::until(octets));
        // A server that does not come further would be asked for ever.
        let over = until.is_none() || until <= after;
        if send.send(answer).is_err() || over {
            return;
        }
        after = until;
    }
}

/// One page after the other.
fn walk(
    pick: &Pick,
    mut ask: impl FnMut(Request) -> Result<Answer, Failure>,
    listed: &mut Listed,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let Answer::Page(Page { entries, until }) =
            ask(Request::List { pick: pick.clone(), after })?
        else {
            return Err(misunderstood());
        };
        // A server that does not come further would be asked for ever.
        let over = until.is_none() || until <= after;
        if !listed.page(&entries)? || over {
            return Ok(());
        }
        after = until;
    }
}

/// The server answers, but not here.
pub(super) fn unreachable(path: &Path, error: &io::Error) -> Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "ErrorKind is not exhaustive")]
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => "run it as the user of the server",
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            "no server runs there: start it, or name the right one with --data DIR or --config FILE"
        }
        _ => "is the server overloaded? see its log",
    };
    Failure::Running(Problem::path(path, error, remedy).to_string())
}

fn misunderstood() -> Failure {
    Failure::Running(
        "queue: the server answered something else (is it of another version?)".to_owned(),
    )
}

// ---------------------------------------------------------------- commands

fn run_list(list: List) -> Result<(), Failure> {
    let mut keeper = Keeper::find(&list.place.config()?)?;
    let pick = list.selection.pick(false);
    let mut listed = Listed::new(list.json, human::now);
    keeper.each_page(&pick, &mut listed)?;
    if listed.is_read() { say::out(&listed.end()) } else { Ok(()) }
}

fn counted(messages: u64) -> String {
    human::count(messages, "message")
}

/// By name; or so many of those that most waits for.
fn run_destinations(list: &Destinations, most: Option<usize>) -> Result<(), Failure> {
    let mut keeper = Keeper::find(&list.place.config()?)?;
    let Answer::Destinations(mut places) = keeper.ask(Request::Destinations)? else {
        return Err(misunderstood());
    };
    if let Some(most) = most {
        places.sort_by_key(|place| std::cmp::Reverse(place.messages()));
        places.truncate(most);
    }
    if list.json { say::json(&places) } else { say::out(&destinations(&places, human::now())) }
}

fn destinations(places: &[Place], now: i64) -> String {
    const HEADINGS: [&str; 7] =
        ["DESTINATION", "READY", "DEFERRED", "SENDING", "CONNECTIONS", "FAILURES", "NEXT"];
    if places.is_empty() {
        return "nothing waits for other servers\n".to_owned();
    }
    let row = |place: &Place| {
        let counts =
            [place.ready, place.deferred, place.running, place.connections, place.failures];
        let mut row = vec![human::plain(&place.name)];
        row.extend(counts.iter().map(ToString::to_string));
        row.push(place.next.map_or_else(|| "-".to_owned(), |next| human::until(next, now)));
        row
    };
    let rows: Vec<Vec<String>> = places.iter().map(row).collect();
    let table = human::table(&HEADINGS, &[1, 2, 3, 4, 5], &rows);
    let mut lines = table.lines();
    let mut text = format!("{}\n", lines.next().unwrap_or_default());
    for (line, place) in lines.zip(places) {
        text.push_str(&format!("{line}\n"));
        if let Some(reason) = &place.reason {
            text.push_str(&format!("    {}\n", human::plain(reason)));
        }
    }
    text
}

fn run_show(show: &Show) -> Result<(), Failure> {
    let mut keeper = Keeper::find(&show.place.config()?)?;
    let Answer::Detail(detail) = keeper.ask(Request::Show { id: show.id })? else {
        return Err(misunderstood());
    };
    let Some(detail) = detail else { return Err(unknown(&[show.id])) };
    if show.json { say::json(&detail) } else { say::out(&shown(&detail, human::now())) }
}

fn unknown(ids: &[QueueId]) -> Failure {
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let problem = Problem::new(
        format!("queue: {}", names.join(", ")),
        "no such message waits",
        "it may have been delivered; see `sluicegate queue list`",
    );
    Failure::Running(problem.to_string())
}

fn shown(detail: &Detail, now: i64) -> String {
    let entry = &detail.entry;
    let mut lines = vec![
        ("id", entry.id.to_string()),
        (
            "accepted",
            format!("{}, {} ago", human::moment(entry.accepted), human::age(now - entry.accepted)),
        ),
        ("size", human::size(entry.size)),
        ("state", entry.state.clone()),
        ("sender", format!("<{}>", entry.sender)),
        ("client", format!("{} {}, {}", detail.helo, detail.client, detail.protocol)),
        ("body", detail.body.clone()),
    ];
    lines.extend(detail.envelope_id.iter().map(|id| ("envelope id", id.clone())));
    lines.extend(detail.to.iter().map(|to| ("to", to.clone())));
    let mut text = String::new();
    for (name, value) in lines {
        text.push_str(&format!("{name:12} {}\n", human::plain(&value)));
    }
    text.push('\n');
    let rows: Vec<Vec<String>> = detail
        .targets
        .iter()
        .map(|target| {
            vec![
                human::plain(&target.address),
                human::plain(&target.to),
                human::plain(&target.state),
                target.attempts.to_string(),
                target.next.map_or_else(|| "-".to_owned(), |next| human::until(next, now)),
                target.reason.as_deref().map(human::plain).unwrap_or_default(),
            ]
        })
        .collect();
    let headings = ["RECIPIENT", "GOES TO", "STATE", "ATTEMPTS", "NEXT", "LAST REASON"];
    text.push_str(&human::table(&headings, &[3], &rows));
    text
}

fn run_change(action: Action, change: Change) -> Result<(), Failure> {
    let Change { selection, all, json, place } = change;
    let pick = selection.pick(all);
    if pick.is_empty() && !all {
        let remedy =
            "name an ID, --sender, --recipient, --destination or --older-than, or say --all";
        return Err(Failure::Usage(
            Problem::new("queue", "no message is selected", remedy).to_string(),
        ));
    }
    let config = place.config()?;
    place::smtp(&config)?;
    let mut keeper = Keeper::find(&config)?;
    let by_place = pick.destination.is_some();
    let mut ids = pick.ids.clone();
    ids.sort();
    ids.dedup();
    // Other conditions may leave out what was named; without them every name must be one.
    let named =
        Pick { ids: ids.clone(), ..Pick::default() } == Pick { ids: ids.clone(), ..pick.clone() };
    let Answer::Changed(changed) = keeper.ask(Request::Change { action, pick })? else {
        return Err(misunderstood());
    };
    keeper.finish()?;
    let missing = ids.len() as u64 - changed.picked.min(ids.len() as u64);
    if named && changed.picked == 0 && missing > 0 {
        return Err(unknown(&ids));
    }
    let text = || if changed.picked > 0 { done(action, &changed) } else { nothing(by_place) };
    if json { say::json(&changed) } else { say::out(&text()) }?;
    if named && missing > 0 {
        let what = format!("queue: {missing} of the {} named", ids.len());
        let remedy = "see `sluicegate queue list` for those that do";
        return Err(Failure::Running(Problem::new(what, "not waiting", remedy).to_string()));
    }
    Ok(())
}

fn nothing(by_place: bool) -> String {
    let hint = if by_place { " (`sluicegate queue destinations` has the names)" } else { "" };
    format!("no message matches{hint}\n")
}

fn done(action: Action, changed: &Changed) -> String {
    let (verb, others) = match action {
        Action::Hold => ("held", "needed no change"),
        Action::Release => ("released", "needed no change"),
        Action::Retry => ("to be tried now", "due already, or held"),
        Action::Delete => ("deleted", "needed no change"),
    };
    let rest = match changed.picked - changed.changed.min(changed.picked) {
        0 => String::new(),
        rest => format!(" ({rest} {others})"),
    };
    format!("{} {verb}{rest}\n", counted(changed.changed))
}
