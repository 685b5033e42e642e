// A real daemon on a real tree, and a model server that says what it is told to.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A baseline of a small tree takes a second; this is for a machine with other things to do. */
const LIVE_MS_MAX = 60_000;

export function temporary() {
  const dir = mkdtempSync(join(tmpdir(), "sfd-map-"));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

/** Starts `sfd run` and waits until it is live. */
export async function start(program, roots, state, more = []) {
  mkdirSync(state, { recursive: true });
  const args = ["run", "--json", "--watch", roots.join(","), "--state", state, ...more];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (data) => (log = (log + data).slice(-20_000)));
  const ended = once(child, "exit");
  const live = (async () => {
    for await (const line of createInterface({ input: child.stdout })) if (JSON.parse(line).event === "live") return;
    throw new Error(`sfd ended before it was live:\n${log}`);
  })();
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`sfd is not live after ${LIVE_MS_MAX / 1000} s:\n${log}`)), LIVE_MS_MAX).unref();
  });
  await Promise.race([live, late]);
  const file = join(state, "map-url");
  await until(() => existsSync(file), "the map's address");
  return {
    url: readFileSync(file, "utf8").trim(),
    log: () => log,
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** Waits for a condition; says what was waited for when it does not come. */
export async function until(condition, what, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${ms} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A server with the API of OpenAI whose one model answers every question with this. */
export async function model(answer) {
  const server = createServer((request, response) => {
    const say = (value) => response.setHeader("content-type", "application/json").end(JSON.stringify(value));
    if (request.url === "/v1/models") return say({ object: "list", data: [{ id: "qwen2.5-coder", object: "model" }] });
    if (request.url !== "/v1/chat/completions") return response.writeHead(404).end("{}");
    request.resume().on("end", () => {
      say({
        object: "chat.completion",
        model: "qwen2.5-coder",
        choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: JSON.stringify(answer) } }],
        usage: { prompt_tokens: 100, completion_tokens: 50, total_tokens: 150 },
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Writes a file and the directories above it. */
export function put(path, text) {
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
}
