"""The Terraform module is valid and formatted, and sets values that the chart has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "terraform"
wants_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")


def terraform(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    command = ["terraform", f"-chdir={folder}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environ, check=False)


@wants_terraform
def test_the_module_is_formatted_and_can_be_read() -> None:
    done = terraform("fmt", "-check", "-diff", folder=MODULE)
    assert done.returncode == 0, done.stdout + done.stderr


@wants_terraform
def test_the_module_is_valid(tmp_path: Path) -> None:
    folder = tmp_path / "terraform"
    shutil.copytree(MODULE, folder, ignore=shutil.ignore_patterns(".terraform*"))
    done = terraform("init", "-backend=false", "-input=false", "-no-color", folder=folder)
    if done.returncode != 0 and "registry" in done.stderr:
        pytest.skip("the registry of Terraform's providers cannot be reached")
    assert done.returncode == 0, done.stderr
    done = terraform("validate", "-no-color", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_values_that_it_sets_are_values_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "helm" / "tickwire" / "values.yaml").read_text())
    block = (MODULE / "main.tf").read_text().partition("yamlencode({")[2].partition("}),\n  ], var.values")[0]
    keys = re.findall(r"^      (\w+) +=", block, re.MULTILINE)
    assert len(keys) == 7
    for key in keys:
        assert key in values
    inner = re.findall(r"^      (\w+) += \{ (.*) \}$", block, re.MULTILINE)
    assert len(inner) == 4
    for key, text in inner:
        assert set(re.findall(r"(\w+) = ", text)) <= values[key].keys(), key


def test_secrets_are_marked_as_sensitive() -> None:
    text = (MODULE / "variables.tf").read_text() + (MODULE / "outputs.tf").read_text()
    for name in ("redis_url", "mongo_url", "admin_token"):
        block = text.partition(f'"{name}" {{')[2].partition("\n}\n")[0]
        assert re.search(r"sensitive +=  ?true|sensitive += true", block), name
