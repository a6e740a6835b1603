"""A client of ComfyUI's HTTP and WebSocket interface: posts a prompt, follows it, times its nodes."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import websocket
from PIL import Image

Prompt = dict[str, dict[str, Any]]
"""Nodes by id, as the server takes them: {"class_type": ..., "inputs": {...}}."""

Progress = Callable[[str, int, int], None]
"""Told (node type, steps done, steps in all)."""

_CONVERTER = Path(__file__).with_name("convert_workflow.py")


class ComfyError(RuntimeError):
    """The server refused a prompt, or a node failed; the text is for users."""


@dataclass(frozen=True, slots=True)
class Executed:
    """One executed prompt.

    Attributes:
        outputs: What each output node showed, by node id.
        seconds: Wall seconds of each node that ran, by its type. Nodes that ComfyUI took from its cache are absent.
    """

    outputs: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)


class Comfy:
    """A running server."""

    def __init__(self, url: str) -> None:
        """Talk to the server at `url`, such as http://127.0.0.1:8188."""
        self._url = url.rstrip("/")
        self._client = uuid.uuid4().hex
        # No proxy: the server is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def object_info(self) -> dict[str, Any]:
        """Return the schemas of all nodes the server knows."""
        info: dict[str, Any] = self._get("/object_info")
        return info

    def version(self) -> str:
        """Return the version of ComfyUI."""
        return str(self._get("/system_stats")["system"]["comfyui_version"])

    def to_prompt(self, workflow: dict[str, Any], tools_python: Path) -> Prompt:
        """Return the prompt for a workflow as the browser saves it; `tools_python` has comfy-cli.

        Raises:
            ComfyError: If comfy-cli cannot convert it.
        """
        given = json.dumps({"workflow": workflow, "object_info": self.object_info()})
        command = [str(tools_python), str(_CONVERTER)]
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise ComfyError(f"comfy-cli could not convert the workflow:\n{done.stderr[-2000:]}")
        prompt: Prompt = json.loads(done.stdout)
        return prompt

    def run(self, prompt: Prompt, progress: Progress | None = None) -> Executed:
        """Execute a prompt and return what it gave.

        Raises:
            ComfyError: If the server refuses it, a node fails or somebody interrupts it.
        """
        socket = websocket.create_connection(
            f"{self._url.replace('http', 'ws', 1)}/ws?clientId={self._client}",
            timeout=600,
            http_no_proxy=["*"],
        )
        try:
            prompt_id = self._post(prompt)
            seconds = _follow(socket, prompt_id, prompt, progress)
        finally:
            socket.close()
        return Executed(outputs=self._history(prompt_id)["outputs"], seconds=seconds)

    def image(self, executed: Executed, node: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the first picture that an output node saved, (height, width, 3) float64 in [0, 1]."""
        saved = executed.outputs[node]["images"][0]
        query = urllib.parse.urlencode({name: saved[name] for name in ("filename", "subfolder", "type")})
        with self._opener.open(f"{self._url}/view?{query}", timeout=60) as answer:
            return np.asarray(Image.open(BytesIO(answer.read())).convert("RGB"), dtype=np.float64) / 255.0

    def _get(self, path: str) -> Any:
        with self._opener.open(self._url + path, timeout=60) as answer:
            return json.load(answer)

    def _post(self, prompt: Prompt) -> str:
        body = json.dumps({"prompt": prompt, "client_id": self._client}).encode()
        request = urllib.request.Request(f"{self._url}/prompt", body, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=60) as answer:
                return str(json.load(answer)["prompt_id"])
        except urllib.error.HTTPError as error:
            raise ComfyError(f"The server refused the prompt:\n{_refusal(error.read())}") from None

    def _history(self, prompt_id: str) -> dict[str, Any]:
        """Return the history entry, which the server writes after it has said that all is done."""
        for _ in range(200):
            history = self._get(f"/history/{prompt_id}")
            if prompt_id in history:
                entry: dict[str, Any] = history[prompt_id]
                return entry
            time.sleep(0.05)
        raise ComfyError(f"The server has no history of prompt {prompt_id}, 10 s after it was executed.")


def _follow(
    socket: websocket.WebSocket, prompt_id: str, prompt: Prompt, progress: Progress | None
) -> dict[str, float]:
    """Wait until the prompt is done and return the seconds of each node type that ran."""
    seconds: dict[str, float] = {}
    running, since = "", time.perf_counter()
    for kind, data in _events(socket, prompt_id):
        if kind == "progress" and progress is not None:
            progress(running, data["value"], data["max"])
        if kind == "executing":
            now = time.perf_counter()
            seconds[running] = seconds.get(running, 0.0) + now - since
            if data["node"] is None:
                break
            running, since = prompt[data["node"]]["class_type"], now
    return seconds


def _events(socket: websocket.WebSocket, prompt_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the server's events about one prompt; previews and live text come as bytes and are passed over.

    Raises:
        ComfyError: When a node fails, or the prompt is interrupted.
    """
    while True:
        message = socket.recv()
        event = json.loads(message) if isinstance(message, str) else {"type": "binary", "data": {}}
        kind, data = event["type"], event["data"]
        if data.get("prompt_id") != prompt_id:
            continue
        if kind in ("execution_error", "execution_interrupted"):
            raise ComfyError(_failure(data))
        yield kind, data


def _failure(data: dict[str, Any]) -> str:
    node = f"node {data.get('node_id')} ({data.get('node_type')})"
    return f"{node} failed: {data.get('exception_message', 'interrupted')}".strip()


def _refusal(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    lines = [answer.get("error", {}).get("message", "no reason given")]
    for node, found in answer.get("node_errors", {}).items():
        lines += [
            f"  node {node} ({found['class_type']}): {e['message']}: {e['details']}" for e in found["errors"]
        ]
    return "\n".join(lines)
