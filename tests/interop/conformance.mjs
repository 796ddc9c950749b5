// The official conformance suite through the gateway: its `server` mode in front of the reference server, for both eras, and its
// `client` mode with the gateway in between. What the reference server passes directly must pass through Portcullis.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { Gateway, everythingOf, httpServer, key } from './lib/gateway.mjs';
import { bin, directory, here, line, node, run, start } from './lib/processes.mjs';

const conformance = bin('conformance');

const client = {
  '2025-11-25': ['initialize', 'tools_call', 'elicitation-sep1034-client-defaults', 'sse-retry', 'json-schema-2020-12-preservation'],
  '2026-07-28': [
    'tools_call',
    'request-metadata',
    'sep-2322-client-request-state',
    'http-standard-headers',
    'http-custom-headers',
    'http-invalid-tool-headers',
    'json-schema-ref-no-deref',
    'json-schema-2020-12-preservation',
  ],
};

// Every scenario's verdict, read from the summary.
function verdicts(output) {
  const summary = output.slice(output.indexOf('=== SUMMARY ==='));
  const found = [...summary.matchAll(/^([✓✗]) ([\w/-]+): (\d+) passed, (\d+) failed/gm)];
  return new Map(found.map(([, mark, name, passed, failed]) => [name, { pass: mark === '✓', passed: +passed, failed: +failed }]));
}

async function serverMode(url, revision, secret) {
  const preload = secret ? { NODE_OPTIONS: `--import ${join(here, 'lib/authorize.mjs')}`, INTEROP_KEY: secret, INTEROP_ORIGIN: new URL(url).host } : {};
  const args = [conformance, 'server', '--url', url, '--requirements', revision, '-o', directory('conformance')];
  const { stdout, stderr } = await run(node, args, { env: preload, timeout: 300_000 });
  return { verdicts: verdicts(stdout), output: stdout + stderr };
}

async function clientMode(scenario, revision) {
  const results = directory('conformance');
  const command = `${node} ${join(here, 'clients/conformance.mjs')}`;
  const args = [conformance, 'client', '--command', command, '--scenario', scenario, '--spec-version', revision, '--timeout', '60000', '-o', results];
  const { stdout, stderr } = await run(node, args, { timeout: 120_000 });
  const checks = readdirSync(results).flatMap(name => JSON.parse(readFileSync(join(results, name, 'checks.json'), 'utf8')));
  const failed = checks.filter(check => check.status === 'FAILURE');
  return { pass: checks.length > 0 && failed.length === 0, passed: checks.filter(check => check.status === 'SUCCESS').length, failed, output: stdout + stderr };
}

export async function runConformance(report, only) {
  const wanted = name => !only || name.includes(only);
  for (const [revision, era] of [['2025-11-25', 'legacy'], ['2026-07-28', 'modern'], ['2025-11-25', 'both'], ['2026-07-28', 'both']]) {
    const title = `conformance server ${revision}, ${era === 'both' ? 'an upstream of both eras' : `a ${era} upstream`}`;
    if (!wanted(title)) continue;
    const reference = start(node, [join(here, 'servers/reference.mjs'), '--era', era]);
    const direct = (await line(reference, /ready (\S+)/)).replace('127.0.0.1', 'localhost');
    const gateway = await Gateway.up();
    const secrets = await gateway.apply([httpServer('reference', direct), key('conformance', [everythingOf('reference')])]);
    await gateway.permitted('conformance', 'test_simple_text', '/servers/reference/mcp');
    const through = gateway.url('/servers/reference/mcp').href.replace('127.0.0.1', 'localhost');
    const expected = await serverMode(direct, revision);
    const got = await serverMode(through, revision, secrets.conformance);
    let total = 0;
    for (const [name, verdict] of expected.verdicts) {
      if (!verdict.pass) continue;
      total += 1;
      const ours = got.verdicts.get(name);
      const detail = ours ? `${ours.passed} passed, ${ours.failed} failed; directly ${verdict.passed} passed` : 'not run';
      // The suite's own verdict, and something was really checked: a JSON answer is as valid as a stream, and has fewer checks.
      report(`${title}: ${name}`, Boolean(ours?.pass && (ours.passed > 0 || verdict.passed === 0)), detail, got.output);
      if (ours?.pass && ours.passed < verdict.passed) console.log(`     ${name}: ${detail}`);
    }
    report(`${title}: scenarios were run`, total >= 30, `${total}`, expected.output);
    await gateway.stop();
  }
  for (const [revision, scenarios] of Object.entries(client)) {
    for (const scenario of scenarios.filter(name => wanted(`client ${revision} ${name}`))) {
      const result = await clientMode(scenario, revision);
      const detail = `${result.passed} passed, ${result.failed.length} failed ${result.failed.map(check => `${check.id}: ${check.errorMessage ?? ''}`).join('; ')}`;
      report(`conformance client ${revision} ${scenario}`, result.pass, detail, result.output);
    }
  }
}
