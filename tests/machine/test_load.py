"""What a process and its machine are busy with."""

from dlexp.machine.load import LoadMeter


def test_load_tells_of_process_and_machine() -> None:
    load = LoadMeter().read()
    assert load["load/process_memory_mb"] > 10
    assert 0 < load["load/machine_memory_percent"] <= 100
    assert {"load/process_cpu_percent", "load/machine_cpu_percent"} <= set(load)
