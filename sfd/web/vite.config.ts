import { defineConfig } from "vite";

// One script and one style sheet under fixed names: the daemon embeds them, the checked-in copy stays comparable
// (`cargo xtask web --check`), and the server's ETag tells browsers what is new.
export default defineConfig({
  base: "./",
  build: {
    outDir: "dist",
    target: "es2022",
    sourcemap: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2000,
    rollupOptions: {
      output: {
        codeSplitting: false,
        entryFileNames: "map.js",
        assetFileNames: "map[extname]",
      },
    },
  },
});
