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
            let (registry, _storage): (std::sync::Arc<dyn portcullis::registry::Registry>, _) =
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
                tenant_is_created_at_the_registry_time,
                tenant_id_and_instance_are_unique,
                missing_tenant_is_not_found,
                tenant_standing_is_set_once,
                plan_is_created_replaced_and_left_unchanged,
                tenant_edit_changes_named_members_only,
                plan_is_deleted_only_if_unused,
                plan_is_created_once,
                tenant_is_deleted_only_without_callers,
            }
            callers {
                caller_of_any_kind_is_created_and_read_back,
                caller_needs_its_tenant_and_its_plan,
                caller_id_is_unique,
                caller_name_is_unique_per_tenant_and_kind,
                app_key_is_unique_across_tenants,
                full_tenant_rejects_more_callers_of_that_kind,
                fifty_concurrent_creations_do_not_overfill_a_tenant,
                caller_of_another_tenant_is_not_found,
                deleted_caller_loses_its_credentials_and_locks,
                first_of_several_errors_of_a_new_caller_is_returned,
            }
            edits {
                edit_changes_named_members_only,
                edit_without_effect_is_no_change,
                role_is_for_administrators_only,
                edit_rejects_duplicates,
                lost_update_is_rejected,
                one_of_two_updates_of_one_revision_succeeds,
                cancelled_edit_is_complete_or_absent,
                first_of_several_errors_of_an_edit_is_returned,
            }
            credentials {
                credential_is_created_at_the_registry_time,
                credential_needs_its_caller,
                credential_id_and_digest_are_unique_across_tenants,
                credential_status_is_set_once,
                credential_edit_changes_named_members_and_not_the_digest,
                credentials_of_a_kind_are_limited_per_caller,
                lost_update_of_a_credential_is_rejected,
                deleted_credential_frees_its_digest,
                last_use_of_a_credential_is_stored_and_is_no_change,
            }
            secrets {
                resealing_ignores_locks_and_changes_secrets_only,
                concurrently_changed_secret_is_not_resealed,
            }
            locks {
                lock_is_acquired_and_released,
                releasing_a_missing_or_expired_lock_succeeds,
                held_lock_excludes_others,
                longest_of_the_conflicting_locks_is_returned,
                lock_id_is_unique_while_it_is_active,
                locks_are_limited_per_owner,
                fence_is_greater_than_all_earlier_ones,
                imported_store_grants_greater_fences_than_its_source,
                lock_is_refreshed_only_while_active,
                broken_lock_is_lost_to_its_holder,
                lock_holder_changes_the_locked_entity,
                change_without_the_lock_is_rejected,
                locked_caller_is_unchanged_until_the_lock_expires,
                lock_protects_its_target_only,
                expired_locks_are_removed_by_the_next,
                one_of_many_concurrent_acquisitions_succeeds,
            }
            batches {
                later_commands_see_the_effects_of_earlier_ones,
                batch_is_atomic,
                failed_expectation_rejects_the_batch,
                revoked_credential_rejects_the_batch,
                lapsed_subscription_rejects_the_batch,
                app_acl_applies_to_its_own_batch,
            }
            idempotency {
                repeated_request_gets_the_first_response_without_effect,
                rejected_request_can_be_repeated,
                stored_response_is_retained_for_exactly_a_day,
                one_of_fifty_concurrent_repeats_takes_effect,
            }
            units_of_work {
                rolled_back_or_failed_work_has_no_effect,
                committed_work_is_complete,
                recorded_use_survives_a_rollback,
            }
            imports {
                imported_entities_are_unchanged,
                import_conflict_names_its_member,
                import_may_exceed_the_caller_limit_of_a_tenant,
                snapshot_is_consistent_however_long_it_is_read,
            }
            throttles {
                throttle_is_created_changed_and_deleted,
                throttle_name_and_routes_are_exclusive,
                quota_belongs_to_its_app_until_deleted,
                deleted_caller_leaves_no_throttle_or_quota,
                imported_throttle_or_quota_needs_its_references,
            }
            grants {
                grant_is_created_once_and_deleted,
                grant_needs_its_caller_and_a_unique_id,
                deleted_caller_loses_its_grants,
                grants_are_filtered_and_listed_newest_first,
            }
            listings {
                pages_follow_each_other_without_gap_or_overlap,
                listing_matches_its_filter,
                callers_are_listed_newest_first_and_counted,
            }
            log {
                changes_name_action_time_and_actor,
                changes_are_read_in_pages,
                history_has_the_previous_state_and_matches_its_filter,
                history_page_names_the_start_of_the_next,
                entity_of_each_kind_is_found_in_the_history_by_id,
                empty_registry_is_at_sequence_number_zero,
                snapshot_lists_referenced_entities_first,
                snapshot_amid_changes_is_consistent,
                waiting_for_an_existing_change_ends_at_once,
                waiting_ends_with_the_next_change,
                followed_directory_equals_a_loaded_one,
                follower_receives_every_change,
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
