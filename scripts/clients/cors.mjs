// Tests CORS with fetch. URL: a guarded route with CORS and a quota of 2. API_KEY: a key for it.
// fetch of Node does not enforce CORS, so the headers that a browser would check are checked here.

import assert from "node:assert/strict";

const app = "https://app.example.com";
const asked = (method, headers) => fetch(process.env.URL, { method, headers: { origin: app, ...headers } });
const list = (response, name) => (response.headers.get(name) ?? "").split(", ");

const preflight = { "access-control-request-method": "PUT", "access-control-request-headers": "x-api-key" };
const allowed = await asked("OPTIONS", preflight);
assert.equal(allowed.status, 204);
// Values of repeated headers would be joined here.
assert.equal(allowed.headers.get("access-control-allow-origin"), app);
assert(list(allowed, "access-control-allow-methods").includes("PUT"));
assert(list(allowed, "access-control-allow-headers").includes("x-api-key"));

const other = await asked("OPTIONS", { ...preflight, origin: "https://evil.example" });
assert.equal(other.status, 204);
assert.deepEqual([...other.headers.keys()].filter((name) => name.startsWith("access-control-")), []);

const key = { "x-api-key": process.env.API_KEY };
for (const [status, headers] of [[401, {}], [200, key], [200, key], [429, key]]) {
    const response = await asked("GET", headers);
    assert.equal(response.status, status);
    assert.equal(response.headers.get("access-control-allow-origin"), app);
    assert.equal(response.headers.get("vary"), "origin");
    assert(list(response, "access-control-expose-headers").includes("retry-after"));
    assert.equal(response.headers.has("retry-after"), status === 429);
    await response.arrayBuffer();
}
console.log("cors: node");
