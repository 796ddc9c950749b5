// The reference server: everything that the conformance suite asks of a server, on the official TypeScript SDK, in both eras at
// one URL. Legacy clients get sessions with resumable streams; modern requests are served one by one.
//
//   node reference.mjs [--port N] [--era both|modern|legacy] [--page-size N]

import { createServer } from 'node:http';
import { randomBytes, randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';

import { NodeStreamableHTTPServerTransport, toNodeHandler } from '@modelcontextprotocol/node';
import {
  CLIENT_CAPABILITIES_META_KEY,
  McpServer,
  ResourceTemplate,
  acceptedContent,
  classifyInboundRequest,
  createMcpHandler,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  isInitializeRequest,
} from '@modelcontextprotocol/server';
import * as z from 'zod/v4';

const { values: settings } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    era: { type: 'string', default: 'both' },
    'page-size': { type: 'string' },
  },
});

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';

const text = value => ({ type: 'text', text: value });
const said = value => ({ content: [text(value)] });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };
const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
const state = createRequestStateCodec({ key: randomBytes(32) });

// A form that asks for one member.
const form = (message, name, type) =>
  inputRequired.elicit({
    message,
    requestedSchema: { type: 'object', properties: { [name]: { type } }, required: [name] },
  });
const askName = message => form(message ?? 'What is your name?', 'name', 'string');
const askConfirmation = () => form('Please confirm', 'ok', 'boolean');
const askModel = (question, maxTokens) =>
  inputRequired.createMessage({ messages: [{ role: 'user', content: text(question) }], maxTokens });

const legacySessions = new Map();

