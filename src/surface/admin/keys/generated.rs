//! What proves a caller, just generated.

use crate::{
    Denial,
    model::{
        GeneratedKey, CallerKind, Credential, CredentialId, CredentialKind, Digest, KeyPrefix, Pepper, Sealer,
        Secret, TenantId,
    },
};

/// What proves a caller, just generated: it is shown once, in one answer.
pub(super) enum GeneratedSecret {
    /// It is presented.
    Key(GeneratedKey),
    /// It signs, under its credential's id.
    Signing(Secret),
}

/// How it is kept.
pub(super) struct StoredSecret {
    pub(super) kind: CredentialKind,
    pub(super) digest: Digest,
    pub(super) hint: String,
}

impl GeneratedSecret {
    /// A key with the prefix of its caller's kind.
    pub(super) fn key(kind: &CallerKind) -> Result<Self, Denial> {
        generate(match kind {
            CallerKind::ApiClient | CallerKind::App(_) => "pcl",
            CallerKind::Operator => "pco",
            CallerKind::Administrator(_) => "pca",
        })
        .map(Self::Key)
    }

    /// A secret to sign with: scanners recognise it like a key.
    pub(super) fn signing() -> Result<Self, Denial> {
        generate("pcs").map(|secret| Self::Signing(Secret::from(secret.expose().to_owned())))
    }

    /// Another one like that of a credential.
    pub(super) fn same_kind_as(kind: &CredentialKind, caller: &CallerKind) -> Result<Self, Denial> {
        if let CredentialKind::Signing(_) = kind { Self::signing() } else { Self::key(caller) }
    }

    /// As a credential of this id keeps it. An access key is the id itself: no secret, and to be found again.
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
    let prefix: KeyPrefix = prefix.parse().map_err(|_| Denial::internal("the prefix of keys is none"))?;
    Ok(GeneratedKey::generate(&prefix))
}
