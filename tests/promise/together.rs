//! Several things done at once.

use std::sync::Arc;

use portcullis::{
    app::{Caller, CallerEdit, CallerKind, CredentialEdit, Entity, Role, Status},
    clock::{Clock, ManualClock},
    registry::{Command, Fault, NewCaller, Registry},
};

use crate::records::{actor, caller, client, key, lock_on, log, plan, tenant};

pub async fn what_is_done_together_is_seen_by_what_follows(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let caller = NewCaller { plan: Some("p".parse().unwrap()), ..client("t", "name") };
    let (tenant_id, id) = (caller.tenant.clone(), caller.id.clone());
    let edit = CallerEdit { status: Some(Status::Disabled), ..CallerEdit::default() };
    let commands = vec![
        Command::CreateTenant(tenant("t")),
        Command::PutPlan(plan("p", 1)),
        Command::CreateCaller(caller.clone()),
        Command::CreateCredential {
            credential: key(&caller.at(jiff::Timestamp::UNIX_EPOCH), "key"),
            most: None,
        },
        Command::UpdateCaller { tenant: tenant_id.clone(), id: id.clone(), expected: Some(1), edit },
    ];
    let done = registry.execute(commands, &actor()).await.unwrap();
    let log = log(&*registry).await;
    assert!(log.iter().map(|change| &change.entity).eq(&done));
    assert!(log.iter().all(|change| change.at == log[0].at), "one moment for all");
    let now = registry.caller(&tenant_id, &id).await.unwrap();
    assert_eq!((now.status, now.revision), (Status::Disabled, 2));
    assert_eq!(done[4], Entity::Caller(now));
    assert_eq!(registry.execute(vec![], &actor()).await.unwrap(), []);
}

pub async fn of_what_is_asked_together_all_is_done_or_nothing(
    registry: Arc<dyn Registry>,
    _: Arc<ManualClock>,
) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    let first = registry.create_caller(client("t", "first"), &actor()).await.unwrap();
    registry.create_credential(key(&first, "key"), &actor()).await.unwrap();
    // Something made, replaced, changed and deleted, and then what cannot be.
    let edit = CallerEdit { name: Some("renamed".into()), ..CallerEdit::default() };
    let (of, id) = (first.tenant.clone(), first.id.clone());
    let all = || {
        vec![
            Command::CreateCaller(client("t", "second")),
            Command::PutPlan(plan("p", 2)),
            Command::UpdateCaller { tenant: of.clone(), id: id.clone(), expected: None, edit: edit.clone() },
            Command::DeleteCaller { tenant: of.clone(), id: id.clone(), expected: None },
            Command::DeleteCaller { tenant: of.clone(), id: id.clone(), expected: None },
        ]
    };
    refused!(registry, Fault::NotFound, registry.execute(all(), &actor()));
    assert_eq!(registry.caller(&of, &id).await.unwrap(), first);
    let mut good = all();
    good.pop();
    registry.execute(good, &actor()).await.unwrap();
    refused!(registry, Fault::NotFound, registry.caller(&of, &id));
}

pub async fn nothing_is_done_unless_what_is_expected_stands(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let tenant = registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    let caller = registry.create_caller(client("t", "name"), &actor()).await.unwrap();
    let key = registry.create_credential(key(&caller, "key"), &actor()).await.unwrap();
    let changed = |status| Caller { status, ..caller.clone() };
    for stands in [
        Entity::Tenant(tenant.clone()),
        Entity::Plan(plan("p", 1)),
        Entity::Caller(caller.clone()),
        Entity::Credential(key.clone()),
    ] {
        let commands = vec![Command::Expect(stands.clone())];
        assert_eq!(no_change!(registry, registry.execute(commands, &actor())), [stands]);
    }
    for does_not in [
        Entity::Plan(plan("p", 2)),
        Entity::Plan(plan("q", 1)),
        Entity::Caller(changed(Status::Disabled)),
        Entity::Lock(lock_on(&caller, std::time::Duration::from_secs(1)).at(clock.now().time, 1)),
    ] {
        let commands = vec![Command::PutPlan(plan("p", 3)), Command::Expect(does_not)];
        refused!(registry, Fault::Conflict, registry.execute(commands, &actor()));
    }
    let commands = vec![Command::Expect(Entity::Plan(plan("p", 1))), Command::PutPlan(plan("p", 2))];
    registry.execute(commands, &actor()).await.unwrap();
}

pub async fn nothing_is_done_for_who_is_not_accepted_any_more(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let boss = caller("t", "boss", CallerKind::Administrator(Role::Operator));
    let boss = registry.create_caller(boss, &actor()).await.unwrap();
    let key = registry.create_credential(key(&boss, "key"), &actor()).await.unwrap();
    let admit = |role| Command::Admit {
        tenant: boss.tenant.clone(),
        credential: key.id.clone(),
        scopes: key.scopes.clone(),
        role,
    };
    let quotas = std::cell::Cell::new(1);
    let commands = |role| {
        quotas.set(quotas.get() + 1);
        vec![admit(role), Command::PutPlan(plan("p", quotas.get()))]
    };
    for role in [None, Some(Role::ReadOnly), Some(Role::Operator)] {
        let done = registry.execute(commands(role), &actor()).await.unwrap();
        assert_eq!(done, [Entity::Plan(plan("p", quotas.get()))], "it tells nothing of itself");
    }
    refused!(registry, Fault::Revoked, registry.execute(commands(Some(Role::Owner)), &actor()));

    let disabled = CallerEdit { status: Some(Status::Disabled), ..CallerEdit::default() };
    registry.update_caller(&boss.tenant, &boss.id, None, disabled, &actor()).await.unwrap();
    refused!(registry, Fault::Revoked, registry.execute(commands(None), &actor()));
    let enabled = CallerEdit { status: Some(Status::Enabled), ..CallerEdit::default() };
    registry.update_caller(&boss.tenant, &boss.id, None, enabled, &actor()).await.unwrap();

    let end = clock.now().time + std::time::Duration::from_secs(1);
    let ends = CredentialEdit { not_after: Some(Some(end)), ..CredentialEdit::default() };
    registry.update_credential(&key.tenant, &key.id, None, ends, &actor()).await.unwrap();
    registry.execute(commands(None), &actor()).await.unwrap();
    clock.advance(std::time::Duration::from_secs(1));
    refused!(registry, Fault::Revoked, registry.execute(commands(None), &actor()));

    registry.delete_credential(&key.tenant, &key.id, None, &actor()).await.unwrap();
    refused!(registry, Fault::Revoked, registry.execute(commands(None), &actor()));
}
