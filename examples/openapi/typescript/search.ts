// Searches over HTTP with types generated from the gateway's OpenAPI document: node build/search.js URL COLLECTION PICTURE
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const [baseUrl, collection, picture] = process.argv.slice(2);
if (!baseUrl || !collection || !picture) {
  console.error("usage: node build/search.js URL COLLECTION PICTURE");
  process.exit(2);
}

const { data, error } = await createClient<paths>({ baseUrl }).POST("/v1/collections/{collection}/search", {
  params: { path: { collection }, header: { "x-timeout-s": 10 } },
  body: {
    query: { image: await readFile(picture, "base64") },
    options: { top_k: 3, spaces: ["siamese", "histogram"], weights: { siamese: 2 }, consistency: "CONSISTENCY_STRONG" },
  },
});
if (error) {
  console.error(`${error.error.reason}: ${error.error.message}`);
  process.exit(1);
}
for (const { rank, similarity, image } of data.neighbours) {
  console.log(`${rank}`.padStart(4), similarity.toFixed(4).padStart(11), ` ${image.id}`);
}
