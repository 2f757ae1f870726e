"""``vethscope doctor``"""

from __future__ import annotations

import click

from analyzer.cli.options import json_option


@click.command(name="doctor", epilog="Example: sudo vethscope doctor")
@json_option
def command(as_json: bool) -> None:
    """What this machine allows: rights, Docker, tshark, tracefs, sysctls that matter.

    One line each, with the fix. Exit 0 where captures are possible, 1 where they are not.
    """
    from analyzer.app.doctor import examine
    from analyzer.cli.streams import put_json, put_line

    checks = examine()
    if as_json:
        put_json({"checks": [check.to_json() for check in checks]})
    else:
        for check in checks:
            put_line(check.line())
    raise SystemExit(0 if all(check.ok or not check.needed for check in checks) else 1)
