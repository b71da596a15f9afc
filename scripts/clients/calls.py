"""Calls with the clients that openapi-python-client generated."""

import os

from admin import AuthenticatedClient as AdminClient
from admin.api.tenants import create_tenant, list_tenants, read_tenant
from admin.models import NewTenant, Problem as AdminProblem, Tenant
from apig_v1 import AuthenticatedClient as FirstClient
from apig_v1.api.app_auths import authorize_apps as authorize_in_first
from apig_v1.api.app_auths import list_apis_of_app as apis_in_first
from apig_v1.api.apps import create_app as create_in_first
from apig_v1.models import AppBody as FirstAppBody, AuthsBody as FirstAuthsBody, AuthStatus
from apig_v2 import AuthenticatedClient as SecondClient
from apig_v2.api.app_auths import authorize_apps, list_apis_of_app
from apig_v2.api.apps import create_app
from apig_v2.models import ApigError, AppBody, AppInfo, AuthsBody
from discue import AuthenticatedClient as DiscueClient
from discue.api.api_clients import list_api_clients, read_api_client
from discue.api.api_keys import create_api_key
from discue.models import KeyRef, Problem

URL, ADMIN_URL = os.environ["URL"], os.environ["ADMIN_URL"]
PLACE = ("demo-project", "demo-instance")
RELEASE = "DEFAULT_ENVIRONMENT_RELEASE_ID"


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def client(kind, url, token, field, prefix=""):
    return kind(base_url=url, token=os.environ[token], prefix=prefix, auth_header_name=field)


def discue():
    with client(DiscueClient, URL, "API_KEY", "X-API-KEY") as api:
        made = create_api_key.sync(client=api, body=KeyRef(name="python"))
        equal(len(made.api_key), 64)
        names = [each.name for each in list_api_clients.sync(client=api).api_clients]
        assert "example.com/dev" in names, names
        missing = read_api_client.sync("c0a80101-0000-4000-8000-000000000009", client=api)
        assert isinstance(missing, Problem), missing
        equal((missing.title, missing.status), ("Not Found", 404))


def first():
    with client(FirstClient, URL, "OPERATOR_TOKEN", "X-Auth-Token") as api:
        app = create_in_first.sync(*PLACE, client=api, body=FirstAppBody(name="python_1", remark=None))
        equal((app.app_secret, app.remark), ("******", ""))
        body = FirstAuthsBody(env_id=RELEASE, app_ids=[app.id], api_ids=["orders"])
        results = authorize_in_first.sync(*PLACE, client=api, body=body)
        equal([each.auth_result for each in results], [AuthStatus.SUCCESS])
        bound = apis_in_first.sync(*PLACE, client=api, app_id=app.id)
        equal([(each.appid, each.envname) for each in bound.auths], [(app.id, "RELEASE")])


def second():
    with client(SecondClient, URL, "OPERATOR_TOKEN", "X-Auth-Token") as api:
        app = create_app.sync(*PLACE, client=api, body=AppBody(name="python_2"))
        assert isinstance(app, AppInfo), app
        body = AuthsBody(env_id=RELEASE, app_ids=[app.id], api_ids=["orders"])
        results = authorize_apps.sync(*PLACE, client=api, body=body)
        equal([each.auth_result.status.value for each in results.auths], ["SUCCESS"])
        bound = list_apis_of_app.sync(*PLACE, client=api, app_id=app.id)
        equal([(each.app_id, each.env_name) for each in bound.auths], [(app.id, "RELEASE")])
        refused = create_app.sync(*PLACE, client=api, body=AppBody(name="1"))
        assert isinstance(refused, ApigError), refused
        equal(refused.error_code, "APIG.2011")


def admin():
    with client(AdminClient, ADMIN_URL, "OWNER_TOKEN", "Authorization", "Bearer") as api:
        made = create_tenant.sync(client=api, body=NewTenant(id="python", name="Python"))
        assert isinstance(made, Tenant), made
        equal(read_tenant.sync("python", client=api).name, "Python")
        assert "python" in [each.id for each in list_tenants.sync(client=api).items]
        refused = create_tenant.sync(client=api, body=NewTenant(name=""))
        assert isinstance(refused, AdminProblem), refused
        equal([each.pointer for each in refused.errors], ["#/name"])


discue()
first()
second()
admin()
print("the Python clients received the expected responses")
