// What the client of @modelcontextprotocol/sdk (1.x, the handshake) sees of a server: MODE URL PREFIX, one JSON document.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { answers, observe, settings } from "./observe.mjs";

const { url, headers, prefix } = settings();
const client = new Client(
  { name: "interlock-clients", version: "1" },
  { capabilities: { elicitation: {}, sampling: {} } },
);
client.setRequestHandler(ElicitRequestSchema, answers.elicitation);
client.setRequestHandler(CreateMessageRequestSchema, answers.sampling);
const changed = new Promise((resolve) => {
  client.setNotificationHandler(ToolListChangedNotificationSchema, resolve);
});
const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers } });
await client.connect(transport);
const call = (name, given, options) => client.callTool({ name, arguments: given }, undefined, options);
await observe(client, { call, changed, revision: () => transport.protocolVersion }, prefix);