function plainTools(server) {
  const tool = (name, description, run) => server.registerTool(name, { description, inputSchema: z.object({}) }, run);
  tool('test_simple_text', 'Answers with text.', () => said('This is a simple text response for testing.'));
  tool('test_image_content', 'Answers with an image.', () => ({ content: [image] }));
  tool('test_audio_content', 'Answers with audio.', () => ({
    content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }],
  }));
  tool('test_embedded_resource', 'Answers with an embedded resource.', () => ({
    content: [
      {
        type: 'resource',
        resource: { uri: 'test://embedded-resource', mimeType: 'text/plain', text: 'This is an embedded resource content.' },
      },
    ],
  }));
  tool('test_multiple_content_types', 'Answers with text, an image and a resource.', () => ({
    content: [
      text('Multiple content types test:'),
      image,
      {
        type: 'resource',
        resource: {
          uri: 'test://mixed-content-resource',
          mimeType: 'application/json',
          text: JSON.stringify({ test: 'data', value: 123 }),
        },
      },
    ],
  }));
  tool('test_error_handling', 'Fails.', () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  tool('test_tool_with_logging', 'Logs three times.', async (_, ctx) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await ctx.mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data } });
      await pause(20);
    }
    return said('Tool with logging executed successfully');
  });
  tool('test_logging_tool', 'Logs where the request asked for logs.', async (_, ctx) => {
    await ctx.mcpReq.log('info', 'logged for this request');
    return said('logged');
  });
  tool('test_tool_with_progress', 'Reports progress.', async (_, ctx) => {
    const progressToken = ctx.mcpReq._meta?.progressToken;
    for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
      await ctx.mcpReq.notify({
        method: 'notifications/progress',
        params: { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` },
      });
      await pause(20);
    }
    return said(String(progressToken ?? 'no-progress-token'));
  });
  tool('test_slow', 'Runs until it is cancelled, for a minute at most, and counts how often that happened.', async (_, ctx) => {
    await Promise.race([
      pause(60_000),
      new Promise(resolve => ctx.mcpReq.signal.addEventListener('abort', resolve, { once: true })),
    ]);
    if (ctx.mcpReq.signal.aborted) cancelled += 1;
    return said('done');
  });
  tool('test_cancelled', 'Says how often test_slow was cancelled.', () => said(String(cancelled)));
  tool('test_reconnection', 'Closes its stream in the middle of the call.', async (_, ctx) => {
    legacySessions.get(ctx.sessionId)?.transport.closeSSEStream(ctx.mcpReq.id);
    await pause(100);
    return said('Reconnection test completed successfully.');
  });
  tool('test_streaming_elicitation', 'Answers without asking anything.', () => said('no request on this stream'));
  tool('test_trigger_tool_change', 'Tells listeners that the tools changed.', () => {
    modern.notify.toolsChanged();
    for (const session of legacySessions.values()) session.server.sendToolListChanged();
    return said('published');
  });
  tool('test_trigger_prompt_change', 'Tells listeners that the prompts changed.', () => {
    modern.notify.promptsChanged();
    for (const session of legacySessions.values()) session.server.sendPromptListChanged();
    return said('published');
  });
}

let cancelled = 0;

function schemaTools(server) {
  server.registerTool(
    'test_x_mcp_header',
    {
      description: 'Mirrors an argument into a header.',
      inputSchema: fromJsonSchema({
        type: 'object',
        properties: { region: { type: 'string', 'x-mcp-header': 'Region' }, level: { type: 'integer' } },
      }),
    },
    ({ region }) => said(`region=${region ?? '<none>'}`),
  );
  server.registerTool(
    'json_schema_2020_12_tool',
    {
      description: 'Has a schema of the 2020-12 vocabulary.',
      inputSchema: fromJsonSchema({
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        type: 'object',
        $defs: {
          address: {
            $anchor: 'addressDef',
            type: 'object',
            properties: { street: { type: 'string' }, city: { type: 'string' } },
          },
        },
        properties: {
          name: { type: 'string' },
          address: { $ref: '#/$defs/address' },
          contactMethod: { type: 'string', enum: ['phone', 'email'] },
          phone: { type: 'string' },
          email: { type: 'string' },
        },
        allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
        if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
        then: { required: ['phone'] },
        else: { required: ['email'] },
        additionalProperties: false,
      }),
    },
    args => said(JSON.stringify(args)),
  );
}

// Tools that ask a legacy client while they run.
function askingTools(server) {
  const ask = async (ctx, method, params, answer) => {
    try {
      return said(answer(await ctx.mcpReq.send({ method, params })));
    } catch (error) {
      return { content: [text(`${method} failed: ${error.message}`)], isError: true };
    }
  };
  const elicit = (ctx, message, requestedSchema) =>
    ask(ctx, 'elicitation/create', { message, requestedSchema }, result =>
      `Elicitation completed: action=${result.action}, content=${JSON.stringify(result.content ?? {})}`);
  server.registerTool(
    'test_sampling',
    { description: 'Asks the client for a completion.', inputSchema: z.object({ prompt: z.string() }) },
    ({ prompt }, ctx) =>
      ask(ctx, 'sampling/createMessage', { messages: [{ role: 'user', content: text(prompt) }], maxTokens: 100 }, result =>
        `LLM response: ${result.content?.text ?? 'none'}`),
  );
  server.registerTool(
    'test_elicitation',
    { description: 'Asks the client for input.', inputSchema: z.object({ message: z.string() }) },
    ({ message }, ctx) =>
      ask(
        ctx,
        'elicitation/create',
        {
          message,
          requestedSchema: { type: 'object', properties: { response: { type: 'string' } }, required: ['response'] },
        },
        result => `User response: action=${result.action}, content=${JSON.stringify(result.content ?? {})}`,
      ),
  );
  const none = z.object({});
  server.registerTool('test_elicitation_sep1034_defaults', { description: 'Asks with defaults.', inputSchema: none }, (_, ctx) =>
    elicit(ctx, 'Please review and update the form fields with defaults', {
      type: 'object',
      properties: {
        name: { type: 'string', default: 'John Doe' },
        age: { type: 'integer', default: 30 },
        score: { type: 'number', default: 95.5 },
        status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
        verified: { type: 'boolean', default: true },
      },
      required: [],
    }));
  const titled = (values, titles) => values.map((value, at) => ({ const: value, title: titles[at] }));
  server.registerTool('test_elicitation_sep1330_enums', { description: 'Asks with enums.', inputSchema: none }, (_, ctx) =>
    elicit(ctx, 'Please select options from the enum fields', {
      type: 'object',
      properties: {
        untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
        titledSingle: {
          type: 'string',
          oneOf: titled(['value1', 'value2', 'value3'], ['First Option', 'Second Option', 'Third Option']),
        },
        legacyEnum: {
          type: 'string',
          enum: ['opt1', 'opt2', 'opt3'],
          enumNames: ['Option One', 'Option Two', 'Option Three'],
        },
        untitledMulti: {
          type: 'array',
          minItems: 1,
          maxItems: 3,
          items: { type: 'string', enum: ['option1', 'option2', 'option3'] },
        },
        titledMulti: {
          type: 'array',
          minItems: 1,
          maxItems: 3,
          items: { anyOf: titled(['value1', 'value2', 'value3'], ['First Choice', 'Second Choice', 'Third Choice']) },
        },
      },
      required: [],
    }));
}

// Tools that ask a modern client by multi round-trip.
function roundTripTools(server) {
  const tool = (name, description, run) =>
    server.registerTool(`test_${name}`, { description, inputSchema: z.object({}) }, run);
  const accepted = (ctx, key) => acceptedContent(ctx.mcpReq.inputResponses, key);
  const mint = content => state.mint({ ...content, nonce: randomUUID() });

  tool('missing_capability', 'Needs sampling.', (_, ctx) =>
    ctx.mcpReq.inputResponses?.llm_answer === undefined
      ? inputRequired({ inputRequests: { llm_answer: askModel('Reply with the single word: pong', 16) } })
      : said('sampled'));
  tool('input_required_result_elicitation', 'Asks for a name.', (_, ctx) => {
    const name = accepted(ctx, 'user_name')?.name;
    return typeof name === 'string' ? said(`Hello, ${name}!`) : inputRequired({ inputRequests: { user_name: askName() } });
  });
  tool('input_required_result_sampling', 'Asks for a completion.', (_, ctx) => {
    const answer = ctx.mcpReq.inputResponses?.capital_question;
    return answer === undefined
      ? inputRequired({ inputRequests: { capital_question: askModel('What is the capital of France?', 100) } })
      : said(`Sampling response: ${answer.content?.text}`);
  });
  tool('input_required_result_list_roots', 'Asks for roots.', (_, ctx) => {
    const roots = ctx.mcpReq.inputResponses?.client_roots?.roots;
    return Array.isArray(roots)
      ? said(`Client exposed ${roots.length} root(s): ${roots.map(root => root.uri).join(', ')}`)
      : inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
  });
  tool('input_required_result_request_state', 'Keeps a state over the round.', async (_, ctx) => {
    if (accepted(ctx, 'confirm') !== undefined && ctx.mcpReq.requestState() !== undefined) {
      return said('state-ok: requestState verified and confirmation received');
    }
    return inputRequired({ inputRequests: { confirm: askConfirmation() }, requestState: await mint({ tool: 'request_state' }) });
  });
  tool('input_required_result_tampered_state', 'Refuses a state that was changed.', async (_, ctx) => {
    if (accepted(ctx, 'confirm') !== undefined && ctx.mcpReq.requestState() !== undefined) {
      return said('integrity-ok: requestState verified');
    }
    return inputRequired({ inputRequests: { confirm: askConfirmation() }, requestState: await mint({ tool: 'tampered_state' }) });
  });
  tool('input_required_result_multiple_inputs', 'Asks for three things at once.', async (_, ctx) => {
    const name = accepted(ctx, 'user_name')?.name;
    const greeting = ctx.mcpReq.inputResponses?.greeting?.content?.text;
    const roots = ctx.mcpReq.inputResponses?.client_roots?.roots;
    if (typeof name === 'string' && typeof greeting === 'string' && Array.isArray(roots)) {
      return said(`${greeting} ${name}: ${roots.length} root(s)`);
    }
    return inputRequired({
      inputRequests: {
        user_name: askName(),
        greeting: askModel('Generate a greeting', 50),
        client_roots: inputRequired.listRoots(),
      },
      requestState: await mint({ tool: 'multiple_inputs' }),
    });
  });
  tool('input_required_result_multi_round', 'Asks twice.', async (_, ctx) => {
    const kept = ctx.mcpReq.requestState();
    if (kept?.round === 2) return said(`Multi-round complete: ${kept.name} likes ${accepted(ctx, 'step2')?.color}`);
    if (kept?.round === 1) {
      const name = accepted(ctx, 'step1')?.name ?? 'unknown';
      return inputRequired({
        inputRequests: { step2: form('Step 2: What is your favorite color?', 'color', 'string') },
        requestState: await mint({ round: 2, name }),
      });
    }
    return inputRequired({
      inputRequests: { step1: askName('Step 1: What is your name?') },
      requestState: await mint({ round: 1 }),
    });
  });
  tool('input_required_result_capabilities', 'Asks only for what the client can give.', (_, ctx) => {
    if (ctx.mcpReq.inputResponses !== undefined) return said('fulfilled');
    const can = ctx.mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
    const inputRequests = {
      ...(can.elicitation && { user_name: askName() }),
      ...(can.sampling && { greeting: askModel('Generate a short greeting', 50) }),
      ...(can.roots && { client_roots: inputRequired.listRoots() }),
    };
    return Object.keys(inputRequests).length === 0 ? said('nothing to ask') : inputRequired({ inputRequests });
  });
}

function resources(server) {
  const cacheHint = { ttlMs: 5000, cacheScope: 'private' };
  const plain = (name, uri, mimeType, content) =>
    server.registerResource(name, uri, { title: name, description: name, mimeType, cacheHint }, () => ({
      contents: [{ uri, mimeType, ...content }],
    }));
  plain('static-text', 'test://static-text', 'text/plain', { text: 'This is the content of the static text resource.' });
  plain('static-binary', 'test://static-binary', 'image/png', { blob: PNG });
  plain('watched-resource', 'test://watched-resource', 'text/plain', { text: 'Watched resource content' });
  server.registerResource(
    'template',
    new ResourceTemplate('test://template/{id}/data', { list: undefined }),
    { title: 'template', description: 'template', mimeType: 'application/json' },
    (uri, { id }) => ({
      contents: [
        {
          uri: uri.toString(),
          mimeType: 'application/json',
          text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
        },
      ],
    }),
  );
  server.server.setRequestHandler('resources/subscribe', () => ({}));
  server.server.setRequestHandler('resources/unsubscribe', () => ({}));
}

function prompts(server) {
  const user = content => ({ role: 'user', content });
  server.registerPrompt('test_simple_prompt', { description: 'Without arguments.' }, () => ({
    messages: [user(text('This is a simple prompt for testing.'))],
  }));
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'With two arguments.', argsSchema: z.object({ arg1: z.string(), arg2: z.string() }) },
    ({ arg1, arg2 }) => ({ messages: [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))] }),
  );
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'With a resource.', argsSchema: z.object({ resourceUri: z.string() }) },
    ({ resourceUri }) => ({
      messages: [
        user({
          type: 'resource',
          resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
        }),
        user(text('Please process the embedded resource above.')),
      ],
    }),
  );
  server.registerPrompt('test_prompt_with_image', { description: 'With an image.' }, () => ({
    messages: [user(image), user(text('Please analyze the image above.'))],
  }));
  server.registerPrompt('test_input_required_result_prompt', { description: 'Asks first.' }, ctx => {
    const context = acceptedContent(ctx.mcpReq.inputResponses, 'user_context')?.context;
    return typeof context === 'string'
      ? { messages: [user(text(`Use the following context: ${context}`))] }
      : inputRequired({ inputRequests: { user_context: form('What context should the prompt use?', 'context', 'string') } });
  });
}

// Cuts every list into pages, whoever makes it: the SDK has no option for this, so its handlers are wrapped.
function paginate(server, size) {
  const lists = { 'tools/list': 'tools', 'prompts/list': 'prompts', 'resources/list': 'resources', 'resources/templates/list': 'resourceTemplates' };
  for (const [method, member] of Object.entries(lists)) {
    const whole = server._requestHandlers.get(method);
    server._requestHandlers.set(method, async (request, ctx) => {
      const result = await whole(request, ctx);
      const from = Number(request.params?.cursor ?? 0);
      const more = from + size < result[member].length;
      return { ...result, [member]: result[member].slice(from, from + size), ...(more && { nextCursor: String(from + size) }) };
    });
  }
}

function reference() {
  const server = new McpServer(
    { name: 'portcullis-reference', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        logging: {},
        completions: {},
      },
      instructions: 'The reference server of the interop suite.',
      requestState: { verify: state.verify },
    },
  );
  plainTools(server);
  schemaTools(server);
  askingTools(server);
  roundTripTools(server);
  resources(server);
  prompts(server);
  server.server.setRequestHandler('logging/setLevel', () => ({}));
  server.server.setRequestHandler('completion/complete', request => {
    const all = ['paris', 'park', 'party'];
    const values = all.filter(value => value.startsWith(request.params.argument.value));
    return { completion: { values, total: values.length, hasMore: false } };
  });
  if (settings['page-size']) paginate(server.server, Number(settings['page-size']));
  return server;
}

// Events of legacy streams, so that they can be resumed. Bounded: a test server sends little, but not nothing.
class Events {
  #all = [];
  async storeEvent(stream, message) {
    const id = `${stream}::${String(this.#all.length).padStart(9, '0')}`;
    this.#all.push({ id, stream, message });
    return id;
  }
  async replayEventsAfter(last, { send }) {
    const stream = last.split('::')[0];
    for (const event of this.#all) {
      if (event.stream === stream && event.id > last && Object.keys(event.message).length > 0) await send(event.id, event.message);
    }
    return stream;
  }
}

async function legacy(request, response, body) {
  const id = request.headers['mcp-session-id'];
  const refuse = (status, message) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32000, message } }));
  };
  let session = legacySessions.get(id);
  if (!session && id) return refuse(404, 'Session not found');
  if (!session) {
    if (!isInitializeRequest(body)) return refuse(400, 'Session required');
    const server = reference();
    const transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Events(),
      retryInterval: 500,
      onsessioninitialized: made => legacySessions.set(made, session),
    });
    transport.onclose = () => legacySessions.delete(transport.sessionId);
    session = { server, transport };
    await server.connect(transport);
  }
  await session.transport.handleRequest(request, response, body);
}

