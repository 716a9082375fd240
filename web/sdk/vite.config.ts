import { defineConfig } from "vite";

export default defineConfig({
  build: {
    lib: { entry: "src/index.ts", formats: ["es"], fileName: "tickwire" },
    target: "es2022",
    minify: false,
    sourcemap: true,
    rollupOptions: { external: ["flatbuffers"] },
  },
});
