// Fastify with node-postgres: prepared statements, JSON schemas of requests and responses, the default JSON log.
import Fastify from "fastify";
import pg from "pg";
import { v7 } from "uuid";

pg.types.setTypeParser(pg.types.builtins.INT8, Number);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_DSN, max: Number(process.env.POOL_SIZE) });
const app = Fastify({ logger: true });

const USER_COLUMNS = "id, email, full_name, is_active, created_at, updated_at, version";
const POST_COLUMNS = "id, author_id, title, content, status, published_at, created_at, updated_at, version";
const GET_USER = { name: "get_user", text: `SELECT ${USER_COLUMNS} FROM users WHERE id = $1` };
const UPDATE_USER = {
  name: "update_user",
  text: `UPDATE users SET full_name = $3, updated_at = now(), version = version + 1
    WHERE id = $1 AND version = $2 RETURNING ${USER_COLUMNS}`,
};
const LIST_POSTS = {
  name: "list_posts",
  text: `SELECT ${POST_COLUMNS} FROM posts WHERE author_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3`,
};
const SEARCH_POSTS = {
  name: "search_posts",
  text: `SELECT ${POST_COLUMNS} FROM posts, plainto_tsquery('simple', $1) query
    WHERE text_tokens @@ query
    ORDER BY title_tokens @@ query DESC, id DESC LIMIT $2`,
};
const GET_AUTHOR = { name: "get_author", text: "SELECT is_active FROM users WHERE id = $1 FOR SHARE" };
const ADD_POST = {
  name: "add_post",
  text: `INSERT INTO posts (id, author_id, title, content, status, created_at, updated_at, version, title_tokens, text_tokens)
    VALUES ($1, $2, $3, $4, 'draft', $5, $5, 1, to_tsvector('simple', $3), to_tsvector('simple', $3 || ' ' || $4))
    RETURNING ${POST_COLUMNS}`,
};
const ADD_RECORD = { name: "add_record", text: "INSERT INTO baseline_records (key, response) VALUES ($1, $2)" };
const GET_RECORD = { name: "get_record", text: "SELECT response FROM baseline_records WHERE key = $1" };
const LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff";

const uuid = { type: "string", format: "uuid" };
const time = { type: "string", format: "date-time" };
const nullable = (schema) => ({ ...schema, nullable: true });
const object = (properties) => ({ type: "object", properties });
const user = object({
  id: uuid,
  email: { type: "string" },
  full_name: nullable({ type: "string" }),
  is_active: { type: "boolean" },
  created_at: time,
  updated_at: time,
  version: { type: "integer" },
});
const post = object({
  id: uuid,
  author_id: uuid,
  title: { type: "string" },
  content: { type: "string" },
  status: { type: "string" },
  published_at: nullable(time),
  created_at: time,
  updated_at: time,
  version: { type: "integer" },
});
const params = object({ id: uuid });
const text = (maxLength) => ({ type: "string", minLength: 1, maxLength });
const changes = { ...object({ full_name: text(200) }), required: ["full_name"] };
const newPost = {
  ...object({ author_id: uuid, title: text(200), content: text(2000) }),
  required: ["author_id", "title", "content"],
};
const query = object({
  author_id: uuid,
  q: { type: "string" },
  cursor: uuid,
  limit: { type: "integer", minimum: 1, maximum: 100, default: 20 },
});
const page = object({ items: { type: "array", items: post }, next_cursor: nullable(uuid) });

const run = (client, statement, ...values) => client.query({ ...statement, values });
const error = (statusCode, message) => Object.assign(new Error(message), { statusCode });

app.get("/livez", async () => ({ status: "ok" }));

app.get("/api/v1/users/:id", { schema: { params, response: { 200: user } } }, async (request) => {
  const { rows } = await run(pool, GET_USER, request.params.id);
  if (!rows.length) throw error(404, "User not found");
  return rows[0];
});

app.patch("/api/v1/users/:id", { schema: { params, body: changes, response: { 200: user } } }, async (request) => {
  const version = Number((request.headers["if-match"] ?? "").replaceAll('"', ""));
  const { rows } = await run(pool, UPDATE_USER, request.params.id, version, request.body.full_name);
  if (rows.length) return rows[0];
  const found = await run(pool, GET_USER, request.params.id);
  throw found.rows.length ? error(412, "The user has changed") : error(404, "User not found");
});

app.get("/api/v1/posts", { schema: { querystring: query, response: { 200: page } } }, async (request) => {
  const { author_id, q, cursor, limit } = request.query;
  const { rows } = q
    ? await run(pool, SEARCH_POSTS, q, limit + 1)
    : await run(pool, LIST_POSTS, author_id, cursor ?? LAST_ID, limit + 1);
  const items = rows.slice(0, limit);
  return { items, next_cursor: rows.length > limit ? items.at(-1).id : null };
});

app.post("/api/v1/posts", { schema: { body: newPost, response: { 201: post } } }, async (request, reply) => {
  const key = request.headers["idempotency-key"];
  reply.code(201);
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const created = await addPost(client, request.body);
    if (key) await run(client, ADD_RECORD, key, JSON.stringify(created));
    await client.query("COMMIT");
    return created;
  } catch (failure) {
    await client.query("ROLLBACK");
    if (!key || failure.code !== "23505") throw failure;
    const { rows } = await run(client, GET_RECORD, key);
    return JSON.parse(rows[0].response);
  } finally {
    client.release();
  }
});

async function addPost(client, { author_id, title, content }) {
  const { rows } = await run(client, GET_AUTHOR, author_id);
  if (!rows.length) throw error(422, "Author not found");
  if (!rows[0].is_active) throw error(409, "Author is inactive");
  const added = await run(client, ADD_POST, v7(), author_id, title, content, new Date());
  return added.rows[0];
}

await app.listen({ host: "127.0.0.1", port: Number(process.argv[2]) });
