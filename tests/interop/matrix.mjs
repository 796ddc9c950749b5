// The matrix: client era × upstream era × feature, through the gateway, with official clients and an official server SDK.
// No cell is skipped: a feature that does not come through is a failure.

import { join } from 'node:path';

import { Gateway, everythingOf, httpServer, key } from './lib/gateway.mjs';
import { connect, eras, pages, withLogs } from './lib/clients.mjs';
import { here, line, node, start, until } from './lib/processes.mjs';

const expect = (ok, what) => {
  if (!ok) throw new Error(what);
};
const textOf = result => result.content?.[0]?.text;

const features = {
  tools: async ({ client }) => {
    const { tools } = await client.listTools();
    expect(tools.some(tool => tool.name === 'test_simple_text'), `tools: ${tools.map(tool => tool.name)}`);
    const result = await client.callTool({ name: 'test_simple_text', arguments: {} });
    expect(textOf(result).startsWith('This is a simple text'), JSON.stringify(result));
    const failed = await client.callTool({ name: 'test_error_handling', arguments: {} });
    expect(failed.isError === true && textOf(failed).includes('intentionally'), JSON.stringify(failed));
  },
  content: async ({ client }) => {
    const { content } = await client.callTool({ name: 'test_multiple_content_types', arguments: {} });
    expect(content.map(part => part.type).join() === 'text,image,resource', JSON.stringify(content));
  },
  prompts: async ({ client }) => {
    const { prompts } = await client.listPrompts();
    expect(prompts.some(prompt => prompt.name === 'test_simple_prompt'), JSON.stringify(prompts));
    const got = await client.getPrompt({ name: 'test_prompt_with_arguments', arguments: { arg1: 'a', arg2: 'b' } });
    expect(got.messages[0].content.text.includes("arg1='a'"), JSON.stringify(got));
  },
  resources: async ({ client }) => {
    const { all } = await pages(page => client.listResources(page), 'resources');
    expect(all.some(resource => resource.uri === 'test://static-text'), JSON.stringify(all));
    const text = await client.readResource({ uri: 'test://static-text' });
    expect(text.contents[0].text.startsWith('This is the content'), JSON.stringify(text));
    const missing = await client.readResource({ uri: 'test://no-such' }).catch(error => error);
    expect([-32602, -32002].includes(missing.code), `missing resource: ${missing}`);
  },
  templates: async ({ client }) => {
    const { resourceTemplates } = await client.listResourceTemplates();
    expect(resourceTemplates.some(template => template.uriTemplate === 'test://template/{id}/data'), JSON.stringify(resourceTemplates));
    const read = await client.readResource({ uri: 'test://template/7/data' });
    expect(read.contents[0].text.includes('Data for ID: 7'), JSON.stringify(read));
  },
  completion: async ({ client }) => {
    const ref = { type: 'ref/prompt', name: 'test_prompt_with_arguments' };
    const { completion } = await client.complete({ ref, argument: { name: 'arg1', value: 'par' } });
    expect(completion.values.join() === 'paris,park,party', JSON.stringify(completion));
  },
  pagination: async ({ client, raw }) => {
    const { all, count } = await pages(cursor => raw('resources/list', cursor), 'resources');
    expect(all.length === 3 && count === 2, `${all.length} resources on ${count} pages`);
    const wrong = await raw('resources/list', { cursor: 'forged' }).catch(error => error);
    expect(wrong.code === -32602, `a forged cursor: ${JSON.stringify(wrong)}`);
  },
  progress: async ({ client, era }) => {
    const seen = [];
    const options = { onprogress: progress => void seen.push(progress.progress) };
    const call = { name: 'test_tool_with_progress', arguments: {} };
    await (era === 'legacy' ? client.callTool(call, undefined, options) : client.callTool(call, options));
    expect(seen.join() === '0,50,100', `progress: ${seen}`);
  },
  logging: async ({ client, era, heard }) => {
    heard.logs.length = 0;
    const extra = await withLogs(era, client);
    await client.callTool({ name: 'test_tool_with_logging', arguments: {}, ...extra });
    await until('three log messages', () => heard.logs.filter(log => `${log.data}`.startsWith('Tool ')).length === 3, 5000);
  },
  cancellation: async ({ client, era }) => {
    const count = async () => Number(textOf(await client.callTool({ name: 'test_cancelled', arguments: {} })));
    const before = await count();
    const abort = new AbortController();
    const call = { name: 'test_slow', arguments: {} };
    const options = { signal: abort.signal };
    const slow = era === 'legacy' ? client.callTool(call, undefined, options) : client.callTool(call, options);
    setTimeout(() => abort.abort('enough'), 300);
    expect(await slow.then(() => false, () => true), 'the call was not cancelled');
    await until('the upstream heard of it', async () => (await count()) === before + 1, 5000);
  },
  notifications: async ({ client, heard, listen }) => {
    const subscription = await listen({ toolsListChanged: true });
    heard.tools = 0;
    await until('list_changed', async () => {
      await client.callTool({ name: 'test_trigger_tool_change', arguments: {} });
      return heard.tools > 0;
    }, 5000);
    await subscription?.close?.();
  },
};

