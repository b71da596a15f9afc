//! Concurrent changes: no change is lost, and nothing is created twice.

use portcullis::model::{CallerEdit, ChangeKind};
use portcullis::registry::Registry;

use super::{DiscueApi, ID, JSON, OTHER, refused, succeeded};

#[tokio::test]
async fn second_update_of_one_etag_is_rejected() {
    let api = DiscueApi::new().await;
    let target = format!("/api_clients/{ID}");
    let read = api.get(&target).await;
    let etag = read.field("etag")[0].to_owned();
    let fields = [JSON, ("if-match", &*etag)];
    let first = api.send("PUT", &target, &fields, Some(r#"{"name":"example.com/first"}"#)).await;
    succeeded(&first, ID, "example.com/first", 2);
    let second = api.send("PUT", &target, &fields, Some(r#"{"name":"example.com/second"}"#)).await;
    refused(&second, 409, "Conflict");
    assert_eq!(api.stored(ID).await.name, "example.com/first");
}

#[tokio::test]
async fn if_match_accepts_lists_and_compares_strongly() {
    let api = DiscueApi::new().await;
    let target = format!("/api_clients/{ID}");
    for (value, passes) in [
        ("\"1\"", true),
        ("\"9\", \"1\"", true),
        ("*", true),
        ("\"2\"", false),
        ("W/\"1\"", false),
        ("1", false),
    ] {
        let answer = api.send("PUT", &target, &[("if-match", value)], None).await;
        if passes {
            succeeded(&answer, ID, "example.com/old", 1);
        } else {
            refused(&answer, 409, "Conflict");
        }
    }
}

#[tokio::test]
async fn concurrent_change_is_not_overwritten() {
    let api = DiscueApi::new().await;
    let edit = CallerEdit { name: Some("example.com/theirs".into()), ..CallerEdit::default() };
    api.world.registry.meanwhile(edit);
    refused(&api.put(ID, r#"{"name":"example.com/ours"}"#).await, 409, "Conflict");
    assert_eq!(api.stored(ID).await.name, "example.com/theirs");
    succeeded(&api.put(ID, r#"{"name":"example.com/ours"}"#).await, ID, "example.com/ours", 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_new_api_clients_of_one_name_is_created() {
    for _ in 0..20 {
        let api = DiscueApi::new().await;
        let body = r#"{"name":"example.com/new"}"#;
        let (one, two) = tokio::join!(api.post(body), api.post(body));
        let (made, other) = if one.status == 200 { (one, two) } else { (two, one) };
        assert_eq!(made.status, 200);
        refused(&other, 422, "Unprocessable Entity");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_renames_succeed_or_fail_completely() {
    let api = DiscueApi::new().await;
    let bodies: Vec<_> = (0..8).map(|n| format!(r#"{{"name":"example.com/n{n}"}}"#)).collect();
    let send = |n: usize| api.put(OTHER, &bodies[n]);
    let answers = tokio::join!(send(0), send(1), send(2), send(3), send(4), send(5), send(6), send(7));
    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5, answers.6, answers.7];
    let done = answers.iter().filter(|answer| answer.status == 200).count() as u64;
    answers.iter().filter(|answer| answer.status != 200).for_each(|answer| refused(answer, 409, "Conflict"));
    assert!(done >= 1);
    assert_eq!(api.stored(OTHER).await.revision, 1 + done);
}

#[tokio::test]
async fn change_log_names_caller_action_and_address() {
    let api = DiscueApi::new().await;
    let seq = api.world.directory.applied();
    api.put(OTHER, r#"{"name":"example.com/renamed"}"#).await;
    api.post("{}").await;
    let changes = api.world.memory.changes(seq, 10).await.unwrap();
    let said: Vec<_> = changes.iter().map(|change| (change.actor.as_str(), change.verb)).collect();
    let actor = format!("discue:{ID} from 127.0.0.1");
    assert_eq!(said, [(&*actor, ChangeKind::Updated), (&*actor, ChangeKind::Created)]);
}
