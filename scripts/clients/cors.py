"""Tests CORS with http.client. URL: a guarded route with CORS and a quota of 2. API_KEY: a key for it."""

import http.client
import os
import urllib.parse

url = urllib.parse.urlsplit(os.environ["URL"])
APP = "https://app.example.com"


def asked(method, headers):
    """Returns the status and the headers, in lower case; none may be repeated."""
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    connection.request(method, url.path, headers={"Origin": APP, **headers})
    response = connection.getresponse()
    response.read()
    fields = [(name.lower(), value) for name, value in response.getheaders()]
    assert len(dict(fields)) == len(fields), fields
    connection.close()
    return response.status, dict(fields)


preflight = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-api-key"}
status, fields = asked("OPTIONS", preflight)
assert status == 204 and fields["access-control-allow-origin"] == APP, (status, fields)
assert "PUT" in fields["access-control-allow-methods"].split(", "), fields
assert "x-api-key" in fields["access-control-allow-headers"].split(", "), fields

status, fields = asked("OPTIONS", {**preflight, "Origin": "https://evil.example"})
assert status == 204 and not [name for name in fields if name.startswith("access-control-")], (status, fields)

key = {"X-API-KEY": os.environ["API_KEY"]}
for expected, headers in [(401, {}), (200, key), (200, key), (429, key)]:
    status, fields = asked("GET", headers)
    assert status == expected, (status, fields)
    assert fields["access-control-allow-origin"] == APP and fields["vary"] == "origin", fields
    assert "retry-after" in fields["access-control-expose-headers"].split(", "), fields
assert "retry-after" in fields, fields
print("cors: python")
