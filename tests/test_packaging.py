"""What a fresh clone promises: pins for all it installs, a Makefile that explains itself, no address of a registry."""

import configparser
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = pathlib.Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
RELIED_ON_INTERNALLY = ("keras", "mlflow", "tensorboard", "tensorflow")
# Spelled backwards, so that this file does not name them either.
REGISTRY_HOSTS = [host[::-1] for host in ("gro.ipyp", "gro.detsohnohtyp", "gro.sjmpn.yrtsiger", "gro.naibed.bed")]


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    """Version by canonical package name, from constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in lines if not line.startswith("#"))
    }


def requirements(setup_cfg: configparser.ConfigParser) -> list[Requirement]:
    """What setup.cfg asks for, in install_requires and in every extra, but dlexp itself."""
    asked = setup_cfg["options"]["install_requires"] + "".join(setup_cfg["options.extras_require"].values())
    parsed = [Requirement(line) for line in asked.splitlines() if line and not line.startswith("#")]
    return [item for item in parsed if item.name != "dlexp"]


def install_requirements(setup_cfg: configparser.ConfigParser) -> list[Requirement]:
    """What setup.cfg asks for in install_requires."""
    lines = setup_cfg["options"]["install_requires"].splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def tracked_files() -> list[pathlib.Path]:
    """Files that are in git or would be added to it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def test_every_requirement_is_pinned_within_its_bounds(
    setup_cfg: configparser.ConfigParser, pins: dict[str, str]
) -> None:
    unmet = [
        str(requirement)
        for requirement in requirements(setup_cfg)
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]
    assert unmet == []


@pytest.mark.parametrize("name", RELIED_ON_INTERNALLY)
def test_library_whose_internals_are_relied_on_is_bound_to_the_tested_minor_version(
    name: str, setup_cfg: configparser.ConfigParser, pins: dict[str, str]
) -> None:
    major, minor = Version(pins[name]).release[:2]
    (asked,) = [requirement for requirement in install_requirements(setup_cfg) if requirement.name == name]
    assert asked.specifier == SpecifierSet(f">={major}.{minor},<{major}.{minor + 1}"), f"{asked} in setup.cfg"


def test_oldest_version_of_a_library_is_of_the_tested_major_version(
    setup_cfg: configparser.ConfigParser, pins: dict[str, str]
) -> None:
    untested = [
        f"{asked} in setup.cfg, but {pins[canonicalize_name(asked.name)]} is tested"
        for asked in install_requirements(setup_cfg)
        if min(Version(bound.version) for bound in asked.specifier).major
        != Version(pins[canonicalize_name(asked.name)]).major
    ]
    assert untested == []


def test_constraints_hold_plain_pins_without_addresses() -> None:
    header, *lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert header.startswith("#")
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


def test_installed_version_is_that_of_setup_cfg(setup_cfg: configparser.ConfigParser) -> None:
    assert importlib.metadata.version("dlexp") == setup_cfg["metadata"]["version"]


def test_an_error_for_a_missing_package_names_the_requirements_of_its_extra(
    setup_cfg: configparser.ConfigParser,
) -> None:
    code = "".join(path.read_text() for path in (ROOT / "dlexp").rglob("*.py"))
    calls = re.findall(r"raise missing_package\(\s*([^()]*?),\s*extra=\"(\w+)\",?\s*\)", code)
    assert len(calls) == 4
    for arguments, extra in calls:
        named = re.findall(r'"([^"]*)"', arguments)[1:]
        asked = setup_cfg["options.extras_require"][extra].split()
        assert sorted(named) == sorted(asked)


def test_command_is_installed() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="dlexp")
    assert command.value == "dlexp.commands.cli:run"


def test_every_folder_with_modules_is_a_package_and_so_in_the_wheel() -> None:
    folders = {path.parent for path in (ROOT / "dlexp").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What `pip install .` copies of dlexp, from a wheel that pip builds of a copy of the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in tracked_files():
        copy = folder / "clone" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for link in (path for path in (ROOT / "dlexp").iterdir() if path.is_symlink()):
        (folder / "clone" / "dlexp" / link.name).symlink_to(link.readlink())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(folder / "installed"), str(folder / "clone")], cwd=folder, check=True)
    return folder / "installed"


def test_wheel_holds_the_presets_and_the_notebooks(installed: pathlib.Path) -> None:
    for link, original in (("presets", "flags"), ("notebooks", "notebooks")):
        files = {path.name: path.read_bytes() for path in (ROOT / original).iterdir() if path.is_file()}
        assert {path.name: path.read_bytes() for path in (installed / "dlexp" / link).iterdir()} == files


def test_installed_wheel_finds_a_preset_from_any_folder(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    script = (
        "import dlexp; from dlexp.config.flags import config_from_words; "
        "print(dlexp.__file__, config_from_words(['--flagfile=flags/resnet20.flags']).model.model)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.split() == [str(installed / "dlexp" / "__init__.py"), "resnet20"]


def test_make_without_a_target_lists_all_of_them() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  ([a-z]+) +\S", shown, re.MULTILINE) == phony.split()


def test_every_install_of_the_makefile_keeps_to_the_constraints() -> None:
    free = [line for line in MAKEFILE.splitlines() if "pip install" in line and "-c constraints.txt" not in line]
    assert all("build/pin/" in line for line in free)


def test_python_that_is_missing_is_told_in_one_line(tmp_path: pathlib.Path) -> None:
    command = ["make", "-s", "venv", "PYTHON=no-such-python", f"VENV={tmp_path / 'venv'}"]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode != 0
    assert failed.stderr.startswith("dlexp needs Python 3.11, 3.12 or 3.13 with venv, and no-such-python is not one: ")


def test_no_file_names_the_host_of_a_package_registry() -> None:
    naming = [
        str(path) for path in tracked_files() if any(host.encode() in path.read_bytes() for host in REGISTRY_HOSTS)
    ]
    assert naming == []
