//! smtp – the load generator for mail.

pub(crate) mod corpus;
pub(crate) mod hostile;
pub(crate) mod journal;
pub(crate) mod queueid;
pub(crate) mod reply;
pub(crate) mod wire;
