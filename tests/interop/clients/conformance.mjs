// The client of the conformance suite's `client` mode, with a gateway of its own in between: the suite starts a server and gives
// its URL; we register it, and drive the official client against the gateway. What the gateway sends to the suite's server is
// what is judged.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { Gateway, everythingOf, httpServer, key } from '../lib/gateway.mjs';
import { stopAll } from '../lib/processes.mjs';

const upstream = process.argv.at(-1);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const modern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === '2026-07-28';

const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');

async function connect(gateway, secret, capabilities = {}) {
  const client = new Client(
    { name: 'interop', version: '1.0.0' },
    { capabilities, ...(modern && { versionNegotiation: { mode: 'auto' } }) },
  );
  if (capabilities.elicitation) {
    const content = scenario === 'sep-2322-client-request-state' ? { confirmed: true } : {};
    client.setRequestHandler('elicitation/create', async () => ({ action: 'accept', content }));
  }
  const transport = new StreamableHTTPClientTransport(gateway.url('/servers/upstream/mcp'), {
    requestInit: { headers: { authorization: `Bearer ${secret}` } },
  });
  await client.connect(transport);
  return client;
}

const drives = {
  'http-standard-headers': async client => {
    const [tool] = (await client.listTools()).tools;
    const [resource] = (await client.listResources()).resources;
    const [prompt] = (await client.listPrompts()).prompts;
    await client.callTool({ name: tool.name, arguments: {} });
    await client.readResource({ uri: resource.uri });
    await client.getPrompt({ name: prompt.name, arguments: {} });
  },
  'http-custom-headers': async client => {
    await client.listTools();
    for (const call of context.toolCalls ?? []) await client.callTool(call);
  },
  'http-invalid-tool-headers': async client => {
    for (const tool of (await client.listTools()).tools) {
      await client.callTool({ name: tool.name, arguments: { region: 'us-west1' } }).catch(() => {});
    }
  },
  'sep-2322-client-request-state': async client => {
    for (const name of ['test_mrtr_echo_state', 'test_mrtr_no_state', 'test_mrtr_unrelated', 'test_mrtr_no_result_type']) {
      await client.callTool({ name, arguments: {} }).catch(() => {});
    }
  },
  'elicitation-sep1034-client-defaults': client => client.callTool({ name: 'test_client_elicitation_defaults', arguments: {} }),
  'sse-retry': client => client.callTool({ name: 'test_reconnection', arguments: {} }),
  'json-schema-2020-12-preservation': async client => {
    const { tools } = await client.listTools();
    const schema = tools.find(tool => tool.name === 'json_schema_2020_12_tool').inputSchema;
    await client.callTool({ name: 'json_schema_echo', arguments: { schema } });
  },
  tools_call: async client => {
    await client.listTools();
    await client.callTool({ name: 'add_numbers', arguments: { a: 5, b: 3 } });
  },
};

const capabilitiesOf = {
  'elicitation-sep1034-client-defaults': { elicitation: { form: { applyDefaults: true } } },
  'sep-2322-client-request-state': { elicitation: {} },
  'request-metadata': { roots: { listChanged: true }, sampling: {}, elicitation: {} },
};

const gateway = await Gateway.up();
try {
  const secrets = await gateway.apply([httpServer('upstream', upstream), key('client', [everythingOf('upstream')])]);
  await gateway.probed('upstream');
  const client = await connect(gateway, secrets.client, capabilitiesOf[scenario]);
  await (drives[scenario] ?? (client => client.listTools()))(client);
  await client.close();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await stopAll();
}
