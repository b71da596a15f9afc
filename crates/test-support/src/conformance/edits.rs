//! Changing callers.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use portcullis::{
    clock::{Clock, ManualClock},
    model::{App, Caller, CallerEdit, CallerKind, Role, SealKey, Sealer, Secret, Status},
    registry::{NewCaller, Registry, RegistryError},
};

use super::{Promise, promises};
use crate::fixtures::{actor, app, caller, client, lock_on, plan, tenant, within};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    edit_changes_named_members_only,
    edit_without_effect_is_no_change,
    role_is_for_administrators_only,
    edit_rejects_duplicates,
    lost_update_is_rejected,
    one_of_two_updates_of_one_revision_succeeds,
    cancelled_edit_is_complete_or_absent,
    first_of_several_errors_of_an_edit_is_returned,
];

async fn with_caller(registry: &dyn Registry, new: NewCaller) -> Caller {
    let _ = registry.create_tenant(tenant(new.tenant.as_str()), &actor()).await;
    registry.create_caller(new, &actor()).await.unwrap()
}

fn name(name: &str) -> CallerEdit {
    CallerEdit { name: Some(name.into()), ..CallerEdit::default() }
}

async fn edit_changes_named_members_only(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let mut expected = with_caller(&*registry, app("t", "name", "key")).await;
    let bystander = with_caller(&*registry, client("t", "name")).await;
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    let sealed = Sealer::new(SealKey::new(2, &[4; 32])).seal(&Secret::from("new".to_owned()), &[]);
    let CallerKind::App(before) = expected.kind.clone() else { unreachable!() };
    let app = App { remark: "new".into(), key: "new".into(), secret: sealed.clone(), ..before };

    type Step = (CallerEdit, Box<dyn Fn(&mut Caller)>);
    let steps: [Step; 5] = [
        (name("new"), Box::new(|it| it.name = "new".into())),
        (
            CallerEdit { status: Some(Status::Disabled), ..CallerEdit::default() },
            Box::new(|it| it.status = Status::Disabled),
        ),
        (
            CallerEdit { plan: Some(Some("p".parse().unwrap())), ..CallerEdit::default() },
            Box::new(|it| it.plan = Some("p".parse().unwrap())),
        ),
        (CallerEdit { plan: Some(None), ..CallerEdit::default() }, Box::new(|it| it.plan = None)),
        (
            CallerEdit {
                remark: Some("new".into()),
                key: Some("new".into()),
                secret: Some(sealed),
                ..CallerEdit::default()
            },
            Box::new(move |it| it.kind = CallerKind::App(app.clone())),
        ),
    ];
    for (edit, apply) in steps {
        clock.advance(Duration::from_nanos(1));
        apply(&mut expected);
        expected.revision += 1;
        expected.updated_at = clock.now().time;
        let (tenant, id) = (&expected.tenant, &expected.id);
        let edited = registry.update_caller(tenant, id, None, edit, &actor()).await.unwrap();
        assert_eq!(edited, expected);
        assert_eq!(registry.caller(tenant, id).await.unwrap(), expected);
    }
    assert_eq!(registry.caller(&bystander.tenant, &bystander.id).await.unwrap(), bystander);
}

async fn edit_without_effect_is_no_change(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let made = with_caller(&*registry, client("t", "name")).await;
    clock.advance(Duration::from_secs(1));
    // Members of apps do not apply to other callers.
    let key = CallerEdit { key: Some("key".into()), ..CallerEdit::default() };
    for edit in [CallerEdit::default(), name("name"), key] {
        for expected in [None, Some(1)] {
            let (tenant, id, edit) = (&made.tenant, &made.id, edit.clone());
            let same = no_change!(registry, registry.update_caller(tenant, id, expected, edit, &actor()));
            assert_eq!(same, made);
        }
    }
}

async fn edit_rejects_duplicates(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let ours = with_caller(&*registry, app("t", "ours", "our key")).await;
    with_caller(&*registry, app("t", "theirs", "their key")).await;
    with_caller(&*registry, client("t", "a client's")).await;
    with_caller(&*registry, app("u", "another tenant's", "another tenant's key")).await;
    let edit = |edit| {
        let (registry, ours) = (registry.clone(), ours.clone());
        async move { registry.update_caller(&ours.tenant, &ours.id, None, edit, &actor()).await }
    };
    let key = |key: &str| CallerEdit { key: Some(key.into()), ..CallerEdit::default() };
    let on = |plan: &str| CallerEdit { plan: Some(Some(plan.parse().unwrap())), ..CallerEdit::default() };

    refused!(registry, RegistryError::NameTaken, edit(name("theirs")));
    refused!(registry, RegistryError::KeyTaken, edit(key("their key")));
    refused!(registry, RegistryError::KeyTaken, edit(key("another tenant's key")));
    refused!(registry, RegistryError::NotFound, edit(on("none")));
    // A caller does not conflict with its own name and key, nor with names of another kind or tenant.
    edit(CallerEdit { status: Some(Status::Disabled), ..name("ours") }).await.unwrap();
    edit(CallerEdit { remark: Some("new".into()), ..key("our key") }).await.unwrap();
    edit(name("a client's")).await.unwrap();
    edit(name("another tenant's")).await.unwrap();
    // Its previous key is free.
    edit(key("new key")).await.unwrap();
    with_caller(&*registry, app("t", "ours", "our key")).await;
}

