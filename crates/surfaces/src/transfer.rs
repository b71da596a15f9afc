//! Export and import of a whole registry as one file, and import of keys from other gateways.
//!
//! [`Export`] writes one JSON object per line: first a header, then one line for each entity, each after the entities
//! that it refers to, then the last uses of credentials, and finally a trailer that proves that nothing is missing or
//! altered:
//!
//! ```text
//! {"head":{"format":"portcullis-export","version":1,"program":"0.1.0","seq":41,"at":"2026-01-01T00:00:00Z",…}}
//! {"tenant":{…}}
//! {"plan":{…}}
//! {"caller":{…}}
//! {"credential":{…}}
//! {"lock":{…}}
//! {"grant":{…}}
//! {"use":{"credential":"…","at":"…"}}
//! {"end":{"counts":{…},"peppers":[1],"seal_keys":[1],"sha256":"…"}}
//! ```
//!
//! Secrets stay as they are in the store: keys as their keyed digests, app secrets sealed. Both are useless without the
//! secrets of the installation that wrote the file. The trailer lists the versions of the secrets that the file needs.
//! The header distinguishes them from other secrets of the same version by a fingerprint, from which the secrets cannot
//! be computed. `sha256` covers all lines before the trailer.
//!
//! [`Import`] reads such a file into a registry, completely or not at all. [`KeyImport`] reads [`KeyRows`] of keys, or of
//! the SHA-256 digests that other gateways store, and creates credentials from them.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use portcullis::{
//!     model::{Actor, Pepper, Peppers, SealKey, Sealer},
//!     clock::{Clock, SystemClock},
//!     registry::memory::Memory,
//! };
//! use portcullis_surfaces::transfer::{Export, Import, ImportJob, SecretFingerprints};
//!
//! let clock = Arc::new(SystemClock::new());
//! let (peppers, sealer) = (Peppers::new(Pepper::new(1, &[1; 32])), Sealer::new(SealKey::new(1, &[2; 32])));
//! let secrets = SecretFingerprints::new(&peppers, &sealer);
//!
//! let mut file = Vec::new();
//! let mut export = Export::begin(&Memory::new(clock.clone()), &secrets, clock.now().time).await?;
//! while let Some(lines) = export.next().await? {
//!     file.extend(lines);
//! }
//!
//! let registry = Memory::new(clock);
//! Import::new(&mut &*file, secrets).import_into(&registry, &Actor::system("example")).await?;
//! # Ok(())
//! # }
//! ```

mod csv;
mod error;
mod export;
mod fields;
mod import;
mod job;
mod key_rows;
mod keys;
mod ndjson;
mod secrets;

pub use error::{ImportError, LineError};
pub use export::Export;
pub use import::{Import, Imported};
pub use job::ImportJob;
pub use key_rows::{KeyFileFormat, KeyRows, MAX_FILE_BYTES, MAX_ROWS};
pub use keys::{ImportedKeys, KeyImport};
pub use secrets::{SecretFingerprint, SecretFingerprints};
