// A Vite plugin that removes from the code of flatc the methods that the client does not call: bundlers keep all methods of a class,
// and the encoders of server messages, which only tests use, would be a twelfth of the client.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A method as flatc writes it: its head and its closing brace begin a line. */
const METHOD = /^(?:static )?(\w+)\([^]*?^\}\n/gm;

/** @param {string} source: the folder of the client's code; the generated code is in `generated/tickwire`. */
export function trimGenerated(source) {
  const generated = join(source, "generated", "tickwire");
  const read = (folder) => readdirSync(folder).filter((name) => name.endsWith(".ts")).map((name) => readFileSync(join(folder, name), "utf8"));
  const methods = read(generated).flatMap((code) => [...code.matchAll(METHOD)].map(([body, name]) => ({ body, name })));
  const called = new Set(read(source).flatMap(namesIn));
  for (let before = -1; before < called.size; ) {
    before = called.size;
    for (const { body, name } of methods) if (called.has(name)) for (const callee of namesIn(body)) called.add(callee);
  }
  return {
    name: "trim-generated",
    apply: "build",
    enforce: "pre",
    transform(code, id) {
      return id.startsWith(generated) ? { code: code.replace(METHOD, (body, name) => (called.has(name) ? body : "")), map: null } : null;
    },
  };
}

function namesIn(code) {
  return [...code.matchAll(/\.(\w+)/g)].map(([, name]) => name);
}
