// How large the client is for who ships it: minified and gzipped, with the flatbuffers runtime. At most 30 KB.

import { gzipSync } from "node:zlib";

import { build } from "vite";

const BYTES_MAX = 30 * 1024;
const built = await build({
  root: new URL("..", import.meta.url).pathname,
  configFile: false,
  logLevel: "error",
  build: {
    write: false,
    target: "es2022",
    minify: "esbuild",
    lib: { entry: "src/index.ts", formats: ["es"], fileName: "tickwire" },
  },
});
const code = built[0].output.map((part) => part.code ?? "").join("");
const size = gzipSync(code, { level: 9 }).length;
console.log(`${(code.length / 1024).toFixed(1)} KB minified, ${(size / 1024).toFixed(1)} KB gzipped; at most 30 KB`);
process.exit(size > BYTES_MAX ? 1 : 0);
