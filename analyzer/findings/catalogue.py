"""All rules, in the order in which a report tells what they find."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import analyzer.findings
from analyzer.findings.rule import Code, FindingInputs, Rule
from analyzer.model.report import Finding


@cache
def rules() -> tuple[Rule, ...]:
    """The rules of this package's modules: each that has a ``RULE``."""
    names = (module.name for module in iter_modules(analyzer.findings.__path__))
    modules = [import_module(f"analyzer.findings.{name}") for name in names]
    rules: list[Rule] = [module.RULE for module in modules if hasattr(module, "RULE")]
    return tuple(sorted(rules, key=lambda rule: rule.place))


def codes() -> dict[str, Code]:
    """Every code that can be told, by its name."""
    return {code.name: code for rule in rules() for code in rule.codes}


def find_all(inputs: FindingInputs) -> Iterator[Finding]:
    """What all rules find."""
    for rule in rules():
        yield from rule.findings(inputs)


def documentation_table() -> str:
    """The codes as a Markdown table, those that weigh most first."""
    needs = {code.name: rule.needs for rule in rules() for code in rule.codes}
    weight = {"error": 0, "warning": 1, "info": 2}
    ordered = sorted(codes().values(), key=lambda code: (weight[code.severities[0]], code.name))
    lines = [
        f"| `{code.name}` | {' or '.join(code.severities)} | {code.meaning} | "
        f"{needs[code.name]} | {code.next_step} |"
        for code in ordered
    ]
    head = ["| code | severity | what it means | needs | what to do |", "|---|---|---|---|---|"]
    return "\n".join([*head, *lines])
