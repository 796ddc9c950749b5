// Official servers through all three endpoints, with the official TypeScript clients of both eras and rmcp's.

import { Gateway, document, everythingOf, key } from './lib/gateway.mjs';
import { connect, eras } from './lib/clients.mjs';
import { officialServers } from './lib/servers.mjs';
import { run } from './lib/processes.mjs';

// A gateway with the three servers behind it, a bundle of all, and a key that may do everything.
export async function gatewayWithServers() {
  const servers = await officialServers();
  const gateway = await Gateway.up();
  const secrets = await gateway.apply([
    ...servers.map(server => server.document),
    document('ToolBundle', 'all', { tools: servers.map(server => ({ server: server.name, allow: ['*'] })) }),
    key('everybody', [{ bundle: 'all' }, ...servers.map(server => everythingOf(server.name))]),
  ]);
  const ways = [];
  for (const server of servers) {
    await gateway.permitted('everybody', server.calls[0][0], `/servers/${server.name}/mcp`);
    const named = prefix => server.calls.map(([tool, args, wanted]) => [`${prefix}${tool}`, args, wanted]);
    ways.push({ server: server.name, path: `/servers/${server.name}/mcp`, calls: named('') });
    ways.push({ server: server.name, path: '/mcp', calls: named(`${server.name}_`) });
    ways.push({ server: server.name, path: '/bundles/all/mcp', calls: named(`${server.name}_`) });
  }
  return { gateway, secret: secrets.everybody, ways };
}

export async function runServers(report, only) {
  const { gateway, secret, ways } = await gatewayWithServers();
  for (const { server, path, calls } of ways) {
    for (const era of eras) {
      const name = `typescript ${era} client, ${server} at ${path}`;
      if (only && !name.includes(only)) continue;
      try {
        const { client } = await connect(era, gateway.url(path), secret);
        const { tools } = await client.listTools();
        for (const [tool, args, wanted] of calls) {
          if (!tools.some(listed => listed.name === tool)) throw new Error(`${tool} is not listed: ${tools.map(listed => listed.name)}`);
          const result = await client.callTool({ name: tool, arguments: args });
          const text = result.content.map(part => part.text).join();
          if (result.isError || !wanted.test(text)) throw new Error(`${tool}: ${JSON.stringify(result)}`);
        }
        const unknown = await client.callTool({ name: 'no_such_tool', arguments: {} }).catch(error => error);
        if (unknown.code !== -32602 || !unknown.message.includes('Unknown tool: no_such_tool')) throw new Error(`unknown tool: ${JSON.stringify(unknown)} ${unknown.message}`);
        await client.close();
        report(name, true);
      } catch (error) {
        report(name, false, error.message, error.stack);
      }
    }
    const rmcp = process.env.PORTCULLIS_RMCP_CLIENT;
    for (const era of rmcp ? eras : []) {
      const name = `rmcp ${era} client, ${server} at ${path}`;
      if (only && !name.includes(only)) continue;
      const wanted = JSON.stringify(calls.map(([tool, args]) => [tool, args]));
      const { code, stdout, stderr } = await run(rmcp, [gateway.url(path).href, secret, era, wanted], { timeout: 30_000 });
      judge(report, name, calls, code, stdout, stderr);
    }
  }
  report('the rmcp client was there', Boolean(process.env.PORTCULLIS_RMCP_CLIENT), 'PORTCULLIS_RMCP_CLIENT names no program');
  await gateway.stop();
}

// Judges what a client of another language printed.
export function judge(report, name, calls, code, stdout, stderr) {
  try {
    if (code !== 0) throw new Error(stderr.slice(-1000) || stdout);
    const got = JSON.parse(stdout.trim().split('\n').at(-1));
    for (const [at, [tool, , wanted]] of calls.entries()) {
      if (!got.tools.includes(tool)) throw new Error(`${tool} is not listed: ${got.tools}`);
      const result = got.results[at];
      if (result.error || result.code || !wanted.test(result.text)) throw new Error(`${tool}: ${JSON.stringify(result)}`);
    }
    report(name, true);
  } catch (error) {
    report(name, false, error.message, `${stdout}\n${stderr}`);
  }
}
