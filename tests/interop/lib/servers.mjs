// The official servers that the suite stands behind the gateway: what each is called, and calls that must come through.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { stdioServer, httpServer } from './gateway.mjs';
import { bin, directory, node, start, until } from './processes.mjs';

export async function officialServers() {
  const files = directory('files');
  writeFileSync(join(files, 'hello.txt'), 'hello from a file');
  mkdirSync(join(files, 'empty'));
  const memory = join(directory('memory'), 'memory.jsonl');

  // server-everything over Streamable HTTP takes its port from the environment and has no port 0.
  const port = 30_000 + Math.floor(Math.random() * 20_000);
  const everything = start(node, [bin('mcp-server-everything'), 'streamableHttp'], { env: { PORT: String(port) } });
  const url = `http://127.0.0.1:${port}/mcp`;
  await until('server-everything', async () => {
    if (everything.exitCode !== null) throw new Error(`ended with ${everything.exitCode}`);
    return (await fetch(url, { method: 'DELETE' })).status > 0;
  });

  const entity = { name: 'Ada', entityType: 'person', observations: ['wrote programs'] };
  return [
    {
      name: 'everything',
      document: httpServer('everything', url),
      calls: [['echo', { message: 'hello' }, /hello/], ['get-sum', { a: 2, b: 40 }, /42/]],
    },
    {
      name: 'filesystem',
      document: stdioServer('filesystem', node, [bin('mcp-server-filesystem'), files]),
      calls: [['read_text_file', { path: join(files, 'hello.txt') }, /hello from a file/], ['list_directory', { path: files }, /empty/]],
    },
    {
      name: 'memory',
      document: withEnvironment(stdioServer('memory', node, [bin('mcp-server-memory')]), { MEMORY_FILE_PATH: memory }),
      calls: [['create_entities', { entities: [entity] }, /Ada|^\[\]$/], ['search_nodes', { query: 'Ada' }, /wrote programs/]],
    },
  ];
}

function withEnvironment(document, env) {
  document.spec.transport.stdio.env = env;
  return document;
}
