//! compare::mail – sluicegate, Postfix and OpenSMTPD as they take mail.
//!
//! The generator is Postfix's own `smtp-source`, for all. sluicegate and Postfix have a message on stable
//! storage before their 250; what they do with it afterwards is measured until it is done.
//!
//! Reading order: `rows` (the work; `sending`, `relaying` and `memory` hold the rows themselves), `servers` (who),
//! `config` (their configurations), `bulk` and `idle` (the generators for memory).
//!
//! Promises: as `compare`: loopback, bounded, everything on the machine undone, nothing skipped in silence.

mod bulk;
pub mod config;
mod idle;
mod memory;
mod relaying;
pub mod rows;
mod sending;
pub mod servers;

use std::path::Path;
use std::time::Instant;

use self::rows::{Bench, Row};
use self::servers::{Programs, Running};
use super::interleave::interleave;
use super::report::{Entrant, Section};
use super::{Options, cpu, room};
use crate::sys;

/// The empty section of the report.
pub fn section() -> Section {
    let mut section = Section::new("smtp", "SMTP", Some("Postfix"));
    section.notes = NOTES.map(str::to_owned).to_vec();
    section
}

/// Does all rows on the mounted file system.
pub fn compare(options: &Options, mount: &Path, section: &mut Section) -> Result<(), String> {
    if cpu::Group::make().is_none() {
        section.skip(
            "mail: skipped, it needs control groups (v1 cpuacct or v2): the generator runs beside \
             the servers"
                .into(),
        );
        return Ok(());
    }
    let programs = Programs::find(options.sluicegate.as_deref(), options.peers.as_deref());
    if !programs.generator().is_file() {
        section.skip(format!("mail: skipped, no generator: smtp-source {}", servers::REMEDY));
        return Ok(());
    }
    let mut chosen = Vec::new();
    for server in servers::ALL {
        let unasked = options.servers.is_empty() && server.by_default();
        if !unasked && !options.servers.iter().any(|name| name == server.id()) {
            continue;
        }
        match programs.of(server) {
            Some(program) => {
                section.entrants.push(Entrant {
                    name: server.name(),
                    version: programs.version(server, &program),
                    program,
                    durability: server.durability(),
                    method: "",
                    config: String::new(),
                });
                chosen.push(server);
            }
            None => {
                section.skip(format!("{}: not found, skipped {}", server.name(), servers::REMEDY));
            }
        }
    }
    let rows: Vec<Box<dyn Row>> =
        rows::all().into_iter().filter(|row| options.wants_row(row.work().name)).collect();
    if chosen.is_empty() || rows.is_empty() {
        return Ok(());
    }
    section.expect(rows.iter().map(|row| row.work()));
    let _users = chosen
        .iter()
        .map(|server| room::Users::make(server.users(), server.group()))
        .collect::<Result<Vec<_>, _>>()?;
    let disk = rows::durable_rate(mount)?;
    eprintln!("the disk's own sequential durable rate: {disk:.0} MB/s");
    section.notes.push(format!(
        "Each measurement sends for about {} s. The disk's own sequential durable rate (1 MiB at a \
         time, O_DSYNC, blocks written before): {disk:.0} MB/s.",
        options.seconds
    ));
    let (seconds, idle) = (options.seconds, options.idle);
    for (server, entrant) in chosen.iter().zip(&mut section.entrants) {
        let bench =
            Bench { server: *server, programs: &programs, folder: mount, seconds, idle, disk };
        // One that does not start fails in its rows, by name.
        if let Ok(running) = Running::start(&bench) {
            entrant.method = running.meter.method();
            entrant.config.clone_from(&running.config);
        }
    }
    interleave(
        options.runs,
        section,
        |row| rows[row].seldom(),
        |row, server| {
            let (row, server) = (&rows[row], chosen[server]);
            let bench = Bench { server, programs: &programs, folder: mount, seconds, idle, disk };
            row.concerns(server).then(|| {
                rows::settle_disk();
                row.measure(&bench)
            })
        },
    )
}

/// Whether somebody asked us to stop while we waited.
fn patience(limit: std::time::Duration, mut done: impl FnMut() -> bool) -> Result<(), String> {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() > limit {
            return Err(format!("not done within {} s", limit.as_secs()));
        }
        if sys::interrupted() {
            return Err("interrupted".into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

const NOTES: [&str; 4] = [
    "The generator is smtp-source, on the same processors; -d (many messages in a session) but in \
     the row of new connections; no pipelining.",
    "CPU is that of the server's control group until everything accepted is settled; kernel threads \
     (loop device, journal) are counted for nobody.",
    "In the relay rows the server passes everything on to one smtp-sink (in clear, at most 20 connections, \
     for both), and the time ends when that has the last message; its configuration is the one shown, but \
     for the route: sluicegate relay:, Postfix relay_transport, both without look-ups in the DNS.",
    "OpenSMTPD 6.8.0 calls no fsync before its 250, so what it is compared in is not durable; the server \
     opensmtpd-synced (only by name) has its queue folder marked for synchronous updates (chattr +S), which \
     makes every write wait. It cannot discard mail, so its deliveries are paused: what it accepted stays \
     in its queue, and delivering is not in its figures. It listens with a backlog of 5: of more clients that \
     come at once, or in quick succession, some wait five seconds for their connection. So it gets 5 sessions \
     where others get 20, and is left out of the rows about sessions and connections.",
];
