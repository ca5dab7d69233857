//! ftp::tests – transcripts.
