//! Rules of plans.

use super::{Rules, ensure_not};
use crate::{
    model::{ChangeKind, Plan, PlanId},
    registry::RegistryError,
};

/// Creates a plan. Fails with [`RegistryError::Conflict`] when a plan with its id exists.
#[derive(Debug, Clone)]
pub struct CreatePlan(
    /// The plan to create.
    pub Plan,
);

/// Creates or replaces a plan: [`put_plan`](crate::registry::RegistryExt::put_plan).
#[derive(Debug, Clone)]
pub struct PutPlan(
    /// The plan to store.
    pub Plan,
);

/// Deletes a plan and returns its last state: [`delete_plan`](crate::registry::RegistryExt::delete_plan).
#[derive(Debug, Clone)]
pub struct DeletePlan(
    /// The id of the plan.
    pub PlanId,
);

impl Rules<'_> {
    pub(in crate::registry) async fn create_plan(
        &mut self,
        CreatePlan(plan): CreatePlan,
    ) -> Result<Plan, RegistryError> {
        ensure_not(self.tx.plan(plan.id()).await?.is_some(), RegistryError::Conflict)?;
        self.record(ChangeKind::Created, plan).await
    }

    pub(in crate::registry) async fn put_plan(
        &mut self,
        PutPlan(plan): PutPlan,
    ) -> Result<Plan, RegistryError> {
        let verb = match self.tx.plan(plan.id()).await? {
            Some(before) if before == plan => return Ok(plan),
            Some(_) => ChangeKind::Updated,
            None => ChangeKind::Created,
        };
        self.record(verb, plan).await
    }

    pub(in crate::registry) async fn delete_plan(
        &mut self,
        DeletePlan(id): DeletePlan,
    ) -> Result<Plan, RegistryError> {
        let plan = self.tx.plan(&id).await?.ok_or(RegistryError::NotFound)?;
        ensure_not(self.tx.plan_in_use(&id).await?, RegistryError::InUse)?;
        self.record(ChangeKind::Deleted, plan).await
    }
}
