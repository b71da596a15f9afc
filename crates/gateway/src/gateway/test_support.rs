//! Fixtures of the gateway's unit tests.

use std::sync::Arc;

use super::{GatewayState, connection::ConnectionHandler};
use crate::config::Config;
use portcullis::{
    clock::SystemClock,
    directory::Directory,
    model::{Pepper, Peppers, SealKey, Sealer},
    registry::memory::Memory,
};

/// Creates a handler for a configuration, over an empty store.
pub(super) fn handler(text: &str) -> ConnectionHandler {
    let clock = Arc::new(SystemClock::new());
    let registry = Arc::new(Memory::new(clock.clone()));
    let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[1; 32]))));
    let shared =
        GatewayState::new(clock, registry, directory, Arc::new(Sealer::new(SealKey::new(1, &[1; 32]))));
    let head = "store.path = \"x\"\nsecrets.file = \"x\"\nlisteners = [{ address = \"127.0.0.1:0\" }]\n";
    ConnectionHandler::new(&Config::parse(&format!("{head}{text}")).unwrap(), &shared).unwrap()
}
