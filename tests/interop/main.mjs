// Runs the parts of the suite and prints what holds. Ends with a line `N passed, N failed`, and status 1 when something failed.

import { runConformance } from './conformance.mjs';
import { runGovernance } from './governance.mjs';
import { runMatrix } from './matrix.mjs';
import { runPython } from './python.mjs';
import { runServers } from './servers.mjs';
import { stopAll } from './lib/processes.mjs';

const [part, only] = (process.argv[2] ?? '').split(':');
const parts = {
  matrix: runMatrix,
  servers: runServers,
  python: runPython,
  governance: runGovernance,
  conformance: runConformance,
};

let passed = 0;
let failed = 0;
function report(name, ok, detail = '', output = '') {
  if (ok) passed += 1;
  else failed += 1;
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}${ok ? '' : `: ${detail}`}`);
  if (!ok && process.env.INTEROP_VERBOSE && output) console.log(output.slice(-4000));
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stopAll().finally(() => process.exit(130)));
for (const [name, runPart] of Object.entries(parts)) {
  if (part && !name.includes(part)) continue;
  console.log(`\n-- ${name}`);
  try {
    await runPart(report, only);
  } catch (error) {
    report(`${name} ran to its end`, false, error.stack);
  }
  await stopAll();
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
