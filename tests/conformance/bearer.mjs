// Preloaded into the official suite, which has no option for a token: adds one to every request to the target.
// fetch and undici both announce each request before it is written, with a documented way to add a header.
import diagnostics_channel from "node:diagnostics_channel";

const target = new URL(process.env.CONFORMANCE_TARGET).origin;
const authorization = `Bearer ${process.env.CONFORMANCE_TOKEN}`;

diagnostics_channel.subscribe("undici:request:create", ({ request }) => {
  if (String(request.origin) === target) {
    request.addHeader("authorization", authorization);
  }
});
