"""Drives the official Python SDK against one endpoint: lists, calls, and prints one JSON object with what it got.

    python_client.py URL KEY MODE CALLS

MODE is "legacy" or a protocol revision; CALLS is a JSON list of [tool, arguments].
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, key: str, mode: str, calls: list) -> dict:
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode, read_timeout_seconds=30) as client:
            out = {"version": client.protocol_version, "results": []}
            out["tools"] = [tool.name for tool in (await client.list_tools()).tools]
            for name, arguments in calls:
                try:
                    result = await client.call_tool(name, arguments)
                    text = next((part.text for part in result.content if part.type == "text"), "")
                    out["results"].append({"error": bool(result.is_error), "text": text})
                except MCPError as error:
                    out["results"].append({"code": error.error.code, "text": error.error.message})
            return out


if __name__ == "__main__":
    _, url, key, mode, calls = sys.argv
    print(json.dumps(asyncio.run(main(url, key, mode, json.loads(calls)))))
