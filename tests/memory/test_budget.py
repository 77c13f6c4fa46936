"""The memory that trainings may use: units, margins and devices."""

import pytest

from dlexp.errors import ConfigError
from dlexp.memory import budget as module
from dlexp.memory.budget import Budget, find_budget

GIB = 2**30
GPUS = [10 * GIB, 20 * GIB]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the machine has: no GPU and 4 GiB, unless a test changes it."""
    has: dict[str, object] = {"gpus": [], "available": 4 * GIB}
    monkeypatch.setattr(module, "read_gpu_memory", lambda: has["gpus"])
    monkeypatch.setattr(module, "available_memory_bytes", lambda: has["available"])
    return has


def test_budget_of_a_machine_without_a_gpu_is_what_is_available() -> None:
    budget = find_budget()
    assert (budget.device, budget.total_bytes, str(budget)) == (
        "cpu",
        4 * GIB,
        "4.00 GiB (the memory that is available)",
    )


@pytest.mark.parametrize(("memory", "bytes_"), [("2GiB", 2 * GIB), ("2GB", 2 * 10**9), ("1.5 gib", 3 * GIB // 2)])
def test_budget_may_be_given_with_a_unit(memory: str, bytes_: int) -> None:
    budget = find_budget(memory=memory)
    assert (budget.total_bytes, budget.origin) == (bytes_, "as given")


@pytest.mark.parametrize("memory", ["8", "8 Gi", "GiB", "-1GiB", "0GiB", "nanGiB", "1e3GiB"])
def test_budget_without_a_unit_is_refused(memory: str) -> None:
    with pytest.raises(ConfigError, match=r"^--memory_budget=.* must be a number with a unit, such as 800MB or 4GiB$"):
        find_budget(memory=memory)


@pytest.mark.parametrize(
    ("margin", "usable"), [("0%", GIB), ("10%", int(0.9 * GIB)), (" 2.5 % ", int(0.975 * GIB)), ("99%", GIB // 100)]
)
def test_margin_stays_free(margin: str, usable: int) -> None:
    assert find_budget(memory="1GiB", margin=margin).usable_bytes == pytest.approx(usable, abs=1)


@pytest.mark.parametrize("margin", ["", "10", "0.1", "100%", "101%", "-1%", "ten%", "1e1%", "%"])
def test_margin_that_is_no_share_is_refused(margin: str) -> None:
    with pytest.raises(ConfigError, match="must be a share in percent, at least 0% and below 100%, such as 10%"):
        find_budget(memory="1GiB", margin=margin)


@pytest.mark.parametrize(
    ("device", "name", "total"),
    [
        ("auto", "gpu:0", 10 * GIB),
        ("gpu", "gpu:0", 10 * GIB),
        ("gpu:0", "gpu:0", 10 * GIB),
        ("gpu:1", "gpu:1", 20 * GIB),
        ("cpu", "cpu", 4 * GIB),
    ],
)
def test_budget_of_a_device_is_its_memory(device: str, name: str, total: int, machine: dict[str, object]) -> None:
    machine["gpus"] = GPUS
    budget = find_budget(device=device)
    assert (budget.device, budget.total_bytes) == (name, total)


def test_budget_of_a_gpu_may_be_given_too(machine: dict[str, object]) -> None:
    machine["gpus"] = GPUS
    budget = find_budget(device="gpu:1", memory="1GiB")
    assert (budget.device, budget.total_bytes) == ("gpu:1", GIB)


@pytest.mark.parametrize("device", ["tpu", "GPU", "gpu:", "gpu:-1", "gpu:one", "gpu:0:1", "cpu:0", "", "gpu:0 "])
def test_unknown_device_is_refused(device: str, machine: dict[str, object]) -> None:
    machine["gpus"] = GPUS
    with pytest.raises(ConfigError, match="is not known: give auto, cpu, gpu or gpu:N"):
        find_budget(device=device)


@pytest.mark.parametrize(
    ("gpus", "device", "listed"),
    [([], "gpu", "no GPU"), (GPUS[:1], "gpu:1", "only gpu:0"), (GPUS, "gpu:2", "only gpu:0 to gpu:1")],
)
def test_gpu_that_is_not_there_is_refused(
    gpus: list[int], device: str, listed: str, machine: dict[str, object]
) -> None:
    machine["gpus"] = gpus
    with pytest.raises(
        ConfigError, match=f"^--device={device} is not there, as nvidia-smi and CUDA_VISIBLE_DEVICES give {listed}: "
    ):
        find_budget(device=device)


def test_gpu_whose_memory_is_not_known_needs_a_budget(machine: dict[str, object]) -> None:
    machine["gpus"] = [0]
    with pytest.raises(
        ConfigError, match=r"^the memory of gpu:0 is not known to nvidia-smi: give --memory_budget=8GiB$"
    ):
        find_budget()
    assert find_budget(memory="8GiB").device == "gpu:0"


def test_budget_of_the_cpu_asks_no_driver_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_gpu_memory", lambda: pytest.fail("the driver was asked"))
    assert find_budget(device="cpu").device == "cpu"


def test_memory_that_is_not_known_must_be_given(machine: dict[str, object]) -> None:
    machine["available"] = None
    with pytest.raises(ConfigError, match=r"give --memory_budget=8GiB$"):
        find_budget()
    assert find_budget(memory="8GiB").total_bytes == 8 * GIB


def test_budget_is_shared_by_trainings_at_once() -> None:
    budget = Budget(device="cpu", total_bytes=GIB, margin=0.5, origin="as given")
    assert budget.shared_by(1) is budget
    shared = budget.shared_by(4)
    assert (shared.total_bytes, shared.usable_bytes) == (GIB // 4, GIB // 8)
    assert str(shared) == "256 MiB (as given, for 4 at once)"
