// What the two TypeScript programs share: every look at a server, with a connected client of either package.
// `api` hides where the packages differ: api.call(name, arguments, options) and api.changed, a promise.
import process from "node:process";

export const ANSWER_MILLISECONDS = 15_000;

export const answers = {
  elicitation: async () => ({ action: "accept", content: { name: "Ada" } }),
  sampling: async () => ({ role: "assistant", model: "none", content: { type: "text", text: "Paris" } }),
};

export function settings() {
  const [mode, url, prefix] = process.argv.slice(2);
  if (prefix === undefined) {
    process.stderr.write("usage: MODE URL PREFIX\n");
    process.exit(2);
  }
  return { mode, prefix, url: new URL(url), headers: { Authorization: `Bearer ${process.env.MCP_TOKEN}` } };
}

function looks(client, api, prefix) {
  const first = async (name, given = {}) => (await api.call(prefix + name, given)).content[0].text;
  const resources = async () =>
    Object.fromEntries((await client.listResources()).resources.map((each) => [each.name, each.uri]));
  return {
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    resources,
    prompts: async () => (await client.listPrompts()).prompts.map((prompt) => prompt.name),
    call: () => first("test_simple_text"),
    structured: async () => (await api.call(`${prefix}structured_weather`, { city: "Oslo" })).structuredContent,
    read: async () => (await client.readResource({ uri: (await resources())["static text"] })).contents[0].text,
    prompt: async () => {
      const given = { name: `${prefix}test_prompt_with_arguments`, arguments: { arg1: "one", arg2: "two" } };
      return (await client.getPrompt(given)).messages[0].content.text;
    },
    complete: async () => {
      const ref = { type: "ref/prompt", name: `${prefix}test_prompt_with_arguments` };
      return (await client.complete({ ref, argument: { name: "arg1", value: "par" } })).completion.values;
    },
    progress: async () => {
      const seen = [];
      const onprogress = ({ progress }) => seen.push(progress);
      await api.call(`${prefix}test_tool_with_progress`, {}, { onprogress });
      return seen;
    },
    elicitation: () => first("test_input_required_result_elicitation"),
    sampling: () => first("test_input_required_result_sampling"),
    list_changed: async () => {
      await first("test_trigger_tool_change");
      await api.changed;
      return true;
    },
  };
}

async function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export async function observe(client, api, prefix) {
  const facts = { revision: api.revision() };
  const problems = {};
  for (const [name, step] of Object.entries(looks(client, api, prefix))) {
    try {
      facts[name] = await within(ANSWER_MILLISECONDS, step());
    } catch (error) {
      problems[name] = `${error.name}: ${error.message}`;
    }
  }
  await client.close();
  process.stdout.write(`${JSON.stringify({ facts, problems })}\n`);
}
