"""With `cli` alone: the command line makes a picture, a batch and its page."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("wavespeed-async")


def run(*arguments: str) -> str:
    """Run the command as its users do, and answer what it prints."""
    ran = subprocess.run(  # noqa: S603 (our own command)
        [COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


assert "batch" in run("--help")
run("run", "flux-dev", "--prompt", "a lighthouse", "--out", "one")
Path("prompts.jsonl").write_text(
    json.dumps({"model": "flux-dev", "prompt": "a lighthouse"}) + "\n", encoding="utf-8"
)
run("batch", "prompts.jsonl", "--out", "many")
assert "a lighthouse" in Path("many/index.html").read_text(encoding="utf-8")
