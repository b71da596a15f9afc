//! Generated keys and secrets.

use portcullis::{
    Denial,
    model::{
        CallerKind, Credential, CredentialId, CredentialKind, Digest, GeneratedKey, KeyPrefix, Pepper,
        Sealer, Secret, TenantId,
    },
};

/// A generated key or secret. It is shown once, in one response.
pub(super) enum GeneratedSecret {
    /// A key that the client sends with its requests.
    Key(GeneratedKey),
    /// A secret for signing requests; the access key is the id of the credential.
    Signing(Secret),
}

/// The stored form of a generated key or secret.
pub(super) struct StoredSecret {
    pub(super) kind: CredentialKind,
    pub(super) digest: Digest,
    pub(super) hint: String,
}

impl GeneratedSecret {
    /// Generates a key with the prefix of its caller's kind.
    pub(super) fn key(kind: &CallerKind) -> Result<Self, Denial> {
        generate(match kind {
            CallerKind::ApiClient | CallerKind::App(_) => "pcl",
            CallerKind::Operator => "pco",
            CallerKind::Administrator(_) => "pca",
        })
        .map(Self::Key)
    }

    /// Generates a signing secret. It has a prefix, so that secret scanners recognise it like a key.
    pub(super) fn signing() -> Result<Self, Denial> {
        generate("pcs").map(|secret| Self::Signing(Secret::from(secret.expose().to_owned())))
    }

    /// Generates a key or secret of the kind of a credential.
    pub(super) fn same_kind_as(kind: &CredentialKind, caller: &CallerKind) -> Result<Self, Denial> {
        if let CredentialKind::Signing(_) = kind { Self::signing() } else { Self::key(caller) }
    }

    /// Returns the stored form for a credential with this id. The access key is the id itself, because it is not a
    /// secret and must be found again.
    pub(super) fn stored(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        pepper: &Pepper,
        sealer: &Sealer,
    ) -> StoredSecret {
        match self {
            Self::Key(key) => StoredSecret {
                kind: CredentialKind::Key,
                digest: pepper.digest(key.expose()),
                hint: key.hint().into(),
            },
            Self::Signing(secret) => StoredSecret {
                kind: CredentialKind::Signing(sealer.seal(secret, &Credential::seal_context(tenant, id))),
                digest: pepper.digest(id.as_str()),
                hint: id.to_string(),
            },
        }
    }
}

fn generate(prefix: &str) -> Result<GeneratedKey, Denial> {
    let prefix: KeyPrefix = prefix.parse().map_err(|_| Denial::internal("the key prefix is invalid"))?;
    Ok(GeneratedKey::generate(&prefix))
}
