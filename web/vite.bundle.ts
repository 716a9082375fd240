import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The SDK with its dependency as one file, for pages without a build step. `tickwire new` copies it into each game. */
export default defineConfig({
  publicDir: false,
  build: {
    lib: { entry: here("sdk/src/index.ts"), formats: ["es"], fileName: () => "tickwire.js" },
    outDir: here("../server/dev/sdk"),
    emptyOutDir: true,
    target: "es2022",
    minify: "esbuild",
  },
});
