//! ftp::tests::items – every item of the acceptance list has a transcript, or a reason.
