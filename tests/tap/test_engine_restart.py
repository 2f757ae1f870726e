"""dockerd stopped, killed and started again for real while a capture runs: the capture goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from frames_of import vantages_and_frames
from private_engine import private_engine
from running import capturing
from speaking import numbers, speaking

pytestmark = [pytest.mark.root, pytest.mark.docker]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_containers_that_outlive_their_engine_are_captured_throughout(
    how: signal.Signals, tmp_path: Path
) -> None:
    """With --live-restore: every frame before, during and after its absence is in the file."""
    file, sent = tmp_path / "x.pcapng", 0
    with private_engine("--live-restore") as engine:
        engine.run("tomcat01")
        engine.run("tomcat02")
        with (
            capturing(
                "all", "-w", str(file), "--json", enter=engine.enter, DOCKER_HOST=engine.host
            ) as capture,
            speaking(engine.netns_path("tomcat01")) as say,
        ):

            def speak() -> int:
                for number in range(sent, sent + 50):
                    say(number, 0.001)
                return sent + 50

            sent = speak()
            engine.stop(how)
            sent = speak()
            engine.start()
            sent = speak()
            engine.run("tomcat03")
            capture.wait_for("tomcat03 is captured from now on")
            sent = speak()
            told = capture.end()
    for vantage in ("tomcat01:eth0", "docker0", "tomcat02:eth0"):
        assert numbers(file, vantage) == list(range(sent))
    assert numbers(file, "tomcat03:eth0") == list(range(sent - 50, sent))
    assert told["dropped"] == 0


def test_containers_that_end_with_their_engine_and_come_back_with_it(tmp_path: Path) -> None:
    """--restart always: new pairs, and they join; docker0 is the same all the time."""
    file = tmp_path / "x.pcapng"
    with private_engine() as engine:
        engine.run("tomcat01", restart_policy={"Name": "always"})
        with capturing(
            "all", "-w", str(file), "--json", enter=engine.enter, DOCKER_HOST=engine.host
        ) as capture:
            with speaking(engine.netns_path("tomcat01")) as say:
                for number in range(50):
                    say(number, 0.001)
            engine.stop()
            engine.start()
            capture.wait_for("tomcat01 is captured from now on")
            with speaking(engine.netns_path("tomcat01")) as say:
                for number in range(50, 100):
                    say(number, 0.001)
            told = capture.end()
    vantages, _ = vantages_and_frames(file)
    assert [v.name for v in vantages].count("tomcat01:eth0") == 2
    assert len({v.interface for v in vantages if v.role == "host-veth"}) == 2
    assert numbers(file, "docker0") == list(range(100))
    ended = [v["ended_ns"] is not None for v in told["vantages"] if v["container"] == "tomcat01"]
    assert sorted(ended) == [False, False, True, True]
