// Preloaded into the conformance suite, which has no option for headers: adds the key to every request to the gateway.

import http from 'node:http';
import { createRequire } from 'node:module';

const key = process.env.INTEROP_KEY;
const target = process.env.INTEROP_ORIGIN;

const plainFetch = globalThis.fetch;
globalThis.fetch = (input, init = {}) => {
  const url = new URL(input instanceof Request ? input.url : input);
  if (url.host !== target) return plainFetch(input, init);
  const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
  if (!headers.has('authorization')) headers.set('authorization', `Bearer ${key}`);
  return plainFetch(input, { ...init, headers });
};

const plainRequest = http.request;
http.request = (...args) => {
  const options = args.find(arg => arg && typeof arg === 'object' && !(arg instanceof URL));
  const host = options && `${options.hostname ?? options.host}:${options.port}`;
  if (options && host === target) options.headers = { authorization: `Bearer ${key}`, ...options.headers };
  return plainRequest(...args);
};

// The suite's own undici, for requests with a Host header of their own.
const undici = createRequire(createRequire(import.meta.url).resolve('@modelcontextprotocol/conformance/package.json'))('undici');
const plainUndici = undici.request;
undici.request = (url, options = {}) => {
  if (new URL(url).host !== target) return plainUndici(url, options);
  return plainUndici(url, { ...options, headers: { authorization: `Bearer ${key}`, ...options.headers } });
};
