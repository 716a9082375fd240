import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("console"),
  base: "./",
  resolve: { alias: { tickwire: here("sdk/src/index.ts") } },
  build: { outDir: here("dist/console"), emptyOutDir: true, target: "es2022", assetsInlineLimit: 0 },
});
