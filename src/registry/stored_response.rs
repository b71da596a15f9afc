//! Stored responses to idempotent requests.

use jiff::Timestamp;

use super::RegistryError;

/// The stored response to a request that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The [fingerprint](super::IdempotentRequest::fingerprint) of the request.
    pub fingerprint: [u8; 32],
    /// The response.
    pub answer: Vec<u8>,
    /// The first moment at which the response is no longer stored.
    pub expires_at: Timestamp,
}

impl StoredResponse {
    /// Returns the response if it belongs to a request with this fingerprint.
    ///
    /// # Errors
    /// [`RegistryError::IdempotencyKeyReused`] otherwise.
    pub fn answers(self, fingerprint: &[u8; 32]) -> Result<Vec<u8>, RegistryError> {
        if self.fingerprint == *fingerprint {
            Ok(self.answer)
        } else {
            Err(RegistryError::IdempotencyKeyReused)
        }
    }
}