// Requests of the server to its client: passed through within an era; across eras a clear tool error.
const asking = {
  'legacy/legacy': ['test_elicitation', { message: 'Name?' }, /action=accept.*Ada/],
  'modern/modern': ['test_input_required_result_elicitation', {}, /Hello, Ada/],
  'legacy/modern': ['test_input_required_result_elicitation', {}, 'error'],
  'modern/legacy': ['test_elicitation', { message: 'Name?' }, 'error'],
};

async function ask({ client }, pair) {
  const [name, args, wanted] = asking[pair];
  const result = await client.callTool({ name, arguments: args });
  if (wanted === 'error') expect(result.isError === true && textOf(result).length > 20, JSON.stringify(result));
  else expect(wanted.test(textOf(result)), JSON.stringify(result));
}

// Requests below the clients' faces, which follow pages and keep caches by themselves.
function rawRequests(era, url, secret, transport) {
  let id = 1000;
  return async (method, params) => {
    const modern = era === 'modern';
    const meta = modern && {
      _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} },
    };
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${secret}`,
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
        'mcp-protocol-version': modern ? '2026-07-28' : '2025-11-25',
        ...(modern ? { 'mcp-method': method } : { 'mcp-session-id': transport.sessionId }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: (id += 1), method, params: { ...params, ...meta } }),
    });
    const text = await response.text();
    const data = response.headers.get('content-type').includes('event-stream') ? text.match(/^data: ?(\{.*\})$/m)[1] : text;
    const { result, error } = JSON.parse(data);
    if (error) throw error;
    return result;
  };
}

export async function runMatrix(report, only) {
  const gateway = await Gateway.up();
  const documents = [];
  for (const era of eras) {
    const server = start(node, [join(here, 'servers/reference.mjs'), '--era', era, '--page-size', '2']);
    documents.push(httpServer(`${era}-upstream`, await line(server, /ready (\S+)/)));
  }
  const secrets = await gateway.apply([...documents, key('matrix', eras.map(era => everythingOf(`${era}-upstream`)))]);
  const cells = new Map();
  for (const upstream of eras) {
    await gateway.permitted('matrix', 'test_simple_text', `/servers/${upstream}-upstream/mcp`);
    for (const era of eras) {
      const url = gateway.url(`/servers/${upstream}-upstream/mcp`);
      const connected = await connect(era, url, secrets.matrix).catch(error => ({ error }));
      const raw = connected.error ? undefined : rawRequests(era, url, secrets.matrix, connected.transport);
      const all = { ...features, 'server requests': context => ask(context, `${era}/${upstream}`) };
      for (const [feature, check] of Object.entries(all)) {
        if (only && !feature.includes(only)) continue;
        let failure = connected.error;
        if (!failure) {
          const late = new Promise((_, reject) => setTimeout(() => reject(new Error('no answer within 20 s')), 20_000).unref());
          failure = await Promise.race([check({ ...connected, era, raw }), late]).then(() => undefined, error => error);
        }
        cells.set(`${feature}|${era}|${upstream}`, !failure);
        report(`matrix ${era} client, ${upstream} upstream: ${feature}`, !failure, failure?.message, failure?.stack);
      }
      await connected.client?.close().catch(() => {});
    }
  }
  print(cells);
  await gateway.stop();
}

function print(cells) {
  const columns = eras.flatMap(client => eras.map(upstream => [client, upstream]));
  const rows = [...new Set([...cells.keys()].map(cell => cell.split('|')[0]))];
  console.log(`\n${'client → upstream'.padEnd(18)}${columns.map(pair => pair.join(' → ').padEnd(18)).join('')}`);
  for (const row of rows) {
    const marks = columns.map(([client, upstream]) => (cells.get(`${row}|${client}|${upstream}`) ? 'yes' : 'NO').padEnd(18));
    console.log(`${row.padEnd(18)}${marks.join('')}`);
  }
}
