//! FTP as a value.

pub mod convert;
pub mod listing;
pub mod path;
pub mod session;
pub mod step;

pub use session::Session;
