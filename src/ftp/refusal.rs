//! ftp::refusal – which code a fault gets, by command.
//!
//! RFC 959 §5.4 lists the codes each command may answer with and wants the list "strictly adhered
//! to"; RFC 1123 §4.1.2.11 wants 4yz for what may work later. This is the one place where both meet.
//!
//! Not here: the texts (`reply`), what happens after a refusal (`session`).

use super::reply::Reply;
use super::step::Fault;

/// A group of commands with the same failure codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// CWD, CDUP, MKD, RMD: 550 whatever it is.
    Directory,
    /// DELE, RNFR, SIZE, MDTM, MLST, MFMT, SITE: 450 or 550.
    File,
    /// RNTO: 553.
    RenameTo,
    /// STAT with a path: 450.
    Status,
    /// ALLO: 452 or 552.
    Allocate,
    /// RETR: 450, 451, 550, 554.
    Retrieve,
    /// STOR, APPE: 450, 451, 452, 550 for permission, 552, 553, 554.
    Store,
    /// STOU: the same.
    StoreUnique,
    /// LIST, NLST: 450, 451, 550.
    List,
    /// MLSD: the same, and 501 for what is no directory (RFC 3659 §7.2.1).
    Machine,
}

/// The reply to a command that was refused.
pub fn refusal(errand: Errand, fault: Fault) -> Reply {
    Reply::because(code(errand, fault), fault)
}

/// The reply to a transfer that failed on this side after it had begun.
pub fn failure(errand: Errand, fault: Fault) -> Reply {
    let code = match errand {
        Errand::Store | Errand::StoreUnique => match code(errand, fault) {
            // After 150 the name is no longer in question unless the last step says so.
            450 | 554 => 451,
            code => code,
        },
        Errand::Directory
        | Errand::File
        | Errand::RenameTo
        | Errand::Status
        | Errand::Allocate
        | Errand::Retrieve
        | Errand::List
        | Errand::Machine => 451,
    };
    Reply::because(code, fault)
}

fn code(errand: Errand, fault: Fault) -> u16 {
    match errand {
        Errand::Directory => 550,
        Errand::RenameTo => 553,
        Errand::Status => 450,
        Errand::Machine if fault == Fault::NotDirectory => 501,
        Errand::File | Errand::Retrieve | Errand::List | Errand::Machine => match fault {
            Fault::Busy => 450,
            Fault::Exhausted | Fault::Local | Fault::Changed | Fault::NoSpace => {
                // RFC 959 §5.4 knows no 451 for DELE and RNFR.
                if errand == Errand::File { 450 } else { 451 }
            }
            Fault::BadOffset => 554,
            Fault::Missing
            | Fault::Denied
            | Fault::IsDirectory
            | Fault::NotDirectory
            | Fault::Exists
            | Fault::NotEmpty
            | Fault::BadName
            | Fault::TooLarge
            | Fault::NotRegular
            | Fault::Link
            | Fault::Unsupported => 550,
        },
        Errand::Allocate if fault == Fault::TooLarge => 552,
        Errand::Allocate => 452,
        Errand::Store | Errand::StoreUnique => match fault {
            Fault::Busy => 450,
            Fault::Exhausted | Fault::Local | Fault::Changed => 451,
            Fault::NoSpace => 452,
            Fault::TooLarge => 552,
            Fault::BadOffset => 554,
            Fault::Denied => 550,
            Fault::Missing
            | Fault::IsDirectory
            | Fault::NotDirectory
            | Fault::Exists
            | Fault::NotEmpty
            | Fault::BadName
            | Fault::NotRegular
            | Fault::Link
            | Fault::Unsupported => 553,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::reply::REASONS;

    /// What each errand may answer with. RFC 959 §5.4, with 550 for LIST and for STOR without
    /// permission, 452 and 552 for ALLO, 554 for a restart and 501 for MLSD of a file besides.
    const ALLOWED: [(Errand, &[u16], &[u16]); 10] = [
        (Errand::Directory, &[550], &[]),
        (Errand::File, &[450, 550, 554], &[]),
        (Errand::RenameTo, &[553], &[]),
        (Errand::Status, &[450], &[]),
        (Errand::Allocate, &[452, 552], &[]),
        (Errand::Retrieve, &[450, 451, 550, 554], &[451]),
        (Errand::Store, &[450, 451, 452, 550, 552, 553, 554], &[451, 452, 550, 552, 553]),
        (Errand::StoreUnique, &[450, 451, 452, 550, 552, 553, 554], &[451, 452, 550, 552, 553]),
        (Errand::List, &[450, 451, 550, 554], &[451]),
        (Errand::Machine, &[450, 451, 501, 550, 554], &[451]),
    ];

    #[test]
    fn codes_are_those_of_the_reply_table() {
        for (errand, refused, failed) in ALLOWED {
            for (fault, text) in REASONS {
                let reply = refusal(errand, fault);
                assert!(refused.contains(&reply.code()), "{errand:?} {fault:?} {reply:?}");
                assert_eq!(reply.text(), text);
                let reply = failure(errand, fault);
                assert!(
                    failed.is_empty() || failed.contains(&reply.code()),
                    "{errand:?} {fault:?}"
                );
            }
        }
    }

    #[test]
    fn what_may_work_later_is_4yz_where_the_command_has_one() {
        for errand in [Errand::File, Errand::Retrieve, Errand::Store, Errand::List, Errand::Machine]
        {
            for fault in [Fault::Busy, Fault::Exhausted, Fault::Local, Fault::NoSpace] {
                assert!(
                    (400..500).contains(&refusal(errand, fault).code()),
                    "{errand:?} {fault:?}"
                );
            }
            for fault in [Fault::Missing, Fault::Denied, Fault::IsDirectory, Fault::BadName] {
                assert!(refusal(errand, fault).code() >= 500, "{errand:?} {fault:?}");
            }
        }
    }
}
