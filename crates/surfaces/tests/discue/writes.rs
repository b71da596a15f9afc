//! Concurrent changes: no change is lost, and nothing is created twice.

use portcullis::model::{CallerEdit, ChangeKind};
use portcullis::registry::Registry;

use super::{ID, JSON, OTHER, Site, refused, succeeded};

#[tokio::test]
async fn second_update_of_one_etag_is_rejected() {
    let site = Site::new().await;
    let target = format!("/api_clients/{ID}");
    let read = site.get(&target).await;
    let etag = read.field("etag")[0].to_owned();
    let fields = [JSON, ("if-match", &*etag)];
    let first = site.send("PUT", &target, &fields, Some(r#"{"name":"example.com/first"}"#)).await;
    succeeded(&first, ID, "example.com/first", 2);
    let second = site.send("PUT", &target, &fields, Some(r#"{"name":"example.com/second"}"#)).await;
    refused(&second, 409, "Conflict");
    assert_eq!(site.stored(ID).await.name, "example.com/first");
}

#[tokio::test]
async fn if_match_accepts_lists_and_compares_strongly() {
    let site = Site::new().await;
    let target = format!("/api_clients/{ID}");
    for (value, passes) in [
        ("\"1\"", true),
        ("\"9\", \"1\"", true),
        ("*", true),
        ("\"2\"", false),
        ("W/\"1\"", false),
        ("1", false),
    ] {
        let answer = site.send("PUT", &target, &[("if-match", value)], None).await;
        if passes {
            succeeded(&answer, ID, "example.com/old", 1);
        } else {
            refused(&answer, 409, "Conflict");
        }
    }
}

#[tokio::test]
async fn concurrent_change_is_not_overwritten() {
    let site = Site::new().await;
    let edit = CallerEdit { name: Some("example.com/theirs".into()), ..CallerEdit::default() };
    site.world.registry.meanwhile(edit);
    refused(&site.put(ID, r#"{"name":"example.com/ours"}"#).await, 409, "Conflict");
    assert_eq!(site.stored(ID).await.name, "example.com/theirs");
    succeeded(&site.put(ID, r#"{"name":"example.com/ours"}"#).await, ID, "example.com/ours", 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_new_api_clients_of_one_name_is_created() {
    for _ in 0..20 {
        let site = Site::new().await;
        let body = r#"{"name":"example.com/new"}"#;
        let (one, two) = tokio::join!(site.post(body), site.post(body));
        let (made, other) = if one.status == 200 { (one, two) } else { (two, one) };
        assert_eq!(made.status, 200);
        refused(&other, 422, "Unprocessable Entity");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_renames_succeed_or_fail_completely() {
    let site = Site::new().await;
    let bodies: Vec<_> = (0..8).map(|n| format!(r#"{{"name":"example.com/n{n}"}}"#)).collect();
    let send = |n: usize| site.put(OTHER, &bodies[n]);
    let answers = tokio::join!(send(0), send(1), send(2), send(3), send(4), send(5), send(6), send(7));
    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5, answers.6, answers.7];
    let done = answers.iter().filter(|answer| answer.status == 200).count() as u64;
    answers.iter().filter(|answer| answer.status != 200).for_each(|answer| refused(answer, 409, "Conflict"));
    assert!(done >= 1);
    assert_eq!(site.stored(OTHER).await.revision, 1 + done);
}

#[tokio::test]
async fn change_log_names_caller_action_and_address() {
    let site = Site::new().await;
    let seq = site.world.directory.applied();
    site.put(OTHER, r#"{"name":"example.com/renamed"}"#).await;
    site.post("{}").await;
    let changes = site.world.memory.changes(seq, 10).await.unwrap();
    let said: Vec<_> = changes.iter().map(|change| (change.actor.as_str(), change.verb)).collect();
    let actor = format!("discue:{ID} from 127.0.0.1");
    assert_eq!(said, [(&*actor, ChangeKind::Updated), (&*actor, ChangeKind::Created)]);
}
