"""As much of Kubeflow Pipelines' API, v2beta1, as `digits submit` asks, over HTTP on loopback."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

API = "/apis/v2beta1"
Answer = tuple[int, dict[str, Any]]


@dataclass
class FakeKubeflow:
    """The server's state, for tests to set and to look at.

    Attributes:
        token: that it asks for; None for none.
        multi_user: whether it has many users.
        refusals: the answer of a path's requests, instead of the usual one.
        progress: the states of the run and of its tasks, one for each look; the last one stays.
        requests: method, path and query of each request.
        runs: what was posted to make a run.
        uploads: name and bytes of each package.
    """

    token: str | None = None
    multi_user: bool = False
    refusals: dict[str, Answer] = field(default_factory=dict)
    progress: list[tuple[str, dict[str, str]]] = field(default_factory=lambda: [("SUCCEEDED", {})])
    requests: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[tuple[str, bytes]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], token: str, body: bytes
    ) -> Answer:
        """What a request gets: status and JSON."""
        self.requests.append((method, path, query))
        if self.token and token != f"Bearer {self.token}":
            return 401, {"code": 16, "message": "Request header error: bad token"}
        if path in self.refusals:
            return self.refusals[path]
        match method, path:
            case "GET", "/healthz":
                return 200, {"multi_user": self.multi_user}
            case "GET", "/experiments":
                return 200, {"experiments": self._named(self.experiments, query)}
            case "POST", "/experiments":
                self.experiments.append({**json.loads(body), "experiment_id": "experiment-1"})
                return 200, self.experiments[-1]
            case "GET", "/pipelines":
                made = [{"pipeline_id": "pipeline-1", "display_name": "digits"}]
                return 200, {"pipelines": made if self.uploads else []}
            case "POST", "/pipelines/upload" | "/pipelines/upload_version":
                self.uploads.append((query["name"][0], body))
                return 200, self._version()
            case "GET", "/pipelines/pipeline-1/versions":
                return 200, {"pipeline_versions": [self._version()]}
            case "POST", "/runs":
                self.runs.append(json.loads(body))
                return 200, {**self.runs[-1], "run_id": "run-1", "state": "PENDING"}
            case "GET", "/runs/run-1":
                state, tasks = self.progress[0]
                del self.progress[: len(self.progress) > 1]
                details = [{"display_name": name, "state": of} for name, of in tasks.items()]
                return 200, {
                    "run_id": "run-1",
                    "state": state,
                    "run_details": {"task_details": details},
                }
        return 404, {"message": f"{method} {path}: not found"}

    def _version(self) -> dict[str, str]:
        number = f"version-{len(self.uploads)}"
        return {"pipeline_id": "pipeline-1", "pipeline_version_id": number}

    @staticmethod
    def _named(made: list[dict[str, Any]], query: dict[str, list[str]]) -> list[dict[str, Any]]:
        (named,) = json.loads(query["filter"][0])["predicates"]
        return [one for one in made if one["display_name"] == named["stringValue"]]


@contextlib.contextmanager
def fake_kubeflow() -> Iterator[FakeKubeflow]:
    """Serves the API until the block ends."""
    fake = FakeKubeflow()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlparse(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = fake.answer(
                self.command,
                re.sub(f"^{API}", "", url.path),
                parse_qs(url.query),
                self.headers.get("Authorization", ""),
                body,
            )
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
