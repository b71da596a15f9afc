//! The commands of the `portcullis` binary other than `serve`, one module for each.

pub mod backup;
pub mod check;
pub mod client;
mod count;
pub mod introduction;
pub mod manage;
pub mod secrets;
pub mod sign;
mod table;
pub mod transfer;
