// Official servers through all three endpoints, with the official Python client of both eras.

import { join } from 'node:path';

import { gatewayWithServers, judge } from './servers.mjs';
import { here, run } from './lib/processes.mjs';

const python = join(here, '../../.cache/interop/py/bin/python');

export async function runPython(report, only) {
  const { gateway, secret, ways } = await gatewayWithServers();
  for (const { server, path, calls } of ways) {
    for (const mode of ['legacy', '2026-07-28', 'auto']) {
      const name = `python ${mode} client, ${server} at ${path}`;
      if (only && !name.includes(only)) continue;
      const wanted = JSON.stringify(calls.map(([tool, args]) => [tool, args]));
      const script = join(here, 'clients/python_client.py');
      const { code, stdout, stderr } = await run(python, [script, gateway.url(path).href, secret, mode, wanted], { timeout: 60_000 });
      judge(report, name, calls, code, stdout, stderr);
    }
  }
  await gateway.stop();
}
