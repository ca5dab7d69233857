//! server::manage – answers the admin socket from what the process knows and what its shards say.
//!
//! Not here: the socket (`admin`), what answers look like (`queue`, `status`).

use std::io::ErrorKind;
use std::sync::Arc;

use super::admin::{self, Admin, Gone, Request, Response};
use super::run::Failure;
use super::status::{Seen, Status};
use super::{Phase, Shared, queue};
use crate::shard::Board;

/// Opens the admin socket, if there is to be one. It is gone with what is returned.
pub(super) fn start(shared: &Arc<Shared>, boards: Arc<[Board]>) -> Result<Option<Gone>, Failure> {
    let Some(path) = shared.config.load().server.admin_socket.clone() else { return Ok(None) };
    let shared = Arc::clone(shared);
    let started = Admin::bind(&path)
        .and_then(|admin| admin.start(move |request| answer(&shared, &boards, request)));
    started.map(Some).map_err(|error| {
        #[allow(clippy::wildcard_enum_match_arm, reason = "ErrorKind is not exhaustive")]
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => "another server listens there: give each its own",
            ErrorKind::AlreadyExists => "a file that is no socket is in the way",
            _ => "give a path in a directory the server's user may write, or \"\"",
        };
        let path = path.display();
        Failure::Running(format!("[server] admin_socket: {path}: {error} ({remedy})"))
    })
}

fn answer(shared: &Shared, boards: &[Board], request: Request) -> Response<queue::Sheet> {
    let notify = || boards.iter().for_each(Board::notify);
    let config = shared.config.load();
    let mail = config.smtp.is_some();
    match request {
        Request::Status => {
            let phase = match shared.phase() {
                Phase::Running => "running",
                Phase::Draining => "draining",
                Phase::Stopping => "stopping",
            };
            let seen: Vec<Seen> = boards.iter().map(seen).collect();
            let spoken = [("ftp", config.ftp.is_some()), ("smtp", mail)];
            let protocols: Vec<&str> =
                spoken.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
            let status = Status::gather(&shared.metrics, phase, &seen, &protocols);
            Response::Status(Box::new(status))
        }
        Request::Queue(_) if !mail => {
            Response::Error("no mail is taken: there is no section [smtp]".to_owned())
        }
        Request::Queue(queue::Request::Change { pick, .. }) if pick.is_empty() && !pick.all => {
            Response::Error("nothing was selected".to_owned())
        }
        Request::Queue(request) => match admin::ask(&shared.desks, &request, notify) {
            Ok(answer) => Response::Queue(answer),
            Err(why) => Response::Error(why),
        },
    }
}

fn seen(board: &Board) -> Seen {
    Seen { connections: board.load(), beat_age: board.beat_age(), panics: board.panics() }
}
