// Calls with the types that openapi-typescript generated. The file compiles only if the types are complete.

import createClient from "openapi-fetch";
import type { paths as AdminPaths } from "./admin.js";
import type { paths as FirstPaths } from "./apig-v1.js";
import type { paths as SecondPaths } from "./apig-v2.js";
import type { paths as DiscuePaths } from "./discue.js";

function environment(name: string): string {
    const value = process.env[name];
    if (!value) throw new Error(`${name} is not set`);
    return value;
}

function equal<T>(found: T, expected: T): void {
    const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
    if (one !== other) throw new Error(`${one} is not ${other}`);
}

function present<T>(value: T | undefined): T {
    if (value === undefined) throw new Error("no body");
    return value;
}

const baseUrl = environment("URL");
const path = { project_id: "demo-project", instance_id: "demo-instance" };

async function discue(): Promise<void> {
    const client = createClient<DiscuePaths>({ baseUrl, headers: { "X-API-KEY": environment("API_KEY") } });
    const body = { name: "typescript", scopes: [{ resource: "queues", access: "read", targets: "*" } as const] };
    const made = await client.POST("/api_keys", { body });
    const key: string = present(made.data).api_key;
    equal(key.length, 64);
    const listed = await client.GET("/api_keys");
    const names: string[] = present(listed.data).api_keys.map((each) => each.name);
    equal(names.includes("typescript"), true);
    const missing = await client.GET("/api_clients/{id}", { params: { path: { id: "c0a80101-0000-4000-8000-000000000009" } } });
    const status: number = present(missing.error).status;
    equal(status, 404);
}

async function first(): Promise<void> {
    const headers = { "X-Auth-Token": environment("OPERATOR_TOKEN") };
    const client = createClient<FirstPaths>({ baseUrl, headers });
    const base = "/v1/{project_id}/apigw/instances/{instance_id}" as const;
    const made = await client.POST(`${base}/apps`, { params: { path }, body: { name: "typescript_1", remark: null } });
    const { id: app_id, app_secret } = present(made.data);
    equal(app_secret, "******");
    const auths = await client.POST(`${base}/app-auths`, {
        params: { path },
        body: { env_id: "DEFAULT_ENVIRONMENT_RELEASE_ID", app_ids: [app_id], api_ids: ["orders"] },
    });
    const results: ("SUCCESS" | "SKIPPED" | "FAILED")[] = present(auths.data).map((each) => each.auth_result);
    equal(results, ["SUCCESS"]);
    const bound = await client.GET(`${base}/app-auths/binded-apis`, { params: { path, query: { app_id } } });
    const rows: string[] = present(bound.data).auths.map((each) => `${each.appid} ${each.envname}`);
    equal(rows, [`${app_id} RELEASE`]);
}

async function second(): Promise<void> {
    const headers = { "X-Auth-Token": environment("OPERATOR_TOKEN") };
    const client = createClient<SecondPaths>({ baseUrl, headers });
    const base = "/v2/{project_id}/apigw/instances/{instance_id}" as const;
    const made = await client.POST(`${base}/apps`, { params: { path }, body: { name: "typescript_2" } });
    const app_id: string = present(made.data).id;
    const auths = await client.POST(`${base}/app-auths`, {
        params: { path },
        body: { env_id: "DEFAULT_ENVIRONMENT_RELEASE_ID", app_ids: [app_id], api_ids: ["orders"] },
    });
    const results: string[] = present(auths.data).auths.map((each) => each.auth_result.status);
    equal(results, ["SUCCESS"]);
    const bound = await client.GET(`${base}/app-auths/binded-apis`, { params: { path, query: { app_id } } });
    const rows: string[] = present(bound.data).auths.map((each) => `${each.app_id} ${each.env_name}`);
    equal(rows, [`${app_id} RELEASE`]);
    const refused = await client.POST(`${base}/apps`, { params: { path }, body: { name: "1" } });
    equal(refused.response.status, 400);
}

async function admin(): Promise<void> {
    const headers = { Authorization: `Bearer ${environment("OWNER_TOKEN")}` };
    const client = createClient<AdminPaths>({ baseUrl: environment("ADMIN_URL"), headers });
    const made = await client.POST("/admin/v1/tenants", { body: { id: "typescript", name: "TypeScript" } });
    const revision: number = present(made.data).revision;
    equal(revision, 1);
    const tenant = await client.GET("/admin/v1/tenants/{tenant}", { params: { path: { tenant: "typescript" } } });
    equal(present(tenant.data).subscription, "active");
    const refused = await client.POST("/admin/v1/tenants", { body: { name: "" } });
    const pointers: (string | undefined)[] = present(refused.error).errors?.map((each) => each.pointer) ?? [];
    equal(pointers, ["#/name"]);
}

await discue();
await first();
await second();
await admin();
console.log("the TypeScript clients received the expected responses");
