// A running Portcullis (both planes in one process), driven through its command line as an operator would.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { directory, json, portcullis, run, start, stop, until } from './processes.mjs';

export class Gateway {
  static async up(extra = [], { dataDir = directory('up') } = {}) {
    const ready = join(dataDir, 'ready.json');
    const log = join(dataDir, 'log.txt');
    const zero = name => [`--${name}`, '127.0.0.1:0'];
    const args = ['up', '--data-dir', dataDir, '--ready-file', ready];
    args.push(...['listen', 'ops-listen', 'grpc-listen', 'http-listen'].flatMap(zero), ...extra);
    const child = start(portcullis, args, { log });
    const gateway = new Gateway();
    Object.assign(gateway, { child, dataDir, log });
    await until('portcullis up', () => {
      if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}; see ${log}`);
      return existsSync(ready);
    });
    gateway.addresses = json(ready);
    gateway.base = gateway.addresses.mcpUrl.replace(/\/mcp$/, '');
    return gateway;
  }

  async cli(...args) {
    const result = await this.tryCli(...args);
    if (result.code !== 0) throw new Error(`portcullis ${args.join(' ')}: ${result.stderr || result.stdout}`);
    return result.stdout;
  }

  tryCli(...args) {
    const env = { PORTCULLIS_SERVER: this.addresses.grpcUrl, PORTCULLIS_DATA_DIR: this.dataDir };
    return run(portcullis, args, { env });
  }

  // Applies documents and gives the secrets of the keys that came into being.
  async apply(documents) {
    const file = join(this.dataDir, `apply-${Date.now()}-${Math.random().toString(36).slice(2)}.yaml`);
    writeFileSync(file, documents.map(document => JSON.stringify(document)).join('\n---\n'));
    const reply = JSON.parse(await this.cli('apply', '-f', file, '-o', 'json'));
    return Object.fromEntries(reply.keys.map(key => [key.name, key.secret]));
  }

  // Waits until the key may call the tool.
  permitted(key, tool, endpoint = '/mcp') {
    return until(`${key} may call ${tool}`, async () => {
      const explained = await this.cli('explain', '--key', key, '--tool', tool, '--endpoint', endpoint, '-o', 'json');
      return JSON.parse(explained).decision === 'permit';
    });
  }

  // Waits until a server was probed, and gives its status.
  probed(server) {
    return until(`${server} is probed`, async () => {
      const { status } = JSON.parse(await this.cli('get', 'servers', server, '-o', 'json'));
      return status?.health === 'up' ? status : undefined;
    });
  }

  url(path = '/mcp') {
    return new URL(this.base + path);
  }

  stop() {
    return stop(this.child);
  }
}

export const document = (kind, name, spec) => ({ apiVersion: 'portcullis/v1', kind, metadata: { name }, spec });
export const httpServer = (name, url, spec = {}) =>
  document('McpServer', name, { transport: { streamableHttp: { url } }, tools: { newTools: 'approve' }, ...spec });
export const stdioServer = (name, command, args, spec = {}) =>
  document('McpServer', name, { transport: { stdio: { command, args } }, tools: { newTools: 'approve' }, ...spec });
export const everythingOf = server => ({ server, allow: ['*'], prompts: ['*'], resources: ['*'] });
export const key = (name, grants, spec = {}) =>
  document('VirtualKey', name, { principal: { kind: 'agent', subject: name }, grants, ...spec });
