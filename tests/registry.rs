//! The promises of [`Registry`](portcullis::registry::Registry), tested with every implementation.
//!
//! To test your implementation, add a line to the end of this file. Each test gets an empty registry and its clock.
//! After each test, the change log must contain everything that the registry holds.

#[macro_use]
mod conformance {
    #[macro_use]
    mod refused;
    pub mod batches;
    pub mod callers;
    pub mod credentials;
    pub mod edits;
    pub mod grants;
    pub mod idempotency;
    pub mod imports;
    pub mod listings;
    pub mod locks;
    pub mod log;
    pub mod secrets;
    pub mod tenants;
    pub mod throttles;
    pub mod units_of_work;
}
mod fixtures;

/// Generates one test for each promise, with the promise's name.
macro_rules! keeps {
    ($open:expr; $($area:ident { $($promise:ident,)+ })+) => {$($(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let clock = crate::fixtures::clock();
            // The registry may depend on a value that must live as long, such as a folder.
            let (registry, _ground): (std::sync::Arc<dyn portcullis::registry::Registry>, _) =
                $open(clock.clone()).await;
            crate::conformance::$area::$promise(registry.clone(), clock).await;
            crate::fixtures::the_log_tells_all(&*registry).await;
        }
    )+)+};
}

macro_rules! keeps_all {
    ($open:expr) => {
        keeps! { $open;
            tenants {
                a_tenant_is_made_at_the_registrys_time,
                a_tenants_id_and_place_are_taken_once,
                a_tenant_that_is_not_there_is_not_found,
                a_standing_is_set_once,
                a_plan_is_made_replaced_and_left_alone,
                an_edit_of_a_tenant_changes_what_it_names,
                a_plan_is_deleted_when_nobody_is_on_it,
                a_plan_is_made_once,
                a_tenant_is_deleted_when_it_has_no_callers,
            }
            callers {
                a_caller_of_any_kind_is_made_and_read_back,
                a_caller_needs_its_tenant_and_its_plan,
                a_callers_id_is_taken_once,
                a_name_is_taken_once_for_a_tenant_and_kind,
                an_app_key_is_taken_once_for_all_tenants,
                a_full_tenant_takes_no_more_callers_of_that_kind,
                fifty_callers_at_once_fill_a_tenant_and_no_more,
                another_tenants_caller_is_not_found,
                a_deleted_caller_takes_its_credentials_and_locks_along,
                the_first_of_several_reasons_to_refuse_a_caller_is_given,
            }
            edits {
                an_edit_changes_what_it_names,
                an_edit_that_changes_nothing_is_no_change,
                a_role_is_an_administrators_to_have,
                an_edit_takes_only_what_is_free,
                a_lost_update_is_refused,
                of_two_updates_of_one_revision_one_is_made,
                an_edit_given_up_midway_is_made_wholly_or_not_at_all,
                the_first_of_several_reasons_to_refuse_an_edit_is_given,
            }
            credentials {
                a_credential_is_made_at_the_registrys_time,
                a_credential_needs_its_caller,
                a_credentials_id_and_digest_are_taken_once_for_all_tenants,
                a_credentials_status_is_set_once,
                an_edit_of_a_credential_changes_what_it_names_and_not_its_digest,
                a_caller_has_no_more_credentials_of_a_kind_than_it_may,
                a_lost_update_of_a_credential_is_refused,
                a_deleted_credential_is_gone_and_its_digest_free,
                the_last_use_of_a_credential_is_kept_and_is_no_change,
            }
            secrets {
                secrets_are_sealed_anew_whatever_locks_stand_on_them_and_nothing_else_changes,
                a_secret_that_changed_meanwhile_is_not_sealed_anew_as_it_was,
            }
            locks {
                a_lock_is_acquired_and_released,
                a_lock_that_is_gone_or_has_expired_is_released,
                what_one_has_locked_nobody_else_locks,
                the_longest_of_the_locks_in_the_way_is_shown,
                a_locks_id_is_taken_for_as_long_as_it_holds,
                an_owner_holds_as_many_locks_as_it_may_and_no_more,
                a_fence_is_greater_than_all_before_however_those_ended,
                what_was_moved_here_grants_greater_fences_than_were_granted_there,
                a_lock_is_refreshed_while_it_holds_and_never_after,
                a_broken_lock_is_lost_to_its_holder,
                who_proves_its_lock_changes_what_it_locked,
                who_does_not_hold_a_lock_changes_nothing,
                a_locked_caller_stays_as_it_is_until_the_nanosecond_the_lock_expires,
                a_lock_holds_only_what_it_stands_on,
                expired_locks_are_cleared_away_by_the_next,
                of_many_who_acquire_at_once_one_holds,
            }
            batches {
                what_is_done_together_is_seen_by_what_follows,
                of_what_is_asked_together_all_is_done_or_nothing,
                nothing_is_done_unless_what_is_expected_stands,
                nothing_is_done_once_the_credential_that_asked_is_not_accepted_any_more,
                nothing_is_done_under_a_subscription_that_has_lapsed,
                an_app_that_asks_with_its_own_secret_is_held_to_its_address_list,
            }
            idempotency {
                a_request_sent_again_gets_the_first_answer_and_has_no_effect,
                a_request_that_is_refused_may_be_made_again,
                a_record_is_kept_for_a_day_to_the_nanosecond,
                of_one_request_sent_fifty_times_at_once_one_takes_effect,
            }
            units_of_work {
                work_that_is_given_up_or_fails_never_was,
                work_that_is_kept_is_all_there,
                a_use_that_was_noted_before_is_there_when_work_is_given_up,
            }
            imports {
                what_is_imported_is_there_as_it_was,
                what_cannot_be_imported_is_named_by_its_member,
                an_import_takes_more_callers_than_a_tenant_may_have,
                a_view_is_of_one_moment_however_long_it_is_read,
            }
            throttles {
                a_throttle_is_made_changed_and_deleted,
                a_throttle_has_its_name_and_its_routes_alone,
                a_quota_is_an_apps_until_it_is_deleted,
                who_is_deleted_leaves_no_throttle_or_quota_behind,
                an_imported_throttle_or_quota_stands_on_what_is_there,
            }
            grants {
                a_grant_is_given_once_and_taken_back,
                a_grant_needs_its_caller_and_an_id_of_its_own,
                a_deleted_caller_takes_its_grants_along,
                grants_are_listed_newest_first_by_what_was_asked_for,
            }
            listings {
                pages_follow_each_other_without_gap_or_overlap,
                a_listing_shows_only_what_was_asked_for,
                callers_are_listed_newest_first_and_counted,
            }
            log {
                changes_say_what_was_done_when_and_by_whom,
                changes_are_read_in_pages,
                the_history_shows_what_was_before_and_only_what_was_asked_for,
                a_page_of_history_says_where_the_next_begins,
                an_entity_of_each_kind_is_found_in_the_history_by_its_id,
                an_empty_registry_is_as_of_change_zero,
                a_snapshot_has_first_what_others_stand_on,
                a_snapshot_amid_changes_is_of_one_moment,
                waiting_for_a_change_that_is_there_ends_at_once,
                waiting_ends_when_a_change_is_made,
                a_directory_that_follows_equals_one_that_loads,
                a_follower_hears_of_every_change,
            }
        }
    };
}

mod memory {
    use std::sync::Arc;

    use portcullis::{
        clock::ManualClock,
        registry::{Registry, memory::Memory},
    };

    async fn open(clock: Arc<ManualClock>) -> (Arc<dyn Registry>, ()) {
        (Arc::new(Memory::new(clock)), ())
    }

    keeps_all!(open);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::{sync::Arc, time::Duration};

    use portcullis::{
        clock::ManualClock,
        registry::{
            Registry,
            sqlite::{Options, Sqlite},
        },
    };

    /// Opens a registry that does not poll for changes of other processes, so that waiting ends only by a notification.
    async fn open(clock: Arc<ManualClock>) -> (Arc<dyn Registry>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default().poll(Duration::from_hours(1));
        let store = Sqlite::open_with(&folder.path().join("store.db"), clock, options).await.unwrap();
        (Arc::new(store), folder)
    }

    keeps_all!(open);
}
