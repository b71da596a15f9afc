//! What the `portcullis` binary does beside serving, one module for each command.

pub mod secrets;
pub mod sign;
