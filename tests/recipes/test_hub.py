"""Uploads and look-ups, by the real client against a Hub that listens on this machine."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.recipes import harness

TOKEN = "hf_" + "sentinelTokenNeverToBeSeen1234567890"  # built up, so that no scanner takes it for a real one
SUMS = "".join(f'{{"problem": "What is {i} plus 1?", "answer": {i + 1}}}\n' for i in range(24)).encode()


class Hub(ThreadingHTTPServer):
    """Takes what huggingface_hub sends for a small upload, and keeps it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.refuses = self.refuses_commits = False


class Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, value: Any, status: int = 200, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_for_dataset(self, path: str) -> None:
        """A dataset of one file."""
        commit = "0" * 40
        if "/tree/" in path:
            self.answer([{"type": "file", "path": "train.jsonl", "size": len(SUMS), "oid": commit}])
        elif "/resolve/" not in path:
            self.answer({"id": "me/sums", "sha": commit, "siblings": [{"rfilename": "train.jsonl"}], "private": False})
        elif not path.endswith("/train.jsonl"):
            self.answer({"error": "Entry not found"}, 404, code="EntryNotFound")
        else:
            self.send_response(200)
            headers = {"X-Repo-Commit": commit, "ETag": f'"{commit}"', "Content-Length": str(len(SUMS))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(SUMS)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.tokens.add(self.headers.get("Authorization", ""))
        if re.match(r"(/api)?/(models|datasets)/nobody/", self.path):
            self.answer({"error": "Repository not found"}, 404, code="RepoNotFound")
        elif re.match(r"(/api)?/(models|datasets)/closed/", self.path):
            self.answer({"error": "Access is restricted"}, 403, code="GatedRepo")
        elif self.server.refuses:
            self.answer({"error": "Invalid user token."}, 401)
        elif "/datasets/me/sums" in self.path:
            self.answer_for_dataset(self.path.partition("?")[0])
        elif self.path.startswith("/api/whoami"):
            self.answer(
                {"type": "user", "name": "me", "auth": {"type": "access_token", "accessToken": {"role": "write"}}}
            )
        else:
            self.answer({"id": "me/tiny", "sha": "0" * 40, "siblings": [], "private": True})

    def do_POST(self) -> None:
        self.server.tokens.add(self.headers.get("Authorization", ""))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        host = f"http://127.0.0.1:{self.server.server_port}"
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self.answer({"url": f"{host}/me/tiny", "name": "me/tiny"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path and self.server.refuses_commits:
            self.answer({"error": "out of room"}, 403)
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self.answer({"commitUrl": f"{host}/me/tiny/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True})
        else:
            self.answer({})


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def push(hub: Hub, folder: Path, *args: str) -> harness.Result:
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_TOKEN": TOKEN, "HF_HOME": str(folder / "hf")}
    arguments = ("--push_to_hub", "me/tiny", "--max_steps", "1", "--output_dir", folder / "run", *harness.QUICK, *args)
    return harness.run(*arguments, env=env)


def test_the_adapter_arrives_in_a_private_repository_and_the_token_is_never_shown(hub: Hub, tmp_path: Path) -> None:
    done = push(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [repo["visibility"] for repo in hub.created] == ["private"]
    assert f"Bearer {TOKEN}" in hub.tokens
    saved = tmp_path / "run" / "adapter"
    assert hub.files["adapter_model.safetensors"] == (saved / "adapter_model.safetensors").read_bytes()
    assert set(hub.files) == {path.name for path in saved.iterdir()} - {"README.md"}
    assert json.loads(hub.files["adapter_config.json"])["base_model_name_or_path"] == "embedded_qwen3"
    assert not any(str(harness.ROOT).encode() in content for content in hub.files.values())
    assert re.search(r"pushed to http://127\.0\.0\.1:\d+/me/tiny \(private\)", done.stdout)
    written = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not any(TOKEN.encode() in content for content in [*written, done.stdout.encode(), done.stderr.encode()])


def test_public_is_asked_for_by_name(hub: Hub, tmp_path: Path) -> None:
    assert push(hub, tmp_path, "--public").returncode == 0
    assert [repo["visibility"] for repo in hub.created] == ["public"]


def test_a_refused_token_is_found_before_the_run(hub: Hub, tmp_path: Path) -> None:
    hub.refuses = True
    done = push(hub, tmp_path)
    assert done.returncode == 2
    assert "the Hub refuses the token" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nobody/Qwen2.5-3B", "the Hub has no model 'nobody/Qwen2.5-3B', or it is private"),
        ("closed/model", "closed/model is gated; wanted a token with access"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(hub: Hub, model: str, said: str, tmp_path: Path) -> None:
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": ""}
    done = harness.run("--model", model, "--dataset", "arithmetic", "--output_dir", tmp_path / "run", env=env)
    assert done.returncode == 2
    assert len(done.error_lines()) == 1
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("hf_home", "said"),
    [
        ("hf", "the Hub refuses openai/gsm8k (HTTP 401); wanted a token that it takes, or none"),
        ("file/hf", "openai/gsm8k: the cache cannot be used"),
    ],
)
def test_gsm8k_that_cannot_be_had_is_one_line_with_the_true_cause(
    hub: Hub, hf_home: str, said: str, tmp_path: Path
) -> None:
    hub.refuses = True
    (tmp_path / "file").touch()
    address = f"http://127.0.0.1:{hub.server_port}"
    env = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / hf_home), "HF_TOKEN": ""}
    done = harness.run("--dataset", "openai/gsm8k", "--output_dir", tmp_path / "run", env=env)
    assert done.returncode == 2
    assert len(done.error_lines()) == 1
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_upload_that_fails_loses_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.refuses_commits = True
    done = push(hub, tmp_path)
    assert done.returncode == 2
    assert "the upload to me/tiny failed" in done.stderr
    assert "95% interval" in done.stdout
    assert harness.summary(tmp_path / "run")["saved"] == ["adapter"]


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("nobody/sums", "the Hub has no nobody/sums, or does not show it; wanted a token with access"),
        (
            "closed/sums",
            "closed/sums is gated; wanted access to it; ask for it on https://huggingface.co/datasets/closed",
        ),
    ],
)
def test_a_dataset_that_cannot_be_had_is_one_line(hub: Hub, dataset: str, said: str, tmp_path: Path) -> None:
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": ""}
    done = harness.run("--model", "embedded", "--dataset", dataset, "--output_dir", tmp_path / "run", env=env)
    assert done.returncode == 2
    assert len(done.error_lines()) == 1
    assert said in done.stderr


def test_any_dataset_of_the_hub_is_trained_on(hub: Hub, tmp_path: Path) -> None:
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": ""}
    arguments = ("--dataset", "me/sums", "--max_steps", "1", "--n_eval", "4", "--output_dir", tmp_path / "run")
    done = harness.run("--model", "embedded", *arguments, env=env)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "24 rows read, 20 to train on, 4 held out" in told
    assert "question: column 'problem'" in told
    assert "no split 'test' beside 'train': held out of it" in told
    assert len(harness.metrics(tmp_path / "run")) == 1
