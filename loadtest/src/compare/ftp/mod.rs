//! compare::ftp – sluicegate, vsftpd, Pure-FTPd and ProFTPD: who, on which tree, doing what.
//!
//! Reading order: `rows` (the work; `transfers` and `idle` hold the rows themselves), `servers` (who,
//! with which configuration), `running` (start to end), `tree` (what is served), `verify` (before
//! anything is measured).
//!
//! Promises: a server that cannot prove its contents is left out by name.

mod idle;
pub mod rows;
mod running;
pub mod servers;
mod transfers;
pub mod tree;
mod verify;

use std::path::Path;

use self::rows::{Amounts, Bench, Row};
use self::running::Launcher;
use self::servers::Server;
use self::tree::Tree;
use super::interleave::interleave;
use super::report::{Entrant, Section};
use super::{Options, room, stop_if_interrupted};

/// The empty section of the report.
pub fn section() -> Section {
    let mut section = Section::new("ftp", "FTP", None);
    section.notes = NOTES.map(str::to_owned).to_vec();
    section
}

/// Does all rows on the mounted file system.
pub fn compare(options: &Options, mount: &Path, section: &mut Section) -> Result<(), String> {
    let libraries = options.peers.as_ref().map(|peers| peers.join("lib-of-peers"));
    let mut servers = Vec::new();
    for server in servers::ALL {
        if !options.wants_server(server.program()) {
            continue;
        }
        match server.find(options.sluicegate.as_deref(), options.peers.as_deref()) {
            Some(program) => {
                section.entrants.push(entrant(server, &program, libraries.as_deref()));
                servers.push(server);
            }
            None => {
                section.skip(format!("{}: not found, skipped ({})", server.name(), server.remedy()))
            }
        }
    }
    let rows: Vec<Box<dyn Row>> =
        rows::all().into_iter().filter(|row| options.wants_row(row.work().name)).collect();
    if servers.is_empty() || rows.is_empty() {
        return Ok(());
    }
    section.expect(rows.iter().map(|row| row.work()));
    let amounts = Amounts::full(options.share);
    section.notes.push(amounts.to_string());
    section.notes.push(format!(
        "Idle sessions: {} with sluicegate, a tenth of it with each peer.",
        options.idle
    ));
    let tree = Tree::make(mount)?;
    let _user = room::FtpUser::make(tree.root())?;
    tree.warm_cache()?;
    // Private folders on the same file system, so that logs and the like cost each the same.
    let folder = mount.join("servers");
    let pin = options.pin.then_some(0);
    let launcher = Launcher { folder: &folder, root: tree.root(), libraries, pin };
    verify_all(&launcher, &tree, &mut servers, section)?;
    let programs: Vec<_> = section.entrants.iter().map(|one| one.program.clone()).collect();
    interleave(
        options.runs,
        section,
        |row| rows[row].seldom(),
        |row, server| {
            let (row, program) = (&rows[row], &programs[server]);
            let server = servers[server];
            let bench = Bench {
                server,
                program,
                launcher: &launcher,
                tree: &tree,
                amounts,
                idle: options.idle,
            };
            row.concerns(server).then(|| tree.empty_uploads().and_then(|()| row.measure(&bench)))
        },
    )
}

fn entrant(server: Server, program: &Path, libraries: Option<&Path>) -> Entrant {
    Entrant {
        name: server.name(),
        version: server.version(program, libraries),
        program: program.to_owned(),
        durability: server.durability(),
        method: "",
        config: String::new(),
    }
}

/// Lets every server prove itself once; one that cannot is left out.
fn verify_all(
    launcher: &Launcher<'_>,
    tree: &Tree,
    servers: &mut Vec<Server>,
    section: &mut Section,
) -> Result<(), String> {
    let mut index = 0;
    while index < servers.len() {
        let (server, entrant) = (servers[index], &mut section.entrants[index]);
        let verified = tree.empty_uploads().and_then(|()| {
            let running = launcher.start(server, &entrant.program)?;
            entrant.method = running.meter.method();
            entrant.config.clone_from(&running.config);
            verify::verify(running.address, tree)
        });
        stop_if_interrupted()?;
        match verified {
            Ok(()) => {
                eprintln!("verify {}: contents and listing are right", server.name());
                index += 1;
            }
            Err(why) => {
                section.skip(format!("{}: left out: {why}", server.name()));
                section.entrants.remove(index);
                servers.remove(index);
            }
        }
    }
    Ok(())
}

const NOTES: [&str; 3] = [
    "CPU is the server's own, all its processes and threads, from the first command to the last \
     reply of the work (for logins: until the session processes have ended). Kernel threads and \
     interrupts that hit somebody else are counted for nobody. GB = 10⁹ bytes.",
    "One tree for all servers, uploads emptied and written out before every start. RETR data is \
     discarded in the kernel (MSG_TRUNC); byte counts are checked for every transfer, contents once \
     per server before the runs. Sessions are logged in and warmed up before the reading.",
    "Idle memory, from the started server to the held sessions: rise of the PSS of the server's \
     processes and of the kernel's slab, stacks, page tables and per-processor memory, less the \
     client's half of the sockets (as measured with a bare listener). The system-wide line is the \
     rise of all memory in use on the machine, less the same and this program's own: a cross-check \
     that moves with whatever else runs.",
];
