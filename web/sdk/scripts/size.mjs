// Measures the size of the client in an application: bundled and minified by Vite with the flatbuffers runtime, and gzipped.

import { gzipSync } from "node:zlib";

import { build } from "vite";

import { trimGenerated } from "./trim_generated.mjs";

const BYTES_MAX = 30 * 1024;
// Vite's library mode would keep the whitespace of ES modules, unlike an application's build.
const built = await build({
  root: new URL("..", import.meta.url).pathname,
  configFile: false,
  logLevel: "error",
  plugins: [trimGenerated(new URL("../src", import.meta.url).pathname)],
  build: {
    write: false,
    target: "es2022",
    minify: "esbuild",
    modulePreload: { polyfill: false },
    rollupOptions: { input: new URL("../src/index.ts", import.meta.url).pathname, preserveEntrySignatures: "strict" },
  },
});
const code = built.output.map((part) => part.code ?? "").join("");
const size = gzipSync(code, { level: 9 }).length;
console.log(`${(code.length / 1024).toFixed(1)} KB minified, ${(size / 1024).toFixed(1)} KB gzipped; at most ${BYTES_MAX / 1024} KB`);
process.exit(size > BYTES_MAX ? 1 : 0);
