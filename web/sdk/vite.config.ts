import { fileURLToPath } from "node:url";

import { defineConfig, type Plugin } from "vite";

import { trimGenerated } from "./scripts/trim_generated.mjs";

/** Says to Node and TypeScript what the files of dist/cjs are: the package is of type "module". */
const commonJs: Plugin = {
  name: "commonjs-marker",
  generateBundle({ format }) {
    if (format === "cjs") this.emitFile({ type: "asset", fileName: "cjs/package.json", source: '{ "type": "commonjs" }\n' });
  },
};

export default defineConfig({
  plugins: [commonJs, trimGenerated(fileURLToPath(new URL("src", import.meta.url)))],
  build: {
    lib: {
      entry: "src/index.ts",
      formats: ["es", "cjs"],
      fileName: (format) => (format === "es" ? "tickwire.js" : "cjs/tickwire.js"),
    },
    target: "es2022",
    minify: false,
    sourcemap: true,
    rollupOptions: { external: ["flatbuffers"] },
  },
});
