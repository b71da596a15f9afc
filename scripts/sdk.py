"""Calls every supported operation of the vendor's SDK against a running gateway.

Usage: sdk.py URL FILE, where FILE contains the output of `portcullis key create --signing --json`.
"""

import json
import sys
from types import SimpleNamespace

import huaweicloudsdkapig.v2 as v2
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.http.http_config import HttpConfig

PROJECT, INSTANCE = "demo-project", "demo-instance"
RELEASE = "DEFAULT_ENVIRONMENT_RELEASE_ID"

url, signing = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
credentials = BasicCredentials(signing["id"], signing["secret"], PROJECT)
config = HttpConfig.get_default_config()
config.timeout = (5, 10)
client = (
    v2.ApigClient.new_builder()
    .with_http_config(config)
    .with_credentials(credentials)
    .with_endpoint(url)
    .build()
)
calls = 0


def call(operation, body=None, **parameters):
    """Calls an operation by its name in the SDK."""
    global calls
    calls += 1
    name = "".join(part.capitalize() for part in operation.split("_")) + "Request"
    request = getattr(v2, name)(instance_id=INSTANCE, **parameters)
    if body is not None:
        request.body = body
    return getattr(client, operation)(request)


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def refused(status, code, operation, body=None, **parameters):
    """Expects an operation to fail; the SDK reads code, text and request id from the response."""
    try:
        call(operation, body, **parameters)
    except ClientRequestException as error:
        equal((error.status_code, error.error_code), (status, code))
        assert error.error_msg, error
        assert error.request_id, "no request id"
        return error.error_msg
    raise AssertionError(f"{operation} did not fail")


def apps():
    body = v2.AppCreate(name="sdk_app", remark="First app", related_domain_id="8a1", related_project_id="8a2")
    made = call("create_an_app_v2", body)
    equal((made.name, made.remark, made.status, made.creator, made.app_type), ("sdk_app", "First app", 1, "USER", "apig"))
    assert len(made.id) == len(made.app_key) == len(made.app_secret) == 32, made
    other = call("create_an_app_v2", v2.AppCreate(name="应用程序", app_key="sdk_key_1", app_secret="sdk_secret_1"))
    equal((other.name, other.app_key, other.app_secret), ("应用程序", "sdk_key_1", "sdk_secret_1"))
    listed = call("list_apps_v2", name="sdk", limit=10)
    equal((listed.total, listed.size, [app.id for app in listed.apps]), (1, 1, [made.id]))
    equal(listed.apps[0].bind_num, 0)
    equal([app.name for app in call("list_apps_v2", limit=2).apps], ["应用程序", "sdk_app"])
    equal(call("show_details_of_app_v2", app_id=made.id).to_dict(), made.to_dict())
    changed = call("update_app_v2", v2.AppCreate(name="sdk_app_2", remark="Changed"), app_id=made.id)
    equal((changed.name, changed.remark, changed.app_key), ("sdk_app_2", "Changed", made.app_key))
    again = call("resetting_app_secret_v2", v2.AppResetCreate(), app_id=made.id)
    assert len(again.app_secret) == 32 and again.app_secret != made.app_secret, again
    chosen = call("resetting_app_secret_v2", v2.AppResetCreate(app_secret="chosen_secret"), app_id=made.id)
    equal(chosen.app_secret, "chosen_secret")
    checked = call("check_app_v2", app_id=made.id)
    equal((checked.id, checked.name, checked.remark), (made.id, "sdk_app_2", "Changed"))
    equal(call("list_app_quantities_v2").unauthed_nums, 3)
    text = refused(400, "APIG.2011", "create_an_app_v2", v2.AppCreate(name="1"))
    assert "name" in text, text
    refused(400, "APIG.3203", "create_an_app_v2", v2.AppCreate(name="sdk_app_2"))
    refused(404, "APIG.3002", "show_details_of_app_v2", app_id="none")
    return SimpleNamespace(id=made.id, other=other.id, name="sdk_app_2")


