/**
 * A day of a user of todo-service, with openapi-fetch and the types that openapi-typescript generates.
 *
 * `synchronise` keeps a copy of the tasks; `create`, `change` and `pages` show the other requests. Set TODO_URL and
 * TODO_TOKEN. The user must have no tasks, because the program deletes all data of the user at its end.
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

/** The parsed body of a response. Throws an Error if the response is a problem. */
function result<T>({ data, error, response }: Answer<T>): T {
  if (error) throw new Error(`${error.title}: ${error.detail}`);
  if (data === undefined) throw new Error(`The response has no body: ${response.status}`);
  return data;
}

/** Prints and returns the problem of a response that must be a refusal. */
function refusal({ error, response }: Answer<unknown>): Problem {
  if (!error) throw new Error(`This is not a refusal: ${response.status}`);
  console.log(`  ${error.status} ${error.type.replace("/problems#", "")}: ${error.detail}`);
  return error;
}

function tagOf({ response }: Answer<unknown>): string {
  const tag = response.headers.get("ETag");
  if (!tag) throw new Error(`The response has no ETag: ${response.status}`);
  return tag;
}

const titles = (tasks: Iterable<Task>) => Array.from(tasks, (task) => task.title).join(", ");

/** A copy of a user's tasks. `since` marks the last change in it. Store both in one transaction. */
type TaskCopy = { tasks: Map<string, Task>; since?: string | undefined };

/** Makes the copy equal to the server's tasks. The first call gets all tasks, later calls only the changes. */
async function synchronise(client: Client, copy: TaskCopy, limit = 1000): Promise<void> {
  let more = true;
  while (more) {
    const answer = await client.GET("/api/tasks/changes", { params: { query: { since: copy.since, limit } } });
    if (answer.error?.type === "/problems#start-over") {
      // 410: the user has deleted everything, or a backup was restored.
      copy.tasks.clear();
      copy.since = undefined;
      continue;
    }
    const changes = result(answer);
    for (const task of changes.tasks) copy.tasks.set(task.id, task);
    for (const id of changes.deleted) copy.tasks.delete(id);
    copy.since = changes.since;
    more = changes.more;
  }
}

/** All tasks, sorted by title, page by page. If there is a next page, the header `Link` has its relative URL. */
async function* pages(client: Client, limit: number): AsyncGenerator<Task[]> {
  let cursor: string | undefined;
  do {
    const answer = await client.GET("/api/tasks", { params: { query: { sort: "title", limit, cursor } } });
    yield result(answer);
    const following = /<([^>]*)>; rel="next"/.exec(answer.response.headers.get("Link") ?? "")?.[1];
    cursor = following && (new URL(following, answer.response.url).searchParams.get("cursor") ?? undefined);
  } while (cursor);
}

/** Creates three tasks, the second exactly once although it is sent twice. Returns the first. */
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

/** Changes a task only if it is still in the state that the client has seen. */
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
    // The task has changed since: get it, decide, repeat.
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
    throw new Error("This user has tasks already: take another user, because all tasks will be deleted.");
  }
  const copy: TaskCopy = { tasks: new Map() };
  await synchronise(client, copy);
  const milk = await create(client);
  const high = result(await client.GET("/api/tasks", { params: { query: { priority: ["high"] } } }));
  console.log(`Of high priority: ${titles(high)}`);
  for await (const page of pages(client, 2)) console.log(`A page: ${titles(page)}`);
  await change(client, milk);
  await synchronise(client, copy, 2);
  console.log(`In the copy: ${titles(copy.tasks.values())}`);
  const lines = result(await client.GET("/api/export", { parseAs: "text" }));
  console.log(`Exported: ${lines.trimEnd().split("\n").length} lines`);
  const path = { task_id: milk.id };
  console.log(`Deleted: ${(await client.DELETE("/api/tasks/{task_id}", { params: { path } })).response.status}`);
  await synchronise(client, copy);
  console.log(`Still in the copy: ${titles(copy.tasks.values())}`);
  await mistakes(client);
  console.log(`Deleted everything: ${(await client.DELETE("/api/me")).response.status}`);
  refusal(await client.GET("/api/tasks/changes", { params: { query: { since: copy.since } } }));
  await synchronise(client, copy);
  console.log(`Tasks in the copy: ${copy.tasks.size}`);
}

/** Sends requests that the service refuses, and prints the problem of each. */
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
