"""What a run was made with: packages, commit, hardware, command. Written into `environment/` of the run folder."""

import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from importlib.metadata import distributions
from typing import Any

FOLDER = "environment"
_GIT_SECONDS = 10


def write_environment(run_folder: pathlib.Path) -> None:
    """Writes `packages.txt`, `machine.json` and, inside a git repository, `git.json` and `git.diff`."""
    folder = run_folder / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / "packages.txt").write_text("\n".join(installed_packages()) + "\n", encoding="utf-8")
    (folder / "machine.json").write_text(json.dumps(describe_machine(), indent=2) + "\n", encoding="utf-8")
    commit = _git("rev-parse", "HEAD")
    if commit:
        state = {"commit": commit.strip(), "branch": (_git("rev-parse", "--abbrev-ref", "HEAD") or "").strip()}
        (folder / "git.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        (folder / "git.diff").write_text(_git("diff", "HEAD") or "", encoding="utf-8")


def installed_packages() -> list[str]:
    """`name==version` of every installed package, sorted."""
    return sorted({f"{each.metadata['Name']}=={each.version}" for each in distributions()}, key=str.lower)


def describe_machine() -> dict[str, Any]:
    """Python, operating system, cores, memory and the command; no environment variables, as those hold secrets."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "command": shlex.join(sys.argv),
        "working_directory": str(pathlib.Path.cwd()),
    }


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _git(*arguments: str) -> str | None:
    """Output of a git command in the working directory; None without git or a repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
