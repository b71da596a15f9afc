//! To come.
use super::*;
use crate::clock::Clock;
use std::{path::Path, sync::Arc};
pub type Sqlite = super::memory::Memory;
impl Sqlite {
    pub async fn open(_: &Path, c: Arc<dyn Clock>) -> Result<Self, Fault> {
        Ok(Self::new(c))
    }
}