const modern = createMcpHandler(reference, {
  legacy: 'reject',
  onerror: error => console.error('modern:', error.message),
});
const modernNode = toNodeHandler(modern);

const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

async function serve(request, response) {
  const origin = request.headers.origin;
  if (!LOCAL.test(request.headers.host ?? '') || (origin && !LOCAL.test(origin.replace(/^https?:\/\//, '')))) {
    return response.writeHead(403).end();
  }
  if (new URL(request.url, 'http://localhost').pathname !== '/mcp') return response.writeHead(404).end();
  let body;
  if (request.method === 'POST') {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    try {
      body = JSON.parse(Buffer.concat(chunks).toString());
    } catch {
      return response.writeHead(400).end();
    }
  }
  const first = value => (Array.isArray(value) ? value[0] : value);
  const classified = classifyInboundRequest({
    httpMethod: request.method,
    protocolVersionHeader: first(request.headers['mcp-protocol-version']),
    mcpMethodHeader: first(request.headers['mcp-method']),
    body,
  }).kind;
  const isLegacy = settings.era === 'both' ? classified === 'legacy' : settings.era === 'legacy';
  return isLegacy ? legacy(request, response, body) : modernNode(request, response, body);
}

const http = createServer((request, response) => {
  serve(request, response).catch(error => {
    console.error(error);
    if (!response.headersSent) response.writeHead(500).end();
  });
});
http.listen(Number(settings.port), '127.0.0.1', () => console.log(`ready http://127.0.0.1:${http.address().port}/mcp`));
