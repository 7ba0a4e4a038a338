// What the client of @modelcontextprotocol/client (2.x) sees of a server: MODE URL PREFIX, one JSON document.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { answers, observe, settings } from "./observe.mjs";

const { mode, url, headers, prefix } = settings();
let heard;
const changed = new Promise((resolve) => {
  heard = resolve;
});
const client = new Client(
  { name: "interlock-clients", version: "1" },
  {
    capabilities: { elicitation: {}, sampling: {} },
    versionNegotiation: { mode: mode === "modern" ? { pin: "2026-07-28" } : mode },
    listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => heard() } },
  },
);
client.setRequestHandler("elicitation/create", answers.elicitation);
client.setRequestHandler("sampling/createMessage", answers.sampling);
await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers } }));
const call = (name, given, options) => client.callTool({ name, arguments: given }, options);
await observe(client, { call, changed, revision: () => client.getNegotiatedProtocolVersion() }, prefix);