def app_codes(app):
    code = "a" * 64
    made = call("create_app_code_v2", v2.AppCodeCreate(app_code=code), app_id=app.id)
    equal((made.app_code, made.app_id), (code, app.id))
    auto = call("create_app_code_auto_v2", app_id=app.id)
    assert len(auto.app_code) == 64 and auto.app_code != code, auto
    listed = call("list_app_codes_v2", app_id=app.id)
    equal((listed.total, {each.id for each in listed.app_codes}), (2, {made.id, auto.id}))
    shown = call("show_details_of_app_code_v2", app_id=app.id, app_code_id=auto.id)
    equal((shown.app_code, shown.create_time), (auto.app_code, auto.create_time))
    call("delete_app_code_v2", app_id=app.id, app_code_id=made.id)
    equal(call("list_app_codes_v2", app_id=app.id).total, 1)


def address_lists(app):
    values = ["192.0.2.1", "192.0.2.8-192.0.2.16", "2001:db8::/32"]
    body = v2.AppAclCreate(app_acl_type="PERMIT", app_acl_values=values)
    made = call("update_app_acl", body, app_id=app.id)
    equal((made.app_id, made.app_acl_type, made.app_acl_values), (app.id, "PERMIT", values))
    equal(call("show_details_of_app_acl", app_id=app.id).app_acl_values, values)
    call("delete_app_acl", app_id=app.id)
    equal(call("show_details_of_app_acl", app_id=app.id).app_acl_values, [])


def authorizations(app):
    equal([api.id for api in call("list_apis_unbinded_to_app_v2", app_id=app.id, env_id=RELEASE).apis], ["orders"])
    body = v2.ApiAuthCreate(env_id=RELEASE, app_ids=[app.id, app.other], api_ids=["orders"])
    auths = call("create_authorizing_apps_v2", body).auths
    equal([auth.auth_result.status for auth in auths], ["SUCCESS", "SUCCESS"])
    equal([auth.auth_result.status for auth in call("create_authorizing_apps_v2", body).auths], ["SKIPPED", "SKIPPED"])
    bound = call("list_apis_binded_to_app_v2", app_id=app.id, tags=["a", "b"])
    equal([(auth.id, auth.api_id, auth.app_name) for auth in bound.auths], [(auths[0].id, "orders", app.name)])
    equal(call("list_apis_unbinded_to_app_v2", app_id=app.id, env_id=RELEASE).total, 0)
    equal(call("list_apps_binded_to_api_v2", api_id="orders").total, 2)
    for auth in auths:
        call("canceling_authorization_v2", app_auth_id=auth.id)
    equal(call("list_apps_binded_to_api_v2", api_id="orders").total, 0)