async fn lost_update_is_rejected(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let made = with_caller(&*registry, client("t", "name")).await;
    let update = |expected, edit| {
        let (registry, made) = (registry.clone(), made.clone());
        async move { registry.update_caller(&made.tenant, &made.id, expected, edit, &actor()).await }
    };
    refused!(registry, RegistryError::Conflict, update(Some(0), name("new")));
    refused!(registry, RegistryError::Conflict, update(Some(2), name("new")));
    assert_eq!(update(Some(1), name("new")).await.unwrap().revision, 2);
    refused!(registry, RegistryError::Conflict, update(Some(1), name("newer")));
    // Fails even if nothing would change, because the expected revision is outdated.
    refused!(registry, RegistryError::Conflict, update(Some(1), name("new")));
    refused!(registry, RegistryError::Conflict, update(Some(u64::MAX), name("newer")));
    assert_eq!(update(None, name("newer")).await.unwrap().revision, 3);
    assert_eq!(update(Some(3), name("newest")).await.unwrap().revision, 4);
}

async fn one_of_two_updates_of_one_revision_succeeds(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let mut revision = with_caller(&*registry, client("t", "name")).await;
    for round in 0..20 {
        let update = |side: &str| {
            let (registry, it, edit) = (registry.clone(), revision.clone(), name(&format!("{side} {round}")));
            tokio::spawn(async move {
                registry.update_caller(&it.tenant, &it.id, Some(it.revision), edit, &actor()).await
            })
        };
        let (left, right) = (update("left"), update("right"));
        let (left, right) = within(async { (left.await.unwrap(), right.await.unwrap()) }).await;
        let made = match (left, right) {
            (Ok(made), Err(RegistryError::Conflict)) | (Err(RegistryError::Conflict), Ok(made)) => made,
            both => panic!("{both:?}"),
        };
        assert_eq!(registry.caller(&made.tenant, &made.id).await.unwrap(), made);
        revision = made;
    }
}

/// Drops the future after one wakeup, after two, and so on, like a client that disconnects. How far a change proceeds
/// until then is random, hence the rounds.
async fn cancelled_edit_is_complete_or_absent(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let made = with_caller(&*registry, client("t", "name")).await;
    let (tenant, id) = (&made.tenant, &made.id);
    let mut finished = false;
    for (round, wakes) in (1..=20).cycle().take(200).enumerate() {
        let by = actor();
        let edit = name(&format!("given up {round}"));
        let mut change = registry.update_caller(tenant, id, None, edit, &by);
        let mut polls = 0;
        let outcome = within(poll_fn(|cx| {
            polls += 1;
            match change.as_mut().poll(cx) {
                Poll::Pending if polls >= wakes => Poll::Ready(None),
                poll => poll.map(Some),
            }
        }));
        finished |= outcome.await.is_some();
        drop(change);
        // The next edit is neither blocked nor based on a partial change.
        let next = registry.update_caller(tenant, id, None, name(&format!("made {round}")), &by);
        let next = within(next).await.unwrap();
        assert_eq!(registry.caller(tenant, id).await.unwrap(), next);
    }
    assert!(finished, "some number of wake-ups is enough");
}

async fn first_of_several_errors_of_an_edit_is_returned(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let ours = with_caller(&*registry, app("t", "ours", "our key")).await;
    with_caller(&*registry, app("t", "theirs", "their key")).await;
    let second = Duration::from_secs(1);
    registry.acquire_lock(lock_on(&ours, second), &actor()).await.unwrap();
    let edit = |expected, name: &str, key: &str| {
        let (registry, ours) = (registry.clone(), ours.clone());
        let plan = Some(Some("none".parse().unwrap()));
        let (name, key) = (Some(name.to_owned()), Some(key.to_owned()));
        let edit = CallerEdit { name, key, plan, ..CallerEdit::default() };
        async move { registry.update_caller(&ours.tenant, &ours.id, expected, edit, &actor()).await }
    };
    // Not found, locked, revision, name, key, no plan.
    refused!(registry, RegistryError::Locked(_), edit(Some(9), "theirs", "their key"));
    clock.advance(second);
    refused!(registry, RegistryError::Conflict, edit(Some(9), "theirs", "their key"));
    refused!(registry, RegistryError::NameTaken, edit(Some(1), "theirs", "their key"));
    refused!(registry, RegistryError::KeyTaken, edit(Some(1), "new", "their key"));
    refused!(registry, RegistryError::NotFound, edit(Some(1), "new", "new"));
}

async fn role_is_for_administrators_only(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let administrator = caller("t", "one", CallerKind::Administrator(Role::ReadOnly));
    let edit = CallerEdit { role: Some(Role::Owner), ..CallerEdit::default() };
    let made = registry.create_caller(administrator, &actor()).await.unwrap();
    let after = registry.update_caller(&made.tenant, &made.id, None, edit.clone(), &actor()).await.unwrap();
    assert_eq!((after.kind, after.revision), (CallerKind::Administrator(Role::Owner), 2));
    let client = registry.create_caller(client("t", "two"), &actor()).await.unwrap();
    no_change!(registry, registry.update_caller(&client.tenant, &client.id, None, edit, &actor()));
}
