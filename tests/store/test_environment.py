"""What is recorded about the process that did the work."""

import sys

import torch

from sparsegrad_cli.store.environment import describe_environment, hardware


def test_the_command_is_recorded_without_passwords(monkeypatch):
    storage = "postgresql://ada:hunter2@db/x?sslpassword=hunter2"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/sparsegrad", "sweep", "--storage", storage])
    found = describe_environment("sha256:a", "sha256:b", restarts=2, accumulation_steps=4)
    assert found.command[:3] == ["sparsegrad", "sweep", "--storage"]
    assert "hunter2" not in found.model_dump_json()
    assert (found.checkpoint, found.data, found.restarts, found.accumulation_steps) == (
        "sha256:a",
        "sha256:b",
        2,
        4,
    )
    assert found.versions["torch"] == torch.__version__


def test_the_hardware_says_what_decides_speed():
    found = hardware()
    assert found["threads"] == torch.get_num_threads()
    assert int(found["memory_bytes"]) > 0
    assert ("gpu" in found) == torch.cuda.is_available()