def throttles(app):
    body = v2.ThrottleBaseInfo(
        name="sdk_throttle", time_unit="MINUTE", time_interval=2, api_call_limits=800, user_call_limits=500,
        app_call_limits=300, ip_call_limits=600, type=1, remark="限流", enable_adaptive_control="FALSE",
    )
    made = call("create_request_throttling_policy_v2", body)
    equal((made.name, made.time_interval, made.app_call_limits, made.remark), ("sdk_throttle", 2, 300, "限流"))
    listed = call("list_request_throttling_policy_v2", name="sdk")
    equal((listed.total, listed.throttles[0].id), (1, made.id))
    body.name, body.api_call_limits = "sdk_throttle_2", 900
    changed = call("update_request_throttling_policy_v2", body, throttle_id=made.id)
    equal((changed.name, changed.api_call_limits), ("sdk_throttle_2", 900))
    shown = call("show_details_of_request_throttling_policy_v2", throttle_id=made.id)
    equal((shown.api_call_limits, shown.bind_num, shown.type), (900, 0, 1))

    # Excluded configurations.
    body = v2.ThrottleSpecialCreate(call_limits=700, object_id=app.id, object_type="APP")
    special = call("create_special_throttling_configuration_v2", body, throttle_id=made.id)
    equal((special.call_limits, special.object_name, special.app_id), (700, app.name, app.id))
    body = v2.ThrottleSpecialUpdate(call_limits=701)
    named = {"throttle_id": made.id, "strategy_id": special.id}
    equal(call("update_special_throttling_configuration_v2", body, **named).call_limits, 701)
    specials = call("list_special_throttling_configurations_v2", throttle_id=made.id, object_type="APP")
    equal([(each.id, each.call_limits) for each in specials.throttle_specials], [(special.id, 701)])
    call("delete_special_throttling_configuration_v2", **named)
    equal(call("list_special_throttling_configurations_v2", throttle_id=made.id).total, 0)

    # Bindings.
    free = call("list_apis_unbinded_to_request_throttling_policy_v2", throttle_id=made.id)
    equal([api.id for api in free.apis], ["orders"])
    body = v2.ThrottleApiBindingCreate(strategy_id=made.id, publish_ids=["orders"])
    bound = call("associate_request_throttling_policy_v2", body).throttle_applys[0]
    equal((bound.strategy_id, bound.publish_id), (made.id, "orders"))
    listed = call("list_apis_binded_to_request_throttling_policy_v2", throttle_id=made.id)
    equal([api.id for api in listed.apis], ["orders"])
    listed = call("list_request_throttling_policies_binded_to_api_v2", api_id="orders")
    equal([each.id for each in listed.throttles], [made.id])
    refused(403, "APIG.3451", "delete_request_throttling_policy_v2", throttle_id=made.id)
    call("disassociate_request_throttling_policy_v2", throttle_binding_id=bound.id)
    body = v2.ThrottleApiBindingCreate(strategy_id=made.id, publish_ids=["orders"])
    bound = call("associate_request_throttling_policy_v2", body).throttle_applys[0]
    body = v2.ThrottleBindingBatchDelete(throttle_bindings=[bound.id, "none"])
    unbound = call("batch_disassociate_throttling_policy_v2", body, action="delete")
    equal((unbound.success_count, [each.bind_id for each in unbound.failure]), (1, ["none"]))
    call("delete_request_throttling_policy_v2", throttle_id=made.id)
    refused(404, "APIG.3005", "show_details_of_request_throttling_policy_v2", throttle_id=made.id)


def quotas(app):
    body = v2.AppQuotaCreate(
        name="sdk_quota", call_limits=100, time_unit="HOUR", time_interval=3, reset_time="2020-09-20 00:00:00",
        remark="配额",
    )
    made = call("create_app_quota", body)
    equal((made.name, made.call_limits, made.time_unit, made.remark), ("sdk_quota", 100, "HOUR", "配额"))
    body.name, body.call_limits = "sdk_quota_2", 200
    changed = call("update_app_quota", body, app_quota_id=made.app_quota_id)
    equal((changed.name, changed.call_limits), ("sdk_quota_2", 200))
    equal([quota.name for quota in call("list_app_quotas").quotas], ["sdk_quota_2"])
    assert app.id in [each.app_id for each in call("list_app_quota_bindable_apps", app_quota_id=made.app_quota_id).apps]
    body = v2.CreateAppQuotaBindingApp(app_ids=[app.id])
    applies = call("associate_apps_for_app_quota", body, app_quota_id=made.app_quota_id).applies
    equal([each.app_id for each in applies], [app.id])
    bound = call("list_app_quota_bound_apps", app_quota_id=made.app_quota_id)
    equal([(each.app_id, each.name) for each in bound.apps], [(app.id, app.name)])
    equal(call("show_app_bound_app_quota", app_id=app.id).app_quota_id, made.app_quota_id)
    equal(call("show_app_quota", app_quota_id=made.app_quota_id).bound_app_num, 1)
    call("disassociate_app_quota_with_app", app_quota_id=made.app_quota_id, app_id=app.id)
    call("delete_app_quota", app_quota_id=made.app_quota_id)
    equal(call("list_app_quotas").total, 0)


app = apps()
app_codes(app)
address_lists(app)
authorizations(app)
throttles(app)
quotas(app)
call("delete_app_v2", app_id=app.id)
call("delete_app_v2", app_id=app.other)
refused(404, "APIG.3002", "show_details_of_app_v2", app_id=app.id)
print(f"{calls} SDK calls returned the expected results")
