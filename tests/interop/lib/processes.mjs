// Child processes of the suite: started, waited for, and never left behind.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const here = join(dirname(fileURLToPath(import.meta.url)), '..');
export const bin = name => join(here, 'node_modules', '.bin', name);
export const node = bin('node');
export const portcullis = process.env.PORTCULLIS_BIN ?? join(here, '../../target/release/portcullis');

const running = new Set();

export function start(command, args, { env = {}, log, cwd } = {}) {
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  running.add(child);
  child.once('exit', () => running.delete(child));
  if (log) {
    const out = createWriteStream(log, { flags: 'a' });
    child.stdout.pipe(out, { end: false });
    child.stderr.pipe(out, { end: false });
  } else {
    child.stderr.resume();
  }
  return child;
}

export async function stop(child, signal = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  process.kill(-child.pid, signal);
  const late = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), 10_000);
  await ended;
  clearTimeout(late);
}

export async function stopAll() {
  await Promise.all([...running].map(child => stop(child).catch(() => {})));
}

// Waits for a line of standard output and gives what the pattern caught.
export function line(child, pattern, ms = 20_000) {
  return new Promise((resolve, reject) => {
    let text = '';
    const late = setTimeout(() => reject(new Error(`no line like ${pattern} within ${ms} ms; so far: ${text}`)), ms);
    const look = chunk => {
      text += chunk;
      const found = text.match(pattern);
      if (found) {
        clearTimeout(late);
        resolve(found[1] ?? found[0]);
      }
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.once('exit', code => {
      clearTimeout(late);
      reject(new Error(`ended with ${code} before a line like ${pattern}: ${text}`));
    });
  });
}

// Runs a command to its end.
export async function run(command, args, { input, env = {}, timeout = 120_000, cwd } = {}) {
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
  const late = setTimeout(() => child.kill('SIGKILL'), timeout);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', chunk => (stdout += chunk));
  child.stderr.on('data', chunk => (stderr += chunk));
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  clearTimeout(late);
  return { code, stdout, stderr };
}

// Directories that go when the suite ends; one listener for all of them, however many there are.
const directories = [];
process.once('exit', () => {
  for (const made of directories) rmSync(made, { recursive: true, force: true });
});

export function directory(name) {
  const made = mkdtempSync(join(tmpdir(), `portcullis-${name}-`));
  if (!process.env.INTEROP_KEEP) directories.push(made);
  return made;
}

export async function until(what, probe, ms = 20_000) {
  const end = Date.now() + ms;
  let last;
  while (Date.now() < end) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not within ${ms} ms; last: ${last}`);
}

export const json = file => JSON.parse(readFileSync(file, 'utf8'));
