"""What a probe is asked and what it reports, as JSON."""

import json

from dlexp.memory.messages import ProbeReport, ProbeRequest, decode, encode
from tests.support.found_batches import report_of

REQUEST = ProbeRequest(
    config='{"model": "mlp"}\n', folder="/tmp/ä b", store="/tmp/s", log_path="/tmp/l", device="gpu:1",
    limit_bytes=2**40, whole_run=True, timed_calls=2,
)  # fmt: skip


def test_request_is_read_back() -> None:
    kind, values = decode(encode("request", REQUEST))
    assert kind == "request"
    assert ProbeRequest(**values) == REQUEST


def test_report_is_read_back() -> None:
    report = report_of(2**41, images_per_second=0.1)
    kind, values = decode(encode("report", report))
    assert kind == "report"
    assert ProbeReport(**values) == report


def test_word_and_text_are_read_back() -> None:
    assert decode(encode("hold")) == ("hold", None)
    assert decode(encode("failed", "no such \n'luck'")) == ("failed", "no such \n'luck'")


def test_message_is_json() -> None:
    assert json.loads(encode("request", REQUEST))[1]["limit_bytes"] == 2**40
