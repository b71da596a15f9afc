//! What the `portcullis` binary does beside serving, one module for each command.

pub mod client;
pub mod backup;
pub mod check;
pub mod introduction;
pub mod manage;
pub mod secrets;
pub mod sign;
mod table;
pub mod transfer;
