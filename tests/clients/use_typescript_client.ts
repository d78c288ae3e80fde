// Calls a running service with the generated TypeScript client: `client.js URL KEY`.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type CreateUserRequest = components["schemas"]["CreateUserRequest"];
type Problem = components["schemas"]["Problem"];
type User = components["schemas"]["UserResponse"];

declare const process: { argv: string[] };

const [baseUrl, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

function check(actual: unknown, expected: unknown): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }
}

function checkProblem(problem: Problem | undefined, status: number, type: string): void {
  check([problem?.status, problem?.type], [status, type]);
}

/** Create a user, and send the same request again. */
async function checkCreate(): Promise<User> {
  const body: CreateUserRequest = { email: "ada@example.org" };
  const options = { body, params: { header: { "Idempotency-Key": "ada" } } };
  const first = await client.POST("/api/v1/users", options);
  const second = await client.POST("/api/v1/users", options);
  if (!first.data) throw new Error(JSON.stringify(first.error));
  check([first.response.status, second.response.status], [201, 201]);
  check([first, second].map(({ response }) => response.headers.get("idempotency-replayed")), [null, "true"]);
  check(first.data, second.data);
  check([first.data.full_name, first.data.is_active, first.data.version], [null, true, 1]);
  checkProblem((await client.POST("/api/v1/users", { body })).error, 409, "/problems/email-already-registered");
  return first.data;
}

/** Read all users in pages. */
async function checkList(): Promise<void> {
  for (const number of [0, 1, 2, 3]) {
    await client.POST("/api/v1/users", { body: { email: `${number}@example.org`, is_active: false } });
  }
  const emails: string[] = [];
  let cursor: string | undefined;
  do {
    const { data, error } = await client.GET("/api/v1/users", { params: { query: { limit: 2, cursor } } });
    if (!data) throw new Error(JSON.stringify(error));
    emails.push(...data.items.map(({ email }) => email));
    cursor = data.next_cursor ?? undefined;
  } while (cursor);
  check(emails, [...[3, 2, 1, 0].map((number) => `${number}@example.org`), "ada@example.org"]);
}

/** Update a user with If-Match, and read the user with If-None-Match. */
async function checkUpdate({ id: user_id }: User): Promise<void> {
  const options = { body: { full_name: "Ada Lovelace" }, params: { path: { user_id }, header: { "If-Match": '"1"' } } };
  const updated = await client.PATCH("/api/v1/users/{user_id}", options);
  check([updated.data?.full_name, updated.data?.version], ["Ada Lovelace", 2]);
  const outdated = await client.PATCH("/api/v1/users/{user_id}", options);
  checkProblem(outdated.error, 412, "/problems/version-mismatch");
  for (const [tag, status] of [['"1"', 200], ['"2"', 304]] as const) {
    const params = { path: { user_id }, header: { "If-None-Match": tag } };
    check((await client.GET("/api/v1/users/{user_id}", { params })).response.status, status);
    check((await client.HEAD("/api/v1/users/{user_id}", { params })).response.status, status);
  }
}

/** Create a draft, and find it by its status. */
async function checkPosts({ id: author_id }: User): Promise<void> {
  const created = await client.POST("/api/v1/posts", { body: { author_id, title: "On the engine", content: "Notes" } });
  check([created.data?.status, created.data?.published_at], ["draft", null]);
  const query = { author_id, status: "draft", q: "engine" } as const;
  const page = await client.GET("/api/v1/posts", { params: { query } });
  check(page.data?.items, [created.data]);
}

/** Create an API key that expires and is bound to a user. */
async function checkApiKeys({ id: user_id }: User): Promise<void> {
  const body = { name: "client", scopes: ["users:read" as const], user_id, expires_at: "2099-12-31T00:00:00Z" };
  const created = await client.POST("/api/v1/api-keys", { body });
  check([created.data?.expires_at, created.data?.last_used_at, created.data?.user_id], [body.expires_at, null, user_id]);
}

const user = await checkCreate();
const path = { user_id: user.id };
await checkList();
await checkUpdate(user);
await checkPosts(user);
await checkApiKeys(user);
const deleted = await client.DELETE("/api/v1/users/{user_id}", { params: { path, header: { "If-Match": '"2"' } } });
check(deleted.response.status, 204);
checkProblem((await client.GET("/api/v1/users/{user_id}", { params: { path } })).error, 404, "/problems/user-not-found");
