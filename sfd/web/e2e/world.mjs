// The tree that the tests look at, and the daemon on it.

import { cpSync, existsSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { model, put, start, temporary } from "./daemon.mjs";

/** What no page may ever get to see. */
export const SECRET = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz";
/** A name that is no text. */
export const NOT_UTF8 = Buffer.from([0x6e, 0xff, 0xfe, 0x31]);
/** What a name, a file and a model try. */
export const MARKUP = "<img src=x onerror=alert(1)>";
export const SUMMARY = `Harmless <script>alert(2)</script> text with <b onclick="alert(3)">markup</b> &amp; more.`;

export async function makeWorld(program) {
  const { dir, remove } = temporary();
  const root = join(dir, "host");
  const second = join(dir, "srv");
  for (let i = 0; i < 12; i++) {
    for (let j = 0; j < 10; j++) {
      put(join(root, `app-${i}`, `conf.d/part-${j}.conf`), `# part ${j}\n[section]\nkey = ${"value ".repeat(3 + ((i * j) % 40))}\n`);
    }
  }
  put(join(root, "docs/readme.txt"), `The quick brown fox jumps over the lazy dog.\n${"More words than one page.\n".repeat(40)}`);
  put(join(root, "docs/large.txt"), Array.from({ length: 4000 }, (_, i) => `line ${i} of a text of several pages\n`).join(""));
  put(join(root, "docs/notes.txt"), "one line\n");
  put(join(root, "bin/tool.sh"), `#!/bin/sh\n# ${MARKUP}\necho hello\n`);
  put(join(root, "ssh/sshd_config"), "Port 22\nPermitRootLogin yes\nPasswordAuthentication yes\n");
  put(join(root, "ssh/id_ed25519"), `-----BEGIN OPENSSH PRIVATE KEY-----\n${SECRET}\n-----END OPENSSH PRIVATE KEY-----\n`);
  put(join(root, `odd/${MARKUP}`), "a file with an odd name\n");
  put(join(root, "odd/right\u202eto-left.txt"), "a file that wants to be read backwards\n");
  writeFileSync(Buffer.concat([Buffer.from(join(root, "odd/")), NOT_UTF8]), "a file whose name is not UTF-8\n");
  put(join(root, "flood/start.txt"), "before\n");
  symlinkSync("readme.txt", join(root, "docs/link"));
  for (let i = 0; i < 20; i++) put(join(second, `site-${i}/index.html`), `<!doctype html><title>${i}</title>${"<p>text</p>\n".repeat(i * 4)}`);
  if (existsSync("/bin/true")) cpSync("/bin/true", join(second, "true"));
  const llm = await model({ title: "Titled by a model", summary: SUMMARY, tags: ["from-a-model"], risk: 0, reasons: [] });
  const state = join(dir, "state");
  const daemon = await start(program, [root, second], state, ["--llm", llm.url, "--listen", "127.0.0.1:0"]);
  return {
    root,
    second,
    daemon,
    url: daemon.url,
    path: (below) => join(root, below),
    /** The address of an artifact of the first root. */
    hash: (below) => `#${encodeURI(join(root, below)).slice(1)}`,
    stop: async () => {
      await daemon.stop();
      llm.stop();
      remove();
    },
  };
}
