//! Bytes that protocols share; knows no protocol.

pub mod outbox;
