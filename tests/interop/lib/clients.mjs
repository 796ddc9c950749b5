// The official TypeScript clients of both eras behind one small face: what the suite asks of a client, said once.

import { Client as ModernClient, StreamableHTTPClientTransport as ModernTransport } from '@modelcontextprotocol/client';
import { Client as LegacyClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as LegacyTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceListChangedNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

const info = { name: 'interop', version: '1.0.0' };
const capabilities = { elicitation: { form: {} }, sampling: {}, roots: { listChanged: true } };
const answers = {
  'elicitation/create': async request => {
    const [name] = Object.keys(request.params.requestedSchema.properties);
    return { action: 'accept', content: { [name]: 'Ada' } };
  },
  'sampling/createMessage': async () => ({ role: 'assistant', model: 'none', content: { type: 'text', text: 'Paris' } }),
  'roots/list': async () => ({ roots: [{ uri: 'file:///project', name: 'project' }] }),
};

export const eras = ['legacy', 'modern'];

// A connected client; `heard` collects what the server says by itself.
export async function connect(era, url, secret) {
  const heard = { logs: [], tools: 0, resources: 0 };
  const options = { requestInit: { headers: { authorization: `Bearer ${secret}` } } };
  if (era === 'legacy') {
    const client = new LegacyClient(info, { capabilities });
    client.setRequestHandler(ElicitRequestSchema, answers['elicitation/create']);
    client.setRequestHandler(CreateMessageRequestSchema, answers['sampling/createMessage']);
    client.setRequestHandler(ListRootsRequestSchema, answers['roots/list']);
    client.setNotificationHandler(LoggingMessageNotificationSchema, note => void heard.logs.push(note.params));
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => void (heard.tools += 1));
    client.setNotificationHandler(ResourceListChangedNotificationSchema, () => void (heard.resources += 1));
    const transport = new LegacyTransport(url, options);
    await client.connect(transport);
    return { client, transport, heard, listen: async () => {} };
  }
  const client = new ModernClient(info, { capabilities, versionNegotiation: { mode: { pin: '2026-07-28' } } });
  for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(method, answer);
  client.setNotificationHandler('notifications/message', note => void heard.logs.push(note.params));
  client.setNotificationHandler('notifications/tools/list_changed', () => void (heard.tools += 1));
  const transport = new ModernTransport(url, options);
  await client.connect(transport);
  return { client, transport, heard, listen: filter => client.listen(filter) };
}

// Asks for logs: a session's setting in the legacy era, a member of each request in the modern one.
export async function withLogs(era, client) {
  if (era === 'modern') return { _meta: { 'io.modelcontextprotocol/logLevel': 'debug' } };
  await client.setLoggingLevel('debug');
  return {};
}

// All pages of a list, and how many there were.
export async function pages(list, member) {
  const all = [];
  let count = 0;
  let cursor;
  do {
    const page = await list(cursor === undefined ? {} : { cursor });
    all.push(...page[member]);
    cursor = page.nextCursor;
    count += 1;
  } while (cursor !== undefined && count < 100);
  return { all, count };
}
