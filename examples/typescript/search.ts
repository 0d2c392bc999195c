// Indexes pictures and finds those that look alike, over gRPC: node build/search.js HOST:PORT PICTURE...
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { CollectionService } from "./gen/lookalike/v1/collection_service_pb.js";
import { type MetadataSchema } from "./gen/lookalike/v1/image_pb.js";
import { IngestJobState, IngestService, type UploadItemsRequestSchema } from "./gen/lookalike/v1/ingest_service_pb.js";
import { Consistency, type SearchResponse, SearchService } from "./gen/lookalike/v1/search_service_pb.js";

const [address, ...paths] = process.argv.slice(2);
const [first] = paths;
if (!address || !first) {
  console.error("usage: node build/search.js HOST:PORT PICTURE...");
  process.exit(2);
}

const COLLECTION = "example_typescript";
const SERIAL = 2n ** 53n + 1n; // One more than a `number` can hold: whole numbers of the contract are BigInt.

const sessionManager = new Http2SessionManager(`http://${address}`);
const transport = createGrpcTransport({
  baseUrl: `http://${address}`,
  sessionManager,
  defaultTimeoutMs: 10_000, // The deadline of every call that has none of its own.
});
const collections = createClient(CollectionService, transport);
const ingest = createClient(IngestService, transport);
const searches = createClient(SearchService, transport);

/** Why a call failed, for programs: UPPER_SNAKE, such as COLLECTION_NOT_FOUND. "" where the gateway was not reached. */
function reasonOf(error: unknown): string {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? "";
}

async function createCollection(): Promise<void> {
  try {
    await collections.createCollection({ name: COLLECTION, description: "Pictures of an example" });
  } catch (error) {
    if (reasonOf(error) !== "ALREADY_EXISTS") throw error;
  }
}

function metadata(path: string, place: number): MessageInitShape<typeof MetadataSchema> {
  return {
    fields: {
      file: { kind: { case: "stringValue", value: basename(path) } },
      serial: { kind: { case: "integerValue", value: SERIAL + BigInt(place) } },
    },
  };
}

async function* upload(): AsyncIterable<MessageInitShape<typeof UploadItemsRequestSchema>> {
  yield { part: { case: "header", value: { collection: COLLECTION } } };
  for (const [place, path] of paths.entries()) {
    const item = { id: basename(path), uri: path, content: await readFile(path), metadata: metadata(path, place) };
    yield { part: { case: "item", value: item } };
  }
}

async function index(): Promise<void> {
  const { uploadId } = await ingest.uploadItems(upload(), { timeoutMs: 60_000 });
  const source = { kind: { case: "upload", value: { uploadId } } } as const;
  const { job: created } = await ingest.createIngestJob({ collection: COLLECTION, source });
  const id = created?.id ?? "";
  for await (const { job } of ingest.watchIngestJob({ id }, { timeoutMs: 120_000 })) {
    const { indexed = 0n, skipped = 0n, failed = 0n } = job?.counts ?? {};
    console.log(`${IngestJobState[job?.state ?? 0]}: ${indexed} indexed, ${skipped} skipped, ${failed} failed`);
  }
  const { failures } = await ingest.listIngestFailures({ id });
  for (const failure of failures) console.log(`${failure.id} failed: ${failure.reason}: ${failure.message}`);
}

function print(title: string, { neighbours }: SearchResponse): void {
  console.log(`\n${title}\nrank  similarity  serial            id`);
  for (const { rank, similarity, image } of neighbours) {
    const serial = image?.metadata?.fields["serial"]?.kind;
    const exact = serial?.case === "integerValue" ? serial.value : undefined; // A bigint.
    console.log(`${rank}`.padStart(4), similarity.toFixed(4).padStart(11), ` ${exact}`.padEnd(18), image?.id);
  }
}

async function search(picture: string): Promise<void> {
  const consistency = Consistency.STRONG; // Sees what the job wrote a moment ago.
  const image = await readFile(picture);
  const byPicture = await searches.search({
    collection: COLLECTION,
    query: { query: { case: "image", value: image } },
    options: { spaces: ["siamese", "histogram"], weights: { siamese: 2 }, topK: 3, filter: `serial >= ${SERIAL}`, consistency },
  });
  print(`Like the file ${basename(picture)}`, byPicture);
  const byId = await searches.search(
    { collection: COLLECTION, query: { query: { case: "imageId", value: basename(picture) } }, options: { consistency } },
    { timeoutMs: 2_000 }, // The deadline of this call.
  );
  print(`Like the stored image ${basename(picture)}`, byId);
}

async function searchForNothing(): Promise<void> {
  try {
    await searches.search({ collection: COLLECTION, query: { query: { case: "imageId", value: "no such image" } } });
  } catch (error) {
    if (reasonOf(error) !== "IMAGE_NOT_FOUND") throw error;
    console.log(`\n${reasonOf(error)}: ${ConnectError.from(error).rawMessage}`);
  }
}

try {
  await createCollection();
  await index();
  await search(first);
  await searchForNothing();
} catch (caught) {
  const error = ConnectError.from(caught);
  const fields = error.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations.map(({ field }) => field));
  console.error(`${Code[error.code]} ${reasonOf(error)} ${fields.join(", ")}: ${error.rawMessage}`);
  process.exitCode = 1;
} finally {
  sessionManager.abort();
}
