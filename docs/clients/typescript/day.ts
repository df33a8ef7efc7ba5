/**
 * A day with todo-service, through openapi-fetch and the types that openapi-typescript generates.
 *
 * It needs a user without tasks, because it ends with deleting all that is kept of the user.
 */

import { randomUUID } from "node:crypto";
import { env } from "node:process";

import createClient from "openapi-fetch";

import type { components, paths } from "./todo-service.js";

type Problem = components["schemas"]["Problem"];
type Task = components["schemas"]["Task"];
type Answer<T> = { data?: T; error?: Problem; response: Response };

const connect = (token: string) =>
  createClient<paths>({ baseUrl: setting("TODO_URL"), headers: { Authorization: `Bearer ${token}` } });
type Client = ReturnType<typeof connect>;

function setting(name: string): string {
  const value = env[name];
  if (!value) throw new Error(`${name} must be set.`);
  return value;
}

/** What was asked for; a problem that is not expected ends the program. */
function result<T>({ data, error, response }: Answer<T>): T {
  if (error) throw new Error(`${error.title}: ${error.detail}`);
  if (data === undefined) throw new Error(`There is nothing in the answer: ${response.status}`);
  return data;
}

/** The problem that is expected. */
function refusal({ error, response }: Answer<unknown>): Problem {
  if (!error) throw new Error(`This should have been refused: ${response.status}`);
  console.log(`  ${error.status} ${error.type.replace("/problems#", "")}: ${error.detail}`);
  return error;
}

function tagOf({ response }: Answer<unknown>): string {
  const tag = response.headers.get("ETag");
  if (!tag) throw new Error(`There is no tag in the answer: ${response.status}`);
  return tag;
}

const titles = (tasks: Task[]) => tasks.map((task) => task.title).join(", ");

/** All tasks, sorted by title, page by page: `Link` has the cursor of the next one, if there is one. */
async function* pages(client: Client, limit: number): AsyncGenerator<Task[]> {
  let cursor: string | undefined;
  do {
    const answer = await client.GET("/api/tasks", { params: { query: { sort: "title", limit, cursor } } });
    yield result(answer);
    cursor = /[?&]cursor=([\w-]+)[^>]*>; rel="next"/.exec(answer.response.headers.get("Link") ?? "")?.[1];
  } while (cursor);
}

/** Some tasks, one of them certainly once, and the first of them. */
async function create(client: Client): Promise<Task> {
  const milk = result(
    await client.POST("/api/tasks", {
      body: { title: "Buy milk", priority: "high", due_date: "2027-01-01T09:00:00+01:00" },
    }),
  );
  console.log(`Created: ${milk.title}, priority ${milk.priority}`);
  const params = { header: { "Idempotency-Key": randomUUID() } };
  const bob = result(await client.POST("/api/tasks", { params, body: { title: "Call Bob" } }));
  const again = result(await client.POST("/api/tasks", { params, body: { title: "Call Bob" } }));
  console.log(`Sent twice, created once: ${again.id === bob.id}`);
  result(await client.POST("/api/tasks", { body: { title: "Water the plants" } }));
  return milk;
}

/** Changes that are made only to what they are meant for. */
async function change(client: Client, { id: task_id }: Task): Promise<void> {
  const get = (header: { "If-None-Match"?: string } = {}) =>
    client.GET("/api/tasks/{task_id}", { params: { path: { task_id }, header } });
  const patch = (tag: string, body: components["schemas"]["TaskPatch"]) =>
    client.PATCH("/api/tasks/{task_id}", { params: { path: { task_id }, header: { "If-Match": tag } }, body });

  const tag = tagOf(await get());
  console.log(`Nothing new: ${(await get({ "If-None-Match": tag })).response.status}`);
  const changed = result(await patch(tag, { title: "Buy oat milk", due_date: null }));
  console.log(`Changed: ${changed.title}, due ${changed.due_date ?? "never"}`);
  const bottles = { description: "Two bottles" };
  const late = refusal(await patch(tag, bottles));
  if (late.type === "/problems#precondition-failed") {
    // The tag is an old one: look, decide, and repeat.
    console.log(`Changed with the present tag: ${result(await patch(tagOf(await get()), bottles)).description}`);
  }
  const done = await client.PATCH("/api/tasks/{task_id}/complete", {
    params: { path: { task_id } },
    body: { completed: true },
  });
  console.log(`Completed: ${result(done).completed}`);
}

async function day(client: Client): Promise<void> {
  if (result(await client.GET("/api/tasks", { params: { query: { limit: 1 } } })).length) {
    throw new Error("This user has tasks already: take another one, since all will be deleted.");
  }
  const changesSince = (since?: string) => client.GET("/api/tasks/changes", { params: { query: { since } } });
  const { since } = result(await changesSince());
  const milk = await create(client);
  const high = result(await client.GET("/api/tasks", { params: { query: { priority: ["high"] } } }));
  console.log(`Of high priority: ${titles(high)}`);
  for await (const page of pages(client, 2)) console.log(`A page: ${titles(page)}`);
  await change(client, milk);
  const changes = result(await changesSince(since));
  console.log(`Changed today: ${titles(changes.tasks)}; more: ${changes.more}`);
  const lines = result(await client.GET("/api/export", { parseAs: "text" }));
  console.log(`Exported: ${lines.trimEnd().split("\n").length} lines`);
  const path = { task_id: milk.id };
  console.log(`Deleted: ${(await client.DELETE("/api/tasks/{task_id}", { params: { path } })).response.status}`);
  const { deleted, since: evening } = result(await changesSince(changes.since));
  console.log(`Deleted, says the service: ${deleted.includes(milk.id)}`);
  await mistakes(client);
  console.log(`Deleted everything: ${(await client.DELETE("/api/me")).response.status}`);
  refusal(await changesSince(evening));
}

/** What is refused, each as a problem. */
async function mistakes(client: Client): Promise<void> {
  refusal(await connect("no token").GET("/api/tasks"));
  const blank = refusal(await client.POST("/api/tasks", { body: { title: " " } }));
  console.log(`    title: ${blank.errors?.["title"]}`);
  refusal(await client.GET("/api/tasks", { params: { query: { limit: 0 } } }));
  const body = { title: "Call Eve" };
  refusal(await client.POST("/api/tasks", { body: { ...body, description: "x".repeat(70_000) } }));
  refusal(await client.POST("/api/tasks", { body, headers: { "Content-Type": "text/plain" } }));
  const params = { header: { "Idempotency-Key": randomUUID() } };
  const { id: task_id } = result(await client.POST("/api/tasks", { params, body }));
  const header = { "If-Match": "a tag without quotes" };
  refusal(await client.DELETE("/api/tasks/{task_id}", { params: { path: { task_id }, header } }));
  refusal(await client.POST("/api/tasks", { params, body: { title: "Call Ada" } }));
  await client.DELETE("/api/tasks/{task_id}", { params: { path: { task_id } } });
  refusal(await client.GET("/api/tasks/{task_id}", { params: { path: { task_id } } }));
  refusal(await client.POST("/api/tasks", { params, body }));
}

await day(connect(setting("TODO_TOKEN")));
