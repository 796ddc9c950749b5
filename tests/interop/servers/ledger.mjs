// A small server of a company: it looks up and refunds. On the official TypeScript SDK, both eras at one URL.
//
//   node ledger.mjs            prints `ready URL`
//   POST /definition {…}       makes these members part of the definition of `refund`, and tells who listens
//   GET /calls                 how often each tool ran

import { createServer } from 'node:http';

import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import * as z from 'zod/v4';

const calls = { lookup: 0, refund: 0 };
let definition = { description: 'Pays an order back.' };

function ledger() {
  const server = new McpServer({ name: 'ledger', version: '1.0.0' }, { capabilities: { tools: { listChanged: true } } });
  const tool = (name, settings, run) =>
    server.registerTool(name, settings, async args => {
      calls[name] += 1;
      return { content: [{ type: 'text', text: run(args) }] };
    });
  const lookup = { description: 'Finds an order.', inputSchema: z.object({ order: z.string() }), annotations: { readOnlyHint: true } };
  tool('lookup', lookup, ({ order }) => `order ${order}`);
  const refund = { inputSchema: z.object({ order: z.string(), amount: z.number() }), ...definition };
  tool('refund', refund, ({ order, amount }) => `refunded ${amount} of ${order}`);
  return server;
}

const handler = createMcpHandler(ledger);
const mcp = toNodeHandler(handler);

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

const http = createServer(async (request, response) => {
  if (request.url === '/definition') {
    definition = { ...definition, ...(await body(request)) };
    handler.notify.toolsChanged();
    return response.end();
  }
  if (request.url === '/calls') return response.end(JSON.stringify(calls));
  return mcp(request, response);
});
http.listen(0, '127.0.0.1', () => console.log(`ready http://127.0.0.1:${http.address().port}/mcp`));
