import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The page that plays recordings of rooms. `tickwire replay --serve` serves it, so the wheel contains it. */
export default defineConfig({
  root: here("replay"),
  base: "./",
  build: { outDir: here("../server/viewer/page"), emptyOutDir: true, target: "es2022", assetsInlineLimit: 0 },
});
