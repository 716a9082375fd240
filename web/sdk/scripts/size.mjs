// Measures the size of the client in an application: bundled and minified by Vite with the flatbuffers runtime, and gzipped.
// Bundlers leave the client of accounts out of an application that does not use it.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

import { build } from "vite";

import { trimGenerated } from "./trim_generated.mjs";

const KB_MAX = { "without accounts": 30, "with accounts": 33 };
const index = new URL("../src/index.ts", import.meta.url).pathname;

/** Replaces the index by one that does not export the client of accounts. */
const withoutAccounts = {
  name: "without accounts",
  load: (id) => (id === index ? readFileSync(index, "utf8").replace(/^.*account_client.*$/m, "") : null),
};

let isTooLarge = false;
for (const [what, most] of Object.entries(KB_MAX)) {
  // Vite's library mode would keep the whitespace of ES modules, unlike an application's build.
  const built = await build({
    root: new URL("..", import.meta.url).pathname,
    configFile: false,
    logLevel: "error",
    plugins: [trimGenerated(new URL("../src", import.meta.url).pathname), ...(what === "with accounts" ? [] : [withoutAccounts])],
    build: {
      write: false,
      target: "es2022",
      minify: "esbuild",
      modulePreload: { polyfill: false },
      rollupOptions: { input: index, preserveEntrySignatures: "strict" },
    },
  });
  const code = built.output.map((part) => part.code ?? "").join("");
  const size = gzipSync(code, { level: 9 }).length;
  console.log(`${what}: ${(code.length / 1024).toFixed(1)} KB minified, ${(size / 1024).toFixed(1)} KB gzipped; at most ${most} KB`);
  isTooLarge ||= size > most * 1024;
}
process.exit(isTooLarge ? 1 : 0);
